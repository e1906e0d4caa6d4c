"""A table with a column of every type, and versions of it that can be asked."""

from __future__ import annotations

import contextlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.access.masks import Masks
from dp_dagster.access.view import DatasetView
from dp_dagster.contracts.model import Column
from dp_dagster.rows.build import build
from dp_dagster.rows.export import Exports
from dp_dagster.rows.files import FilesEngine
from dp_dagster.rows.layout import Layout
from dp_dagster.rows.source import Source
from dp_dagster.rows.store import StoreFile
from dp_dagster.rows.version import Limits, PublishedVersion
from dp_dagster.storage.types import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

SECRET = b"a secret of the tests, long enough"
NAN = math.nan

#: Values to choose from, of every type that can be compared.
VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, 0, 127],
    "int64": [-(2**63), 2**53, 2**53 + 1, 2**63 - 1],
    "float32": [-math.inf, -0.0, 0.0, 0.10000000149011612, math.inf, NAN],
    "float64": [-math.inf, -0.0, 0.1, 1e300, math.inf, NAN],
    "decimal(9,2)": [Decimal("-0.01"), Decimal(0), Decimal("0.10"), Decimal("9999999.99")],
    "decimal(18,18)": [Decimal("-0.999999999999999999"), Decimal("0.000000000000000001")],
    "decimal(38,2)": [
        Decimal("-999999999999999999999999999999999999.99"),
        Decimal("-0.01"),
        Decimal(0),
        Decimal("0.10"),
        Decimal("999999999999999999999999999999999999.99"),
    ],
    "string": [
        "",
        "a",
        "A",
        "ab",
        "a\0b",
        "a\0c",
        "é",
        "e\u0301",
        "ß",
        "\uffff",
        "\U0001f600",
        "%",
        "a%b",
        "x'y",
        '"',
        "a\nb",
    ],
    "binary": [b"", b"\x00", b"\x00a", b"\xff"],
    "date": [date(1, 1, 1), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "timestamp": [
        datetime.fromisoformat(text)
        for text in ("0001-01-01", "1969-12-31T23:59:59.999999", "2026-03-29T02:30")
    ],
    "timestamp(UTC)": [
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    ],
}
NAMES = {kind: f"of {kind}" for kind in VALUES} | {"string": "text"}
EVERY_TYPE: dict[str, str] = {
    "id": "int64",
    "group": "string",
    **{NAMES[kind]: kind for kind in VALUES},
    "list": "list<decimal(4,1)>",
    "struct": 'struct<a: int64, "b c": timestamp(UTC)>',
    "map": "map<string, float64>",
}
COUNT = 60


def every_type() -> pa.Table:
    """Rows in no order, each value and null several times."""
    import pyarrow as pa

    numbers = [number * 37 % COUNT for number in range(COUNT)]
    columns: dict[str, list[Any]] = {
        "id": numbers,
        "group": ["b\0" if number % 3 else "B" for number in numbers],
    }
    for kind, values in VALUES.items():
        choices = [None, *values]
        columns[NAMES[kind]] = [choices[number % len(choices)] for number in numbers]
    columns["list"] = [[None, Decimal("1.5")][: number % 3] if number % 4 else None for number in numbers]
    columns["struct"] = [
        {"a": number, "b c": datetime(2024, 1, 1, tzinfo=UTC)} if number % 4 else None for number in numbers
    ]
    columns["map"] = [[("k", NAN), ("l", 1.5)][: number % 3] if number % 4 else None for number in numbers]
    schema = arrow_schema([Column(name, kind) for name, kind in EVERY_TYPE.items()])
    return pa.table(columns, schema=schema)


def every_type_frame() -> pl.DataFrame:
    """The same for Polars, in the order of the files."""
    import polars as pl

    frame = pl.from_arrow(every_type())
    assert isinstance(frame, pl.DataFrame)
    return frame


@dataclass
class Rows:
    """Rows in Parquet files, and both ways to ask them.

    Attributes:
        stored: Answers from the row store.
        files: Answers from the published files.
    """

    stored: PublishedVersion
    files: PublishedVersion
    exports: Exports
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return tuple(self.stored.source.columns)

    def view(self, **options: Any) -> DatasetView:
        """A view, of all columns unless said otherwise."""
        return DatasetView("rows", options.pop("columns", self.names), **options)


@contextlib.contextmanager
def published(
    folder: Path,
    parts: list[pa.Table],
    types: dict[str, str],
    key: tuple[str, ...],
    *,
    indexes: tuple[tuple[str, ...], ...] = (),
    room: int = 100_000_000,
    largest: int = 1_000_000_000,
    seconds: float = 30.0,
    sorted_by_key: bool = False,
) -> Iterator[Rows]:
    """Write the parts as Parquet files, build their row store, and open both."""
    from pyarrow import parquet

    files = []
    for number, part in enumerate(parts):
        path = folder / f"part-{number}.parquet"
        parquet.write_table(part, path, row_group_size=20)
        files.append(str(path))
    layout = Layout(tuple(types.items()), key, tuple(files), indexes, sorted_by_key, texts=True)
    target = folder / "store.db"
    build(target, layout)
    engine = FilesEngine(memory="512MB", spill=folder / "spill", threads=1)
    exports = Exports(engine, folder / "exports", room=room, largest=largest, seconds=seconds)
    source = Source(layout, {name: Column(name, kind) for name, kind in types.items()}, Masks(SECRET))
    workers = ThreadPoolExecutor(2)
    stored, of_files = (
        PublishedVersion(
            source,
            version=3,
            published_at=datetime(2024, 1, 1, tzinfo=UTC),
            rows=sum(part.num_rows for part in parts),
            engine=engine,
            exports=exports,
            workers=workers,
            limits=Limits(seconds=seconds),
        )
        for _ in range(2)
    )
    stored.store = StoreFile(target)
    try:
        yield Rows(stored, of_files, exports, folder)
    finally:
        workers.shutdown()
        exports.close()
        if stored.store is not None:
            stored.store.close()
        engine.close()
