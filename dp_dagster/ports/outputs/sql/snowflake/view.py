"""The text of a guarded view in Snowflake.

The tables behind it name their columns ``C0``, ``C1`` and so on, in the order of what is stored: files that are loaded
are matched by name, and a name that the server reads in another way would be a column of nulls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.samples import MASK
from dp_dagster.ports.outputs.sql.guard import ABSENT, CLEAR, STORED_MASKS, Guard, conditions_of, level
from dp_dagster.ports.outputs.sql.snowflake.names import literal, server_name
from dp_dagster.ports.outputs.sql.snowflake.types import HOLDING
from dp_dagster.predicates.binding import references_of
from dp_dagster.predicates.model import EVERYTHING, AllOf, Condition, Negation, Predicate, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.access.policy import DatasetGrant, Who

_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FUNCTIONS = {"contains": "contains", "starts_with": "startswith", "ends_with": "endswith"}
_NUMBERS = {"int8", "int16", "int32", "int64"}


def sayable(grant: DatasetGrant, types: dict[str, str]) -> str:
    """Why the server cannot decide a grant; empty where it can."""
    for condition in conditions_of(grant.rows):
        if references_of(condition) and types[condition.column] not in {"string", *_NUMBERS}:
            names = ", ".join(f"{{{name}}}" for name in sorted(references_of(condition)))
            return f"{names} is compared with {condition.column}, which is a {types[condition.column]}"
    return ""


def roles_of(guard: Guard) -> list[str]:
    """Roles that have to read the view for a grant to hold; users have none of their own, so theirs is everybody's."""
    return sorted({server_name(role) for grant in guard.grants for role in grant.who.roles or {"public"}})


