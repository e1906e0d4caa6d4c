"""What PostgreSQL's types can hold."""

from __future__ import annotations

from dp_dagster.ports.outputs.sql.holding import Holding
from dp_dagster.predicates.sql import SQL_TYPES

HOLDING = Holding(
    server="PostgreSQL",
    names=SQL_TYPES["postgres"],
    decimal="numeric({precision},{scale})",
    # Times reach further back and forth in PostgreSQL than in DuckDB, but for the years before 4714 BC.
    ranges={
        "date": ("4714-11-24 (BC)", "5874897-12-31"),
        "timestamp": ("4714-11-24 (BC) 00:00:00", "294247-01-10 04:00:54.775806"),
        "timestamp(UTC)": ("4714-11-24 (BC) 00:00:00+00", "294247-01-10 04:00:54.775806+00"),
    },
    longest_name=63,
    reserved_names=frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}),
    holds_null_character=False,
)
