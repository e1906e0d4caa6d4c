"""Documents of other specifications that could be taken for ours: recognised by name, never guessed at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.descriptor.paths import Keys

API_VERSION = "dp_dagster/v1"
FIX = f"write the product in the native form (api_version: {API_VERSION}; `dp schema` describes it)"

_BITOL = "is an Open Data Product Standard document (ODPS of Bitol), which is not read yet"
_ODPI = "is an Open Data Product Specification document (ODPS of ODPI), which is not read"
_ALIBABA = "is a document of Alibaba's MaxCompute (ODPS), which is not read"
_ODCS = "is an Open Data Contract Standard document (ODCS): a contract, and no product"
_DCS = "is a Data Contract Specification document: a contract, and no product"
_ALIBABA_KEYS = ("odps", "maxcompute", "odps_project", "odps_endpoint", "odps_access_id", "access_id")


def foreign(data: Mapping[str, Any]) -> tuple[Keys, str] | None:
    """Where a document says that it is something else, and what it is; ``None`` if it does not."""
    if "product_id" in data:
        return None
    schema = str(data.get("schema", "")).lower()
    signs: list[tuple[bool, str, str]] = [
        (data.get("kind") == "DataProduct", "kind", _BITOL),
        (data.get("kind") == "DataContract", "kind", _ODCS),
        ("dataContractSpecification" in data, "dataContractSpecification", _DCS),
        ("opendataproducts" in schema or "open-data-product-spec" in schema, "schema", _ODPI),
        (isinstance(data.get("product"), dict), "product", _ODPI),
        *((key in data, key, _ALIBABA) for key in _ALIBABA_KEYS),
        ("apiVersion" in data, "apiVersion", _BITOL),
    ]
    return next((((key,), what) for seen, key, what in signs if seen), None)
