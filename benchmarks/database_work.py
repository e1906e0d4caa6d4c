"""What is asked of databases: the statements, and how much work they are to SQLite.

Steps are instructions of SQLite's virtual machine, in hundreds. They are the same each time, on any machine and however
busy it is, and grow with the rows that a statement goes through, not with the depth of an index: what they say of a
long history against a short one is no matter of luck.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 100


@dataclass
class Work:
    """What was asked.

    Attributes:
        statements: What was sent, in order, with its parameters.
        steps: Hundreds of instructions that SQLite took for them.
    """

    statements: list[tuple[str, Any]] = field(default_factory=list)
    steps: int = 0

    def count(self) -> int:
        self.steps += 1
        return 0


@contextmanager
def counted_work() -> Iterator[Work]:
    """Count what databases are asked meanwhile, on connections that are opened meanwhile."""
    work = Work()

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        work.statements.append((statement, parameters))

    def count(connection: Any, _: object) -> None:
        if hasattr(connection, "set_progress_handler"):
            connection.set_progress_handler(work.count, _STEP)

    engine = sqlalchemy.Engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    sqlalchemy.event.listen(engine, "connect", count)
    try:
        yield work
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)
        sqlalchemy.event.remove(engine, "connect", count)


def plan(connection: sqlalchemy.Connection, statement: str, parameters: Any) -> list[str]:
    """How SQLite goes about a statement: a line for each table that it goes through."""
    some = parameters[0] if isinstance(parameters, list) else parameters
    rows = connection.exec_driver_sql(f"explain query plan {statement}", some)
    return [row.detail for row in rows]
