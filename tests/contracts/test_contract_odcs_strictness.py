"""What the official JSON Schemas of ODCS refuse is refused, and what they accept is not refused for its shape."""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json

import jsonschema_rs
import pytest

from dp_dagster.contracts.odcs.reading import check_odcs
from dp_dagster.descriptor.document import Document
from dp_dagster.errors import ContractDocumentError

VERSIONS = ("3.0.2", "3.1.0", "3.2.0")


@functools.cache
def official(version):
    """The official schema of a version, as the package datacontract-cli ships it."""
    file = importlib.resources.files("datacontract") / "schemas" / f"odcs-{version}.schema.json"
    return jsonschema_rs.Draft201909Validator(json.loads(file.read_text(encoding="utf-8")))


def document(version):
    """A document that uses every part of the standard's version."""
    newer, newest = version >= "3.1", version >= "3.2"
    identifier = {"id": "one"} if newer else {}
    custom = [{"property": "p", "value": {"a": [1]}, **identifier}]
    links = [{"url": "https://example.com", "type": "tutorial", **identifier}]
    operators = [
        {"mustBe": 1}, {"mustNotBe": 1}, {"mustBeGreaterThan": 1}, {"mustBeGreaterOrEqualTo": 1},
        {"mustBeLessThan": 1}, {"mustBeLessOrEqualTo": 1}, {"mustBeBetween": [1, 2]}, {"mustNotBeBetween": [1, 2]},
    ]  # fmt: skip
    metric = {"metric": "nullValues", "arguments": {"a": 1}} if newer else {"rule": "nullCheck"}
    quality = [{"type": "library", "unit": "rows", **metric, **one} for one in operators]
    quality += [
        {"type": "sql", "query": "select 1", "mustBe": 1, "severity": "error", "dimension": "accuracy"},
        {
            "type": "text",
            "description": "d",
            "name": "n",
            "method": "m",
            "businessImpact": "b",
            "tags": ["t"],
        },
        {"type": "custom", "engine": "soda", "implementation": {"a": 1}, "schedule": "s", "scheduler": "c"},
    ]
    quality[-1] |= {"authoritativeDefinitions": links, "customProperties": custom, **identifier}
    bound = {"exclusiveMinimum": True, "exclusiveMaximum": False} if not newer else {}
    numeric = {"minimum": 1, "maximum": 5, "multipleOf": 2, **bound}
    properties = [
        {
            "name": "text", "logicalType": "string", "physicalType": "varchar", "physicalName": "t",
            "logicalTypeOptions": {"minLength": 1, "maxLength": 2, "pattern": "a", "format": "uuid"},
            "primaryKey": True, "primaryKeyPosition": 1, "required": True, "unique": True, "partitioned": False,
            "partitionKeyPosition": -1, "classification": "c", "encryptedName": "e", "transformLogic": "l",
            "transformSourceObjects": ["o"], "transformDescription": "d", "examples": [1, "x"],
            "criticalDataElement": True, "description": "d", "businessName": "b", "tags": ["t"],
            "authoritativeDefinitions": links, "customProperties": custom, "quality": quality, **identifier,
        },
        {"name": "whole", "logicalType": "integer", "logicalTypeOptions": {**numeric, "format": "i64"}},
        {"name": "number", "logicalType": "number", "logicalTypeOptions": {**numeric, "format": "f64"}},
        {"name": "day", "logicalType": "date", "logicalTypeOptions": {"format": "y", "minimum": "2024-01-01", **bound}},
        {"name": "flag", "logicalType": "boolean"},
        {
            "name": "thing", "logicalType": "object",
            "logicalTypeOptions": {"minProperties": 1, "maxProperties": 2, "required": ["part"]},
            "properties": [{"name": "part", "logicalType": "string"}],
        },
        {
            "name": "list", "logicalType": "array",
            "logicalTypeOptions": {"minItems": 1, "maxItems": 2, "uniqueItems": True},
            "items": {"logicalType": "object", "properties": [{"name": "deep", "logicalType": "string"}]},
        },
    ]  # fmt: skip
    things = {"name": "things", "logicalType": "object", "physicalName": "t", "physicalType": "table"}
    things |= {"description": "d", "businessName": "b", "dataGranularityDescription": "g", "tags": ["t"]}
    things |= {"authoritativeDefinitions": links, "customProperties": custom, "quality": quality[:1]}
    member = {"username": "u", "name": "n", "description": "d", "role": "r", "dateIn": "2024-01-01"}
    member |= {"dateOut": "2024-01-02", "replacedByUsername": "v"}
    level = {
        "property": "latency",
        "value": 4,
        "valueExt": 5,
        "unit": "d",
        "element": "e",
        "driver": "regulatory",
    }
    made = {
        "version": "1.0.0", "kind": "DataContract", "apiVersion": f"v{version}", "id": "i", "status": "active",
        "name": "n", "tenant": "t", "tags": ["t"], "dataProduct": "p", "domain": "d",
        "description": {"usage": "u", "purpose": "p", "limitations": "l", "authoritativeDefinitions": links},
        "servers": [
            {"server": "s", "type": "postgres", "host": "h", "port": 5432, "database": "d", "schema": "s",
             "description": "d", "environment": "e", "roles": [{"role": "r"}], "customProperties": custom},
            {"server": "s", "type": "sftp", "location": "sftp://example.com/a"},
            {"server": "s", "type": "kinesis"},
        ],
        "schema": [things],
        "support": [{"channel": "c", "url": "u", "description": "d", "tool": "t", "scope": "s", "invitationUrl": "i"}],
        "price": {"priceAmount": 1.5, "priceCurrency": "EUR", "priceUnit": "row"},
        "team": [member],
        "roles": [{"role": "r", "description": "d", "access": "a", "firstLevelApprovers": "f",
                   "secondLevelApprovers": "s", "customProperties": custom}],
        "slaDefaultElement": "e", "slaProperties": [level], "authoritativeDefinitions": links,
        "customProperties": custom, "contractCreatedTs": "2024-01-01T00:00:00Z",
    }  # fmt: skip
    if newer:
        reference = {"type": "foreignKey", "customProperties": custom}
        things["relationships"] = [
            {"from": "things.text", "to": "others.text", **reference},
            {"from": ["things.text", "things.whole"], "to": ["others.text", "schema/others/properties/x"]},
        ]
        properties[0]["relationships"] = [{"to": "others.text", **reference}]
        properties += [
            {
                "name": kind, "logicalType": kind,
                "logicalTypeOptions": {"format": "f", "exclusiveMinimum": "a", "timezone": True,
                                       "defaultTimezone": "z"},
            }
            for kind in ("timestamp", "time")
        ]  # fmt: skip
        made["team"] = {"name": "n", "description": "d", "members": [{**member, **identifier}], "tags": ["t"]}
        made["support"][0] |= {"customProperties": custom, **identifier}
        level |= {"description": "d", "scheduler": "s", "schedule": "s", **identifier}
    if newest:
        enumeration = {"value": "a", "label": "l", "description": "d", "tags": ["t"], **identifier}
        synonym = {
            "synonym": "s",
            "description": "d",
            "locale": "en",
            "source": "s",
            "status": "s",
            **identifier,
        }
        properties[0] |= {"enum": [enumeration, {"value": 2}], "semanticType": "column", "deprecated": True}
        properties[0]["synonyms"] = [synonym]
        properties += [
            {"name": "pairs", "logicalType": "map",
             "map": {"key": {"logicalType": "string"}, "value": {"logicalType": "date"}}},
            {
                "name": "vector", "logicalType": "vector",
                "logicalTypeOptions": {"dimensions": 3, "elementType": "float32", "distanceMetric": "cosine",
                                       "embeddingModel": "m", "embeddingModelVersion": "1", "normalized": True},
            },
        ]  # fmt: skip
        statement = {"question": "q", "answer": "a", "tags": ["t"], **identifier}
        made["context"] = {
            "instructions": "i", "verifiedStatements": [statement], "constraints": [{"constraint": "c", **identifier}],
        }  # fmt: skip
        things["context"] = "c"
        custom[0]["vendor"] = "v"
        level |= {"customProperties": custom, "authoritativeDefinitions": links}
    things["properties"] = properties
    return made


