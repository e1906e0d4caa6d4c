"""What consumers of the dataset `weather` may rely on."""

from typing import Annotated

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check


class Weather(pa.DataFrameModel):
    """Hourly weather at the three airports of New York City, by UTC hour.

    Hours without an observation are missing and reported. A wind that no station has ever measured is
    quarantined.
    """

    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"], description="Airport of the station.")
    observed_at: Annotated[pl.Datetime, "us", "UTC"] = pa.Field(
        description="Hour of the observation, UTC. Local hours repeat when the clock is set back, these do not."
    )
    local_hour: Annotated[pl.Datetime, "us", None] = pa.Field(
        description="The same hour on the clock of the airport. Not unique."
    )
    utc_hour_agrees: bool = pa.Field(
        eq=True, description="Whether it is the UTC hour that the source states."
    )
    temperature: float = pa.Field(
        nullable=True,
        in_range=(-60, 130),
        description="Temperature of the air.",
        metadata={"unit": "degrees Fahrenheit"},
    )
    dew_point: float = pa.Field(
        nullable=True,
        in_range=(-80, 100),
        description="Dew point, never above the temperature.",
        metadata={"unit": "degrees Fahrenheit"},
    )
    humidity: float = pa.Field(
        nullable=True, in_range=(0, 100), description="Relative humidity.", metadata={"unit": "percent"}
    )
    wind_direction: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(0, 360),
        description="Where the wind comes from. Null where it varies.",
        metadata={"unit": "degrees"},
    )
    wind_speed: float = pa.Field(
        nullable=True,
        in_range=(0, 150),
        description="Wind. The record of New York City is far below the limit.",
        metadata={"unit": "miles per hour"},
    )
    wind_gust: float = pa.Field(
        nullable=True,
        in_range=(0, 200),
        description="Strongest gust. Null where there was none.",
        metadata={"unit": "miles per hour"},
    )
    precipitation: float = pa.Field(
        in_range=(0, 15), description="Rain or melted snow in the hour.", metadata={"unit": "inches"}
    )
    pressure: float = pa.Field(
        nullable=True,
        in_range=(870, 1085),
        description="Pressure at sea level. Often not recorded.",
        metadata={"unit": "millibars"},
    )
    visibility: float = pa.Field(
        in_range=(0, 10), description="Visibility, cut off at ten.", metadata={"unit": "miles"}
    )
    temperature_change: float = pa.Field(
        nullable=True,
        in_range=(-30, 30),
        raise_warning=True,
        description="Temperature against the observation before. A leap hints at a wrong reading.",
        metadata={"unit": "degrees Fahrenheit"},
    )
    hours_since_previous: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(1, 1),
        raise_warning=True,
        description="Hours since the observation before; more than one means that hours are missing.",
        metadata={"unit": "hours"},
    )

    class Config:
        """Columns are exactly these; one observation for each airport and UTC hour."""

        strict = True
        unique = ["origin", "observed_at"]  # noqa: RUF012 - pandera reads a list from its Config

    dew_point_below_temperature = row_check(
        pl.col("dew_point") <= pl.col("temperature"),
        description="The dew point is never above the temperature.",
    )
    gust_above_wind = row_check(
        pl.col("wind_gust") >= pl.col("wind_speed"), description="A gust is stronger than the wind."
    )
