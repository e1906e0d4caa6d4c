"""Proving the chain: which record was changed, removed, moved or slipped in, and whether anchors still hold.

Without an anchor, who can write the database can rewrite all of it, from some record to the end, and nothing shows.
An anchor is the head of the chain, kept where they cannot write: every record up to it is then as it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.records.model import GENESIS, hash_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Connection, Row

    from dp_dagster.records_database import RecordsDatabase

MAX_PROBLEMS = 1000
"""More are counted, not told one by one: a chain of millions may have been rewritten."""

_PAGE = 10_000
# Records whose own place is looked for, and how far around them.
_MAX_MOVED = 100
_NEARBY = 3


@dataclass(frozen=True)
class ChainProblem:
    """One thing that is wrong with the chain.

    Attributes:
        first: Id of the record, or of the first of several.
        last: Id of the last of several that follow each other; else ``first``.
        kind: What happened.
        message: A sentence.
        moved: How many places further on a moved record belongs.
    """

    first: int
    last: int
    kind: Literal["changed", "missing", "moved", "inserted", "unlinked", "head", "anchor"]
    message: str
    moved: int = 0

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Anchor:
    """The head of a chain at some time.

    Attributes:
        count: How many records there were.
        hash: Hash of the last of them.
        at: When the anchor was made, UTC, ISO 8601.
    """

    count: int
    hash: str
    at: str

    def to_json(self) -> str:
        """One line, as :func:`read_anchors` reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Verification:
    """What verifying a chain came to.

    Attributes:
        count: Records that are there.
        hash: Hash of the last of them.
        anchors: How many anchors were looked for.
        problems: What is wrong, in the order of the chain.
        further: How many more problems there are than are told.
    """

    count: int
    hash: str
    anchors: int = 0
    problems: tuple[ChainProblem, ...] = ()
    further: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def read_anchors(path: Path) -> tuple[Anchor, ...]:
    """The anchors in a file, one a line.

    Raises:
        UsageError: the file cannot be read, holds none, or holds something else.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not lines:
        raise UsageError(f"{path} holds no anchor; make one with dp audit anchor")
    return tuple(_anchor(line, f"{path}:{number}") for number, line in enumerate(lines, start=1))


def _anchor(line: str, place: str) -> Anchor:
    try:
        content = json.loads(line)
        anchor = Anchor(**content)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{place} is no anchor: {error}") from error
    if type(anchor.count) is not int or anchor.count < 0 or len(str(anchor.hash)) != len(GENESIS):
        raise UsageError(f"{place} is no anchor: it wants a count and a hash of {len(GENESIS)} digits")
    return anchor


def anchor_of(database: RecordsDatabase) -> Anchor:
    """The head of the chain.

    Raises:
        StoreError: the database cannot be read, or the chain does not end where its head says.
    """
    columns = database.records.c
    with database.reading() as connection:
        heads = [(int(row[0]), str(row[1])) for row in connection.execute(database.head.select())]
        last = connection.execute(database.records.select().order_by(columns.id.desc()).limit(1)).first()
    found = (last.id, last.hash) if last is not None else (0, GENESIS)
    if heads != [found]:
        raise StoreError(
            "the records do not end where their head says, so it is no anchor; see dp audit verify"
        )
    return Anchor(found[0], found[1], datetime.now(UTC).isoformat(timespec="seconds"))


def verify_chain(database: RecordsDatabase, anchors: tuple[Anchor, ...] = ()) -> Verification:
    """Read the whole chain once and say what is wrong.

    Raises:
        StoreError: the database cannot be read.
    """
    walk = _Walk(anchors)
    table = database.records
    # In the order of the table's columns, which is that of _Row.
    statement = table.select().order_by(table.c.id).execution_options(yield_per=_PAGE)
    with database.reading() as connection:
        for row in connection.execute(statement):
            walk.step(_Row._make(row))
        walk.end(_heads(database, connection))
        walk.name_the_moved(database, connection)
    return walk.verification()


def _heads(database: RecordsDatabase, connection: Connection) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in connection.execute(database.head.select())]


class _Row(NamedTuple):
    """A row as it lies in the database; what is in it may be of any type."""

    id: Any
    at: Any
    kind: Any
    product: Any
    subject: Any
    actor: Any
    run_id: Any
    payload: Any
    previous_hash: Any
    hash: Any

    def is_as_written(self, number: Any) -> bool:
        """Whether its hash is that of its content, as the record of that number."""
        try:
            digest = hash_of(
                number,
                self.at,
                self.kind,
                self.product,
                self.subject,
                self.actor,
                self.run_id,
                self.payload,
                self.previous_hash,
            )
        except (TypeError, ValueError):
            return False
        return bool(digest == self.hash)


@dataclass
class _Walk:
    """Where verification stands in the chain."""

    anchors: tuple[Anchor, ...]
    expected: int = 1
    previous: str = GENESIS
    previous_altered: bool = False
    problems: list[ChainProblem] = field(default_factory=list)
    further: int = 0
    altered: list[int] = field(default_factory=list)
    held: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wanted = {anchor.count for anchor in self.anchors}
        self.held[0] = GENESIS

    def step(self, row: _Row) -> None:
        number = row.id
        if not isinstance(number, int) or number < self.expected:
            self.note(
                number, number, "inserted", f"record {number} was slipped in before record {self.expected}"
            )
            return
        altered = not row.is_as_written(number)
        if number > self.expected:
            last = number - 1
            self.note(
                self.expected,
                last,
                "missing",
                f"record {last} is missing"
                if last == self.expected
                else f"records {self.expected} to {last} are missing",
            )
        elif row.previous_hash != self.previous and not altered and not self.previous_altered:
            # Where one of the two was changed or moved, that is told, and this follows from it.
            guilty = f"record {number - 1} was exchanged, or record {number} slipped in"
            self.note(
                number, number, "unlinked", f"record {number} does not follow the one before it: {guilty}"
            )
        if altered:
            self._note_altered(number)
        if number in self.wanted:
            self.held[number] = row.hash
        self.expected, self.previous, self.previous_altered = number + 1, row.hash, altered

    def _note_altered(self, number: int) -> None:
        if len(self.altered) < _MAX_MOVED:
            self.altered.append(number)
        elif self.problems and self.problems[-1].kind == "changed" and self.problems[-1].last == number - 1:
            self.problems[-1] = replace(self.problems[-1], last=number)
            return
        self.note(number, number, "changed", f"record {number} was changed after it was written")

    def end(self, heads: list[tuple[Any, Any]]) -> None:
        count = self.expected - 1
        if len(heads) != 1:
            self.note(count, count, "head", f"the chain has {len(heads)} heads instead of one")
        elif heads[0] != (count, self.previous):
            said = (
                f"the chain ends at record {count}, but {heads[0][0]} records were written"
                if heads[0][0] != count
                else f"the chain does not end with the hash that record {count} was written with"
            )
            self.note(count, count, "head", said)
        for anchor in self.anchors:
            found = self.held.get(anchor.count)
            if found is None:
                said = f"record {anchor.count}, with which the anchor of {anchor.at} ends, is gone"
            elif found != anchor.hash:
                said = (
                    f"the anchor of {anchor.at} does not hold: record {anchor.count}, or one before it, was "
                    "rewritten since"
                )
            else:
                continue
            self.note(anchor.count, anchor.count, "anchor", said)

    def note(self, first: Any, last: Any, kind: Any, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(ChainProblem(first, last, kind, message))
        else:
            self.further += 1

    def name_the_moved(self, database: RecordsDatabase, connection: Connection) -> None:
        """Tell records that stand at another place from those that were changed.

        A moved record's content is as it was written, under the number that it had.
        """
        if not self.altered:
            return
        table = database.records
        rows = connection.execute(table.select().where(table.c.id.in_(self.altered))).all()
        own = {row.id: place for row in rows if (place := self._own_place(row)) is not None}
        self.problems = [
            replace(problem, kind="moved", moved=own[problem.first] - problem.first)
            if problem.kind == "changed" and problem.first in own
            else problem
            for problem in self.problems
        ]

    def _own_place(self, found: Row[Any]) -> int | None:
        row = _Row._make(found)
        place = int(row.id)
        candidates: list[int] = [*range(place - _NEARBY, place + _NEARBY + 1), *self.altered]
        return next((one for one in candidates if one != place and row.is_as_written(one)), None)

    def verification(self) -> Verification:
        return Verification(
            count=self.expected - 1,
            hash=self.previous,
            anchors=len(self.anchors),
            problems=tuple(_joined(self.problems)),
            further=self.further,
        )


def _joined(problems: Iterable[ChainProblem]) -> Iterable[ChainProblem]:
    """Records that were changed, or moved by as much, one after another are told together."""
    last: ChainProblem | None = None
    for problem in problems:
        if (
            last is not None
            and problem.kind in {"changed", "moved"}
            and (problem.kind, problem.moved, problem.first) == (last.kind, last.moved, last.last + 1)
        ):
            last = replace(last, last=problem.last)
            continue
        if last is not None:
            yield _told(last)
        last = problem
    if last is not None:
        yield _told(last)


def _told(problem: ChainProblem) -> ChainProblem:
    """The problem with a sentence that fits how many records it is about."""
    first, last, moved = problem.first, problem.last, problem.moved
    if problem.kind == "changed" and last > first:
        return replace(problem, message=f"records {first} to {last} were changed after they were written")
    if problem.kind != "moved":
        return problem
    if last == first:
        return replace(problem, message=f"record {first + moved} was moved: it stands at place {first}")
    cause = f"{moved} before them removed" if moved > 0 else f"{-moved} before them slipped in"
    said = f"records {first + moved} to {last + moved} stand at places {first} to {last}: {cause}"
    return replace(problem, message=said)
