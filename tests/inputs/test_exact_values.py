"""No value is changed on its way in: it fits the type that is declared for it, or it is judged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from api_server import ApiShop, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_dagster.engines.duckdb import prepare
from dp_dagster.errors import InputError
from dp_dagster.ports.inputs.exactly import Reading, write_exactly
from dp_dagster.ports.inputs.floats import is_written_as
from dp_dagster.ports.inputs.json_numbers import dumps, dumps_as_text, loads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from input_helpers import Landed

CONTRACT = """\
import pandera.polars as pa

Rows = pa.DataFrameSchema({"name": pa.Column(str, metadata={"classification": "pii"}, required=False)})
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ApiShop]:
    shop, server = serve()
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(server: ApiShop) -> ApiShop:
    server.records, server.faults, server.asked, server.token = [], [], [], ""
    return server


def bare(value: str) -> str:
    """A value of JSON as CSV has it."""
    return value.strip('"')


class Source:
    """Records, given to a product by an API or as a file."""

    def __init__(self, how: str, landed: Landed, api: ApiShop) -> None:
        self.how = how
        self.landed = landed
        self.api = api

    def declare(self, types: dict[str, str], **options: Any) -> None:
        if self.how == "HTTP":
            options = {"type": "HTTP", "url": f"{self.api.url}/raw", **options}
        else:
            options = {"type": "FILES", "path": f"in/a.{self.how}", **options}
        self.landed.declare({**options, "types": types})

    def give(self, *values: str, name: str = "v") -> None:
        """One record for each value, written as it stands here."""
        if self.how == "csv":
            text = f"id,{name}\n" + "".join(
                f"{number},{bare(value)}\n" for number, value in enumerate(values, 1)
            )
        else:
            rows = ", ".join(f'{{"id": {n}, "{name}": {value}}}' for n, value in enumerate(values, 1))
            text = f"[{rows}]"
        if self.how == "HTTP":
            self.api.raw = text
        else:
            file = self.landed.root / "products/small/in" / f"a.{self.how}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@pytest.fixture(params=["HTTP", "json", "csv"])
def source(request: pytest.FixtureRequest, landed: Landed, api: ApiShop) -> Source:
    return Source(request.param, landed, api)


def types(source: Source, kind: str) -> dict[str, str]:
    """A type, by the name that the kind of port knows it by."""
    names = {"int64": "BIGINT", "float64": "DOUBLE", "timestamp(UTC)": "TIMESTAMPTZ", "float32": "FLOAT"}
    return {"v": kind if source.how == "HTTP" else names.get(kind, kind.upper())}


CHANGED = [
    ("decimal(10,2)", "1.239"),
    ("decimal(20,2)", "12345678901234567.891"),
    ("int64", "1.5"),
    ("float64", "9007199254740993"),
    ("float64", "3.14159265358979323846"),
    ("float64", "39.615278000000005"),
    ("float64", "1e+400"),
    ("float32", "16777217"),
    ("timestamp", '"2026-01-01T00:00:00.123456789"'),
    ("timestamp(UTC)", '"2026-01-01T00:00:00.1234567Z"'),
    ("timestamp", '"2026-01-01T10:00:00+02:00"'),
    ("date", '"2026-01-01T10:00:00"'),
]
KEPT = [
    ("decimal(20,2)", "12345678901234567.89", Decimal("12345678901234567.89")),
    ("decimal(38,20)", "0.12345678901234567890", Decimal("0.12345678901234567890")),
    ("decimal(10,2)", "1.2300", Decimal("1.23")),
    ("decimal(10,2)", "1e3", Decimal(1000)),
    ("decimal(38,19)", "1e16", Decimal("1e16")),
    ("int64", "5.0", 5),
    ("int64", "9223372036854775807", 9223372036854775807),
    ("float64", "0.30000000000000004", 0.30000000000000004),
    ("float64", "9007199254740992", 9007199254740992.0),
    ("float64", "39.615278000000004", 39.615278000000004),
    ("float64", "0.10000000000000000555", 0.1),
    ("float64", "1E-7", 1e-7),
    ("timestamp", '"2026-01-01T10:00:00Z"', datetime(2026, 1, 1, 10)),  # noqa: DTZ001 - a timestamp without zone
    ("timestamp", '"2026-01-01T10:00:00.120000000"', datetime(2026, 1, 1, 10, 0, 0, 120_000)),  # noqa: DTZ001
    ("timestamp(UTC)", '"2026-01-01T10:00:00+02:00"', datetime(2026, 1, 1, 8, tzinfo=UTC)),
    ("float32", "0.1", duckdb.sql("select 0.1::float").fetchall()[0][0]),
]


