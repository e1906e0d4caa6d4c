"""The transforms of `flights` on small inputs made by hand."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TRANSFORMS = Path(__file__).resolve().parent.parent / "transforms"

FLIGHT_DEFAULTS: dict[str, Any] = {
    "year": 2013,
    "month": 1,
    "day": 1,
    "dep_time": 517,
    "sched_dep_time": 515,
    "dep_delay": 2,
    "arr_time": 830,
    "sched_arr_time": 819,
    "arr_delay": 11,
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": 227,
    "distance": 1400,
    "time_hour": "2013-01-01 10:00:00+00",
}
WEATHER_DEFAULTS: dict[str, Any] = {
    "origin": "EWR",
    "year": 2013,
    "month": 1,
    "day": 1,
    "hour": 1,
    "temp": 39.0,
    "dewp": 26.0,
    "humid": 59.0,
    "wind_dir": 270,
    "wind_speed": 10.4,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1012.0,
    "visib": 10.0,
    "time_hour": "2013-01-01 06:00:00+00",
}
AIRPORTS = """
    select * from (values
        ('EWR', 'Newark Liberty Intl', 40.69, -74.17, 18, -5, 'A', 'America/New_York'),
        ('JFK', 'John F Kennedy Intl', 40.64, -73.78, 13, -5, 'A', 'America/New_York'),
        ('IAH', 'George Bush Intercontinental', 29.98, -95.34, 97, -6, 'A', 'America/Chicago'),
        ('LAX', 'Los Angeles Intl', 33.94, -118.41, 126, -8, 'A', 'America/Los_Angeles'),
        ('HNL', 'Honolulu Intl', 21.32, -157.92, 13, -10, 'N', 'Pacific/Honolulu'),
        ('BUF', 'Buffalo Niagara Intl', 42.94, -78.73, 724, -5, 'A', 'America/New_York')
    ) as airport (faa, name, lat, lon, alt, tz, dst, tzone)
"""


@pytest.fixture
def times() -> ModuleType:
    """The module of the Python transforms."""
    spec = importlib.util.spec_from_file_location("universal_time", TRANSFORMS / "universal_time.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the small tables beside the flights and the weather."""
    with duckdb.connect() as opened:
        opened.execute("set TimeZone = 'UTC'")
        opened.execute(f"create table raw_airports as {AIRPORTS}")
        opened.execute(
            "create table raw_planes as select 'N14228' as tailnum, 'BOEING' as manufacturer, "
            "'737-824' as model, 149::bigint as seats"
        )
        opened.execute("create table raw_airlines as select 'UA' as carrier, 'United Air Lines Inc.' as name")
        yield opened


def fill(
    connection: duckdb.DuckDBPyConnection, table: str, defaults: dict[str, Any], *rows: dict[str, Any]
) -> None:
    """Make a table whose rows are the defaults with some values changed; numbers as wide as a CSV's."""
    types = {int: "bigint", float: "double", str: "varchar"}
    columns = ", ".join(
        f'"{name}" {"timestamptz" if name == "time_hour" else types.get(type(value), "double")}'
        for name, value in defaults.items()
    )
    connection.execute(f"create table {table} ({columns})")
    marks = ", ".join("?" for _ in defaults)
    for row in rows:
        assert row.keys() <= defaults.keys()
        connection.execute(f"insert into {table} values ({marks})", list({**defaults, **row}.values()))


