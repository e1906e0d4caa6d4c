-- One row for each observation. Hours without one are left out, not filled; hours_since_previous shows them.
select
    origin,
    observed_at,
    local_hour,
    utc_hour_agrees,
    temp as temperature,
    dewp as dew_point,
    humid as humidity,
    wind_dir::integer as wind_direction,
    wind_speed,
    wind_gust,
    precip as precipitation,
    pressure,
    visib as visibility,
    temp - lag(temp) over by_time as temperature_change,
    date_diff('hour', lag(observed_at) over by_time, observed_at)::integer as hours_since_previous
from weather_times
window by_time as (partition by origin order by observed_at)