def test_a_value_that_would_be_changed(source: Source) -> None:
    for kind, value in CHANGED:
        source.declare(types(source, kind))
        source.give(value, value)
        with pytest.raises(InputError) as raised:
            source.landed.land()
        text = str(raised.value)
        assert f"column v: {bare(value)} would be changed as {kind} (2 such values in all)" in text
        assert "declare a type that holds it" in text
    assert not source.landed.table.exists()


def test_rows_with_such_values_are_set_aside(source: Source) -> None:
    source.declare(types(source, "decimal(10,2)"), on_schema_change="quarantine")
    source.give("1.5", "1.239", "2", "12345678901", "1.239", '"free"')
    assert source.landed.land().quarantined_rows == 4
    assert source.landed.rows("id, v") == [(1, Decimal("1.50")), (3, Decimal("2.00"))]
    (first, *_) = source.landed.set_aside()
    assert first[:2] == (["type:v"], "v is no decimal(10,2)")
    assert json.loads(first[2])["v"] == "1.239"
    source.give("7", "8")
    assert not source.landed.land().quarantined_rows
    assert source.landed.rows("v") == [(Decimal("7.00"),), (Decimal("8.00"),)]


def test_what_fits_is_kept_to_its_last_digit(source: Source) -> None:
    for kind, value, kept in KEPT:
        source.declare(types(source, kind))
        source.give(value)
        source.landed.land()
        assert source.landed.rows("v") == [(kept,)], (kind, value)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (("1.5", "9007199254740993"), ("1.5", "9007199254740993")),
        (("0.1", "12345678901234567.89"), ("0.1", "12345678901234567.89")),
        (("1.5", "2.5"), (1.5, 2.5)),
    ],
)
def test_types_that_nobody_declared_hold_what_is_there(
    values: tuple[str, ...], kept: tuple[Any, ...], source: Source
) -> None:
    source.declare({})
    source.give(*values)
    source.landed.land()
    assert [value for (value,) in source.landed.rows("v", "id")] == list(kept)


def test_a_value_that_the_version_before_had_no_room_for_is_drift(landed: Landed, api: ApiShop) -> None:
    source = Source("HTTP", landed, api)
    source.declare({})
    source.give("1.5")
    landed.land()
    source.give("9007199254740993")
    with pytest.raises(InputError, match=r"column v was float64 and is int64 \(9007199254740993\)"):
        landed.land()
    source.give("9007199254740992")
    landed.land()
    assert landed.rows("v") == [(9007199254740992.0,)]


def test_columns_of_files_that_are_read_anew_are_compared_where_asked_for(
    landed: Landed, api: ApiShop
) -> None:
    source = Source("json", landed, api)
    source.declare({}, on_schema_change="stop")
    source.give("1")
    landed.land()
    source.give('"one"')
    with pytest.raises(InputError, match=r"column v was int64 and is string \(one\)"):
        landed.land()


def test_classified_values_are_not_shown(source: Source) -> None:
    contract = CONTRACT.replace('"name"', '"v"').replace("pa.Column(str", "pa.Column(int")
    source.declare({}, contract="contracts/rows.py:Rows")
    folder = source.landed.root / "products/small/contracts"
    folder.mkdir()
    (folder / "rows.py").write_text(contract)
    source.give("1234.5")
    with pytest.raises(InputError, match="column v: a value would be changed as int64") as raised:
        source.landed.land()
    assert "1234" not in str(raised.value)


