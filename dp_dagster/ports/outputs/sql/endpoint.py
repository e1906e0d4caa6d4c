"""What ``endpoint`` means to a SQL port: a server, and the names of database, schema and view on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from dp_dagster.ports.base import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.ports.base import OutputContext

# `user:password@` of a URL.
_CREDENTIALS = re.compile(r"(?<=//)[^/]*@")
# `v2` as a word of a name whose words are joined by underscores.
_VERSION_WORD = re.compile(r"(?<![A-Za-z0-9])[vV][0-9]+(?![A-Za-z0-9])")
_SAFE = "~!$&'()*+,;=:@"


@dataclass(frozen=True)
class Endpoint:
    """A view on a server.

    Attributes:
        scheme: As it is written.
        host: The server's name; empty where the endpoint names none.
        port: Its port; ``None`` for the usual one.
        database: Database.
        schema: Schema.
        view: The view that consumers read.
    """

    scheme: str
    host: str
    port: int | None
    database: str
    schema: str
    view: str

    @property
    def server(self) -> str:
        """Host and port, for people and addresses."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        parts = [self.server, *(quote(name, safe=_SAFE) for name in (self.database, self.schema, self.view))]
        return f"{self.scheme}://{'/'.join(part for part in parts if part)}"

    def of_major(self, context: OutputContext) -> Endpoint:
        """The place of an older major version that stays live: ``v2`` becomes ``v1``, else the view's name gets it."""
        if context.is_current:
            return self
        word = f"v{context.major}"
        schema, found = _VERSION_WORD.subn(word, self.schema, count=1)
        if found:
            return replace(self, schema=schema)
        view, found = _VERSION_WORD.subn(word, self.view, count=1)
        if found:
            return replace(self, view=view)
        return replace(self, view=f"{self.view}_{word}")


def scheme_of(endpoint: str | None) -> str:
    """The scheme; empty where there is none."""
    try:
        return urlsplit(endpoint or "").scheme
    except ValueError:
        return ""


def without_credentials(endpoint: str) -> str:
    """The endpoint as it may be shown."""
    return _CREDENTIALS.sub("", endpoint)


def read_endpoint(endpoint: str, *, with_host: bool) -> Endpoint:
    """Read an endpoint that has no faults.

    Args:
        endpoint: As the descriptor has it.
        with_host: Whether the server is named; otherwise what stands in its place is the database.
    """
    parts = urlsplit(without_credentials(endpoint))
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if not with_host:
        database = unquote(parts.netloc)
        return Endpoint(parts.scheme, "", None, database, *_two(names))
    return Endpoint(parts.scheme, parts.hostname or "", parts.port, names[0], *_two(names[1:]))


def endpoint_faults(endpoint: str, *, with_host: bool, right: str, credentials: str) -> Iterable[Fault]:
    """What is wrong with an endpoint; never repeats a secret.

    Args:
        endpoint: As the descriptor has it.
        with_host: Whether the server is named in it.
        right: What a right one looks like.
        credentials: Where user and password come from.
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port if with_host else None
    except ValueError:
        yield Fault("endpoint", "is no address", f"write {right}")
        return
    if "@" in parts.netloc:
        yield Fault("endpoint", "holds a user or password", f"remove it; {credentials}")
        return
    if parts.query or parts.fragment:
        yield Fault("endpoint", "holds more than an address", f"end it with the view: {right}")
        return
    names = parts.path.split("/")[1:]
    expected = 3 if with_host else 2
    if len(names) != expected or not all(unquote(name).strip() for name in names) or not parts.netloc:
        yield Fault("endpoint", "does not name database, schema and view", f"write {right}")
    elif with_host and (not parts.hostname or port == 0):
        yield Fault("endpoint", "names no server", f"write {right}")
    elif any("\0" in unquote(part) for part in (*names, parts.netloc)):
        yield Fault("endpoint", "holds a null character", f"write {right}")


def _two(names: list[str]) -> tuple[str, str]:
    schema, view = names
    return schema, view
