"""A SQL port on Snowflake, as fakesnow plays it; what a guarded view would show is computed by DuckDB."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sql_helpers import Shop

from dp_dagster.access.masks import Masks
from dp_dagster.contracts.model import Column
from dp_dagster.errors import AuthorError, SettingsError, StoreError
from dp_dagster.ports.outputs.sql.guard import guard_of
from dp_dagster.ports.outputs.sql.loading import batches
from dp_dagster.testing.access import ACCESS, CONSUMERS, DATASET, MASK_SECRET, ROWS
from dp_dagster.testing.served_stand import people

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.ports.outputs.sql.guard import Guard


class SnowShop(Shop):
    """The product with its port on Snowflake."""

    def __init__(self, folder: Path, server: dict[str, Any]) -> None:
        super().__init__(folder, "")
        self.server = server
        self.port["endpoint"] = f"snowflake://{server['database'].lower()}/sales/vw_people"
        self.access = None

    def ask(self, query: str, user: str = "", values: Any = None) -> list[tuple[Any, ...]]:  # noqa: ARG002
        import snowflake.connector

        with snowflake.connector.connect(**self.server) as connection:
            return [tuple(row) for row in connection.cursor().execute(query, values).fetchall()]

    def tables(self) -> set[str]:
        rows = self.ask("select table_name from information_schema.tables where table_schema = 'DP_SHOP'")
        return {row[0] for row in rows} - {"PORTS", "CLAIMS"}


@pytest.fixture
def snow(tmp_path: Path, snowflake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> SnowShop:
    monkeypatch.setenv("DP_MASK_SECRET", MASK_SECRET)
    for name in ("account", "user", "password", "host", "port", "protocol"):
        monkeypatch.setenv(f"SNOWFLAKE_{name.upper()}", str(snowflake[name]))
    return SnowShop(tmp_path, snowflake)


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_versions_come_in_beside_and_are_shown_at_once(snow: SnowShop) -> None:
    outcome = snow.run(2)
    assert outcome.address == snow.port["endpoint"]
    assert outcome.metadata == {"account": "fakesnow", "view": "sales.vw_people"}
    snow.run(3)
    # Unquoted, as people write it.
    assert snow.ask("select name, salary from sales.vw_people order by id") == [
        (row[1], row[3]) for row in ROWS[:3]
    ]
    snow.run(5)
    assert snow.ask("select * from sales.vw_people order by id") == list(ROWS)
    assert len(snow.tables()) == 2, "what is shown, and the one before, which somebody may still be reading"
    snow.project()
    assert len(snow.tables()) == 1
    snow.probe()
    snow.ask("drop view sales.vw_people")
    with pytest.raises(StoreError):
        snow.probe()
    assert "had been dropped" in snow.project().metadata["differs"]
    assert len(snow.ask("select id from sales.vw_people")) == len(ROWS)


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_every_type_comes_out_as_it_went_in(snow: SnowShop) -> None:
    kinds = {
        "id": pa.int64(), "Small name": pa.int8(), 'q"uote': pa.string(), "raw": pa.binary(), "flag": pa.bool_(),
        "at": pa.timestamp("us"), "zoned": pa.timestamp("us", "UTC"), "part": pa.float32(), "day": pa.date32(),
        "amount": pa.decimal128(38, 2),
    }  # fmt: skip
    moment = datetime(2026, 1, 31, 8, 30, 0, 123456)  # noqa: DTZ001 - a time without a zone is meant
    values = [
        (1, -128, "it's\\n", b"\x00\xff", True, moment, moment.replace(tzinfo=UTC), 0.5, date(1, 1, 1),
         Decimal("999999999999999999999999999999999999.99")),
        (2, *[None] * 9),
    ]  # fmt: skip
    snow.contract = (
        "import pandera.polars as pa\n\nPeople = pa.DataFrameSchema({'id': pa.Column(int, unique=True)})\n"
    )
    columns = list(zip(*values, strict=True))
    snow.run(
        pa.table(
            {
                name: pa.array(list(column), kind)
                for (name, kind), column in zip(kinds.items(), columns, strict=True)
            }
        )
    )
    found = snow.ask("select * from sales.vw_people order by id")
    assert [
        tuple(bytes(one) if isinstance(one, bytearray) else one for one in row) for row in found
    ] == values
    assert snow.ask('select "Small name", "q""uote", raw from sales.vw_people where id = 1')[0][0] == -128


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_what_was_not_loaded_whole_is_removed(snow: SnowShop, monkeypatch: pytest.MonkeyPatch) -> None:
    snow.run(2)
    from dp_dagster.ports.outputs.sql.snowflake import publication

    def lost(*_: Any) -> Any:
        raise StoreError("connection lost")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(publication._Publisher, "_files", lost)
        with pytest.raises(StoreError, match="connection lost"):
            snow.run(5)
    assert any(name.endswith("_LOADING") for name in snow.tables())
    assert len(snow.ask("select id from sales.vw_people")) == 2
    snow.project()
    assert len(snow.ask("select id from sales.vw_people")) == 5
    assert not any(name.endswith("_LOADING") for name in snow.tables())


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_where_roles_are_unknown_nothing_guarded_is_published(snow: SnowShop) -> None:
    """fakesnow does not know who has which role: no mask would hold."""
    snow.access = ACCESS
    with pytest.raises(
        StoreError, match="masks and row filters would not hold, and nothing was published"
    ) as caught:
        snow.run()
    assert len(str(caught.value).splitlines()) == 1
    assert snow.tables() == set()
    assert snow.ask("select table_name from information_schema.views where table_schema = 'SALES'") == []


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_what_is_not_ours_is_left_alone(snow: SnowShop) -> None:
    snow.ask("create schema sales")
    snow.ask("create view sales.vw_people as select 1 as x")
    with pytest.raises(StoreError, match="no port of this product made it"):
        snow.run()
    assert snow.ask("select x from sales.vw_people") == [(1,)]


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def test_values_and_types_that_it_cannot_hold(snow: SnowShop) -> None:
    snow.run(2)
    table = people(5)
    days = pa.array([0, 3_000_000, None, 5, -1_000_000], pa.int32()).cast(pa.date32())
    at = table.schema.get_field_index("joined")
    with pytest.raises(
        AuthorError, match=r"2 values of column joined \(date\): they go from 0769-02-04 \(BC\) to 1"
    ):
        snow.run(table.set_column(at, "joined", days))
    assert len(snow.ask("select id from sales.vw_people")) == 2


def test_the_account_comes_from_the_environment(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCOUNT", "USER"):
        monkeypatch.delenv(f"SNOWFLAKE_{name}", raising=False)
    shop = SnowShop(tmp_path, {"database": "db"})
    with pytest.raises(SettingsError, match="SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER is not set"):
        shop.run()
    shop.port["credentials"] = "SHOP"
    for name, value in {"ACCOUNT": "a", "USER": "ada", "PASSWORD": "hunter2", "HOST": "db.example.com",
                        "PROTOCOL": "http"}.items():  # fmt: skip
        monkeypatch.setenv(f"SHOP_{name}", value)
    with pytest.raises(SettingsError, match="only https leaves this machine"):
        shop.project()
    monkeypatch.setenv("SHOP_HOST", "127.0.0.1")
    monkeypatch.setenv("SHOP_PORT", str(free_port))
    shop.port["timeout"] = 1.0
    with pytest.raises(StoreError, match=r"^Snowflake account a, database DB: ") as caught:
        shop.project()
    assert "hunter2" not in str(caught.value)


# -- what a guarded view shows, without a server -----------------------------------------------------------------


def shows(guard: Guard, query: str, snapshot: Any, consumer: Any) -> list[tuple[Any, ...]]:
    """Run the view's query by DuckDB as somebody who has signed in."""
    text = sqlglot.transpile(query, read="snowflake", write="duckdb")[0]
    identity = consumer.identity
    claims: list[tuple[str, str, str]] = [("ME", "scope", scope) for scope in identity.scopes]
    for name, value in identity.claims:
        claims += [("ME", name, str(one)) for one in (value if isinstance(value, tuple) else (value,))]
    with duckdb.connect() as connection:
        roles = [role.upper() for role in identity.roles]
        me = identity.subject.upper() if identity.subject == "auditor" else "ME"
        connection.execute(
            f"create macro is_role_in_session(name) as list_contains({roles!r}::varchar[], name)"
        )
        connection.execute("create table CLAIMS (LOGIN varchar, CLAIM varchar, VALUE varchar)")
        if claims:
            connection.executemany("insert into CLAIMS values (?, ?, ?)", claims)
        with batches(snapshot, guard.stored, Masks(MASK_SECRET.encode())) as found:
            rows = pa.Table.from_batches(list(found)).rename_columns(
                [f"C{n}" for n in range(len(guard.stored))]
            )
        connection.register("T1", rows)
        text = re.sub(r"CURRENT_USER(\(\))?", f"'{me}'", text)
        return connection.execute(text).fetchall()