def places(value, keys=()):
    """Every key and item of a document, as a path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*keys, key)
        yield from places(below, (*keys, key))


def changed(base, keys, change):
    made = copy.deepcopy(base)
    holder = made
    for key in keys[:-1]:
        holder = holder[key]
    change(holder, keys[-1])
    return made


def remove(holder, key):
    del holder[key]


def replace_by(value):
    def change(holder, key):
        holder[key] = value

    return change


def add_unknown(holder, key):
    if isinstance(holder[key], dict):
        holder[key]["nobody_knows_this"] = "x"


CHANGES = {
    "removed": remove,
    "unknown key": add_unknown,
    **{f"made {value!r}": replace_by(value) for value in (7, "a b", True, None, [], {}, ["x", "x"])},
}


def refusal(data):
    try:
        check_odcs(Document("x.odcs.yaml", data, {}))
    except ContractDocumentError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_with_everything_is_accepted_by_both(version):
    made = document(version)
    assert [error.message for error in official(version).iter_errors(made)] == []
    assert refusal(made) == ""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_official_schema_refuses_is_refused(version, change):
    base = document(version)
    refused = 0
    for keys in places(base):
        made = changed(base, keys, CHANGES[change])
        if made == base:
            continue
        if refusal(made):
            refused += 1
        else:
            assert official(version).is_valid(made), f"accepted {keys} {change}"
    assert refused


LATER = [
    (("schema", 0, "properties", 1, "enum"), [{"value": 1}]),
    (("schema", 0, "properties", 1, "relationships"), [{"to": "a.b"}]),
    (("schema", 0, "properties", 1, "logicalType"), "vector"),
    (("schema", 0, "properties", 1, "logicalType"), "timestamp"),
    (("schema", 0, "properties", 1, "deprecated"), True),
    (("schema", 0, "context"), "c"),
    (("servers", 0, "type"), "iceberg"),
    (("servers", 0, "type"), "hive"),
    (("servers", 0, "id"), "x"),
    (("team",), {"members": []}),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("keys", "value"), LATER)
def test_what_came_later_belongs_to_later_documents(version, keys, value):
    made = changed(document(version), keys, replace_by(value))
    if not official(version).is_valid(made):
        assert refusal(made)
