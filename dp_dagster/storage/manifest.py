"""The product manifest: what a product has published, in one file that is replaced last.

Through it consumers find a producer's ports, from another checkout or another machine: all places in it are
relative to the storage root. Consumers register beside it. Reading it imports nothing heavy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.model import Rule
from dp_dagster.errors import StoreError
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.documents import read_document, replace_document, tag_of, write_document
from dp_dagster.storage.location import TableLocation, check_name, product_place
from dp_dagster.storage.locks import product_lock
from dp_dagster.storage.mirror import local_root, root_place
from dp_dagster.storage.places import matching

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.storage.places import Place
    from dp_dagster.storage.snapshot import Snapshot

_FORMAT = 1
_FILE = "manifest.json"


@dataclass(frozen=True)
class PortEntry:
    """What an output port shows.

    Attributes:
        kind: Kind of the port.
        dataset: Name of the dataset that it projects.
        area: The dataset's table below the product (``v1/dataset/flights``).
        version: Version of the table that the port shows.
        published_at: When the rows of that version were first published, UTC, ISO 8601.
        projected_at: When the port was last brought to a new version, UTC, ISO 8601.
        rows: Number of rows.
        columns: Name, type, nullability, description and so on of each column.
        address: Where consumers find the port.
        description: What the port is.
        contract_hash: The contract that the version was proven against.
        deprecated: Why not to use it any more, and until when; ``None`` while it is current.
        deprecated_since: When it was first shown as deprecated, UTC, ISO 8601.
        metadata: Further facts of the port's kind.
        files: The port's own copy, where its readers may not see all of the table; below the storage root.
        partitions: Those that the version has, as ``2013-01..2013-03, 2013-05``; empty where it has none.
    """

    kind: str
    dataset: str
    area: str
    version: int
    published_at: str
    projected_at: str
    rows: int
    columns: tuple[dict[str, Any], ...] = ()
    address: str = ""
    description: str = ""
    contract_hash: str = ""
    deprecated: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    deprecated_since: str | None = None
    partitions: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a product has published.

    Attributes:
        product_id: Id of the product.
        version: Version of the product that wrote the manifest last.
        name: The product's name, for people.
        owner: The owner, as the descriptor says.
        description: What the product is.
        ports: By major version (``v1``), then by name.
    """

    product_id: str
    version: str = ""
    name: str = ""
    owner: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    ports: dict[str, dict[str, PortEntry]] = field(default_factory=dict)

    def port(self, major: int, name: str) -> PortEntry | None:
        """One port, or ``None``."""
        return self.ports.get(f"v{major}", {}).get(name)

    def with_port(self, major: int, name: str, entry: PortEntry) -> Manifest:
        """The manifest with one port put in or replaced."""
        entries = {**self.ports.get(f"v{major}", {}), name: entry}
        return replace(self, ports={**self.ports, f"v{major}": entries})

    def location(self, root: str, entry: PortEntry) -> TableLocation:
        """The table behind a port, below the given storage root."""
        return TableLocation(root, self.product_id, entry.area)

    def snapshot(self, root: str, entry: PortEntry) -> Snapshot:
        """What a port shows to its readers: the table's version, or the copy that was made of it for them.

        Raises:
            StoreError: the version is no longer there.
        """
        from dp_dagster.storage.table import Table

        snapshot = Table(self.location(root, entry)).snapshot(entry.version)
        if not entry.files:
            return snapshot
        names = {str(column["name"]): column for column in entry.columns}
        columns = tuple(
            replace(column, nullable=bool(names[column.name]["nullable"]))
            for column in snapshot.columns
            if column.name in names
        )
        files = tuple(str(local_root(root) / file) for file in entry.files)
        return replace(snapshot, paths=files, rows=entry.rows, columns=columns)


@dataclass(frozen=True)
class Registration:
    """A consumer of an output port: which input of which product reads it.

    Attributes:
        consumer: Id of the product, or the name of somebody outside.
        input: Name of the input port.
        port: The output port that it reads.
        major: Major version of that.
        registered_at: UTC time, ISO 8601.
        columns: Columns that the consumer relies on; all of them where there are none.
        rules: Rules that it relies on, by what they say and not by name; ``None`` where it has not said which.
    """

    consumer: str
    input: str
    port: str
    major: int
    registered_at: str
    columns: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | None = None