def utc(text: str) -> datetime:
    """An instant."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def flight_times(
    times: ModuleType, connection: duckdb.DuckDBPyConnection, *rows: dict[str, Any]
) -> list[dict[str, Any]]:
    """What the transform makes of some flights."""
    fill(connection, "raw_flights", FLIGHT_DEFAULTS, *rows)
    made: list[dict[str, Any]] = times.flight_times(connection).to_dicts()
    return made


def test_clocks_of_two_zones_become_utc(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """Departure is read in New York, arrival in Houston."""
    (flight,) = flight_times(times, connection, {})
    assert flight["scheduled_departure"] == utc("2013-01-01T10:15")
    assert flight["departed_at"] == utc("2013-01-01T10:17")
    assert flight["scheduled_arrival"] == utc("2013-01-01T14:19")
    assert flight["arrived_at"] == utc("2013-01-01T14:30")
    assert flight["utc_hour_agrees"] is True


def test_delay_over_midnight_needs_no_guess(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """Scheduled at 23:30 and 51 minutes late: the departure is on the next day, and so is the arrival."""
    late = {
        "dep_time": 21,
        "sched_dep_time": 2330,
        "dep_delay": 51,
        "dest": "BUF",
        "sched_arr_time": 45,
        "arr_time": 130,
        "arr_delay": 45,
        "time_hour": "2013-01-02 04:00:00+00",
    }
    (flight,) = flight_times(times, connection, late)
    assert flight["departed_at"] == utc("2013-01-02T05:21")
    assert flight["scheduled_arrival"] == utc("2013-01-02T05:45")
    assert flight["arrived_at"] == utc("2013-01-02T06:30")


def test_delay_of_more_than_a_day(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """The clocks alone would say 41 minutes; the delay says a day more."""
    (flight,) = flight_times(times, connection, {"dep_delay": 1442, "arr_delay": 1451})
    assert flight["departed_at"] == utc("2013-01-02T10:17")
    assert flight["arrived_at"] == utc("2013-01-02T14:30")


def test_destination_may_be_a_day_behind(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """After midnight in New York it is still yesterday in Honolulu, where the flight then arrives."""
    red_eye = {
        "month": 7,
        "day": 2,
        "sched_dep_time": 30,
        "dep_time": 30,
        "dep_delay": 0,
        "dest": "HNL",
        "sched_arr_time": 530,
        "arr_time": 530,
        "arr_delay": 0,
        "time_hour": "2013-07-02 04:00:00+00",
    }
    (flight,) = flight_times(times, connection, red_eye)
    assert flight["scheduled_departure"] == utc("2013-07-02T04:30")
    assert flight["scheduled_arrival"] == utc("2013-07-02T15:30")


def test_midnight_written_as_2400(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """2400 is the end of the date, not its beginning."""
    (flight,) = flight_times(
        times, connection, {"sched_dep_time": 2400, "time_hour": "2013-01-02 05:00:00+00"}
    )
    assert flight["scheduled_departure"] == utc("2013-01-02T05:00")


def test_cancelled_flight_has_a_schedule_and_no_times(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """Nothing is invented for a flight that never left."""
    (flight,) = flight_times(
        times, connection, {"dep_time": None, "dep_delay": None, "arr_time": None, "arr_delay": None}
    )
    assert flight["scheduled_departure"] == utc("2013-01-01T10:15")
    assert flight["departed_at"] is None
    assert flight["arrived_at"] is None


def test_unlisted_destination_has_no_arrival(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """San Juan is not among the airports, so its clock is unknown."""
    (flight,) = flight_times(times, connection, {"dest": "SJU"})
    assert flight["departed_at"] == utc("2013-01-01T10:17")
    assert flight["scheduled_arrival"] is None
    assert flight["arrived_at"] is None


@pytest.mark.parametrize(
    ("source_hour", "expected"),
    [
        ("2013-11-03 05:00:00+00", "2013-11-03T05:30"),
        ("2013-11-03 06:00:00+00", "2013-11-03T06:30"),
        ("2013-11-03 11:00:00+00", "2013-11-03T05:30"),
    ],
    ids=["first", "second", "no evidence"],
)
def test_departure_in_the_hour_that_repeats(
    times: ModuleType, connection: duckdb.DuckDBPyConnection, source_hour: str, expected: str
) -> None:
    """01:30 happens twice; the source's UTC hour decides, and without evidence it is the first."""
    (flight,) = flight_times(
        times, connection, {"month": 11, "day": 3, "sched_dep_time": 130, "time_hour": source_hour}
    )
    assert flight["scheduled_departure"] == utc(expected)
    assert flight["utc_hour_agrees"] is (source_hour[:13] == expected[:13].replace("T", " "))


@pytest.mark.parametrize(
    ("departure", "source_hour", "expected"),
    [
        (2350, "2013-11-03 03:00:00+00", "2013-11-03T05:10"),
        (145, "2013-11-03 05:00:00+00", "2013-11-03T06:10"),
    ],
    ids=["both are after the departure", "only the second is"],
)
def test_arrival_in_the_hour_that_repeats(
    times: ModuleType, connection: duckdb.DuckDBPyConnection, departure: int, source_hour: str, expected: str
) -> None:
    """01:10 happens twice: the first that is after the departure."""
    (flight,) = flight_times(
        times,
        connection,
        {
            "month": 11,
            "day": 2 if departure == 2350 else 3,
            "sched_dep_time": departure,
            "dest": "BUF",
            "sched_arr_time": 110,
            "time_hour": source_hour,
        },
    )
    assert flight["scheduled_arrival"] == utc(expected)


