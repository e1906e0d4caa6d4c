"""Changes as somebody sees them: columns, masks and row filter of their view, applied to the row before and after.

A row that enters the filter is inserted for them, one that leaves it is deleted; a row of which nothing changed that
they see is no change. Values come as the JSON text that all served kinds write.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dp_dagster.access.masks import carried
from dp_dagster.changes.compare import AFTER, BEFORE, KEY, OPERATION, ORDINAL, columns_read
from dp_dagster.contracts.literals import is_float
from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.engines.duckdb import quote, scan
from dp_dagster.predicates.model import EVERYTHING, NOTHING, AllOf, Condition, Negation, columns_of
from dp_dagster.predicates.sql import to_sql
from dp_dagster.rows.json_text import row_expression, value_expression

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dp_dagster.access.masks import Masks
    from dp_dagster.access.view import DatasetView
    from dp_dagster.changes.model import ChangeSet, Operation
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.settings import MaskMethod


class Change(NamedTuple):
    """One row that changed, as somebody sees it.

    Attributes:
        ordinal: Where it stands among all changes of the publication.
        operation: What became of it.
        key: Its key, as a JSON object.
        before: The row as it was, as a JSON object; ``None`` if it is new.
        after: The row as it is; ``None`` if it is gone.
    """

    ordinal: int
    operation: Operation
    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ChangeQuery:
    """Which changes, and what of them.

    Attributes:
        view: What may be seen.
        columns: Which columns of the rows; those of the view that the versions have.
        where: What must hold of a row besides the view's filter.
    """

    view: DatasetView
    columns: tuple[str, ...]
    where: Predicate = EVERYTHING


@dataclass(frozen=True)
class Statement:
    """SQL of DuckDB, and the values for its marks in order."""

    text: str
    parameters: tuple[Any, ...]


def changes_sql(file: Path, change_set: ChangeSet, query: ChangeQuery, masks: Masks) -> Statement:
    """What gives :class:`Change` rows from a place on: its marks end with the first ordinal, and with how many.

    Raises:
        SettingsError: a column is masked by hash, and there is no secret.
    """
    inner, parameters = _seen(file, change_set, query, masks)
    sides = {}
    for side, columns in ((BEFORE, change_set.before), (AFTER, change_set.after)):
        types = {column.name: column.type for column in columns}
        sides[side] = row_expression(
            [(name, _json(query, side, name, types[name])) for name in query.columns if name in types]
        )
    types = {column.name: column.type for column in change_set.after}
    before = {column.name: column.type for column in change_set.before}
    key = row_expression(
        [
            # Of a key that changed its type, texts of JSON are kept.
            (name, value_expression(parse_type(types[name]), quote(KEY + name))
             if before.get(name) == types[name] else f"{quote(KEY + name)}::json")
            for name in change_set.key
        ]
    )  # fmt: skip
    text = (
        f"select {ORDINAL}, {_operation()}, {key}, "
        f"case when was then {sides[BEFORE]} end, case when is_ then {sides[AFTER]} end "
        f"from ({inner}) where {_visible(query, change_set)} and {ORDINAL} >= ? limit ?"
    )
    return Statement(text, tuple(parameters))


def rows_sql(
    files: Sequence[str], columns: Sequence[Column], key: Sequence[str], query: ChangeQuery, masks: Masks
) -> Statement:
    """What gives all rows of a version in the order of its key: the key and the row, as JSON objects.

    Its last mark is how many rows to leave out at the beginning.

    Raises:
        SettingsError: a column is masked by hash, and there is no secret.
    """
    types = {column.name: column.type for column in columns}
    parameters: list[Any] = []
    shown = []
    for column in columns:
        if column.name not in query.columns:
            continue
        method = _method(query, column.name, column.type)
        value = quote(column.name)
        if method is not None and method != "null":
            value, values = masks.sql(column, method, "duckdb")
            parameters += values
        shown.append((column.name, value, method))
    row = row_expression(
        [
            (name, "null" if method == "null" else value_expression(parse_type(kind), value))
            for name, value, method in shown
            for kind in ("string" if method else types[name],)
        ]
    )
    named = row_expression([(name, value_expression(parse_type(types[name]), quote(name))) for name in key])
    where = AllOf((query.view.rows, query.where))
    if not columns_of(where) <= set(types):
        where = AllOf((NOTHING,))
    condition = to_sql(where, types, "duckdb")
    order = ", ".join(quote(name) for name in key)
    text = f"select {named}, {row} from {scan(files)} where {condition.text} order by {order} offset ?"
    return Statement(text, (*parameters, *condition.parameters))


def counts_sql(file: Path, change_set: ChangeSet, query: ChangeQuery, masks: Masks) -> Statement:
    """What gives how many rows were inserted, updated and deleted, as somebody sees it."""
    inner, parameters = _seen(file, change_set, query, masks)
    counted = ", ".join(f"count(*) filter (what = '{name}')" for name in ("inserted", "updated", "deleted"))
    text = (
        f"select {counted} from (select {_operation()} as what from ({inner}) "
        f"where {_visible(query, change_set)})"
    )
    return Statement(text, tuple(parameters))


def _seen(file: Path, change_set: ChangeSet, query: ChangeQuery, masks: Masks) -> tuple[str, list[Any]]:
    """The file with masks applied, and with ``was`` and ``is_``: whether the row is seen before and after."""
    parameters: list[Any] = []
    selected = [quote(ORDINAL), *(quote(KEY + name) for name in change_set.key)]
    every = columns_read(change_set.before, change_set.after)
    for side, columns in ((BEFORE, change_set.before), (AFTER, change_set.after)):
        for column in columns:
            if column.name not in query.columns:
                continue
            named = quote(side + column.name)
            method = _method(query, column.name, column.type)
            if method is None:
                selected.append(named)
            elif method != "null":
                masked, values = masks.sql(replace(column, name=side + column.name), method, "duckdb")
                selected.append(f"{masked} as {named}")
                parameters += values
    where = AllOf((query.view.rows, query.where))
    for side, name, absent in ((BEFORE, "was", "inserted"), (AFTER, "is_", "deleted")):
        condition = to_sql(_of_side(where, side, every), every, "duckdb")
        selected.append(f"({quote(OPERATION)} <> '{absent}' and coalesce({condition.text}, false)) as {name}")
        parameters += condition.parameters
    return f"select {', '.join(selected)} from {scan([str(file)])}", parameters


def _of_side(predicate: Predicate, side: str, types: Mapping[str, str]) -> Predicate:
    """The predicate on the row before or after; nothing is seen of a version that lacks one of its columns."""
    if any(side + name not in types for name in columns_of(predicate)):
        return NOTHING
    return _renamed(predicate, side)


def _renamed(predicate: Predicate, side: str) -> Predicate:
    if isinstance(predicate, Condition):
        return replace(predicate, column=side + predicate.column)
    if isinstance(predicate, Negation):
        return Negation(_renamed(predicate.part, side))
    return type(predicate)(tuple(_renamed(part, side) for part in predicate.parts))


def _operation() -> str:
    return "case when was and is_ then 'updated' when is_ then 'inserted' else 'deleted' end"


def _visible(query: ChangeQuery, change_set: ChangeSet) -> str:
    """The row came, went, or changed in what is seen of it."""
    before = {column.name: column.type for column in change_set.before}
    after = {column.name: column.type for column in change_set.after}
    differs = []
    for name in query.columns:
        if name in change_set.key:
            continue
        old, new = _telling(query, BEFORE, name, before), _telling(query, AFTER, name, after)
        if old and new:
            differs.append(_distinct(*old, *new))
        elif found := old or new:
            # A column that came, or went: without a value nothing of the row looks different.
            differs.append(f"{found[0]} is not null")
    return f"(was <> is_ or (was and is_ and ({' or '.join(differs) or 'false'})))"


def _telling(query: ChangeQuery, side: str, name: str, types: Mapping[str, str]) -> tuple[str, str] | None:
    """A value as an expression, and its type; ``None`` where it is not there, or its mask says nothing of it."""
    if name not in types:
        return None
    method = _method(query, name, types[name])
    if method in {"null", "redact"}:
        return None
    return quote(side + name), types[name] if method is None else "string"


def _distinct(old: str, before: str, new: str, after: str) -> str:
    tree = parse_type(after)
    if before == after and not tree.parts and not is_float(after):
        return f"{old} is distinct from {new}"
    texts = (
        f"to_json({value_expression(parse_type(kind), value)})::varchar"
        for kind, value in ((before, old), (after, new))
    )
    return " is distinct from ".join(texts)


def _method(query: ChangeQuery, name: str, type_name: str) -> MaskMethod | None:
    method = query.view.masks.get(name)
    return None if method is None else carried(method, type_name)


def _json(query: ChangeQuery, side: str, name: str, type_name: str) -> str:
    method = _method(query, name, type_name)
    if method == "null":
        return "null"
    return value_expression(parse_type("string" if method else type_name), quote(side + name))


def as_changes(rows: Sequence[tuple[Any, ...]]) -> list[Change]:
    """What the statement gives, as :class:`Change`."""
    return [Change(*row) for row in rows]
