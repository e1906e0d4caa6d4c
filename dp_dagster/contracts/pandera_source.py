"""Contracts that are pandera schemas or models in a Python file: where they are, and what they depend on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.formats import Format, Reference, find_reference
from dp_dagster.contracts.modules import describe_exception, import_file, local_sources
from dp_dagster.contracts.positions import find_positions
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.contracts.model import Contract


def load_schema(reference: str, *, product_root: Path, module_prefix: str = "product") -> Any:
    """The author's pandera schema or model itself, for checks that only pandera can run.

    Raises:
        ContractError: The reference leads nowhere, or the author's code raises.
    """
    return _schema(find_reference(reference, product_root), module_prefix)


def _schema(reference: Reference, module_prefix: str) -> Any:
    name = _name(reference)
    module = import_file(reference.file, product_root=reference.root, module_prefix=module_prefix)
    try:
        return getattr(module, name)
    except AttributeError:
        defined = sorted(key for key, value in vars(module).items() if _is_schema(value) and key[0] != "_")
        choices = f"it defines {', '.join(defined)}" if defined else "it defines no pandera schema"
        raise ContractError(
            f"{reference.text.split(':', maxsplit=1)[0]}: there is no {name}; {choices}"
        ) from None


def _name(reference: Reference) -> str:
    if reference.name is None or not re.fullmatch(r"[A-Za-z_]\w*", reference.name):
        raise ContractError(f"contract {reference.text!r} is not understood; write {FORMAT.form}")
    return reference.name


def _is_schema(value: Any) -> bool:
    from pandera.api.base.schema import BaseSchema
    from pandera.api.dataframe.model import DataFrameModel

    if isinstance(value, type):
        return issubclass(value, DataFrameModel) and not value.__module__.startswith("pandera.")
    return isinstance(value, BaseSchema)


def _sources(reference: Reference) -> dict[str, bytes]:
    _name(reference)
    return local_sources(reference.file, reference.root)


def _compile(reference: Reference, sources: Mapping[str, bytes], module_prefix: str) -> Contract:
    schema = _schema(reference, module_prefix)
    from dp_dagster.contracts.pandera_format import compile_pandera

    positions = find_positions(dict(sources), reference.relative, _name(reference))
    try:
        return compile_pandera(schema, source=reference.text, positions=positions, sources=sources)
    except ContractError:
        raise
    # pandera builds a schema lazily, so the author's annotations may raise anything only now.
    except Exception as error:
        raise ContractError(f"{positions.place()}: {describe_exception(error, reference.root)}") from error


FORMAT = Format(
    name="pandera",
    form="contracts/<file>.py:<Name>",
    libraries=("pandera", "polars"),
    sources=_sources,
    compile=_compile,
)
