"""Projecting an output port: the newest committed version becomes what its consumers see."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.access.masks import masked_column
from dp_dagster.deprecation import deprecation_notice
from dp_dagster.descriptor.partitions import told
from dp_dagster.errors import AuthorError
from dp_dagster.pipeline.copies import copied
from dp_dagster.pipeline.datasets import dataset_table_of
from dp_dagster.ports.base import OutputContext, Projected
from dp_dagster.resolve.relationships import relationships_of

if TYPE_CHECKING:
    from dp_dagster.access.policy import GuardedDataset
    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column, Contract
    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.pipeline.session import Session
    from dp_dagster.resolve import ResolvedOutput
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest, PortEntry


@dataclass(frozen=True)
class ProjectionOutcome:
    """What projecting a port came to.

    Attributes:
        port: Its name.
        snapshot: The version that consumers see; ``None`` while the dataset was never published.
        changed: Whether consumers saw another version, or nothing, before.
        address: Where they find it.
        metadata: Facts of the kind's own.
    """

    port: str
    snapshot: Snapshot | None
    changed: bool
    address: str
    metadata: dict[str, Any] = field(default_factory=dict)


def output_context(session: Session, port: ResolvedOutput) -> OutputContext:
    """Where an output port stands.

    Raises:
        AuthorError: the port names no dataset, so there is nothing to project.
    """
    if port.dataset is None:
        raise AuthorError(f"{session.product.id}: output port {port.name} names no dataset")
    return OutputContext(
        product_id=session.product.id,
        product_root=session.product.root,
        major=port.major,
        port_name=port.name,
        dataset=port.dataset.name,
        contract=port.dataset.contract,
        description=port.declaration.description or port.dataset.declaration.description or "",
        settings=session.settings,
        key=port.dataset.key,
        is_current=port.is_current,
        relationships=relationships_of(session.product, port.major),
        deprecation=deprecation_notice(port.dataset.deprecated) or "",
        guarded=_guarded(session, port.dataset.label),
    )


def _guarded(session: Session, dataset: str) -> GuardedDataset | None:
    """The grants on a dataset; ``None`` where the product leaves it to the place of a port who may read."""
    if "access" not in session.product.descriptor.model_fields_set:
        return None
    return session.product.access.datasets.get(dataset)


def project_port(session: Session, name: str) -> ProjectionOutcome:
    """Show the newest committed version of the port's dataset. Doing it again is harmless.

    Raises:
        AuthorError: the port is declared only (no dataset, or a kind that is not installed).
        StoreError: the projection cannot be written; what consumers saw before stays.
    """
    from dp_dagster.storage.manifest import update_manifest

    port = session.product.port(name)
    context = output_context(session, port)
    if port.state != "active" or port.port is None or port.dataset is None:
        raise AuthorError(f"{session.product.id}: output port {name} is {port.state}: {port.reason}")
    kind, config = port.port, port.config
    address = kind.address(config, context)
    calendar = session.product.calendar
    table = dataset_table_of(session, port.dataset)
    if not table.exists():
        return ProjectionOutcome(name, None, changed=False, address=address)
    snapshot: Snapshot | None = None
    before: PortEntry | None = None
    projected = Projected(address)

    def change(manifest: Manifest) -> Manifest:
        nonlocal snapshot, before, projected
        # Under the product's lock: nobody can put an older version on show after a newer one.
        snapshot = table.newest()
        if snapshot is None:
            return manifest
        before = manifest.port(port.major, port.name)
        shown = copied(session, port, snapshot)
        entry = _entry(port, context, shown, address, before, calendar)
        projected = kind.project(config, context, shown, _with_port(session, manifest, port, entry))
        facts = {"differs": list(projected.differs)} if projected.differs else {}
        return _with_port(session, manifest, port, replace(entry, metadata=facts))

    update_manifest(
        session.settings.storage,
        session.product.id,
        change,
        holder=session.holder,
        lock_timeout=session.settings.lock_timeout,
    )
    if snapshot is None:
        return ProjectionOutcome(name, None, changed=False, address=address)
    changed = before is None or before.version != snapshot.version
    if changed:
        session.record(
            "projected",
            f"v{port.major}/port/{port.name}",
            version=snapshot.version,
            before=before.version if before else None,
            address=projected.address,
        )
    metadata = dict(projected.metadata)
    if kind.pushes(config) and port.readers is not None:
        # Only now: what the manifest says can no longer be taken back.
        delivery = kind.deliver(config, context, port.readers, snapshot.version)
        metadata |= {"delivery": str(delivery), "events sent": delivery.sent}
        if delivery.sent:
            session.record(
                "delivered",
                f"v{port.major}/port/{port.name}",
                version=delivery.version,
                target=delivery.target,
                events=delivery.sent,
            )
    if projected.differs:
        metadata["differs"] = "; ".join(projected.differs)
    return ProjectionOutcome(name, snapshot, changed, projected.address, metadata)


def _entry(  # noqa: PLR0917 what an entry is made of
    port: ResolvedOutput,
    context: OutputContext,
    snapshot: Snapshot,
    address: str,
    before: PortEntry | None,
    calendar: Calendar | None,
) -> PortEntry:
    from dp_dagster.storage.manifest import PortEntry, relative_to

    root = context.settings.storage
    is_same = before is not None and before.version == snapshot.version
    now = datetime.now(UTC).isoformat()
    deprecated = deprecation_notice(port.dataset.deprecated) if port.dataset else None
    return PortEntry(
        kind=port.declaration.type,
        dataset=context.dataset,
        area=snapshot.location.area,
        version=snapshot.version,
        published_at=snapshot.published_at.isoformat(),
        projected_at=before.projected_at if before and is_same else now,
        rows=snapshot.rows,
        files=() if port.view is None else tuple(relative_to(root, file) for file in snapshot.files),
        columns=tuple(asdict(column) for column in _columns(context.contract, snapshot, port.view)),
        address=address,
        description=context.description,
        contract_hash=snapshot.metadata.get("dp.contract_hash", ""),
        deprecated=deprecated,
        # Once said, it stays: a new note or sunset is no new deprecation.
        deprecated_since=((before.deprecated_since if before else None) or now) if deprecated else None,
        partitions=told(snapshot.partitions, calendar),
    )


def _columns(contract: Contract, snapshot: Snapshot, view: DatasetView | None) -> tuple[Column, ...]:
    """The columns on show: the contract's, unless the version was proven against another, or a copy shows less."""
    declared = {column.name: column for column in contract.columns}
    if snapshot.metadata.get("dp.contract_hash") != contract.hash:
        return tuple(
            replace(declared.get(column.name, column), type=column.type, nullable=True)
            for column in snapshot.columns
        )
    if view is None:
        return contract.columns
    return tuple(
        masked_column(declared[name], view.masks[name]) if name in view.masks else declared[name]
        for name in view.columns
    )


def _with_port(session: Session, manifest: Manifest, port: ResolvedOutput, entry: PortEntry) -> Manifest:
    product = session.product
    major = f"v{port.major}"
    # Ports that the product declares no more go; those of other major versions stay until they are retired.
    declared = {other.name for other in product.ports if other.major == port.major}
    entries = {name: old for name, old in manifest.ports.get(major, {}).items() if name in declared}
    return replace(
        manifest,
        version=product.version,
        name=product.descriptor.title,
        owner=product.descriptor.owner.model_dump() if product.descriptor.owner else {},
        description=product.descriptor.summary,
        ports={**manifest.ports, major: {**entries, port.name: entry}},
    )
