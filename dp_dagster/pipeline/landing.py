"""Landing one input: what was read is brought together with the version before, judged, and committed with its state.

The state of an incremental input (how far it has read) lies in the commit of the rows that it belongs to, and nowhere
else. Whoever is killed has committed both or neither, and a rollback takes the state back with the rows.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import InputError
from dp_dagster.pipeline.increments import combine
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.pipeline.quarantine import put_aside
from dp_dagster.pipeline.session import pinned_version
from dp_dagster.ports.base import Written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb

    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.pipeline.increments import Combined
    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import InputContext, Pinned, Rejected
    from dp_dagster.resolve import ResolvedInput
    from dp_dagster.storage import Snapshot

#: Commit metadata: how far the input has read, what decides which rows are read, and what has changed at the source.
STATE, SOURCE, CHANGES = "dp.state", "dp.source", "dp.schema_changes"


@dataclass(frozen=True)
class InputOutcome:
    """What landing an input came to.

    Attributes:
        name: The input port.
        pinned: What the run reads; ``None`` when the input's contract held the data.
        verdict: Of the input's contract, if it has one and the data was judged now.
        unchanged: Nothing new was there; the version landed before is read.
        rows_read: Rows that the source gave, where they were added or merged.
        changes: How the source's columns have changed since the version before, in words.
        quarantined_rows: Rows that were set aside.
        partitions: Keys of the partitions that were landed, where it has any.
    """

    name: str
    pinned: Pinned | None
    verdict: Verdict | None
    unchanged: bool = False
    rows_read: int | None = None
    changes: tuple[str, ...] = ()
    quarantined_rows: int = 0
    partitions: tuple[str, ...] = ()


class _NothingNewError(Exception):
    """All rows that were read are landed already."""


class Lander:
    """Lands one input in one run."""

    def __init__(self, session: Session, declared: ResolvedInput) -> None:
        self.session = session
        self.declared = declared
        self.what = f"{session.product.id}/input/{declared.name}"
        self.table = session.input_table(declared.name)
        self.landing = declared.port.landing(declared.config)
        identity = declared.port.identity(declared.config).encode()
        self.source = _digest(identity)
        # The same rows read in another way are something new.
        self.reading = _digest(identity + (declared.contract.hash.encode() if declared.contract else b""))
        self.written: Written | None = None
        self.combined: Combined | None = None
        self.set_aside = 0

    def land(self) -> InputOutcome:
        """Land what is new, unless the run reads some version already.

        Raises:
            InputError: there is nothing to read, or it is malformed.
            LockedError: another run is landing the same input.
        """
        already = self.session.pinned(self.declared.name)
        if already is not None:
            return InputOutcome(self.declared.name, already, None, unchanged=True)
        identity = self._identity()
        unchanged = self._unchanged(identity)
        if unchanged is not None:
            return unchanged
        with self.table.lock(self.session.holder):
            # Whoever had the lock before may have landed the same.
            return self._unchanged(identity) or self._land_now(identity)

    def _identity(self) -> dict[str, str]:
        declared = self.declared
        context = replace(self.session.input_context(declared), state=state_of(declared, self.table.newest()))
        fingerprint = declared.port.fingerprint(declared.config, context)
        return {"dp.fingerprint": fingerprint, "dp.reading": self.reading}

    def _unchanged(self, identity: Mapping[str, str]) -> InputOutcome | None:
        newest = self.table.newest()
        if newest is None or any(newest.metadata.get(key) != value for key, value in identity.items()):
            return None
        return self._as_it_was(newest)

    def _as_it_was(self, newest: Snapshot) -> InputOutcome:
        pinned = self.session.pin(self.declared.name, pinned_version(self.declared.name, newest))
        rows_read = None if self.combined is None else self.combined.rows_read
        return InputOutcome(self.declared.name, pinned, None, unchanged=True, rows_read=rows_read)

    def _land_now(self, identity: Mapping[str, str]) -> InputOutcome:
        declared = self.declared
        newest = self.table.newest()
        base = newest if newest is not None and newest.metadata.get(SOURCE) == self.source else None
        context = self._context(newest, base)

        def write(destination: Path) -> None:
            with self.session.connection() as connection:
                self._write(connection, context, destination, base)
            if self.combined is not None and self.combined.nothing_new:
                raise _NothingNewError

        def before_commit() -> None:
            self._still_the_same(identity["dp.fingerprint"])
            self._put_aside()

        location = declared.port.location(declared.config)
        share = declared.declaration.quarantine
        publisher = Publisher(
            self.session,
            self.table,
            f"input/{declared.name}",
            write=write,
            upstream=lambda: {"location": location, "fingerprint": self._fingerprint(identity)},
            contract=declared.contract,
            quarantine=self.session.input_quarantine(declared.name) if share is not None else None,
            max_invalid=None if share is None else share.max_invalid,
            metadata={**identity, "dp.location": location},
            known_when_written=lambda: self._known_when_written(identity),
            added_to=lambda: None if self.combined is None else self.combined.added_to,
            before_commit=before_commit,
        )
        try:
            publication = publisher.publish()
        except _NothingNewError:
            if newest is None:
                raise AssertionError("what is not new has been landed") from None
            return self._as_it_was(newest)
        changes = () if self.combined is None else self.combined.changes
        rows_read = None if self.combined is None else self.combined.rows_read
        rejected = publication.quarantined_rows + self.set_aside
        name = declared.name
        if publication.snapshot is None:
            return InputOutcome(
                name,
                None,
                publication.verdict,
                rows_read=rows_read,
                changes=changes,
                quarantined_rows=rejected,
            )
        # Exactly what was landed here, also where somebody lands something newer meanwhile.
        pinned = self.session.pin(name, pinned_version(name, publication.snapshot))
        return InputOutcome(
            name,
            pinned,
            publication.verdict,
            rows_read=rows_read,
            changes=changes,
            quarantined_rows=rejected,
        )

    def _context(self, newest: Snapshot | None, base: Snapshot | None) -> InputContext:
        state = state_of(self.declared, newest)
        if newest is not None and SOURCE in newest.metadata and base is None:
            self.session.say(
                f"{self.what}: its configuration has changed since version {newest.version}; everything is read again"
            )
        return replace(
            self.session.input_context(self.declared),
            state=state,
            columns=() if base is None else base.columns,
        )

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        context: InputContext,
        destination: Path,
        base: Snapshot | None,
    ) -> None:
        import duckdb as duckdb_library

        port, config, landing = self.declared.port, self.declared.config, self.landing
        goes_on = base is not None and (landing.mode == "replace" or context.state is not None)
        together = landing.mode == "merge" or (
            goes_on and (landing.mode == "append" or landing.on_schema_change is not None)
        )
        if not together:
            self.written = port.write(config, context, connection, destination)
            return
        read = self.session.work_folder / f"read-{self.declared.name}.parquet"
        read.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.written = port.write(config, context, connection, read) or Written()
            self.combined = combine(
                connection,
                landing,
                self.written,
                read,
                destination,
                base=base if goes_on else None,
                what=self.what,
                contract=self.declared.contract,
                always=base is None or base.metadata.get("dp.reading") != self.reading,
            )
        except duckdb_library.Error as error:
            from dp_dagster.engines.duckdb import first_line

            raise InputError(f"{self.what}: what was read cannot be landed: {first_line(error)}") from error
        finally:
            with suppress(FileNotFoundError):
                read.unlink()

    def _fingerprint(self, identity: Mapping[str, str]) -> str:
        return (self.written.fingerprint if self.written else "") or identity["dp.fingerprint"]

    def _known_when_written(self, identity: Mapping[str, str]) -> dict[str, str]:
        known = {"dp.fingerprint": self._fingerprint(identity)}
        if self.written is not None:
            known[STATE] = json.dumps(self.written.state, sort_keys=True)
            known[SOURCE] = self.source
        if self.combined is not None and self.combined.changes:
            known[CHANGES] = json.dumps(self.combined.changes)
        return known

    def _still_the_same(self, fingerprint: str) -> None:
        if self.written is not None and self.written.fingerprint:
            return
        declared = self.declared
        if declared.port.fingerprint(declared.config, self.session.input_context(declared)) != fingerprint:
            raise InputError(
                f"{self.what}: {declared.port.location(declared.config)} changed while it was being read; "
                "run it again when it is complete"
            )

    def _put_aside(self) -> None:
        """Set aside what does not fit, before the commit: whoever is killed in between has lost nothing."""
        batches = []
        if self.combined is not None and self.combined.unfit is not None:
            batches += self.combined.unfit.to_batches()
        if self.written is not None and self.written.rejected:
            batches.append(_rejected_batch(self.written.rejected))
        if not batches:
            return
        self.set_aside = put_aside(
            self.session.input_quarantine(self.declared.name),
            batches,
            run_id=self.session.run_id,
            candidate_id=f"{self.session.run_id}/{self.declared.name}",
            published_in_part=True,
        )
        self.session.record("quarantined", f"input/{self.declared.name}", rows=self.set_aside)


def _rejected_batch(rejected: Sequence[Rejected]) -> Any:
    import pyarrow as pa

    from dp_dagster.contracts.split import rejected_schema

    columns = [
        [[one.rule] for one in rejected],
        [one.reason for one in rejected],
        [one.row for one in rejected],
    ]
    schema = rejected_schema()
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def state_of(declared: ResolvedInput, newest: Snapshot | None) -> Any:
    """How far an input has read, where reading goes on from there; ``None`` where everything is to be read."""
    source = _digest(declared.port.identity(declared.config).encode())
    if (
        newest is None
        or newest.metadata.get(SOURCE) != source
        or STATE not in newest.metadata
        or declared.port.landing(declared.config).mode == "replace"
    ):
        return None
    return json.loads(newest.metadata[STATE])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
