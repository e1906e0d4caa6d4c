"""Read an ODPS document of Bitol, with every problem that there is rather than the first one.

As strict as the official JSON Schema of the document's own version, and stricter where that only describes: formats of
dates and addresses, ports that cannot be told apart, references to variables. Other specifications of the same name are
refused by theirs.
"""

from __future__ import annotations

import os
import re
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from dp_dagster.descriptor.dialects import foreign
from dp_dagster.descriptor.document import parse, read_text
from dp_dagster.descriptor.paths import shown
from dp_dagster.descriptor.problems import described, problems_of
from dp_dagster.documents.odps_model import VERSIONS, InputPort, OutputPort, Part, Product
from dp_dagster.errors import DescriptorError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.descriptor.document import Document
    from dp_dagster.descriptor.paths import Keys

_BARE_REFERENCE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class OdpsDocument:
    """A document that is right.

    Attributes:
        product: Its content, variables replaced.
        written: Its plain values as they stand in the file, references to variables included.
        document: Its values with their places.
        text: The file's text.
    """

    product: Product
    written: Mapping[str, Any]
    document: Document
    text: str


def read_odps(path: Path) -> OdpsDocument:
    """Read a document.

    Raises:
        DescriptorError: it is none, or there are problems; with all of them.
    """
    label = shown(path)
    text = read_text(path, label)
    written = parse(text, label, interpolation=False)
    data = written.data
    if not isinstance(data, dict):
        raise DescriptorError(
            [
                Problem(
                    label, 1, "", f"wants a mapping, not {described(data)}", "start with `kind: DataProduct`"
                )
            ]
        )
    _refuse_foreign(written)
    version = data.get("apiVersion")
    modern = VERSIONS.get(version) if isinstance(version, str) else None
    # Variables came with 1.1; in an older document the same characters are text.
    document = parse(text, label, interpolation=True) if modern is not False else written
    problems = list(document.problems)
    if modern is None and version is not None:
        choices = f"choices: {', '.join(VERSIONS)}"
        problems.append(
            document.problem(("apiVersion",), f"{_brief(version)} is not a version that is read", choices)
        )
    problems += _reference_problems(document)
    problems += _Checker(document, modern=modern is not False).problems()
    product: Product | None = None
    try:
        product = Product.model_validate(document.data)
    except ValidationError as error:
        problems += problems_of(error, document, (), Product)
    if problems or product is None:
        raise DescriptorError(sorted(set(problems), key=lambda one: (one.line, one.field)))
    return OdpsDocument(product, data, document, text)


def _refuse_foreign(document: Document) -> None:
    data = document.data
    if data.get("kind") == "DataProduct":
        return
    if "product_id" in data:
        message = "is a product of dp_dagster already"
        raise DescriptorError(
            [document.problem(("product_id",), message, "put its folder among the products")]
        )
    alien = foreign(data)
    fix = "import a Bitol ODPS document (kind: DataProduct)"
    if alien is not None and alien[0] != ("apiVersion",):
        keys, what = alien
        if data.get("kind") == "DataContract":
            fix = "import the product that points to it, or name it as the contract of a dataset"
        raise DescriptorError([document.problem(keys, what, fix)])
    if "apiVersion" not in data and "kind" not in data:
        raise DescriptorError(
            [Problem(document.file, 1, "", "is no Bitol ODPS document: it has no `kind`", fix)]
        )


def _reference_problems(document: Document) -> list[Problem]:
    """What ODPS asks of references beyond what descriptors do: no empty value without a default, no escapes."""
    problems = []
    for keys, mark in document.leaves():
        if mark.interpolated and "$${" in (mark.text or ""):
            message = "$${ is a dollar sign and a reference for some tools, and an escape for others"
            problems.append(document.problem(keys, message, "leave one of the dollar signs out"))
        for name in _BARE_REFERENCE.findall(mark.text or "") if mark.interpolated else ():
            if os.environ.get(name) == "":
                fix = f"give it a value, or a default: ${{{name}:-…}}"
                problems.append(document.problem(keys, f"environment variable {name} is empty", fix))
    return problems


class _Checker:
    """What the models alone cannot tell: the document's version, keys without values, ports of one name."""

    def __init__(self, document: Document, *, modern: bool) -> None:
        self.document = document
        self.modern = modern
        self.found: list[Problem] = []

    def problems(self) -> list[Problem]:
        self._walk(self.document.data, Product, ())
        for part, model in (("inputPorts", InputPort), ("outputPorts", OutputPort)):
            self._distinct(part, model)
        return self.found

    def _walk(self, data: Mapping[str, Any], model: type[Part], keys: Keys) -> None:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        if not self.modern:
            for name in model.required_before_1_1:
                if name not in data:
                    fix = f"add `{name}: …`, or raise apiVersion to v1.1.0"
                    self._add((*keys, name), "is missing", fix)
        for key, value in data.items():
            info = fields.get(key)
            if info is None:
                continue  # an unknown key, which the model refuses
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("later") and not self.modern:
                self._add((*keys, key), "came with ODPS 1.1", "raise apiVersion to v1.1.0, or remove it")
                continue
            if key == "value":
                continue
            if value is None:
                self._add((*keys, key), "is empty", "write a value, or leave the key out")
            below = _part_of(info.annotation)
            if below is not None and isinstance(value, dict):
                self._walk(value, below, (*keys, key))
            elif below is not None and isinstance(value, list):
                for number, item in enumerate(value):
                    if isinstance(item, dict):
                        self._walk(item, below, (*keys, key, number))

    def _distinct(self, part: str, model: type[Part]) -> None:
        ports = self.document.data.get(part)
        seen: dict[tuple[str, Any], int] = {}
        for number, port in enumerate(ports if isinstance(ports, list) else ()):
            if not isinstance(port, dict) or not isinstance(port.get("name"), str):
                continue
            key = (port["name"], str(port.get("version")))
            if key in seen:
                first = self.document.mark((part, seen[key])).line
                message = (
                    f"{key[0]} is the name of {part}[{seen[key]}] on line {first} too, in the same version"
                )
                self._add(
                    (part, number, "name"),
                    message,
                    f"give each {model.__name__} a name or version of its own",
                )
            seen.setdefault(key, number)

    def _add(self, keys: Keys, message: str, fix: str) -> None:
        self.found.append(self.document.problem(keys, message, fix))


def _part_of(annotation: Any) -> type[Part] | None:
    """The model inside of a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if issubclass(annotation, Part) else None
    found = (_part_of(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _brief(value: Any) -> str:
    return str(value)[:60]
