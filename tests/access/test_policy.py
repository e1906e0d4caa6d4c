"""Grants and what follows from them: for every identity, never more than one grant alone gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_dagster.access.masks import SHOWN_MOST
from dp_dagster.access.policy import AccessPolicy, DatasetGrant, GuardedDataset, Who
from dp_dagster.access.view import ANONYMOUS, DatasetView, Identity
from dp_dagster.predicates.model import EVERYTHING, AnyOf, Condition, Reference

if TYPE_CHECKING:
    from dp_dagster.settings import MaskMethod

TYPES = {"id": "int64", "name": "string", "region": "string", "amount": "int32"}
CLEAR: dict[str, MaskMethod | None] = dict.fromkeys(TYPES)
NAME_MASKED: dict[str, MaskMethod | None] = {**CLEAR, "name": "redact"}
EU, US = Condition("region", "eq", "EU"), Condition("region", "eq", "US")


def policy(*grants: DatasetGrant) -> AccessPolicy:
    return AccessPolicy({"orders": GuardedDataset("orders", TYPES, grants)})


def to(role: str, columns: dict[str, MaskMethod | None], rows: Any = EVERYTHING) -> DatasetGrant:
    return DatasetGrant(Who(roles=frozenset({role})), columns, rows)


def having(*roles: str, **claims: Any) -> Identity:
    return Identity("ada", roles=frozenset(roles), method="oauth2", claims=tuple(claims.items()))


def test_nobody_sees_what_is_granted_to_others() -> None:
    grants = policy(to("analyst", CLEAR))
    assert grants.view("orders", having("clerk")) is None
    assert grants.view("orders", ANONYMOUS) is None
    assert grants.view("invoices", having("analyst")) is None
    assert AccessPolicy().view("orders", having("analyst")) is None
    whole = grants.view("orders", having("analyst"))
    assert whole is not None
    assert whole.is_whole


@pytest.mark.parametrize(
    ("who", "identity", "included"),
    [
        (Who(), having("analyst"), False),
        (Who(anyone=True), ANONYMOUS, True),
        (Who(subjects=frozenset({"ada", "bob"})), having(), True),
        (Who(subjects=frozenset({"anonymous"})), ANONYMOUS, False),
        (Who(roles=frozenset({"a"}), scopes=frozenset({"read"})), having("a"), False),
        (Who(roles=frozenset({"a", "b"})), having("b"), True),
        (Who(clients=frozenset({"app"})), having(), False),
        (Who(clients=frozenset({"app"})), Identity("ada", "app", method="oauth2"), True),
        (
            Who(scopes=frozenset({"read"})),
            Identity("ada", scopes=frozenset({"read", "x"}), method="api_key"),
            True,
        ),
    ],
)
def test_who_is_meant(who: Who, identity: Identity, included: bool) -> None:
    assert who.includes(identity) is included


def test_grants_with_the_same_rows_add_up() -> None:
    grants = policy(
        to("a", {"id": None, "name": "hash"}), to("b", {"id": None, "name": "partial", "amount": None})
    )
    view = grants.view("orders", having("a", "b"))
    assert view == DatasetView("orders", ("id", "name", "amount"), {"name": "partial"})


def test_a_grant_of_all_rows_decides_alone() -> None:
    grants = policy(to("a", NAME_MASKED), to("b", CLEAR, EU))
    assert grants.view("orders", having("a", "b")) == DatasetView("orders", tuple(TYPES), {"name": "redact"})
    assert grants.view("orders", having("b")) == DatasetView("orders", tuple(TYPES), {}, EU)


def test_different_rows_are_joined_and_columns_met() -> None:
    grants = policy(to("a", NAME_MASKED, EU), to("b", {"id": None, "name": None}, US))
    view = grants.view("orders", having("a", "b"))
    assert view == DatasetView("orders", ("id", "name"), {"name": "redact"}, AnyOf((EU, US)))


def test_row_filters_are_bound_to_who_asks() -> None:
    grants = policy(to("a", CLEAR, Condition("region", "eq", Reference("claim.region"))))
    view = grants.view("orders", having("a", region="EU' or true --"))
    assert view is not None
    assert view.rows == Condition("region", "eq", "EU' or true --")
    assert grants.view("orders", having("a", region="US")) != view
    assert grants.view("orders", having("a", region="EU' or true --")) is view, (
        "shared by all who see the same"
    )


@pytest.mark.parametrize(
    "claims", [{}, {"region": ("EU", "US")}, {"region": ()}, {"region": 5}, {"regions": "EU"}]
)
def test_a_filter_that_cannot_be_bound_gives_nothing(claims: dict[str, Any]) -> None:
    """Not even under a negation, where an unknown value could be taken for a difference."""
    for operator in ("eq", "ne"):
        grants = policy(to("a", CLEAR, Condition("region", operator, Reference("claim.region"))))
        assert grants.view("orders", having("a", **claims)) is None


def test_the_anonymous_have_no_subject() -> None:
    grants = policy(DatasetGrant(Who(anyone=True), CLEAR, Condition("name", "eq", Reference("subject"))))
    assert grants.view("orders", ANONYMOUS) is None
    assert grants.view("orders", having()) is not None


def test_views_of_different_consumers_have_different_fingerprints() -> None:
    grants = policy(
        to("a", CLEAR, Condition("region", "eq", Reference("claim.region"))), to("b", NAME_MASKED)
    )
    identities = [
        having("a", region="EU"),
        having("a", region="US"),
        having("b"),
        having("a", "b", region="EU"),
    ]
    views = [grants.view("orders", one) for one in identities]
    assert len({view.fingerprint for view in views if view}) == 3


METHODS: list[MaskMethod | None] = [None, *SHOWN_MOST]
ROWS = [{"region": region, "amount": amount} for region in ("EU", "US") for amount in (0, 5)]
FILTERS = [EVERYTHING, EU, US, Condition("amount", "gt", 3)]


def holds(rows: Any, row: dict[str, Any]) -> bool:
    if isinstance(rows, Condition):
        return bool(
            row[rows.column] == rows.value if rows.operator == "eq" else row[rows.column] > rows.value
        )
    parts = [holds(part, row) for part in rows.parts]
    return any(parts) if isinstance(rows, AnyOf) else all(parts)


@st.composite
def grants_of_everybody(draw: st.DrawFn) -> list[DatasetGrant]:
    columns = st.dictionaries(st.sampled_from(["name", "amount"]), st.sampled_from(METHODS))
    return [
        DatasetGrant(Who(anyone=True), {"id": None, **draw(columns)}, draw(st.sampled_from(FILTERS)))
        for _ in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=300)
@given(grants=grants_of_everybody())
def test_no_cell_shows_more_than_one_grant_alone_shows(grants: list[DatasetGrant]) -> None:
    view = policy(*grants).view("orders", having())
    assert view is not None
    for row in ROWS:
        giving = [grant for grant in grants if holds(grant.rows, row)]
        assert holds(view.rows, row) == bool(giving), "the rows are those of all grants"
        for name in view.columns if giving else ():
            shown = METHODS.index(view.masks.get(name))
            assert any(
                name in grant.columns and METHODS.index(grant.columns[name]) <= shown for grant in giving
            )
