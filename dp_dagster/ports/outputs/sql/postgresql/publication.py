"""Publishing a version into a view: loaded beside what is shown, shown by the end of one transaction."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier, Literal

from dp_dagster.errors import AuthorError, LockedError, StoreError
from dp_dagster.ports.outputs.sql.guard import own_prefix
from dp_dagster.ports.outputs.sql.loading import batches
from dp_dagster.ports.outputs.sql.postgresql import catalog, generations
from dp_dagster.ports.outputs.sql.postgresql.privileges import Privileges
from dp_dagster.ports.outputs.sql.postgresql.view import Privilege, ViewWriter, postgres_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.access.masks import Masks
    from dp_dagster.ports.outputs.sql.guard import Guard
    from dp_dagster.ports.outputs.sql.postgresql.catalog import Place, Shown
    from dp_dagster.ports.outputs.sql.postgresql.connection import Server
    from dp_dagster.storage import Snapshot

_LOCK_MILLISECONDS = 200
_PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class Publication:
    """What is to be shown.

    Attributes:
        place: The view.
        port: Whose it is: ``shop/v1/customers_sql``.
        snapshot: The version.
        guard: Who sees what of it.
        privileges: Who may read the view; ``None`` where that is not decided here.
        key: Columns that identify a row.
        description: Of the port.
        descriptions: Of columns, by name.
        masks: Masks values.
        patience: Seconds to wait for others.
    """

    place: Place
    port: str
    snapshot: Snapshot
    guard: Guard
    privileges: frozenset[Privilege] | None
    key: tuple[str, ...]
    description: str
    descriptions: Mapping[str, str]
    masks: Masks
    patience: float


def publish(server: Server, publication: Publication, ports: Callable[[str], bool]) -> list[str]:
    """Have the view show the version. Gives what is worth telling of what was found there, a line each.

    Readers are not kept waiting while rows are loaded, nor when they are shown. Only where columns or grants have
    changed is the view itself replaced, for which readers wait a fifth of a second at the longest at a time.

    Args:
        server: The server.
        publication: What is to be shown.
        ports: Whether a port of the product still is.

    Raises:
        AuthorError: the key has duplicates or nulls.
        LockedError: somebody else is at it, or has a lock on the view, and was not done in time.
        StoreError: what stands at the view's place is not the port's, or the server failed. What was shown still is.
    """
    place = publication.place
    catalog.make_schemas(server, place)
    with catalog.alone(server, place, publication.patience):
        shown = catalog.read_shown(server, place)
        told = _check_place(server, publication, shown, ports)
        generations.remove_unneeded(server, place, shown.parent if shown else None)
        _Publisher(server, publication, shown).publish()
        now = catalog.read_shown(server, place)
        generations.remove_unneeded(server, place, now.parent if now else None)
        told += [
            f"schema {place.hidden} with the unmasked rows is open to {role}"
            for role in catalog.who_can_enter(server, place)
        ]
        return told


def _check_place(
    server: Server, publication: Publication, shown: Shown | None, ports: Callable[[str], bool]
) -> list[str]:
    place = publication.place
    found = catalog.definition(server, place)
    if shown is None:
        if found is not None:
            raise StoreError(
                f"{place.name} is there already, and no port of this product made it; drop it, or name another view"
            )
        return []
    if shown.port != publication.port and ports(shown.port):
        raise StoreError(f"{place.name} is the view of the port {shown.port}; name another one")
    if found is None:
        return [f"{place.name} had been dropped by somebody; it was made again"]
    if found[0] != "v":
        raise StoreError(f"{place.name} has been replaced by something that is no view; drop it")
    if found[1] != shown.definition_hash:
        return [f"{place.name} had been changed by somebody; it was put right"]
    return []


class _Publisher:
    def __init__(self, server: Server, publication: Publication, shown: Shown | None) -> None:
        self.server = server
        self.publication = publication
        self.place = publication.place
        self.guard = publication.guard
        self.shown = shown
        self.privileges = Privileges(server, publication.place, shown)
        self.prefix = own_prefix(publication.snapshot.columns)
        self.columns = [(one.name, postgres_type(one.column.type)) for one in self.guard.stored]

    def publish(self) -> None:
        fingerprint = self._fingerprint()
        is_loaded = (
            self.shown is not None and self.shown.fingerprint == fingerprint and self._is_whole(self.shown)
        )
        with self.server.transaction():
            if is_loaded:
                assert self.shown is not None
                parent, generation = self.shown.parent, self.shown.generation
            else:
                parent, generation = self._load()
            query_hash, definition_hash = self._view(parent)
            self._comments()
            privileges = self.privileges.settle(
                self.publication.privileges, {column.name for column in self.guard.columns}
            )
            now = catalog.Shown(
                port=self.publication.port,
                parent=parent,
                shape=self._shape(),
                generation=generation,
                version=self.publication.snapshot.version,
                fingerprint=fingerprint,
                query_hash=query_hash,
                definition_hash=definition_hash,
                privileges=privileges,
            )
            if now != self.shown:
                catalog.write_shown(self.server, self.place, now)

    # -- rows -------------------------------------------------------------------------------------------------

    def _load(self) -> tuple[str, int]:
        server, place = self.server, self.place
        (number,) = server.execute(
            SQL("select nextval({}::text::regclass)").format(Literal(f'"{place.hidden}".numbers'))
        ).fetchone() or (0,)
        parent = self._parent()
        if parent is None:
            parent = generations.parent_name(place, number)
            generations.make_parent(server, place, parent, self.columns, self.prefix)
        rows = generations.make_generation(server, place, parent, number, self.prefix)
        query = SQL("copy {} ({}) from stdin with (format csv, freeze)").format(
            Identifier(place.hidden, rows), SQL(", ").join(Identifier(name) for name, _ in self.columns)
        )
        if self.columns:
            with batches(
                self.publication.snapshot, self.guard.stored, self.publication.masks, before_hexadecimal="\\x"
            ) as found:
                server.copy(query, map(_csv, found))
        self._finish(rows)
        generations.show_generation(server, place, parent, number)
        return parent, number

    def _finish(self, rows: str) -> None:
        in_clear = {one.column.name for one in self.guard.stored if one.method is None}
        key = self.publication.key if set(self.publication.key) <= in_clear else ()
        try:
            generations.finish_generation(
                self.server,
                self.place,
                rows,
                key,
                columns=[name for name, _ in self.columns],
                with_statistics=not self.guard.filters_rows,
            )
        except (errors.UniqueViolation, errors.NotNullViolation) as error:
            fault = "duplicates" if isinstance(error, errors.UniqueViolation) else "nulls"
            raise AuthorError(
                f"{self.publication.port}: the key {', '.join(key)} has {fault}, so "
                f"{self.place.name} was left as it was"
            ) from None

    def _parent(self) -> str | None:
        """The table that the view reads, if it has the columns that are needed, and nobody has changed it."""
        if self.shown is None or self.shown.shape != self._shape():
            return None
        expected = [
            *self.columns,
            (f"{self.prefix}generation", "bigint"),
            (f"{self.prefix}marker", "boolean"),
        ]
        there = catalog.columns_of_table(self.server, self.place.hidden, self.shown.parent)
        same = there is not None and [name for name, _ in there] == [name for name, _ in expected]
        return self.shown.parent if same else None

    def _is_whole(self, shown: Shown) -> bool:
        """Whether the tables behind the view are still as they were made."""
        if self._parent() is None:
            return False
        row = self.server.execute(
            "select from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = %s and c.relname = %s and p.relname = %s and not i.inhdetachpending",
            (self.place.hidden, f"{shown.parent}_{shown.generation}", shown.parent),
        ).fetchone()
        return row is not None

    def _shape(self) -> str:
        return _digest([self.prefix, *self.columns])

    def _fingerprint(self) -> str:
        """The same for the same rows, shown in the same way. Says nothing of the secret."""
        snapshot = self.publication.snapshot
        masks = self.publication.masks
        key = masks.secret if masks.secret and any(one.method == "hash" for one in self.guard.stored) else b""
        text = json.dumps(
            [
                snapshot.location.area,
                snapshot.version,
                [PurePath(file).name for file in snapshot.files],
                self.publication.key,
                self.guard.filters_rows,
                [(one.name, one.column.name, one.column.type, one.method) for one in self.guard.stored],
            ]
        )
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]

    # -- the view -----------------------------------------------------------------------------------------------

    def _view(self, parent: str) -> tuple[str, str]:
        """Make the view what it has to be; gives hashes of its text, ours and the server's."""
        types = {column.name: column.type for column in self.publication.snapshot.columns}
        writer = ViewWriter(self.server.connection, self.guard, types, self.place.hidden, parent, self.prefix)
        query = writer.query()
        query_hash = _digest(query.as_string(self.server.connection))
        found = catalog.definition(self.server, self.place)
        if self.shown and (self.shown.query_hash, ("v", self.shown.definition_hash)) == (query_hash, found):
            return query_hash, self.shown.definition_hash
        with self._short_locks():
            self._replace_view(query, is_there=found is not None)
        found = catalog.definition(self.server, self.place)
        assert found is not None
        return query_hash, found[1]

    def _replace_view(self, query: Composed, *, is_there: bool) -> None:
        create = SQL("create or replace view {} with (security_barrier) as {}").format(
            self.place.identifier, query
        )
        self.server.execute("savepoint same_columns")
        try:
            self.server.execute(create)
        except (errors.InvalidTableDefinition, errors.FeatureNotSupported):
            if not is_there:
                raise
            # Columns went, or have another type: the view cannot stay the same object.
            self.server.execute("rollback to savepoint same_columns")
        else:
            return
        kept = self.privileges.by_hand()
        try:
            self.server.execute(SQL("drop view {}").format(self.place.identifier))
        except errors.DependentObjectsStillExist as error:
            raise StoreError(
                f"the columns of {self.place.name} have changed, and other views depend on it: drop these first, or "
                "publish the change as another major version"
            ) from error
        self.server.execute(create)
        names = {column.name for column in self.guard.columns}
        for privilege in kept:
            columns = tuple(name for name in privilege.columns if name in names)
            if columns or not privilege.columns:
                self.privileges.grant(Privilege(privilege.grantee, columns))

    @contextmanager
    def _short_locks(self) -> Iterator[None]:
        """Waits for the view in short turns, so that readers who come meanwhile are not held up for longer."""
        deadline = time.monotonic() + self.publication.patience
        self.server.execute("select set_config('lock_timeout', %s, true)", (str(_LOCK_MILLISECONDS),))
        while True:
            self.server.execute("savepoint before_lock")
            try:
                self.server.execute(
                    SQL("lock table {} in access exclusive mode").format(self.place.identifier)
                    if catalog.definition(self.server, self.place) is not None
                    else SQL("select")
                )
                break
            except errors.LockNotAvailable:
                self.server.execute("rollback to savepoint before_lock")
                if time.monotonic() > deadline:
                    raise LockedError(
                        f"the columns or grants of {self.place.name} have changed, and somebody keeps a transaction "
                        "open in which it was read; the version before stays on show until the next attempt"
                    ) from None
                time.sleep(_PAUSE_SECONDS)
        yield

    def _comments(self) -> None:
        summary = self.publication.description.strip().partition("\n")[0]
        text = f"{summary} (version {self.publication.snapshot.version})".strip()
        self.server.execute(SQL("comment on view {} is {}").format(self.place.identifier, Literal(text)))
        for column in self.guard.columns:
            description = self.publication.descriptions.get(column.name)
            self.server.execute(
                SQL("comment on column {} is {}").format(
                    Identifier(self.place.schema, self.place.view, column.name), Literal(description or None)
                )
            )


def _csv(batch: Any) -> bytes:
    """A batch of rows as COPY reads them: a null is nothing, an empty text is two quotes."""
    from pyarrow import csv

    sink = io.BytesIO()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    return sink.getvalue()


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