def test_each_consumer_sees_what_the_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dp_dagster.ports.outputs.sql.snowflake.view import ViewWriter, roles_of, sayable

    monkeypatch.setenv("DP_MASK_SECRET", MASK_SECRET)
    shop = SnowShop(tmp_path, {"database": "db"})
    shop.access = ACCESS
    snapshot = shop.publish()
    guarded = shop.product().access.datasets[DATASET]
    assert not any(sayable(grant, dict(guarded.types)) for grant in guarded.grants)
    guard = guard_of(snapshot.columns, guarded, guarded.grants, "version 0")
    query = ViewWriter(guard, dict(guarded.types), "T1", "CLAIMS").query()
    assert MASK_SECRET not in query
    assert "sha256" not in query.lower()
    names = [column.name for column in guard.columns]
    for consumer in CONSUMERS:
        found = sorted(shows(guard, query, snapshot, consumer))
        if not consumer.sees_something:
            assert found == [], consumer.name
            continue
        shown = [tuple(row[names.index(name)] for name in consumer.columns) for row in found]
        assert shown == list(consumer.rows), consumer.name
        hidden = [row[names.index(name)] for row in found for name in consumer.hidden]
        assert set(hidden) <= {None}, consumer.name
    assert roles_of(guard) == ["ANALYST", "HR", "MANAGER", "MATCHER", "NORTH", "PUBLIC", "READER"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("string", "it's \\ 'x", "'it''s \\\\ ''x'"),
        ("int64", -5, "-5"),
        ("bool", True, "true"),
        ("decimal(10,2)", Decimal("1E+2"), "100"),
        ("float64", float("nan"), "cast('NaN' as float)"),
        ("float64", 0.1, "cast(0.1 as float)"),
        ("date", date(2026, 1, 31), "cast('2026-01-31' as date)"),
        ("timestamp(UTC)", datetime(2026, 1, 31, tzinfo=UTC), "cast('2026-01-31 00:00:00+00:00' as timestamp_tz(6))"),
        ("binary", b"\x01\xff", "to_binary('01ff', 'HEX')"),
    ],
)  # fmt: skip
def test_values_of_conditions(kind: str, value: Any, text: str) -> None:
    from dp_dagster.ports.outputs.sql.snowflake.view import value_literal

    assert value_literal(value, kind) == text
    sqlglot.parse_one(f"select {text}", read="snowflake")


def test_names_are_those_that_need_no_quotes() -> None:
    from dp_dagster.ports.outputs.sql.snowflake.names import full_name

    assert full_name("db", "sales", "Vw", 'a"b', "1x", "ünder") == '"DB"."SALES"."Vw"."a""b"."1x"."ünder"'


def test_types_that_it_does_not_have_are_named() -> None:
    from dp_dagster.ports.outputs.sql.snowflake.types import HOLDING

    with pytest.raises(
        AuthorError, match=r"shop/v1/x: Snowflake cannot hold column tags: its type is list<string>"
    ):
        HOLDING.check("shop/v1/x", None, [Column("tags", "list<string>"), Column("one", "int64")])  # type: ignore[arg-type]
