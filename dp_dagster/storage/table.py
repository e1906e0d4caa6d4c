"""A table of the store: read versions, write candidates, publish, roll back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.contracts.verdict import Verdict
from dp_dagster.errors import ConflictError, PublicationRefusedError, StoreError, UsageError
from dp_dagster.storage import upkeep
from dp_dagster.storage.arrivals import arrivals
from dp_dagster.storage.candidate import (
    PUBLISHED,
    REMOVED,
    SEALED,
    Draft,
    Registry,
)
from dp_dagster.storage.documents import read_document, write_document
from dp_dagster.storage.evidence import check_as_published, prove
from dp_dagster.storage.locks import hold
from dp_dagster.storage.log import Log
from dp_dagster.storage.mirror import publish_file
from dp_dagster.storage.staying import Stays, names_and_types, staying
from dp_dagster.storage.versions import APPEND, PUBLISH, ROLLBACK, Versions

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from dp_dagster.storage.arrivals import Arrival
    from dp_dagster.storage.candidate import Candidate
    from dp_dagster.storage.location import TableLocation
    from dp_dagster.storage.log import View
    from dp_dagster.storage.places import Place
    from dp_dagster.storage.snapshot import PublicationEntry, Snapshot


class Table:
    """One Delta table below the storage root.

    Readers take a :class:`Snapshot` once and read its files; they never wait and never see half a version.
    Writers hold :meth:`lock` from drafting to publishing; each method that writes takes it by itself as well.

    Example:
        >>> table = Table(dataset_table("data", "flights", 1, "flights"))
        >>> draft = table.draft(run_id="…")
        >>> write_parquet(draft.new_file())
        >>> candidate = draft.seal()
        >>> table.publish(candidate, verdict, {"dp.product": "flights"}, contract_hash=contract.hash)
    """

    def __init__(self, location: TableLocation, *, lock_timeout: float = 60.0) -> None:
        self.location = location
        self.lock_timeout = lock_timeout
        self._log = Log(location)
        self._registry = Registry(location)
        self._versions = Versions(self._log, location)
        # The log as the last draft saw it; catching up is cheaper than opening it again.
        self._begun: View | None = None

    # -- reading ---------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether anything was ever published here."""
        return self._log.exists()

    def newest(self) -> Snapshot | None:
        """The newest published version, or ``None`` before the first."""
        return self._versions.newest()

    def snapshot(self, version: int) -> Snapshot:
        """One published version.

        Raises:
            UsageError: there is no such version, or its files are gone; says which versions there are.
        """
        return self._versions.at(version)

    def history(self, limit: int | None = None) -> list[PublicationEntry]:
        """Publications, newest first; upkeep is left out."""
        return self._versions.history(limit)

    def arrivals(self, version: int) -> Iterator[Arrival]:
        """When partitions came: publications up to a version, newest first, read one by one.

        Raises:
            StoreError: a commit cannot be read.
        """
        return arrivals(self._log, version)

    # -- writing ---------------------------------------------------------------------------------------

    def lock(self, holder: str) -> contextlib.AbstractContextManager[None]:
        """Be the only writer. Dies with the process; the same thread may take it again.

        Raises:
            LockedError: somebody else held it for ``lock_timeout`` seconds; names them.
        """
        location = self.location
        return hold(location.lock_file, str(location), holder, self.lock_timeout, location.root)

    def draft(self, run_id: str, replaces: Iterable[str] | None = None) -> Draft:
        """Begin a candidate, based on the version that is newest now.

        Args:
            run_id: The run that writes it.
            replaces: Keys of the partitions that it takes the place of; ``None`` for the whole table.
        """
        view = self._begun = self._log.view()
        newest = None if view is None else next(self._versions.commits_of(view), None)
        return Draft(self.location, run_id, None if newest is None else newest.version, replaces)

    def candidate(self, candidate_id: str) -> Candidate:
        """A candidate that was sealed, by its id.

        Raises:
            UsageError: there is none.
        """
        record = self._registry.find(candidate_id)
        if record is None:
            raise UsageError(f"{self.location} has no candidate {candidate_id}")
        return record.candidate()

    def check_fits(self, candidate: Candidate) -> None:
        """See that a candidate for some partitions has the columns of those that stay.

        Raises:
            PublicationRefusedError: it has others.
        """
        staying(candidate, self._log.view())

    def record_verdict(self, candidate: Candidate, verdict: Verdict) -> None:
        """Put the verdict beside the candidate, whole or not at all."""
        write_document(self._verdict_path(candidate), verdict.to_dict(), durable=False)

    def verdict(self, candidate: Candidate) -> Verdict | None:
        """The verdict that lies beside the candidate."""
        content = read_document(self._verdict_path(candidate))
        return None if content is None else Verdict.from_dict(content)

    def publish(
        self,
        candidate: Candidate,
        verdict: Verdict | None,
        metadata: Mapping[str, str],
        *,
        contract_hash: str | None,
    ) -> Snapshot:
        """Make the candidate the newest version, in one commit.

        A candidate that replaces partitions leaves the files of all others as they are: the commit names only those
        that go and those that come. Doing it twice is harmless: a candidate that was published is recognised.

        Args:
            candidate: Sealed, and based on the version that is still newest.
            verdict: Required where a contract is given.
            metadata: ``dp.*`` entries of the commit; those that the store knows best it sets itself.
            contract_hash: Hash of the contract in force; ``None`` only for tables without contract.

        Raises:
            PublicationRefusedError: no passing verdict for exactly these bytes and this contract.
            ConflictError: another version was published since the candidate was begun; audit again.
            LockedError: another writer is at work.
            StoreError: the store failed; nothing was published.
        """
        if candidate.location != self.location:
            raise UsageError(
                f"candidate {candidate.id} belongs to {candidate.location}, not to {self.location}"
            )
        facts = {
            "dp.operation": PUBLISH,
            "dp.candidate_id": candidate.id,
            "dp.files_hash": candidate.hash,
            "dp.rows": str(candidate.rows),
            "dp.run_id": candidate.run_id,
        }
        if verdict is not None:
            facts |= {"dp.verdict_id": verdict.id, "dp.contract_hash": verdict.contract_hash}
        with self.lock(f"publication of run {candidate.run_id}"):
            begun, self._begun = self._begun, None
            view = self._log.refreshed(begun)
            landed = None if view is None else view.landed(candidate.id)
            if landed is None:
                prove(candidate, verdict, contract_hash)
                if verdict is not None and self.verdict(candidate) is None:
                    self.record_verdict(candidate, verdict)
                self._check_base(candidate, view)
                stays = staying(candidate, view)
                if stays is not None:
                    facts |= {
                        "dp.rows": str(candidate.rows + stays.rows),
                        "dp.rows_added": str(candidate.rows),
                    }
                landed = self._commit(
                    candidate,
                    {**_checked(metadata), **facts},
                    view,
                    removes=None if stays is None else stays.removes,
                )
            else:
                base = candidate.base_version
                stays = staying(candidate, None if base is None else self._log.view(base))
            return self._settle(candidate, landed, view, stays)

    def rollback(self, to_version: int, metadata: Mapping[str, str]) -> Snapshot:
        """Commit once more the files of an older version. Metadata that describes the rows is kept.

        Raises:
            UsageError: the version does not exist, is served already, or was vacuumed.
            StoreError: the old files are not what was published then.
            ConflictError: somebody else committed meanwhile.
        """
        with self.lock(f"rollback to version {to_version}"):
            target = self.snapshot(to_version)
            view = self._log.view()
            newest = None if view is None else self._versions.newest_of(view)
            if view is None or newest is None:
                raise UsageError(f"{self.location} has nothing published")
            if set(newest.paths) == set(target.paths):
                raise UsageError(
                    f"{self.location} version {newest.version}, which is served now, already has the rows of "
                    f"version {to_version}; nothing to roll back"
                )
            check_as_published(target, self._registry)
            at = {"dp.published_at": target.published_at.isoformat()}
            facts = {"dp.operation": ROLLBACK, "dp.rolled_back_to": str(to_version)}
            kept = {**target.metadata, **at}
            version = self._log.restore(
                view,
                to_version,
                f"rollback-{uuid.uuid4().hex}",
                {**kept, **_checked(metadata), **at, **facts},
            )
            return self._read_back(version, set(target.paths), target.rows, view)

    def append(self, rows: pa.Table | pa.RecordBatchReader, metadata: Mapping[str, str]) -> Snapshot:
        """Add rows in one commit, for tables whose schema is fixed. Without rows nothing is committed.

        The first call makes the table.

        Raises:
            PublicationRefusedError: the table is a dataset, or the columns are not those of the table.
            ConflictError: somebody else committed meanwhile.
        """
        if self.location.audited:
            raise PublicationRefusedError(f"{self.location} is a dataset; publish a candidate instead")
        from pyarrow import parquet

        with self.lock(f"append of run {metadata.get('dp.run_id', 'unknown')}"):
            view = self._log.view()
            newest = None if view is None else self._versions.newest_of(view)
            draft = self.draft(metadata.get("dp.run_id", ""))
            written = 0
            with parquet.ParquetWriter(draft.new_file(), rows.schema, compression="zstd") as writer:
                for batch in rows.to_batches() if hasattr(rows, "to_batches") else rows:
                    writer.write_batch(batch)
                    written += batch.num_rows
            if newest is not None and not written:
                draft.discard()
                return newest
            candidate = draft.seal()
            if newest is not None and names_and_types(candidate.columns) != names_and_types(newest.columns):
                draft.discard()
                raise PublicationRefusedError(
                    f"{self.location} has the columns {names_and_types(newest.columns)}, not "
                    f"{names_and_types(candidate.columns)}; its columns are fixed"
                )
            total = candidate.rows + (0 if newest is None else newest.rows)
            facts = {"dp.operation": APPEND, "dp.candidate_id": candidate.id, "dp.rows": str(total)}
            facts["dp.rows_added"] = str(candidate.rows)
            landed = self._commit(candidate, {**_checked(metadata), **facts}, view, removes=())
            stays = None if newest is None else Stays(newest.paths, newest.rows, ())
            return self._settle(candidate, landed, view, stays)

    def discard(self, candidate: Candidate) -> None:
        """Remove the files of a candidate that will not be published; the verdict on it stays.

        Raises:
            UsageError: it was published.
        """
        with self.lock(f"discarding candidate {candidate.id}"):
            view = self._log.view()
            if view is not None and view.landed(candidate.id) is not None:
                raise UsageError(f"candidate {candidate.id} of {self.location} was published")
            record = self._registry.find(candidate.id)
            if record is not None and record.state == SEALED:
                record.remove_files()
                record.mark(REMOVED)

    # -- upkeep ----------------------------------------------------------------------------------------

    def clean(self, grace_seconds: float) -> list[str]:
        """Remove what dead or held candidates left, once they are older than ``grace_seconds``.

        The grace must be longer than the longest audit. Live files are never touched. Returns the names of the
        files removed.
        """
        with self.lock("cleaning"):
            return upkeep.clean(self.location, self._log, self._registry, grace_seconds)

    def vacuum(self, retention_hours: int) -> list[str]:
        """Delete files that no version served within ``retention_hours`` uses; returns their names.

        Versions that lose files can no longer be read or rolled back to. Readers that hold an old snapshot
        lose it too, so the retention must be longer than readers live.

        Raises:
            UsageError: the retention is negative.
        """
        with self.lock("vacuum"):
            return upkeep.vacuum(self.location, self._log, self._versions, retention_hours)

    # -- inside ----------------------------------------------------------------------------------------

    def _commit(
        self,
        candidate: Candidate,
        metadata: dict[str, str],
        view: View | None,
        *,
        removes: Sequence[str] | None,
    ) -> int:
        if view is not None:
            active = set(view.state().files)
            if taken := [file.path for file in candidate.files if file.path in active]:
                raise PublicationRefusedError(
                    f"{', '.join(taken)} of candidate {candidate.id} is already part of {self.location}"
                )
        for path in candidate.paths:
            publish_file(self.location.root, Path(path))
        metadata.setdefault("dp.product", self.location.product)
        metadata.setdefault("dp.published_at", datetime.now(UTC).isoformat())
        return self._log.commit(
            view,
            candidate.files,
            candidate.columns,
            removes=removes,
            mark=candidate.id,
            metadata=metadata,
        )

    def _settle(self, candidate: Candidate, version: int, view: View | None, stays: Stays | None) -> Snapshot:
        """Read back what was committed, and put on record that the candidate was published."""
        old = () if stays is None else stays.files
        rows = candidate.rows + (0 if stays is None else stays.rows)
        snapshot = self._read_back(version, {*candidate.paths, *old}, rows, view)
        record = self._registry.find(candidate.id)
        if record is not None and record.state != PUBLISHED:
            record.mark(PUBLISHED, version=version)
        return snapshot

    def _read_back(self, version: int, files: set[str], rows: int, view: View | None) -> Snapshot:
        found = self._versions.read(next(self._log.commits(version)), self._log.refreshed(view))
        if set(found.paths) != files or found.rows != rows:
            raise StoreError(
                f"{self.location} version {version} does not hold what was committed: {len(found.paths)} files "
                f"and {found.rows} rows instead of {len(files)} and {rows}; roll back"
            )
        return found

    def _check_base(self, candidate: Candidate, view: View | None) -> None:
        newest = None if view is None else next(self._versions.commits_of(view), None)
        version = None if newest is None else newest.version
        if version != candidate.base_version:
            raise ConflictError(
                f"{self.location}: version {version} was published while candidate {candidate.id} was written "
                f"on top of version {candidate.base_version}; run again"
            )

    def _verdict_path(self, candidate: Candidate) -> Place:
        return self._registry.path(candidate.id).with_suffix(".verdict.json")


def _checked(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not key.startswith("dp.") or not isinstance(value, str):
            raise UsageError(
                f"commit metadata {key!r}: {value!r} is refused; keys begin with dp., values are text"
            )
    return dict(metadata)