def test_a_cursor_with_more_digits_than_a_float(landed: Landed, api: ApiShop) -> None:
    landed.declare(
        {
            "type": "HTTP",
            "url": f"{api.url}/raw",
            "cursor": "v",
            "cursor_param": "since",
            "types": {"v": "decimal(30,9)"},
        }
    )
    source = Source("HTTP", landed, api)
    source.give("1732550000.123456788", "1732550000.123456789")
    landed.land()
    assert Decimal(landed.state["cursor"]) <= Decimal("1732550000.123456789")
    assert landed.land().unchanged
    source.give("1732550000.123456788", "1732550000.123456789", "1732550000.123456790")
    landed.land()
    assert landed.rows("v")[-1] == (Decimal("1732550000.123456790"),)
    assert len(landed.rows()) == 3


# -- any value -----------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@given(text=NUMBERS)
def test_json_keeps_all_digits(text: str) -> None:
    value = loads(f'{{"a": [{text}]}}')
    (kept,) = json.loads(dumps(value), parse_float=str, parse_int=str)["a"]
    assert Decimal(kept) == Decimal(text) or (
        float(kept) == float(text) and is_written_as(float(text), Decimal(text))
    )
    (written,) = json.loads(dumps_as_text(value), parse_int=str)["a"]
    assert Decimal(written if isinstance(written, str) else repr(written)) == Decimal(kept)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(NUMBERS, min_size=1, max_size=5),
    kind=st.sampled_from(
        ["DECIMAL(10,2)", "DECIMAL(38,19)", "DECIMAL(3,3)", "BIGINT", "SMALLINT", "DOUBLE", "FLOAT"]
    ),
)
def test_each_number_is_the_same_or_set_aside(
    texts: list[str], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    file, written = folder / "rows.ndjson", folder / "rows.parquet"
    rows = [loads(f'{{"n": {number}, "v": {text}}}') for number, text in enumerate(texts)]
    file.write_text("".join(f"{dumps_as_text(row)}\n" for row in rows))

    def select(types: Any) -> str:
        return f"select * from read_json('{file}', columns = {{n: 'BIGINT', v: '{types.get('v', kind)}'}})"

    with duckdb.connect() as connection:
        prepare(connection)
        aside = write_exactly(connection, Reading(select, ("v",), "the test", sets_aside=True), Path(written))
        kept = connection.sql(f"select n, v::varchar from read_parquet('{written}')").fetchall()
    assert {n for n, _ in kept} | {int(json.loads(one.row)["n"]) for one in aside} == set(range(len(texts)))
    assert len(kept) + len(aside) == len(texts)
    for number, value in kept:
        assert Decimal(value) == Decimal(texts[number]) or (
            kind in {"DOUBLE", "FLOAT"}
            and float(value) == pytest.approx(float(texts[number]), rel=1e-16 if kind == "DOUBLE" else 1e-7)
        )
    for one in aside:
        assert not _holds(kind, Decimal(texts[int(json.loads(one.row)["n"])]))


def _holds(kind: str, value: Decimal) -> bool:
    """Whether a type has exactly this value, by Python alone."""
    if kind in {"DOUBLE", "FLOAT"}:
        # What a float is written as is what it was read from, up to so many digits.
        digits = len(value.normalize().as_tuple().digits)
        return digits <= (15 if kind == "DOUBLE" else 6) and abs(value.adjusted()) < 30
    if kind in {"BIGINT", "SMALLINT"}:
        bits = 63 if kind == "BIGINT" else 15
        return value == value.to_integral_value() and -(2**bits) <= value < 2**bits
    precision, scale = (int(number) for number in kind[8:-1].split(","))
    quantum = Decimal(1).scaleb(-scale)
    if abs(value) >= Decimal(10) ** (precision - scale):
        return False
    return value % quantum == 0 if value else True
