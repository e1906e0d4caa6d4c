"""What an ODPS document says in the words of ``product.yaml``, as far as both have a place for it.

Import writes this; export compares it with the descriptor to find what was changed since. Texts are taken as they are
written, references to variables included, because the descriptor reads them in the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.dialects import API_VERSION
from dp_dagster.descriptor.names import VERSION_PATTERN, id_fault
from dp_dagster.documents.odps_model import VERSIONS, OutputPort
from dp_dagster.registry import DECLARED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dp_dagster.documents.odps_model import InputPort
    from dp_dagster.documents.odps_reading import OdpsDocument

OWN = "dpDagster"
"""The custom property that holds what ODPS has no place for, in the words of ``product.yaml``."""

SECTIONS = {"Usage": "usage", "Limitations": "limitations"}
"""Headings in a description, and the keys of ODPS that they stand for."""

_STATUSES = {
    "proposed": "draft",
    "draft": "draft",
    "active": "active",
    "deprecated": "deprecated",
    "retired": "retired",
}
_TAG = re.compile(r"((?:[A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63})(?::([A-Za-z0-9_.-]{0,63}))?\Z")
_LOOSE_VERSION = re.compile(r"v?(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}))?\Z")


@dataclass(frozen=True)
class PortPlan:
    """A port of the document, under the name that it has in the product."""

    name: str
    index: int
    fields: dict[str, Any]
    contract_id: str | None = None
    version: str | None = None


@dataclass
class Mapped:
    """What a document says, and what had to be decided on the way."""

    head: dict[str, Any]
    inputs: list[PortPlan]
    outputs: list[PortPlan]
    notes: list[str] = field(default_factory=list)


def mapped(document: OdpsDocument, product_id: str | None = None) -> Mapped:
    """Read a document as a product.

    Args:
        document: The document.
        product_id: The product's id here; by default made from the document's id or name.
    """
    notes: list[str] = []
    modern = VERSIONS[document.product.api_version]

    def carried(raw: Any) -> Any:
        """A text as the descriptor must write it to mean the same; nothing for one that says nothing."""
        if isinstance(raw, str) and not raw.strip():
            return None
        # Before 1.1 these characters were text, for which the descriptor has an escape.
        return raw if modern or not isinstance(raw, str) else raw.replace("${", "$${")

    head = _head(document, carried, notes)
    head["product_id"] = product_id or default_id(document)
    taken: set[str] = set()
    inputs = _ports(document, "inputPorts", document.product.input_ports or [], carried, taken)
    outputs = _ports(document, "outputPorts", document.product.output_ports or [], carried, set())
    return Mapped(head, inputs, outputs, notes)


def default_id(document: OdpsDocument) -> str:
    """An id for the product: that of the document if it can be one, else its name, else what is left of its id."""
    product = document.product
    for text in (product.id, product.name or ""):
        made = identifier(text)
        if made and id_fault(made, product=True) is None and (text != product.id or made == text.lower()):
            return made
    return f"product_{identifier(product.id) or 'imported'}"[:63]


def identifier(text: str) -> str:
    """A text as lower-case letters, digits and underscores; may still be no id."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:50]


def kind_name(text: str) -> str:
    """A type as names of kinds are written."""
    return text.upper().replace("-", "_")


def own_values(custom: Any) -> dict[str, Any]:
    """What was exported from ``product.yaml`` and ODPS has no place for."""
    for one in custom if isinstance(custom, list) else ():
        if isinstance(one, dict) and one.get("property") == OWN and isinstance(one.get("value"), dict):
            return dict(one["value"])
    return {}


def _head(document: OdpsDocument, carried: Callable[[Any], Any], notes: list[str]) -> dict[str, Any]:
    data, product = document.written, document.product
    own = own_values(data.get("customProperties"))
    team = data.get("team") or {}
    head: dict[str, Any] = {
        "api_version": API_VERSION,
        "product_id": "",
        "name": carried(data.get("name")),
        "version": _version(document, carried, notes),
        "domain": carried(data.get("domain")),
        "owner": _owner(data, carried),
        "description": described_as(data.get("description") or {}, carried),
        "status": _status(product.status, notes, deprecated=bool(product.deprecated)),
        "tags": tags_of(data.get("tags") or []),
        "support": _support(data, str(team.get("name", "")), carried),
    }
    head |= {key: value for key, value in own.items() if key not in head or key == "support"}
    return {
        key: value for key, value in head.items() if value not in (None, "", {}, []) or key == "product_id"
    }


def _version(document: OdpsDocument, carried: Callable[[Any], Any], notes: list[str]) -> str:
    version = document.product.version
    if version is not None and re.match(VERSION_PATTERN, version) and not version.endswith("\n"):
        written = str(document.written["version"])
        return (str(carried(written)) if "${" in written else version).removeprefix("v")
    loose = _LOOSE_VERSION.match(version or "")
    if loose is not None:
        return f"{loose[1]}.{loose[2] or 0}.0"
    said = (
        "the document names no version"
        if version is None
        else f"version {version[:40]!r} is no semantic version"
    )
    notes.append(f"version: {said}; product.yaml says 0.0.0")
    return "0.0.0"


