"""One table of consumers: who they are, and what they must see, whatever the kind of port.

A suite publishes :data:`ROWS` as the dataset ``people`` under :data:`ACCESS`, asks as each of :data:`CONSUMERS`, and
compares with what the table says. Rows are few and awkward on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.access.view import ANONYMOUS, Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.authentication.api_keys import ApiKeys
    from dp_dagster.access.view import Claim

DATASET = "people"
KEY = ("id",)
MASK_SECRET = "the secret of the table of consumers"  # noqa: S105 - nothing is guarded by it
"""To be set as ``DP_MASK_SECRET``; the hashes below are made with it."""

CONTRACT = '''\
"""The contract of the table of consumers."""

from typing import Annotated

import pandera.polars as pa
import polars as pl


class People(pa.DataFrameModel):
    """People who work somewhere."""

    id: int = pa.Field(unique=True, description="The person.")
    name: str = pa.Field(metadata={"classification": "pii"}, description="Full name.")
    email: str = pa.Field(nullable=True, metadata={"classification": "pii"}, description="Address.")
    salary: Annotated[pl.Decimal, 10, 2] = pa.Field(
        metadata={"classification": "restricted"}, description="What they earn."
    )
    region: str = pa.Field(description="Where they work.")
    joined: pl.Date = pa.Field(description="Since when.")
'''
"""Text of ``contracts/people.py``; the contract is ``contracts/people.py:People``."""

COLUMNS = ("id", "name", "email", "salary", "region", "joined")
ROWS: tuple[tuple[Any, ...], ...] = (
    (1, "Ada", "ada@example.com", Decimal("9000.00"), "north", date(2020, 1, 31)),
    (2, "Ben O'Hara", "b@example.com", Decimal("4000.50"), "north", date(2021, 2, 28)),
    (3, "Cy", None, Decimal("0.01"), "south", date(2020, 2, 29)),
    (4, "Dörte %_\\", "dörte.x@example.org", Decimal("9000.00"), "south", date(1999, 12, 31)),
    (5, "E", "no address; a@b", Decimal("5000.00"), "o'west", date(2022, 6, 1)),
)

ACCESS: list[dict[str, Any]] = [
    {"role": "analyst"},
    {"role": "hr", "unmask": ["name", "email", "salary"]},
    {
        "role": "manager",
        "rows": "region = {claim.region}",
        "unmask": "name",
        "masks": {"email": "partial"},
    },
    {"role": "north", "rows": "region = 'north'", "columns": ["id", "name", "region"], "unmask": "name"},
    {"role": "matcher", "columns": ["id", "email"], "masks": {"email": "hash"}},
    {"subject": "auditor", "rows": "salary > 5000", "columns": ["id", "salary"], "unmask": "salary"},
    {"role": "reader", "scope": "people.read", "columns": ["id", "region", "joined"]},
]
"""The product's ``access``, as plain data."""

_HIDDEN = "•••"


