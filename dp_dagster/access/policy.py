"""The policy of a product: its grants, compiled against the contracts, and the view that follows for an identity.

Several grants may hold for one identity. The rule, which never shows a value that none of them shows by itself:

1. Grants with the same row filter add up: a column that one of them gives is given, and where one shows more of it
   than another (clear, then ``partial``, ``hash``, ``redact``, ``null``), that is what is shown.
2. If there are grants without a row filter, they alone decide. Narrower grants add nothing to them.
3. Otherwise, grants with different row filters give the rows of all of them, but only the columns that each of them
   gives, each as the strictest of them shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.access.masks import SHOWN_MOST
from dp_dagster.access.view import DatasetView
from dp_dagster.predicates.binding import UnboundError, bind, references_of
from dp_dagster.predicates.model import EVERYTHING, AnyOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.access.view import Claim, Identity
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.settings import MaskMethod

_MOST_KEPT = 10_000


@dataclass(frozen=True)
class Who:
    """Whom a grant is for. Everything that is said must hold; of several names, one.

    Nobody is meant where nothing is said: ``anyone`` must be.
    """

    anyone: bool = False
    subjects: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    def includes(self, identity: Identity) -> bool:
        """Whether the grant is for them."""
        if self.anyone:
            return True
        if not (self.subjects or self.clients or self.roles or self.scopes):
            return False
        return (
            (not self.subjects or (identity.method != "none" and identity.subject in self.subjects))
            and (not self.clients or identity.client in self.clients)
            and (not self.roles or not self.roles.isdisjoint(identity.roles))
            and (not self.scopes or not self.scopes.isdisjoint(identity.scopes))
        )


@dataclass(frozen=True)
class DatasetGrant:
    """What one grant gives of one dataset.

    Attributes:
        who: Whom it is for.
        columns: What it gives, and how each is masked; ``None`` for in clear.
        rows: Which rows; may hold references to the identity.
    """

    who: Who
    columns: Mapping[str, MaskMethod | None]
    rows: Predicate = EVERYTHING

    @property
    def is_whole(self) -> bool:
        """Whether nothing is masked and no row is hidden; columns may be missing all the same."""
        return self.rows == EVERYTHING and not any(self.columns.values())


@dataclass(frozen=True)
class GuardedDataset:
    """A dataset and its grants.

    Attributes:
        label: ``customers``, or ``customers@1`` for an older major version.
        types: Canonical types of its columns, in the contract's order.
        grants: In the order of the descriptor.
    """

    label: str
    types: Mapping[str, str]
    grants: tuple[DatasetGrant, ...] = ()

    @property
    def is_guarded(self) -> bool:
        """Whether some grant gives less than all of it."""
        return not all(grant.is_whole and set(grant.columns) == set(self.types) for grant in self.grants)


@dataclass(frozen=True)
class AccessPolicy:
    """Who may see what of a product. Without grants, nobody sees anything."""

    datasets: Mapping[str, GuardedDataset] = field(default_factory=dict)
    _views: dict[tuple[object, ...], DatasetView | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    def view(self, dataset: str, identity: Identity) -> DatasetView | None:
        """What an identity sees of a dataset; ``None`` where that is nothing.

        Identities for which the same grants hold, with the same values in their row filters, share one view.

        Args:
            dataset: Its label.
            identity: Who asks.
        """
        guarded = self.datasets.get(dataset)
        if guarded is None:
            return None
        holding = [grant for grant in guarded.grants if grant.who.includes(identity)]
        if not holding:
            return None
        known: dict[str, Claim | None] = {}
        for grant in holding:
            for name in references_of(grant.rows):
                known[name] = identity.reference(name)
        key = (
            dataset,
            tuple(map(id, holding)),
            tuple(sorted((name, repr(value)) for name, value in known.items())),
        )
        if key not in self._views:
            if len(self._views) >= _MOST_KEPT:
                self._views.clear()
            self._views[key] = _view(guarded, holding, known)
        return self._views.get(key)


def _view(
    guarded: GuardedDataset, grants: Iterable[DatasetGrant], known: Mapping[str, Claim | None]
) -> DatasetView | None:
    by_rows: dict[Predicate, dict[str, MaskMethod | None]] = {}
    for grant in grants:
        try:
            rows = bind(grant.rows, guarded.types, known.get)
        except UnboundError:
            continue  # what the filter compares with is unknown, so the grant gives no row
        columns = by_rows.setdefault(rows, {})
        for name, method in grant.columns.items():
            columns[name] = _more(columns[name], method) if name in columns else method
    if not by_rows:
        return None
    if EVERYTHING in by_rows:
        return _made(guarded, by_rows[EVERYTHING], EVERYTHING)
    filters = tuple(by_rows)
    if len(filters) == 1:
        return _made(guarded, by_rows[filters[0]], filters[0])
    first, *others = by_rows.values()
    common = {
        name: _less([first[name], *(other[name] for other in others)])
        for name in first
        if all(name in other for other in others)
    }
    return _made(guarded, common, AnyOf(filters))


def _made(
    guarded: GuardedDataset, columns: Mapping[str, MaskMethod | None], rows: Predicate
) -> DatasetView | None:
    given = tuple(name for name in guarded.types if name in columns)
    if not given:
        return None
    masks = {name: method for name in given if (method := columns[name]) is not None}
    return DatasetView(guarded.label, given, masks, rows)


def _more(one: MaskMethod | None, other: MaskMethod | None) -> MaskMethod | None:
    return None if one is None or other is None else min(one, other, key=SHOWN_MOST.index)


def _less(methods: Sequence[MaskMethod | None]) -> MaskMethod | None:
    masked = [method for method in methods if method is not None]
    return max(masked, key=SHOWN_MOST.index) if masked else None
