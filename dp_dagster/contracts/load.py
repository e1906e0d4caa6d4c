"""Load a contract by reference; a contract that was compiled before is read back from a cache.

A hit reads a few small files and imports neither pandera nor Polars. The key covers all that the outcome
depends on: the contract's file and the product's files that it imports, the reference, this compiler, Python, and
the libraries of the contract's format.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.formats import find_reference, format_of
from dp_dagster.contracts.model import Contract
from dp_dagster.contracts.pandera_source import load_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.contracts.formats import Format

__all__ = ["COMPILER_VERSION", "load_contract", "load_schema"]

COMPILER_VERSION = 3
"""To be raised with each change of what a contract compiles to."""


def load_contract(
    reference: str, *, product_root: Path, cache_directory: Path | None = None, module_prefix: str = "product"
) -> Contract:
    """Load and compile a contract.

    Args:
        reference: ``contracts/flights.py:Flights`` or ``contracts/shop.odcs.yaml:orders``, relative to the
            product's folder. The name may be left out where an ODCS document has one schema object.
        product_root: The product's folder.
        cache_directory: Where compiled contracts are kept; made if missing. Without one, nothing is kept.
        module_prefix: Readable start of the name under which the file is imported, the product's id say.

    Raises:
        ContractError: The reference leads nowhere, the author's code raises, or the contract is refused; with
            the place in the author's file.
    """
    found = find_reference(reference, product_root)
    form = format_of(found.relative)
    sources = form.sources(found)
    fingerprint = _fingerprint(reference, form, sources)
    kept = cache_directory / f"{fingerprint}.json" if cache_directory is not None else None
    if kept is not None and (contract := _read(kept, fingerprint)) is not None:
        return contract
    contract = form.compile(found, sources, module_prefix)
    if kept is not None:
        _write(kept, {"fingerprint": fingerprint, "contract": contract.to_dict()})
    return contract


def _fingerprint(reference: str, form: Format, sources: Mapping[str, bytes]) -> str:
    parts = [
        reference,
        str(COMPILER_VERSION),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        *(f"{library}={importlib.metadata.version(library)}" for library in form.libraries),
        *(f"{relative}={hashlib.sha256(content).hexdigest()}" for relative, content in sources.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(file: Path, fingerprint: str) -> Contract | None:
    """What the cache holds; ``None`` where it holds nothing that can be read, which is then made anew."""
    try:
        data = json.loads(file.read_bytes())
        if data["fingerprint"] != fingerprint:
            return None
        return Contract.from_dict(data["contract"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(file: Path, data: dict[str, Any]) -> None:
    """Replace the file in one step: writers at the same time write the same content, readers see all or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(data, stream)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
