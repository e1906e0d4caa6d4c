"""The OpenAPI document: valid, true to the contract, and to what the consumer may see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_helpers import COUNT, THINGS, thing

from dp_dagster.access.view import DatasetView
from dp_dagster.pipeline import Session
from dp_dagster.pipeline.projections import output_context
from dp_dagster.ports.outputs.rest import LARGEST_PAGE, RestOutput
from dp_dagster.ports.outputs.rest.document import openapi_document
from dp_dagster.ports.outputs.rest.page import documentation_page
from dp_dagster.ports.outputs.rest.parameters import examples_of
from dp_dagster.settings import Limits

if TYPE_CHECKING:
    from rest_helpers import Shop

    from dp_dagster.testing.asgi import Client

ROW = f"{THINGS}/{{id}}"


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    """As the owner gets it."""
    response = client.get(f"{THINGS}/openapi.json")
    assert response.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    found: dict[str, Any] = response.json()
    return found


def parameters(document: dict[str, Any], path: str) -> dict[str, Any]:
    return {one["name"]: one for one in document["paths"][path]["get"]["parameters"]}


@pytest.mark.parametrize("consumer", ["owner", "visitor"])
def test_it_is_valid(client: Client, consumer: str) -> None:
    OpenAPIV31SpecValidator(client.get(f"{THINGS}/openapi.json", x_consumer=consumer).json()).validate()


def test_it_says_what_the_contract_says(document: dict[str, Any]) -> None:
    row = document["components"]["schemas"]["Row"]
    assert row["properties"]["price"]["description"] == "What it costs, in euros."
    assert row["properties"]["id"]["minimum"] == 0
    assert row["properties"]["name"]["pattern"].startswith("^maker")
    assert row["examples"] == [thing(0, 1)]
    assert document["info"]["summary"] == "All <i>things</i>."
    assert document["x-dataset-version"] == 1


def test_examples_of_the_contract(document: dict[str, Any]) -> None:
    """In the form that answers have; of a key, the one to try."""
    row = document["components"]["schemas"]["Row"]
    assert row["properties"]["price"]["examples"] == ["12.50", "3.00"]
    assert row["properties"]["day"]["examples"] == ["2024-02-29"]
    assert parameters(document, ROW)["id"]["example"] == 7


def test_what_is_no_value_is_no_example(shop: Shop) -> None:
    column = shop.product.dataset("things").contract.column("small")
    assert column is not None
    assert examples_of(replace(column, tags={"examples": "3, many, -4"})) == [3, -4]
    assert examples_of(replace(column, tags={})) == []


def test_who_sees_less_reads_of_less(client: Client, document: dict[str, Any]) -> None:
    seen = client.get(f"{THINGS}/openapi.json", x_consumer="visitor").json()
    row = seen["components"]["schemas"]["Row"]
    assert set(row["properties"]) == {"id", "name", "price", "flag"}
    assert row["properties"]["name"]["x-masked"] == "redact"
    assert "pattern" not in row["properties"]["name"]
    assert "name" not in parameters(seen, THINGS)
    assert "name" in parameters(document, THINGS)
    assert "secret_margin" not in str(seen)
    assert f"{THINGS}/files" not in seen["paths"]


def test_limits(shop: Shop, document: dict[str, Any]) -> None:
    """A page has an end, also where the platform gives none: a page is made in memory."""
    limit, every = parameters(document, THINGS)["limit"]["schema"]["anyOf"]
    assert (limit["maximum"], every["enum"]) == (100, ["all"])
    port = shop.product.port("api")
    context = output_context(Session(shop.product, "tests"), port)
    for size, most in (("unlimited", LARGEST_PAGE), (10**6, LARGEST_PAGE), (50, 50)):
        limits = port.config.limits.model_copy(update={"page_size": size})
        config = port.config.model_copy(update={"limits": limits})
        application = RestOutput().application(config, context, None)  # type: ignore[arg-type]
        assert application._port.most_rows == most  # type: ignore[attr-defined]
    assert Limits.model_fields["page_size"].default is None


def test_a_page_larger_than_any(client: Client) -> None:
    refused = client.get(f"{THINGS}?limit=1000000")
    assert refused.status == 400
    assert "limit=all" in refused.json()["fix"]
    assert len(client.get(f"{THINGS}?limit=all").json()["data"]) == COUNT


def test_a_deprecated_version_says_so(shop: Shop, client: Client, document: dict[str, Any]) -> None:
    assert all("deprecated" not in path["get"] for path in document["paths"].values())
    port = shop.product.port("api")
    context = output_context(Session(shop.product, "tests"), port)
    old = replace(context, deprecation="deprecated, kept up until 2099-01-01: use version 2")
    described = RestOutput().application(port.config, old, None)._port  # type: ignore[arg-type, attr-defined]
    route = client.application.route_of(THINGS)  # type: ignore[attr-defined]
    version = route.application._host.newest()
    view = DatasetView("things", ("id", "price"))
    made = openapi_document(described, version, view)
    assert all(path["get"]["deprecated"] for path in made["paths"].values())
    assert "Deprecated, kept up until 2099-01-01: use version 2." in made["info"]["description"]
    OpenAPIV31SpecValidator(made).validate()
    page = documentation_page(described, version, view)
    assert "<p class=warning>Deprecated, kept up until 2099-01-01: use version 2.</p>" in page
