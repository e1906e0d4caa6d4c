"""How files are read: their formats, types and packing."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import dataclass, replace
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import duckdb

    from dp_dagster.contracts.model import Contract

Format = Literal["csv", "parquet", "json"]

_FORMAT_BY_ENDING: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".ndjson": "json",
    ".jsonl": "json",
}
_COMPRESSED = {".gz", ".zst", ".zip", ".bz2", ".xz"}

UNPACKING_ERRORS = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, LZMAError)
"""What reading a packed file that is damaged, locked or of several parts may raise."""


def format_of(path: str, declared: Format | None) -> Format | None:
    """The format of a path or URL: as declared, else by its ending; ``None`` where neither says."""
    if declared is not None:
        return declared
    # Of nested URLs (zip://a.csv::s3://b.zip) the first one names the file.
    first = path.split("::", 1)[0]
    scheme, separator, _ = first.partition("://")
    is_local = not separator or scheme in {"file", "package"}
    name = PurePosixPath(first if is_local else re.split(r"[?#]", first, maxsplit=1)[0])
    while name.suffix.lower() in _COMPRESSED:
        name = name.with_suffix("")
    return _FORMAT_BY_ENDING.get(name.suffix.lower())


def unpack(packed: Path, target: Path) -> None:
    """Unpack a file: a zip that holds one file, bz2 or xz.

    Raises:
        UNPACKING_ERRORS: it is damaged, encrypted, or holds several files.
    """
    import fsspec

    if packed.suffix.lower() == ".zip":
        with zipfile.ZipFile(packed) as archive:
            # Macintosh computers add files of their own.
            names = [
                name
                for name in archive.namelist()
                if not name.endswith("/") and not name.startswith("__MACOSX/")
            ]
            if len(names) != 1:
                raise ValueError(
                    f"it holds {len(names)} files ({', '.join(names[:5])}); pack each in a zip of its own"
                )
            with archive.open(names[0]) as member, target.open("wb") as out:
                shutil.copyfileobj(member, out)
        return
    with fsspec.open(str(packed), "rb", compression="infer") as member, target.open("wb") as out:
        shutil.copyfileobj(member, out)


@dataclass(frozen=True)
class Reading:
    """How some files are to be read.

    Attributes:
        format: Of all of them.
        files: Local paths.
        types: DuckDB types by column, as far as they are declared.
        null_values: CSV: texts that mean null, besides nothing.
        delimiter: CSV: by default found by looking.
        header: CSV: whether the first line names the columns.
        skip: CSV: lines before the first one that counts.
    """

    format: Format
    files: Sequence[str]
    types: Mapping[str, str]
    null_values: tuple[str, ...] = ()
    delimiter: str | None = None
    header: bool = True
    skip: int = 0


def declared_types(contract: Contract | None, types: Mapping[str, str]) -> dict[str, str]:
    """DuckDB types by column: those that a contract expects, and over them those that are declared."""
    from dp_dagster.contracts.duckdb_types import SCALAR_TYPES, duckdb_type

    declared: dict[str, str] = {}
    for column in contract.columns if contract else ():
        # Nested types are left to the reader, as are types that only the contract's format knows.
        if column.type.startswith("decimal(") or column.type in SCALAR_TYPES:
            declared[column.name] = duckdb_type(column.type)
    return {**declared, **types}


def select_over(
    reading: Reading, connection: duckdb.DuckDBPyConnection
) -> Callable[[Mapping[str, str]], str]:
    """What reads the rows of CSV or JSON files in their order, given DuckDB types of columns over those of the reading.

    Columns of types that the store does not keep (a time of day, say) that were not declared but found by looking
    are read as the text that they are.

    Raises:
        duckdb.Error: the files are malformed; part of that shows only when the rows are read.
    """
    from dp_dagster.engines.stored_types import stored_as

    select: Callable[[Reading, duckdb.DuckDBPyConnection], str] = _json
    if reading.format == "csv":
        from dp_dagster.ports.inputs.files.csv_reading import prepared, select_csv

        reading, select = prepared(reading), select_csv
    relation = connection.sql(select(reading, connection))
    declared = {name.lower() for name in reading.types}
    as_text = {
        name: "VARCHAR"
        for name, dtype in zip(relation.columns, relation.dtypes, strict=True)
        if name.lower() not in declared and stored_as(dtype, name).refused
    }

    def select_as(types: Mapping[str, str]) -> str:
        # By whatever case a column's name is declared, the last one holds.
        return select(replace(reading, types={**reading.types, **as_text, **types}), connection)

    return select_as


def with_all_digits(reading: Reading, connection: duckdb.DuckDBPyConnection, file: IO[str]) -> Reading:
    """The reading of JSON files, from a file in which numbers that DuckDB would shorten are texts, if there are any.

    Args:
        reading: Of the files.
        connection: A work database.
        file: Empty; lasts until all is read.

    Raises:
        duckdb.Error: the files are no JSON.
    """
    from dp_dagster.ports.inputs.json_numbers import write_as_text

    options = ", ".join(common_options(reading)[:1])
    names = write_as_text(connection, options, file)
    if names is None:
        return reading
    file.flush()
    declared = {name.lower() for name in reading.types}
    texts = {name: "VARCHAR" for name in names if name.lower() not in declared}
    return replace(reading, files=(file.name,), types={**reading.types, **texts})


def _json(reading: Reading, connection: duckdb.DuckDBPyConnection) -> str:
    from dp_dagster.engines.duckdb import literal

    options = [*common_options(reading), "sample_size = -1"]
    if not reading.types:
        return f"select * from read_json({', '.join(options)})"
    found = connection.execute(f"describe select * from read_json({', '.join(options)})").fetchall()
    by_lower = {name.lower(): kind for name, kind in reading.types.items()}
    pairs = ", ".join(f"{literal(row[0])}: {literal(by_lower.get(row[0].lower(), row[1]))}" for row in found)
    return f"select * from read_json({', '.join([*options, f'columns = {{{pairs}}}'])})"


def common_options(reading: Reading) -> list[str]:
    """Arguments of DuckDB's functions that read CSV and JSON: the files, taken as they are.

    They are literals, as all other options: DuckDB binds no values in a table function's options.
    """
    from dp_dagster.engines.duckdb import exact, literal_list

    options = [literal_list([exact(file) for file in reading.files]), "hive_partitioning = false"]
    if len(reading.files) > 1:
        options.append("union_by_name = true")
    return options


def explain(error: Exception, names: Mapping[str, str]) -> str:
    """What DuckDB says of malformed files: line, column and value, without hints on options of its own.

    Args:
        error: DuckDB's.
        names: What to call each file instead of the path that was read.
    """
    kept: list[str] = []
    for line in (line.strip() for line in str(error).splitlines()):
        if line.startswith(("Possible", "*", "file =", "file=", "Set ", "LINE ")) or len(kept) == 5:
            break
        if line:
            kept.append(line)
    text = " ".join(kept) or type(error).__name__
    for path, name in names.items():
        text = text.replace(path, name)
    return text
