"""From a condition to where the row store looks for its rows, and what it asks of them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.predicates.model import AllOf, Condition
from dp_dagster.rows.conditions import stored_condition
from dp_dagster.rows.forms import NAN
from dp_dagster.rows.matching import matcher
from dp_dagster.rows.store import Span

if TYPE_CHECKING:
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.layout import Layout
    from dp_dagster.rows.matching import Matches
    from dp_dagster.rows.store import StoreFile

_BOUNDS = frozenset({"eq", "lt", "le", "gt", "ge"})


@dataclass(frozen=True)
class Wanted:
    """Rows that are looked for.

    Attributes:
        span: Where.
        matches: What tells them there, one after the other: each is asked only of rows that those before let through.
    """

    span: Span
    matches: tuple[Matches, ...]


def wanted_rows(
    store: StoreFile,
    layout: Layout,
    own: Predicate,
    where: Predicate,
    *,
    after: tuple[Any, ...] | None = None,
    before: tuple[Any, ...] | None = None,
) -> Wanted:
    """Where the rows are for which two predicates hold.

    Args:
        store: The row store.
        layout: What is in it.
        own: The view's own row filter. Of a row that it hides, nothing else is looked at.
        where: What is asked for besides; both with typed values.
        after: A key; only rows behind it.
        before: A key; only rows in front of it.

    Raises:
        UsageError: a value is not of its column's type.
        StoreError: the file is damaged.
    """
    parts: list[list[Predicate]] = [[], []]
    for conjuncts, predicate in zip(parts, (own, where), strict=True):
        _split(stored_condition(predicate, layout.types), conjuncts)
    span = Span(0, store.rows)
    for conjuncts in parts:
        further = _key_range(store, layout, conjuncts)
        span = Span(max(span.first, further.first), min(span.end, further.end))
    first = span.first if after is None else max(span.first, store.bound(after, after=True))
    end = span.end if before is None else min(span.end, store.bound(before))
    span = Span(first, max(first, end))
    for conjuncts in parts:
        if span.index is None:
            span = _index_range(store, layout, conjuncts, span)
    matches = [matcher(AllOf(tuple(some)), layout.names, layout.types) for some in parts if some]
    return Wanted(span, tuple(matches))


def _split(predicate: Predicate, into: list[Predicate]) -> None:
    if isinstance(predicate, AllOf):
        for part in predicate.parts:
            _split(part, into)
    else:
        into.append(predicate)


def _key_range(store: StoreFile, layout: Layout, conjuncts: list[Predicate]) -> Span:
    """The range of the key that conditions leave; those that are met by all of it are taken away."""
    prefix: tuple[Any, ...] = ()
    first, end = 0, store.rows
    for column in layout.key:
        own = [part for part in conjuncts if isinstance(part, Condition) and _bounds(part, column)]
        same = next((part for part in own if part.operator == "eq"), None)
        if same is not None:
            prefix = (*prefix, same.value)
            conjuncts.remove(same)
            first, end = store.bound(prefix), store.bound(prefix, after=True)
            continue
        for part in own:
            at = store.bound((*prefix, part.value), after=part.operator in {"gt", "le"})
            if part.operator in {"gt", "ge"}:
                first = max(first, at)
            else:
                end = min(end, at)
            conjuncts.remove(part)
        for one in conjuncts:
            if isinstance(one, Condition) and one.column == column and one.operator == "starts_with":
                first = max(first, store.bound((*prefix, one.value)))
        break
    return Span(first, max(first, end))


def _bounds(part: Condition, column: str) -> bool:
    return (
        part.column == column
        and part.operator in _BOUNDS
        and not (isinstance(part.value, str) and part.value == NAN)
    )


def _index_range(store: StoreFile, layout: Layout, conjuncts: list[Predicate], span: Span) -> Span:
    """The same rows by an index, where conditions name all of its values; its rows come in the rows' own order."""
    for number, index in enumerate(layout.indexes):
        same = [
            next(
                (
                    part
                    for part in conjuncts
                    if isinstance(part, Condition) and part.column == column and part.operator == "eq"
                ),
                None,
            )
            for column in index
        ]
        found = [part for part in same if part is not None]
        if len(found) == len(index):
            for part in found:
                conjuncts.remove(part)
            values = tuple(part.value for part in found)
            return Span(
                store.bound((*values, span.first), index=number),
                store.bound((*values, span.end), index=number),
                number,
            )
    return span
