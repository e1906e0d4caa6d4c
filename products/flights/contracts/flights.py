"""What consumers of the dataset `flights` may rely on."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check

Instant = Annotated[pl.Datetime, "us", "UTC"]


class Flights(pa.DataFrameModel):
    """Every flight scheduled out of New York City in 2013, with times in UTC.

    Cancelled flights stay in, with neither times nor delays. Unknown planes and destinations are reported, not
    removed. A flight that would have been faster than any airliner is quarantined.
    """

    flight_id: str = pa.Field(
        unique=True,
        str_matches=r"^\d{4}-\d{2}-\d{2}-[A-Z0-9]{2}-\d{1,4}-[A-Z]{3}$",
        description="Local date, carrier, flight number and origin, as 2013-01-01-UA-1545-EWR.",
    )
    flight_date: pl.Date = pa.Field(
        in_range=(date(2013, 1, 1), date(2013, 12, 31)),
        description="Date of the scheduled departure, on the clock of the origin.",
    )
    carrier: str = pa.Field(str_matches=r"^[A-Z0-9]{2}$", description="Two-letter code of the airline.")
    carrier_name: str = pa.Field(description="Name of the airline.")
    flight_number: pl.Int32 = pa.Field(in_range=(1, 9999), description="Number of the flight.")
    tail_number: str = pa.Field(
        nullable=True,
        str_matches=r"^N[1-9][0-9A-Z]{1,4}$",
        raise_warning=True,
        description="Registration of the plane, American ones begin with N. Null for some cancelled flights.",
    )
    plane_known: bool = pa.Field(
        nullable=True,
        eq=True,
        raise_warning=True,
        description="Whether the tail number is among the planes of the source. Null without a tail number.",
    )
    plane_manufacturer: str = pa.Field(nullable=True, description="Who built the plane, where it is known.")
    plane_model: str = pa.Field(nullable=True, description="Model of the plane, where it is known.")
    plane_seats: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(1, 900),
        description="Seats of the plane, where it is known.",
        metadata={"unit": "seats"},
    )
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"], description="Airport of departure.")
    destination: str = pa.Field(str_matches=r"^[A-Z]{3}$", description="Scheduled airport of arrival.")
    destination_known: bool = pa.Field(
        eq=True,
        raise_warning=True,
        description="Whether the destination is among the airports of the source. If not, its clock is unknown.",
    )
    status: str = pa.Field(
        isin=["completed", "cancelled", "diverted"],
        description="`cancelled`: never departed. `diverted`: departed, but has no arrival delay; as a rule it "
        "landed elsewhere first. `completed`: all others.",
    )
    scheduled_departure: Instant = pa.Field(description="Scheduled departure, UTC.")
    scheduled_arrival: Instant = pa.Field(
        nullable=True,
        description="Scheduled arrival, UTC. Null where the destination's clock is unknown.",
    )
    departed_at: Instant = pa.Field(nullable=True, description="Departure, UTC. Null for cancelled flights.")
    arrived_at: Instant = pa.Field(
        nullable=True,
        description="Arrival, UTC. Null unless completed, and where the destination's clock is unknown.",
    )
    utc_hour_agrees: bool = pa.Field(
        eq=True, description="Whether the scheduled departure lies in the UTC hour that the source states."
    )
    departure_delay: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(-120, 2880),
        description="Departure after schedule; negative when early. Null for cancelled flights.",
        metadata={"unit": "minutes"},
    )
    arrival_delay: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(-120, 2880),
        description="Arrival after schedule; negative when early. Null unless completed.",
        metadata={"unit": "minutes"},
    )
    air_time: pl.Int32 = pa.Field(
        nullable=True,
        in_range=(10, 1200),
        description="Time in the air. Null unless completed.",
        metadata={"unit": "minutes"},
    )
    distance: pl.Int32 = pa.Field(
        in_range=(1, 10000), description="Distance between the airports.", metadata={"unit": "miles"}
    )

    class Config:
        """Columns are exactly these."""

        strict = True

    ground_speed = row_check(
        pl.col("distance") * 60 <= pl.col("air_time") * 600,
        description="No airliner covers more than 600 miles in an hour of its time in the air.",
    )
    air_time_within_journey = row_check(
        (pl.col("arrived_at") - pl.col("departed_at")).dt.total_minutes() > pl.col("air_time"),
        description="The time in the air fits between departure and arrival.",
    )
    cancelled_without_delay = row_check(
        (pl.col("status") == "cancelled") == pl.col("departure_delay").is_null(),
        description="A flight lacks a departure delay if, and only if, it was cancelled.",
    )
    completed_with_arrival = row_check(
        ((pl.col("status") == "completed") == pl.col("arrival_delay").is_not_null())
        & ((pl.col("status") == "completed") == pl.col("air_time").is_not_null()),
        description="A flight has an arrival delay and a time in the air if, and only if, it was completed.",
    )
    plane_unless_cancelled = row_check(
        pl.col("tail_number").is_not_null() | (pl.col("status") == "cancelled"),
        description="Only a cancelled flight may lack a tail number.",
    )
    arrival_scheduled = row_check(
        pl.col("scheduled_arrival").is_not_null() | ~pl.col("destination_known"),
        description="The arrival is scheduled wherever the destination is known.",
    )
    worth_flying = row_check(
        pl.col("distance") >= 50,
        severity="warn",
        description="Nobody schedules a flight of less than 50 miles for passengers.",
    )
