"""A run of a product: what it has pinned, its work database, and the relations that its steps read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import InputError, TransformError, UsageError
from dp_dagster.pipeline import dbt
from dp_dagster.ports.base import InputContext, Pinned
from dp_dagster.transforms.base import TransformPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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
    """

    def __init__(
        self,
        product: ResolvedProduct,
        run_id: str,
        connect: Callable[[Path], AbstractContextManager[duckdb.DuckDBPyConnection]] | None = None,
    ) -> None:
        self.product = product
        self.run_id = run_id
        self.settings = product.settings
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
            actor=f"run:{self.run_id}",
            run_id=self.run_id,
            payload=payload,
        )

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The run's work database, which nobody but this run opens."""
        self.work_folder.mkdir(parents=True, exist_ok=True)
        with self._connect(self.work_folder / "work.duckdb") as connection:
            duckdb_engine.prepare(connection)
            yield connection

    def clean_work_folders(self) -> None:
        """Remove work folders that runs of this product left more than a day ago."""
        parent = self.work_folder.parent
        if not parent.is_dir():
            return
        for folder in parent.iterdir():
            is_old = time.time() - folder.stat().st_mtime > _WORK_FOLDER_KEPT_SECONDS
            if folder.is_dir() and folder != self.work_folder and is_old:
                shutil.rmtree(folder, ignore_errors=True)

    # -- pins ---------------------------------------------------------------------------------------------

    def pinned(self, name: str) -> Pinned | None:
        """What the run has pinned under a name (an input port or a kept transform)."""
        return self._pins().get(name)

    def pin(self, name: str, pinned: Pinned) -> Pinned:
        """Pin a version for the rest of the run."""
        _PROVIDED.pop(self.work_folder, None)
        self.work_folder.mkdir(parents=True, exist_ok=True)
        pins = {**self._pins(), name: pinned}
        content = json.dumps({key: asdict(value) for key, value in pins.items()})
        descriptor, temporary = tempfile.mkstemp(dir=self.work_folder, suffix=".tmp")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        Path(temporary).replace(self._pins_file)
        return pinned

    @property
    def _pins_file(self) -> Path:
        return self.work_folder / "pins.json"

    def _pins(self) -> dict[str, Pinned]:
        try:
            content = self._pins_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {
            name: Pinned(**{**value, "files": tuple(value["files"])})
            for name, value in json.loads(content).items()
        }

    def last_verdict(self, table: Table) -> Verdict | None:
        """The verdict by which the newest version of a table was published; ``None`` where it is lost."""
        snapshot = table.newest()
        return verdict_on(table, snapshot) if snapshot is not None else None

    # -- inputs and relations -------------------------------------------------------------------------------

    def input_context(self, declared: ResolvedInput) -> InputContext:
        """Where an input port of this run is being read."""
        return InputContext(
            product_id=self.product.id,
            product_root=self.product.root,
            port_name=declared.name,
            run_id=self.run_id,
            settings=self.settings,
            contract=declared.contract,
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

    def read_input(self, declared: ResolvedInput) -> Pinned:
        """The version of an input that this run reads; pins the newest good one where none is pinned yet.

        Raises:
            InputError: nothing has been landed yet, or there is nothing to read.
        """
        pinned = self.pinned(declared.name)
        if pinned is not None:
            return pinned
        if not declared.port.lands(declared.config, audited=declared.contract is not None):
            return self.pin(declared.name, declared.port.pin(declared.config, self.input_context(declared)))
        return self.pin_newest_input(declared)

    def pin_newest_input(self, declared: ResolvedInput) -> Pinned:
        """Pin the newest landed version of an input, whatever the run read before."""
        return self.pin(declared.name, self._newest(self.input_table(declared.name), declared.name, "input"))

    def _newest(self, table: Table, name: str, area: str) -> Pinned:
        snapshot = table.newest()
        if snapshot is None:
            raise InputError(
                f"{self.product.id}/{area}/{name} has no version yet; materialise it first: "
                f"dp run {self.product.id}"
            )
        provenance: dict[str, Any] = {"version": snapshot.version}
        for key in ("dp.location", "dp.fingerprint"):
            if key in snapshot.metadata:
                provenance[key.removeprefix("dp.")] = snapshot.metadata[key]
        return Pinned(
            name=name,
            files=snapshot.files,
            version=snapshot.version,
            rows=snapshot.rows,
            provenance=provenance,
        )

    def place(self, transform: ResolvedTransform) -> TransformPlace:
        """Where a transform lives."""
        return TransformPlace(transform.name, self.product.id, self.product.root, self.settings)

    def provide(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Make an input port or transform readable by its name, with all that it reads itself.

        A view that this process has made in the run's work database is kept, until a pin changes.

        Raises:
            InputError: an input has no version yet.
            TransformError: a query does not bind.
        """
        provided = _PROVIDED.setdefault(self.work_folder, set())
        if name in provided:
            return
        if self._define(connection, name):
            provided.add(name)

    def _define(self, connection: duckdb.DuckDBPyConnection, name: str) -> bool:
        """Create the view behind a name; returns whether it stays in the work database."""
        import duckdb

        declared = next((port for port in self.product.inputs if port.name == name), None)
        if declared is not None:
            pinned = self.read_input(declared)
            duckdb_engine.create_view(connection, name, f"select * from {duckdb_engine.scan(pinned.files)}")
            return True
        transform = self.product.transform_providing(name)
        if transform.transform.runs_in == "dbt":
            # A temporary view, since what it reads is attached to this connection only.
            dbt.attach(connection, dbt.current_database(self, transform))
            connection.execute(
                f"create or replace temporary view {duckdb_engine.quote(name)} as "
                f"select * from {dbt.CATALOG}.main.{duckdb_engine.quote(name)}"
            )
            return False
        if transform.transform.kept(transform.config):
            kept = self.pinned(f"transform/{name}")
            if kept is None:
                kept = self.pin(
                    f"transform/{name}", self._newest(self.transform_table(name), name, "transform")
                )
            duckdb_engine.create_view(connection, name, f"select * from {duckdb_engine.scan(kept.files)}")
            return True
        for dependency in transform.depends_on:
            self.provide(connection, dependency)
        definition = transform.transform.definition(transform.config, self.place(transform))
        if definition is None:
            raise TransformError(f"{self.product.id}/transform/{name}: its kind gives no definition")
        try:
            duckdb_engine.create_view(connection, name, definition)
        except duckdb.Error as error:
            raise TransformError(f"{self.product.id}/transform/{name}: {error}") from error
        return True

    def upstream(self, name: str) -> dict[str, Any]:
        """What a relation was made from, as far as this run has read it: input port to provenance."""
        provenance: dict[str, Any] = {}
        for transform in self.product.transforms_of(name):
            if transform.transform.runs_in == "dbt":
                provenance |= dbt.current_database(self, transform).upstream
        for input_name in self.product.inputs_of(name):
            pinned = self.pinned(input_name)
            if pinned is not None and input_name not in provenance:
                provenance[input_name] = {**pinned.provenance, "rows": pinned.rows}
        return provenance


def verdict_on(table: Table, snapshot: Snapshot) -> Verdict | None:
    """The verdict by which a version was published; ``None`` where nothing was judged or it is lost."""
    candidate_id = snapshot.metadata.get("dp.candidate_id")
    if candidate_id is None or "dp.verdict_id" not in snapshot.metadata:
        return None
    try:
        return table.verdict(table.candidate(candidate_id))
    except UsageError:
        return None
