"""What partitions are made from, and whether what was written for one belongs to it.

A partition is made by itself, from the rows of that partition and of what has none, so what it holds does not depend
on which others a run makes. A hash of what it was made from is part of its files' names: whoever comes later knows
what has changed since.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.engines.partitions import UnfitColumnError, rows_of, type_of
from dp_dagster.errors import TransformError
from dp_dagster.pipeline.relations import pinned_leaves, stored_by_partition, upstream
from dp_dagster.pipeline.selection import calendar_of, due_keys
from dp_dagster.resolve import ResolvedInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import Pinned
    from dp_dagster.storage import Table


def available_partitions(session: Session, relations: Iterable[str], code: str) -> dict[str, str]:
    """What each due partition would be made from, by key, as far as all of it is there.

    Args:
        session: The run, which pins what it reads.
        relations: Input ports and what transforms provide, of which it is made.
        code: Hash of the code that makes the rows.
    """
    product = session.product
    due = due_keys(session)
    keys = set(due)
    common = hashlib.sha256(code.encode())
    by_partition: list[tuple[str, Mapping[str, str]]] = []
    for leaf, pinned in pinned_leaves(session, relations):
        if pinned is None:
            continue
        if leaf.name in product.partitioned:
            by_key = _made_from(session, leaf.name, pinned)
            keys &= set(by_key)
            by_partition.append((leaf.name, by_key))
        else:
            common.update(f"\0{leaf.name}\0{_identity(pinned)}".encode())
    found = {}
    for key in (one for one in due if one in keys):
        digest = common.copy()
        for name, made_from in by_partition:
            digest.update(f"\0{name}\0{made_from[key]}".encode())
        found[key] = digest.hexdigest()[:16]
    return found


def _made_from(session: Session, name: str, pinned: Pinned) -> dict[str, str]:
    """What the partitions of an input or of a kept transform were made from."""
    declared = next((one for one in session.product.inputs if one.name == name), None)
    if isinstance(declared, ResolvedInput) and not stored_by_partition(session.product, declared, pinned):
        # Nobody can tell what changed in it: all of it did.
        return dict.fromkeys(due_keys(session), _identity(pinned))
    return {key: one.made_from for key, one in pinned.partitions.items()}


def _identity(pinned: Pinned) -> str:
    """Equal for equal data, as far as that can be known."""
    return pinned.digest or str(pinned.version or pinned.provenance.get("fingerprint", ""))


def check_within(
    session: Session, path: Path, key: str, column: str, what: str, *, is_secret: bool = False
) -> None:
    """See that all rows that were written for a partition belong to it.

    Raises:
        TransformError: some do not; says how many, and shows one.
    """
    with duckdb_engine.in_memory() as connection:
        relation = connection.sql(f"select * from {duckdb_engine.scan([str(path)])}")
        try:
            inside = rows_of(calendar_of(session), key, column, type_of(relation, column))
        except UnfitColumnError as error:
            raise TransformError(f"{what}: {error}") from error
        name = duckdb_engine.quote(column)
        outside = relation.filter(f"not coalesce({inside}, false)")
        found = outside.aggregate(f"count(*), min({name}::varchar)").fetchone()
    count, example = found or (0, None)
    if count:
        such = "" if is_secret else f", {example or 'null'} for one"
        raise TransformError(
            f"{what}: {count} of the rows made for partition {key} lie outside it by {column}{such}; "
            "a partition is made from its own rows, and rows of others would be lost"
        )


def upstream_of(session: Session, table: Table, relations: Sequence[str]) -> dict[str, Any]:
    """What a table with partitions is made from, as its commit tells.

    A run of some partitions leaves the others as they were made, so the table does not show all that there is: an
    input's fingerprint is that of the last run that looked at all of them, if there was one.
    """
    made = upstream(session, relations)
    if session.partitions is None:
        return made
    before = _upstream_before(table)
    for name, provenance in made.items():
        if name in session.product.partitioned:
            known = {key: value for key, value in provenance.items() if key != "fingerprint"}
            seen = before.get(name, {}).get("fingerprint")
            made[name] = {**known, **({"fingerprint": seen} if seen is not None else {})}
    return made


def is_behind(session: Session, table: Table, relations: Sequence[str]) -> bool:
    """Whether the newest version names other fingerprints of its inputs than those that the run has pinned."""
    before = _upstream_before(table)
    return any(
        before.get(name, {}).get("fingerprint") != provenance.get("fingerprint")
        for name, provenance in upstream(session, relations).items()
    )


def _upstream_before(table: Table) -> dict[str, Any]:
    newest = table.newest()
    found: dict[str, Any] = json.loads(newest.metadata.get("dp.upstream") or "{}") if newest else {}
    return found