@dataclass(frozen=True)
class Consumer:
    """Who asks, and what they must see.

    Attributes:
        name: For the names of tests.
        identity: As authentication makes it.
        columns: What they may select, in order; empty where they may see nothing.
        masked: Of these, those that show a mask: refused in filters, sorting, keys and counts.
        rows: What all rows look like to them, in the order of the key.
    """

    name: str
    identity: Identity
    columns: tuple[str, ...] = ()
    masked: frozenset[str] = frozenset()
    rows: tuple[tuple[Any, ...], ...] = ()

    @property
    def sees_something(self) -> bool:
        """Whether they may see anything at all."""
        return bool(self.columns)

    @property
    def clear(self) -> tuple[str, ...]:
        """Columns that they may filter and sort by."""
        return tuple(name for name in self.columns if name not in self.masked)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Columns that there are, and not for them."""
        return tuple(name for name in COLUMNS if name not in self.columns)

    @property
    def keys(self) -> tuple[int, ...]:
        """Keys of the rows that exist for them."""
        return tuple(row[0] for row in self.rows)


def _somebody(subject: str, *roles: str, scopes: tuple[str, ...] = (), **claims: Claim) -> Identity:
    return Identity(
        subject,
        roles=frozenset(roles),
        scopes=frozenset(scopes),
        method="api_key",
        claims=tuple(sorted(claims.items())),
    )


def _masked(
    keys: tuple[int, ...] = (1, 2, 3, 4, 5), **shown: Mapping[int, Any] | str | None
) -> tuple[Any, ...]:
    """The rows of these keys, with what is shown instead of a column: one value, or one for each key."""
    return tuple(
        tuple(
            value
            if name not in shown
            else given.get(row[0])
            if not isinstance(given := shown[name], str) and given is not None
            else given
            for name, value in zip(COLUMNS, row, strict=True)
        )
        for row in ROWS
        if row[0] in keys
    )


def _only(columns: tuple[str, ...], rows: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(row[COLUMNS.index(name)] for name in columns) for row in rows)


_ANALYST = _masked(name=_HIDDEN, email=_HIDDEN, salary=None)
_PARTIAL = {
    1: f"a{_HIDDEN}@example.com",
    2: f"{_HIDDEN}@example.com",
    3: None,
    4: f"d{_HIDDEN}@example.org",
    5: f"n{_HIDDEN}",
}
_HASHES = {
    1: "fdb51118bc8f33f158556c1c2ec8881e",
    2: "5233ea3ae7964e694152785f7d6a9e2b",
    3: None,
    4: "8e12e4eeedd21bbd21fe2a33390eaa88",
    5: "e8e5040d9af2cadbdf405fa167a9b398",
}

CONSUMERS: tuple[Consumer, ...] = (
    Consumer("anonymous", ANONYMOUS),
    Consumer("stranger", _somebody("eve", "cook")),
    Consumer(
        "analyst", _somebody("ada", "analyst"), COLUMNS, frozenset({"name", "email", "salary"}), _ANALYST
    ),
    Consumer("hr", _somebody("ben", "hr"), COLUMNS, frozenset(), ROWS),
    Consumer(
        "manager of the north",
        _somebody("cy", "manager", region="north"),
        COLUMNS,
        frozenset({"email", "salary"}),
        _masked((1, 2), email=_PARTIAL, salary=None),
    ),
    Consumer(
        "manager of the west",
        _somebody("cy", "manager", region="o'west"),
        COLUMNS,
        frozenset({"email", "salary"}),
        _masked((5,), email=_PARTIAL, salary=None),
    ),
    Consumer(
        "manager of nowhere",
        _somebody("cy", "manager", region="x' or 'a' = 'a"),
        COLUMNS,
        frozenset({"email", "salary"}),
    ),
    Consumer("manager without a region", _somebody("cy", "manager")),
    Consumer("manager of two regions", _somebody("cy", "manager", region=("north", "south"))),
    Consumer(
        "manager who is an analyst, too",
        _somebody("cy", "manager", "analyst", region="north"),
        COLUMNS,
        frozenset({"name", "email", "salary"}),
        _ANALYST,
    ),
    Consumer(
        "manager of the south with a grant for the north",
        _somebody("cy", "manager", "north", region="south"),
        ("id", "name", "region"),
        frozenset(),
        _only(("id", "name", "region"), _masked((1, 2, 3, 4))),
    ),
    Consumer(
        "matcher",
        _somebody("dan", "matcher"),
        ("id", "email"),
        frozenset({"email"}),
        _only(("id", "email"), _masked(email=_HASHES)),
    ),
    Consumer(
        "auditor",
        _somebody("auditor"),
        ("id", "salary"),
        frozenset(),
        _only(("id", "salary"), _masked((1, 4))),
    ),
    Consumer("reader without the scope", _somebody("eve", "reader")),
    Consumer(
        "reader",
        _somebody("eve", "reader", scopes=("people.read", "other")),
        ("id", "region", "joined"),
        frozenset(),
        _only(("id", "region", "joined"), ROWS),
    ),
)


@dataclass
class Keys:
    """API keys of the consumers, made when they are asked for.

    Attributes:
        keys: Where they are made.
    """

    keys: ApiKeys
    _made: dict[str, str] = field(default_factory=dict)

    def headers(self, consumer: Consumer) -> dict[str, str]:
        """What the consumer sends with a request to a port with ``auth: api_key``; nothing for the anonymous."""
        identity = consumer.identity
        if identity.method == "none":
            return {}
        if consumer.name not in self._made:
            key, _ = self.keys.create(
                identity.subject,
                "service:tests",
                roles=identity.roles,
                scopes=identity.scopes,
                claims=dict(identity.claims),
            )
            self._made[consumer.name] = key
        return {"authorization": f"Bearer {self._made[consumer.name]}"}
