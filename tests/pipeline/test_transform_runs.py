"""SQL and Python transforms: what they may return, what they may not, and whose fault is named where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from one_step import EXPECTED, failure, python, sql
from pipeline_helpers import ANYTHING, Workshop, rows

from dp_dagster.engines.sql import read_query
from dp_dagster.errors import (
    AuthorError,
    DescriptorError,
    TransformError,
)
from dp_dagster.pipeline import land_input
from dp_dagster.pipeline.relations import upstream

if TYPE_CHECKING:
    from pathlib import Path


# -- SQL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("materialized", ["view", "table"])
@pytest.mark.parametrize(
    "query",
    [
        "select * from source",
        "from source; -- all of it",
        'select * from "source"',
        "select * from SOURCE",
        "with Mine as (select * from source) select * from mine",
        "with source as (select * from source) select * from source",
        "select name, amount from (select *, row_number() over () as n from source) where n < 99",
        "/* it's */ select name, amount -- why ' not\nfrom source;",
    ],
)
def test_queries(workshop: Workshop, query: str, materialized: str) -> None:
    run = sql(workshop, query, materialized).run()
    assert [(name, int(amount)) for name, amount in rows(run.published.snapshot)] == EXPECTED
    assert [name for name, _ in run.transforms["chosen"].columns] == ["name", "amount"]
    assert run.transforms["chosen"].version == (0 if materialized == "table" else None)


def test_transforms_read_each_other_in_any_order_of_declaration(workshop: Workshop) -> None:
    product = workshop.product(
        files={
            "transforms/chosen.sql": "select a.name, b.amount from first_half a join second_half b using (name)",
            "transforms/first_half.sql": "select name from source",
            "transforms/second_half.sql": "select name, amount from source",
        },
        transforms=[
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql"},
            {"name": "second_half", "type": "SQL", "path": "transforms/second_half.sql"},
            {
                "name": "first_half",
                "type": "SQL",
                "path": "transforms/first_half.sql",
                "materialized": "table",
            },
        ],
    )
    assert rows(product.run().published.snapshot) == EXPECTED


def test_what_a_deep_web_of_views_was_made_from(workshop: Workshop) -> None:
    """Each view names the one before it twice: without a memory that is 2 to the power of 40 questions."""
    depth = 40
    queries: dict[str, str | bytes] = {
        f"transforms/t{number}.sql": f"select a.* from t{number - 1} a, t{max(number - 2, 0)} b"
        for number in range(1, depth)
    }
    queries["transforms/t0.sql"] = "from source"
    product = workshop.product(
        files=queries,
        transforms=[
            {"name": f"t{number}", "type": "SQL", "path": f"transforms/t{number}.sql"}
            for number in range(depth)
        ],
        datasets=[{"name": "rows", "from": "t0", "contract": "contracts/rows.py:Rows", "key": ["name"]}],
    )
    session = product.session()
    land_input(session, "source")
    assert list(upstream(session, [f"t{depth - 1}"])) == ["source"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "select nmae from source",
            'small/transform/chosen: Binder Error: Referenced column "nmae" not found',
        ),
        ("select no_such_function(name) from source", "no_such_function"),
    ],
)
@pytest.mark.parametrize("materialized", ["view", "table"])
def test_queries_that_do_not_bind(workshop: Workshop, query: str, message: str, materialized: str) -> None:
    text = failure(sql(workshop, query, materialized))
    assert message.removeprefix("small/transform/chosen: ") in text
    assert "chosen" in text


def test_values_that_cannot_be_computed(workshop: Workshop) -> None:
    product = sql(workshop, "select name, name::integer as amount from source")
    with pytest.raises(TransformError, match="Could not convert string 'ada' to INT32"):
        product.run()
    assert not product.table().exists()
    assert product.leftovers() == []


@pytest.mark.parametrize(
    ("query", "line", "message"),
    [
        ("select * from read_csv('/etc/passwd')", 1, "which is no port of this product"),
        ("select *\nfrom source\njoin read_parquet('x') using (name)", 3, "no port of this product"),
        ("select * from '/etc/passwd'", 1, "names table /etc/passwd, which is neither"),
        ("select * from other_table", 1, "names table other_table, which is neither an input"),
        ("select * from information_schema.tables", 1, "without schema"),
        ("select * from glob('*')", 1, "no port of this product"),
        ("select * from query('select 1')", 1, "no port of this product"),
        ("select 1; select 2", 1, "holds 2 statements"),
        ("-- nothing", 1, "holds 0 statements"),
        ("drop table source", 1, "is a DROP statement"),
        ("copy source to 'x.csv'", 1, "is a COPY statement"),
        ("select * from source, source", 1, ""),
        ("select from where", 1, "SQL does not parse"),
        ("with a as (select * from b), b as (select 1) select * from a", 1, "names table b"),
    ],
)
def test_queries_that_are_refused_before_any_run(
    workshop: Workshop, query: str, line: int, message: str
) -> None:
    product = sql(workshop, query)
    if not message:  # DuckDB allows it
        assert read_query(query, file="f.sql").tables[0].name == "source"
        return
    with pytest.raises(DescriptorError) as raised:
        product.resolved()
    assert f"small/transforms/chosen.sql:{line}: " in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("with T as (select 1 a) select * from t", []),
        ("with recursive t as (select 1 n union all select n + 1 from t where n < 5) from t", []),
        ("with sales as (from sales) from sales", ["sales"]),
        ("with a as (with b as (from o) from b), c as (from b) from a, c", ["o", "b"]),
        ("with a as (select 1) from (with b as (from a) from b, A)", []),
        ("from (with z as (select 1) from z), z", ["z"]),
        ("with a as (select 1) select 1 union all from a", []),
        (
            "select (select max(x) from other) from Sales where y in (select x from third)",
            ["other", "Sales", "third"],
        ),
        ("from sales s, unnest([1, 2]) u(x), lateral (from other o where o.a = s.a)", ["other", "sales"]),
        ("from sales asof join other on sales.t >= other.t", ["sales", "other"]),
        ("from (pivot sales on shop using sum(amount))", ["sales"]),
        ("from range(3), generate_series(1, 3) g(i), (values (1)) v(x)", []),
    ],
)
def test_tables_that_a_query_names(query: str, tables: list[str]) -> None:
    found = [table.name for table in read_query(query, file="f.sql").tables]
    assert sorted(found) == sorted(tables)
    with duckdb.connect() as connection:
        for name in found:  # DuckDB agrees that nothing else is needed
            connection.execute(f'create table "{name}" (a int, t int, x int, y int, shop text, amount int)')
        connection.sql(query)


def test_what_a_text_names_is_kept_and_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    first = read_query("from sales", file="f.sql", cache_directory=tmp_path)
    (entry,) = tmp_path.iterdir()
    assert read_query("from sales", file="f.sql", cache_directory=tmp_path) == first
    entry.write_text("{")
    assert read_query("from sales", file="f.sql", cache_directory=tmp_path) == first


# -- Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "def chosen(connection):\n    return connection.sql('from source')\n",
        "def chosen(connection):\n    return connection.table('source').pl()\n",
        "def chosen(connection):\n    return connection.table('source').pl().lazy()\n",
        "def chosen(connection):\n    return connection.sql('from source').to_arrow_table()\n",
        "def chosen(connection):\n    return connection.sql('from source').to_arrow_reader()\n",
        "def chosen(connection):\n    return connection.sql('from source').to_arrow_table().to_batches()[0]\n",
        "chosen = lambda connection: connection.sql('from source')\n",
        "from transforms.shared import chosen\n",
        "from .shared import chosen\n",
        "def chosen(connection):\n    from shared import chosen\n    return chosen(connection)\n",
    ],
)
def test_what_a_function_may_return(workshop: Workshop, body: str) -> None:
    product = python(
        workshop,
        body,
        {"transforms/shared.py": "def chosen(connection):\n    return connection.sql('from source')\n"},
    )
    run = product.run()
    assert rows(run.published.snapshot) == EXPECTED
    assert run.transforms["chosen"].rows == 2


def test_a_changed_helper_is_a_changed_transform(workshop: Workshop) -> None:
    from dp_dagster.pipeline.transforms import transform_code_version

    product = python(
        workshop,
        "from .shared import chosen\n",
        {"transforms/shared.py": "def chosen(connection):\n    return connection.sql('from source')\n"},
    )
    first = product.run()
    session = product.session()
    before = transform_code_version(session, session.product.transform("chosen"))
    product.write(
        {
            "transforms/shared.py": "def chosen(connection):\n    return connection.sql('from source limit 1')\n"
        }
    )
    second = product.run()
    session = product.session()
    assert transform_code_version(session, session.product.transform("chosen")) != before
    assert len(rows(first.published.snapshot)) == 2
    assert len(rows(second.published.snapshot)) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no such rate')", "small/transforms/chosen.py:2: ValueError: no such rate"),
        ("return connection.sql('from nowhere')", "small/transforms/chosen.py:2: CatalogException: "),
        ("import sys; sys.exit(3)", "chosen.py:2: would end the process (exit 3); raise an error instead"),
        ("from shared import broken; broken()", "small/transforms/shared.py:2: KeyError: 'x'"),
        ("return 5", "small/transforms/chosen.py:chosen: returned int; return a DuckDB relation"),
        ("pass", "small/transforms/chosen.py:chosen: returned nothing; return"),
        ("return connection.table('source').df()", "chosen: returned pandas.DataFrame; return"),
        ("import polars; return polars.Series([1])", "chosen: returned polars.Series; return"),
        (
            "return connection.table('source').pl().lazy().select(__import__('polars').col('nope'))",
            "small/transforms/chosen.py:chosen: ColumnNotFoundError: ",
        ),
        ("import no_such_library", "small/transforms/chosen.py:2: ModuleNotFoundError: "),
        ("return connection.sql(\"select time '10:00' as at\")", "column at has type TIME"),
    ],
)
def test_functions_that_fail(workshop: Workshop, body: str, message: str) -> None:
    product = python(
        workshop,
        f"def chosen(connection):\n    {body}\n",
        {"transforms/shared.py": "def broken():\n    return {}['x']\n"},
    )
    text = failure(product)
    assert message in text
    assert "Traceback" not in text


def test_a_module_that_fails_when_it_is_loaded(workshop: Workshop) -> None:
    product = python(workshop, "def chosen(connection): ...\n\nprint(1 / 0)\n")
    assert failure(product).startswith("small/transforms/chosen.py:3: ZeroDivisionError")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(connection): ...\n", "transforms/chosen.py defines no function chosen"),
        ("async def chosen(connection): ...\n", "is asynchronous"),
        ("def chosen(connection:\n", "transforms/chosen.py:1: does not parse"),
        ("def chosen(\0): ...\n", "transforms/chosen.py"),
    ],
)
def test_functions_that_are_refused_before_any_run(workshop: Workshop, body: str, message: str) -> None:
    with pytest.raises(DescriptorError) as raised:
        python(workshop, body).resolved()
    assert message in str(raised.value)


def test_two_products_with_files_of_one_name(workshop: Workshop) -> None:
    body = (
        "from .shared import WORD\ndef chosen(connection):\n"
        "    return connection.sql(f\"select '{WORD}' as word\")\n"
    )
    for number, product_id in enumerate(("small", "second")):
        product = workshop.product(
            product_id,
            files={"transforms/chosen.py": body, "transforms/shared.py": f"WORD = 'w{number}'\n"},
            contract=ANYTHING,
            transforms=[{"name": "chosen", "type": "PYTHON", "function": "transforms/chosen.py:chosen"}],
        )
        assert rows(product.run().published.snapshot) == [(f"w{number}",)]


def test_a_table_left_in_the_work_database_under_the_name_of_a_transform(workshop: Workshop) -> None:
    product = workshop.product(
        files={
            "transforms/first_one.py": (
                "def first_one(connection):\n"
                "    connection.execute('create table chosen as select 1 as x')\n"
                "    return connection.sql('from source')\n"
            ),
            "transforms/chosen.sql": "from first_one",
        },
        transforms=[
            {
                "name": "first_one",
                "type": "PYTHON",
                "function": "transforms/first_one.py:first_one",
                "inputs": ["source"],
            },
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql"},
        ],
    )
    with pytest.raises(AuthorError, match="small/transform/chosen: "):
        product.run()
