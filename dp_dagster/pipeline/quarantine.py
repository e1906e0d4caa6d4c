"""The quarantine of a dataset: rows that broke its contract, with run, rules and reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from dp_dagster.storage import Table

# A candidate that is held keeps this many of its failing rows; one that is published in part keeps all.
HELD_ROWS_KEPT = 100_000


@dataclass(frozen=True)
class QuarantinedRow:
    """One row that broke a contract."""

    quarantined_at: datetime
    run_id: str
    candidate_id: str
    published_in_part: bool
    rules: tuple[str, ...]
    reason: str
    row: str


def quarantine_schema() -> pa.Schema:
    """The fixed columns of every quarantine table. The row itself is JSON: a dataset's columns may change."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("quarantined_at", pa.timestamp("us", tz="UTC")),
            pa.field("run_id", pa.string()),
            pa.field("candidate_id", pa.string()),
            pa.field("published_in_part", pa.bool_()),
            pa.field("rules", pa.list_(pa.string())),
            pa.field("reason", pa.string()),
            pa.field("row", pa.string()),
        ]
    )


def put_aside(
    table: Table,
    rejected: Iterable[pa.RecordBatch],
    *,
    run_id: str,
    candidate_id: str,
    published_in_part: bool,
) -> int:
    """Append failing rows to a quarantine, batch by batch.

    Args:
        table: The quarantine.
        rejected: Batches with the columns ``rules``, ``reason`` and ``row``.
        run_id: The run.
        candidate_id: The candidate that the rows came in with.
        published_in_part: Whether the other rows of the candidate are published.

    Returns:
        The number of rows.
    """
    import pyarrow as pa

    schema = quarantine_schema()
    now = datetime.now(UTC)
    written = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        for batch in rejected:
            rows = batch.num_rows
            written += rows
            columns: list[Any] = [
                pa.repeat(pa.scalar(now, schema.field("quarantined_at").type), rows),
                pa.repeat(pa.scalar(run_id, pa.string()), rows),
                pa.repeat(pa.scalar(candidate_id, pa.string()), rows),
                pa.repeat(pa.scalar(published_in_part, pa.bool_()), rows),
                *(batch.column(name).cast(schema.field(name).type) for name in ("rules", "reason", "row")),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    table.append(reader, {"dp.run_id": run_id})
    return written


def read_quarantine(
    table: Table, *, limit: int, run_id: str | None = None, every_candidate: bool = False
) -> list[QuarantinedRow]:
    """Quarantined rows, the newest first.

    Args:
        table: The quarantine.
        limit: At most so many.
        run_id: Only of this run.
        every_candidate: Of all candidates; otherwise only of the one that came last.
    """
    snapshot = table.newest()
    if snapshot is None:
        return []
    rows = duckdb_engine.scan(snapshot.files)
    conditions = ["true"]
    parameters: dict[str, Any] = {"limit": limit}
    if run_id is not None:
        conditions.append("run_id = $run")
        parameters["run"] = run_id
    elif not every_candidate:
        conditions.append(f"candidate_id = (select arg_max(candidate_id, quarantined_at) from {rows})")
    query = (
        "select quarantined_at, run_id, candidate_id, published_in_part, rules, reason, row "
        f"from {rows} where {' and '.join(conditions)} order by quarantined_at desc limit $limit"
    )
    with duckdb_engine.in_memory() as connection:
        found = connection.execute(query, parameters).fetchall()
    return [QuarantinedRow(row[0], row[1], row[2], row[3], tuple(row[4]), row[5], row[6]) for row in found]


def masked(row: dict[str, Any], classified: Iterable[str]) -> dict[str, Any]:
    """A row fit for a screen: values of classified columns do not show."""
    hidden = set(classified)
    return {name: "•••" if name in hidden and value is not None else value for name, value in row.items()}
