"""What consumers of the dataset `route_punctuality` may rely on."""

from datetime import date

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check

# Shares are fractions of whole numbers; adding them up rounds in the last digits.
_ROUNDING = 1e-9


class RoutePunctuality(pa.DataFrameModel):
    """Punctuality of each route out of New York City, by month, with the weather at the origin.

    Counts add up to the scheduled flights and shares to one. Averages of nothing are null, not zero.
    """

    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"], description="Airport of departure.")
    destination: str = pa.Field(str_matches=r"^[A-Z]{3}$", description="Scheduled airport of arrival.")
    month: pl.Date = pa.Field(
        ge=date(2013, 1, 1), description="First day of the month, on the clock of the origin."
    )
    destination_name: str = pa.Field(
        nullable=True, description="Name of the destination; null where `flights` lists no such airport."
    )
    distance: pl.Int32 = pa.Field(gt=0, description="Length of the route.", metadata={"unit": "miles"})
    flights: pl.Int32 = pa.Field(ge=1, description="Scheduled flights.", metadata={"unit": "flights"})
    completed: pl.Int32 = pa.Field(
        ge=0, description="Flights that arrived as planned.", metadata={"unit": "flights"}
    )
    cancelled: pl.Int32 = pa.Field(
        ge=0, description="Flights that never departed.", metadata={"unit": "flights"}
    )
    diverted: pl.Int32 = pa.Field(
        ge=0, description="Flights that departed and have no arrival delay.", metadata={"unit": "flights"}
    )
    share_completed: float = pa.Field(in_range=(0, 1), description="Completed flights by scheduled ones.")
    share_cancelled: float = pa.Field(in_range=(0, 1), description="Cancelled flights by scheduled ones.")
    share_diverted: float = pa.Field(in_range=(0, 1), description="Diverted flights by scheduled ones.")
    punctuality: float = pa.Field(
        nullable=True,
        in_range=(0, 1),
        description="Share of the completed flights that arrived less than 15 minutes late.",
    )
    average_departure_delay: float = pa.Field(
        nullable=True, description="Mean departure delay.", metadata={"unit": "minutes"}
    )
    average_arrival_delay: float = pa.Field(
        nullable=True, description="Mean arrival delay of completed flights.", metadata={"unit": "minutes"}
    )
    median_arrival_delay: float = pa.Field(
        nullable=True,
        description="Half of the completed flights arrived later than this.",
        metadata={"unit": "minutes"},
    )
    p90_arrival_delay: float = pa.Field(
        nullable=True,
        description="One in ten of the completed flights arrived later than this.",
        metadata={"unit": "minutes"},
    )
    flights_in_rain: pl.Int32 = pa.Field(
        ge=0,
        description="Scheduled flights with rain or snow at the origin in the hour of departure.",
        metadata={"unit": "flights"},
    )
    flights_in_dry: pl.Int32 = pa.Field(
        ge=0, description="Scheduled flights without rain or snow.", metadata={"unit": "flights"}
    )
    flights_without_weather: pl.Int32 = pa.Field(
        ge=0, description="Scheduled flights in hours without an observation.", metadata={"unit": "flights"}
    )
    share_cancelled_in_rain: float = pa.Field(
        nullable=True, in_range=(0, 1), description="Cancelled flights by scheduled ones, in rain."
    )
    share_cancelled_in_dry: float = pa.Field(
        nullable=True, in_range=(0, 1), description="Cancelled flights by scheduled ones, in dry weather."
    )
    average_departure_delay_in_rain: float = pa.Field(
        nullable=True, description="Mean departure delay in rain.", metadata={"unit": "minutes"}
    )
    average_departure_delay_in_dry: float = pa.Field(
        nullable=True, description="Mean departure delay in dry weather.", metadata={"unit": "minutes"}
    )

    class Config:
        """Columns are exactly these; one row for each route and month."""

        strict = True
        unique = ["origin", "destination", "month"]  # noqa: RUF012 - pandera reads a list from its Config

    month_begins = row_check(pl.col("month").dt.day() == 1, description="A month is named by its first day.")
    counts_add_up = row_check(
        pl.col("completed") + pl.col("cancelled") + pl.col("diverted") == pl.col("flights"),
        description="Each scheduled flight was completed, cancelled or diverted.",
    )
    shares_add_up = row_check(
        (pl.col("share_completed") + pl.col("share_cancelled") + pl.col("share_diverted") - 1).abs()
        < _ROUNDING,
        description="The three shares make one.",
    )
    weather_adds_up = row_check(
        pl.col("flights_in_rain") + pl.col("flights_in_dry") + pl.col("flights_without_weather")
        == pl.col("flights"),
        description="Each scheduled flight had rain, dry weather, or no observation.",
    )
    percentiles_ordered = row_check(
        pl.col("median_arrival_delay") <= pl.col("p90_arrival_delay"),
        description="The median is not above the ninetieth percentile.",
    )
    averages_where_completed = row_check(
        (pl.col("completed") > 0) == pl.col("average_arrival_delay").is_not_null(),
        description="There is an average arrival delay if, and only if, a flight was completed.",
    )
    enough_flights = row_check(
        pl.col("flights") >= 10,
        severity="warn",
        description="Fewer than ten flights say little about a route.",
    )
