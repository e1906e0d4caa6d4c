"""Where a product stands: what is published, what the last verdict was, how fresh each port is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from dp_dagster.descriptor.due import Due, due_partitions
from dp_dagster.descriptor.partitions import read_told
from dp_dagster.errors import DataProductError
from dp_dagster.pipeline.lag import measure_lag
from dp_dagster.pipeline.projections import output_context
from dp_dagster.pipeline.session import Session, verdict_on
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.descriptor.refresh import RefreshRate
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import PortEntry

Freshness = Literal["fresh", "due", "late", "not evaluated", "never published"]


@dataclass(frozen=True)
class PortStatus:
    """An output port: how fresh it is and how to read it. ``served`` ports answer while ``dp serve`` runs."""

    name: str
    kind: str
    state: str
    freshness: Freshness
    freshness_reason: str
    address: str
    example: str
    served: bool = False


@dataclass(frozen=True)
class DatasetStatus:
    """A dataset: what consumers see, the verdict on it, and where its partitions stand, if it has any."""

    product: str
    dataset: str
    version: int | None
    rows: int | None
    published_at: datetime | None
    verdict: Verdict | None
    partitions: Due | None
    ports: tuple[PortStatus, ...]


def dataset_statuses(product: ResolvedProduct) -> list[DatasetStatus]:
    """The status of each dataset of a product."""
    return [_dataset_status(product, dataset) for dataset in product.datasets]


def _dataset_status(product: ResolvedProduct, dataset: ResolvedDataset) -> DatasetStatus:
    table = Table(dataset_table(product.settings.storage, product.id, dataset.major, dataset.name))
    snapshot = table.newest()
    manifest = read_manifest(product.settings.storage, product.id)
    return DatasetStatus(
        product=product.id,
        dataset=dataset.label,
        version=snapshot.version if snapshot else None,
        rows=snapshot.rows if snapshot else None,
        published_at=snapshot.published_at if snapshot else None,
        verdict=verdict_on(table, snapshot) if snapshot else None,
        partitions=_partitions(product, dataset, snapshot),
        ports=tuple(
            _port_status(product, port, manifest.port(port.major, port.name) if manifest else None, snapshot)
            for port in product.ports
            if port.dataset is not None and port.dataset.label == dataset.label
        ),
    )


def _partitions(product: ResolvedProduct, dataset: ResolvedDataset, snapshot: Snapshot | None) -> Due | None:
    if product.calendar is None or dataset.partitioned_by is None:
        return None
    return due_partitions(product.calendar, snapshot.partitions if snapshot else (), datetime.now(UTC))


def _port_status(
    product: ResolvedProduct, port: ResolvedOutput, shown: PortEntry | None, newest: Snapshot | None
) -> PortStatus:
    if shown is None and newest is not None and port.state == "active":
        freshness: Freshness = "never published"
        reason = f"version {newest.version} was published, and is not shown yet; run the product"
    else:
        freshness, reason = _freshness(product, port, shown)
    address = example = ""
    if port.port is not None and port.state == "active":
        context = output_context(Session(product, "status"), port)
        address = port.port.address(port.config, context)
        examples = port.port.examples(port.config, context)
        example = examples[0].text if examples else ""
    served = port.port is not None and port.port.capabilities.served
    return PortStatus(
        port.label, port.declaration.type, port.state, freshness, reason, address, example, served
    )


def _freshness(  # noqa: PLR0911 - one for each way in which a port may be judged
    product: ResolvedProduct, port: ResolvedOutput, shown: PortEntry | None
) -> tuple[Freshness, str]:
    """How fresh what consumers see is: the version on show, not the newest one."""
    if shown is None:
        return "never published", "run the product"
    if port.refresh is None:
        return "not evaluated", "no refresh_rate is declared"
    fail, warn = port.refresh.freshness_window(), port.refresh.warning_window()
    if fail is None or warn is None:
        return _lag(product, port, port.refresh)
    if product.calendar is not None and port.dataset is not None and port.dataset.partitioned_by is not None:
        return _due(product.calendar, port.refresh, shown)
    age = datetime.now(UTC) - datetime.fromisoformat(shown.published_at)
    if age > fail:
        return "late", f"published {_short(age.total_seconds())} ago, at most {_short(fail.total_seconds())}"
    if age > warn:
        return (
            "due",
            f"published {_short(age.total_seconds())} ago, late in {_short((fail - age).total_seconds())}",
        )
    return "fresh", f"{port.refresh}, published {_short(age.total_seconds())} ago"


def _due(calendar: Calendar, refresh: RefreshRate, shown: PortEntry) -> tuple[Freshness, str]:
    """By the newest partition that is due, not by any that was published since."""
    now = datetime.now(UTC)
    due = due_partitions(calendar, read_told(shown.partitions, calendar), now, refresh)
    if due.waiting is None or due.expected is None:
        return "fresh", f"{due.newest or 'no partition'} is the newest that is due"
    late = now - due.expected
    if late > refresh.maximum_lag:
        return "late", f"{due.waiting} was due {_short(late.total_seconds())} ago"
    left = _short((refresh.maximum_lag - late).total_seconds())
    return ("due" if late > refresh.warn_lag else "fresh"), f"{due.waiting} is late in {left}"


def _lag(product: ResolvedProduct, port: ResolvedOutput, refresh: RefreshRate) -> tuple[Freshness, str]:
    # A quiet source does not age: what counts is how long something newer has been there.
    try:
        lag = measure_lag(product, port)
    except DataProductError as error:
        return "not evaluated", f"its lag cannot be measured: {error}"
    if lag.duration > refresh.maximum_lag:
        return "late", lag.reason
    if lag.duration > refresh.warn_lag:
        return "due", lag.reason
    return "fresh", f"{refresh}, {lag.reason}"


def _short(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
