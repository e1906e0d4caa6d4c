"""Changes of a publication, page by page, in the view of who reads; the same for every carrier."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from dp_dagster.changes.compare import KEY, ORDINAL
from dp_dagster.changes.model import Counts
from dp_dagster.changes.read import as_changes, changes_sql, counts_sql
from dp_dagster.engines.duckdb import scan
from dp_dagster.ports.outputs.event_stream.envelope import key_values
from dp_dagster.predicates.model import EVERYTHING, AllOf, Condition
from dp_dagster.predicates.sql import to_sql
from dp_dagster.predicates.values import BadValueError, read_value
from dp_dagster.rows.files import FilesEngine

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.access.masks import Masks
    from dp_dagster.changes.kept import Changes
    from dp_dagster.changes.model import ChangeSet
    from dp_dagster.changes.read import Change, ChangeQuery

PAGE = 500
"""Changes that are read at once."""

_MEMORY = "256MB"
_SECONDS = 300.0


@lru_cache(maxsize=4)
def engine_of(spill: Path) -> FilesEngine:
    """The DuckDB that reads changes in this process, whichever port they are of."""
    return FilesEngine(memory=_MEMORY, spill=spill)


class ChangePages:
    """Reads the changes of one dataset. Blocks: not for an event loop.

    Args:
        changes: The dataset's.
        masks: What masks values.
        engine: Reads files.
    """

    def __init__(self, changes: Changes, masks: Masks, engine: FilesEngine) -> None:
        self.changes = changes
        self._masks = masks
        self._engine = engine

    def page(self, change_set: ChangeSet, query: ChangeQuery, start: int) -> list[Change]:
        """The next changes from an ordinal on; an empty list behind the last one.

        Raises:
            VersionGoneError: they are no longer kept.
            StoreError: they cannot be read.
        """
        if change_set.file is None:
            return []
        path = self.changes.path(change_set)
        statement = changes_sql(path, change_set, query, self._masks)
        found = self._engine.rows(statement.text, (*statement.parameters, start, PAGE), _SECONDS)
        return as_changes(found)

    def counts(self, change_set: ChangeSet, query: ChangeQuery) -> Counts:
        """How many of them there are.

        Raises:
            VersionGoneError: they are no longer kept.
            StoreError: they cannot be read.
        """
        view = query.view
        every = {column.name for column in (*change_set.before, *change_set.after)}
        if view.is_whole and every <= set(query.columns) and query.where == EVERYTHING:
            return change_set.counts
        if change_set.file is None:
            return Counts()
        statement = counts_sql(self.changes.path(change_set), change_set, query, self._masks)
        (found,) = self._engine.rows(statement.text, statement.parameters, _SECONDS)
        return Counts(*found)

    def behind(self, change_set: ChangeSet, key: str) -> int:
        """The ordinal behind the change of a row; 0, so that all are told once more, where there is no such row."""
        if change_set.file is None:
            return 0
        before = {column.name: column.type for column in change_set.before}
        types = {
            KEY + column.name: column.type for column in change_set.after if column.name in change_set.key
        }
        if any(before.get(name.removeprefix(KEY)) != kind for name, kind in types.items()):
            return 0
        try:
            values = [
                read_value(text, types[KEY + name])
                for name, text in zip(change_set.key, key_values(key), strict=True)
            ]
        except (BadValueError, ValueError):
            return 0
        parts = tuple(
            Condition(KEY + name, "eq", value) for name, value in zip(change_set.key, values, strict=True)
        )
        condition = to_sql(AllOf(parts), types, "duckdb")
        path = self.changes.path(change_set)
        found = self._engine.rows(
            f"select {ORDINAL} from {scan([str(path)])} where {condition.text}",
            condition.parameters,
            _SECONDS,
        )
        return int(found[0][0]) + 1 if found else 0
