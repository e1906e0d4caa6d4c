"""Where the columns of a query come from, and what decides over its rows."""

from __future__ import annotations

import pytest

from dp_dagster.engines.column_origins import Origins, origins_of_query
from dp_dagster.errors import TransformError

TABLES = {"t": ("a", "b", "c"), "s": ("k", "z"), "Mixed": ("Key", "Value"), "dark": None, "dim": None}


def told(query: str) -> tuple[dict[str, list[str]], list[str], dict[str, str]]:
    origins = origins_of_query(query, TABLES, file="q.sql")
    columns = {
        name: [f"{one.relation}.{one.column} {one.how[:3]}" for one in found]
        for name, found in origins.columns.items()
    }
    return columns, [f"{one.relation}.{one.column} {one.why}" for one in origins.influences], origins.unknown


@pytest.mark.parametrize(
    ("query", "columns", "influences"),
    [
        ("select a, b + 1 as n from t", {"a": ["t.a ide"], "n": ["t.b tra"]}, []),
        ("select (a) as x, 1 as one from t", {"x": ["t.a ide"], "one": []}, []),
        ("select sum(a) as x from t group by b", {"x": ["t.a agg"]}, ["t.b group by"]),
        ("select count(*) filter (a > 1) as n from t", {"n": ["t.a agg"]}, []),
        (
            "select * exclude (b), upper(b) as B2 from t",
            {"a": ["t.a ide"], "c": ["t.c ide"], "B2": ["t.b tra"]},
            [],
        ),
        ("select KEY, value from mixed", {"KEY": ["Mixed.Key ide"], "value": ["Mixed.Value ide"]}, []),
        (
            "select t.a, z from t join s on t.b = s.k",
            {"a": ["t.a ide"], "z": ["s.z ide"]},
            ["s.k join", "t.b join"],
        ),
        (
            "select a from t where exists (select 1 from s where s.k = t.b and z > 1) "  # noqa: ISC004 - one query
            "qualify row_number() over (partition by a order by c) = 1",
            {"a": ["t.a ide"]},
            ["s.k filter", "s.z filter", "t.a filter", "t.b filter", "t.c filter"],
        ),
        (
            "select a, lag(b) over (order by c) as before from t",
            {"a": ["t.a ide"], "before": ["t.b agg", "t.c agg"]},
            ["t.c window"],
        ),
        ("select a from t union all select z from s", {"a": ["s.z ide", "t.a ide"]}, []),
        ("from t select a union by name select b, a from t", {"a": ["t.a ide"], "b": ["t.b ide"]}, []),
        ("with x as (select a + b as n from t) select max(n) as m from x", {"m": ["t.a agg", "t.b agg"]}, []),
        (
            "select (select max(z) from s where k = a) as m from t",
            {"m": ["s.k tra", "s.z agg", "t.a tra"]},
            ["s.k filter", "t.a filter"],
        ),
        ("select a from t order by b", {"a": ["t.a ide"]}, []),
        ("select a from t order by b limit 1", {"a": ["t.a ide"]}, ["t.b order"]),
        ("select distinct a from t", {"a": ["t.a ide"]}, ["t.a group by"]),
        ("select t.a, x.g from t, generate_series(1, 3) as x(g)", {"a": ["t.a ide"], "g": []}, []),
        ("select list_transform(c, x -> x + 1) as l from t", {"l": ["t.c tra"]}, []),
        ("select dark.any_column as v from dark", {"v": ["dark.any_column ide"]}, []),
    ],
)
def test_what_is_made_from_what(query: str, columns: dict[str, list[str]], influences: list[str]) -> None:
    assert told(query) == (columns, influences, {})


@pytest.mark.parametrize(
    ("query", "column", "why"),
    [
        ("select * from dark", "*", "with *"),
        ("select columns('a.*') from t", "*", "pattern"),
        ("pivot t on a using sum(b)", "*", "no SELECT"),
        ("select dark.a, mystery from dim, dark", "mystery", "not known"),
    ],
)
def test_what_cannot_be_known_says_so(query: str, column: str, why: str) -> None:
    _, _, unknown = told(query)
    assert set(unknown) == {column}
    assert why in unknown[column]


def test_a_recursive_query_ends() -> None:
    columns, _, _ = told(
        "with recursive r as (select a, 1 as n from t union all select r.a, n + 1 from r join t on t.a = r.a "
        "where n < 3) select a, n from r"
    )
    assert columns == {"a": ["t.a ide"], "n": []}


def test_a_text_that_does_not_parse_names_the_file() -> None:
    with pytest.raises(TransformError, match=r"^q\.sql: "):
        told("select a from (")


def test_answers_are_kept_by_query_and_columns(tmp_path) -> None:
    first = origins_of_query("select * from t", {"t": ("a",)}, file="q.sql", cache_directory=tmp_path)
    (entry,) = tmp_path.iterdir()
    again = origins_of_query("select * from t", {"t": ("a",)}, file="q.sql", cache_directory=tmp_path)
    other = origins_of_query("select * from t", {"t": ("b",)}, file="q.sql", cache_directory=tmp_path)
    assert first == again == Origins.from_dict(first.to_dict())
    assert list(other.columns) == ["b"]
    entry.write_text("damaged")
    assert origins_of_query("select * from t", {"t": ("a",)}, file="q.sql", cache_directory=tmp_path) == first
