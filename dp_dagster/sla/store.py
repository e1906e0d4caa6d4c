"""Where readings are kept: every one of them, what they add up to, and the state of each objective.

Three tables in the database of the records. Readings are only ever appended. States and rollups are made from them
as they are written, so that what an objective's state is, and how it went over a month, is one query that does not
grow with what was read before.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dp_dagster.sla.model import ObjectiveState, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import Connection, Row, Select

    from dp_dagster.records import Kind
    from dp_dagster.records_database import RecordsDatabase
    from dp_dagster.sla.model import ObjectiveKey
    from dp_dagster.sla.tables import Tables

HOUR, DAY = 3600, 86_400
_HOURLY_UP_TO = timedelta(days=3)
# More products than this are not named in a query: all are read, and what was not asked for is left out.
_NAMED = 500


@dataclass(frozen=True)
class Stretch:
    """What the readings of one hour or day add up to.

    Attributes:
        start: Its beginning, UTC.
        met, warning, breached, other: How many readings found what.
        mean, low, high: Of the values; ``None`` where there was none.
    """

    start: datetime
    met: int
    warning: int
    breached: int
    other: int
    mean: float | None
    low: float | None
    high: float | None

    @property
    def readings(self) -> int:
        """How many there were."""
        return self.met + self.warning + self.breached + self.other


class Readings:
    """The store of readings behind a database URL.

    Example:
        >>> readings = Readings(settings.resolved_records_url)
        >>> [one.objective for one in readings.states(["flights"]) if one.state == "breached"]
    """

    def __init__(self, url: str, *, lock_timeout: float = 60.0) -> None:
        """Remember where the readings are; the database is opened, and made, on first use."""
        self._url = url
        self._lock_timeout = lock_timeout
        self._opened: tuple[RecordsDatabase, Tables] | None = None
        self._opening = threading.Lock()

    def states(self, products: Collection[str] | None = None) -> list[ObjectiveState]:
        """Where each objective stands that was ever evaluated, in order of product, port and objective.

        Args:
            products: Ids; all by default.

        Raises:
            StoreError: the database cannot be read.
        """
        database, _ = self.opened()
        with database.reading() as connection:
            return self.states_within(connection, products)

    def states_within(
        self, connection: Connection, products: Collection[str] | None = None
    ) -> list[ObjectiveState]:
        """The same, in a transaction that somebody else has begun in the same database."""
        _, tables = self.opened()
        found = self._states(connection, tables, products)
        return [found[key] for key in sorted(found)]

    def record(
        self,
        readings: Sequence[Reading],
        *,
        beside: Callable[[Connection, Tables], None] | None = None,
    ) -> list[ObjectiveState]:
        """Append readings, and give the states that follow, in the same order.

        A few statements in one transaction, however many readings there are and were. Where a breach begins or ends,
        that goes on record in the same transaction.

        Args:
            readings: What was read.
            beside: Writes in the same transaction what the readings were made from.

        Raises:
            LockedError: another writer held the database for too long.
            StoreError: the database cannot be written; nothing was.
        """
        if not readings:
            return []
        database, tables = self.opened()
        with database.writing() as connection:
            before = self._states(connection, tables, {one.product for one in readings})
            states: dict[ObjectiveKey, ObjectiveState] = {}
            begun: list[dict[str, Any]] = []
            crossed: list[ObjectiveState] = []
            over: list[tuple[ObjectiveState, ObjectiveState]] = []
            for one in readings:
                last = states.get(one.key) or before.get(one.key)
                states[one.key] = after = _state_after(last, one)
                if one.state == "breached" and (last is None or last.state != "breached"):
                    crossed.append(after)
                    begun.append(
                        {
                            "product": one.product,
                            "port": one.port,
                            "objective": one.objective,
                            "onset": after.since.timestamp(),
                            "at": one.at.timestamp(),
                        }
                    )
                elif last is not None and last.state == "breached" and one.state in {"met", "warning"}:
                    over.append((last, after))
            if beside is not None:
                beside(connection, tables)
            connection.execute(tables.readings.insert(), [_reading_row(one) for one in readings])
            for after in crossed:
                self._append(database, connection, "sla_breached", after, {})
            for last, after in over:
                self._append(
                    database, connection, "sla_recovered", after, {"lasted_since": last.since.isoformat()}
                )
            if begun:
                connection.execute(tables.breaches.insert(), begun)
            connection.execute(tables.upsert_state(connection), [_state_row(one) for one in states.values()])
            rollups = [row for size in (HOUR, DAY) for row in _rollup_rows(readings, size)]
            connection.execute(tables.upsert_rollup(connection), rollups)
        return [states[one.key] for one in readings]

    def trends(
        self, start: datetime, end: datetime, products: Collection[str] | None = None
    ) -> dict[ObjectiveKey, list[Stretch]]:
        """What the readings of a time add up to: by the hour for up to three days, else by the day.

        Raises:
            StoreError: the database cannot be read.
        """
        database, tables = self.opened()
        size = HOUR if end - start <= _HOURLY_UP_TO else DAY
        table = tables.rollups
        first = int(start.timestamp()) // size * size
        statement = (
            table.select()
            .where(table.c.size == size, table.c.start >= first, table.c.start <= int(end.timestamp()))
            .order_by(table.c.start)
        )
        found: dict[ObjectiveKey, list[Stretch]] = defaultdict(list)
        with database.reading() as connection:
            for row in connection.execute(_of_products(statement, table, products)):
                if products is None or row.product in products:
                    found[row.product, row.port, row.objective].append(_stretch(row))
        return dict(found)

    def history(self, key: ObjectiveKey, limit: int = 100) -> list[Reading]:
        """The last readings of one objective, newest first.

        Raises:
            StoreError: the database cannot be read.
        """
        database, tables = self.opened()
        table = tables.readings
        statement = (
            table.select()
            .where(table.c.product == key[0], table.c.port == key[1], table.c.objective == key[2])
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        with database.reading() as connection:
            return [_reading(row) for row in connection.execute(statement)]

    def breaches(
        self, start: datetime, products: Collection[str] | None = None
    ) -> dict[ObjectiveKey, list[tuple[datetime, datetime]]]:
        """Breaches that were noticed since ``start``: when each began, and when it was noticed.

        Raises:
            StoreError: the database cannot be read.
        """
        database, tables = self.opened()
        table = tables.breaches
        statement = table.select().where(table.c.at >= start.timestamp())
        found: dict[ObjectiveKey, list[tuple[datetime, datetime]]] = defaultdict(list)
        with database.reading() as connection:
            for row in connection.execute(_of_products(statement, table, products)):
                if products is None or row.product in products:
                    found[row.product, row.port, row.objective].append((_moment(row.onset), _moment(row.at)))
        return dict(found)

    @staticmethod
    def _append(
        database: RecordsDatabase,
        connection: Connection,
        kind: Kind,
        state: ObjectiveState,
        more: dict[str, str],
    ) -> None:
        """Evidence of what the readings say, in the transaction that keeps them."""
        from dp_dagster.records.store import append_within

        facts = {
            "objective": state.objective,
            "promise": state.promise,
            "since": state.since.isoformat(),
            "reason": state.reason,
            "value": state.value,
            "target": state.target,
            "unit": state.unit,
            **({"partition": state.partition} if state.partition else {}),
            **more,
        }
        append_within(
            database, connection, kind, state.product, f"port/{state.port}", "service:dp-sla", "", facts
        )

    def _states(
        self, connection: Connection, tables: Tables, products: Collection[str] | None
    ) -> dict[ObjectiveKey, ObjectiveState]:
        statement = _of_products(tables.states.select(), tables.states, products)
        found = (_state(row) for row in connection.execute(statement))
        return {one.key: one for one in found if products is None or one.product in products}

    def opened(self) -> tuple[RecordsDatabase, Tables]:
        """The database and the tables in it.

        Raises:
            SettingsError: the URL is not one of SQLite or PostgreSQL.
            NotInstalledError: the driver is missing.
            StoreError: the database cannot be reached or made.
        """
        # SQLAlchemy costs 0.2 s to import; commands that read no readings do without.
        from dp_dagster.records_database import RecordsDatabase
        from dp_dagster.sla.tables import Tables

        with self._opening:
            if self._opened is None:
                database, tables = RecordsDatabase.open(self._url, self._lock_timeout), Tables()
                database.make(tables.metadata)
                with database.reading() as connection:
                    is_old = tables.lacks_columns(connection)
                if is_old:
                    with database.writing() as connection:
                        tables.add_missing_columns(connection)
                self._opened = (database, tables)
            return self._opened


def _of_products(statement: Select[Any], table: Any, products: Collection[str] | None) -> Select[Any]:
    if products is None or len(products) > _NAMED:
        return statement
    return statement.where(table.c.product.in_(sorted(products)))


def _state_after(before: ObjectiveState | None, reading: Reading) -> ObjectiveState:
    """The state that a reading leads to."""
    changed = before is None or before.state != reading.state
    if changed:
        since = min(reading.onset or reading.at, reading.at)
    elif before is not None:
        # A clock that was set back must not leave a state that begins in the future.
        since = min(before.since, reading.at)
    budget = reading.budget
    return ObjectiveState(
        product=reading.product,
        port=reading.port,
        objective=reading.objective,
        state=reading.state,
        since=since,
        previous=before.previous if before is not None and not changed else before.state if before else None,
        at=reading.at,
        first_at=min(before.first_at, reading.at) if before is not None else reading.at,
        promise=reading.promise,
        reason=reading.reason,
        value=reading.value,
        target=reading.target,
        unit=reading.unit,
        budget_seconds=budget.total.total_seconds() if budget else None,
        budget_left=budget.left if budget else None,
        burn_rate=budget.burn_rate if budget else None,
        partition=reading.partition,
    )


_MOMENTS = frozenset({"since", "at", "first_at", "onset"})


def _state_row(state: ObjectiveState) -> dict[str, Any]:
    return {
        name: value.timestamp() if name in _MOMENTS and value is not None else value
        for name, value in asdict(state).items()
    }


def _state(row: Row[Any]) -> ObjectiveState:
    names = [one.name for one in fields(ObjectiveState)]
    values: dict[str, Any] = {name: getattr(row, name) for name in names}
    return ObjectiveState(**values | {name: _moment(values[name]) for name in names if name in _MOMENTS})


def _reading_row(reading: Reading) -> dict[str, Any]:
    return {
        "at": reading.at.timestamp(),
        "product": reading.product,
        "port": reading.port,
        "objective": reading.objective,
        "state": reading.state,
        "promise": reading.promise,
        "reason": reading.reason,
        "value": reading.value,
        "target": reading.target,
        "unit": reading.unit,
        "onset": reading.onset.timestamp() if reading.onset else None,
        "budget_left": reading.budget.left if reading.budget else None,
        "partition": reading.partition,
    }


def _reading(row: Row[Any]) -> Reading:
    return Reading(
        product=row.product,
        port=row.port,
        objective=row.objective,
        state=row.state,
        at=_moment(row.at),
        reason=row.reason,
        promise=row.promise,
        value=row.value,
        target=row.target,
        unit=row.unit,
        onset=_moment(row.onset) if row.onset is not None else None,
        partition=row.partition,
    )


def _rollup_rows(readings: Iterable[Reading], size: int) -> list[dict[str, Any]]:
    """What a batch adds to the rollups: one row for each objective and hour or day."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in readings:
        start = int(one.at.timestamp()) // size * size
        row = found.setdefault(
            (*one.key, start),
            {
                "size": size,
                "product": one.product,
                "port": one.port,
                "objective": one.objective,
                "start": start,
                "met": 0,
                "warning": 0,
                "breached": 0,
                "other": 0,
                "numbers": 0,
                "total": 0.0,
                "low": None,
                "high": None,
            },
        )
        row[one.state if one.state in {"met", "warning", "breached"} else "other"] += 1
        if one.value is not None:
            row["numbers"] += 1
            row["total"] += one.value
            row["low"] = one.value if row["low"] is None else min(row["low"], one.value)
            row["high"] = one.value if row["high"] is None else max(row["high"], one.value)
    return list(found.values())


def _stretch(row: Row[Any]) -> Stretch:
    values = row._mapping  # noqa: SLF001 SQLAlchemy's public name for a row as a mapping
    return Stretch(
        start=datetime.fromtimestamp(values["start"], UTC),
        met=values["met"],
        warning=values["warning"],
        breached=values["breached"],
        other=values["other"],
        mean=values["total"] / values["numbers"] if values["numbers"] else None,
        low=values["low"],
        high=values["high"],
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
