"""Rolling a dataset back: an older version is committed once more, and its ports show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.pipeline.datasets import dataset_table_of
from dp_dagster.pipeline.projections import ProjectionOutcome, project_port

if TYPE_CHECKING:
    from dp_dagster.pipeline.session import Session
    from dp_dagster.storage import Snapshot


@dataclass(frozen=True)
class RollbackOutcome:
    """What a rollback came to: the version before, the new one, and the ports that show it."""

    before: int
    snapshot: Snapshot
    ports: tuple[ProjectionOutcome, ...]


def roll_back(session: Session, name: str, to_version: int) -> RollbackOutcome:
    """Publish an older version of a dataset again.

    Old rows do not become fresh: the commit keeps the time at which they were first published.

    Args:
        session: The run; its actor asked for it.
        name: The dataset.
        to_version: A version of its history.

    Raises:
        UsageError: there is no such version, it is served already, or it was vacuumed.
        LockedError: a run is publishing the dataset.
    """
    product = session.product
    dataset = product.dataset(name)
    table = dataset_table_of(session, dataset)
    with table.lock(session.holder):
        newest = table.newest()
        snapshot = table.rollback(to_version, {"dp.run_id": session.run_id, "dp.actor": session.actor})
        before = newest.version if newest else to_version
        session.record(
            "rolled_back",
            f"v{dataset.major}/dataset/{dataset.name}",
            before=before,
            to=to_version,
            version=snapshot.version,
        )
    ports = tuple(
        project_port(session, port.label)
        for port in product.active_ports
        if port.dataset is not None and port.dataset.label == dataset.label
    )
    return RollbackOutcome(before, snapshot, ports)
