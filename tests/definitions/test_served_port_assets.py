"""The page of a served port in the Dagster UI: where it is, how to get access, lines to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from definition_helpers import specs

from dp_dagster import load_product

if TYPE_CHECKING:
    from support import TestProject

SERVED = """\
  - {name: api, type: REST_API, dataset: totals, auth: api_key}
  - {name: graph, type: GRAPHQL, dataset: totals, auth: {type: OAuth2, issuer: "https://id.example.com", audience: x}}
access: [{role: analyst}]
"""


def test_each_served_port_says_all_that_a_consumer_needs(project: TestProject) -> None:
    folder = project.root / "products" / "shops"
    with (folder / "product.yaml").open("a") as descriptor:
        descriptor.write(SERVED)
    found = specs(load_product(folder))
    rest = found[dg.AssetKey(["shops", "v1", "port", "api"])]
    graph = found[dg.AssetKey(["shops", "v1", "port", "graph"])]
    for spec, address, languages in (
        (rest, "http://127.0.0.1:8700/shops/v1/totals", ("shell", "python", "sql")),
        (graph, "http://127.0.0.1:8700/shops/v1/graph", ("shell", "python")),
    ):
        said = spec.description or ""
        assert spec.metadata["address"] == address
        assert "### How to get access" in said
        assert "### How to consume" in said
        for language in languages:
            example = said.partition(f"```{language}\n")[2].partition("```")[0]
            assert address in example, (address, language)
    assert "`dp keys`" in (rest.description or "")
    assert "X-API-Key: $API_KEY" in (rest.description or "")
    assert "https://id.example.com" in (graph.description or "")
    assert "Authorization: Bearer $TOKEN" in (graph.description or "")
