"""Read an ODCS document: every problem of its shape at once, each with file, line, field and fix.

As strict as the official JSON Schema of the document's own version (3.0.2, 3.1.0, 3.2.0): the tests compare the
two. Text is taken as it stands; ``${…}`` is not interpolated, for it may be part of a regular expression.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from dp_dagster.contracts.odcs.head import Head, Team, TeamMember
from dp_dagster.contracts.odcs.models import Context, Part, Property, Quality
from dp_dagster.contracts.odcs.servers import server_problems
from dp_dagster.contracts.odcs.shapes import property_problems, quality_problems
from dp_dagster.descriptor.document import parse, read_text
from dp_dagster.descriptor.paths import shown
from dp_dagster.descriptor.problems import described, problems_of, suggestion
from dp_dagster.errors import ContractDocumentError, DescriptorError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.contracts.odcs.models import Version
    from dp_dagster.descriptor.document import Document
    from dp_dagster.descriptor.paths import Keys

VERSIONS: dict[str, Version] = {
    "v3.0.0": (3, 0),
    "v3.0.1": (3, 0),
    "v3.0.2": (3, 0),
    "v3.1.0": (3, 1),
    "v3.2.0": (3, 2),
}
"""Values of ``apiVersion`` that are read."""

# Keys whose value may be nothing at all.
_NULLABLE = frozenset({"value", "valueExt", "mustBe", "mustNotBe"})


@dataclass(frozen=True)
class OdcsDocument:
    """A document whose shape is right.

    Attributes:
        head: Its content.
        version: Of the standard, as two numbers.
        document: Plain values and where they stand.
    """

    head: Head
    version: Version
    document: Document

    def problem(self, keys: Keys, message: str, fix: str = "") -> Problem:
        """A problem at that place."""
        return self.document.problem(keys, message, fix)


def read_odcs(path: Path) -> OdcsDocument:
    """Read a document.

    Raises:
        ContractDocumentError: with every problem of its shape.
    """
    label = shown(path)
    try:
        document = parse(read_text(path, label), label, interpolation=False)
    except DescriptorError as error:
        raise ContractDocumentError(error.problems) from error
    return check_odcs(document)


def check_odcs(document: Document) -> OdcsDocument:
    """Check the shape of a document that has been parsed.

    Raises:
        ContractDocumentError: with every problem of its shape.
    """
    data = document.data
    if not isinstance(data, dict):
        raise ContractDocumentError(
            [
                Problem(
                    document.file, 1, "", f"wants a mapping, not {described(data)}", "write an ODCS contract"
                )
            ]
        )
    foreign = _foreign(data)
    if foreign is not None:
        raise ContractDocumentError([document.problem((), *foreign)])
    version = VERSIONS.get(str(data.get("apiVersion")))
    problems = list(document.problems)
    if version is None and "apiVersion" in data:
        problems.append(
            document.problem(
                ("apiVersion",),
                f"{data['apiVersion']} is not a version that is read",
                f"choices: {', '.join(VERSIONS)}",
            )
        )
    checker = _Checker(document, version or (3, 2))
    head = checker.head(data)
    problems += checker.problems
    if problems or head is None or version is None:
        raise ContractDocumentError(sorted(set(problems), key=lambda one: (one.line, one.field)))
    return OdcsDocument(head, version, document)


def _foreign(data: dict[str, Any]) -> tuple[str, str] | None:
    """What the document is instead, where it says so itself."""
    if "dataContractSpecification" in data:
        return (
            "is a document of the Data Contract Specification, which ODCS has replaced",
            "convert it to ODCS 3",
        )
    if data.get("kind") == "DataProduct":
        return "is a Bitol data product (ODPS), not a contract", "name one of the contracts that it points to"
    if "openapi" in data or "asyncapi" in data:
        return "describes an API, not a table", "write an ODCS contract"
    return None


class _Checker:
    """Walks a document beside its models."""

    def __init__(self, document: Document, version: Version) -> None:
        self.document = document
        self.version = version
        self.problems: list[Problem] = []

    def add(self, keys: Keys, message: str, fix: str = "") -> None:
        self.problems.append(self.document.problem(keys, message, fix))

    def head(self, data: dict[str, Any]) -> Head | None:
        if self.version < (3, 2) and "status" not in data:
            self.add(("status",), "is missing", "add `status: active`")
        servers = data.get("servers")
        for number, server in enumerate(servers if isinstance(servers, list) else ()):
            if isinstance(server, dict):
                for below, message, fix in server_problems(server, self.version):
                    self.add(("servers", number, *below), message, fix)
        self._team(data.get("team"))
        self._walk(data, Head, ())
        found: Head | None = self._validated(Head, data, ())
        return found

    def _validated(self, model: type[Any], data: Any, keys: Keys) -> Any:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.problems += problems_of(error, self.document, keys, model)
            return None

    def _team(self, team: Any) -> None:
        if isinstance(team, list):
            for number, member in enumerate(team):
                self._validated(TeamMember, member, ("team", number))
                if isinstance(member, dict):
                    self._walk(member, TeamMember, ("team", number))
        elif isinstance(team, dict) and self.version >= (3, 1):
            self._validated(Team, team, ("team",))
            self._walk(team, Team, ("team",))
        elif team is not None:
            self.add(("team",), f"wants a list of members, not {described(team)}")

    def _walk(self, data: dict[str, Any], model: type[Part], keys: Keys) -> None:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        open_ended = self.version < model.lenient_before
        for key, value in data.items():
            info = fields.get(key)
            if info is None:
                if not open_ended:
                    self.add((*keys, key), "unknown key", suggestion(key, fields, "known keys"))
                continue
            extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
            since = typing.cast("list[int]", extra.get("since", [3, 0]))
            if tuple(since) > self.version:
                if not open_ended:
                    self.add(
                        (*keys, key),
                        f"came with ODCS {since[0]}.{since[1]}, later than the document's apiVersion",
                        "raise apiVersion, or remove it",
                    )
                continue
            if value is None and key not in _NULLABLE:
                self.add((*keys, key), "is empty", "write a value, or leave the key out")
            # A context is text or a part.
            below = Context if key == "context" else _part_of(info.annotation)
            if below is None:
                continue
            if isinstance(value, dict):
                self._walk(value, below, (*keys, key))
            for number, item in enumerate(value if isinstance(value, list) else ()):
                if isinstance(item, dict):
                    self._walk(item, below, (*keys, key, number))
                elif item is None:
                    self.add((*keys, key, number), "is empty", "write a value, or remove it")
        self._shape(data, model, keys)

    def _shape(self, data: dict[str, Any], model: type[Part], keys: Keys) -> None:
        """What depends on another value of the same part."""
        found: typing.Iterable[tuple[Keys, str, str]] = ()
        place = keys[-2] if keys and isinstance(keys[-1], int) else (keys[-1] if keys else "")
        if model is Property:
            # Items of an array, keys and values of a map have no name.
            found = property_problems(data, self.version, named=place == "properties")
        elif model is Quality:
            found = quality_problems(data, self.version)
        elif place == "relationships":
            of_property = len(keys) > 3 and keys[-4] == "properties"
            if of_property and "from" in data:
                found = [
                    (("from",), "is refused: a property's relationship starts at the property", "remove it")
                ]
            elif not of_property and "from" not in data:
                found = [(("from",), "is missing", "add `from: schema.property`")]
            elif not of_property and isinstance(data["from"], list) != isinstance(data.get("to"), list):
                found = [(("to",), "wants as many references as `from`", "write both as lists, or neither")]
        elif place == "support" and self.version < (3, 1) and "url" not in data:
            found = [(("url",), "is missing", "add `url: …`")]
        elif place == "customProperties" and self.version >= (3, 1):
            found = [
                ((name,), "is missing", f"add `{name}: …`")
                for name in ("property", "value")
                if name not in data
            ]
        elif (model is TeamMember) and self.version >= (3, 1) and "username" not in data:
            found = [(("username",), "is missing", "add `username: …`")]
        for below, message, fix in found:
            self.add((*keys, *below), message, fix)


def _part_of(annotation: Any) -> type[Part] | None:
    """The model inside of a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if issubclass(annotation, Part) else None
    found = (_part_of(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
