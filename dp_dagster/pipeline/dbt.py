"""The database that a product's dbt models are built in: one a run, kept until the next good one replaces it.

dbt builds into a DuckDB file of the run's own, so two runs never wait for each other and a reader never meets a
half-built model. When all models and their tests are good, a pointer names the file as the current one; a
dataset that is materialised alone reads that.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import TransformError
from dp_dagster.pipeline.inputs import read_input

if TYPE_CHECKING:
    import duckdb

    from dp_dagster.pipeline.session import Session
    from dp_dagster.resolve import ResolvedTransform
    from dp_dagster.settings import Settings

# The catalog's name inside DuckDB; views that dbt makes carry it, so every reader attaches under it.
CATALOG = "dbt"
# Schema of the views over input ports: dbt reads them as source('input', …).
INPUT_SCHEMA = "input"
# A database that is no longer current may still be open in a run that began with it.
_OLD_DATABASE_KEPT_SECONDS = 3600.0


@dataclass(frozen=True)
class DbtDatabase:
    """A built database: its file, and what its models were made from (input port to provenance)."""

    path: Path
    upstream: dict[str, Any]


def prepare_database(session: Session, transform: ResolvedTransform, *, fresh: bool) -> Path:
    """Make the run's database ready for dbt: the input ports as views, at the versions that the run pinned.

    Args:
        session: The run.
        transform: The dbt transform.
        fresh: All models will be built. Otherwise the current database is copied first, so that the models
            which are not selected are there.

    Raises:
        InputError: an input port has no version yet.
    """
    path = _run_database(session.settings, session.product.id, transform.name, session.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() and not fresh:
        current = _current(session.settings, session.product.id, transform.name)
        if current is not None:
            shutil.copyfile(current.path, path)
    with duckdb_engine.connect(path) as connection:
        connection.execute(f"create schema if not exists {duckdb_engine.quote(INPUT_SCHEMA)}")
        for name in transform.depends_on:
            pinned = read_input(session, session.product.input(name))
            duckdb_engine.create_view(
                connection, name, f"select * from {duckdb_engine.scan(pinned.files)}", INPUT_SCHEMA
            )
    return path


def keep_database(session: Session, transform: ResolvedTransform) -> None:
    """Name the run's database the current one. Call it when all models and tests are good."""
    folder = _folder(session.settings, session.product.id, transform.name)
    path = _run_database(session.settings, session.product.id, transform.name, session.run_id)
    upstream = {
        name: {**pinned.provenance, "rows": pinned.rows}
        for name in transform.depends_on
        if (pinned := session.pinned(name)) is not None
    }
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump({"database": str(path.relative_to(folder)), "upstream": upstream}, stream)
    Path(temporary).replace(folder / "current.json")
    _remove_old(folder, path)


def current_database(session: Session, transform: ResolvedTransform) -> DbtDatabase:
    """The database to read from: the run's own where dbt ran in it, else the current one.

    Raises:
        TransformError: the models have never been built here.
    """
    current = _current(session.settings, session.product.id, transform.name)
    own = _run_database(session.settings, session.product.id, transform.name, session.run_id)
    if current is not None and own.exists() and own != current.path:
        # Another run has finished since: this run goes on with what it built itself.
        upstream = {
            name: {**pinned.provenance, "rows": pinned.rows}
            for name in transform.depends_on
            if (pinned := session.pinned(name)) is not None
        }
        return DbtDatabase(own, upstream)
    if current is None:
        raise TransformError(
            f"{session.product.id}/transform/{transform.name}: its dbt models have not been built here yet; "
            f"run dp run {session.product.id}"
        )
    return current


def attach(connection: duckdb.DuckDBPyConnection, database: DbtDatabase) -> None:
    """Attach a built database for reading, unless the connection has it already."""
    attached = connection.execute(
        "select count(*) from duckdb_databases() where database_name = ?", [CATALOG]
    ).fetchone()
    if attached is None or attached[0] == 0:
        connection.execute(
            f"attach {duckdb_engine.literal(str(database.path))} as {duckdb_engine.quote(CATALOG)} (read_only)"
        )


def _folder(settings: Settings, product_id: str, transform: str) -> Path:
    return settings.state_directory / "dbt" / product_id / transform


def _run_database(settings: Settings, product_id: str, transform: str, run_id: str) -> Path:
    return _folder(settings, product_id, transform) / run_id / f"{CATALOG}.duckdb"


def _current(settings: Settings, product_id: str, transform: str) -> DbtDatabase | None:
    folder = _folder(settings, product_id, transform)
    try:
        pointer = json.loads((folder / "current.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    path = folder / pointer["database"]
    return DbtDatabase(path, pointer["upstream"]) if path.is_file() else None


def _remove_old(folder: Path, current: Path) -> None:
    for run in folder.iterdir():
        if not run.is_dir() or run == current.parent:
            continue
        if time.time() - run.stat().st_mtime > _OLD_DATABASE_KEPT_SECONDS:
            shutil.rmtree(run, ignore_errors=True)
