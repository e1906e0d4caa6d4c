"""The tables of readings, for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    case,
    event,
    func,
    inspect,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

_REFUSALS = {
    "sqlite": (
        (
            "create trigger %(table)s_no_{action} before {action} on %(table)s "
            "begin select raise(abort, 'readings are only ever appended'); end"
        ),
    ),
    "postgresql": (
        (
            "create or replace function dp_readings_refuse() returns trigger language plpgsql as "
            "$$ begin raise exception 'readings are only ever appended'; end $$"
        ),
        (
            "create trigger %(table)s_no_{action} before {action} on %(table)s "
            "for each statement execute function dp_readings_refuse()"
        ),
    ),
}


class Tables:
    """The tables, and the statements that fold readings into them."""

    def __init__(self) -> None:
        self.metadata = MetaData()
        self.readings = only_appended(
            Table(
                "dp_sla_readings",
                self.metadata,
                Column(
                    "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
                ),
                Column("at", Float, nullable=False),
                *_key(),
                Column("state", String(16), nullable=False),
                Column("promise", Text, nullable=False),
                Column("reason", Text, nullable=False),
                Column("value", Float),
                Column("target", Float),
                Column("unit", String(8), nullable=False),
                Column("onset", Float),
                Column("budget_left", Float),
                Column("partition", String(16)),
                Index("dp_sla_readings_of", "product", "port", "objective", "id"),
            )
        )
        self.states = Table(
            "dp_sla_states",
            self.metadata,
            *_key(primary_key=True),
            Column("state", String(16), nullable=False),
            Column("since", Float, nullable=False),
            Column("previous", String(16)),
            Column("at", Float, nullable=False),
            Column("first_at", Float, nullable=False),
            Column("promise", Text, nullable=False),
            Column("reason", Text, nullable=False),
            Column("value", Float),
            Column("target", Float),
            Column("unit", String(8), nullable=False),
            Column("budget_seconds", Float),
            Column("budget_left", Float),
            Column("burn_rate", Float),
            Column("partition", String(16)),
        )
        # The key begins with the size and the start: a month of one product is one stretch of the index.
        self.rollups = Table(
            "dp_sla_rollups",
            self.metadata,
            Column("size", Integer, primary_key=True, autoincrement=False),
            Column("product", String(128), primary_key=True),
            Column("start", BigInteger, primary_key=True, autoincrement=False),
            Column("port", String(128), primary_key=True),
            Column("objective", String(64), primary_key=True),
            *(
                Column(name, Integer, nullable=False)
                for name in ("met", "warning", "breached", "other", "numbers")
            ),
            Column("total", Float, nullable=False),
            Column("low", Float),
            Column("high", Float),
        )
        # Breaches, each once: when it began and when it was noticed.
        self.breaches = only_appended(
            Table(
                "dp_sla_breaches",
                self.metadata,
                Column(
                    "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
                ),
                *_key(),
                Column("onset", Float, nullable=False),
                Column("at", Float, nullable=False, index=True),
            )
        )
        self.probes = only_appended(
            Table(
                "dp_sla_probes",
                self.metadata,
                Column(
                    "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
                ),
                Column("at", Float, nullable=False),
                Column("product", String(128), nullable=False),
                Column("port", String(128), nullable=False),
                Column("good", Boolean, nullable=False),
                Column("seconds", Float, nullable=False),
                Column("reason", Text, nullable=False),
                Index("dp_sla_probes_of", "product", "port", "at"),
            )
        )
        self.last_probes = Table(
            "dp_sla_last_probes",
            self.metadata,
            Column("product", String(128), primary_key=True),
            Column("port", String(128), primary_key=True),
            Column("at", Float, nullable=False),
            Column("good", Boolean, nullable=False),
            Column("seconds", Float, nullable=False),
            Column("reason", Text, nullable=False),
        )
        self.probe_hours = Table(
            "dp_sla_probe_hours",
            self.metadata,
            Column("product", String(128), primary_key=True),
            Column("port", String(128), primary_key=True),
            Column("start", BigInteger, primary_key=True, autoincrement=False),
            Column("probes", Integer, nullable=False),
            Column("good", Integer, nullable=False),
        )

    def add_missing_columns(self, connection: Connection) -> None:
        """What an earlier release made has no column for partitions yet."""
        for table in (self.states, self.readings):
            there = {column["name"] for column in inspect(connection).get_columns(table.name)}
            if "partition" not in there:
                connection.execute(DDL(f"alter table {table.name} add column partition varchar(16)"))  # type: ignore[no-untyped-call]

    def lacks_columns(self, connection: Connection) -> bool:
        """Whether an earlier release made the tables; the readings' column is added last."""
        columns = inspect(connection).get_columns(self.readings.name)
        return all(column["name"] != "partition" for column in columns)

    def upsert_state(self, connection: Connection) -> Any:
        """Replace the state of an objective."""
        return _replace(connection, self.states)

    def upsert_last_probe(self, connection: Connection) -> Any:
        """Replace the last probe of a port."""
        return _replace(connection, self.last_probes)

    def upsert_rollup(self, connection: Connection) -> Any:
        """Add to what an hour or a day holds."""
        insert = _insert(connection, self.rollups)
        table, new = self.rollups.c, insert.excluded
        counts = ("met", "warning", "breached", "other", "numbers", "total")
        changes: dict[str, Any] = {name: table[name] + new[name] for name in counts}
        changes["low"] = case((table.low < new.low, table.low), else_=func.coalesce(new.low, table.low))
        changes["high"] = case((table.high > new.high, table.high), else_=func.coalesce(new.high, table.high))
        return insert.on_conflict_do_update(index_elements=list(self.rollups.primary_key), set_=changes)

    def upsert_probes(self, connection: Connection) -> Any:
        """Add to what an hour holds."""
        insert = _insert(connection, self.probe_hours)
        changes = {name: self.probe_hours.c[name] + insert.excluded[name] for name in ("probes", "good")}
        return insert.on_conflict_do_update(index_elements=list(self.probe_hours.primary_key), set_=changes)


def only_appended(table: Table) -> Table:
    """Let the database refuse to change or remove rows: a guard against accidents."""
    for dialect, templates in _REFUSALS.items():
        for action in ("update", "delete"):
            for template in templates:
                statement = DDL(template.format(action=action)).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
                event.listen(table, "after_create", statement)
    return table


def _key(*, primary_key: bool = False) -> tuple[Column[str], ...]:
    lengths = {"product": 128, "port": 128, "objective": 64}
    return tuple(
        Column(name, String(length), primary_key=primary_key, nullable=False)
        for name, length in lengths.items()
    )


def _insert(connection: Connection, table: Table) -> Any:
    # Only the one that is needed: PostgreSQL's is a tenth of what dp sla takes.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def _replace(connection: Connection, table: Table) -> Any:
    """Put rows in the place of those with the same key."""
    insert = _insert(connection, table)
    own = {column.name for column in table.primary_key}
    changes = {column.name: insert.excluded[column.name] for column in table.c if column.name not in own}
    return insert.on_conflict_do_update(index_elements=sorted(own), set_=changes)
