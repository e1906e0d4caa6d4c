"""The transforms of `route_punctuality` on small upstream tables made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.load import load_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCT = Path(__file__).resolve().parent.parent
TRANSFORMS = PRODUCT / "transforms"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the transforms as views over empty input ports."""
    with duckdb.connect() as opened:
        opened.execute("set TimeZone = 'UTC'")
        opened.execute(
            "create table flights (flight_id varchar, flight_date date, origin varchar, destination varchar, "
            "distance integer, status varchar, departure_delay integer, arrival_delay integer, "
            "scheduled_departure timestamptz)"
        )
        opened.execute("create table weather (origin varchar, observed_at timestamptz, precipitation double)")
        opened.execute("create table airports as select 'BUF' as airport, 'Buffalo Niagara Intl' as name")
        for name in ("flights_with_weather", "route_months"):
            opened.execute(f"create view {name} as {(TRANSFORMS / f'{name}.sql').read_text()}")
        yield opened


def fly(
    connection: duckdb.DuckDBPyConnection,
    status: str = "completed",
    departure_delay: int | None = 0,
    arrival_delay: int | None = 0,
    *,
    at: str = "2013-01-31 15:30:00+00",
    date: str = "2013-01-31",
    destination: str = "BUF",
) -> None:
    """Add a flight."""
    connection.execute(
        "insert into flights values ('x', ?, 'JFK', ?, 301, ?, ?, ?, ?)",
        [date, destination, status, departure_delay, arrival_delay, at],
    )


def observe(
    connection: duckdb.DuckDBPyConnection, at: str, precipitation: float, origin: str = "JFK"
) -> None:
    """Add an hour of weather."""
    connection.execute("insert into weather values (?, ?, ?)", [origin, at, precipitation])


def months(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The result, sorted by its key."""
    made: list[dict[str, Any]] = (
        connection.sql("from route_months order by origin, destination, month").pl().to_dicts()
    )
    return made


def test_punctual_is_less_than_fifteen_minutes_late(connection: duckdb.DuckDBPyConnection) -> None:
    """Early and 14 minutes count, 15 does not; only completed flights are asked."""
    for delay in (-20, 14, 15, 300):
        fly(connection, arrival_delay=delay)
    fly(connection, "cancelled", None, None)
    (month,) = months(connection)
    assert month["punctuality"] == 0.5
    assert month["flights"] == 5
    assert month["share_completed"] == 0.8
    assert month["share_cancelled"] == 0.2


def test_month_without_a_completed_flight(connection: duckdb.DuckDBPyConnection) -> None:
    """Averages of nothing are null, and the row is there all the same."""
    fly(connection, "cancelled", None, None)
    fly(connection, "diverted", 12, None)
    (month,) = months(connection)
    assert (month["completed"], month["cancelled"], month["diverted"]) == (0, 1, 1)
    assert month["punctuality"] is None
    assert month["average_arrival_delay"] is None
    assert month["average_departure_delay"] == 12


def test_weather_is_that_of_the_hour_and_the_origin(connection: duckdb.DuckDBPyConnection) -> None:
    """15:00 UTC covers departures from 15:00 to 15:59; rain elsewhere or an hour later does not matter."""
    observe(connection, "2013-01-31 15:00:00+00", 0.02)
    observe(connection, "2013-01-31 16:00:00+00", 0.0)
    observe(connection, "2013-01-31 16:00:00+00", 0.5, origin="EWR")
    fly(connection, departure_delay=40, at="2013-01-31 15:00:00+00")
    fly(connection, departure_delay=20, at="2013-01-31 15:59:00+00")
    fly(connection, departure_delay=4, at="2013-01-31 16:00:00+00")
    fly(connection, "cancelled", None, None, at="2013-01-31 15:10:00+00")
    fly(connection, departure_delay=9, at="2013-01-31 20:00:00+00")
    (month,) = months(connection)
    assert (month["flights_in_rain"], month["flights_in_dry"], month["flights_without_weather"]) == (3, 1, 1)
    assert month["average_departure_delay_in_rain"] == 30
    assert month["average_departure_delay_in_dry"] == 4
    assert month["share_cancelled_in_rain"] == pytest.approx(1 / 3)
    assert month["share_cancelled_in_dry"] == 0


def test_month_is_that_of_the_local_date(connection: duckdb.DuckDBPyConnection) -> None:
    """A flight at 19:30 on the last of January in New York is in February for UTC only."""
    fly(connection, at="2013-02-01 00:30:00+00", date="2013-01-31")
    fly(connection, at="2013-02-01 15:30:00+00", date="2013-02-01")
    assert [str(month["month"]) for month in months(connection)] == ["2013-01-01", "2013-02-01"]


def test_destination_that_is_not_listed_keeps_its_flights(connection: duckdb.DuckDBPyConnection) -> None:
    """San Juan has no name, and is there."""
    fly(connection)
    fly(connection, destination="SJU")
    assert [(month["destination"], month["destination_name"]) for month in months(connection)] == [
        ("BUF", "Buffalo Niagara Intl"),
        ("SJU", None),
    ]


def test_percentiles(connection: duckdb.DuckDBPyConnection) -> None:
    """Median and ninetieth percentile of the arrival delays 0 to 100."""
    for delay in range(101):
        fly(connection, arrival_delay=delay)
    (month,) = months(connection)
    assert (month["median_arrival_delay"], month["p90_arrival_delay"]) == (50, 90)


def broken_rules(connection: duckdb.DuckDBPyConnection, query: str, folder: Path) -> set[str]:
    """Rules of severity error that some rows break."""
    file = folder / "rows.parquet"
    connection.sql(query).write_parquet(str(file))
    contract = load_contract("contracts/route_punctuality.py:RoutePunctuality", product_root=PRODUCT)
    found = evaluate(contract, [str(file)], product_root=PRODUCT)
    return {result.rule_id for result in found.results if result.severity == "error" and not result.passed}


def test_contract_holds_for_odd_months(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """No completed flight, one flight alone, no weather, no name: all of it is allowed."""
    fly(connection, "cancelled", None, None)
    fly(connection, date="2013-02-01")
    fly(connection, "diverted", 3, None, destination="SJU")
    observe(connection, "2013-01-31 15:00:00+00", 0.3)
    assert broken_rules(connection, "from route_months", tmp_path) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("share_cancelled + 0.01 as share_cancelled", "shares_add_up"),
        ("flights_in_rain + 1::integer as flights_in_rain", "weather_adds_up"),
        ("cancelled + 1::integer as cancelled", "counts_add_up"),
        ("p90_arrival_delay - 1 as p90_arrival_delay", "percentiles_ordered"),
        ("month + 1 as month", "month_begins"),
        ("null::double as average_arrival_delay", "averages_where_completed"),
    ],
)
def test_contract_notices_wrong_figures(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, change: str, rule: str
) -> None:
    """Each rule over several columns fails when the figure that it guards is wrong."""
    fly(connection)
    assert broken_rules(connection, f"select * replace ({change}) from route_months", tmp_path) == {rule}


def test_contract_notices_a_month_twice(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """The key is origin, destination and month together."""
    fly(connection)
    fly(connection, destination="SJU")
    assert broken_rules(connection, "from route_months", tmp_path) == set()
    (rule,) = broken_rules(connection, "from route_months union all from route_months", tmp_path)
    assert rule.startswith("unique")
