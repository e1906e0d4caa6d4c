"""Masks: one masked value in Python, DuckDB and PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dp_dagster.access.masks import SHOWN_MOST, Masks, carried, masked_column
from dp_dagster.access.view import DatasetView
from dp_dagster.contracts.model import Column
from dp_dagster.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.predicates.sql import Dialect
    from dp_dagster.settings import MaskMethod

SECRET = "a secret of the platform, long enough to be more than one block of SHA-256"
MASKS = Masks(SECRET.encode())
NAME = Column('the "name" %', "string")
TEXTS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12),
    st.from_regex(r"[^@\x00]{0,3}@[a-z.-]{0,5}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Ada Lovelace", "A•••"),
        ("ada@example.com", "a•••@example.com"),
        ("a@example.com", "•••@example.com"),
        ("@example.com", "@•••"),
        ("ask ada@example.com, she is ill", "a•••"),
        ("ada@home@example.com", "a•••"),
        ("É", "•••"),
        ("", "•••"),
        (None, None),
    ],
)
def test_partial_keeps_little(value: Any, shown: Any) -> None:
    assert MASKS.value(value, "partial") == shown


def test_the_other_methods() -> None:
    expected = hmac.new(SECRET.encode(), b"Ada", hashlib.sha256).hexdigest()[:32]
    assert MASKS.value("Ada", "hash") == expected
    assert MASKS.value(None, "hash") is None
    assert MASKS.value("Ada", "redact") == MASKS.value(None, "redact") == "•••"
    assert MASKS.value("Ada", "null") is None
    assert Masks(b"another secret of the platform").value("Ada", "hash") != expected


def test_what_cannot_be_kept_is_null() -> None:
    assert {carried(method, "string") for method in SHOWN_MOST} == set(SHOWN_MOST)
    for kind in ("int32", "decimal(4,2)", "date", "binary", "list<string>", "bool"):
        assert {carried(method, kind) for method in SHOWN_MOST} == {"null"}
    assert masked_column(Column("a", "string", nullable=False), "redact").nullable is False
    assert masked_column(Column("a", "string", nullable=False), "hash").nullable is True


def test_rows_are_masked_by_place() -> None:
    view = DatasetView("people", ("id", "name", "age"), {"name": "redact", "age": "null"})
    mask = MASKS.row_function(view, ("age", "id", "name"))
    assert mask is not None
    assert mask([36, 1, "Ada"]) == (None, 1, "•••")
    assert MASKS.row_function(view, ("id",)) is None


def test_a_hash_needs_a_secret_and_never_tells_it() -> None:
    view = DatasetView("people", ("name",), {"name": "hash"})
    without = Masks.from_environment({})
    with pytest.raises(SettingsError, match="DP_MASK_SECRET; make one with: openssl rand -hex 32"):
        without.check(view)
    with pytest.raises(SettingsError, match="DP_MASK_SECRET"):
        without.row_function(view, ("name",))
    with pytest.raises(SettingsError, match="shorter than 16 bytes") as caught:
        Masks.from_environment({"DP_MASK_SECRET": "swordfish"})
    assert "swordfish" not in str(caught.value)
    made = Masks.from_environment({"DP_MASK_SECRET": SECRET})
    made.check(view)
    assert SECRET not in repr(made)


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def postgres(postgresql_server: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(
        postgresql_server.replace("+psycopg", "") + "/postgres", autocommit=True
    ) as connection:
        yield connection


def masked_by(connection: Any, dialect: Dialect, value: str | None, method: MaskMethod, secret: Masks) -> Any:
    sql, parameters = secret.sql(NAME, method, dialect)
    mark, text = ("?", "varchar") if dialect == "duckdb" else ("%s", "text")
    name = '"the ""name"" %"' if dialect == "duckdb" else '"the ""name"" %%"'
    query = f"select {sql} from (select cast({mark} as {text}) as {name}) as source"
    return connection.execute(query, (*parameters, value)).fetchone()[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXTS, method=st.sampled_from(SHOWN_MOST))
@example(value="ada@example.com", method="partial")
@example(value="a\nb@example.com\n", method="partial")
@example(value="\U0001f469\u200d\U0001f680 Ada", method="partial")
def test_duckdb_masks_as_python_does(duck: Any, value: str | None, method: MaskMethod) -> None:
    assert masked_by(duck, "duckdb", value, method, MASKS) == MASKS.value(value, method)


@pytest.mark.slow
@pytest.mark.needs("postgresql")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXTS, method=st.sampled_from(SHOWN_MOST))
@example(value="ada@example.com", method="partial")
@example(value="a\nb@example.com\n", method="partial")
@example(value="\U0001f469\u200d\U0001f680 Ada", method="partial")
def test_postgresql_masks_as_python_does(postgres: Any, value: str | None, method: MaskMethod) -> None:
    short = Masks(b"a short secret of less than a block")
    assert masked_by(postgres, "postgres", value, method, short) == short.value(value, method)


def test_null_keeps_the_type(duck: Any) -> None:
    sql, parameters = MASKS.sql(Column("amount", "decimal(4,2)"), "null", "duckdb")
    assert re.search(r"decimal\(4,2\)", sql)
    assert duck.execute(f"select typeof({sql})", parameters).fetchone() == ("DECIMAL(4,2)",)
