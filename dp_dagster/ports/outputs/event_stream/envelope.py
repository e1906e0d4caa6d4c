"""CloudEvents 1.0: what is said of each change, whoever carries it.

An event's id says which version and which row it is about, and nothing else. So whoever computes it anew gives it the
same id, it tells nothing of rows that its reader does not see, and a reader who names it can be taken on from there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.changes.model import ChangeSet, Counts, Operation
    from dp_dagster.changes.read import Change

SPEC_VERSION = "1.0"
JSON_TYPE = "application/json"

_ID = re.compile(r"(?:[\w.]+@)?([0-9]{1,15})(?:/(all/)?([^/\s]*))?")


class Place(NamedTuple):
    """Where an event stands.

    Attributes:
        version: The version that it is about.
        key: The key of the row, as events write it; ``None`` for the publication, which comes after its rows.
        is_snapshot: Whether the row was told as one of all rows of the version.
    """

    version: int
    key: str | None = None
    is_snapshot: bool = False


def read_id(text: str) -> Place | None:
    """The place of an event, by its id or by the number of a version alone; ``None`` if it is neither."""
    found = _ID.fullmatch(text.strip())
    if found is None:
        return None
    return Place(int(found[1]), found[3], is_snapshot=bool(found[2]))


@dataclass(frozen=True)
class Event:
    """One event: its attributes, and its data as JSON text.

    ``name`` says in a word what happened: ``inserted``, ``updated``, ``deleted``, ``published`` or ``reset``.
    """

    name: str
    attributes: dict[str, Any]
    data: str

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.attributes["id"])

    def structured(self) -> str:
        """As one JSON object, in one line."""
        head = json.dumps(self.attributes, ensure_ascii=False, separators=(",", ":"))
        return f'{head[:-1]},"data":{self.data}}}'

    def server_sent(self) -> bytes:
        """As Server-Sent Events have it. A reset has no id: who comes back with the last one is told the same."""
        line = "" if self.name == "reset" else f"id: {self.id}\n"
        return f"{line}event: {self.name}\ndata: {self.structured()}\n\n".encode()


@dataclass(frozen=True)
class Envelope:
    """What all events of a port have in common.

    Attributes:
        product: Id of the product.
        dataset: Name of the dataset.
        major: Its major version.
        source: Address of the port.
    """

    product: str
    dataset: str
    major: int
    source: str

    def row(self, change: Change, change_set: ChangeSet) -> Event:
        """A row that changed."""
        key = key_text(change.key)
        data = f'{{"key":{change.key},"before":{change.before or "null"},"after":{change.after or "null"}}}'
        place = Place(change_set.version, key)
        about = _About(change_set.version, change_set.committed_at, change_set.contract_hash, key)
        return self._event(change.operation, place, data, about)

    def snapshot_row(self, key: str, row: str, about: Version) -> Event:
        """A row of a version, for who begins with all of them. Key and row are JSON objects."""
        text = key_text(key)
        place = Place(about.version, text, is_snapshot=True)
        data = f'{{"key":{key},"before":null,"after":{row}}}'
        return self._event("inserted", place, data, _About(*about, text))

    def published(self, about: Version, counts: Counts | None, rows: int | None, **more: Any) -> Event:
        """A version was published, and all its rows were told."""
        counted = (
            {}
            if counts is None
            else {name: getattr(counts, name) for name in ("inserted", "updated", "deleted")}
        )
        data = {"version": about.version, "rows": rows, **counted, **more}
        return self._event("published", Place(about.version), json.dumps(data), _About(*about, None))

    def reset(self, about: Version, reason: str) -> Event:
        """What came before cannot be followed to this version: forget it, and begin again."""
        data = json.dumps({"version": about.version, "reason": reason})
        return self._event("reset", Place(about.version), data, _About(*about, None))

    def _event(self, name: Operation | str, place: Place, data: str, about: _About) -> Event:
        tail = "" if place.key is None else f"/{'all/' if place.is_snapshot else ''}{place.key}"
        kind = f"row.{name}" if place.key is not None else name
        reset = "/reset" if name == "reset" else ""
        attributes: dict[str, Any] = {
            "specversion": SPEC_VERSION,
            "id": f"{self.product}.{self.dataset}@{place.version}{tail}{reset}",
            "source": self.source,
            "type": f"{self.product}.{self.dataset}.{kind}.v{self.major}",
            "time": about.at.isoformat(timespec="microseconds"),
            "datacontenttype": JSON_TYPE,
            "datasetversion": place.version,
        }
        if about.contract_hash and about.key is not None:
            attributes["dataschema"] = f"{self.source}/schema.json?contract={about.contract_hash}"
        if about.key is not None:
            # An empty text is a key, too, and CloudEvents allows no empty subject.
            attributes["subject"] = about.key or '""'
        return Event(str(name), attributes, data)


class Version(NamedTuple):
    """What events say of the version that they are about."""

    version: int
    at: datetime
    contract_hash: str


class _About(NamedTuple):
    version: int
    at: datetime
    contract_hash: str
    key: str | None


def key_text(key: str) -> str:
    """A key, a JSON object, as one word: its values percent-encoded, with commas between them."""
    return ",".join(
        quote(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")), safe="")
        for value in json.loads(key).values()
    )


def key_values(text: str) -> list[str]:
    """The values that :func:`key_text` wrote, as texts."""
    return [unquote(part) for part in text.split(",")]
