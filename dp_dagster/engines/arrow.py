"""What DuckDB hands out batch by batch in Arrow's form, with faults that are still DuckDB's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa


class Batches:
    """The rows of a query, batch by batch, none of them held.

    A fault in the middle (a file that is gone, a query that was interrupted) crosses Arrow's C interface as text
    alone, and pyarrow raises it as an ``OSError``. Who asks DuckDB expects the errors of DuckDB: here they are raised.

    Args:
        asked: What the query was executed with; nothing else may be read from it.
        rows: The most rows of a batch.
    """

    def __init__(self, asked: duckdb.DuckDBPyConnection, rows: int) -> None:
        self._reader = asked.to_arrow_reader(rows)

    @property
    def schema(self) -> pa.Schema:
        """The columns, known before any row is."""
        return self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Each batch.

        Raises:
            duckdb.Error: of the class that DuckDB would have raised itself.
        """
        import pyarrow as pa

        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                return
            except (OSError, pa.ArrowException) as error:
                raise _fault(str(error)) from error
            yield batch


def _fault(text: str) -> duckdb.Error:
    """The error of DuckDB that begins its text in this way (``IO Error: No files found …``)."""
    import duckdb

    kinds: dict[str, type[duckdb.Error]] = {
        "INTERRUPT Error": duckdb.InterruptException,
        "IO Error": duckdb.IOException,
        "HTTP Error": duckdb.HTTPException,
        "Out of Memory Error": duckdb.OutOfMemoryException,
        "INTERNAL Error": duckdb.InternalException,
        "FATAL Error": duckdb.FatalException,
    }
    return kinds.get(text.split(":", 1)[0], duckdb.Error)(text)
