"""The schema registry, asked by Confluent's own client."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.contracts.evolution import compare
from dp_dagster.contracts.row_schema import row_schema
from dp_dagster.contracts.schema_reading import contract_of_schema
from dp_dagster.control.contract_versions import ContractVersions
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECT = "shops.v1.totals"


@contextmanager
def client_of(control) -> Iterator[SchemaRegistryClient]:
    """Unmodified, as consumers use it."""
    with SchemaRegistryClient(
        {
            "url": f"{control.base_url}/schemas",
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": "reader",
            "bearer.auth.logical.cluster": "none",
            "bearer.auth.identity.pool.id": "none",
        }
    ) as made:
        yield made


@pytest.fixture
def client(control) -> Iterator[SchemaRegistryClient]:
    """For a product of the test's own."""
    with client_of(control) as made:
        yield made


@pytest.fixture(scope="module")
def reader(standing) -> Iterator[SchemaRegistryClient]:
    """For a product that only stands there."""
    with client_of(standing) as made:
        yield made


def loosened(shop, project) -> None:
    """Publish under a contract that promises less, as the next version of the registry."""
    path = project.root / "products/shops/contracts/totals.py"
    path.write_text(path.read_text().replace("ge=0", "ge=0, le=1_000_000"))
    shop.publish("sale,shop,amount\n1,north,12\n")


def test_what_was_published(client, shop, project) -> None:
    assert client.get_subjects() == [SUBJECT]
    first = client.get_latest_version(SUBJECT)
    assert (first.version, first.subject, first.schema.schema_type) == (1, SUBJECT, "JSON")
    assert list(json.loads(first.schema.schema_str)["properties"]) == ["shop", "amount"]
    loosened(shop, project)
    assert client.get_versions(SUBJECT) == [1, 2]
    second = client.get_version(SUBJECT, 2)
    assert second.schema_id != first.schema_id
    assert client.get_schema(first.schema_id).schema_str == first.schema.schema_str
    assert client.get_schema_versions(first.schema_id)[0].subject == SUBJECT
    assert client.get_subjects_by_schema_id(second.schema_id) == [SUBJECT]
    assert client.lookup_schema(SUBJECT, second.schema).version == 2
    assert client.get_compatibility(SUBJECT) == "FORWARD"
    assert client.get_mode(SUBJECT) == "READONLY"
    assert client.get_schema_types() == ["JSON"]


def changed(schema: Schema, **properties) -> Schema:
    content = json.loads(schema.schema_str)
    content["properties"] |= properties
    return Schema(json.dumps(content), "JSON")


def test_compatibility_is_that_of_the_gate(reader) -> None:
    schema = reader.get_latest_version(SUBJECT).schema
    assert reader.test_compatibility(SUBJECT, schema)
    assert reader.test_compatibility(SUBJECT, changed(schema, note={"type": ["string", "null"]}))
    assert reader.test_compatibility(SUBJECT, changed(schema, amount={"type": "integer", "minimum": 5}))
    assert not reader.test_compatibility(SUBJECT, changed(schema, amount={"type": "string"}))
    assert not reader.test_compatibility(
        SUBJECT, changed(schema, shop={"type": ["string", "null"], "pattern": "^[a-z]+$"})
    )
    content = json.loads(schema.schema_str)
    del content["properties"]["amount"]
    without = Schema(json.dumps(content), "JSON")
    assert not reader.test_compatibility(SUBJECT, without)
    assert not reader.test_compatibility_all_versions(SUBJECT, without)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda client: client.get_latest_version("nobody.v1.nothing"), 40401),
        (lambda client: client.get_version(SUBJECT, 9), 40402),
        (lambda client: client.get_schema(999), 40403),
        (lambda client: client.get_version(SUBJECT, 0), 42202),
        (lambda client: client.register_schema(SUBJECT, Schema("{}", "JSON")), 40501),
        (lambda client: client.delete_subject(SUBJECT), 40501),
        (lambda client: client.set_compatibility(SUBJECT, "NONE"), 40501),
        (lambda client: client.lookup_schema(SUBJECT, Schema('{"type": "object"}', "JSON")), 40403),
        (lambda client: client.test_compatibility(SUBJECT, Schema('{"type": "array"}', "JSON")), 42201),
        (lambda client: client.test_compatibility(SUBJECT, Schema("[", "JSON")), 42201),
        (lambda client: client.test_compatibility(SUBJECT, Schema('{"type": "record"}', "AVRO")), 42201),
    ],
)
def test_errors_are_those_that_clients_know(reader, ask, code) -> None:
    with pytest.raises(SchemaRegistryError) as raised:
        ask(reader)
    assert raised.value.error_code == code


def test_numbers_stay_whoever_counts(shop, project) -> None:
    first = ContractVersions(shop.settings).all()
    loosened(shop, project)
    again = ContractVersions(shop.settings)
    assert again.all()[: len(first)] == first
    assert again.all() == ContractVersions(shop.settings).all()


def test_every_contract_reads_back_as_itself(standing_shop) -> None:
    contract = standing_shop.product.datasets[0].contract
    read = contract_of_schema(row_schema(contract)[0])
    assert [(one.name, one.type, one.nullable) for one in read.columns] == [
        ("shop", "string", False),
        ("amount", "int64", False),
    ]
    assert not compare(read, read).changes


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array"}, "no schema of a row"),
        (
            {"type": "object", "properties": {}, "patternProperties": {}},
            "patternProperties cannot be compared",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/x"}}}, "#/properties/a: \\$ref|type None"),
        ({"type": "object", "properties": {"a": {"type": "string", "if": {}}}}, "#/properties/a: if cannot"),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "not": {"type": "null"}}}},
            "unless it lists values",
        ),
        (
            {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}},
            "several types",
        ),
        ({"type": "object", "properties": {"a": 3}}, "wants a schema"),
    ],
)
def test_what_cannot_be_compared_is_refused(schema, said) -> None:
    with pytest.raises(ContractError, match=said):
        contract_of_schema(schema)


_BOUND = st.integers(-1000, 1000)


@given(_BOUND, _BOUND)
def test_a_bound_that_moves_breaks_consumers_only_outwards(old, new) -> None:
    def schema(bound: int) -> dict:
        return {"type": "object", "properties": {"a": {"type": "integer", "minimum": bound}}}

    breaks = bool(compare(contract_of_schema(schema(old)), contract_of_schema(schema(new))).breaking)
    assert breaks == (new < old)
