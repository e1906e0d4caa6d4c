"""A run of a product: what it has pinned, its work database, and where its tables are."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import InputError, UsageError
from dp_dagster.pipeline.pins import Pins
from dp_dagster.ports.base import InputContext, Pinned, pinned_partitions
from dp_dagster.records import os_user
from dp_dagster.transforms.base import TransformPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import duckdb

    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.records import Kind, Records
    from dp_dagster.resolve import ResolvedInput, ResolvedProduct, ResolvedTransform
    from dp_dagster.storage import Snapshot, Table

# Work folders of runs that ended longer ago than this are removed when the next run begins.
_WORK_FOLDER_KEPT_SECONDS = 24 * 3600.0

# Views that this process has made, by work folder: asking DuckDB costs more than making them.
_PROVIDED: dict[Path, set[str]] = {}


class Session:
    """One run of one product.

    Every input is read at one version for the whole run: the first step that needs it pins it, in a file of
    the run's work folder, so steps in other processes of the same run see the same version.

    Args:
        product: The resolved product.
        run_id: Identifies the run; steps of one run share it.
        connect: Opens a work database; DuckDB itself by default, dagster-duckdb's resource under Dagster.
        acknowledged: Consumers that agreed to a change of contract that breaks them.
        actor: Who does it, for the records; by default the account that this process runs under.
        started: When the run began; by default now.
        say: Tells whoever watches the run how far it has come.
        partitions: Keys of the partitions to make, whether they changed or not. By default all that are due and
            missing, or made from something else than what is there now.
    """

    def __init__(
        self,
        product: ResolvedProduct,
        run_id: str,
        connect: Callable[[Path], AbstractContextManager[duckdb.DuckDBPyConnection]] | None = None,
        *,
        acknowledged: Sequence[str] = (),
        actor: str | None = None,
        started: datetime | None = None,
        say: Callable[[str], None] | None = None,
        partitions: Sequence[str] | None = None,
    ) -> None:
        self.product = product
        self.run_id = run_id
        self.settings = product.settings
        self.acknowledged = tuple(acknowledged)
        self.actor = actor or os_user()
        self.started = started or datetime.now(UTC)
        self.say: Callable[[str], None] = say or (lambda _message: None)
        self.partitions = None if partitions is None else tuple(sorted(set(partitions)))
        self.computing: str | None = None
        """Key of the partition that is being computed: what has partitions is then read for that one alone."""
        self._connect = connect or duckdb_engine.connect
        self.work_folder = product.settings.state_directory / "work" / product.id / run_id

    # -- what belongs to the run -------------------------------------------------------------------------

    @cached_property
    def records(self) -> Records:
        """The append-only store of evidence."""
        from dp_dagster.records import Records

        return Records(self.settings.resolved_records_url, lock_timeout=self.settings.lock_timeout)

    @property
    def holder(self) -> str:
        """Who holds a lock, for the message that others get."""
        return f"run {self.run_id} of {self.product.id} (pid {os.getpid()})"

    def record(self, kind: Kind, subject: str, **payload: Any) -> None:
        """Append evidence about this run."""
        self.records.append(
            kind=kind,
            product=self.product.id,
            subject=subject,
            actor=self.actor,
            run_id=self.run_id,
            # How long runs take is read from here, by whoever can read the records.
            payload={
                **payload,
                "environment": self.settings.environment,
                "run_started": self.started.isoformat(timespec="milliseconds"),
            },
        )

    def record_if_changed(self, kind: Kind, subject: str, **payload: Any) -> None:
        """Append evidence, unless the newest record of that kind and subject says the same."""
        self.records.append_if_changed(
            kind=kind,
            product=self.product.id,
            subject=subject,
            actor=self.actor,
            run_id=self.run_id,
            payload={**payload, "environment": self.settings.environment},
        )

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The run's work database, which nobody but this run opens."""
        self.work_folder.mkdir(parents=True, exist_ok=True)
        with self._connect(self.work_folder / "work.duckdb") as connection:
            duckdb_engine.prepare(connection)
            yield connection

    @contextmanager
    def partition(self, key: str) -> Iterator[None]:
        """Compute one partition: views over what has partitions show its rows alone."""
        self.forget_views()
        self.computing = key
        try:
            yield
        finally:
            self.computing = None
            self.forget_views()

    def clean_work_folders(self) -> None:
        """Remove work folders that runs of this product left more than a day ago."""
        parent = self.work_folder.parent
        if not parent.is_dir():
            return
        for folder in parent.iterdir():
            try:
                is_old = time.time() - folder.stat().st_mtime > _WORK_FOLDER_KEPT_SECONDS
            except FileNotFoundError:  # another run has just removed it
                continue
            if folder.is_dir() and folder != self.work_folder and is_old:
                shutil.rmtree(folder, ignore_errors=True)
                _PROVIDED.pop(folder, None)

    # -- pins ---------------------------------------------------------------------------------------------

    def pinned(self, name: str) -> Pinned | None:
        """What the run has pinned under a name (an input port or a kept transform)."""
        return self._pins.get(name)

    def pin(self, name: str, pinned: Pinned, *, replace: bool = False) -> Pinned:
        """Pin a version for the rest of the run; what the run has pinned already stays, unless replaced.

        Returns:
            What the run reads from now on.
        """
        self.forget_views()
        return self._pins.put(name, pinned, replace=replace)

    @cached_property
    def _pins(self) -> Pins:
        return Pins(self.work_folder / "pins")

    @property
    def provided(self) -> set[str]:
        """Views that this process has made in the run's work database; they last until a pin changes."""
        return _PROVIDED.setdefault(self.work_folder, set())

    def forget_views(self) -> None:
        """Make all views again when they are next asked for."""
        _PROVIDED.pop(self.work_folder, None)

    def last_verdict(self, table: Table) -> Verdict | None:
        """The verdict by which the newest version of a table was published; ``None`` where it is lost."""
        snapshot = table.newest()
        return verdict_on(table, snapshot) if snapshot is not None else None

    # -- inputs and tables -------------------------------------------------------------------------------

    def input_context(self, declared: ResolvedInput) -> InputContext:
        """Where an input port of this run is being read."""
        return InputContext(
            product_id=self.product.id,
            product_root=self.product.root,
            port_name=declared.name,
            run_id=self.run_id,
            settings=self.settings,
            contract=declared.contract,
            say=self.say,
        )

    def input_quarantine(self, name: str) -> Table:
        """The table of the rows of an input port that were set aside."""
        from dp_dagster.storage import Table, input_quarantine_table

        return Table(
            input_quarantine_table(self.settings.storage, self.product.id, name),
            lock_timeout=self.settings.lock_timeout,
        )

    def input_table(self, name: str) -> Table:
        """The table that an input port lands in."""
        from dp_dagster.storage import Table, input_table

        return Table(
            input_table(self.settings.storage, self.product.id, name), lock_timeout=self.settings.lock_timeout
        )

    def transform_table(self, name: str) -> Table:
        """The table that keeps a transform's result."""
        from dp_dagster.storage import Table, transform_table

        return Table(
            transform_table(self.settings.storage, self.product.id, name),
            lock_timeout=self.settings.lock_timeout,
        )

    def newest(self, table: Table, name: str) -> Pinned:
        """The newest version of a landed input or a kept transform, as it would be pinned.

        Raises:
            InputError: it has none.
        """
        snapshot = table.newest()
        if snapshot is None:
            raise InputError(
                f"{table.location} has no version yet; materialise it first: dp run {self.product.id}"
            )
        return pinned_version(name, snapshot)

    def place(self, transform: ResolvedTransform) -> TransformPlace:
        """Where a transform lives."""
        return TransformPlace(transform.name, self.product.id, self.product.root, self.settings)