def _status(status: str | None, notes: list[str], *, deprecated: bool) -> str:
    if deprecated:
        return "deprecated"
    known = _STATUSES.get((status or "").lower())
    if known is None:
        said = f"{status[:40]!r} is none of {', '.join(_STATUSES)}" if status else "the document names none"
        notes.append(f"status: {said}; product.yaml says draft")
    return known or "draft"


def _owner(data: Mapping[str, Any], carried: Callable[[Any], Any]) -> dict[str, Any] | None:
    name = (data.get("team") or {}).get("name")
    if not carried(name):
        return None
    for channel in data.get("support") or []:
        if channel["channel"] == name and (email := _email(channel["url"])):
            return {"team": carried(name), "email": email}
    return {"team": carried(name)}


def _support(data: Mapping[str, Any], team: str, carried: Callable[[Any], Any]) -> dict[str, Any] | None:
    made: dict[str, Any] = {}
    for channel in data.get("support") or []:
        email = _email(channel["url"])
        if email and channel["channel"] != team:
            made.setdefault("email", email)
        elif not email and "url" not in made and channel["channel"].strip():
            made |= {"channel": carried(channel["channel"]), "url": carried(channel["url"])}
    return made or None


def _email(url: str) -> str | None:
    found = re.match(r"mailto:([^@\s<>?${}]+@[^@\s<>?${}]+\.[^@\s<>?${}]+)\Z", url)
    return found[1] if found else None


def described_as(
    description: Mapping[str, Any], carried: Callable[[Any], Any] = lambda raw: raw
) -> str | None:
    """Purpose, usage and limitations as one text in Markdown."""
    parts = [str(description["purpose"]).strip()] if description.get("purpose") else []
    parts += [
        f"## {heading}\n\n{str(description[key]).strip()}"
        for heading, key in SECTIONS.items()
        if description.get(key)
    ]
    text = carried("\n\n".join(part for part in parts if part))
    return str(text) if text else None


def description_of(text: str) -> dict[str, str]:
    """A description in Markdown as purpose, usage and limitations; :func:`described_as` reads it back."""
    found: dict[str, list[str]] = {"purpose": []}
    current = "purpose"
    for line in text.strip().split("\n"):
        heading = line[3:].strip() if line.startswith("## ") else ""
        if SECTIONS.get(heading, current) not in found:
            current = SECTIONS[heading]
            found[current] = []
        else:
            found[current].append(line)
    return {key: said for key, lines in found.items() if (said := "\n".join(lines).strip())}


def tags_of(labels: list[str]) -> dict[str, str]:
    """The labels that can be tags: ``tier:gold`` and ``finance``. The others stay in the document alone."""
    found: dict[str, str] = {}
    for label in labels:
        match = _TAG.match(label)
        if match is not None:
            found.setdefault(match[1], match[2] or "")
    return found


def _ports(
    document: OdpsDocument,
    part: str,
    ports: Sequence[InputPort | OutputPort],
    carried: Callable[[Any], Any],
    taken: set[str],
) -> list[PortPlan]:
    names = _names(ports)
    plans = []
    for index, port in enumerate(ports):
        raw = document.written[part][index]
        name = _port_name(names[index], index, "input" if part == "inputPorts" else "output", taken)
        taken.add(name)
        fields: dict[str, Any] = {"name": name, "type": DECLARED}
        if isinstance(port, OutputPort) and port.type:
            fields["type"] = port.type
        if raw.get("description"):
            fields["description"] = carried(raw["description"])
        fields |= {
            key: value for key, value in own_values(raw.get("customProperties")).items() if key != "name"
        }
        plans.append(PortPlan(name, index, fields, port.contract_id, port.version))
    return plans


def _names(ports: Sequence[InputPort | OutputPort]) -> list[str]:
    """Names of ports; ports of one name are told apart by their major version, or by all of it if they must be."""
    names = [identifier(port.name) for port in ports]
    versions = [identifier(port.version or "").removeprefix("v") for port in ports]
    made = []
    for name, version in zip(names, versions, strict=True):
        same = [other.partition("_")[0] for one, other in zip(names, versions, strict=True) if one == name]
        short = version.partition("_")[0]
        suffix = short if same.count(short) == 1 else version
        made.append(f"{name}_v{suffix}" if len(same) > 1 and suffix else name)
    return made


def _port_name(name: str, index: int, family: str, taken: set[str]) -> str:
    if not name or id_fault(name) is not None:
        name = f"{family}_{name or index + 1}"
    number = 2
    base = name
    while name in taken:
        name = f"{base}_{number}"
        number += 1
    return name
