"""pandera schemas become rules; what cannot become one is refused with its place, or run by pandera."""

from __future__ import annotations

import re
import textwrap

import pytest
from contract_helpers import HEADER, compiled, model_with

from dp_dagster.errors import ContractError


def rules_of(contract, column):
    return {
        rule.id: (rule.kind, rule.params)
        for rule in contract.rules
        if column in rule.columns and rule.kind not in ("type", "not_null")
    }


BUILT_IN = [
    ("a: int = pa.Field(ge=1)", {"minimum_a": ("minimum", {"value": 1, "exclusive": False})}),
    ("a: int = pa.Field(gt=1)", {"minimum_a": ("minimum", {"value": 1, "exclusive": True})}),
    ("a: int = pa.Field(le=2.5)", {"maximum_a": ("maximum", {"value": 2.5, "exclusive": False})}),
    ("a: float = pa.Field(lt=2)", {"maximum_a": ("maximum", {"value": 2.0, "exclusive": True})}),
    (
        'a: float = pa.Field(in_range={"min_value": 0, "max_value": float("inf"), "include_min": False})',
        {
            "minimum_a": ("minimum", {"value": 0.0, "exclusive": True}),
            "maximum_a": ("maximum", {"value": "inf", "exclusive": False}),
        },
    ),
    ('a: str = pa.Field(isin={"y", "x"})', {"one_of_a": ("one_of", {"values": ["x", "y"]})}),
    ("a: int = pa.Field(isin=range(3))", {"one_of_a": ("one_of", {"values": [0, 1, 2]})}),
    ('a: str = pa.Field(notin=["x"])', {"none_of_a": ("none_of", {"values": ["x"]})}),
    ("a: int = pa.Field(eq=3)", {"equal_a": ("equal", {"value": 3})}),
    ("a: bool = pa.Field(ne=True)", {"not_equal_a": ("not_equal", {"value": True})}),
    (
        'a: str = pa.Field(str_matches="[a-z]+")',
        {"pattern_a": ("pattern", {"regex": "[a-z]+", "mode": "match"})},
    ),
    ('a: str = pa.Field(str_contains="x")', {"pattern_a": ("pattern", {"regex": "x", "mode": "search"})}),
    ('a: str = pa.Field(str_startswith="x")', {"starts_with_a": ("starts_with", {"value": "x"})}),
    ('a: str = pa.Field(str_endswith="x")', {"ends_with_a": ("ends_with", {"value": "x"})}),
    ("a: str = pa.Field(str_length=(1, 5))", {"length_a": ("length", {"minimum": 1, "maximum": 5})}),
    (
        'a: str = pa.Field(str_length={"exact_value": 3})',
        {"length_a": ("length", {"minimum": 3, "maximum": 3})},
    ),
    ("a: int = pa.Field(unique=True)", {"unique_a": ("unique", {})}),
    (
        "a: pl.Decimal(10, 2) = pa.Field(ge=0.1)",
        {"minimum_a": ("minimum", {"value": "0.1", "exclusive": False})},
    ),
    (
        "a: datetime.date = pa.Field(ge=datetime.date(2020, 1, 2))",
        {"minimum_a": ("minimum", {"value": "2020-01-02", "exclusive": False})},
    ),
    (
        """a: pl.Datetime("us", "UTC") = pa.Field(lt=datetime.datetime.fromisoformat("2020-01-02T00:00:00+01:00"))""",
        {"maximum_a": ("maximum", {"value": "2020-01-01T23:00:00+00:00", "exclusive": True})},
    ),
    ('a: pl.Enum(["x", "y"])', {"one_of_a": ("one_of", {"values": ["x", "y"]})}),
    (
        "a: int = pa.Field(ge=1, ignore_na=False, nullable=True)",
        {"minimum_a": ("minimum", {"value": 1, "exclusive": False, "null_fails": True})},
    ),
]


@pytest.mark.parametrize(("field", "expected"), BUILT_IN, ids=[case[0] for case in BUILT_IN])
def test_built_in_checks_become_rules(tmp_path, field, expected):
    assert rules_of(compiled(tmp_path, model_with(field)), "a") == expected


TYPES = [
    ("int", "int64"),
    ("pl.Int8", "int8"),
    ("float", "float64"),
    ("pl.Float32", "float32"),
    ("str", "string"),
    ("bool", "bool"),
    ("bytes", "binary"),
    ("datetime.date", "date"),
    ("datetime.datetime", "timestamp"),
    ("pl.Datetime", "timestamp"),
    ('pl.Datetime("us", "UTC")', "timestamp(UTC)"),
    ("pl.Decimal(10, 2)", "decimal(10,2)"),
    ("pl.Categorical", "string"),
    ("pl.List(pl.Int32)", "list<int32>"),
    ('pl.Struct({"x": pl.Int64, "y z": pl.String})', 'struct<x: int64, "y z": string>'),
]


