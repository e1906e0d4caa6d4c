"""docs/access.md says what the shipped product does, and names every key and method there is."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dp_dagster.access.masks import SHOWN_MOST
from dp_dagster.access.view import ANONYMOUS, Identity
from dp_dagster.descriptor.access import Grant
from dp_dagster.predicates.model import EVERYTHING, Condition
from dp_dagster.resolve import resolve
from dp_dagster.settings import DEFAULT_LIMITS, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")


def of_yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def somebody(*roles: str, **claims: str) -> Identity:
    return Identity("ada", roles=frozenset(roles), method="oauth2", claims=tuple(claims.items()))


def test_the_example_is_the_shipped_product() -> None:
    example = of_yaml(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    shipped = of_yaml((ROOT / "products/customer_360/product.yaml").read_text(encoding="utf-8"))
    without_notes = [
        {key: value for key, value in grant.items() if key != "note"} for grant in shipped["access"]
    ]
    assert example["access"] == without_notes


@pytest.mark.parametrize(
    ("identity", "rows", "masked"),
    [
        (ANONYMOUS, None, None),
        (somebody("intern"), None, None),
        (somebody("analyst"), EVERYTHING, True),
        (somebody("customer_service"), EVERYTHING, False),
        (somebody("store_manager", store="Brooklyn"), Condition("home_store", "eq", "Brooklyn"), False),
        (somebody("store_manager"), None, None),
        (somebody("store_manager", "analyst", store="Brooklyn"), EVERYTHING, True),
    ],
)
def test_its_table_holds(tmp_path: Path, identity: Identity, rows: Any, masked: bool | None) -> None:
    settings = Settings(project_root=ROOT, storage=str(tmp_path))
    product = resolve(ROOT / "products/customer_360", settings)
    view = product.access.view("customers", identity)
    if rows is None:
        assert view is None
        return
    assert view is not None
    assert view.rows == rows
    assert view.masks == ({"name": "redact"} if masked else {})
    assert len(view.columns) == len(product.dataset("customers").contract.columns)
    assert {
        port.name: port.view and port.view.masks for port in product.ports if port.declaration.readers
    } == {
        "vw_customers": {"name": "redact"},
        "customers_files": {"name": "redact"},
    }


def test_every_key_and_method_is_explained() -> None:
    for name in (*Grant.model_fields, *SHOWN_MOST, *type(DEFAULT_LIMITS).model_fields):
        assert f"`{name}" in PAGE, name
    for name, value in DEFAULT_LIMITS.model_dump().items():
        assert f"| `{name}` | {value} |" in PAGE
