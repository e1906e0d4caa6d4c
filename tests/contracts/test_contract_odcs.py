"""ODCS documents as contracts: what their rules mean, on data."""

from __future__ import annotations

import datetime as dt
import textwrap
from decimal import Decimal

import polars as pl
import pytest
from contract_helpers import parquet

from dp_dagster.contracts.audit import judge
from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.load import load_contract
from dp_dagster.contracts.model import Contract
from dp_dagster.contracts.phrases import phrase
from dp_dagster.contracts.split import split
from dp_dagster.errors import ContractDocumentError

HEAD = "apiVersion: {version}\nkind: DataContract\nid: shop\nversion: 1.2.0\nstatus: active\n"


def write(root, schema, version="v3.2.0", head=HEAD):
    file = root / "contracts" / "shop.odcs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(head.format(version=version) + textwrap.dedent(schema), encoding="utf-8")
    return file


def contract(root, schema, version="v3.2.0", name=None):
    write(root, schema, version)
    suffix = f":{name}" if name else ""
    return load_contract(f"contracts/shop.odcs.yaml{suffix}", product_root=root)


def of_properties(root, properties, version="v3.2.0", more=""):
    body = textwrap.indent(textwrap.dedent(properties).strip(), "      ")
    return contract(root, f"schema:\n  - name: things\n    properties:\n{body}\n{more}", version)


def found(root, contract_, data, **options):
    return evaluate(
        contract_, [parquet(root / "data.parquet", pl.DataFrame(data))], product_root=root, **options
    )


def failures(root, properties, data, rule_id, version="v3.2.0"):
    """Failing rows of one rule."""
    result = found(root, of_properties(root, properties, version), data).result(rule_id)
    assert result.evaluated, result.reason
    return result.failures


def refused(root, properties, version="v3.2.0", more=""):
    with pytest.raises(ContractDocumentError) as caught:
        of_properties(root, properties, version, more)
    return str(caught.value)


# -- logical types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "values", "fits"),
    [
        ("logicalType: integer", pl.Series([1], dtype=pl.Int8), True),
        ("logicalType: integer", pl.Series([1], dtype=pl.Int64), True),
        ("logicalType: integer", pl.Series([1.0]), False),
        ("logicalType: number", pl.Series([1.5]), True),
        ("logicalType: number", pl.Series([Decimal("1.5")]), True),
        ("logicalType: number", pl.Series([1]), True),
        ("logicalType: number", pl.Series(["1"]), False),
        ("logicalType: number, logicalTypeOptions: {format: f32}", pl.Series([1.5]), False),
        ("logicalType: boolean", pl.Series([True]), True),
        ("logicalType: date", pl.Series([dt.date(2024, 1, 1)]), True),
        ("logicalType: date", pl.Series([dt.datetime.fromisoformat("2024-01-01")]), False),
        ("logicalType: timestamp", pl.Series([dt.datetime.fromisoformat("2024-01-01")]), True),
        ("logicalType: timestamp", pl.Series([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]), True),
        (
            "logicalType: timestamp, logicalTypeOptions: {timezone: true}",
            pl.Series([dt.datetime.fromisoformat("2024-01-01")]),
            False,
        ),
        ("logicalType: time", pl.Series(["12:00:00"]), True),
        ("physicalType: 'VARCHAR(20)'", pl.Series(["x"]), True),
        ("physicalType: 'numeric(10, 2)'", pl.Series([Decimal("1.50")], dtype=pl.Decimal(10, 2)), True),
        ("physicalType: bigint", pl.Series([1], dtype=pl.Int32), False),
        ("logicalType: object", pl.Series([{"a": 1}]), True),
        ("logicalType: object", pl.Series(["x"]), False),
        (
            "logicalType: object, properties: [{name: a, logicalType: integer}]",
            pl.Series([{"a": 1, "b": 2}]),
            True,
        ),
        (
            "logicalType: object, properties: [{name: a, logicalType: integer}]",
            pl.Series([{"a": "x"}]),
            False,
        ),
        ("logicalType: array", pl.Series([["x"]]), True),
        ("logicalType: array, items: {logicalType: number}", pl.Series([[1.5]]), True),
        ("logicalType: array, items: {logicalType: number}", pl.Series([["x"]]), False),
        (
            "logicalType: vector, logicalTypeOptions: {dimensions: 2}",
            pl.Series([[1.5, 2.0]], dtype=pl.List(pl.Float32)),
            True,
        ),
    ],
)
def test_a_logical_type_is_a_family_of_types(tmp_path, declared, values, fits):
    made = of_properties(tmp_path, f"- {{name: x, {declared}}}")
    assert found(tmp_path, made, {"x": values}).result("type_x").passed is fits


