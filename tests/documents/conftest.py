from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import jsonschema
import pytest
from support import ROOT

from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings

PRODUCTS = sorted(path.parent.name for path in (ROOT / "products").glob("*/product.yaml"))


@lru_cache(maxsize=8)
def official_schema(package: str, name: str) -> dict:
    """A JSON Schema that the makers of a standard publish, as their own tool ships it."""
    return json.loads(files(package).joinpath("schemas", f"{name}.schema.json").read_text())


@pytest.fixture(scope="session")
def violations():
    """What the official schema says against a document."""

    def check(document: dict) -> list[str]:
        version = document["apiVersion"].removeprefix("v")
        if document["kind"] == "DataProduct":
            schema = official_schema("dataproduct", f"odps-{'1.0.0' if version == '0.9.0' else version}")
        else:
            schema = official_schema("datacontract", f"odcs-{version}")
        checker = jsonschema.validators.validator_for(schema)
        return [error.message for error in checker(schema).iter_errors(document)]

    return check


@pytest.fixture
def settings(project):
    return Settings.load(project.root)


@pytest.fixture
def example_named(tmp_path, monkeypatch):
    """Resolves one of the repository's own products where it lies; leaves nothing there."""

    def resolved(name: str):
        monkeypatch.setenv("DP_STATE_DIRECTORY", str(tmp_path / "state"))
        return resolve(ROOT / "products" / name, Settings.load(ROOT))

    return resolved


@pytest.fixture(params=PRODUCTS)
def example(request, example_named):
    """Each of the repository's own products, which were never imported."""
    return example_named(request.param)
