-- One row for each route and month. A flight is punctual if it arrives less than 15 minutes late.
with counted as (
    select
        origin,
        destination,
        date_trunc('month', flight_date)::date as month,
        max(distance) as distance,
        count(*)::integer as flights,
        count(*) filter (status = 'completed')::integer as completed,
        count(*) filter (status = 'cancelled')::integer as cancelled,
        count(*) filter (status = 'diverted')::integer as diverted,
        count(*) filter (arrival_delay < 15)::integer as punctual,
        avg(departure_delay) as average_departure_delay,
        avg(arrival_delay) as average_arrival_delay,
        quantile_cont(arrival_delay, 0.5) as median_arrival_delay,
        quantile_cont(arrival_delay, 0.9) as p90_arrival_delay,
        count(*) filter (weather = 'rain')::integer as flights_in_rain,
        count(*) filter (weather = 'dry')::integer as flights_in_dry,
        count(*) filter (weather = 'unknown')::integer as flights_without_weather,
        count(*) filter (weather = 'rain' and status = 'cancelled')::integer as cancelled_in_rain,
        count(*) filter (weather = 'dry' and status = 'cancelled')::integer as cancelled_in_dry,
        avg(departure_delay) filter (weather = 'rain') as average_departure_delay_in_rain,
        avg(departure_delay) filter (weather = 'dry') as average_departure_delay_in_dry
    from flights_with_weather
    group by origin, destination, date_trunc('month', flight_date)
)

select
    counted.origin,
    counted.destination,
    counted.month,
    airports.name as destination_name,
    counted.distance,
    counted.flights,
    counted.completed,
    counted.cancelled,
    counted.diverted,
    counted.completed / counted.flights as share_completed,
    counted.cancelled / counted.flights as share_cancelled,
    counted.diverted / counted.flights as share_diverted,
    counted.punctual / nullif(counted.completed, 0) as punctuality,
    counted.average_departure_delay,
    counted.average_arrival_delay,
    counted.median_arrival_delay,
    counted.p90_arrival_delay,
    counted.flights_in_rain,
    counted.flights_in_dry,
    counted.flights_without_weather,
    counted.cancelled_in_rain / nullif(counted.flights_in_rain, 0) as share_cancelled_in_rain,
    counted.cancelled_in_dry / nullif(counted.flights_in_dry, 0) as share_cancelled_in_dry,
    counted.average_departure_delay_in_rain,
    counted.average_departure_delay_in_dry
from counted
left join airports on airports.airport = counted.destination