def test_a_column_of_the_family_is_judged_by_the_type_that_it_has(tmp_path):
    made = of_properties(
        tmp_path,
        "- {name: x, logicalType: number, logicalTypeOptions: {minimum: 0.1, multipleOf: 0.1}}",
    )
    decimals = pl.Series([Decimal("0.1"), Decimal("0.05"), Decimal("0.30")], dtype=pl.Decimal(10, 2))
    assert [
        found(tmp_path, made, {"x": decimals}).result(f"{rule}_x").failures
        for rule in ("minimum", "multiple_of")
    ] == [1, 1]
    floats = [0.1, 0.05, 0.3, float("nan"), float("inf")]
    assert [
        found(tmp_path, made, {"x": floats}).result(f"{rule}_x").failures
        for rule in ("minimum", "multiple_of")
    ] == [2, 3]
    assert found(tmp_path, made, {"x": [0, 1]}).result("minimum_x").failures == 1


def test_columns_that_are_missing_or_too_many(tmp_path):
    made = of_properties(tmp_path, "- {name: x, logicalType: integer}")
    assert found(tmp_path, made, {"x": [1], "y": [1]}).result("columns").passed
    assert not found(tmp_path, made, {"y": [1]}).result("columns").passed
    strict = of_properties(
        tmp_path,
        "- {name: x, logicalType: integer}",
        more="    customProperties: [{property: strict, value: true}]\n",
    )
    assert found(tmp_path, strict, {"x": [1], "y": [1]}).result("columns").sample == (
        "column y is not declared",
    )


# -- options -----------------------------------------------------------------------------------------------

OPTIONS = [
    ("string", "minLength: 2", ["é", "éé", None], "length_x", 1),
    ("string", "maxLength: 1", ["é", "éé", ""], "length_x", 1),
    ("string", "pattern: '^a+$'", ["aa", "ab", "baa", None], "pattern_x", 2),
    ("string", "pattern: 'a'", ["xax", "b"], "pattern_x", 1),
    ("string", "format: email", ["a@example.com", "a@b", "@x.de", "a b@x.de"], "format_x", 3),
    ("string", "format: uuid", ["0b3e1c9e-55d0-4e9c-9f5d-0123456789ab", "0b3e"], "format_x", 1),
    ("string", "format: uri", ["https://example.com/x?y", "mailto:a@b.de", "no uri"], "format_x", 1),
    ("string", "format: hostname", ["example.com", "-x.de", "a_b"], "format_x", 2),
    ("string", "format: ipv4", ["127.0.0.1", "256.1.1.1"], "format_x", 1),
    ("string", "format: ipv6", ["::1", "fe80::1:2", "1::2::3", "::ffff:1.2.3.4"], "format_x", 1),
    ("string", "format: date", ["2024-02-29", "2024-13-01"], "format_x", 1),
    ("string", "format: date-time", ["2024-02-29T10:00:00Z", "2024-02-29T10:00:00"], "format_x", 1),
    ("integer", "minimum: 2", [1, 2, None], "minimum_x", 1),
    ("integer", "exclusiveMinimum: 2", [1, 2, 3], "minimum_x", 2),
    ("integer", "maximum: 2.5", [2, 3], "maximum_x", 1),
    ("integer", "multipleOf: 3", [0, 3, 4, -3, None], "multiple_of_x", 1),
    ("integer", "multipleOf: 0.5", [1, 2], "multiple_of_x", 0),
    ("integer", "format: i8", [127, 128, -129], "i8_maximum_x", 1),
    ("integer", "format: u64", [0, -1], "u64_minimum_x", 1),
    ("number", "exclusiveMaximum: 1", [1.0, 0.99, float("nan"), float("inf")], "maximum_x", 3),
    ("date", "minimum: '2024-01-01'", [dt.date(2023, 12, 31), dt.date(2024, 1, 1)], "minimum_x", 1),
    (
        "timestamp",
        "maximum: '2024-01-01T01:00:00+01:00'",
        [dt.datetime.fromisoformat("2024-01-01"), dt.datetime.fromisoformat("2024-01-01T00:00:01")],
        "maximum_x",
        1,
    ),
    (
        "timestamp",
        "maximum: '2024-01-01T00:00:00'",
        [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)],
        "maximum_x",
        1,
    ),
    ("time", "maximum: '12:00:00'", ["11:59:59", "12:00:01"], "maximum_x", 1),
    ("time", "format: 'HH:mm'", ["11:59", "24:00", "1:00"], "format_x", 2),
    ("array", "minItems: 1", [[], ["x"], None], "size_x", 1),
    ("array", "maxItems: 1", [[], ["x", None]], "size_x", 1),
    ("array", "uniqueItems: true", [["x", "x"], ["x", "y"], [], None, [None, None]], "distinct_items_x", 2),
    ("object", "minProperties: 1", [{"a": 1, "b": None}, {"a": None, "b": None}, None], "size_x", 1),
]