def test_arrival_clock_in_the_hour_that_is_skipped(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """The source wrote 02:03 for a night without that hour; schedule and delay give the instant."""
    (flight,) = flight_times(
        times,
        connection,
        {
            "month": 3,
            "day": 9,
            "sched_dep_time": 2145,
            "dep_time": 2306,
            "dep_delay": 81,
            "dest": "BUF",
            "sched_arr_time": 34,
            "arr_time": 203,
            "arr_delay": 89,
            "time_hour": "2013-03-10 02:00:00+00",
        },
    )
    assert flight["departed_at"] == utc("2013-03-10T04:06")
    assert flight["arrived_at"] == utc("2013-03-10T07:03")


def test_departure_in_the_hour_that_is_skipped(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """02:30 does not exist that day: null, for the contract to name, rather than an hour made up."""
    (flight,) = flight_times(
        times,
        connection,
        {"month": 3, "day": 10, "sched_dep_time": 230, "time_hour": "2013-03-10 07:00:00+00"},
    )
    assert flight["scheduled_departure"] is None


def test_weather_of_the_hour_that_repeats(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """Two observations at 01:00 are two instants, whichever comes first in the file."""
    night = {"month": 11, "day": 3, "hour": 1}
    fill(
        connection,
        "raw_weather",
        WEATHER_DEFAULTS,
        {**night, "temp": 50.0, "time_hour": "2013-11-03 06:00:00+00"},
        {**night, "temp": 52.0, "time_hour": "2013-11-03 05:00:00+00"},
    )
    observed = {row["temp"]: row["observed_at"] for row in times.weather_times(connection).to_dicts()}
    assert observed == {52.0: utc("2013-11-03T05:00"), 50.0: utc("2013-11-03T06:00")}


def test_weather_whose_two_clocks_disagree_is_told(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """The source says another UTC hour than its own local clock."""
    fill(connection, "raw_weather", WEATHER_DEFAULTS, {"time_hour": "2013-01-01 09:00:00+00"})
    (hour,) = times.weather_times(connection).to_dicts()
    assert hour["observed_at"] == utc("2013-01-01T06:00")
    assert hour["utc_hour_agrees"] is False


def enriched(
    times: ModuleType, connection: duckdb.DuckDBPyConnection, *rows: dict[str, Any]
) -> list[dict[str, Any]]:
    """What Python and SQL together make of some flights."""
    fill(connection, "raw_flights", FLIGHT_DEFAULTS, *rows)
    connection.register("flight_times", times.flight_times(connection).to_arrow())
    made: list[dict[str, Any]] = (
        connection.sql((TRANSFORMS / "flights_enriched.sql").read_text()).pl().sort("flight_id").to_dicts()
    )
    return made


def test_every_flight_is_kept_whatever_is_unknown(
    times: ModuleType, connection: duckdb.DuckDBPyConnection
) -> None:
    """Unknown plane, destination and airline leave their rows, with what is unknown said."""
    rows = enriched(
        times,
        connection,
        {"flight": 1},
        {"flight": 2, "tailnum": "N0EGMQ"},
        {
            "flight": 3,
            "tailnum": None,
            "dep_time": None,
            "dep_delay": None,
            "arr_time": None,
            "arr_delay": None,
        },
        {"flight": 4, "dest": "SJU", "carrier": "XX"},
    )
    assert [row["flight_id"][-5:] for row in rows] == ["1-EWR", "2-EWR", "3-EWR", "4-EWR"]
    assert [row["plane_known"] for row in rows] == [True, False, None, True]
    assert [row["destination_known"] for row in rows] == [True, True, True, False]
    assert [row["carrier_name"] for row in rows] == ["United Air Lines Inc."] * 3 + [None]


def test_status_of_a_flight(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """Cancelled, diverted (with and without a time of arrival) and completed flights are told apart."""
    rows = enriched(
        times,
        connection,
        {"flight": 1},
        {
            "flight": 2,
            "dep_time": None,
            "dep_delay": None,
            "arr_time": None,
            "arr_delay": None,
            "air_time": None,
        },
        {"flight": 3, "arr_time": None, "arr_delay": None, "air_time": None},
        {"flight": 4, "arr_delay": None, "air_time": None},
    )
    assert [row["status"] for row in rows] == ["completed", "cancelled", "diverted", "diverted"]


def test_weather_shows_leaps_and_gaps(times: ModuleType, connection: duckdb.DuckDBPyConnection) -> None:
    """Each observation is compared with the one before at the same airport."""
    fill(
        connection,
        "raw_weather",
        WEATHER_DEFAULTS,
        {},
        {"hour": 2, "temp": 40.5, "time_hour": "2013-01-01 07:00:00+00"},
        {"hour": 5, "temp": 90.5, "time_hour": "2013-01-01 10:00:00+00"},
        {"origin": "JFK", "hour": 5, "time_hour": "2013-01-01 10:00:00+00"},
    )
    connection.register("weather_times", times.weather_times(connection).to_arrow())
    rows = connection.sql(
        f"select origin, temperature_change, hours_since_previous from "
        f"({(TRANSFORMS / 'weather_hourly.sql').read_text()}) order by origin, observed_at"
    ).fetchall()
    assert rows == [("EWR", None, None), ("EWR", 1.5, 1), ("EWR", 50.0, 3), ("JFK", None, None)]
