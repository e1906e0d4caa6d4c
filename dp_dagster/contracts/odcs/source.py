"""Contracts that are schema objects of an ODCS document: where they are, and what they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.contracts.formats import Format, Reference
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.contracts.model import Contract


def _sources(reference: Reference) -> dict[str, bytes]:
    try:
        return {reference.relative: reference.file.read_bytes()}
    except OSError as error:
        raise ContractError(f"{reference.relative}: cannot be read: {error.strerror}") from error


def _compile(reference: Reference, sources: Mapping[str, bytes], module_prefix: str) -> Contract:
    del sources, module_prefix
    from dp_dagster.contracts.odcs.compile import compile_odcs
    from dp_dagster.contracts.odcs.reading import read_odcs

    return compile_odcs(read_odcs(reference.file), reference.name, source=reference.text)


FORMAT = Format(
    name="odcs",
    form="contracts/<file>.odcs.yaml:<schema object>",
    # What a query or a regular expression may say is theirs.
    libraries=("duckdb", "polars", "sqlglot"),
    sources=_sources,
    compile=_compile,
)