@pytest.mark.parametrize("case", OPTIONS, ids=[f"{case[0]} {case[1]}" for case in OPTIONS])
def test_options(tmp_path, case):
    kind, options, values, rule_id, expected = case
    declared = f"- {{name: x, logicalType: {kind}, logicalTypeOptions: {{{options}}}}}"
    assert failures(tmp_path, declared, {"x": values}, rule_id) == expected


def test_in_3_0_an_exclusive_bound_is_a_flag(tmp_path):
    declared = "- {name: x, logicalType: integer, logicalTypeOptions: {minimum: 2, exclusiveMinimum: true}}"
    assert failures(tmp_path, declared, {"x": [2, 3]}, "minimum_x", "v3.0.2") == 1
    assert "wants a number, not true" in refused(tmp_path, declared)


def test_a_date_that_is_kept_as_text_has_its_format_and_its_calendar(tmp_path):
    declared = (
        "- {name: x, logicalType: date, physicalType: varchar, logicalTypeOptions: {format: dd.MM.yyyy}}"
    )
    values = ["29.02.2024", "29.02.2023", "2024-02-29", None]
    assert failures(tmp_path, declared, {"x": values}, "format_x") == 2


def test_parts_of_columns_have_rules_of_their_own(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - name: address
          logicalType: object
          logicalTypeOptions: {required: [zip]}
          properties:
            - {name: zip, logicalType: string, logicalTypeOptions: {pattern: '^[0-9]+$'}}
            - name: lines
              logicalType: array
              items: {logicalType: string, required: true, enum: [{value: a}, {value: b}]}
        """,
    )
    data = {
        "address": [
            {"zip": "1", "lines": ["a"]},
            {"zip": None, "lines": []},
            {"zip": "x", "lines": ["a", None]},
            {"zip": "2", "lines": ["c", "c"]},
            None,
        ]
    }
    evaluation = found(tmp_path, made, data)
    counts = {result.rule_id: result.failures for result in evaluation.results if result.level == "row"}
    assert counts == {
        "not_null_address_zip": 1,
        "pattern_address_zip": 1,
        "not_null_address_lines_items": 1,
        "enum_address_lines_items": 1,
    }
    assert evaluation.rejected == 3
    assert phrase(made.rule("enum_address_lines_items")) == "address.lines[]: one of a, b"


def test_maps_have_rules_for_their_keys_and_values(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - name: x
          logicalType: map
          map:
            key: {logicalType: string, logicalTypeOptions: {maxLength: 1}}
            value: {logicalType: integer, logicalTypeOptions: {minimum: 0}}
        """,
    )
    import duckdb

    file = tmp_path / "maps.parquet"
    duckdb.sql(
        "select * from (values (map {'a': 1}), (map {'aa': 1}), (map {'a': -1}), (map {}), (null)) t(x)"
    ).write_parquet(str(file))
    evaluation = evaluate(made, [str(file)], product_root=tmp_path)
    assert evaluation.result("type_x").passed
    assert evaluation.result("length_x_key").failures == 1
    assert evaluation.result("minimum_x_value").failures == 1


# -- keys, enumerations, metadata --------------------------------------------------------------------------


