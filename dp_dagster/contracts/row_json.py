"""Rows as JSON text: what a quarantined row is kept as."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dp_dagster.contracts.samples import plain

if TYPE_CHECKING:
    import polars as pl


def json_rows(frame: pl.DataFrame) -> pl.Series:
    """Texts of one JSON object a row, columns in order.

    Dates and timestamps are ISO 8601, decimals are text (a number could lose digits), binary is hexadecimal, and
    NaN and the infinities are the texts ``"NaN"``, ``"inf"`` and ``"-inf"``.
    """
    import polars as pl

    simple = []
    for name, kind in frame.schema.items():
        column = pl.col(name)
        if isinstance(kind, pl.Datetime):
            zone = "+00:00" if kind.time_zone else ""
            simple.append(column.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.6f{zone}"))
        elif kind in (pl.Date, pl.Decimal):
            simple.append(column.cast(pl.String))
        elif (
            kind.is_integer()
            or kind in (pl.String, pl.Boolean)
            or (kind.is_float() and bool(frame[name].is_finite().all()))
        ):
            simple.append(column)
        else:  # nested, binary, or a float value that JSON lacks: rare, so one row at a time
            return pl.Series(
                [
                    json.dumps({key: plain(value) for key, value in row.items()}, ensure_ascii=False)
                    for row in frame.iter_rows(named=True)
                ],
                dtype=pl.String,
            )
    return frame.select(pl.struct(simple).struct.json_encode()).to_series()
