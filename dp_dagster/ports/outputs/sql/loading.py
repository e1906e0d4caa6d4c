"""What is loaded into a server: columns as they are, masked ones computed on the way, batch by batch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.engines.arrow import Batches
from dp_dagster.errors import StoreError
from dp_dagster.predicates.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from dp_dagster.access.masks import Masks
    from dp_dagster.access.view import MaskMethod
    from dp_dagster.contracts.model import Column
    from dp_dagster.storage import Snapshot

BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Stored:
    """A column of the table on the server.

    Attributes:
        name: Its name there.
        column: The dataset's column that it is made from.
        method: How it is masked; ``None`` where it holds the values themselves. The secret of ``hash`` stays here:
            a server shows the text of a view to everybody.
    """

    name: str
    column: Column
    method: MaskMethod | None = None


@contextmanager
def batches(
    snapshot: Snapshot, columns: Sequence[Stored], masks: Masks, *, before_hexadecimal: str | None = None
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of a version in the stored columns, in the order of its files; never more than a few batches at a time.

    Args:
        snapshot: The version.
        columns: What is stored.
        masks: Masks values.
        before_hexadecimal: For servers that read texts: dates and times are then as SQL writes them, binary values are
            hexadecimal digits with this in front of them.

    Raises:
        SettingsError: a column is masked by hash, and there is no secret.
        StoreError: the files cannot be read.
    """
    import duckdb

    from dp_dagster.engines.duckdb import first_line, in_memory, scan

    parameters: list[Any] = []
    expressions: list[str] = []
    for one in columns:
        if one.method is None:
            expression = quoted(one.column.name, "duckdb")
            if before_hexadecimal is not None:
                expression = _as_text(expression, one.column.type, before_hexadecimal)
        else:
            expression, values = masks.sql(one.column, one.method, "duckdb")
            parameters += values
        expressions.append(expression)
    query = f"select {', '.join(expressions)} from {scan(snapshot.files)}"
    try:
        with in_memory() as connection:
            yield iter(Batches(connection.execute(query, parameters), BATCH_ROWS))
    except duckdb.Error as error:
        raise StoreError(
            f"version {snapshot.version} of {snapshot.location.area} cannot be read: {first_line(error)}"
        ) from error


def _as_text(name: str, type_name: str, before_hexadecimal: str) -> str:
    if type_name == "binary":
        return f"'{before_hexadecimal}' || hex({name})"
    if type_name in {"date", "timestamp", "timestamp(UTC)"}:
        text = f"cast({name} as varchar)"
        return (
            f"case when contains({text}, ' (BC)') then replace({text}, ' (BC)', '') || ' BC' else {text} end"
        )
    return name
