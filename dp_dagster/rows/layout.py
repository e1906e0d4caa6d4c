"""What a row store's file looks like inside, and where it lies: known to who builds it and to who reads it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dp_dagster.rows.forms import form_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dp_dagster.contracts.model import Column
    from dp_dagster.storage import Snapshot

# Raise it when a file of an older layout must not be read any more: the name of the file changes with it.
LAYOUT = 4
ROWS = "rows"
"""The part of the file with the rows."""
INDEX = "index "
"""The parts of the file with the indexes: this and their numbers."""
INDEXED_ROW = "r"
"""Of an index: the row's number in the order of the rows."""
ROW_NUMBER = "n"
"""Of datasets without key: the row's place among the version's files, by which rows are then told apart."""
TEXT = "j"
"""Of layouts with texts: a comma and the row as a JSON object, as bytes."""
FILES_ROW_NUMBER = '"row number of dp_dagster"'
"""The same in :meth:`Layout.files_table`, quoted."""

# As many values as a version may have for its rows to be kept as texts, too: they make a page several times as fast,
# and building the row store several times as long, which must not outlast the refresh of a large version.
_MOST_VALUES_IN_TEXTS = 50_000_000
# Numbers the rows of all files in one: no file has as many rows.
_FILE_STRIDE = 1 << 40


@dataclass(frozen=True)
class Layout:
    """One version's rows as the row store keeps them.

    Attributes:
        columns: Names and canonical types, in order; column number i is called ``c<i>`` in the file.
        key: The key's columns; empty where rows are told apart by their number.
        indexes: Further columns that rows are looked up by.
        files: The version's Parquet files.
        sorted_by_key: Whether the files hold the rows in the key's order already.
        texts: Whether each row is kept as a JSON text, too.
    """

    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    files: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    sorted_by_key: bool = False
    texts: bool = False

    @cached_property
    def names(self) -> dict[str, str]:
        """The file's name of each column."""
        return {name: f"c{number}" for number, (name, _) in enumerate(self.columns)}

    @cached_property
    def types(self) -> dict[str, str]:
        """Canonical type of each column."""
        return dict(self.columns)

    def files_table(self) -> str:
        """The files as a table in DuckDB's SQL; without a key, rows carry their number."""
        from dp_dagster.engines.duckdb import scan

        if self.key:
            return scan(self.files)
        number = f"file_index::bigint * {_FILE_STRIDE} + file_row_number"
        return f"(select *, {number} as {FILES_ROW_NUMBER} from {scan(self.files)})"

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Read what :meth:`to_json` wrote."""
        data = json.loads(text)
        return cls(
            columns=tuple((name, kind) for name, kind in data["columns"]),
            key=tuple(data["key"]),
            files=tuple(data["files"]),
            indexes=tuple(tuple(index) for index in data["indexes"]),
            sorted_by_key=data["sorted_by_key"],
            texts=data["texts"],
        )

    @cached_property
    def digest(self) -> str:
        """Changes whenever a file built before must not be taken for this one."""
        return hashlib.sha256(f"{LAYOUT}\0{self.to_json()}".encode()).hexdigest()[:16]


def layout_of(
    snapshot: Snapshot,
    columns: Iterable[Column],
    key: tuple[str, ...],
    *,
    sort_by: tuple[str, ...] = (),
    looked_up_by: Iterable[tuple[str, ...]] = (),
) -> Layout:
    """The layout of a version.

    Args:
        snapshot: The version.
        columns: Those that it has.
        key: The dataset's key; without one that the version has in full, rows are told apart by their number.
        sort_by: What the dataset's rows are sorted by when they are written.
        looked_up_by: Further columns that rows are often looked up by.
    """
    types = {column.name: column.type for column in columns}
    usable = bool(key) and all(name in types and form_of(types[name]).ordered for name in key)
    chosen = key if usable else ()
    indexes = {
        index: None
        for index in looked_up_by
        if all(name in types and _can_be_indexed(types[name]) for name in index)
        and index != chosen[: len(index)]
    }
    return Layout(
        columns=tuple(types.items()),
        key=chosen,
        files=snapshot.files,
        indexes=tuple(indexes),
        sorted_by_key=bool(chosen) and sort_by[: len(chosen)] == chosen and len(snapshot.files) == 1,
        texts=snapshot.rows * len(types) <= _MOST_VALUES_IN_TEXTS,
    )


def _can_be_indexed(type_name: str) -> bool:
    # What is followed from row to row is no measured number, and NaN has no place among numbers.
    form = form_of(type_name)
    return form.ordered and not form.has_nan


def store_path(folder: Path, product: str, area: str, version: int, layout: Layout) -> Path:
    """Where the row store of a version lies below the state directory's ``rows`` folder."""
    return folder / product / area / f"{version}.{layout.digest}.db"


def rows_folder(state_directory: Path) -> Path:
    """Folder of all row stores."""
    return state_directory / "rows"
