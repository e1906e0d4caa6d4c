-- One row for each airport that the source lists, positions as they are there.
select
    faa as airport,
    name,
    lat as latitude,
    lon as longitude,
    alt::integer as altitude,
    tzone as time_zone,
    tz::integer as utc_offset
from raw_airports