@pytest.mark.parametrize(("written", "canonical"), TYPES)
def test_types(tmp_path, written, canonical):
    assert compiled(tmp_path, model_with(f"a: {written}")).column("a").type == canonical


REFUSED = [
    ("a: int = pa.Field(ge=3, le=2)", "no value can lie above 3 and below 2"),
    ("a: int = pa.Field(gt=3, lt=3)", "no value can lie above 3 and below 3"),
    ("a: str = pa.Field(isin=[])", "no value is allowed"),
    ('a: str = pa.Field(isin=["x"], notin=["x"])', "leave none"),
    ('a: str = pa.Field(str_matches="(")', "unterminated subpattern"),
    ('a: str = pa.Field(str_matches="(?=x)")', "regular expression '(?=x)' is refused: look-around"),
    (r'a: str = pa.Field(str_contains="(x)\\1")', "is refused: backreferences are not supported"),
    ("a: str = pa.Field(str_length=(5, 1))", "defines an empty interval"),
    ('a: int = pa.Field(ge="x")', "'x' cannot be compared with a column of type int64"),
    ("a: str = pa.Field(ge=1)", "1 cannot be compared with a column of type string"),
    ('a: float = pa.Field(ge=float("nan"))', "NaN is no bound"),
    ('a: pl.Decimal(5, 2) = pa.Field(ge=Decimal("NaN"))', "cannot be compared"),
    ('a: int = pa.Field(str_matches="x")', "applies to text"),
    (
        "a: pl.Datetime('us', 'UTC') = pa.Field(ge=datetime.datetime(2020, 1, 1))",
        "give it a time zone",
    ),
    ("a: int = pa.Field(coerce=True)", "coerce=True changes data; cast in the transform"),
    ("a: int = pa.Field(default=3)", "a default changes data"),
    ('a: int = pa.Field(alias="x_.*", regex=True)', "a pattern for column names is not supported"),
    ("a: pl.UInt8", "type uint8 cannot be published; use a signed integer"),
    ('a: pl.Datetime("ns")', "timestamps have microseconds"),
    ('a: pl.Datetime("us", "Europe/Berlin")', "not Europe/Berlin"),
    ("a: pl.Time", "type time cannot be published"),
    ("a: pl.List(pl.UInt8)", "type uint8 cannot be published"),
    ("a: pl.List(pl.Int64) = pa.Field(unique=True)", "unique does not apply"),
    ("a: pl.List(pl.Int64) = pa.Field(eq=1)", "does not apply to a column of type list<int64>"),
    ('a: int = pa.Field(metadata={"severity": "bad"})', "severity 'bad' is unknown"),
    ('a: int = pa.Field(metadata={"severity": {"type": "warn"}})', "no such kind of rule"),
    (
        "a: int\nreads_more = row_check(pl.col('zzz') > 1)",
        "reads column zzz, which the contract does not declare",
    ),
    ("a: str\nbad_type = row_check(pl.col('a') > 1)", "does not fit the types"),
    ("a: int\nno_truth = row_check(pl.col('a') + 1)", "gives Int64, not true or false"),
    ("a: int\nbig = row_check(pl.col('a').max() > 1)", "Agg is not known to look at one row at a time"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_hold_is_refused_with_its_place(tmp_path, fields, message):
    with pytest.raises(ContractError, match=re.escape(message)) as caught:
        compiled(tmp_path, model_with(fields))
    place = re.match(r"contracts/made\.py:(\d+): ", str(caught.value))
    assert place, str(caught.value)
    first = HEADER.count("\n") + 1
    assert first <= int(place[1]) <= first + 1 + fields.count("\n")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("coerce = True", "coerce=True changes data"),
        ('strict = "filter"', "drops columns"),
        ("drop_invalid_rows = True", "loses rows"),
        ("add_missing_columns = True", "add_missing_columns"),
        ("dtype = int", "give each column its type"),
        ("metadata = {'version': 1}", "write it in quotes"),
        ("metadata = {'row_count': 3}", "row_count 3 is not understood"),
        ('unique = ["zzz"]', "unique names zzz, which is not a column"),
    ],
)
def test_tables_that_are_refused(tmp_path, config, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        compiled(tmp_path, model_with("a: int", config))


def test_names_meanings_severities_and_keys(tmp_path):
    source = '''
    class Made(pa.DataFrameModel):
        """Flights, one row each.

        From the authority.
        """

        flight_id: int = pa.Field(unique=True, description="Number\\n of the flight")
        tail: str = pa.Field(nullable=True, str_length=6, raise_warning=True,
                             metadata={"classification": "pii", "unit": "text", "tags": {"a": 1}, "source": "x"})
        minutes: float = pa.Field(ge=0, le=9, metadata={"severity": "warn"})
        dep: float = pa.Field(ge=0, metadata={"severity": {"not_null": "warn"}})
        gone: Optional[int] = pa.Field(title="Gone")
        strange: int = pa.Field(alias="é x", ge=0)
        ab: int = pa.Field(alias="a b")
        ab_: int = pa.Field(alias="a-b")

        class Config:
            strict = True
            ordered = True
            unique = ["flight_id", "tail"]
            metadata = {"version": "2.1.0", "row_count": {"minimum": 1}, "severity": {"row_count": "warn"}}
    '''
    contract = compiled(tmp_path, source)
    assert (contract.name, contract.version, contract.strict) == ("Made", "2.1.0", True)
    assert contract.description == "Flights, one row each.\n\nFrom the authority."
    assert contract.key == ("flight_id", "tail")
    assert contract.column("flight_id").description == "Number of the flight"
    tail = contract.column("tail")
    assert (tail.classification, tail.unit, tail.tags) == ("pii", "text", {"a": "1", "source": "x"})
    assert contract.classified == ("tail",)
    gone = contract.column("gone")
    assert (gone.required, gone.description) == (False, "Gone")
    severities = {rule.id: rule.severity for rule in contract.rules}
    warned = {name for name, severity in severities.items() if severity == "warn"}
    assert warned == {
        "length_tail", "not_null_minutes", "minimum_minutes", "maximum_minutes", "not_null_dep", "row_count",
    }  # fmt: skip
    assert severities["unique_flight_id_tail"] == severities["minimum_dep"] == "error"
    assert contract.rule("columns").params == {"strict": True, "ordered": True}
    assert contract.rule("not_null_minutes").params == {"nan_fails": True}
    ids = [rule.id for rule in contract.rules]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", rule_id) for rule_id in ids)
    assert sum(rule_id.startswith("type_a_b_") for rule_id in ids) == 2


def test_a_schema_object_compiles_as_a_model_does(tmp_path):
    schema = """
    Made = pa.DataFrameSchema(
        {
            "a": pa.Column(int, [pa.Check.ge(1), pa.Check.ge(0, raise_warning=True)], unique=True),
            "b": pa.Column(str, nullable=True, required=False),
        },
        strict=True, unique=["a", "b"], name="things", description="Things.",
        checks=[row_check(pl.col("a") != 7, name="no_seven", severity="warn", description="Seven is taken")],
        metadata={"version": "1.0.0"},
    )
    """
    contract = compiled(tmp_path, schema)
    assert [rule.id for rule in contract.rules] == [
        "columns", "type_a", "type_b", "not_null_a", "unique_a", "minimum_a", "minimum_a_2", "unique_a_b", "no_seven",
    ]  # fmt: skip
    assert contract.rule("minimum_a_2").severity == contract.rule("no_seven").severity == "warn"
    assert contract.rule("no_seven").description == "Seven is taken"
    assert (contract.version, contract.description, contract.key) == ("1.0.0", "Things.", ("a", "b"))


CAPTURED = [
    "lambda data: data.lazyframe.select(pl.col(data.key) % 2 == 0)",
    "lambda data: data.lazyframe.select(pl.col('a').is_in(ALLOWED))",
    "lambda data: data.lazyframe.select(pl.when(pl.col('a') > 1).then(pl.col('b') > 1).otherwise(True))",
    "lambda data: data.lazyframe.select(pl.col('a') < LIMIT)",
]
NOT_CAPTURED = [
    "lambda data: data.lazyframe.select(pl.col('a') < datetime.datetime.now().year)",
    "lambda data: data.lazyframe.select(pl.col('a').mean() < 3)",
    "lambda data: data.lazyframe.select(pl.col('a') < pl.col('a').max())",
    "lambda data: data.lazyframe.select(pl.col('a').shift(1) < 3)",
    "lambda data: data.lazyframe.select(pl.col('a').cum_sum() < 3)",
    "lambda data: data.lazyframe.select(pl.col('a').sum().over('b') < 3)",
    "lambda data: data.lazyframe.select(pl.col('a').map_elements(lambda x: True, return_dtype=pl.Boolean))",
    "lambda data: data.lazyframe.select(pl.col('a') < pl.lit(pl.Series([1, 2])))",
    "lambda data: data.lazyframe.filter(pl.col('a') > 1).select(pl.col('a') > 1)",
    "lambda data: data.lazyframe.select(pl.col('*') > 1)",
    "lambda data: data.lazyframe.select(pl.col('a') > 1, pl.col('b') > 1)",
    "lambda data: data.lazyframe.collect().height > 3",
    "lambda data: data.lazyframe.select(pl.col('a') < limit())",
    "lambda data: True",
]


@pytest.mark.parametrize(
    ("check", "kind"), [*((c, "expression") for c in CAPTURED), *((c, "custom") for c in NOT_CAPTURED)]
)
def test_a_check_joins_the_scan_only_if_its_expression_says_all(tmp_path, check, kind):
    source = f"""
    ALLOWED = (1, 2)
    LIMIT = 5
    def limit():
        return 3
    Made = pa.DataFrameSchema({{"a": pa.Column(int, pa.Check({check})), "b": pa.Column(int)}})
    """
    rule = compiled(tmp_path, source).rule("check_a")
    assert rule.kind == kind
    assert rule.level == ("row" if kind == "expression" else "table")


def test_methods_of_a_model_are_captured_unless_they_use_the_class(tmp_path):
    contract = compiled(
        tmp_path,
        '''
        class Made(pa.DataFrameModel):
            a: int
            b: int
            ordered = row_check(pl.col("a") < pl.col("b"))

            @pa.check("a", raise_warning=True)
            def even(cls, data):
                """Even numbers."""
                return data.lazyframe.select(pl.col(data.key) % 2 == 0)

            @pa.dataframe_check
            def by_class(cls, data):
                return data.lazyframe.select(pl.col("a") < cls.limit())

            @pa.check("b", element_wise=True)
            def one_by_one(cls, value):
                return value > 0

            @classmethod
            def limit(cls):
                return 3
        ''',
    )
    found = {rule.id: (rule.kind, rule.level, rule.severity, rule.description) for rule in contract.rules}
    assert found["ordered"] == ("expression", "row", "error", "")
    assert found["even_a"] == ("expression", "row", "warn", "Even numbers.")
    assert found["by_class"] == ("custom", "table", "error", "")
    assert found["one_by_one_b"] == ("custom", "row", "error", "")


def test_pandas_schemas_compile_but_their_own_checks_are_refused(tmp_path):
    source = """
    import pandas as pd
    import pandera.pandas as pa

    class Made(pa.DataFrameModel):
        a: int = pa.Field(ge=0, unique=True)
        s: str = pa.Field(isin=["x"])
        b: pd.BooleanDtype
        t: pd.Timestamp
        u: pd.DatetimeTZDtype = pa.Field(dtype_kwargs={"unit": "us", "tz": "UTC"})
    """
    contract = compiled(tmp_path, source, header=False)
    assert [column.type for column in contract.columns] == [
        "int64",
        "string",
        "bool",
        "timestamp",
        "timestamp(UTC)",
    ]
    assert {"minimum_a", "unique_a", "one_of_s"} <= {rule.id for rule in contract.rules}
    with pytest.raises(ContractError, match=r"made\.py:\d+: Made\.c: check lambda: .*pandera\.polars"):
        compiled(
            tmp_path,
            """
            import pandera.pandas as pa
            Made = pa.DataFrameSchema({"c": pa.Column(int, pa.Check(lambda s: s > 0))})
            """,
            header=False,
        )
    with pytest.raises(ContractError, match="type object has no counterpart"):
        compiled(
            tmp_path,
            """
            import pandera.pandas as pa
            Made = pa.DataFrameSchema({"c": pa.Column(object)})
            """,
            header=False,
        )


def test_the_hash_is_of_the_promise_not_of_its_text(tmp_path):
    def hash_of(folder, text):
        return compiled(tmp_path / folder, textwrap.dedent(text)).hash

    plain = 'Made = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.isin([1, 2]))})'
    noted = '# a note\nMade = pa.DataFrameSchema({"a":   pa.Column(int, pa.Check.isin([2, 1]))})  # more'
    other = 'Made = pa.DataFrameSchema({"a": pa.Column(int, pa.Check.isin([1, 3]))})'
    assert hash_of("one", plain) == hash_of("two", noted)
    assert hash_of("one", plain) != hash_of("three", other)

    custom = """
    def limit():
        return {}
    Made = pa.DataFrameSchema({{"a": pa.Column(int, pa.Check(lambda d: d.lazyframe.select(pl.col("a") < limit())))}})
    """
    assert hash_of("four", custom.format(3)) == hash_of(
        "five", "# a note\n" + textwrap.dedent(custom.format(3))
    )
    assert hash_of("four", custom.format(3)) != hash_of("six", custom.format(4))


def test_a_captured_regular_expression_keeps_its_flags(tmp_path):
    contract = compiled(
        tmp_path,
        """
        import re
        Made = pa.DataFrameSchema({"a": pa.Column(str, pa.Check.str_matches(re.compile("x", re.IGNORECASE)))})
        """,
    )
    assert contract.rule("pattern_a").params["regex"] == "(?i)x"


def test_parsers_are_refused(tmp_path):
    with pytest.raises(ContractError, match="parsers change data; do it in the transform"):
        compiled(
            tmp_path,
            """
            from pandera.api.parsers import Parser
            Made = pa.DataFrameSchema({"a": pa.Column(int)}, parsers=Parser(lambda data: data))
            """,
        )
