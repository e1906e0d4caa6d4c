"""Who may read a view in PostgreSQL: what the product grants, and what somebody granted by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL, Composable, Identifier

from dp_dagster.ports.outputs.sql.postgresql.view import Privilege

if TYPE_CHECKING:
    from dp_dagster.ports.outputs.sql.postgresql.catalog import Place, Shown
    from dp_dagster.ports.outputs.sql.postgresql.connection import Server


@dataclass(frozen=True)
class Privileges:
    """The privileges on one view.

    Attributes:
        server: The server, in the transaction in which they change.
        place: The view.
        shown: What was granted here before.
    """

    server: Server
    place: Place
    shown: Shown | None

    def settle(self, declared: frozenset[Privilege] | None, names: set[str]) -> list[Any]:
        """Grant what is wanted, and take back what was granted here and is wanted no more. Others' grants stay.

        Args:
            declared: What is wanted; ``None`` where that is not decided here.
            names: Columns of the view.

        Returns:
            What is granted now, as :class:`Shown` keeps it.
        """
        if declared is None:
            wanted: list[Privilege] = []
        else:
            there = {
                row[0]
                for row in self.server.execute(
                    "select rolname from pg_roles where rolname = any(%s)",
                    ([one.grantee for one in declared],),
                )
            }
            wanted = sorted(one for one in declared if not one.grantee or one.grantee in there)
        before = [
            Privilege(name, tuple(columns)) for name, columns in (self.shown.privileges if self.shown else [])
        ]
        for privilege in before:
            if privilege not in wanted and set(privilege.columns) <= names:
                self._revoke(privilege)
        for privilege in wanted:
            self.grant(privilege)
            self.server.execute(
                SQL("grant usage on schema {} to {}").format(
                    Identifier(self.place.schema), _role(privilege.grantee)
                )
            )
        return [[one.grantee, list(one.columns)] for one in wanted]

    def grant(self, privilege: Privilege) -> None:
        """Let somebody read the view, or columns of it."""
        self.server.execute(
            SQL("grant select {} on {} to {}").format(
                _columns(privilege), self.place.identifier, _role(privilege.grantee)
            )
        )

    def _revoke(self, privilege: Privilege) -> None:
        is_there = not privilege.grantee or _is_role(self.server, privilege.grantee)
        if is_there:
            self.server.execute(
                SQL("revoke select {} on {} from {}").format(
                    _columns(privilege), self.place.identifier, _role(privilege.grantee)
                )
            )

    def by_hand(self) -> list[Privilege]:
        """What somebody granted on the view beside what was granted here."""
        rows = self.server.execute(
            "select coalesce(r.rolname, ''), null from pg_class c join pg_namespace n on n.oid = c.relnamespace, "
            "aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee "
            "where n.nspname = %(schema)s and c.relname = %(view)s and a.privilege_type = 'SELECT' "
            "and a.grantee <> c.relowner "
            "union all select coalesce(r.rolname, ''), t.attname from pg_class c "
            "join pg_namespace n on n.oid = c.relnamespace join pg_attribute t on t.attrelid = c.oid, "
            "aclexplode(t.attacl) a left join pg_roles r on r.oid = a.grantee "
            "where n.nspname = %(schema)s and c.relname = %(view)s and a.privilege_type = 'SELECT'",
            {"schema": self.place.schema, "view": self.place.view},  # type: ignore[arg-type]
        ).fetchall()
        ours = {(name, tuple(columns)) for name, columns in (self.shown.privileges if self.shown else [])}
        found: dict[str, set[str]] = {}
        whole = set()
        for name, column in rows:
            if column is None:
                whole.add(name)
            else:
                found.setdefault(name, set()).add(column)
        made = [Privilege(name) for name in whole]
        made += [Privilege(name, tuple(sorted(columns))) for name, columns in found.items()]
        return [one for one in made if (one.grantee, one.columns) not in ours]


def _is_role(server: Server, name: str) -> bool:
    return server.execute("select from pg_roles where rolname = %s", (name,)).fetchone() is not None


def _columns(privilege: Privilege) -> Composable:
    if not privilege.columns:
        return SQL("")
    return SQL("({})").format(SQL(", ").join(map(Identifier, privilege.columns)))


def _role(name: str) -> Composable:
    return Identifier(name) if name else SQL("public")
