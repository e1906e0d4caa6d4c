"""Contracts as SQL: the same counts in DuckDB, PostgreSQL, Spark and (as fakesnow plays it) Snowflake."""

from __future__ import annotations

import re

import polars as pl
import pytest
import sqlglot
from sqlglot import exp

from dp_dagster.contracts.canonical import type_name
from dp_dagster.contracts.model import Column, Contract, Rule
from dp_dagster.contracts.samples import plain
from dp_dagster.contracts.sql.conditions import literal
from dp_dagster.contracts.sql.dialects import DIALECTS, CannotSayError, dialect_of
from dp_dagster.contracts.sql.patterns import translated
from dp_dagster.contracts.sql.statement import count_statement, failing_rows_statement
from dp_dagster.errors import UsageError
from dp_dagster.testing.contracts import CASES, OTHER, TABLE, EvaluatorConformance, contract_of

POSTGRES_TYPES = {
    "int8": "smallint", "int64": "bigint", "float32": "real", "float64": "double precision",
    "decimal(24,2)": "numeric(24,2)", "string": "text", "bool": "boolean", "date": "date", "timestamp": "timestamp",
    "timestamp(UTC)": "timestamptz",
}  # fmt: skip


SNOWFLAKE_TYPES = {
    "int8": "number(3,0)", "int64": "number(19,0)", "float32": "float", "float64": "float",
    "decimal(24,2)": "number(24,2)", "string": "varchar", "bool": "boolean", "date": "date",
    "timestamp": "timestamp_ntz", "timestamp(UTC)": "timestamp_tz",
}  # fmt: skip


class TestDuckDB(EvaluatorConformance):
    dialect = "duckdb"

    @pytest.fixture(autouse=True)
    def _connection(self):
        import duckdb

        with duckdb.connect() as self.connection:
            self.connection.execute("set TimeZone = 'UTC'")
            yield

    def load(self, tables):
        for name, frame in tables.items():
            self.connection.register(name, frame.to_arrow())

    def run(self, sql):
        return self.connection.execute(sql).fetchall()


