"""Copies for ports that hand out files, where their readers may not see all of a dataset.

One Parquet file a version, beside the table: what is masked or left out in it cannot be found by whoever may read
the copy and not the table.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.access.masks import Masks
from dp_dagster.errors import StoreError
from dp_dagster.predicates.model import columns_of
from dp_dagster.predicates.sql import quoted, to_sql
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.location import product_directory
from dp_dagster.storage.mirror import has, place_in, publish_file

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.pipeline.session import Session
    from dp_dagster.resolve import ResolvedOutput
    from dp_dagster.storage import Snapshot

FOLDER = "copy"
_BUILDING = ".building-"


def copied(session: Session, port: ResolvedOutput, snapshot: Snapshot) -> Snapshot:
    """The version as the port's readers may see it: the version itself, or one of a masked and filtered copy.

    Made once for each version and view. Copies that readers may still have open are kept for a while. Called under
    the product's lock.

    Raises:
        SettingsError: a column is masked by hash, and there is no secret.
        StoreError: the copy cannot be written.
    """
    view = port.view
    if view is None:
        return snapshot
    import duckdb

    from dp_dagster.engines.duckdb import first_line, in_memory, scan, write_rows

    masks = Masks.from_environment()
    masks.check(view)
    columns = {column.name: column for column in snapshot.columns}
    gone = [name for name in {*view.columns, *columns_of(view.rows)} if name not in columns]
    if gone:
        raise StoreError(
            f"version {snapshot.version} of {view.dataset} has no column {', '.join(sorted(gone))}"
        )
    root = session.settings.storage
    folder = product_directory(root, session.product.id) / f"v{port.major}" / FOLDER / port.name
    target = folder / f"{snapshot.version}-{_name(view, masks)}.parquet"
    shown = tuple(columns[name] for name in view.columns)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with in_memory() as connection:
            if not has(root, target):
                building = folder / f"{_BUILDING}{target.name}"
                query, parameters = _query(view, columns, masks, scan(snapshot.files))
                write_rows(connection.sql(query, params=parameters), building, f"copy for {port.name}")
                _settle(building, target)
                publish_file(root, target)
            (rows,) = connection.sql(f"select count(*) from {scan([str(target)])}").fetchone() or (0,)
        _remove_old(root, folder, target, session.settings.candidate_grace)
    except (OSError, duckdb.Error) as error:
        raise StoreError(f"the copy for port {port.name} cannot be written: {first_line(error)}") from error
    return replace(snapshot, paths=(str(target),), rows=int(rows), columns=shown)


def _query(view: DatasetView, columns: dict[str, Column], masks: Masks, source: str) -> tuple[str, list[Any]]:
    parameters: list[Any] = []
    expressions = []
    for name in view.columns:
        method = view.masks.get(name)
        sql = quoted(name, "duckdb")
        if method is not None:
            masked, values = masks.sql(columns[name], method, "duckdb")
            parameters += values
            sql = f"{masked} as {sql}"
        expressions.append(sql)
    condition = to_sql(view.rows, {name: column.type for name, column in columns.items()}, "duckdb")
    parameters += condition.parameters
    return f"select {', '.join(expressions)} from {source} where {condition.text}", parameters


def _name(view: DatasetView, masks: Masks) -> str:
    """Another view, or another secret, makes another copy. Says nothing of the secret."""
    key = masks.secret if "hash" in view.masks.values() and masks.secret else b""
    return hmac.new(key, view.fingerprint.encode(), hashlib.sha256).hexdigest()[:16]


def _settle(building: Path, target: Path) -> None:
    descriptor = os.open(building, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    building.chmod(0o444)
    building.replace(target)


def _remove_old(root: str, folder: Path, current: Path, grace: float) -> None:
    if is_bucket(root):
        place = place_in(root, folder)
        for name, facts in place.children():
            if name != current.name and (facts.now - facts.modified).total_seconds() > grace:
                (place / name).unlink()
    for path in folder.iterdir():
        is_old = time.time() - path.stat().st_mtime > grace
        if path != current and (is_old or path.name.startswith(_BUILDING)):
            path.unlink()