@dataclass
class ViewWriter:
    """Writes the query of a view.

    Attributes:
        guard: What it shows to whom.
        types: Canonical types of the version's columns.
        table: The table with the rows, by its full name.
        claims: The table of what is known of users, by its full name.
    """

    guard: Guard
    types: dict[str, str]
    table: str
    claims: str
    _references: dict[tuple[str, str], str] = field(default_factory=dict)

    def query(self) -> str:
        """The query; its columns are those of the guard, in order."""
        if not self.guard.is_decided:
            columns = ", ".join(self._stored(one.name) for one in self.guard.columns)
            return f"select {columns} from {self.table} as t"
        rows = " or ".join(self._rows()) or "false"
        columns = ", ".join(self._shown(number) for number in range(len(self.guard.columns))) or "null"
        return (
            f"{self._decided()} select {columns} from {self.table} as t cross join decided as d where {rows}"
        )

    def _stored(self, column: str, method: str | None = None) -> str:
        place = next(
            number
            for number, one in enumerate(self.guard.stored)
            if (one.column.name, one.method) == (column, method)
        )
        return f"t.C{place}"

    # -- for every row ------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[str]:
        for number, rows in enumerate(self.guard.rows):
            if rows.predicate == EVERYTHING:
                yield f"d.rows_{number}"
            else:
                yield f"(d.rows_{number} and {self._text(rows.predicate)})"

    def _text(self, predicate: Predicate) -> str:
        if isinstance(predicate, Condition):
            return self._condition(predicate)
        if isinstance(predicate, Negation):
            return f"(not {self._text(predicate.part)})"
        if not predicate.parts:
            return "true" if isinstance(predicate, AllOf) else "false"
        word = " and " if isinstance(predicate, AllOf) else " or "
        return f"({word.join(self._text(part) for part in predicate.parts)})"

    def _condition(self, condition: Condition) -> str:
        kind = self.types[condition.column]
        column = self._stored(condition.column)
        if condition.operator == "is_null":
            return f"({column} is {'' if condition.value else 'not '}null)"
        if condition.operator in {"in", "not_in"}:
            parts = [
                f"{column} in (select {_as(kind, 'c.VALUE')} from {self.claims} as c where {_mine(one.name)})"
                if isinstance(one, Reference)
                else f"{column} = {value_literal(one, kind)}"
                for one in condition.value
            ]
            found = f"({' or '.join(parts)})" if parts else "false"
            return found if condition.operator == "in" else f"(not {found})"
        value = (
            f"d.{self._named(condition.value.name, kind)}"
            if isinstance(condition.value, Reference)
            else value_literal(condition.value, kind)
        )
        if condition.operator in _SIGNS:
            return f"({column} {_SIGNS[condition.operator]} {value})"
        return f"{_FUNCTIONS[condition.operator]}({column}, {value})"

    def _shown(self, number: int) -> str:
        column = self.guard.columns[number]
        levels = self.guard.levels(column.name)
        if levels == {CLEAR}:
            return self._stored(column.name)
        methods = {level(method): method for method in STORED_MASKS} | {CLEAR: None}
        shown = {
            value: self._stored(column.name, method) for value, method in methods.items() if value in levels
        }
        if level("redact") in levels:
            shown[level("redact")] = literal(MASK)
        whens = " ".join(f"when {value} then {made}" for value, made in sorted(shown.items()))
        kind = HOLDING.type_of(column.type)
        return (
            f"cast(case d.column_{number} {whens} else null end as {kind})"
            if whens
            else f"cast(null as {kind})"
        )

    # -- once for each query --------------------------------------------------------------------------------

    def _decided(self) -> str:
        held = [f"{self._holds(grant)} as grant_{number}" for number, grant in enumerate(self.guard.grants)]
        known = [f"{self._value(*key)} as {name}" for key, name in self._references.items()]
        names = list(self._references.values())
        decided = [
            f"({self._any(rows.grants)}) as rows_{number}" for number, rows in enumerate(self.guard.rows)
        ]
        decided += [
            f"{self._level(column.name)} as column_{number}"
            for number, column in enumerate(self.guard.columns)
            if self.guard.levels(column.name) != {CLEAR}
        ]
        return (
            f"with known as (select {', '.join(known) or 'null as nothing'}), "
            f"held as (select {', '.join([*names, *held]) or 'null as nothing'} from known), "
            f"decided as (select {', '.join([*names, *decided]) or 'null as nothing'} from held)"
        )

    def _holds(self, grant: DatasetGrant) -> str:
        parts = [] if grant.who.anyone else list(self._said(grant.who))
        for condition in conditions_of(grant.rows):
            values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
            for one in values:
                if not isinstance(one, Reference):
                    continue
                if isinstance(condition.value, tuple):
                    value = _as(self.types[condition.column], "c.VALUE")
                    parts.append(
                        f"(select count(*) > 0 and count(*) = count({value}) from {self.claims} as c "
                        f"where {_mine(one.name)})"
                    )
                else:
                    parts.append(f"{self._named(one.name, self.types[condition.column])} is not null")
        return f"({' and '.join(parts)})" if parts else "true"

    def _said(self, who: Who) -> Iterator[str]:
        if who.subjects:
            names = ", ".join(literal(server_name(name)) for name in sorted(who.subjects))
            yield f"current_user() in ({names})"
        if who.roles:
            held = (f"is_role_in_session({literal(server_name(role))})" for role in sorted(who.roles))
            yield f"({' or '.join(held)})"
        for claim, values in (("client", who.clients), ("scope", who.scopes)):
            if values:
                names = ", ".join(map(literal, sorted(values)))
                yield f"(select count(*) > 0 from {self.claims} as c where {_mine(claim)} and c.VALUE in ({names}))"

    def _level(self, column: str) -> str:
        """How much of a column is shown to who asks: of grants with the same rows the most, of others the least."""
        least: list[str] = []
        whole = ""
        for rows in self.guard.rows:
            shows = [
                f"iff(grant_{grant}, {level(self.guard.grants[grant].columns[column])}, {ABSENT})"
                for grant in rows.grants
                if column in self.guard.grants[grant].columns
            ]
            most = f"least({', '.join([*shows, str(ABSENT)])})"
            if rows.predicate == EVERYTHING:
                whole = f"when {self._any(rows.grants)} then {most}"
            else:
                # Nothing is said by grants that do not hold; -1 is less than any level.
                least.append(f"iff({self._any(rows.grants)}, {most}, -1)")
        others = f"greatest({', '.join([*least, '-1'])})"
        return f"(case {whole} else {others} end)" if whole else others

    @staticmethod
    def _any(grants: tuple[int, ...]) -> str:
        return f"({' or '.join(f'grant_{grant}' for grant in grants)})"

    # -- what is known of who asks ------------------------------------------------------------------------------

    def _named(self, name: str, kind: str) -> str:
        return self._references.setdefault((name, kind), f"known_{len(self._references)}")

    def _value(self, name: str, kind: str) -> str:
        """The only value of who asks; null where it is unknown, one of several, or of the wrong type."""
        if name == "subject":
            return _as(kind, "current_user()")
        only = f"iff(count(*) = 1, max({_as(kind, 'c.VALUE')}), null)"
        return f"(select {only} from {self.claims} as c where {_mine(name)})"


def value_literal(value: Any, kind: str) -> str:  # noqa: PLR0911 - one return for each type
    """A value of a condition."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        special = "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return f"cast({repr(value) if math.isfinite(value) else literal(special)} as float)"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f"to_binary({literal(value.hex())}, 'HEX')"
    if isinstance(value, date):
        text = value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        return f"cast({literal(text)} as {HOLDING.type_of(kind)})"
    return literal(value)


def _mine(name: str) -> str:
    return f"c.LOGIN = current_user() and c.CLAIM = {literal(name.removeprefix('claim.'))}"


def _as(kind: str, text: str) -> str:
    return f"try_to_number({text}, 19, 0)" if kind in _NUMBERS else text
