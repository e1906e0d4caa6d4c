"""What of a row was asked for, made ready once for each request: columns to read, and how they become an object.

graphql-core resolves each field of each row by itself, which costs some twenty times what reading the rows does.
The fields of rows are columns, so here a selection is turned into a list of columns, and a row into an object in
one step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import is_decimal, is_float, is_nested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.contracts.type_trees import TypeTree
    from dp_dagster.ports.outputs.graphql.model import Relation, RowFields

Row = tuple[Any, ...]


class Columns:
    """Columns to read of one dataset, each once, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, column: str) -> int:
        """Where the column stands in the rows that will be read."""
        return self._places.setdefault(column, len(self._places))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in order."""
        return tuple(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass
class RelatedPlan:
    """Rows of another dataset behind each row.

    Attributes:
        key: What the field is called in the answer.
        relation: Where it leads.
        places: Where the columns that refer stand in our rows.
        most: At most so many for each row.
        selection: What of them was asked for.
        columns: To read of the other dataset.
    """

    key: str
    relation: Relation
    places: tuple[int, ...]
    most: int
    selection: Selection
    columns: Columns


@dataclass
class Selection:
    """Fields of a row.

    Attributes:
        fields: What the fields stand for.
        places: Where each field of the answer is found in a row, by its key; negative ones are not in the row.
        changes: How values are written, by key, where they are not written as they are read.
        related: Rows behind each row.
        required: Columns that may not be null, as the schema says.
        not_finite: How many values were no finite numbers, by key; counted while rows are written.
    """

    fields: RowFields
    type_name: str
    places: dict[str, int] = field(default_factory=dict)
    changes: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    related: list[RelatedPlan] = field(default_factory=list)
    required: set[str] = field(default_factory=set)
    not_finite: Counter[str] = field(default_factory=Counter)

    def is_as_written(self, columns: tuple[str, ...]) -> bool:
        """Whether a row's object is what the form of values makes of these columns, but for what is not finite."""
        types = {column.name: column.type for column in self.fields.seen.columns}
        return (
            tuple(self.places) == columns
            and tuple(self.places.values()) == tuple(range(len(columns)))
            and not any(is_nested(types[name]) for name in columns)
        )

    def objects(self, rows: Sequence[Row], *, encoded: bool = False) -> list[dict[str, Any]]:
        """The rows as objects; related rows are null still. Of encoded rows, most values are written already."""
        keys, places = tuple(self.places), tuple(self.places.values())
        if places == tuple(range(len(rows[0]) if rows else 0)):
            made = [dict(zip(keys, row)) for row in rows]  # noqa: B905 - of one length, and asked a thousand times
        elif not places:
            made = [{} for _ in rows]
        elif len(places) == 1:
            (key,), (place,) = keys, places
            made = [{key: (*row, *self._tail)[place]} for row in rows]
        else:
            pick, tail = itemgetter(*places), self._tail
            made = [dict(zip(keys, pick(row + tail))) for row in rows]  # noqa: B905 - as above
        for key, change in self.changes.items():
            if encoded and change in _WRITTEN:
                continue
            for one in made:
                value = one[key]
                if value is not None:
                    one[key] = change(value)
        return made

    @property
    def _tail(self) -> Row:
        return (self.type_name, None)


TYPE_NAME_PLACE, NULL_PLACE = -2, -1


def change_of(
    tree: TypeTree, key: str, selection: Selection, below: Callable[[TypeTree], Callable[[Any], Any]]
) -> Callable[[Any], Any] | None:
    """How values of a column are written; ``None`` where they are written as they are read.

    Args:
        tree: The column's type.
        key: The field's key in the answer.
        selection: Counts what cannot be said.
        below: How a struct or an entry of a map is written: the fields that were asked for.
    """
    name = tree.name
    if name in _CHANGES:
        return _CHANGES[name]
    return _decimal if is_decimal(name) else part_change_of(tree, key, selection, below)


def _finite(key: str, selection: Selection) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        # Within lists and structs, what is no finite number has become a text.
        if isinstance(value, str) or not math.isfinite(value):
            selection.not_finite[key] += 1
            return None
        return value

    return change


def part_change_of(
    tree: TypeTree, key: str, selection: Selection, below: Callable[[TypeTree], Callable[[Any], Any]]
) -> Callable[[Any], Any] | None:
    """As :func:`change_of`, for a part of a value; numbers that JSON lacks and times are texts already there."""
    if tree.name == "list":
        items = part_change_of(tree.parts[0][1], key, selection, below)
        return _each(items) if items is not None else None
    if tree.name == "map":
        return _each(below(tree))
    if tree.name == "struct":
        return below(tree)
    return _finite(key, selection) if is_float(tree.name) else None


def _each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(values: Any) -> Any:
        return [None if value is None else change(value) for value in values]

    return changed


def _decimal(value: Any) -> str:
    return format(value, "f")


def _date(value: Any) -> Any:
    return value.isoformat()


def _moment(value: Any) -> Any:
    # Moments with a zone are in UTC already, as they are stored.
    return value.isoformat(timespec="microseconds")


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "binary": bytes.hex,
    "date": _date,
    "timestamp": _moment,
    "timestamp(UTC)": _moment,
}
_WRITTEN: frozenset[Callable[[Any], Any]] = frozenset({*_CHANGES.values(), _decimal})
