"""How CSV is read: what separates its fields is settled first, so that DuckDB has nothing to guess about rows.

Left to itself, DuckDB looks for a dialect that fits most rows. For a file with one row too long it may find that the
rows before it are a preamble, and drop them without a word.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.errors import InputError

if TYPE_CHECKING:
    import duckdb

    from dp_dagster.ports.inputs.files.reading import Reading

_DELIMITERS = (",", ";", "\t", "|")
# As much of a file as holds its first line, however many columns it has.
_HEAD_BYTES = 1 << 20
# Rows that are looked at where each column's type is known already.
_SAMPLE_ROWS = 20_480


def prepared(reading: Reading) -> Reading:
    """The reading with the delimiter that its first file has, unless one is declared.

    Raises:
        InputError: the file is empty.
    """
    if reading.delimiter is not None:
        _first_record(reading, reading.files[0], reading.delimiter)
        return reading
    # Whatever makes the most of the first line.
    widths = {mark: len(_first_record(reading, reading.files[0], mark)) for mark in _DELIMITERS}
    return replace(reading, delimiter=max(_DELIMITERS, key=lambda mark: widths[mark]))


def select_csv(reading: Reading, connection: duckdb.DuckDBPyConnection) -> str:
    """The SELECT that reads the files.

    Raises:
        duckdb.Error: they are malformed; names line and value.
    """
    import duckdb

    from dp_dagster.engines.duckdb import literal

    options = _options(reading)
    types = dict(reading.types)
    everything = False
    try:
        # DuckDB refuses types for columns that are not there, where the contract says it better.
        present = [
            row[0]
            for row in connection.execute(
                f"describe select * from read_csv({', '.join([*options, 'all_varchar = true'])})"
            ).fetchall()
        ]
    except duckdb.InvalidInputException:
        # It says that it could not find a dialect, and shows its options. The place of the fault says more.
        _find_fault(reading, connection)
        raise
    if types:
        by_lower = {name.lower(): name for name in present}
        types = {by_lower[name.lower()]: kind for name, kind in types.items() if name.lower() in by_lower}
        everything = len(types) == len(present)
    if types:
        pairs = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types.items())
        options.append(f"types = {{{pairs}}}")
    # Where types are found by looking, the whole file decides, not its first rows: a late surprise is no error.
    options.append(f"sample_size = {_SAMPLE_ROWS if everything else -1}")
    return f"select * from read_csv({', '.join(options)})"


def _options(reading: Reading) -> list[str]:
    from dp_dagster.ports.inputs.files.reading import common_options

    return [*common_options(reading), *_dialect(reading)]


def _dialect(reading: Reading) -> list[str]:
    from dp_dagster.engines.duckdb import literal, literal_list

    return [
        f"header = {str(reading.header).lower()}",
        f"skip = {reading.skip}",
        f"delim = {literal(reading.delimiter or ',')}",
        "quote = '\"'",
        "escape = '\"'",
        "comment = ''",
        f"nullstr = {literal_list(['', *reading.null_values])}",
    ]


def _find_fault(reading: Reading, connection: duckdb.DuckDBPyConnection) -> None:
    from dp_dagster.engines.duckdb import exact, literal

    for file in reading.files:
        width = len(_first_record(reading, file, reading.delimiter or ","))
        columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(width))
        options = [
            literal(exact(file)),
            "auto_detect = false",
            f"columns = {{{columns}}}",
            *_dialect(reading),
        ]
        connection.execute(f"select count(columns(*)) from read_csv({', '.join(options)})").fetchall()


def _first_record(reading: Reading, file: str, delimiter: str) -> list[str]:
    import pyarrow as pa

    with pa.input_stream(file, compression="detect") as stream:
        head = io.StringIO(stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace"), newline="")
    for _ in range(reading.skip):
        head.readline()
    if len(delimiter) > 1:
        fields = head.readline().rstrip("\r\n").split(delimiter)
    else:
        # Not strict: what is wrong with the line, DuckDB says.
        fields = next(csv.reader(head, delimiter=delimiter), [])
    if not fields:
        raise InputError("the file is empty: it has not even a line that names its columns")
    return fields
