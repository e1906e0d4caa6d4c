"""Write, audit, publish: the one way in which rows become a committed version.

The rows are written as files that no reader sees, the contract runs over exactly these files, and one commit
publishes them. Between the steps nothing is assumed: the store compares the bytes with the verdict again.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.audit import judge
from dp_dagster.contracts.beside import Beside
from dp_dagster.descriptor.partitions import told
from dp_dagster.errors import DataProductError, PublicationRefusedError
from dp_dagster.pipeline.quarantine import HELD_ROWS_KEPT, put_aside
from dp_dagster.storage.mirror import make_room
from dp_dagster.storage.partitions import key_of, partition_of, rows_set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from fractions import Fraction
    from pathlib import Path

    import pyarrow as pa

    from dp_dagster.contracts.evaluate import Evaluation
    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.pipeline.selection import Parts
    from dp_dagster.pipeline.session import Session
    from dp_dagster.storage import Candidate, Draft, Snapshot, Table


def _rows_by_key(candidate: Candidate) -> dict[str, int]:
    """Rows of the partitions that a candidate holds; nothing where it has none."""
    found: dict[str, int] = {}
    for file in candidate.files:
        key = key_of(file.path)
        if key is not None:
            found[key] = found.get(key, 0) + file.rows
    return found


def nothing(_: Path) -> None:
    """Writes nothing: stands where a table is written partition by partition."""


@dataclass(frozen=True)
class Publication:
    """What came of a candidate: its verdict, and the version that it became unless it was held.

    ``partitions`` are the keys that it holds. With ``unchanged`` there was none to make: nothing was written or judged,
    and ``snapshot`` is the version that was there.
    """

    verdict: Verdict | None
    snapshot: Snapshot | None
    quarantined_rows: int = 0
    quarantine_truncated: bool = False
    partitions: tuple[str, ...] = ()
    unchanged: bool = False


@dataclass(frozen=True)
class Publisher:
    """Publishes one version of a table, under the table's lock: all of it, or some of its partitions.

    Attributes:
        session: The run.
        table: Where the rows go.
        subject: The asset, for messages and records: ``v1/dataset/customers``.
        write: Writes the rows into the Parquet file that it is given; not asked where there are ``parts``.
        parts: How a table with partitions is written.
        upstream: What the rows were made from; asked when they have been written.
        contract: What must hold; without one, whatever was written is published.
        quarantine: Where failing rows go.
        max_invalid: Share of rows that may go to quarantine while the rest is published; none by default.
        code_version: Of the code that made the rows.
        metadata: Further commit metadata.
        others: Files of the datasets that the contract refers to, by what it calls them.
        before_commit: Called between verdict and commit; raises what should stop the commit.
        known_when_written: Commit metadata that is known only when the rows have been written.
        added_to: The version that the rows are added to, asked when they have been written. ``None``: they are the
            whole version.
    """

    session: Session
    table: Table
    subject: str
    upstream: Callable[[], Mapping[str, Any]]
    write: Callable[[Path], None] = nothing
    contract: Contract | None = None
    quarantine: Table | None = None
    max_invalid: Fraction | None = None
    code_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    before_commit: Callable[[], None] = lambda: None
    known_when_written: Callable[[], Mapping[str, str]] = dict
    added_to: Callable[[], Snapshot | None] = lambda: None
    parts: Parts | None = None

    def publish(self) -> Publication:
        """Write, audit and publish.

        Returns:
            The verdict and, unless the candidate was held, the published version.

        Raises:
            LockedError: somebody else is publishing the same table.
            ConflictError: somebody else published in between.
        """
        with self.table.lock(self.session.holder):
            self._make_good_evidence()
            cleaned = self.table.clean(self.session.settings.candidate_grace)
            if cleaned:
                self.session.record("cleaned", self.subject, files=len(cleaned))
            settings = self.session.settings
            make_room(settings.storage, settings.bucket_room, settings.candidate_grace)
            if self.parts is None:
                candidate = self._written(lambda draft: self.write(draft.new_file()))
                return self._publish(candidate, self._beside())
            return self._publish_parts(self.parts)

    def _publish_parts(self, parts: Parts) -> Publication:
        selection = parts.select()
        if not selection.chosen:
            return Publication(None, self.table.newest(), unchanged=True)
        if selection.replaces is not None and self.contract is not None:
            self._check_contract(self.contract)

        def write(draft: Draft) -> None:
            for key, made_from in sorted(selection.chosen.items()):
                parts.write(key, draft.new_file(key, made_from))

        candidate = self._written(write, selection.replaces)
        beside = Beside(selection.stays, apart_by=parts.column)
        return replace(self._publish(candidate, beside), partitions=tuple(sorted(selection.chosen)))

    def _check_contract(self, contract: Contract) -> None:
        """What stays was judged by the contract in force: otherwise nobody knows whether it keeps it."""
        newest = self.table.newest()
        if newest is not None and newest.metadata.get("dp.contract_hash") != contract.hash:
            raise PublicationRefusedError(
                f"{self.session.product.id}/{self.subject}: the contract has changed since the other partitions were "
                f"published; publish all of them: dp run {self.session.product.id}"
            )

    def _publish(self, candidate: Candidate, beside: Beside) -> Publication:
        with self._abandoned_on_error(candidate):
            commit = self._commit_metadata(candidate)
            if self.contract is None:
                self.before_commit()
                return Publication(None, self.table.publish(candidate, None, commit, contract_hash=None))
            if beside.files:
                self.table.check_fits(candidate)
            return self._audit_and_publish(candidate, self.contract, commit, beside)

    def _make_good_evidence(self) -> None:
        """Put a publication on record whose process died between the commit and the record of it."""
        newest = self.table.newest() if self.contract is not None else None
        if newest is None or newest.metadata.get("dp.operation") != "publish":
            return
        known = self.session.records.query(
            product=self.session.product.id, subject=self.subject, kind="published", limit=1
        )
        candidate = newest.metadata.get("dp.candidate_id")
        if not known or known[0].payload["commit"].get("dp.candidate_id") != candidate:
            self._record_published(newest, made_good=True)

    def _record_published(self, snapshot: Snapshot, **more: Any) -> None:
        self.session.record(
            "published",
            self.subject,
            version=snapshot.version,
            rows=snapshot.rows,
            commit=snapshot.metadata,
            **more,
        )

    @contextmanager
    def _abandoned_on_error(self, candidate: Candidate) -> Iterator[None]:
        """Whatever stops a candidate on its way, its files go at once, unless the commit has landed."""
        try:
            yield
        except BaseException:
            # UsageError: it was published. Anything else must not hide the error; cleaning comes later.
            with suppress(DataProductError):
                self.table.discard(candidate)
            raise

    def _written(self, write: Callable[[Draft], None], replaces: Sequence[str] | None = None) -> Candidate:
        draft = self.table.draft(self.session.run_id, replaces)
        try:
            write(draft)
            if self.added_to() is not None:
                draft.add_only()
            return draft.seal()
        except BaseException:
            draft.discard()
            raise

    def _commit_metadata(self, candidate: Candidate) -> dict[str, str]:
        asked_for = self.session.partitions
        return {
            **self._partition_metadata(candidate, candidate),
            **({"dp.asked_for": told(asked_for, self.session.product.calendar)} if asked_for else {}),
            "dp.product": self.session.product.id,
            "dp.product_version": self.session.product.version,
            "dp.code_version": self.code_version,
            "dp.upstream": json.dumps(self.upstream(), sort_keys=True),
            **self.metadata,
            **self.known_when_written(),
        }

    def _partition_metadata(self, came_in: Candidate, accepted: Candidate) -> dict[str, str]:
        """Which partitions a candidate holds, and how many of their rows were set aside on the way."""
        came, keeps = _rows_by_key(came_in), _rows_by_key(accepted)
        if not came:
            return {}
        before = self.table.newest()
        set_aside = {key: rows - keeps.get(key, 0) for key, rows in came.items()}
        return {
            "dp.partitions": told(came, self.session.product.calendar),
            "dp.rows_set_aside": rows_set_aside(
                before.metadata if before is not None else {}, came_in.replaces, set_aside
            ),
        }

    def _audit_and_publish(
        self, candidate: Candidate, contract: Contract, commit: dict[str, str], beside: Beside
    ) -> Publication:
        from dp_dagster.contracts.evaluate import evaluate

        evaluation = evaluate(
            contract,
            candidate.paths,
            product_root=self.session.product.root,
            others=self.others,
            beside=beside,
        )
        verdict = judge(
            evaluation,
            candidate_id=candidate.id,
            contract=contract,
            input_hash=candidate.hash,
            max_invalid=self.max_invalid,
        )
        if verdict.decision == "accepted_in_part":
            return self._publish_good_rows(candidate, contract, evaluation, verdict, commit, beside=beside)
        self._record(candidate, verdict)
        if not verdict.passed:
            return self._hold(candidate, contract, evaluation, verdict, beside)
        return Publication(verdict, self._commit(candidate, contract, verdict, commit))

    def _beside(self) -> Beside:
        """What stays of the table when the candidate is published."""
        base = self.added_to()
        return Beside() if base is None else Beside(base.files)

    def _publish_good_rows(
        self,
        candidate: Candidate,
        contract: Contract,
        evaluation: Evaluation,
        verdict: Verdict,
        commit: dict[str, str],
        *,
        beside: Beside,
    ) -> Publication:
        """Write the good rows as a candidate of their own, the bad ones to quarantine, and publish.

        The verdict names both: what came in and what was accepted.
        """
        from dp_dagster.contracts.audit import accept_part
        from dp_dagster.contracts.split import split

        parts = None

        def write(draft: Draft) -> None:
            nonlocal parts
            # Partitions stay apart: the good rows of each file go into one of their own.
            is_cut = any(key_of(file.path) for file in candidate.files)
            parts = split(
                contract,
                candidate.paths,
                [draft.new_file(*partition_of(file.path)) for file in candidate.files]
                if is_cut
                else draft.new_file(),
                product_root=self.session.product.root,
                evaluation=evaluation,
                others=self.others,
                beside=beside,
            )

        # What only adds has no partitions to replace: the draft is told so again.
        accepted = self._written(write, candidate.replaces or None)
        if parts is None or self.quarantine is None:
            raise AssertionError("rows are split only where there is a quarantine to put them in")
        with self._abandoned_on_error(accepted):
            verdict = accept_part(
                replace(verdict, candidate_id=accepted.id, details={"came_in_as": candidate.id}),
                accepted_hash=accepted.hash,
                rows_accepted=accepted.rows,
                rows_rejected=parts.rows_rejected,
            )
            # Before the commit: whoever is killed in between has set rows aside that were not published
            # either, and nothing is lost.
            rejected = self._put_aside(accepted, parts.rejected(), in_part=True)
            self._record(accepted, verdict)
            self.table.discard(candidate)
            commit |= self._partition_metadata(candidate, accepted)
            snapshot = self._commit(accepted, contract, verdict, commit)
            return Publication(verdict, snapshot, rejected)

    def _hold(
        self,
        candidate: Candidate,
        contract: Contract,
        evaluation: Evaluation,
        verdict: Verdict,
        beside: Beside,
    ) -> Publication:
        """Publish nothing; keep the failing rows for whoever must mend them."""
        from dp_dagster.contracts.split import failing_rows

        rejected, truncated = 0, False
        if evaluation.rejected and self.quarantine is not None:
            failing = failing_rows(
                contract,
                candidate.paths,
                product_root=self.session.product.root,
                limit=HELD_ROWS_KEPT,
                evaluation=evaluation,
                others=self.others,
                beside=beside,
            )
            truncated = failing.truncated
            rejected = self._put_aside(candidate, failing.batches, in_part=False)
        keys = told(_rows_by_key(candidate), self.session.product.calendar)
        of_partitions = {"partitions": keys} if keys else {}
        self.session.record(
            "held", self.subject, verdict_id=verdict.id, reason=verdict.reason, **of_partitions
        )
        self.table.discard(candidate)
        return Publication(verdict, None, rejected, truncated)

    def _commit(
        self,
        candidate: Candidate,
        contract: Contract,
        verdict: Verdict,
        commit: dict[str, str],
    ) -> Snapshot:
        self.before_commit()
        snapshot = self.table.publish(candidate, verdict, commit, contract_hash=contract.hash)
        self._record_published(snapshot)
        return snapshot

    def _record(self, candidate: Candidate, verdict: Verdict) -> None:
        self.table.record_verdict(candidate, verdict)
        self.session.record("audited", self.subject, verdict=verdict.to_dict())

    def _put_aside(self, candidate: Candidate, rows: Iterable[pa.RecordBatch], *, in_part: bool) -> int:
        if self.quarantine is None:
            return 0
        written = put_aside(
            self.quarantine,
            rows,
            run_id=self.session.run_id,
            candidate_id=candidate.id,
            published_in_part=in_part,
        )
        self.session.record("quarantined", self.subject, rows=written, candidate_id=candidate.id)
        return written
