-- Each flight with the weather at its origin in the hour of its scheduled departure.
-- Both times are UTC, so the hours of a clock change need no care here.
select
    flight.flight_id,
    flight.flight_date,
    flight.origin,
    flight.destination,
    flight.distance,
    flight.status,
    flight.departure_delay,
    flight.arrival_delay,
    case
        when weather.precipitation is null then 'unknown'
        when weather.precipitation > 0 then 'rain'
        else 'dry'
    end as weather
from flights as flight
left join weather
    on weather.origin = flight.origin
    and weather.observed_at = date_trunc('hour', flight.scheduled_departure)
