"""REST over a real server, as Schemathesis asks it by its OpenAPI document, and as consumers copy it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from rest_helpers import THINGS
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support import listening

from dp_dagster.pipeline import Session
from dp_dagster.pipeline.projections import output_context
from dp_dagster.ports.outputs.rest import RestOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rest_helpers import Shop

pytestmark = pytest.mark.slow
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module")
def address(shop: Shop) -> Iterator[str]:
    """A real server."""
    with listening(shop.serve()) as found:
        yield found


def operations(address: str, consumer: str) -> list[schemathesis.APIOperation]:
    headers = {"x-consumer": consumer}
    document = httpx.get(f"{address}{THINGS}/openapi.json", headers=headers, trust_env=False).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=address)
    return [one.ok() for one in schema.get_all_operations()]


@pytest.mark.parametrize(
    ("consumer", "mode", "examples"),
    [
        ("owner", schemathesis.GenerationMode.POSITIVE, 12),
        ("owner", schemathesis.GenerationMode.NEGATIVE, 8),
        ("visitor", schemathesis.GenerationMode.POSITIVE, 6),
    ],
)
def test_schemathesis_finds_no_breach_of_the_contract(
    address: str, consumer: str, mode: schemathesis.GenerationMode, examples: int
) -> None:
    """Of what the document allows, and of what it does not: the answer is one that the document describes."""
    found = operations(address, consumer)
    assert len(found) == {"owner": 5, "visitor": 3}[consumer]
    statuses: dict[str, set[int]] = {}
    for operation in found:

        @seed(20261125)
        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(operation.as_strategy(generation_mode=mode))
        def attack(case: schemathesis.Case) -> None:
            headers = {"x-consumer": consumer}
            response = case.call(headers=headers)
            statuses.setdefault(case.operation.label, set()).add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        attack()
    if mode == schemathesis.GenerationMode.POSITIVE:
        assert all(200 in one or 404 in one for one in statuses.values()), statuses


def test_lines_to_copy_work_as_they_are(shop: Shop, address: str) -> None:
    """In a shell and in Python, as the port's page and `dp ports` show them."""
    port = shop.product.port("api")
    context = output_context(Session(shop.product, "tests"), port)
    served = replace(context, settings=shop.settings.model_copy(update={"serve_url": address}))
    shell, python, sql = RestOutput().examples(port.config, served)
    environment = {**os.environ, "API_KEY": "dp_any", "no_proxy": "127.0.0.1"}
    for command in (["bash", "-c", shell.text], [sys.executable, "-c", python.text]):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "4611686018427387904" in done.stdout, "the first row"
    assert f"'{address}{THINGS}?format=parquet'" in sql.text