@pytest.mark.slow
@pytest.mark.needs("postgresql")
class TestPostgres(EvaluatorConformance):
    dialect = "postgres"
    nested = False

    @pytest.fixture(autouse=True)
    def _server(self, postgresql_url):
        import psycopg

        with psycopg.connect(postgresql_url.replace("+psycopg", "")) as self.connection:
            yield

    def load(self, tables):
        from psycopg import sql

        for name, frame in tables.items():
            columns = [
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(POSTGRES_TYPES[type_name(kind)]))
                for column, kind in frame.schema.items()
            ]
            self.connection.execute(
                sql.SQL("create temporary table {} ({})").format(
                    sql.Identifier(name), sql.SQL(", ").join(columns)
                )
            )
            copy = sql.SQL("copy {} from stdin").format(sql.Identifier(name))
            with self.connection.cursor().copy(copy) as stream:
                for row in frame.iter_rows():
                    stream.write_row(row)

    def run(self, sql):
        return self.connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def spark():
    """A session of Spark Connect with Sail, which needs no JVM."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer()
    server.start()
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://localhost:{port}").getOrCreate()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session
    session.stop()
    server.stop()


@pytest.mark.slow
class TestSpark(EvaluatorConformance):
    """Spark SQL, run by Sail over Spark Connect."""

    dialect = "spark"

    @pytest.fixture(autouse=True)
    def _place(self, spark, tmp_path):
        self.session, self.folder = spark, tmp_path

    def load(self, tables):
        for name, frame in tables.items():
            file = self.folder / f"{name}.spark.parquet"
            frame.write_parquet(file)
            # Sail 0.7 loses the table of a lambda that it pushes into the reading of Parquet; it pushes nothing below
            # a limit.
            self.session.read.parquet(str(file)).limit(frame.height).createOrReplaceTempView(name)

    def run(self, sql):
        return [tuple(row) for row in self.session.sql(sql).collect()]


def snowflake_literal(value, kind):
    return "null" if value is None else literal(plain(value), kind).sql("snowflake")


@pytest.fixture(scope="module")
def snowflake_session(snowflake_server):
    import snowflake.connector

    place = {"database": "CONFORMANCE", "schema": "PUBLIC"}
    with snowflake.connector.connect(**snowflake_server, **place) as connection:
        yield connection


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
class TestSnowflake(EvaluatorConformance):
    """Snowflake's SQL over its own client, run by fakesnow.

    Not the real thing: fakesnow has DuckDB's regular expressions and collations, and gives infinity where Snowflake
    says that a division by zero is an error.
    """

    dialect = "snowflake"
    nested = False

    @pytest.fixture(autouse=True)
    def _server(self, snowflake_session):
        self.session = snowflake_session

    def load(self, tables):
        cursor = self.session.cursor()
        for name, frame in tables.items():
            kinds = {column: type_name(kind) for column, kind in frame.schema.items()}
            columns = ", ".join(
                f"{exp.to_identifier(column, quoted=True).sql('snowflake')} {SNOWFLAKE_TYPES[kind]}"
                for column, kind in kinds.items()
            )
            table = exp.table_(name, quoted=True).sql("snowflake")
            cursor.execute(f"create or replace table {table} ({columns})")
            if frame.height:
                rows = [", ".join(map(snowflake_literal, row, kinds.values())) for row in frame.iter_rows()]
                cursor.execute(f"insert into {table} select * from values ({'), ('.join(rows)})")

    def run(self, sql):
        return self.session.cursor().execute(sql).fetchall()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_statement_parses_in_its_dialect_and_counts_or_names_every_rule(dialect, case):
    frame = pl.DataFrame({'a "b"': pl.Series([], dtype=case.type)})
    contract = contract_of(case, frame)
    statement = count_statement(contract, ("schema", TABLE), dialect=dialect, others={OTHER: ("x", OTHER)})
    (parsed,) = sqlglot.parse(statement.sql, read=dialect)
    assert isinstance(parsed, sqlglot.exp.Select)
    assert len(parsed.expressions) == 2 + len(statement.counted)
    said = {*statement.counted, *statement.not_evaluated, "row_count"}
    assert said == {rule.id for rule in contract.rules}
    assert all(statement.not_evaluated.values())


def test_what_sql_cannot_say_is_named_and_never_passes():
    rules = (
        Rule("text", "unevaluated", (), {"reason": "for people"}, "warn", "table"),
        Rule("own", "custom", ("x",), {"check": 0, "scope": "column"}),
        Rule("word", "pattern", ("x",), {"regex": r"\bx", "mode": "search"}),
    )
    contract = Contract("c", "0", "odcs", "", (Column("x", "string"),), rules)
    statement = count_statement(contract, ("t",), dialect="duckdb")
    assert statement.not_evaluated == {
        "text": "for people",
        "own": "rules of kind custom are not written in SQL",
        "word": r"\b means something else in duckdb, or nothing",
    }
    assert [one.passed for one in statement.results([0, 0])] == [False] * 3


def test_names_and_values_cannot_leave_their_quotes():
    rules = (Rule("r", "equal", ('x" from y --',), {"value": "'; drop table t --"}),)
    contract = Contract("c", "0", "odcs", "", (Column('x" from y --', "string"),), rules)
    for dialect in DIALECTS:
        for write in (count_statement, failing_rows_statement):
            statement = write(contract, ('t"; --',), dialect=dialect)
            (parsed,) = sqlglot.parse(statement.sql, read=dialect)
            named = {column.name for column in parsed.find_all(sqlglot.exp.Column)}
            assert named == {'x" from y --', "__dp_rule_1"}
            assert [table.name for table in parsed.find_all(sqlglot.exp.Table)] == ['t"; --']
            assert "'; drop table t --" in [one.this for one in parsed.find_all(sqlglot.exp.Literal)]


def test_failing_rows_of_chosen_rules_are_a_sample():
    import duckdb

    rules = (
        Rule("least", "minimum", ("x",), {"value": 2, "exclusive": False}),
        Rule("once", "unique", ("x",), {}, severity="warn"),
        Rule("few", "row_count", (), {"minimum": None, "maximum": 1}, level="table"),
    )
    contract = Contract("c", "0", "odcs", "", (Column("x", "int64"), Column("y", "string")), rules)
    with duckdb.connect() as connection:
        connection.execute(
            "create table t as select * from (values (1, 'b'), (5, 'd'), (1, 'a'), (5, 'c')) v(x, y)"
        )

        def found(**asked):
            statement = failing_rows_statement(contract, ("t",), dialect="duckdb", **asked)
            rows = connection.execute(statement.sql).fetchall()
            return sorted((*statement.values(row).values(), statement.broken(row)) for row in rows)

        assert found() == [(1, "a", ("least",)), (1, "b", ("least",))]
        # Without an order of rows the other columns tell which row of a key is the first.
        assert found(rules=["once"]) == [(1, "b", ("once",)), (5, "d", ("once",))]
        assert found(rules=["once"], order=["y", "x"]) == [(1, "b", ("once",)), (5, "d", ("once",))]
        assert len(found(rules=["least", "once"], limit=2)) == 2
        assert found(rules=[]) == []


def test_an_unknown_dialect_is_refused():
    with pytest.raises(UsageError, match="choices: duckdb, postgres, spark, snowflake"):
        dialect_of("oracle")


@pytest.mark.parametrize(
    ("regex", "dialect", "expected"),
    [
        ("^a.$", "duckdb", r"\Aa[^\n]\z"),
        ("^a.$", "postgres", r"\Aa[^\n]\Z"),
        (r"\.\(", "snowflake", r"\.\("),
        (r"a{2,255}", "postgres", "a{2,255}"),
    ],
)
def test_patterns_are_translated(regex, dialect, expected):
    assert translated(regex, DIALECTS[dialect]) == expected


@pytest.mark.parametrize("letter", "dDsSwW")
def test_classes_of_characters_are_those_of_the_embedded_evaluator(letter):
    r"""What ``\w`` stands for is written out, for engines differ in it and in their version of Unicode."""
    texts = [chr(code) for code in (*range(1, 0x3000), 0x1D7CE, 0x1F600)]
    expected = pl.Series(texts).str.contains(rf"^\{letter}$").to_list()
    assert [
        bool(re.fullmatch(translated(rf"\{letter}", DIALECTS["duckdb"]), text)) for text in texts
    ] == expected
    inside = re.compile(translated(rf"[{{\{letter}]", DIALECTS["postgres"]))
    assert [bool(inside.fullmatch(text)) for text in texts] == [
        one or text == "{" for one, text in zip(expected, texts, strict=True)
    ]


@pytest.mark.parametrize(
    ("regex", "dialect"),
    [
        (r"\bx", "duckdb"),
        ("(?i)x", "spark"),
        ("[[:alpha:]]", "duckdb"),
        ("a{256}", "postgres"),
    ],
)
def test_patterns_that_would_mean_something_else_are_refused(regex, dialect):
    with pytest.raises(CannotSayError):
        translated(regex, DIALECTS[dialect])
