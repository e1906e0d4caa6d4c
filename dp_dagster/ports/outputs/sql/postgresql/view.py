"""The text of a guarded view in PostgreSQL, and who is granted what of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from dp_dagster.contracts.samples import MASK
from dp_dagster.ports.outputs.sql.guard import ABSENT, CLEAR, STORED_MASKS, Guard, conditions_of, level
from dp_dagster.predicates.binding import references_of
from dp_dagster.predicates.model import EVERYTHING, Predicate, Reference
from dp_dagster.predicates.sql import to_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from dp_dagster.access.policy import DatasetGrant, Who

# Which texts of a claim are a value of the column's type; of other types, a claim says nothing here.
_PATTERNS = {
    "string": None,
    "bool": "^(true|false)$",
    **dict.fromkeys(("int8", "int16", "int32", "int64"), "^[-+]?[0-9]{1,18}$"),
}
_CASTS = {"string": "text", "bool": "boolean"}


@dataclass(frozen=True, order=True)
class Privilege:
    """``SELECT`` on the view for a role (empty: for everybody), on some of its columns or (none named) on all."""

    grantee: str
    columns: tuple[str, ...] = ()


def sayable(grant: DatasetGrant, types: dict[str, str]) -> str:
    """Why the server cannot decide a grant; empty where it can."""
    for condition in conditions_of(grant.rows):
        if references_of(condition) and types[condition.column] not in _PATTERNS:
            names = ", ".join(f"{{{name}}}" for name in sorted(references_of(condition)))
            return f"{names} is compared with {condition.column}, which is a {types[condition.column]}"
    return ""


def privileges_of(guard: Guard) -> frozenset[Privilege]:
    """Who may read the view, and which columns: as much as any grant to them gives."""
    shown = [column.name for column in guard.columns]
    given: dict[str, set[str]] = {}
    for grant in guard.grants:
        for grantee in _grantees(grant.who):
            given.setdefault(grantee, set()).update(grant.columns)
    return frozenset(
        Privilege(grantee, () if len(columns) == len(shown) else tuple(sorted(columns)))
        for grantee, columns in given.items()
    )


def _grantees(who: Who) -> frozenset[str]:
    """Those who need to read the view for a grant to hold; the view decides whether it does."""
    return who.roles or who.subjects or frozenset({""})


@dataclass
class ViewWriter:
    """Writes the query of a view.

    Attributes:
        connection: For the server's way to write values.
        guard: What it shows to whom.
        types: Canonical types of the version's columns.
        hidden: The schema that consumers cannot enter.
        table: The table of all generations in it.
        prefix: How the names of the table's own columns begin.
    """

    connection: Connection[Any]
    guard: Guard
    types: dict[str, str]
    hidden: str
    table: str
    prefix: str
    _references: dict[tuple[str, str, bool], str] = field(default_factory=dict)

    def query(self) -> Composed:
        """The query."""
        table = Identifier(self.hidden, self.table)
        marker, generation = (Identifier(f"{self.prefix}{name}") for name in ("marker", "generation"))
        newest = SQL("(select coalesce(max({generation}), {gone}()) from {table} where {marker})").format(
            generation=generation, gone=Identifier(self.hidden, "gone"), table=table, marker=marker
        )
        conditions: list[Composable] = [
            SQL("not {}").format(marker),
            SQL("{} = {}").format(generation, newest),
        ]
        if self.guard.is_decided:
            conditions.append(self._rows())
        columns = [
            SQL("{} as {}").format(self._shown(one.name), Identifier(one.name)) for one in self.guard.columns
        ]
        select = SQL("select {} from {} where {}").format(
            SQL(", ").join(columns), table, SQL(" and ").join(conditions)
        )
        return self._decided() + select if self.guard.is_decided else select

    # -- for every row ------------------------------------------------------------------------------------------

    def _rows(self) -> Composable:
        parts = []
        for number, rows in enumerate(self.guard.rows):
            holds = _decision(f"rows_{number}")
            if rows.predicate == EVERYTHING:
                parts.append(holds)
            else:
                parts.append(SQL("({} and {})").format(holds, self._text(rows.predicate)))
        return SQL("({})").format(SQL(" or ").join(parts)) if parts else SQL("false")

    def _text(self, predicate: Predicate) -> Composable:
        condition = to_sql(predicate, self.types, "postgres", self._reference)
        # Values are written into the text, as a view has none; the server's own library quotes them.
        return SQL(ClientCursor(self.connection).mogrify(condition.text, condition.parameters))

    def _shown(self, column: str) -> Composable:
        levels = self.guard.levels(column)
        if levels == {CLEAR}:
            return Identifier(self.guard.stored_name(column))
        kind = next(one for one in self.guard.columns if one.name == column).type
        number = [one.name for one in self.guard.columns].index(column)
        names = {level(method): method for method in STORED_MASKS} | {CLEAR: None}
        shown: dict[int, Composable] = {
            value: Identifier(self.guard.stored_name(column, method))
            for value, method in names.items()
            if value in levels
        }
        if level("redact") in levels:
            shown[level("redact")] = SQL("{}::text").format(Literal(MASK))
        whens = [SQL("when {} then {}").format(Literal(value), made) for value, made in sorted(shown.items())]
        null = SQL("null::{}").format(SQL(postgres_type(kind)))
        if not whens:
            return null
        return SQL("case {} {} else {} end").format(_decision(f"column_{number}"), SQL(" ").join(whens), null)

    # -- once for each query --------------------------------------------------------------------------------

    def _decided(self) -> Composed:
        holds = [
            SQL("{} as {}").format(self._holds(grant), Identifier(f"grant_{number}"))
            for number, grant in enumerate(self.guard.grants)
        ]
        decisions = [
            SQL("({}) as {}").format(
                SQL(" or ").join(Identifier(f"grant_{grant}") for grant in rows.grants),
                Identifier(f"rows_{number}"),
            )
            for number, rows in enumerate(self.guard.rows)
        ]
        decisions += [
            SQL("{} as {}").format(self._level(column.name), Identifier(f"column_{number}"))
            for number, column in enumerate(self.guard.columns)
            if self.guard.levels(column.name) != {CLEAR}
        ]
        known = [
            SQL("{} as {}").format(self._value(*reference), Identifier(name))
            for reference, name in self._references.items()
        ]
        return SQL(
            "with dp_known as materialized (select {known}), "
            "dp_held as materialized (select {held} from dp_known), "
            "dp_decided as materialized (select {decided} from dp_held) "
        ).format(
            known=_list(known),
            held=_list(holds),
            decided=_list(decisions),
        )

    def _holds(self, grant: DatasetGrant) -> Composable:
        """Whether a grant is for who asks, and all that its filter compares with is known of them."""
        who = grant.who
        parts: list[Composable] = [] if who.anyone else list(self._said(who))
        parts += [
            SQL("{} is not null").format(Identifier(self._named(*reference)))
            for reference in sorted(_needed(grant.rows, self.types))
        ]
        return SQL("({})").format(SQL(" and ").join(parts)) if parts else SQL("true")

    def _said(self, who: Who) -> Iterator[Composable]:
        if who.subjects:
            yield SQL("current_user = any({}::text[])").format(Literal(sorted(who.subjects)))
        if who.roles:
            yield SQL(
                "exists (select from pg_catalog.pg_roles as r where r.rolname = any({}::text[]) "
                "and pg_catalog.pg_has_role(r.oid, 'usage'))"
            ).format(Literal(sorted(who.roles)))
        for claim, values in (("client", who.clients), ("scope", who.scopes)):
            if values:
                yield SQL(
                    "exists (select from {} as c where c.login = current_user and c.claim = {} "
                    "and c.value = any({}::text[]))"
                ).format(Identifier(self.hidden, "claims"), Literal(claim), Literal(sorted(values)))

    def _level(self, column: str) -> Composable:
        """How much of a column is shown to who asks: of grants with the same rows the most, of others the least."""
        by_rows = []
        for number, rows in enumerate(self.guard.rows):
            shows = [
                SQL("case when {} then {} end").format(
                    Identifier(f"grant_{grant}"), Literal(level(self.guard.grants[grant].columns[column]))
                )
                for grant in rows.grants
                if column in self.guard.grants[grant].columns
            ]
            most = SQL("least({})").format(SQL(", ").join([*shows, Literal(ABSENT)]))
            by_rows.append((number, rows, most))
        first = by_rows[0] if by_rows and by_rows[0][1].predicate == EVERYTHING else None
        others = [
            SQL("case when {} then {} end").format(self._any(rows.grants), most)
            for _, rows, most in by_rows
            if rows.predicate != EVERYTHING
        ]
        least = SQL("coalesce(greatest({}), {})").format(SQL(", ").join(others), Literal(ABSENT))
        if first is None:
            return least
        _, rows, most = first
        if not others:
            return most
        return SQL("case when {} then {} else {} end").format(self._any(rows.grants), most, least)

    @staticmethod
    def _any(grants: tuple[int, ...]) -> Composable:
        return SQL("({})").format(SQL(" or ").join(Identifier(f"grant_{grant}") for grant in grants))

    # -- what is known of who asks ------------------------------------------------------------------------------

    def _reference(self, name: str, kind: str, many: bool) -> str:
        # In a text that is read with its marks filled in, so a percent sign would be one.
        return f"(select dp_known.{self._named(name, kind, many)} from dp_known)"

    def _named(self, name: str, kind: str, many: bool) -> str:
        return self._references.setdefault((name, kind, many), f"known_{len(self._references)}")

    def _value(self, name: str, kind: str, many: bool) -> Composable:
        """A value of who asks, or (``many``) all values as an array; null where it is unknown or of the wrong type."""
        cast = SQL(_CASTS.get(kind, "bigint"))
        if name == "subject":
            value: Composable = SQL("current_user::text")
            fits = _fits(value, kind)
            made = SQL("case when {} then {}::{} end").format(fits, value, cast)
            return SQL("case when {} then array[{}] end").format(fits, made) if many else made
        claim = name.removeprefix("claim.")
        fits = _fits(Identifier("c", "value"), kind)
        # Casts stand behind their test: a value that is none of the type must not end the query.
        one = SQL("case when {} then c.value::{} end").format(fits, cast)
        right = SQL("bool_and({})").format(fits)
        made = (
            SQL("case when {} then array_agg({}) end").format(right, one)
            if many
            else SQL("case when count(*) = 1 and {} then (array_agg({}))[1] end").format(right, one)
        )
        return SQL("(select {} from {} as c where c.login = current_user and c.claim = {})").format(
            made, Identifier(self.hidden, "claims"), Literal(claim)
        )


def _list(items: Sequence[Composable]) -> Composable:
    return SQL(", ").join(items) if items else SQL("null as nothing")


def _decision(name: str) -> Composable:
    return SQL("(select {} from dp_decided)").format(Identifier("dp_decided", name))


def _fits(value: Composable, kind: str) -> Composable:
    pattern = _PATTERNS[kind]
    return SQL("true") if pattern is None else SQL("({} ~ {})").format(value, Literal(pattern))


def _needed(predicate: Predicate, types: dict[str, str]) -> set[tuple[str, str, bool]]:
    """The references of a filter, each as the type that it is compared as, and whether it may be several values."""
    found = set()
    for condition in conditions_of(predicate):
        many = isinstance(condition.value, tuple)
        values = condition.value if many else (condition.value,)
        found |= {(one.name, types[condition.column], many) for one in values if isinstance(one, Reference)}
    return found


def postgres_type(canonical: str) -> str:
    """PostgreSQL's type; the column's type must be one that it holds."""
    from dp_dagster.ports.outputs.sql.postgresql.types import HOLDING

    found = HOLDING.type_of(canonical)
    assert found is not None
    return found