def pinned_version(name: str, snapshot: Snapshot) -> Pinned:
    """A committed version of a landed input or a kept transform, as a run pins it.

    What a transform was made from comes with it, also where another run has made it.
    """
    provenance: dict[str, Any] = {"version": snapshot.version}
    for key in ("dp.location", "dp.fingerprint"):
        if key in snapshot.metadata:
            provenance[key.removeprefix("dp.")] = snapshot.metadata[key]
    if snapshot.location.area.startswith("transform/"):
        provenance["upstream"] = json.loads(snapshot.metadata.get("dp.upstream") or "{}")
    return Pinned(
        name,
        snapshot.files,
        snapshot.version,
        provenance,
        snapshot.rows,
        pinned_partitions(snapshot),
        # A commit of some partitions hashes only what it added.
        "" if "dp.rows_added" in snapshot.metadata else snapshot.metadata.get("dp.files_hash", ""),
    )


def verdict_on(table: Table, snapshot: Snapshot) -> Verdict | None:
    """The verdict by which a version was published; ``None`` where nothing was judged or it is lost."""
    candidate_id = snapshot.metadata.get("dp.candidate_id")
    if candidate_id is None or "dp.verdict_id" not in snapshot.metadata:
        return None
    try:
        return table.verdict(table.candidate(candidate_id))
    except UsageError:
        return None
