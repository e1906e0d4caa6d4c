"""Comparing two versions: one join by the key, in DuckDB, within a fixed amount of memory.

Files that both versions have are not read: the keys of a version are unique, so no row outside of them is in one of
them. What counts as a change is what a consumer could see of it, in the JSON form of values: a decimal that got a
digit more, or a zero that got a sign, has changed; a column that came without a value has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.changes.model import Counts
from dp_dagster.contracts.literals import is_float
from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.engines.duckdb import literal, quote, scan
from dp_dagster.errors import StoreError
from dp_dagster.rows.json_text import value_expression

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb

    from dp_dagster.contracts.model import Column
    from dp_dagster.contracts.type_trees import TypeTree
    from dp_dagster.storage import Snapshot

ORDINAL, OPERATION = "ordinal", "operation"
KEY, BEFORE, AFTER = "key.", "before.", "after."
"""What the columns of a change file begin with, besides the two: the key, the row as it was, the row as it is."""

_ROW_GROUP = 10_240


def compare(
    previous: Snapshot, current: Snapshot, key: Sequence[str], destination: Path, *, memory: str = "1GB"
) -> Counts:
    """Write the changes from one version to the next into a Parquet file, in the order of the key.

    Without any change, nothing is written.

    Args:
        previous: The version before.
        current: The version after it.
        key: Columns that tell the rows of both apart.
        destination: The file.
        memory: What DuckDB may take; what does not fit goes to the system's temporary folder.

    Raises:
        StoreError: the files cannot be read or written, or a row has no key.
    """
    import duckdb

    from dp_dagster.engines.duckdb import first_line, in_memory

    if set(previous.files) == set(current.files):
        return Counts()
    try:
        with in_memory() as connection:
            connection.execute(f"set memory_limit = {literal(memory)}")
            return _written(connection, previous, current, key, destination)
    except (duckdb.Error, OSError) as error:
        raise StoreError(
            f"{current.location}: the changes from version {previous.version} to {current.version} cannot be "
            f"computed: {first_line(error)}"
        ) from error


def comparison(
    previous: Snapshot, current: Snapshot, key: Sequence[str], shared: set[str] | frozenset[str] = frozenset()
) -> str:
    """The query that gives the changes, ordered by the key."""
    before = {column.name: column.type for column in previous.columns}
    after = {column.name: column.type for column in current.columns}
    same_key = " and ".join(_same(name, before[name], after[name]) for name in key)
    first = quote(key[0])
    changed = [
        _differs(name, before.get(name), after.get(name)) for name in {**after, **before} if name not in key
    ]
    inserted, deleted = f"o.{first} is null", f"n.{first} is null"
    what = f"case when {inserted} then 'inserted' when {deleted} then 'deleted' else 'updated' end"
    columns = [
        f"{what} as {quote(OPERATION)}",
        *(f"{_key(name, before[name], after[name])} as {quote(KEY + name)}" for name in key),
        *(f"o.{quote(name)} as {quote(BEFORE + name)}" for name in before),
        *(f"n.{quote(name)} as {quote(AFTER + name)}" for name in after),
    ]
    is_changed = " or ".join([inserted, deleted, *changed])
    order = ", ".join(quote(KEY + name) for name in key)
    return (
        f"select {', '.join(columns)} from {_side(previous, shared)} o full join {_side(current, shared)} n "
        f"on {same_key} where {is_changed} order by {order}"
    )


def _side(snapshot: Snapshot, shared: set[str] | frozenset[str]) -> str:
    files = [file for file in snapshot.files if file not in shared]
    if files:
        return scan(files)
    return f"(select * from {scan(snapshot.files[:1])} where false)"


def _same(name: str, before: str, after: str) -> str:
    if before == after:
        return f"o.{quote(name)} = n.{quote(name)}"
    return f"{_text(before, f'o.{quote(name)}')} = {_text(after, f'n.{quote(name)}')}"


def _key(name: str, before: str, after: str) -> str:
    old, new = f"o.{quote(name)}", f"n.{quote(name)}"
    # Of another type than before: they have only their text in common.
    return (
        f"coalesce({new}, {old})"
        if before == after
        else f"coalesce({_text(after, new)}, {_text(before, old)})"
    )


def _differs(name: str, before: str | None, after: str | None) -> str:
    old, new = f"o.{quote(name)}", f"n.{quote(name)}"
    if before is None:
        return f"{new} is not null"
    if after is None:
        return f"{old} is not null"
    tree = parse_type(after)
    if before != after or (tree.parts and _has_floats(tree)):
        return f"{_text(before, old)} is distinct from {_text(after, new)}"
    if is_float(after):
        # Zeros are equal, whatever their sign; as texts they are not.
        return f"({old} is distinct from {new} or ({old} = 0 and signbit({old}) <> signbit({new})))"
    return f"{old} is distinct from {new}"


def _has_floats(tree: TypeTree) -> bool:
    return tree.name.startswith("float") or any(_has_floats(part) for _, part in tree.parts)


def _text(type_name: str, value: str) -> str:
    """A value as the JSON text that consumers see; null for null."""
    return f"case when {value} is not null then to_json({value_expression(parse_type(type_name), value)})::varchar end"


def _written(
    connection: duckdb.DuckDBPyConnection,
    previous: Snapshot,
    current: Snapshot,
    key: Sequence[str],
    destination: Path,
) -> Counts:
    shared = set(previous.files) & set(current.files)
    # In the order of the query, so the number of a row is its place among the changes.
    connection.execute(f"create temp table changes as {comparison(previous, current, key, shared)}")
    without = " or ".join(f"{quote(KEY + name)} is null" for name in key)
    faulty = connection.execute(f"select count(*) from changes where {without}").fetchone()
    if faulty and faulty[0]:
        raise StoreError(
            f"{current.location}: {faulty[0]} rows of version {current.version} or of the one before it have no "
            f"{' and '.join(key)}, which is their key; require a value in the contract"
        )
    found = dict(connection.execute(f"select {OPERATION}, count(*) from changes group by all").fetchall())
    if found:
        types = {column.type for column in (*previous.columns, *current.columns)}
        # DuckDB's dictionaries take zeros of either sign for one value.
        plain = any(_has_floats(parse_type(one)) for one in types)
        connection.execute(
            f"copy (select rowid as {ORDINAL}, * from changes) to {literal(str(destination))} "
            f"(format parquet, compression zstd, row_group_size {_ROW_GROUP}"
            f"{', dictionary_size_limit 0' if plain else ''})"
        )
    return Counts(**found)


def columns_read(changes_before: Sequence[Column], changes_after: Sequence[Column]) -> Mapping[str, str]:
    """Names in a change file to canonical types."""
    return {
        **{BEFORE + column.name: column.type for column in changes_before},
        **{AFTER + column.name: column.type for column in changes_after},
    }
