"""Products as ODPS 1.1 (Open Data Product Standard of Bitol).

A product that was imported keeps its document (``documents: {odps: …}``), and export hands it over as it is. What was
changed in ``product.yaml`` since is written into it; all else stays. What ODPS has no place for is in the custom
property ``dpDagster``, in the words of ``product.yaml``, so that nothing is lost and import reads it back.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from dp_dagster.documents.odcs import contract_id
from dp_dagster.documents.odps_mapping import OWN, description_of, kind_name, mapped, own_values, tags_of
from dp_dagster.documents.service_levels import label_list
from dp_dagster.documents.written import Note, Written
from dp_dagster.documents.yaml_text import yaml_text
from dp_dagster.registry import DECLARED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dp_dagster.resolve import ResolvedProduct

API_VERSION = "v1.1.0"
FILE = "{id}.odps.yaml"

_ORDER = (
    "apiVersion", "kind", "id", "name", "version", "status", "domain", "description", "tags", "inputPorts",
    "outputPorts", "support", "team", "customProperties",
)  # fmt: skip
# Said by the document itself, by the contracts that it points to, or matters of the inside.
_NOT_OWN = frozenset({"name", "dataset", "contract", "description"})
_OWN_HEAD = ("refresh_rate", "partitions", "sla", "alerts", "access", "infrastructure")


def export_odps(product: ResolvedProduct) -> Written:
    """The product as an ODPS document."""
    file = FILE.format(id=product.id)
    current = _current(product)
    kept = product.descriptor.documents
    if kept is not None and kept.odps is not None:
        return _changed(product, current, product.root / kept.odps, file)
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "DataProduct", "id": product.id}
    for key, write in _HEAD.items():
        if current.get(key):
            write(document, current)
    _write_own(document, {key: current[key] for key in _OWN_HEAD if key in current}, _channel(current))
    for part, family in (("inputPorts", "input_ports"), ("outputPorts", "output_ports")):
        if current.get(family):
            document[part] = [_port(product, port, part) for port in current[family]]
    if older := _older_ports(product):
        document["outputPorts"] += older
    notes = _notes(product)
    return Written(file, yaml_text(_ordered(document)), notes)


def _notes(product: ResolvedProduct) -> tuple[Note, ...]:
    inside = [name for name in ("transforms", "datasets") if getattr(product.descriptor, name)]
    told = {
        "transforms": "ODPS does not say how a product works",
        "datasets": "their contracts say it: --format odcs",
    }
    return tuple(Note(name, told[name]) for name in inside)


def _current(product: ResolvedProduct) -> dict[str, Any]:
    """The descriptor as its author wrote it, references to variables included, so that no value of one gets out."""
    from dp_dagster.descriptor.document import parse, read_text

    declared = product.descriptor
    if product.path.is_file():
        data: dict[str, Any] = parse(
            read_text(product.path, product.path.name), product.path.name, interpolation=False
        ).data
    else:
        data = declared.model_dump(mode="python", by_alias=True, exclude_none=True, exclude_defaults=True)
    data = {
        **data,
        "version": str(data["version"]).removeprefix("v"),
        "status": data.get("status", declared.status),
    }
    for family in ("input_ports", "output_ports"):
        ports = []
        for raw, port in zip(data.get(family) or (), getattr(declared, family), strict=True):
            options = raw.get("options") if not product.path.is_file() else None
            plain = {key: value for key, value in raw.items() if key != "options" or options is None}
            ports.append({**plain, **(options or {}), "name": port.name, "type": port.type})
        data[family] = ports
    return data


# -- the head ---------------------------------------------------------------------------------------------


def _write_description(document: dict[str, Any], current: Mapping[str, Any]) -> None:
    said = description_of(current.get("description") or "")
    kept = document.get("description") or {}
    others = {key: value for key, value in kept.items() if key not in ("purpose", "usage", "limitations")}
    document["description"] = {**said, **others}


def _write_tags(document: dict[str, Any], current: Mapping[str, Any]) -> None:
    wanted = {str(key): str(value) for key, value in (current.get("tags") or {}).items()}
    kept = [
        label
        for label in document.get("tags") or []
        if not (said := tags_of([label])) or said.items() <= wanted.items()
    ]
    known = tags_of(kept)
    document["tags"] = kept + label_list({key: value for key, value in wanted.items() if key not in known})


def _write_owner(document: dict[str, Any], current: Mapping[str, Any]) -> None:
    owner = current.get("owner") or {}
    before = (document.get("team") or {}).get("name")
    if owner.get("team"):
        document["team"] = {**(document.get("team") or {}), "name": owner["team"]}
    channels = [
        channel
        for channel in document.get("support") or []
        if not (channel["channel"] == before and channel["url"].startswith("mailto:"))
    ]
    if owner.get("email"):
        channels.append({"channel": owner["team"], "url": f"mailto:{owner['email']}", "tool": "email"})
    document["support"] = channels


def _write_support(document: dict[str, Any], current: Mapping[str, Any]) -> None:
    support = current.get("support") or {}
    channels = [
        channel
        for channel in document.get("support") or []
        if channel.get("channel") != support.get("channel")
    ]
    made = []
    if support.get("url"):
        made.append({"channel": support.get("channel") or support["url"], "url": support["url"]})
    email = support.get("email")
    if email and not any(channel["url"] == f"mailto:{email}" for channel in channels):
        made.append({"channel": email, "url": f"mailto:{email}", "tool": "email"})
    document["support"] = made + channels


def _plain(key: str) -> Callable[[dict[str, Any], Mapping[str, Any]], None]:
    def write(document: dict[str, Any], current: Mapping[str, Any]) -> None:
        if current.get(key) is None:
            document.pop(key, None)
        else:
            document[key] = current[key]

    return write


def _write_status(document: dict[str, Any], current: Mapping[str, Any]) -> None:
    document["status"] = current["status"]
    if current["status"] != "deprecated":
        document.pop("deprecated", None)


_HEAD: dict[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "name": _plain("name"),
    "version": _plain("version"),
    "status": _write_status,
    "domain": _plain("domain"),
    "description": _write_description,
    "tags": _write_tags,
    "owner": _write_owner,
    "support": _write_support,
}


def _channel(current: Mapping[str, Any]) -> dict[str, Any]:
    """A support channel without an address, which ODPS cannot say."""
    support = current.get("support") or {}
    return {"support": dict(support)} if support.get("channel") and not support.get("url") else {}


def _write_own(
    document: dict[str, Any], values: Mapping[str, Any], further: Mapping[str, Any] | None = None
) -> None:
    wanted = {**values, **(further or {})}
    others = [one for one in document.get("customProperties") or [] if one.get("property") != OWN]
    if wanted:
        others.append({"property": OWN, "value": wanted})
    if others:
        document["customProperties"] = others
    else:
        document.pop("customProperties", None)


# -- ports ------------------------------------------------------------------------------------------------


def _port(product: ResolvedProduct, port: Mapping[str, Any], part: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": port["name"]}
    own = {key: value for key, value in port.items() if key not in _NOT_OWN}
    if part == "outputPorts":
        if port.get("description"):
            made["description"] = port["description"]
        made["type"] = port["type"]
        made["version"] = product.version
        del own["type"]
        resolved = next(one for one in product.ports if one.name == port["name"] and one.is_current)
        if resolved.dataset is not None:
            made["contractId"] = contract_id(product, resolved.dataset)
    elif port.get("description"):
        own["description"] = port["description"]
    _write_own(made, own)
    return made


def _older_ports(product: ResolvedProduct) -> list[dict[str, Any]]:
    """The ports of older major versions that are still live; ODPS lists each version of a port."""
    made = []
    for port in product.ports:
        if port.is_current or port.dataset is None:
            continue
        ending = port.dataset.deprecated
        document: dict[str, Any] = {"deprecated": True} if ending is not None else {}
        document |= {"name": port.name, "type": port.declaration.type, "version": str(port.major)}
        document["contractId"] = contract_id(product, port.dataset)
        if ending is not None:
            document["customProperties"] = [{"property": "sunset", "value": ending.sunset.isoformat()}]
        made.append(document)
    return made


# -- a product that was imported --------------------------------------------------------------------------


def _changed(product: ResolvedProduct, current: Mapping[str, Any], base: Any, file: str) -> Written:
    """The kept document with what was changed in ``product.yaml`` since."""
    from dp_dagster.documents.odps_reading import read_odps

    original = read_odps(base)
    said = mapped(original, product.id)
    document = copy.deepcopy(dict(original.written))
    for key, write in _HEAD.items():
        if (current.get(key) or None) != (said.head.get(key) or None):
            write(document, current)
    own_before = {key: said.head[key] for key in _OWN_HEAD if key in said.head}
    own_now = {key: current[key] for key in _OWN_HEAD if key in current}
    channel = _channel(current) if current.get("support") != said.head.get("support") else {}
    if own_before != own_now or channel:
        kept = {
            key: value
            for key, value in own_values(document.get("customProperties")).items()
            if key == "support"
        }
        _write_own(document, {**kept, **own_now}, channel)
    for part, family, plans in (
        ("inputPorts", "input_ports", said.inputs),
        ("outputPorts", "output_ports", said.outputs),
    ):
        ports = _merged_ports(product, list(current.get(family) or ()), plans, document.get(part) or [], part)
        if ports != (document.get(part) or []):
            document[part] = ports
            if not ports:
                del document[part]
    known = {(port["name"], port.get("version")) for port in document.get("outputPorts") or []}
    if older := [port for port in _older_ports(product) if (port["name"], port["version"]) not in known]:
        document["outputPorts"] = [*(document.get("outputPorts") or []), *older]
    if document == original.written:
        return Written(_file_like(base.name, file), original.text)
    cleaned = {key: value for key, value in document.items() if value != [] or key in original.written}
    return Written(file, yaml_text(_ordered(cleaned)))


def _merged_ports(
    product: ResolvedProduct,
    current: list[dict[str, Any]],
    plans: list[Any],
    originals: list[dict[str, Any]],
    part: str,
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    used: set[str] = set()
    for plan in plans:
        mine = [port for port in current if port["name"] == plan.name] or [
            # A contract of several tables became several ports.
            port
            for port in current
            if port["name"].startswith(f"{plan.name}_")
        ]
        if mine:
            used |= {port["name"] for port in mine}
            made.append(_merged_port(mine[0], plan, originals[plan.index], part))
    return made + [_port(product, port, part) for port in current if port["name"] not in used]


def _merged_port(port: Mapping[str, Any], plan: Any, original: dict[str, Any], part: str) -> dict[str, Any]:
    document = copy.deepcopy(original)
    if part == "outputPorts" and port.get("description") != plan.fields.get("description"):
        document["description"] = port.get("description", "")
    own_before = own_values(original.get("customProperties"))
    own = {key: value for key, value in port.items() if key not in _NOT_OWN}
    if part == "inputPorts" and port.get("description") != plan.fields.get("description"):
        own["description"] = port.get("description")
    elif "description" in own_before:
        own["description"] = own_before["description"]
    # A kind that stands in for what the document says, or only for its silence, is no change.
    stands_in = kind_name(own["type"]) in (DECLARED, kind_name(plan.fields["type"]))
    if stands_in and ("type" not in own_before or kind_name(own["type"]) == DECLARED):
        own.pop("type")
    if own != own_before:
        _write_own(document, own)
    return document


def _ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys in the order of the standard, further ones after them."""
    first = {key: document[key] for key in _ORDER if key in document}
    return {**first, **document}


def _file_like(name: str, file: str) -> str:
    return file.removesuffix(".yaml") + ".json" if name.endswith(".json") else file
