"""The JSON Schema for editors: a real schema, which says what the loader says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from dp_dagster.descriptor.json_schema import json_schema
from dp_dagster.registry import Registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def validator():
    schema = json_schema(Registry.load())
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    return Draft202012Validator(schema)


def read(text):
    """As editors read YAML: a date is a text."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))


def complaints(validator, document):
    return [error.json_path for error in validator.iter_errors(document)]


def test_it_accepts_the_sample_and_a_full_product(validator, sample, full):
    assert complaints(validator, read(sample)) == []
    assert complaints(validator, read(full)) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("products/*/product.yaml")), ids=lambda path: path.parent.name
)
def test_it_accepts_the_products_of_this_repository(validator, path):
    assert complaints(validator, read(path.read_text())) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"nmae": "x"}, "$"),
        ({"access": {}}, "$.access"),
        ({"access": [{"rol": "x"}]}, "$.access[0]"),
        ({"product_id": "Shops"}, "$.product_id"),
        ({"version": 1.1}, "$.version"),
        ({"version": "1.1"}, "$.version"),
        ({"api_version": "dp_dagster/v2"}, "$.api_version"),
        ({"owner": {"team": "a", "mail": "x"}}, "$.owner"),
        ({"status": "activ"}, "$.status"),
        ({"tags": {"a": 1}}, "$.tags.a"),
        ({"refresh_rate": {"evry": "daily"}}, "$.refresh_rate"),
        ({"sla": 99.9}, "$.sla"),
        ({"sla": {"uptime": "99%"}}, "$.sla"),
        ({"alerts": "x"}, "$.alerts"),
        ({"datasets": [{"name": "a", "from": "b"}]}, "$.datasets[0]"),
        ({"input_ports": [{"name": "a", "type": "FILE", "path": "x"}]}, "$.input_ports[0].type"),
        ({"input_ports": [{"name": "a", "type": "files"}]}, "$.input_ports[0]"),
        ({"input_ports": [{"name": "a", "type": "Files", "path": "x", "pth": "y"}]}, "$.input_ports[0]"),
        ({"input_ports": [{"name": "a", "type": "FILES", "path": 5}]}, "$.input_ports[0].path"),
        ({"output_ports": [{"type": "SQL", "auth": "none"}]}, "$.output_ports[0]"),
        ({"output_ports": [{"type": "FILES", "format": "x"}]}, "$.output_ports[0].format"),
        ({"output_ports": [{"type": "nats", "refresh": "daily"}]}, "$.output_ports[0]"),
    ],
)
def test_it_refuses_what_the_loader_refuses(validator, folder, change, place):
    document = {"product_id": "shops", "version": "1.0.0", **change}
    assert complaints(validator, document) == [place]
    assert folder.problems(json.dumps(document), "product.json")


def test_references_may_stand_where_values_are_restricted(validator):
    document = {
        "product_id": "${ID}",
        "version": "${VERSION:-1.0.0}",
        "status": "${STATUS}",
        "sla": "${SLA}",
        "input_ports": [
            {
                "name": "${NAME}",
                "type": "FILES",
                "path": "${FILE}",
                "format": "${FORMAT}",
                "header": "${HEADER}",
            }
        ],
    }
    assert complaints(validator, document) == []


def test_every_field_is_described(validator):
    schema = validator.schema
    for name, field in schema["properties"].items():
        assert field.get("description"), name
    for family in ("input_ports", "output_ports", "transforms"):
        for choice in schema["properties"][family]["items"]["allOf"]:
            alternative = choice["then"]
            assert alternative["description"]
            for name, field in alternative["properties"].items():
                assert name == "type" or field.get("description"), (family, name)


def test_the_kinds_are_offered_by_name(validator):
    offered = validator.schema["properties"]["output_ports"]["items"]["properties"]["type"]["anyOf"][0][
        "enum"
    ]
    assert offered == [kind.name for kind in Registry.load().kinds("output_ports")]
