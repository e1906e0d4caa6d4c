"""What consumers of the dataset `airports` may rely on."""

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check


class Airports(pa.DataFrameModel):
    """Airports of the United States, with position and time zone.

    Not every destination is listed: airports in Puerto Rico and the Virgin Islands are missing at the source.
    An airport whose longitude lies on the other side of the globe is quarantined.
    """

    airport: str = pa.Field(
        unique=True, str_matches=r"^[A-Z0-9]{3}$", description="Code of the airport (FAA)."
    )
    name: str = pa.Field(str_length={"min_value": 3}, description="Name of the airport. Not unique.")
    latitude: float = pa.Field(
        in_range=(15, 72), description="Latitude, north is positive.", metadata={"unit": "degrees"}
    )
    longitude: float = pa.Field(
        in_range=(-180, 180), description="Longitude, east is positive.", metadata={"unit": "degrees"}
    )
    altitude: pl.Int32 = pa.Field(
        in_range=(-300, 15000), description="Altitude above the sea.", metadata={"unit": "feet"}
    )
    time_zone: str = pa.Field(
        nullable=True,
        str_matches=r"^[A-Z][a-z]+/[A-Za-z_]+$",
        description="IANA time zone; null where the source has none.",
    )
    utc_offset: pl.Int32 = pa.Field(
        in_range=(-12, 12), description="Standard time against UTC.", metadata={"unit": "hours"}
    )

    class Config:
        """Columns are exactly these."""

        strict = True

    in_the_united_states = row_check(
        (pl.col("longitude") <= -60) | (pl.col("longitude") >= 170),
        description="West of 60 degrees west, or among the Aleutian islands beyond the date line.",
    )
    has_time_zone = row_check(
        pl.col("time_zone").is_not_null(),
        severity="warn",
        description="The time zone of an airport is known.",
    )
