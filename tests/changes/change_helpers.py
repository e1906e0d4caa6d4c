"""Versions to compare, and what a plain comparison in Python says of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from dp_dagster.access.masks import Masks
from dp_dagster.access.view import DatasetView
from dp_dagster.changes.kept import Changes
from dp_dagster.changes.read import Change, ChangeQuery, as_changes, changes_sql, counts_sql
from dp_dagster.contracts.model import Column, Contract
from dp_dagster.engines.duckdb import in_memory
from dp_dagster.settings import Settings
from dp_dagster.storage.types import columns_of
from dp_dagster.testing.published import publish_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from dp_dagster.changes.model import ChangeSet
    from dp_dagster.storage import Snapshot

SECRET = Masks(b"a secret of sixteen bytes or more")


class Dataset:
    """A dataset on disk, of which versions are published and compared."""

    def __init__(self, folder: Path, key: tuple[str, ...] = ("id",)) -> None:
        self.settings = Settings(project_root=folder)
        self.key = key
        self.newest: Snapshot | None = None

    def publish(self, rows: pa.Table, *, compare: bool = True, files: int = 2) -> ChangeSet | None:
        columns = tuple(Column(one.name, one.type) for one in columns_of(rows.schema))
        text = repr((columns, self.key))
        contract = Contract(
            name="Rows",
            hash=hashlib.sha256(text.encode()).hexdigest(),
            format="pandera",
            source="contracts/rows.py:Rows",
            columns=columns,
            rules=(),
            key=self.key,
        )
        self.newest = publish_rows(self.settings, "shop", "rows", contract, rows, files=files)
        return self.compared() if compare else None

    @property
    def changes(self) -> Changes:
        assert self.newest is not None
        return Changes(self.newest.location)

    def compared(self) -> ChangeSet:
        assert self.newest is not None
        return self.changes.bring_up_to(self.newest, self.key)

    def seen(
        self,
        change_set: ChangeSet,
        view: DatasetView | None = None,
        columns: tuple[str, ...] | None = None,
        **more: Any,
    ) -> list[Change]:
        names = tuple(dict.fromkeys(one.name for one in (*change_set.after, *change_set.before)))
        view = view or DatasetView("rows", names)
        query = ChangeQuery(view, columns or view.columns, **more)
        if change_set.file is None:
            return []
        path = self.changes.path(change_set)
        statement = changes_sql(path, change_set, query, SECRET)
        counted = counts_sql(path, change_set, query, SECRET)
        with in_memory() as connection:
            found = as_changes(
                connection.execute(statement.text, (*statement.parameters, 0, 1_000_000)).fetchall()
            )
            counts = connection.execute(counted.text, counted.parameters).fetchone()
        kinds = [one.operation for one in found]
        assert counts == tuple(kinds.count(name) for name in ("inserted", "updated", "deleted"))
        assert [one.ordinal for one in found] == sorted({one.ordinal for one in found})
        return found


def plain(changes: list[Change]) -> list[tuple[str, Any, Any, Any]]:
    """Changes with their JSON read."""
    return [
        (one.operation, *(None if text is None else json.loads(text) for text in one[2:])) for one in changes
    ]
