"""Local clocks to UTC: what the sources write as the airport's own clock becomes one instant.

Twice a year a local clock is not enough. In spring an hour does not exist; in autumn one exists twice. Both
are decided here, in the open: an hour that does not exist becomes null (the contract then names the row), and
of an hour that exists twice the first one is taken unless there is evidence for the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    import duckdb

Occurrence = Literal["earliest", "latest"]


def flight_times(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Scheduled and actual departure and arrival of each flight in UTC.

    The actual times follow from the scheduled ones and the delays, so a delay over midnight, or over several
    days, needs no guess. The destination's zone is unknown for airports that the source does not list; the
    arrival is then null.

    Args:
        connection: Holds ``raw_flights`` and ``raw_airports``.

    Returns:
        All columns of ``raw_flights``, ``flight_date`` (local, at the origin), ``scheduled_departure``,
        ``scheduled_arrival``, ``departed_at``, ``arrived_at`` (UTC, microseconds) and ``utc_hour_agrees``:
        whether the departure falls into the UTC hour that the source itself states.
    """
    flights = connection.sql(
        """
        select
            flight.*,
            make_date(flight.year::integer, flight.month::integer, flight.day::integer) as flight_date,
            origin_airport.tzone as origin_zone,
            destination_airport.tzone as destination_zone
        from raw_flights as flight
        left join raw_airports as origin_airport on origin_airport.faa = flight.origin
        left join raw_airports as destination_airport on destination_airport.faa = flight.dest
        """
    ).pl()
    departing = flights.with_columns(source_hour=_as_utc("time_hour")).with_columns(
        departure_local=_at_clock(pl.col("flight_date"), "sched_dep_time")
    )
    departing = departing.with_columns(
        scheduled_departure=_confirmed_utc(departing, "departure_local", "origin_zone", "source_hour")
    )
    # The day of the arrival is not in the source. It is the first time after the departure that the clock at
    # the destination shows the arrival time; a day there may have begun earlier or later than at the origin.
    arriving = departing.with_columns(
        departure_there=_local(departing, "scheduled_departure", "destination_zone")
    ).with_columns(arrival_local=_at_clock(pl.col("departure_there").dt.date(), "sched_arr_time"))
    arriving = arriving.with_columns(next_day_local=pl.col("arrival_local") + pl.duration(days=1))
    candidates = [
        _utc(arriving, "arrival_local", "destination_zone", "earliest"),
        _utc(arriving, "arrival_local", "destination_zone", "latest"),
        _utc(arriving, "next_day_local", "destination_zone", "earliest"),
    ]
    arriving = arriving.with_columns(
        scheduled_arrival=pl.coalesce(
            pl.when(candidate > pl.col("scheduled_departure")).then(candidate) for candidate in candidates
        )
    )
    return arriving.select(
        *flights.columns[:-2],
        "scheduled_departure",
        "scheduled_arrival",
        departed_at=pl.col("scheduled_departure") + pl.duration(minutes=pl.col("dep_delay")),
        arrived_at=pl.col("scheduled_arrival") + pl.duration(minutes=pl.col("arr_delay")),
        utc_hour_agrees=pl.col("scheduled_departure").dt.truncate("1h") == pl.col("source_hour"),
    )


def weather_times(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The UTC hour of each weather observation, from the station's own clock.

    Args:
        connection: Holds ``raw_weather`` and ``raw_airports``.

    Returns:
        All columns of ``raw_weather``, ``local_hour`` (the station's clock, no zone), ``observed_at`` (UTC,
        microseconds) and ``utc_hour_agrees``: whether it is the UTC hour that the source itself states.
    """
    weather = connection.sql(
        """
        select
            weather.*,
            make_timestamp(
                weather.year, weather.month, weather.day, weather.hour, 0, 0
            ) as local_hour,
            airport.tzone as zone
        from raw_weather as weather
        left join raw_airports as airport on airport.faa = weather.origin
        """
    ).pl()
    weather = weather.with_columns(source_hour=_as_utc("time_hour"))
    weather = weather.with_columns(observed_at=_confirmed_utc(weather, "local_hour", "zone", "source_hour"))
    return weather.with_columns(utc_hour_agrees=pl.col("observed_at") == pl.col("source_hour")).drop(
        "zone", "source_hour"
    )


def _as_utc(column: str) -> pl.Expr:
    return pl.col(column).dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _at_clock(date: pl.Expr, clock: str) -> pl.Expr:
    """A date and a clock such as 2359; 2400 is midnight at the end of that date."""
    minutes = pl.col(clock) // 100 * 60 + pl.col(clock) % 100
    return date.cast(pl.Datetime("us")) + pl.duration(minutes=minutes)


def _zones(frame: pl.DataFrame, zone: str) -> list[str]:
    return sorted(frame.get_column(zone).drop_nulls().unique())


def _utc(frame: pl.DataFrame, local: str, zone: str, occurrence: Occurrence) -> pl.Expr:
    """The instant of a local time in the zone that each row names; null where it does not exist."""
    return pl.coalesce(
        pl.lit(None, dtype=pl.Datetime("us", "UTC")),
        *(
            pl.when(pl.col(zone) == name).then(
                pl.col(local)
                .dt.replace_time_zone(name, ambiguous=occurrence, non_existent="null")
                .dt.convert_time_zone("UTC")
            )
            for name in _zones(frame, zone)
        ),
    )


def _local(frame: pl.DataFrame, instant: str, zone: str) -> pl.Expr:
    """What the clock in each row's zone shows at an instant."""
    return pl.coalesce(
        pl.lit(None, dtype=pl.Datetime("us")),
        *(
            pl.when(pl.col(zone) == name).then(
                pl.col(instant).dt.convert_time_zone(name).dt.replace_time_zone(None)
            )
            for name in _zones(frame, zone)
        ),
    )


def _confirmed_utc(frame: pl.DataFrame, local: str, zone: str, source_hour: str) -> pl.Expr:
    """The instant of a local time: the second of two only where the source's own UTC hour says so."""
    first = _utc(frame, local, zone, "earliest")
    second = _utc(frame, local, zone, "latest")
    return pl.when(second.dt.truncate("1h") == pl.col(source_hour)).then(second).otherwise(first)
