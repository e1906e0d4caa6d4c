"""Publishing a dataset: its source is written, proven against its contract, and committed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import InputError
from dp_dagster.folder import code_version
from dp_dagster.pipeline.gates import pass_gates
from dp_dagster.pipeline.inputs import inputs_still_the_same
from dp_dagster.pipeline.partitions import available_partitions, check_within, is_behind, upstream_of
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.pipeline.relations import provide
from dp_dagster.pipeline.selection import Parts, Selection, select
from dp_dagster.pipeline.session import verdict_on
from dp_dagster.storage.contracts import keep_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.pipeline.session import Session
    from dp_dagster.policies import PolicyReport
    from dp_dagster.resolve import ResolvedDataset
    from dp_dagster.storage import Snapshot, Table


@dataclass(frozen=True)
class PublicationOutcome:
    """What publishing a dataset came to.

    Attributes:
        dataset: Its name.
        verdict: Of its contract; ``None`` where nothing was judged and that of the version is lost.
        snapshot: The published version; ``None`` when the candidate was held.
        serving: The version that consumers see now; ``None`` while nothing was ever published.
        quarantined_rows: Rows of this candidate that went to quarantine.
        quarantine_truncated: Whether more rows failed than were kept.
        policies: What the policies say of the dataset, its ports and the product.
        warning: What the author should know, though it was published: it is past its sunset, say.
        partitions: Keys of the partitions that were made, where it has any.
        unchanged: There was none to make; the version that was there stays.
    """

    dataset: str
    verdict: Verdict | None
    snapshot: Snapshot | None
    serving: Snapshot | None
    quarantined_rows: int
    quarantine_truncated: bool
    policies: PolicyReport
    warning: str | None = None
    partitions: tuple[str, ...] = ()
    unchanged: bool = False


def dataset_table_of(session: Session, dataset: ResolvedDataset) -> Table:
    """The table of a dataset."""
    from dp_dagster.storage import Table, dataset_table

    product = session.product
    return Table(
        dataset_table(session.settings.storage, product.id, dataset.major, dataset.name),
        lock_timeout=session.settings.lock_timeout,
    )


def quarantine_table_of(session: Session, dataset: ResolvedDataset) -> Table:
    """The table that keeps a dataset's failing rows."""
    from dp_dagster.storage import Table, quarantine_table

    product = session.product
    return Table(
        quarantine_table(session.settings.storage, product.id, dataset.major, dataset.name),
        lock_timeout=session.settings.lock_timeout,
    )


def publish_dataset(session: Session, name: str) -> PublicationOutcome:
    """Write, audit and publish a dataset.

    Raises:
        AuthorError: the contract breaks what consumers were promised under this major version, or a policy of severity
            ``error`` is not kept.
        TransformError: computing the rows fails.
        InputError: an input has no version, or changed while it was read.
        LockedError: another run is publishing the dataset.
        ConflictError: another run published it in between.
    """
    dataset = session.product.dataset(name)
    policies, warning = pass_gates(session, dataset)
    # Before anything is published under it: whoever finds its hash in a commit finds the contract, too.
    keep_contract(session.settings.storage, session.product.id, dataset.contract)
    table = dataset_table_of(session, dataset)

    what = f"{session.product.id}/v{dataset.major}/dataset/{dataset.name}"

    def write(path: Path) -> None:
        with session.connection() as connection:
            provide(session, connection, dataset.source)
            duckdb_engine.write_parquet(connection.table(dataset.source), path, what, dataset.sort_by)

    referred = _referred(session, dataset)
    publication = Publisher(
        session,
        table,
        f"v{dataset.major}/dataset/{dataset.name}",
        write=write,
        upstream=lambda: upstream_of(session, table, [dataset.source]),
        contract=dataset.contract,
        quarantine=quarantine_table_of(session, dataset),
        max_invalid=dataset.max_invalid,
        code_version=dataset_code_version(session, dataset),
        metadata=_metadata(session, referred),
        others={called: snapshot.files for called, snapshot in referred.items()},
        before_commit=lambda: inputs_still_the_same(session, dataset.source),
        parts=_parts(session, dataset, table, write, what),
    ).publish()
    verdict = publication.verdict
    if publication.unchanged:
        if publication.snapshot is None:
            raise InputError(
                f"{what}: none of the partitions that are due can be made yet; its inputs have none"
            )
        verdict = verdict_on(table, publication.snapshot)
    elif verdict is None:
        raise AssertionError("a dataset always has a contract, so its candidate always has a verdict")
    return PublicationOutcome(
        dataset=name,
        verdict=verdict,
        snapshot=publication.snapshot,
        serving=publication.snapshot or table.newest(),
        quarantined_rows=publication.quarantined_rows,
        quarantine_truncated=publication.quarantine_truncated,
        policies=policies,
        warning=warning,
        partitions=publication.partitions,
        unchanged=publication.unchanged,
    )


def _parts(
    session: Session, dataset: ResolvedDataset, table: Table, write: Callable[[Path], None], what: str
) -> Parts | None:
    """How a dataset with partitions is written; ``None`` for one without."""
    column = dataset.partitioned_by
    if column is None:
        return None
    is_secret = column in dataset.contract.classified

    def write_partition(key: str, path: Path) -> None:
        with session.partition(key):
            write(path)
        check_within(session, path, key, column, what, is_secret=is_secret)

    def selected() -> Selection:
        available = available_partitions(session, [dataset.source], dataset_code_version(session, dataset))
        again = is_behind(session, table, [dataset.source])
        return select(session, table, available, what, again=again)

    return Parts(selected, write_partition, column)


def _referred(session: Session, dataset: ResolvedDataset) -> dict[str, Snapshot]:
    """The newest versions of the datasets that the contract refers to, by what it calls them.

    One that has published nothing yet is left out: the rule then says so, and holds.
    """
    found = {
        called: dataset_table_of(session, session.product.dataset(name)).newest()
        for called, name in dataset.references.items()
    }
    return {called: snapshot for called, snapshot in found.items() if snapshot is not None}


def _metadata(session: Session, referred: Mapping[str, Snapshot]) -> dict[str, str]:
    metadata = {}
    if session.acknowledged:
        metadata["dp.acknowledged"] = ", ".join(session.acknowledged)
    if referred:
        versions = {called: snapshot.version for called, snapshot in referred.items()}
        metadata["dp.referred"] = json.dumps(versions, sort_keys=True)
    return metadata


def dataset_code_version(session: Session, dataset: ResolvedDataset) -> str:
    """Hash of the code of every transform that the dataset is made by, and of its contract."""
    digest = hashlib.sha256(dataset.contract.hash.encode())
    for transform in session.product.transforms_of(dataset.source):
        digest.update(
            code_version(transform.transform.sources(transform.config, session.place(transform))).encode()
        )
    return digest.hexdigest()[:16]
