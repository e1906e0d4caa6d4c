"""What the sources must look like at the door: columns and types, keys, clocks that make sense.

Values that are merely implausible pass here; the contracts of the datasets judge them.
"""

from typing import Annotated

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check


def _minutes(clock: str) -> pl.Expr:
    return pl.col(clock) // 100 * 60 + pl.col(clock) % 100


def _agrees(clock: str, scheduled: str, delay: str) -> pl.Expr:
    return (_minutes(clock) - _minutes(scheduled) - pl.col(delay)) % 1440 == 0


class RawFlights(pa.DataFrameModel):
    """Flights as the source has them: local clocks as 2359, delays in minutes."""

    year: int = pa.Field(eq=2013, description="Year of the scheduled departure.")
    month: int = pa.Field(in_range=(1, 12), description="Month of the scheduled departure.")
    day: int = pa.Field(in_range=(1, 31), description="Day of the scheduled departure.")
    dep_time: int = pa.Field(
        nullable=True, in_range=(1, 2400), description="Clock at departure, at the origin."
    )
    sched_dep_time: int = pa.Field(in_range=(0, 2400), description="Scheduled clock at departure.")
    dep_delay: int = pa.Field(
        nullable=True, description="Departure after schedule.", metadata={"unit": "minutes"}
    )
    arr_time: int = pa.Field(
        nullable=True, in_range=(1, 2400), description="Clock at arrival, at the destination."
    )
    sched_arr_time: int = pa.Field(in_range=(0, 2400), description="Scheduled clock at arrival.")
    arr_delay: int = pa.Field(
        nullable=True, description="Arrival after schedule.", metadata={"unit": "minutes"}
    )
    carrier: str = pa.Field(description="Code of the airline.")
    flight: int = pa.Field(description="Number of the flight.")
    tailnum: str = pa.Field(nullable=True, description="Registration of the plane.")
    origin: str = pa.Field(description="Airport of departure.")
    dest: str = pa.Field(description="Scheduled airport of arrival.")
    air_time: int = pa.Field(nullable=True, description="Time in the air.", metadata={"unit": "minutes"})
    distance: int = pa.Field(gt=0, description="Distance between the airports.", metadata={"unit": "miles"})
    hour: int = pa.Field(in_range=(0, 24), description="Hour of the scheduled departure.")
    minute: int = pa.Field(in_range=(0, 59), description="Minute of the scheduled departure.")
    time_hour: Annotated[pl.Datetime, "us", "UTC"] = pa.Field(
        description="Hour of the scheduled departure, UTC."
    )

    class Config:
        """A number flies from an airport once a day; columns that are added do no harm."""

        unique = ["year", "month", "day", "carrier", "flight", "origin"]  # noqa: RUF012 - pandera reads a list

    departure_clock_agrees = row_check(
        _agrees("dep_time", "sched_dep_time", "dep_delay"),
        description="Scheduled clock and delay give the clock at departure, over midnight too.",
    )
    arrival_clock_agrees = row_check(
        _agrees("arr_time", "sched_arr_time", "arr_delay"),
        description="Scheduled clock and delay give the clock at arrival, over midnight too.",
    )


class RawWeather(pa.DataFrameModel):
    """Hourly observations as the source has them."""

    origin: str = pa.Field(description="Airport of the station.")
    year: int = pa.Field(eq=2013, description="Year of the observation.")
    month: int = pa.Field(in_range=(1, 12), description="Month of the observation.")
    day: int = pa.Field(in_range=(1, 31), description="Day of the observation.")
    hour: int = pa.Field(in_range=(0, 23), description="Hour on the clock of the airport.")
    temp: float = pa.Field(nullable=True, description="Temperature.", metadata={"unit": "degrees Fahrenheit"})
    dewp: float = pa.Field(nullable=True, description="Dew point.", metadata={"unit": "degrees Fahrenheit"})
    humid: float = pa.Field(nullable=True, description="Relative humidity.", metadata={"unit": "percent"})
    wind_dir: int = pa.Field(
        nullable=True, description="Where the wind comes from.", metadata={"unit": "degrees"}
    )
    wind_speed: float = pa.Field(nullable=True, description="Wind.", metadata={"unit": "miles per hour"})
    wind_gust: float = pa.Field(
        nullable=True, description="Strongest gust.", metadata={"unit": "miles per hour"}
    )
    precip: float = pa.Field(description="Precipitation in the hour.", metadata={"unit": "inches"})
    pressure: float = pa.Field(
        nullable=True, description="Pressure at sea level.", metadata={"unit": "millibars"}
    )
    visib: float = pa.Field(description="Visibility.", metadata={"unit": "miles"})
    time_hour: Annotated[pl.Datetime, "us", "UTC"] = pa.Field(description="Hour of the observation, UTC.")

    class Config:
        """Local hours repeat when the clock is set back; the hour in UTC is the key."""

        unique = ["origin", "time_hour"]  # noqa: RUF012 - pandera reads a list from its Config


class RawAirports(pa.DataFrameModel):
    """Airports as the source has them."""

    faa: str = pa.Field(unique=True, description="Code of the airport.")
    name: str = pa.Field(description="Name of the airport.")
    lat: float = pa.Field(in_range=(-90, 90), description="Latitude.", metadata={"unit": "degrees"})
    lon: float = pa.Field(in_range=(-180, 180), description="Longitude.", metadata={"unit": "degrees"})
    alt: int = pa.Field(description="Altitude above the sea.", metadata={"unit": "feet"})
    tz: int = pa.Field(description="Standard time against UTC.", metadata={"unit": "hours"})
    dst: str = pa.Field(isin=["A", "N", "U"], description="Daylight saving: American, none, unknown.")
    tzone: str = pa.Field(nullable=True, description="IANA time zone.")


class RawPlanes(pa.DataFrameModel):
    """Planes as the source has them, by registration."""

    tailnum: str = pa.Field(unique=True, description="Registration of the plane.")
    year: int = pa.Field(nullable=True, description="Year of construction.")
    type: str = pa.Field(description="Kind of aircraft.")
    manufacturer: str = pa.Field(description="Who built it.")
    model: str = pa.Field(description="Model.")
    engines: int = pa.Field(description="Number of engines.")
    seats: int = pa.Field(description="Number of seats.", metadata={"unit": "seats"})
    speed: int = pa.Field(nullable=True, description="Cruising speed.", metadata={"unit": "miles per hour"})
    engine: str = pa.Field(description="Kind of engine.")


class RawAirlines(pa.DataFrameModel):
    """Airlines by code."""

    carrier: str = pa.Field(unique=True, description="Code of the airline.")
    name: str = pa.Field(description="Name of the airline.")