def test_a_primary_key_has_the_order_of_its_positions(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - {name: b, logicalType: integer, primaryKey: true, primaryKeyPosition: 2}
        - {name: a, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
        """,
    )
    assert made.key == ("a", "b")
    assert not made.column("a").nullable
    evaluation = found(tmp_path, made, {"b": [1, 1, None], "a": [1, 1, 1]})
    assert evaluation.result("unique_a_b").failures == 1
    assert evaluation.result("not_null_b").failures == 1


def test_unique_leaves_null_alone_as_sql_does(tmp_path):
    declared = "- {name: x, logicalType: string, unique: true}"
    values = {"x": ["b", None, "a", "b", None]}
    assert failures(tmp_path, declared, values, "unique_x") == 1
    assert failures(tmp_path, declared, {"x": ["b", None, None]}, "unique_x") == 0


def test_what_a_document_says_of_a_property_is_kept(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - name: amount
          physicalName: amt
          businessName: Amount paid
          description: What was paid
          logicalType: number
          physicalType: DECIMAL(10, 2)
          classification: confidential
          tags: [money]
          examples: [1.5, 2]
          criticalDataElement: true
          customProperties: [{property: unit, value: EUR}]
        - {name: open, logicalType: string, classification: public}
        """,
        more="    description: All payments\n",
    )
    column = made.column("amt")
    assert (column.type, column.accepts, column.unit) == ("decimal(10,2)", "number", "EUR")
    assert (column.description, column.classification) == ("What was paid", "confidential")
    assert column.tags == {
        "money": "",
        "business_name": "Amount paid",
        "logical_name": "amount",
        "critical_data_element": "true",
        "examples": "1.5, 2",
    }
    assert made.classified == ("amt",)
    assert made.column("open").tags == {"classification": "public"}
    assert (made.name, made.version, made.format, made.description) == (
        "things",
        "1.2.0",
        "odcs",
        "All payments",
    )
    assert Contract.from_dict(made.to_dict()) == made


# -- quality rules -----------------------------------------------------------------------------------------

VALUES = {"x": ["a", "b", "b", None, "n/a", ""]}
QUALITY = [
    ("{metric: nullValues, mustBe: 0}", "not_null_x", 1),
    ("{metric: nullValues, mustBeLessOrEqualTo: 1}", "nullValues_x", 0),
    ("{metric: nullValues, mustBeGreaterThan: 1}", "nullValues_x", 1),
    ("{metric: nullValues, mustBeBetween: [0, 1]}", "nullValues_x", 0),
    ("{metric: nullValues, mustNotBeBetween: [0, 1]}", "nullValues_x", 1),
    ("{metric: nullValues, mustNotBe: 1}", "nullValues_x", 1),
    ("{metric: nullValues, mustBeLessThan: 1}", "not_null_x", 1),
    ("{metric: nullValues, mustBeGreaterOrEqualTo: 1}", "nullValues_x", 0),
    ("{metric: nullValues, mustBeLessThan: 17, unit: percent}", "nullValues_x", 0),
    ("{metric: nullValues, mustBeLessThan: 16, unit: percent}", "nullValues_x", 1),
    ("{metric: missingValues, arguments: {missingValues: [null, '', n/a]}, mustBe: 3}", "missingValues_x", 0),
    ("{metric: missingValues, arguments: {missingValues: ['']}, mustBe: 0}", "none_of_x", 1),
    ("{metric: invalidValues, arguments: {validValues: [a, b]}, mustBe: 0}", "one_of_x", 2),
    (
        "{metric: invalidValues, arguments: {validValues: [a, b], pattern: '^.$'}, mustBe: 2}",
        "invalidValues_x",
        0,
    ),
    ("{metric: invalidValues, arguments: {pattern: '^[ab]$'}, mustBe: 0}", "pattern_x", 2),
    ("{metric: duplicateValues, mustBe: 0}", "unique_x", 1),
    ("{metric: duplicateValues, mustBeLessThan: 2, name: few}", "few_x", 0),
]


@pytest.mark.parametrize(("rule", "rule_id", "expected"), QUALITY)
def test_library_rules_on_a_property(tmp_path, rule, rule_id, expected):
    declared = f"- {{name: x, logicalType: string, quality: [{rule}]}}"
    assert failures(tmp_path, declared, VALUES, rule_id) == expected


@pytest.mark.parametrize(
    ("rule", "rule_id", "expected"),
    [
        ("{rule: nullCheck}", "not_null_x", 1),
        ("{rule: duplicateCount, mustBeLessThan: 2, unit: rows}", "duplicateValues_x", 0),
        ("{rule: validValues, validValues: [a, b]}", "one_of_x", 2),
        ("{type: library, rule: duplicateCount, mustBe: 0}", "unique_x", 1),
    ],
)
def test_library_rules_as_3_0_spells_them(tmp_path, rule, rule_id, expected):
    declared = f"- {{name: x, logicalType: string, quality: [{rule}]}}"
    assert failures(tmp_path, declared, VALUES, rule_id, "v3.0.2") == expected


@pytest.mark.parametrize(
    ("rule", "rule_id", "expected"),
    [
        ("{metric: rowCount, mustBe: 6}", "row_count", 0),
        ("{metric: rowCount, mustBeGreaterThan: 6}", "row_count", 1),
        ("{metric: rowCount, mustBeBetween: [1, 5]}", "row_count", 1),
        ("{metric: rowCount, mustNotBe: 6}", "rowCount", 1),
        ("{metric: rowCount, mustNotBeBetween: [1, 5]}", "rowCount", 0),
        ("{metric: duplicateValues, arguments: {properties: [x]}, mustBe: 0}", "unique_x", 1),
        ("{type: sql, query: 'select count(*) from ${object} where x = ''b''', mustBeLessThan: 2}", "sql", 1),
        ("{type: sql, query: 'select max(length(x)) from things', mustBe: 3, name: longest}", "longest", 0),
        ("{type: sql, query: 'select x from things', mustBe: a, name: rows}", "rows", None),
        ("{type: sql, query: 'select cast(x as integer) from things', mustBe: 1}", "sql", None),
    ],
)
def test_rules_on_the_schema(tmp_path, rule, rule_id, expected):
    made = of_properties(tmp_path, "- {name: x, logicalType: string}", more=f"    quality: [{rule}]\n")
    result = found(tmp_path, made, VALUES).result(rule_id)
    assert result.evaluated is (expected is not None)
    assert result.failures == (expected or 0)
    assert bool(result.reason or result.sample) is (expected != 0)


def test_what_nobody_can_check_is_listed_reports_and_never_passes(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - name: x
          logicalType: string
          logicalTypeOptions: {format: iban}
          quality:
            - {type: text, description: Names are spelled well, severity: error}
            - {type: custom, engine: soda, implementation: "checks for x"}
        """,
    )
    evaluation = found(tmp_path, made, VALUES)
    results = [evaluation.result(name) for name in ("format_x", "text_x", "custom_soda_x")]
    assert [(one.passed, one.evaluated, one.severity) for one in results] == [(False, False, "warn")] * 3
    assert [one.reason for one in results] == [
        "format iban is not known",
        "a rule of type text is for people",
        "a rule of type custom is for soda",
    ]
    verdict = judge(evaluation, candidate_id="c", contract=made, input_hash="bytes")
    assert verdict.decision == "accepted"
    assert "3 warnings (format_x, text_x, custom_soda_x)" in verdict.reason
    assert "not evaluated" in phrase(made.rule("text_x"))


def test_severity(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - name: x
          logicalType: string
          quality:
            - {metric: nullValues, mustBe: 0, severity: warning, name: one}
            - {metric: nullValues, mustBe: 0, severity: critical, name: two}
        """,
    )
    assert [made.rule(name).severity for name in ("one_x", "two_x")] == ["warn", "error"]


def test_rows_that_break_rules_are_split_off(tmp_path):
    made = of_properties(
        tmp_path,
        """
        - {name: id, logicalType: integer, primaryKey: true}
        - {name: tags, logicalType: array, items: {logicalType: string, logicalTypeOptions: {minLength: 2}}}
        """,
    )
    data = pl.DataFrame({"id": [1, 1, 2, 3], "tags": [["aa"], ["aa"], ["a"], None]})
    parts = split(
        made, [parquet(tmp_path / "d.parquet", data)], tmp_path / "good.parquet", product_root=tmp_path
    )
    assert pl.read_parquet(tmp_path / "good.parquet")["id"].to_list() == [1, 3]
    assert parts.rejected().read_all()["rules"].to_pylist() == [["unique_id"], ["length_tags_items"]]


# -- relationships -----------------------------------------------------------------------------------------

TWO = """
    schema:
      - name: customers
        properties:
          - {name: id, logicalType: integer}
          - {name: region, physicalName: reg, logicalType: string}
      - name: orders
        properties:
          - {name: id, logicalType: integer}
          - {name: customer, logicalType: integer, relationships: [{to: customers.id}]}
          - {name: region, logicalType: string}
          - {name: parent, logicalType: integer, relationships: [{to: orders.id}]}
        relationships:
          - {from: [orders.customer, orders.region], to: [customers.id, /schema/customers/properties/region]}
"""


def test_relationships_to_another_dataset_and_to_itself(tmp_path):
    made = contract(tmp_path, TWO, name="orders")
    customers = parquet(
        tmp_path / "customers.parquet",
        pl.DataFrame({"id": [1, 2, None], "reg": ["n", "s", "x"]}, schema_overrides={"id": pl.Int16}),
    )
    data = {
        "id": [1, 2, 3],
        "customer": [1, 3, None],
        "region": ["s", "n", "n"],
        "parent": [None, 1, 4],
    }
    evaluation = found(tmp_path, made, data, others={"customers": [customers]})
    counts = {
        name: evaluation.result(name).failures
        for name in ("reference_customer", "reference_parent", "reference_customer_region")
    }
    assert counts == {"reference_customer": 1, "reference_parent": 1, "reference_customer_region": 2}
    assert evaluation.rejected == 3
    parts = split(
        made,
        [str(tmp_path / "data.parquet")],
        tmp_path / "good.parquet",
        product_root=tmp_path,
        others={"customers": [customers]},
    )
    assert parts.rows_accepted == 0
    assert phrase(made.rule("reference_customer")) == "customer: one of customers (id)"


def test_a_relationship_to_what_is_not_there_holds(tmp_path):
    made = contract(tmp_path, TWO, name="orders")
    data = {"id": [1], "customer": [1], "region": ["n"], "parent": [None]}
    evaluation = found(tmp_path, made, pl.DataFrame(data, schema_overrides={"parent": pl.Int64}))
    result = evaluation.result("reference_customer")
    assert (result.evaluated, result.reason) == (False, "dataset customers has published nothing yet")
    assert judge(evaluation, candidate_id="c", contract=made, input_hash="b").decision == "held"


# -- references --------------------------------------------------------------------------------------------


def test_a_document_with_several_schemas_needs_a_name(tmp_path):
    write(tmp_path, TWO)
    with pytest.raises(ContractDocumentError, match="holds 2 objects: customers, orders; name one"):
        load_contract("contracts/shop.odcs.yaml", product_root=tmp_path)
    with pytest.raises(ContractDocumentError, match="there is no order; did you mean orders"):
        load_contract("contracts/shop.odcs.yaml:order", product_root=tmp_path)


def test_a_compiled_document_is_kept_until_it_changes(tmp_path):
    cache = tmp_path / "cache"
    file = write(tmp_path, TWO)
    first = load_contract("contracts/shop.odcs.yaml:orders", product_root=tmp_path, cache_directory=cache)
    assert (
        load_contract("contracts/shop.odcs.yaml:orders", product_root=tmp_path, cache_directory=cache)
        == first
    )
    assert len(list(cache.iterdir())) == 1
    file.write_text(
        file.read_text().replace("name: region, logicalType", "name: region, required: true, logicalType")
    )
    changed = load_contract("contracts/shop.odcs.yaml:orders", product_root=tmp_path, cache_directory=cache)
    assert changed.hash != first.hash
    assert changed.rule("not_null_region")


# -- refusals ----------------------------------------------------------------------------------------------

REFUSED = [
    ("logicalType: text", "logicalType: text is no logical type here; choices:"),
    (
        "logicalTypeOptions: {minLength: 1}",
        "says more about a logicalType that is not named; add `logicalType: …`",
    ),
    ("description: x", "says nothing of its type; add a logicalType"),
    ("physicalType: geometry", "physicalType geometry is not known; add a logicalType"),
    (
        "logicalType: string, logicalTypeOptions: {minimum: 1}",
        "minimum: is no option of logicalType string; options:",
    ),
    (
        "logicalType: string, logicalTypeOptions: {minLength: 3, maxLength: 2}",
        "minLength: 3 is above maxLength 2",
    ),
    (
        "logicalType: integer, logicalTypeOptions: {minimum: 3, maximum: 2}",
        "maximum: no value can lie above 3 and below 2",
    ),
    (
        "logicalType: integer, logicalTypeOptions: {format: i8, minimum: 200}",
        "no value can lie above 200 and below 127",
    ),
    ("logicalType: date, logicalTypeOptions: {minimum: soon}", "minimum: soon is no ISO 8601 date"),
    ("logicalType: string, logicalTypeOptions: {pattern: '('}", "pattern: is no regular expression"),
    (
        "logicalType: string, logicalTypeOptions: {pattern: '(a)\\1'}",
        "look-around and back-references are not supported",
    ),
    (
        "logicalType: integer, enum: [{value: x}]",
        "enum[0].value: 'x' cannot be compared with a column of type int64",
    ),
    ("logicalType: array, unique: true", "unique: applies to whole columns of single values; remove it"),
    ("logicalType: string, requird: true", "requird: unknown key; did you mean required?"),
    ("logicalType: integer, relationships: [{to: nobody}]", "is no reference; write schema.property"),
    ("logicalType: integer, relationships: [{to: things.y}]", "to: y is no property of things; choices: x"),
    ("logicalType: string, quality: [{metric: nullValues}]", "has no comparison; write one of mustBe"),
    (
        "logicalType: string, quality: [{metric: nulls, mustBe: 0}]",
        "metric: nulls is no metric; did you mean nullValues?",
    ),
    (
        "logicalType: string, quality: [{metric: nullValues, mustBe: -1}]",
        "mustBe: no number of rows can be equal -1",
    ),
    ("logicalType: string, quality: [{metric: nullValues, mustBeBetween: [2, 1]}]", "names 2 before 1"),
    (
        "logicalType: string, quality: [{metric: nullValues, mustBe: 1, unit: percents}]",
        "unit: percents is no unit",
    ),
    ("logicalType: string, quality: [{metric: invalidValues, mustBe: 0}]", "does not say what is valid"),
    (
        "logicalType: string, quality: [{type: sql, query: drop table things, mustBe: 0}]",
        "query: is a DROP statement",
    ),
    (
        "logicalType: string, quality: [{type: sql, query: select 1; select 2, mustBe: 0}]",
        "query: holds 2 statements",
    ),
    (
        "logicalType: string, quality: [{type: sql, query: select count(*) from others, mustBe: 0}]",
        "query: reads others",
    ),
    (
        "logicalType: string, quality: [{type: sql, query: select y from things, mustBe: 0}]",
        "query: is not understood",
    ),
    (
        "logicalType: string, quality: [{type: sql, query: \"select * from read_csv('/x')\", mustBe: 0}]",
        "query: reads from READ_CSV('/x'); a rule reads its own table only",
    ),
]


@pytest.mark.parametrize(("declared", "said"), REFUSED, ids=[declared for declared, _ in REFUSED])
def test_what_cannot_hold_is_refused_with_its_place(tmp_path, declared, said):
    told = refused(tmp_path, f"- {{name: x, {declared}}}")
    assert "contracts/shop.odcs.yaml:9: schema[0].properties[0]" in told
    assert said in told


def test_every_fault_is_told_at_once(tmp_path):
    told = refused(
        tmp_path,
        """
        - {name: x, logicalType: string, requird: true}
        - {name: y, logicalType: number, logicalTypeOptions: {multipleOf: 0}}
        - {logicalType: integer}
        """,
    ).splitlines()
    assert [line.rpartition("shop.odcs.yaml:")[2].split(": ")[:2] for line in told] == [
        ["9", "schema[0].properties[0].requird"],
        ["10", "schema[0].properties[1].logicalTypeOptions.multipleOf"],
        ["11", "schema[0].properties[2].name"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: DataProduct\n", "is a Bitol data product (ODPS), not a contract"),
        ("dataContractSpecification: 1.1.0\n", "is a document of the Data Contract Specification"),
        (
            "apiVersion: v2.2.2\nkind: DataContract\nid: a\nversion: '1'\nstatus: x\n",
            "v2.2.2 is not a version that is read",
        ),
        ("- 1\n", "wants a mapping, not a list"),
        ("a: [\n", "is not valid YAML"),
        (HEAD.format(version="v3.1.0"), "schema: is missing or empty"),
    ],
)
def test_other_documents_are_refused_by_name(tmp_path, text, said):
    write(tmp_path, "", head=text.replace("{", "{{").replace("}", "}}"))
    with pytest.raises(ContractDocumentError) as caught:
        load_contract("contracts/shop.odcs.yaml", product_root=tmp_path)
    assert said in str(caught.value)
