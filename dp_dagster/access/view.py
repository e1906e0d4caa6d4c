"""What one identity sees of one dataset: the single decision that every kind of port obeys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from dp_dagster.predicates.model import EVERYTHING, Predicate
from dp_dagster.settings import MaskMethod

__all__ = ["ANONYMOUS", "Claim", "DatasetView", "Identity", "MaskMethod"]

Claim = str | int | float | bool | tuple["Claim", ...]
"""What an issuer says of somebody. Lists are tuples, so that identities can be keys of caches."""


@dataclass(frozen=True)
class Identity:
    """Who asks. Made by authentication, never by the request itself.

    Attributes:
        subject: The person or service; ``anonymous`` where a port asks nobody who they are.
        client: The application that asks on their behalf, where it is known.
        roles: Roles that the issuer vouches for.
        scopes: What the token was issued for.
        method: How they proved it: ``none``, ``api_key`` or ``oauth2``.
        claims: What else the issuer says of them, by name; row filters may compare with it.
    """

    subject: str
    client: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    method: str = "none"
    claims: tuple[tuple[str, Claim], ...] = ()

    def reference(self, name: str) -> Claim | None:
        """What a row filter's ``{subject}``, ``{client}`` or ``{claim.name}`` stands for; ``None`` where unknown."""
        if name == "subject":
            return None if self.method == "none" else self.subject
        if name == "client":
            return self.client
        wanted = name.removeprefix("claim.")
        return next((value for claim, value in self.claims if claim == wanted), None)


ANONYMOUS = Identity("anonymous")


@dataclass(frozen=True)
class DatasetView:
    """What an identity sees of a dataset. There is none where it may see nothing: deny by default.

    A masked column may be selected, and shows the mask; it can be neither filtered, sorted, counted by nor used
    to look a row up, since each of these would tell the value. The row filter may look at any column.

    Attributes:
        dataset: Its name.
        columns: The columns that may be selected, in the contract's order.
        masks: Of the columns, those that are masked, and how.
        rows: What must hold of a row for it to exist for this identity.
    """

    dataset: str
    columns: tuple[str, ...]
    masks: dict[str, MaskMethod] = field(default_factory=dict)
    rows: Predicate = EVERYTHING

    @cached_property
    def clear(self) -> frozenset[str]:
        """Columns that are not masked: what may be filtered and sorted by."""
        return frozenset(self.columns) - frozenset(self.masks)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is masked and no row is hidden; then published files may be handed out as they are."""
        return not self.masks and self.rows == EVERYTHING

    @cached_property
    def fingerprint(self) -> str:
        """The same for all identities that see the same; part of every cache key."""
        text = repr((self.dataset, self.columns, sorted(self.masks.items()), self.rows))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
