"""The catalogue: what data products there are, for people who do not know them yet."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.phrases import phrase
from dp_dagster.deprecation import deprecation_notice
from dp_dagster.errors import DataProductError
from dp_dagster.storage.manifest import Manifest, consumers, read_manifest
from dp_dagster.storage.manifest import products as published_products

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dp_dagster.contracts.model import Contract
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.settings import Settings

_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True)
class ColumnEntry:
    """A column, as a stranger needs it."""

    name: str
    type: str
    nullable: bool
    description: str
    classification: str | None
    unit: str | None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset, and the contract that it keeps."""

    name: str
    major: int
    description: str
    contract: str
    key: tuple[str, ...]
    columns: tuple[ColumnEntry, ...]
    deprecated: str | None


@dataclass(frozen=True)
class PortEntry:
    """An output port: where it is, and what it shows.

    ``objectives`` is what is promised and how it stands: name, promise, state, reading, reason.
    """

    name: str
    major: int
    kind: str
    dataset: str
    description: str
    state: str
    address: str
    version: int | None
    published_at: str | None
    rows: int | None
    consumers: tuple[str, ...]
    objectives: tuple[dict[str, str], ...]
    deprecated: str | None


@dataclass(frozen=True)
class ProductEntry:
    """A data product."""

    id: str
    name: str
    version: str
    status: str
    domain: str | None
    owner: dict[str, Any]
    support: dict[str, Any]
    description: str
    tags: dict[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    datasets: tuple[DatasetEntry, ...] = ()
    ports: tuple[PortEntry, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Hit:
    """Something that a search found: the product, where in it, and the words around."""

    product: str
    where: str
    text: str


def catalog(
    settings: Settings,
    products: Iterable[ResolvedProduct],
    faults: Mapping[str, str] | None = None,
    objectives: Mapping[tuple[str, str], tuple[dict[str, str], ...]] | None = None,
) -> list[ProductEntry]:
    """All products that can be known here: those of the project, and others that published to the storage.

    Args:
        settings: Of the platform.
        products: The project's.
        faults: Products of the project that are refused, and why; they are listed with that.
        objectives: How each port's objectives stand, by product and port.
    """
    found: dict[str, ProductEntry] = {}
    for product in products:
        found[product.id] = _of_project(product, objectives or {})
    for name, why in (faults or {}).items():
        found.setdefault(name, _unreadable(name, why))
    for name in published_products(settings.storage):
        if name not in found:
            try:
                manifest = read_manifest(settings.storage, name)
            except DataProductError as error:
                found[name] = _unreadable(name, str(error))
                continue
            if manifest is not None:
                found[name] = _published(settings, manifest)
    return [found[name] for name in sorted(found)]


def search(entries: Iterable[ProductEntry], text: str, limit: int = 50) -> list[Hit]:
    """Full-text search, best first: every word must be there, as the beginning of a word.

    Names count most, then descriptions, then columns.
    """
    words = _WORD.findall(text)
    if not words:
        return []
    query = " ".join(f'"{word}"*' for word in words)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "create virtual table entry using fts5(product unindexed, place unindexed, name, body, "
            "tokenize = 'unicode61 remove_diacritics 2')"
        )
        connection.executemany("insert into entry values (?, ?, ?, ?)", _documents(entries))
        found = connection.execute(
            "select product, place, snippet(entry, -1, '', '', ' … ', 16) from entry where entry match ? "
            "order by bm25(entry, 0, 0, 8.0, 1.0), product, place limit ?",
            (query, limit),
        ).fetchall()
    return [Hit(*row) for row in found]


def _documents(entries: Iterable[ProductEntry]) -> Iterable[tuple[str, str, str, str]]:
    for product in entries:
        about = [
            product.description,
            product.domain,
            product.owner.get("team"),
            product.status,
            product.problem,
        ]
        about += [f"{key} {value}" for key, value in product.tags.items()]
        yield product.id, product.id, f"{product.id} {_split(product.id)} {product.name}", _joined(about)
        for dataset in product.datasets:
            place = f"{product.id}.{dataset.name}"
            yield (
                product.id,
                place,
                f"{dataset.name} {_split(dataset.name)}",
                _joined([product.id, dataset.description, dataset.contract]),
            )
            for column in dataset.columns:
                yield (
                    product.id,
                    f"{place}.{column.name}",
                    f"{column.name} {_split(column.name)}",
                    _joined(
                        [product.id, column.description, column.classification, column.unit, *column.rules]
                    ),
                )
        for port in product.ports:
            yield (
                product.id,
                f"{product.id}.{port.name}",
                f"{port.name} {_split(port.name)} {port.kind}",
                _joined([product.id, port.description, *port.consumers]),
            )


def _split(name: str) -> str:
    # "departure_delay" is found by "delay".
    return name.replace("_", " ")


def _joined(texts: Iterable[str | None]) -> str:
    return " ".join(text for text in texts if text)


def _unreadable(name: str, why: str) -> ProductEntry:
    return ProductEntry(name, name, "", "refused", None, {}, {}, "", problem=why)


def _of_project(
    product: ResolvedProduct, objectives: Mapping[tuple[str, str], tuple[dict[str, str], ...]]
) -> ProductEntry:
    descriptor = product.descriptor
    problem = None
    manifest, readers = None, {}
    try:
        manifest = read_manifest(product.settings.storage, product.id)
        readers = _readers(product.settings, product.id)
    except DataProductError as error:
        problem = str(error)
    for consumer in descriptor.consumers:
        major = consumer.major if consumer.major is not None else product.major
        readers.setdefault((consumer.port, major), []).append(consumer.name)
    return ProductEntry(
        id=product.id,
        name=descriptor.title,
        version=product.version,
        status=descriptor.status,
        domain=descriptor.domain,
        owner=descriptor.owner.model_dump(exclude_none=True) if descriptor.owner else {},
        support=descriptor.support.model_dump(exclude_none=True) if descriptor.support else {},
        description=(descriptor.description or "").strip(),
        tags=dict(descriptor.tags),
        reads=tuple(
            str(upstream) for one in product.inputs if (upstream := one.port.upstream(one.config)) is not None
        ),
        datasets=tuple(_dataset(dataset) for dataset in product.datasets),
        ports=tuple(
            _port(port, manifest, readers, objectives.get((product.id, port.label), ()))
            for port in product.ports
        ),
        problem=problem,
    )


def _dataset(dataset: ResolvedDataset) -> DatasetEntry:
    contract = dataset.contract
    return DatasetEntry(
        name=dataset.label,
        major=dataset.major,
        description=dataset.declaration.description or contract.description,
        contract=f"{contract.name}{f' {contract.version}' if contract.version else ''} ({contract.format})",
        key=dataset.key,
        columns=_columns(contract),
        deprecated=deprecation_notice(dataset.deprecated),
    )


def _columns(contract: Contract) -> tuple[ColumnEntry, ...]:
    return tuple(
        ColumnEntry(
            name=column.name,
            type=column.type,
            nullable=column.nullable,
            description=column.description,
            classification=column.classification,
            unit=column.unit,
            rules=tuple(
                phrase(rule)
                for rule in contract.rules
                if rule.columns == (column.name,) and rule.level == "row" and rule.kind != "not_null"
            ),
        )
        for column in contract.columns
    )


def _port(
    port: ResolvedOutput,
    manifest: Manifest | None,
    readers: Mapping[tuple[str, int], list[str]],
    objectives: tuple[dict[str, str], ...],
) -> PortEntry:
    shown = manifest.port(port.major, port.name) if manifest else None
    return PortEntry(
        name=port.label,
        major=port.major,
        kind=port.declaration.type,
        dataset=port.dataset.label if port.dataset else "",
        description=port.declaration.description or "",
        state=port.state,
        address=shown.address if shown else "",
        version=shown.version if shown else None,
        published_at=shown.published_at if shown else None,
        rows=shown.rows if shown else None,
        consumers=tuple(sorted(readers.get((port.name, port.major), ()))),
        objectives=objectives,
        deprecated=deprecation_notice(port.dataset.deprecated) if port.dataset else None,
    )


def _readers(settings: Settings, product: str) -> dict[tuple[str, int], list[str]]:
    readers: dict[tuple[str, int], list[str]] = {}
    for registration in consumers(settings.storage, product):
        readers.setdefault((registration.port, registration.major), []).append(registration.consumer)
    return readers


def _published(settings: Settings, manifest: Manifest) -> ProductEntry:
    """A product of another project: what its manifest tells."""
    problem = None
    try:
        readers = _readers(settings, manifest.product_id)
    except DataProductError as error:
        readers, problem = {}, str(error)
    ports: list[PortEntry] = []
    datasets: dict[tuple[int, str], DatasetEntry] = {}
    for major, entries in sorted(manifest.ports.items()):
        for name, entry in sorted(entries.items()):
            number = int(major[1:])
            ports.append(
                PortEntry(
                    name=name,
                    major=number,
                    kind=entry.kind,
                    dataset=entry.dataset,
                    description=entry.description,
                    state="active",
                    address=entry.address,
                    version=entry.version,
                    published_at=entry.published_at,
                    rows=entry.rows,
                    consumers=tuple(sorted(readers.get((name, number), ()))),
                    objectives=(),
                    deprecated=entry.deprecated,
                )
            )
            datasets.setdefault(
                (number, entry.dataset),
                DatasetEntry(
                    name=entry.dataset,
                    major=number,
                    description="",
                    contract=entry.contract_hash[:12],
                    key=(),
                    columns=tuple(
                        ColumnEntry(
                            name=column["name"],
                            type=column["type"],
                            nullable=bool(column.get("nullable", True)),
                            description=column.get("description") or "",
                            classification=column.get("classification"),
                            unit=column.get("unit"),
                        )
                        for column in entry.columns
                    ),
                    deprecated=entry.deprecated,
                ),
            )
    return ProductEntry(
        id=manifest.product_id,
        name=manifest.name or manifest.product_id,
        version=manifest.version,
        status="published elsewhere",
        domain=None,
        owner={key: value for key, value in manifest.owner.items() if value},
        support={},
        description=manifest.description,
        datasets=tuple(datasets.values()),
        ports=tuple(ports),
        problem=problem,
    )
