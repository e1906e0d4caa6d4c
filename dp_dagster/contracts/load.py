"""Load a contract by reference; a contract that was compiled before is read back from a cache.

A hit reads a few small files and imports neither pandera nor Polars. The key covers all that the outcome
depends on: the contract's file and the product's files that it imports, the reference, this compiler, Python,
pandera and Polars.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from dp_dagster.contracts.model import Contract
from dp_dagster.contracts.modules import describe_exception, import_file, local_sources
from dp_dagster.contracts.positions import find_positions
from dp_dagster.errors import ContractError

COMPILER_VERSION = 1
"""To be raised with each change of what a contract compiles to."""

_REFERENCE = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_]\w*)")


def load_contract(
    reference: str, *, product_root: Path, cache_directory: Path | None = None, module_prefix: str = "product"
) -> Contract:
    """Load and compile a contract.

    Args:
        reference: ``contracts/flights.py:Flights``, relative to the product's folder.
        product_root: The product's folder.
        cache_directory: Where compiled contracts are kept; made if missing. Without one, nothing is kept.
        module_prefix: Readable start of the name under which the file is imported, the product's id say.

    Raises:
        ContractError: The reference leads nowhere, the author's code raises, or the contract is refused; with
            the place in the author's file.
    """
    file, _ = _resolve(reference, product_root)
    sources = local_sources(file, product_root)
    fingerprint = _fingerprint(reference, sources)
    kept = cache_directory / f"{fingerprint}.json" if cache_directory is not None else None
    if kept is not None and (contract := _read(kept, fingerprint)) is not None:
        return contract
    contract = _compile(reference, product_root, module_prefix, sources)
    if kept is not None:
        _write(kept, {"fingerprint": fingerprint, "contract": contract.to_dict()})
    return contract


def load_schema(reference: str, *, product_root: Path, module_prefix: str = "product") -> Any:
    """The author's pandera schema or model itself, for checks that only pandera can run.

    Raises:
        ContractError: As for :func:`load_contract`.
    """
    file, name = _resolve(reference, product_root)
    module = import_file(file, product_root=product_root, module_prefix=module_prefix)
    try:
        return getattr(module, name)
    except AttributeError:
        defined = sorted(key for key, value in vars(module).items() if _is_schema(value) and key[0] != "_")
        choices = f"it defines {', '.join(defined)}" if defined else "it defines no pandera schema"
        raise ContractError(f"{reference.split(':', maxsplit=1)[0]}: there is no {name}; {choices}") from None


def _is_schema(value: Any) -> bool:
    from pandera.api.base.schema import BaseSchema
    from pandera.api.dataframe.model import DataFrameModel

    if isinstance(value, type):
        return issubclass(value, DataFrameModel) and not value.__module__.startswith("pandera.")
    return isinstance(value, BaseSchema)


def _resolve(reference: str, product_root: Path) -> tuple[Path, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ContractError(f"contract {reference!r} is not understood; write contracts/<file>.py:<Name>")
    root = product_root.resolve()
    file = (root / match["file"]).resolve()
    if not file.is_relative_to(root):
        raise ContractError(f"contract {reference!r} lies outside the product's folder; move it inside")
    if not file.is_file():
        raise ContractError(f"{match['file']}: there is no such file in the product's folder {root.name}/")
    return file, match["name"]


def _compile(reference: str, root: Path, module_prefix: str, sources: dict[str, bytes]) -> Contract:
    file, name = _resolve(reference, root)
    schema = load_schema(reference, product_root=root, module_prefix=module_prefix)
    from dp_dagster.contracts.pandera_format import compile_pandera

    relative = file.relative_to(root.resolve()).as_posix()
    positions = find_positions(sources, relative, name)
    try:
        return compile_pandera(schema, source=reference, positions=positions, sources=sources)
    except ContractError:
        raise
    # pandera builds a schema lazily, so the author's annotations may raise anything only now.
    except Exception as error:
        raise ContractError(f"{positions.place()}: {describe_exception(error, root)}") from error


def _fingerprint(reference: str, sources: dict[str, bytes]) -> str:
    parts = [
        reference,
        str(COMPILER_VERSION),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        *(importlib.metadata.version(library) for library in ("pandera", "polars")),
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
