"""What is exported keeps to the official schemas, and says what the contract says."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import jsonschema
import polars as pl
import pytest
import yaml
from contract_texts import EVERYTHING

from dp_dagster.cli import main
from dp_dagster.contracts.canonical import type_name
from dp_dagster.contracts.load import load_contract
from dp_dagster.contracts.model import Column, Contract
from dp_dagster.contracts.row_json import json_rows
from dp_dagster.contracts.row_schema import row_schema
from dp_dagster.documents.dbt import model_schema
from dp_dagster.documents.exporting import export_product
from dp_dagster.documents.odcs import schema_object
from dp_dagster.errors import UsageError
from dp_dagster.resolve import resolve


@pytest.fixture
def everything(tmp_path):
    (tmp_path / "contract.py").write_text(EVERYTHING)
    return load_contract("contract.py:Everything", product_root=tmp_path)


@pytest.fixture
def dp(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return ended.value.code, captured.out, captured.err

    return run


# -- against the official schemas ---------------------------------------------------------------------------


def test_odps_and_odcs_of_each_product_keep_to_the_official_schemas(example, violations):
    (written,) = export_product(example, "odps")
    document = yaml.safe_load(written.text)
    assert violations(document) == []
    assert document["apiVersion"] == "v1.1.0"
    contracts = {}
    for part in export_product(example, "odcs"):
        contract = yaml.safe_load(part.text)
        assert violations(contract) == []
        contracts[contract["id"]] = contract
    assert {port["contractId"] for port in document["outputPorts"]} == set(contracts)
    assert [port["name"] for port in document["inputPorts"]] == [one.name for one in example.inputs]


def test_a_contract_that_says_everything_keeps_to_the_official_schema(everything, violations):
    table, _ = schema_object(everything, "everything", ("id",))
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "x",
        "version": "1.0.0",
        "status": "active",
    }
    assert violations({**document, "schema": [table]}) == []
    # The check itself finds faults.
    table["properties"][0]["logicalType"] = "number9"
    assert violations({**document, "schema": [table]}) != []


def test_maps_need_the_version_that_has_them(violations):
    columns = (Column("id", "int64", nullable=False), Column("extra", "map<string, list<int64>>"))
    contract = Contract("Mapped", "0", "pandera", "contract.py:Mapped", columns, ())
    table, _ = schema_object(contract, "mapped", ("id",))
    document = {"kind": "DataContract", "id": "x", "version": "1.0.0", "status": "active", "schema": [table]}
    assert violations({**document, "apiVersion": "v3.2.0"}) == []
    assert violations({**document, "apiVersion": "v3.1.0"}) != []


# -- ODCS -------------------------------------------------------------------------------------------------


def test_each_rule_is_said_somewhere_in_odcs(everything):
    table, notes = schema_object(everything, "everything", ("id",))
    properties = {one["name"]: one for one in table["properties"]}
    quality = {one["id"]: one for one in table["quality"]}
    quality |= {rule["id"]: rule for one in table["properties"] for rule in one.get("quality", ())}
    assert properties["id"] == {
        "name": "id", "logicalType": "integer", "physicalType": "BIGINT", "description": "Key", "required": True,
        "unique": True, "primaryKey": True, "primaryKeyPosition": 1,
        "logicalTypeOptions": {"format": "i64", "minimum": 1, "exclusiveMaximum": 1000},
    }  # fmt: skip
    assert properties["code"]["logicalTypeOptions"] == {"pattern": "^(?:[A-Z]{2}[0-9])"}
    assert properties["word"]["logicalTypeOptions"] == {"minLength": 2, "maxLength": 4}
    assert properties["start"]["logicalTypeOptions"] == {"pattern": r"\$$"}
    assert properties["price"]["logicalTypeOptions"] == {"minimum": 0, "maximum": 100}
    assert properties["day"]["classification"] == "pii"
    assert properties["share"]["tags"] == ["tier:gold"]
    assert properties["share"]["customProperties"] == [{"property": "unit", "value": "of one"}]
    assert quality["one_of_small"]["arguments"] == {"validValues": [1, 2, 3]}
    assert quality["equal_on"]["severity"] == "warning"
    assert quality["unique_code_word"]["arguments"] == {"properties": ["code", "word"]}
    assert quality["row_count"]["mustBeBetween"] == [1, 50]
    assert "'it''s'" in quality["none_of_word"]["query"]
    assert quality["odd_day"]["type"] == "text"
    said = set(quality) | {"id", "code"}
    assert {rule.id for rule in everything.rules if rule.kind in ("expression", "none_of", "one_of")} <= said
    assert {note.subject for note in notes} == {"odd_day", "unique_code_word", "columns"}
    named = next(one for one in table["customProperties"] if one["property"] == "notExpressed")
    assert {one["rule"] for one in named["value"]} == {"odd_day", "unique_code_word"}


def test_a_composite_key_is_said_by_positions(example_named):
    (written,) = export_product(example_named("route_punctuality"), "odcs")
    table = yaml.safe_load(written.text)["schema"][0]
    positions = {
        one["name"]: one["primaryKeyPosition"] for one in table["properties"] if one.get("primaryKey")
    }
    assert positions == {"origin": 1, "destination": 2, "month": 3}
    assert not any(rule["id"].startswith("unique") for rule in table["quality"])


# -- JSON Schema --------------------------------------------------------------------------------------------

GOOD = {
    "id": 1, "small": 1, "code": "AB1", "word": "abc", "start": "a.b$", "found": "x", "flagged": "YES", "share": 0.5,
    "half": 0.5, "price": "12.50", "day": "2024-02-03", "seen": "2024-02-03T00:00:00.000000+00:00",
    "clock": "2024-02-03T00:00:00.000000", "on": True, "raw": "00ff", "labels": ["a", None],
    "place": {"zip": "1", "floor": 2},
}  # fmt: skip
BAD = {
    "id": [0, 1000, None, "1", 1.5], "small": [4, 40000], "code": ["ab1", 5], "word": ["a", "abcde", "no", None],
    "start": ["ab$", "a.b"], "found": ["z"], "share": [1.5, "NaN", "inf", True], "half": [0, "NaN", "-inf"],
    "price": [12.5, "12.5", "13.00", "1234567.00"], "day": ["2024-02-30", "03.02.2024"], "clock": ["2024-02-03"],
    "seen": ["2024-02-03T00:00:00"], "raw": ["0", "xy"], "labels": ["a", [1]], "place": [{"zip": 1}, {"other": 1}],
    "more": [1],
}  # fmt: skip


@pytest.fixture
def row_validator(everything):
    schema, _ = row_schema(everything)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def test_a_good_row_keeps_to_its_schema(row_validator, everything):
    row_validator.validate(GOOD)
    nullable = {column.name: None for column in everything.columns if column.nullable}
    row_validator.validate(GOOD | nullable)
    row_validator.validate(GOOD | {"half": "inf"})


@pytest.mark.parametrize(
    ("column", "value"), [(column, value) for column, values in BAD.items() for value in values]
)
def test_a_bad_value_breaks_the_schema(row_validator, column, value):
    assert not row_validator.is_valid(GOOD | {column: value})


@pytest.mark.parametrize("column", ["id", "clock"])
def test_a_missing_column_breaks_the_schema(row_validator, column):
    assert not row_validator.is_valid({key: value for key, value in GOOD.items() if key != column})


def test_rows_as_the_project_writes_them_keep_to_the_schema(row_validator, everything):
    frame = pl.DataFrame(
        {
            "id": [1, 2], "small": pl.Series([1, None], dtype=pl.Int16), "code": ["AB1", None], "word": ["ab", "abcd"],
            "start": ["a.b$", None], "found": ["ax", None], "flagged": ["yes", None], "share": [0.0, 1.0],
            "half": pl.Series([1.0, float("inf")], dtype=pl.Float32),
            "price": pl.Series([Decimal("0.00"), Decimal("99.99")], dtype=pl.Decimal(8, 2)),
            "day": [date(2020, 1, 1), None],
            "seen": pl.Series([datetime(2020, 1, 1, tzinfo=UTC), None], dtype=pl.Datetime("us", "UTC")),
            "clock": [datetime.fromisoformat("2020-01-01T01:02:03.000004"), None],
            "on": [True, None], "raw": [b"\x00\xff", None],
            "labels": [["a"], None], "place": [{"zip": "1", "floor": 1}, None],
        }, schema_overrides={"place": pl.Struct({"zip": pl.String, "floor": pl.Int32})}
    )  # fmt: skip
    assert {name: type_name(kind) for name, kind in frame.schema.items()} == {
        column.name: column.type for column in everything.columns
    }
    for row in json_rows(frame):
        row_validator.validate(json.loads(row))


def test_what_a_schema_cannot_say_is_named_in_it(everything):
    schema, notes = row_schema(everything)
    named = {one["rule"] for one in schema["x-notExpressed"]}
    assert named == {note.subject for note in notes}
    assert {
        "unique_id",
        "row_count",
        "ordered",
        "odd_day",
        "equal_on",
        "minimum_price",
        "pattern_flagged",
    } <= (named | {"ordered"})


def test_schemas_of_the_products_are_schemas(example):
    for written in export_product(example, "jsonschema"):
        schema = json.loads(written.text)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema.Draft202012Validator.check_schema(schema)


# -- dbt --------------------------------------------------------------------------------------------------


def test_dbt_gets_constraints_and_tests(everything):
    model, notes = model_schema(everything, "everything", ("id",))
    columns = {one["name"]: one for one in model["columns"]}
    assert columns["price"]["data_type"] == "DECIMAL(8,2)"
    assert columns["small"]["data_tests"] == [
        {"accepted_values": {"arguments": {"values": [1, 2, 3], "quote": False}}}
    ]
    assert columns["on"]["data_tests"] == [
        {
            "accepted_values": {
                "arguments": {"values": [True], "quote": False},
                "config": {"severity": "warn"},
            }
        }
    ]
    assert columns["id"]["data_tests"] == ["not_null", "unique"]
    assert {note.subject for note in notes} == {
        "row_count",
        "odd_day",
        "unique_code_word",
        "either",
    }


def test_a_dataset_that_a_dbt_model_makes_is_described_as_that_model(example_named):
    (written,) = export_product(example_named("customer_360"), "dbt")
    assert yaml.safe_load(written.text)["models"][0]["name"] == "customer_profiles"


# -- older versions -------------------------------------------------------------------------------------------


def test_older_versions_that_are_live_are_written_too(project, settings, violations):
    folder = project.add_product()
    text = (folder / "product.yaml").read_text().replace("version: 1.0.0", "version: 2.0.0")
    older = (
        'datasets:\n  - {name: totals, from: totals, contract: "contracts/totals.py:Totals", key: [shop], versions: '
        '[{major: 1, from: totals_v1, contract: "contracts/totals.py:Totals", key: [shop], '
        "deprecated: {sunset: 2099-01-31, note: use 2}}]}\n"
    )
    text = text.replace(text[text.index("datasets:") : text.index("output_ports:")], older)
    text = text.replace(
        "datasets:", "  - {name: totals_v1, type: SQL, path: transforms/totals_v1.sql}\ndatasets:"
    )
    (folder / "product.yaml").write_text(text)
    (folder / "transforms" / "totals_v1.sql").write_text("select shop, amount from totals\n")
    product = resolve(folder, settings)
    contracts = {written.file: yaml.safe_load(written.text) for written in export_product(product, "odcs")}
    assert set(contracts) == {"totals.odcs.yaml", "totals.v1.odcs.yaml"}
    kept = contracts["totals.v1.odcs.yaml"]
    assert (kept["id"], kept["version"], kept["status"]) == ("shops.totals.v1", "1", "deprecated")
    assert {"property": "endOfSupport", "value": "2099-01-31", "description": "use 2"} in kept[
        "slaProperties"
    ]
    document = yaml.safe_load(export_product(product, "odps")[0].text)
    assert document["outputPorts"][1:] == [
        {
            "deprecated": True,
            "name": "vw_totals",
            "type": "SQL",
            "version": "1",
            "contractId": "shops.totals.v1",
            "customProperties": [{"property": "sunset", "value": "2099-01-31"}],
        }
    ]
    assert violations(document) == violations(kept) == []
    assert {written.file for written in export_product(product, "dbt")} == {
        "totals.dbt.yml",
        "totals.v1.dbt.yml",
    }


# -- the command ----------------------------------------------------------------------------------------------


def test_one_document_goes_to_standard_output_and_what_is_unsaid_beside_it(dp, project):
    project.copy_product("route_punctuality")
    code, out, err = dp("export", "route_punctuality", "--format", "odcs")
    assert code == 0
    assert yaml.safe_load(out)["id"] == "route_punctuality.route_punctuality"
    assert "route_punctuality.odcs.yaml: not expressed: month_begins: Day has no counterpart in SQL" in err


def test_several_documents_need_a_folder(dp, project, tmp_path):
    project.copy_product("flights")
    code, out, err = dp("export", "flights", "--format", "jsonschema")
    assert (code, out) == (2, "")
    assert "3 documents (flights.schema.json, weather.schema.json, airports.schema.json)" in err
    code, out, _ = dp(
        "export", "flights", "--format", "jsonschema", "--output", str(tmp_path / "new" / "folder")
    )
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "airports.schema.json", "flights.schema.json", "weather.schema.json",
    ]  # fmt: skip
    code, out, _ = dp("export", "flights", "--format", "odcs", "--dataset", "weather")
    assert yaml.safe_load(out)["name"] == "weather"


def test_json_holds_documents_and_notes(dp, project):
    project.add_product()
    code, out, err = dp("export", "shops", "--format", "odps", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["documents"][0]["file"] == "shops.odps.yaml"
    assert said["documents"][0]["notes"][0]["subject"] == "transforms"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--format", "odps"], "nothing"),
        (["shops", "--format", "pdf"], "'pdf' is not one of"),
        (["shops"], "--format"),
        (
            ["shops", "--format", "odcs", "--dataset", "nothing"],
            "nothing is no dataset of shops; there are totals",
        ),
        (["shops", "--format", "odps", "--dataset", "totals"], "describes the whole product"),
    ],
)
def test_wrong_use_is_refused(dp, project, arguments, message):
    project.add_product()
    code, out, err = dp("export", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_product_without_datasets_has_no_contracts_to_write(project, settings):
    folder = project.add_product(
        "bare", descriptor="product_id: bare\nversion: 1.0.0\noutput_ports: [{name: x, type: NATS}]\n"
    )
    product = resolve(folder, settings)
    with pytest.raises(UsageError, match="bare has no datasets"):
        export_product(product, "dbt")
    (written,) = export_product(product, "odps")
    assert yaml.safe_load(written.text)["outputPorts"] == [{"name": "x", "type": "NATS", "version": "1.0.0"}]


def test_values_of_variables_stay_out_of_documents(project, settings, monkeypatch):
    monkeypatch.setenv("SECRET_HOST", "10.0.0.99")
    text = (
        "product_id: bare\nversion: 1.0.0\ndescription: on ${SECRET_HOST}\n"
        "output_ports: [{name: x, type: NATS, endpoint: 'https://${SECRET_HOST}/x'}]\n"
    )
    (written,) = export_product(resolve(project.add_product("bare", descriptor=text), settings), "odps")
    assert "10.0.0.99" not in written.text
    assert written.text.count("${SECRET_HOST}") == 2
