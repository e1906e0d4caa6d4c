"""Comparing two versions of a contract, column by column and rule by rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.contracts.evolution.classification import CLASSIFICATION, Effect
from dp_dagster.contracts.evolution.rules import direction
from dp_dagster.contracts.evolution.types import widens
from dp_dagster.contracts.model import Rule
from dp_dagster.contracts.phrases import wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dp_dagster.contracts.model import Column, Contract

# These say what columns, types and nullability say already.
_SAID_BY_COLUMNS = frozenset({"columns", "type", "not_null"})
# A contract may have several of these on the same columns.
_TOLD_APART_BY_NAME = frozenset({"expression", "custom", "measure", "sql", "unevaluated"})


@dataclass(frozen=True)
class Change:
    """One change between two versions of a contract.

    Attributes:
        kind: A row of :data:`~dp_dagster.contracts.evolution.classification.CLASSIFICATION`.
        columns: Columns that it touches; empty for the whole table.
        detail: What was, and what is.
        was: The rule as it was, where the change is one of a rule, a key or nullability.
        becomes: The rule as it is; ``None`` where there is none any more.
    """

    kind: str
    columns: tuple[str, ...]
    detail: str
    was: Rule | None = None
    becomes: Rule | None = None

    @property
    def consumers(self) -> Effect:
        """Effect on those who read the data."""
        return CLASSIFICATION[self.kind].consumers

    @property
    def producers(self) -> Effect:
        """Effect on those who deliver it."""
        return CLASSIFICATION[self.kind].producers

    @property
    def reason(self) -> str:
        """Why it is classified so."""
        return CLASSIFICATION[self.kind].reason

    def __str__(self) -> str:
        where = f"{', '.join(self.columns)}: " if self.columns else ""
        return f"{where}{self.kind} ({self.detail})" if self.detail else f"{where}{self.kind}"


@dataclass(frozen=True)
class Comparison:
    """All changes between two versions of a contract, in the order of the columns."""

    changes: tuple[Change, ...]

    @property
    def breaking(self) -> tuple[Change, ...]:
        """Changes that break those who read the data."""
        return tuple(change for change in self.changes if change.consumers == "breaking")

    @property
    def effect(self) -> Effect:
        """The strongest effect on those who read the data."""
        effects = {change.consumers for change in self.changes}
        if "breaking" in effects:
            return "breaking"
        return "compatible" if "compatible" in effects else "documentation"


def compare(old: Contract, new: Contract) -> Comparison:
    """What changed from one version of a contract to another.

    Args:
        old: The version that consumers rely on.
        new: The version that is to replace it.

    Returns:
        Every change; none where both promise the same in the same words.
    """
    return Comparison(
        (
            *_column_changes(old, new),
            *_key_changes(old, new),
            *_strictness(old, new),
            *_rule_changes(old, new),
            *_words(old, new),
        )
    )


def _column_changes(old: Contract, new: Contract) -> Iterator[Change]:
    for column in old.columns:
        after = new.column(column.name)
        if after is None:
            yield Change("column removed", (column.name,), column.type)
        else:
            yield from _one_column(column, after)
    for column in new.columns:
        if old.column(column.name) is None:
            is_demanded = column.required and not column.nullable
            kind = "required column added" if is_demanded else "nullable column added"
            yield Change(kind, (column.name,), column.type)


def _one_column(old: Column, new: Column) -> Iterator[Change]:
    name = (new.name,)
    if old.type != new.type:
        kind = "type widened" if widens(old.type, new.type) else "type changed"
        yield Change(kind, name, f"{old.type} to {new.type}")
    elif old.accepts != new.accepts:
        yield Change("type changed", name, f"{old.accepts or old.type} to {new.accepts or new.type}")
    if old.nullable != new.nullable:
        if new.nullable:
            yield Change("null allowed", name, "", was=Rule("", "not_null", name))
        else:
            yield Change("null forbidden", name, "")
    if old.required != new.required:
        yield Change("optional column required" if new.required else "required column optional", name, "")
    if old.unit != new.unit:
        yield Change("unit changed", name, f"{old.unit or 'none'} to {new.unit or 'none'}")
    if old.classification != new.classification:
        detail = f"{old.classification or 'none'} to {new.classification or 'none'}"
        yield Change("classification changed", name, detail)
    if old.description != new.description:
        yield Change("description changed", name, "")
    if old.tags != new.tags:
        yield Change("tags changed", name, "")


def _key_changes(old: Contract, new: Contract) -> Iterator[Change]:
    if set(old.key) == set(new.key):
        return
    if not old.key:
        yield Change("key added", new.key, "")
    elif not new.key:
        yield Change("key removed", old.key, "", was=Rule("", "unique", old.key))
    else:
        detail = f"was {', '.join(old.key)}"
        yield Change("key changed", new.key, detail, Rule("", "unique", old.key), Rule("", "unique", new.key))


def _strictness(old: Contract, new: Contract) -> Iterator[Change]:
    if old.strict != new.strict:
        yield Change("further columns forbidden" if new.strict else "further columns allowed", (), "")


def _words(old: Contract, new: Contract) -> Iterator[Change]:
    if old.description != new.description:
        yield Change("description changed", (), "")


def _rule_changes(old: Contract, new: Contract) -> Iterator[Change]:
    """Rules of columns that came or went are told by the columns; of the others, pairs are compared."""
    kept = {column.name for column in old.columns} & {column.name for column in new.columns}
    before, after = list(_telling(old, kept)), list(_telling(new, kept))
    for rule in list(before):
        if rule in after:
            before.remove(rule)
            after.remove(rule)
    for rule in list(before):
        partner = next((other for other in after if _is_same_rule(rule, other)), None)
        if partner is None:
            kind = "rule removed" if rule.severity == "error" else "warning removed"
            yield Change(kind, rule.columns, _said(rule), was=rule)
        else:
            after.remove(partner)
            yield from _moved_rule(rule, partner, old, new)
    for rule in after:
        kind = "rule added" if rule.severity == "error" else "warning added"
        yield Change(kind, rule.columns, _said(rule))


def _telling(contract: Contract, kept: set[str]) -> Iterable[Rule]:
    for rule in contract.rules:
        of_key = rule.kind == "unique" and set(rule.columns) == set(contract.key)
        if rule.kind not in _SAID_BY_COLUMNS and not of_key and set(rule.columns) <= kept:
            yield rule


def _is_same_rule(old: Rule, new: Rule) -> bool:
    if old.kind != new.kind or set(old.columns) != set(new.columns):
        return False
    if old.params.get("path") != new.params.get("path"):
        return False
    # Authors' checks are told apart by name; of the others one column has one of a kind.
    return old.id == new.id or old.kind not in _TOLD_APART_BY_NAME


def relied_upon(change: Change, rules: Iterable[Rule], type_name: str | None) -> bool:
    """Whether a change is about one of these rules, and no longer promises what that one says.

    A change that is not one of a rule touches everybody who reads the columns. Only rules of one kind are compared:
    that a list of values implied a minimum, say, is not seen.

    Args:
        change: Between two versions of a contract.
        rules: What somebody relies on.
        type_name: Canonical type of the changed column, where the change is about one.
    """
    if change.was is None:
        return True
    return any(_is_like(change.was, rule) and not _implies(change.becomes, rule, type_name) for rule in rules)


def _is_like(was: Rule, relied: Rule) -> bool:
    same = was.kind == relied.kind and set(was.columns) == set(relied.columns)
    if was.kind in _TOLD_APART_BY_NAME:
        return same and was.params == relied.params
    return same and was.params.get("path") == relied.params.get("path")


def _implies(rule: Rule | None, relied: Rule, type_name: str | None) -> bool:
    """Whether rows that keep a rule keep the one that is relied upon as well."""
    if rule is None or rule.severity != "error":
        return False
    if rule.kind == "unique":
        return set(rule.columns) <= set(relied.columns)
    return direction(relied, rule, type_name) in {"same", "tightened", "values removed"}


def _moved_rule(old: Rule, new: Rule, before: Contract, after: Contract) -> Iterator[Change]:
    detail = f"{_said(old)} to {_said(new)}"
    if old.severity == new.severity == "warn":
        if old.params != new.params:
            yield Change("warning changed", new.columns, detail)
        return
    moved = direction(old, new, _common_type(old, before, after))
    if moved == "same":
        if old.description != new.description:
            yield Change("description changed", new.columns, detail)
    elif moved in {"values added", "values removed"}:
        yield Change(moved, new.columns, detail, old, new)
    else:
        yield Change(f"rule {moved}", new.columns, detail, old, new)


def _common_type(rule: Rule, before: Contract, after: Contract) -> str | None:
    """The type to read both bounds with: the wider one where the column's type changed."""
    if len(rule.columns) != 1 or rule.params.get("path"):
        return None
    old, new = before.column(rule.columns[0]), after.column(rule.columns[0])
    if old is None or new is None:
        return None
    return new.type if widens(old.type, new.type) else old.type


def _said(rule: Rule) -> str:
    return rule.description or wanted(rule)
