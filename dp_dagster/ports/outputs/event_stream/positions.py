"""How far each topic has come: one row a port and target, in the database of the records.

A position is written when the brokers have everything up to it. Who is killed in between sends some events again, and
leaves none out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from dp_dagster.records_database import RecordsDatabase

if TYPE_CHECKING:
    from sqlalchemy import Table

    from dp_dagster.settings import Settings

Phase = Literal["snapshot", "changes", "done"]
"""``snapshot``: all rows of the version are being told; ``changes``: what it changed; ``done``: nothing is left."""


@dataclass(frozen=True)
class Position:
    """How far a target has come.

    Attributes:
        version: The version that is being told, or was told last.
        phase: What of it is told.
        place: How many events of that phase were told; of changes, the ordinal of the next.
        view: Fingerprint of what the readers saw.
        complete: The last version that was told whole; ``None`` before the first.
        fault: What went wrong the last time; empty where nothing did.
        behind_since: Since when there is something that could not be told, UTC, ISO 8601; empty where there is not.
    """

    version: int
    phase: Phase
    place: int
    view: str
    complete: int | None = None
    fault: str = ""
    behind_since: str = ""


class Positions:
    """The positions of one target.

    Args:
        settings: Of the platform.
        product: Id of the product.
        port: The port, with its major version: ``v1/people_events``.
        target: Where events go: ``kafka:shop.people.v1``.
    """

    def __init__(self, settings: Settings, product: str, port: str, target: str) -> None:
        self._database = _opened(settings.resolved_records_url, settings.lock_timeout)
        self._table = _table()
        self._key = {"product": product, "port": port, "target": target}

    def read(self) -> Position | None:
        """The position; ``None`` before the first event.

        Raises:
            StoreError: the database failed.
        """
        with self._database.reading() as connection:
            found = connection.execute(self._table.select().where(*self._where())).mappings().first()
        if found is None or found["version"] is None:
            return None
        names = ("version", "phase", "place", "view", "complete", "fault", "behind_since")
        return Position(**{name: found[name] for name in names})

    def fault(self) -> tuple[str, str]:
        """What went wrong the last time, and since when; empty where nothing did."""
        with self._database.reading() as connection:
            found = connection.execute(self._table.select().where(*self._where())).mappings().first()
        return ("", "") if found is None else (found["fault"], found["behind_since"])

    def write(self, position: Position) -> None:
        """Keep a position; nothing is wrong any more.

        Raises:
            StoreError: the database failed; the events since the last one will be sent again.
        """
        position = replace(
            position, fault="", behind_since="" if position.phase == "done" else position.behind_since
        )
        self._put({name: getattr(position, name) for name in position.__dataclass_fields__})

    def failed(self, fault: str) -> str:
        """Keep what went wrong; gives since when the target is behind."""
        since = self.fault()[1] or datetime.now(UTC).isoformat(timespec="seconds")
        self._put({"fault": fault, "behind_since": since})
        return since

    def _put(self, values: dict[str, Any]) -> None:
        values = {**values, "updated_at": datetime.now(UTC).isoformat(timespec="seconds")}
        with self._database.writing() as connection:
            done = connection.execute(self._table.update().where(*self._where()).values(**values))
            if not done.rowcount:
                empty = {"version": None, "phase": "", "place": 0, "view": "", "complete": None}
                none = {"fault": "", "behind_since": ""}
                connection.execute(self._table.insert().values(**self._key, **{**empty, **none, **values}))

    def _where(self) -> list[Any]:
        return [self._table.c[name] == value for name, value in self._key.items()]


@lru_cache(maxsize=4)
def _opened(url: str, lock_timeout: float) -> RecordsDatabase:
    database = RecordsDatabase.open(url, lock_timeout)
    database.make(_table().metadata)
    return database


@lru_cache(maxsize=1)
def _table() -> Table:
    from sqlalchemy import Column, Integer, MetaData, String, Table, Text

    return Table(
        "dp_event_positions",
        MetaData(),
        Column("product", Text, primary_key=True),
        Column("port", Text, primary_key=True),
        Column("target", Text, primary_key=True),
        Column("version", Integer),
        Column("phase", String(16), nullable=False),
        Column("place", Integer, nullable=False),
        Column("view", String(64), nullable=False),
        Column("complete", Integer),
        Column("fault", Text, nullable=False),
        Column("behind_since", String(32), nullable=False),
        Column("updated_at", String(32), nullable=False),
    )
