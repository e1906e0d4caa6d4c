-- One row for each scheduled flight, cancelled ones included: no row of the source is dropped here.
select
    strftime(flight.flight_date, '%Y-%m-%d')
        || '-' || flight.carrier || '-' || flight.flight || '-' || flight.origin as flight_id,
    flight.flight_date,
    flight.carrier,
    airline.name as carrier_name,
    flight.flight::integer as flight_number,
    flight.tailnum as tail_number,
    case when flight.tailnum is not null then plane.tailnum is not null end as plane_known,
    plane.manufacturer as plane_manufacturer,
    plane.model as plane_model,
    plane.seats::integer as plane_seats,
    flight.origin,
    flight.dest as destination,
    airport.faa is not null as destination_known,
    case
        when flight.dep_time is null then 'cancelled'
        when flight.arr_delay is null then 'diverted'
        else 'completed'
    end as status,
    flight.scheduled_departure,
    flight.scheduled_arrival,
    flight.departed_at,
    flight.arrived_at,
    flight.utc_hour_agrees,
    flight.dep_delay::integer as departure_delay,
    flight.arr_delay::integer as arrival_delay,
    flight.air_time::integer as air_time,
    flight.distance::integer as distance
from flight_times as flight
left join raw_airlines as airline on airline.carrier = flight.carrier
left join raw_planes as plane on plane.tailnum = flight.tailnum
left join raw_airports as airport on airport.faa = flight.dest
