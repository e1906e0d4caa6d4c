"""Contracts that something was published under, kept at the storage root by their hash.

A commit names its contract by hash; here is the contract itself, so that the next version of it can be compared
with what consumers were promised, also from another checkout. Reading one imports nothing heavy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dp_dagster.contracts.model import Contract
from dp_dagster.errors import StoreError, UsageError
from dp_dagster.storage.documents import read_document, write_document
from dp_dagster.storage.location import product_place

if TYPE_CHECKING:
    from dp_dagster.storage.places import Place

_HASH = re.compile(r"[0-9a-f]{16,128}")


def keep_contract(root: str, product: str, contract: Contract) -> None:
    """Keep a contract before something is published under it. Doing it twice is harmless."""
    path = _path(root, product, contract.hash)
    if not path.exists():
        write_document(path, contract.to_dict())


def kept_contract(root: str, product: str, contract_hash: str) -> Contract | None:
    """The contract of that hash; ``None`` where it was never kept.

    Raises:
        StoreError: the document is damaged.
    """
    path = _path(root, product, contract_hash)
    content = read_document(path)
    if content is None:
        return None
    try:
        return Contract.from_dict(content)
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {error}; publish the dataset again") from error


def _path(root: str, product: str, contract_hash: str) -> Place:
    if not _HASH.fullmatch(contract_hash):
        raise UsageError(f"{contract_hash!r} is no hash of a contract")
    return product_place(root, product) / "contracts" / f"{contract_hash}.json"
