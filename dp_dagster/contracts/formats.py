"""The formats that contracts are written in, found by the ending of the file."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dp_dagster.contracts.model import Contract

_REFERENCE = re.compile(r"(?P<file>[^:]+)(?::(?P<name>[^:]+))?")


@dataclass(frozen=True)
class Reference:
    """A reference to a contract, its file found.

    Attributes:
        text: As written: ``contracts/shop.odcs.yaml:orders``.
        file: The file, absolute.
        relative: The file, relative to the product's folder.
        name: Of the contract in the file; ``None`` where the reference names none.
        root: The product's folder, absolute.
    """

    text: str
    file: Path
    relative: str
    name: str | None
    root: Path


@dataclass(frozen=True)
class Format:
    """How contracts of one format are loaded. Its module imports nothing heavy; ``compile`` may.

    Attributes:
        name: ``pandera``, say.
        form: How a reference is written, for messages.
        libraries: Distributions whose version the outcome depends on.
        sources: The files that the outcome depends on: contents by path in the product's folder.
        compile: Compiles a reference, given its sources and the readable start of the name under which Python
            files are imported. Raises ContractError.
    """

    name: str
    form: str
    libraries: tuple[str, ...]
    sources: Callable[[Reference], dict[str, bytes]]
    compile: Callable[[Reference, Mapping[str, bytes], str], Contract]


ENDINGS: dict[str, str] = {
    ".py": "dp_dagster.contracts.pandera_source",
    ".odcs.yaml": "dp_dagster.contracts.odcs.source",
    ".odcs.yml": "dp_dagster.contracts.odcs.source",
    ".odcs.json": "dp_dagster.contracts.odcs.source",
}
"""The module of each format, by ending; it has the format as ``FORMAT``."""


def format_of(file: str) -> Format:
    """The format of a file.

    Raises:
        ContractError: The ending is that of no format.
    """
    for ending, module in ENDINGS.items():
        if file.endswith(ending):
            found: Format = importlib.import_module(module).FORMAT
            return found
    raise ContractError(
        f"contract {file!r} is not understood; its name ends with one of {', '.join(ENDINGS)}"
    )


def find_reference(text: str, product_root: Path) -> Reference:
    """Find the file of a reference.

    Raises:
        ContractError: It is not understood, leaves the product's folder, or there is no such file.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ContractError(f"contract {text!r} is not understood; write contracts/<file>:<name>")
    format_of(match["file"])
    root = product_root.resolve()
    file = (root / match["file"]).resolve()
    if not file.is_relative_to(root):
        raise ContractError(f"contract {text!r} lies outside the product's folder; move it inside")
    if not file.is_file():
        raise ContractError(f"{match['file']}: there is no such file in the product's folder {root.name}/")
    return Reference(text, file, file.relative_to(root).as_posix(), match["name"], root)