def read_manifest(root: str, product: str) -> Manifest | None:
    """The manifest of a product, or ``None`` if it has published nothing.

    Raises:
        StoreError: the file is damaged, or was written by a newer release.
    """
    path = product_place(root, product) / _FILE
    content = read_document(path)
    if content is None:
        return None
    _check_format(path, content)
    try:
        ports = {
            check_major(major): {name: _entry(entry) for name, entry in entries.items()}
            for major, entries in content.pop("ports").items()
        }
        manifest = Manifest(**content, ports=ports)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error}; publish the product again") from error
    if manifest.product_id != product:
        raise StoreError(f"{path} is the manifest of {manifest.product_id}, not of {product}; remove it")
    return manifest


def update_manifest(
    root: str,
    product: str,
    change: Callable[[Manifest], Manifest],
    *,
    holder: str = "manifest",
    lock_timeout: float = 60.0,
) -> Manifest:
    """Replace a product's manifest by ``change(manifest)``, whole or not at all, under the product's lock.

    ``change`` may take its time and do more (bring a catalog up to date, say): nobody else changes the product's
    manifest meanwhile, and if it raises, nothing changes.

    Raises:
        LockedError: somebody else held the lock for ``lock_timeout`` seconds.
        ConflictError: the root is a bucket, and somebody else replaced the manifest all the same.
    """
    path = product_place(root, product) / _FILE
    with product_lock(root, product, holder, lock_timeout):
        tag = tag_of(path)
        before = read_manifest(root, product) or Manifest(product_id=product)
        after = change(before)
        if after != before:
            replace_document(path, {"format": _FORMAT, **asdict(after)}, tag)
        return after


def relative_to(root: str, file: str) -> str:
    """A file as the manifest names it: below the storage root."""
    return Path(file).relative_to(local_root(root)).as_posix()


def products(root: str) -> list[str]:
    """Ids of the products that have a manifest, sorted."""
    if is_bucket(root):
        place = root_place(root)
        return sorted(name for name in place.folders() if (place / name / _FILE).is_file())
    return sorted(path.parent.name for path in Path(root).absolute().glob(f"*/{_FILE}"))


def register_consumer(root: str, product: str, registration: Registration) -> None:
    """Put on record who reads an output port; a later registration of the same input replaces it."""
    name = f"{check_name('consumer', registration.consumer)}.{check_name('input', registration.input)}.json"
    path = _consumers_directory(root, product) / name
    found = read_document(path)
    # As it is read back: lists, not tuples.
    content = json.loads(json.dumps({"format": _FORMAT, **asdict(registration)}))
    # Every run registers; only a change is worth a write.
    if found is None or {**found, "registered_at": content["registered_at"]} != content:
        write_document(path, content)


def consumers(root: str, product: str) -> list[Registration]:
    """Who reads the output ports of a product.

    Raises:
        StoreError: a registration is damaged.
    """
    found = []
    for path in matching(_consumers_directory(root, product), "*.json"):
        content = read_document(path)
        if content is None:
            continue
        _check_format(path, content)
        try:
            rules = content.get("rules")
            read = None if rules is None else tuple(Rule.from_dict(rule) for rule in rules)
            found.append(Registration(**{**content, "columns": tuple(content["columns"]), "rules": read}))
        except (KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged: {error}; remove it") from error
    return found


def check_major(major: str) -> str:
    """Return ``major`` if it reads like ``v1``.

    Raises:
        ValueError: it does not.
    """
    if not (major.startswith("v") and major[1:].isdecimal()):
        raise ValueError(f"{major!r} is no major version")
    return major


def _entry(content: dict[str, Any]) -> PortEntry:
    lists = {name: tuple(content.get(name, ())) for name in ("columns", "files")}
    return PortEntry(**{**content, **lists})


def _consumers_directory(root: str, product: str) -> Place:
    return product_place(root, product) / "consumers"


def _check_format(path: Place, content: dict[str, Any]) -> None:
    written = content.pop("format", None)
    if written != _FORMAT:
        raise StoreError(f"{path} has format {written!r}, this release reads {_FORMAT}; upgrade dp_dagster")
