"""Grants as one view: which columns it has, what is stored for them, and when a grant's words hold.

A server's view is one for everybody, so what somebody sees is decided while it is read. The rules are those of
:mod:`dp_dagster.access.policy`: grants with the same rows add up; grants to all rows decide alone; of the others,
the rows add up and of each column the strictest shows. Filters count as the same where they are written alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.access.masks import SHOWN_MOST
from dp_dagster.errors import StoreError
from dp_dagster.ports.outputs.sql.loading import Stored
from dp_dagster.predicates.model import EVERYTHING, Condition, Negation, Predicate, columns_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dp_dagster.access.policy import DatasetGrant, GuardedDataset
    from dp_dagster.access.view import MaskMethod
    from dp_dagster.contracts.model import Column

CLEAR = 0
ABSENT = len(SHOWN_MOST) + 1
"""How much is shown of a column is a number: 0 for the value, then the masks, what shows most first, then nothing."""
STORED_MASKS: tuple[MaskMethod, ...] = ("partial", "hash")
"""Masks that are computed when a version is loaded; the others are constants."""


def level(method: MaskMethod | None) -> int:
    """How much a method shows."""
    return CLEAR if method is None else 1 + SHOWN_MOST.index(method)


@dataclass(frozen=True)
class Rows:
    """Grants with the same rows.

    Attributes:
        predicate: Which rows; may hold references to who asks.
        grants: Places in :attr:`Guard.grants`.
    """

    predicate: Predicate
    grants: tuple[int, ...]


@dataclass(frozen=True)
class Guard:
    """What a view shows to whom.

    Attributes:
        columns: Columns of the view: those that somebody is given.
        grants: The grants that the server can decide.
        rows: These by their rows; all rows first, where there are such grants.
        stored: What the table behind the view holds, and nothing else.
        is_decided: Whether grants decide at all; otherwise everybody who may read the view sees everything.
    """

    columns: tuple[Column, ...]
    grants: tuple[DatasetGrant, ...]
    rows: tuple[Rows, ...]
    stored: tuple[Stored, ...]
    is_decided: bool

    def levels(self, column: str) -> frozenset[int]:
        """How much of a column anybody may see."""
        if not self.is_decided:
            return frozenset({CLEAR})
        found = {level(grant.columns[column]) if column in grant.columns else ABSENT for grant in self.grants}
        return frozenset(found)

    def stored_name(self, column: str, method: MaskMethod | None = None) -> str:
        """The name of what is stored of a column."""
        return next(one.name for one in self.stored if one.column.name == column and one.method == method)

    @property
    def filters_rows(self) -> bool:
        """Whether some rows are not for everybody."""
        return any(rows.predicate != EVERYTHING for rows in self.rows)


def guard_of(
    columns: Sequence[Column], guarded: GuardedDataset | None, grants: Iterable[DatasetGrant], what: str
) -> Guard:
    """The guard of a version's view.

    Args:
        columns: The version's columns.
        guarded: The dataset; ``None`` where no grants decide.
        grants: Those of its grants that the server can decide.
        what: The version, for messages.

    Raises:
        StoreError: a grant needs a column that the version does not have.
    """
    if guarded is None:
        return Guard(
            tuple(columns), (), (), tuple(Stored(one.name, one) for one in columns), is_decided=False
        )
    known = {column.name: column for column in columns}
    decided = tuple(grants)
    by_rows: dict[Predicate, list[int]] = {}
    needed: set[str] = set()
    filtered: set[str] = set()
    for number, grant in enumerate(decided):
        by_rows.setdefault(grant.rows, []).append(number)
        filtered |= columns_of(grant.rows)
        needed |= {*grant.columns, *columns_of(grant.rows)}
    gone = sorted(needed - set(known))
    if gone:
        raise StoreError(f"{what} has no column {', '.join(gone)}, which a grant needs")
    rows = sorted((Rows(rows, tuple(numbers)) for rows, numbers in by_rows.items()), key=_all_rows_first)
    shown = tuple(one for one in columns if any(one.name in grant.columns for grant in decided))
    stored: list[Stored] = []
    prefix = _prefix([one.name for one in columns])
    for number, column in enumerate(columns):
        given = {grant.columns[column.name] for grant in decided if column.name in grant.columns}
        if None in given or column.name in filtered:
            stored.append(Stored(column.name, column))
        stored += [
            Stored(f"{prefix}mask_{number}_{method}", column, method)
            for method in STORED_MASKS
            if method in given
        ]
    return Guard(shown, decided, tuple(rows), tuple(stored), is_decided=True)


def conditions_of(predicate: Predicate) -> Iterator[Condition]:
    """The conditions that a predicate is made of."""
    if isinstance(predicate, Condition):
        yield predicate
    elif isinstance(predicate, Negation):
        yield from conditions_of(predicate.part)
    else:
        for part in predicate.parts:
            yield from conditions_of(part)


def _all_rows_first(rows: Rows) -> bool:
    return rows.predicate != EVERYTHING


def _prefix(names: Iterable[str]) -> str:
    """How the names begin that no column has."""
    taken = [name.lower() for name in names]
    prefix = "dp_"
    while any(name.startswith(prefix) for name in taken):
        prefix = f"{prefix}_"
    return prefix


def own_prefix(columns: Iterable[Column]) -> str:
    """How the names of columns begin that are none of the dataset's."""
    return _prefix(column.name for column in columns)
