"""Landing an input port with partitions: each becomes files of its own, and only what changed is landed again.

Where a column says which partition a row belongs to, the whole source is read, and a hash of each partition's rows
tells which of them changed. Where the place of the data names the partition, only places that changed are read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.engines.partitions import UnfitColumnError, key_of_row, rows_of, type_of
from dp_dagster.errors import InputError
from dp_dagster.pipeline.landing import InputOutcome
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.pipeline.selection import Parts, Selection, calendar_of, due_keys, select
from dp_dagster.pipeline.session import pinned_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import InputContext
    from dp_dagster.resolve import ResolvedInput
    from dp_dagster.storage import Snapshot


def fingerprint_of(
    declared: ResolvedInput, context: InputContext, keys: tuple[str, ...], calendar: Calendar | None
) -> str:
    """The fingerprint of an input port; of one whose place names the partition, over all of ``keys`` that are there.

    Raises:
        InputError: there is nothing to read.
    """
    if not declared.names_partition or calendar is None:
        return declared.port.fingerprint(declared.config, context)
    found = fingerprints_of(declared, context, keys, calendar)
    if not found:
        raise InputError(
            f"{context.product_id}/input/{context.port_name}: there is nothing for any partition at "
            f"{declared.port.location(declared.config)}"
        )
    return _hash(*(f"{key}={value}" for key, value in sorted(found.items())))


def fingerprints_of(
    declared: ResolvedInput, context: InputContext, keys: tuple[str, ...], calendar: Calendar
) -> dict[str, str]:
    """Fingerprints by partition, of an input whose place names it; partitions with nothing there are left out."""
    found = {}
    for key in keys:
        config = declared.port.of_partition(declared.config, key, calendar.local_window(key)[0])
        try:
            found[key] = declared.port.fingerprint(config, context)
        except InputError:
            continue
    return found


def land_partitions(session: Session, declared: ResolvedInput) -> InputOutcome:
    """Land the partitions of an input port that the run makes, unless it reads some version already.

    Raises:
        InputError: there is nothing to read, or rows belong to no partition.
        LockedError: another run is landing the same input.
    """
    already = session.pinned(declared.name)
    if already is not None:
        return InputOutcome(declared.name, already, None, unchanged=True)
    landing = _Landing(session, declared)
    with landing.table.lock(session.holder):
        return landing.from_places() if declared.names_partition else landing.from_column()


class _Landing:
    def __init__(self, session: Session, declared: ResolvedInput) -> None:
        self.session = session
        self.declared = declared
        self.table = session.input_table(declared.name)
        # The same rows read in another way are something new.
        contract = declared.contract.hash if declared.contract else ""
        self.reading = _hash(declared.port.identity(declared.config), contract)
        self.context = session.input_context(declared)
        self.calendar = calendar_of(session)
        self.what = f"{session.product.id}/input/{declared.name}"

    def from_places(self) -> InputOutcome:
        """Land from places that name the partition."""
        port, config, calendar = self.declared.port, self.declared.config, self.calendar
        keys = due_keys(self.session)
        found = fingerprints_of(self.declared, self.context, keys, calendar)
        if not found:
            raise InputError(f"{self.what}: there is nothing for any partition at {port.location(config)}")
        wanted = self.session.partitions or ()
        for key in wanted:
            if key not in found:
                # Says what was looked for, and where.
                port.fingerprint(port.of_partition(config, key, calendar.local_window(key)[0]), self.context)
        available = {key: _hash(self.reading, value) for key, value in found.items()}

        def write(key: str, path: Path) -> None:
            of_key = port.of_partition(config, key, calendar.local_window(key)[0])
            with self.session.connection() as connection:
                port.write(of_key, self.context, connection, path)

        def still_the_same() -> None:
            now = fingerprints_of(self.declared, self.context, keys, calendar)
            if any(now.get(key) != found[key] for key in available):
                self._changed()

        whole = _hash(*(f"{key}={value}" for key, value in sorted(found.items())))
        return self._publish(whole, available, write, still_the_same)

    def from_column(self) -> InputOutcome:
        """Land a source that is read as a whole, and cut by a column."""
        port, config = self.declared.port, self.declared.config
        fingerprint, is_one_state = port.fingerprint(config, self.context), False
        newest = self.table.newest()
        if newest is not None and self._is_landed(newest, fingerprint):
            pinned = self.session.pin(self.declared.name, pinned_version(self.declared.name, newest))
            return InputOutcome(self.declared.name, pinned, None, unchanged=True)
        source = self.session.work_folder / f"landing-{self.declared.name}.parquet"
        source.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.session.connection() as connection:
                written = port.write(config, self.context, connection, source)
            if written is not None and written.fingerprint:
                # What was read is one state of the source, and this is its fingerprint.
                fingerprint, is_one_state = written.fingerprint, True
            available, dtype = self._hashes(source)

            def write(key: str, path: Path) -> None:
                rows = rows_of(self.calendar, key, self.declared.partitioned_by or "", dtype)
                with duckdb_engine.in_memory() as connection:
                    relation = connection.sql(
                        f"select * from {duckdb_engine.scan([str(source)])} where {rows}"
                    )
                    duckdb_engine.write_parquet(relation, path, self.what)

            def still_the_same() -> None:
                if not is_one_state and port.fingerprint(config, self.context) != fingerprint:
                    self._changed()

            return self._publish(fingerprint, available, write, still_the_same)
        finally:
            source.unlink(missing_ok=True)

    def _is_landed(self, newest: Snapshot, fingerprint: str) -> bool:
        """Whether all that this run would land is there, without reading the source."""
        known = {"dp.fingerprint": fingerprint, "dp.reading": self.reading}
        if any(newest.metadata.get(name) != value for name, value in known.items()):
            return False
        if self.session.partitions is not None:
            return all(key in newest.partitions for key in self.session.partitions)
        return newest.metadata.get("dp.due") == self._newest_due()

    def _newest_due(self) -> str:
        return max(due_keys(self.session), default="")

    def _hashes(self, source: Path) -> tuple[dict[str, str], str]:
        """A hash of the rows of each partition, whatever their order, and the type of the column."""
        column = self.declared.partitioned_by or ""
        with duckdb_engine.in_memory() as connection:
            rows = connection.sql(f"select * from {duckdb_engine.scan([str(source)])}")
            try:
                dtype = type_of(rows, column)
                key = key_of_row(self.calendar, column, dtype)
            except UnfitColumnError as error:
                raise InputError(f"{self.what}: {error}") from error
            counted = connection.execute(
                f"select {key} as part, count(*), sum(hash(source)::hugeint), bit_xor(hash(source)) "
                f"from {duckdb_engine.scan([str(source)])} as source group by part order by part"
            ).fetchall()
        shape = ",".join(f"{name} {kind}" for name, kind in zip(rows.columns, rows.dtypes, strict=True))
        nowhere = sum(count for part, count, *_ in counted if part is None)
        if nowhere:
            raise InputError(
                f"{self.what}: {nowhere} rows have no {column}, so they belong to no partition; mend the source"
            )
        due = set(due_keys(self.session))
        found = {
            part: _hash(self.reading, shape, str(count), str(total), str(mixed))
            for part, count, total, mixed in counted
            if part in due
        }
        return found, dtype

    def _changed(self) -> None:
        raise InputError(
            f"{self.what}: {self.declared.port.location(self.declared.config)} changed while it was being read; "
            "run it again when it is complete"
        )

    def _publish(
        self,
        fingerprint: str,
        available: Mapping[str, str],
        write: Callable[[str, Path], None],
        still_the_same: Callable[[], None],
    ) -> InputOutcome:
        location = self.declared.port.location(self.declared.config)
        seen = self._seen(fingerprint)
        share = self.declared.declaration.quarantine

        def selected() -> Selection:
            newest = self.table.newest()
            again = newest is not None and newest.metadata.get("dp.fingerprint") != fingerprint
            return select(self.session, self.table, available, self.what, again=again)

        publication = Publisher(
            self.session,
            self.table,
            f"input/{self.declared.name}",
            upstream=lambda: {"location": location, **({"fingerprint": seen} if seen else {})},
            contract=self.declared.contract,
            quarantine=self.session.input_quarantine(self.declared.name) if share is not None else None,
            max_invalid=None if share is None else share.max_invalid,
            metadata={
                "dp.reading": self.reading,
                "dp.location": location,
                **({"dp.fingerprint": seen, "dp.due": self._newest_due()} if seen else {}),
            },
            before_commit=still_the_same,
            parts=Parts(selected, write, self.declared.partitioned_by),
        ).publish()
        if publication.snapshot is None:
            if publication.unchanged:
                raise InputError(f"{self.what}: no row of {location} belongs to a partition that is due")
            return InputOutcome(
                self.declared.name,
                None,
                publication.verdict,
                quarantined_rows=publication.quarantined_rows,
            )
        pinned = self.session.pin(
            self.declared.name, pinned_version(self.declared.name, publication.snapshot)
        )
        return InputOutcome(
            self.declared.name,
            pinned,
            publication.verdict,
            unchanged=publication.unchanged,
            quarantined_rows=publication.quarantined_rows,
            partitions=publication.partitions,
        )

    def _seen(self, fingerprint: str) -> str:
        """The state of the source that all partitions were compared with last; empty where they never were."""
        if self.session.partitions is None:
            return fingerprint
        newest = self.table.newest()
        return newest.metadata.get("dp.fingerprint", "") if newest is not None else ""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
