"""What is served beside ports: each a path and what answers below it.

The extension point of the shell. A module that has something to serve gives a function ``mount(services)`` and is
named in :data:`MOUNTS`; it is imported when the server starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from dp_dagster.access.view import Identity
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.rows.version import PublishedVersion
    from dp_dagster.serving.hosts import Host
    from dp_dagster.serving.protocol import Application
    from dp_dagster.settings import Settings

MOUNTS: tuple[str, ...] = (
    "dp_dagster.serving.control:mount",
    "dp_dagster.serving.control:catalog_mount",
    "dp_dagster.serving.service_levels:mount",
)
"""``module:function`` of everything that is mounted beside ports."""


@dataclass(frozen=True)
class Mount:
    """Something that answers below a path.

    Attributes:
        path: ``/control``, without a trailing slash. It gets ``root_path`` and the full path, as ports do.
        application: What answers. Errors of ours that it lets escape become problem documents.
        identify: From a request's headers (lower-case names) to who asks; raises ``AuthenticationError``. The
            application finds them in ``scope[EXCHANGE].identity``; ``None`` for what anybody may ask.
        start: Awaited when the server starts.
        stop: Awaited when it ends.
    """

    path: str
    application: Application
    identify: Callable[[Mapping[str, str]], Awaitable[Identity]] | None = None
    start: Callable[[], Awaitable[None]] | None = None
    stop: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Services:
    """What the shell offers to mounts.

    Attributes:
        settings: Of the platform.
        products: What is served.
        host: From product id, major version and name of a served port to its versions.
        on_version: Has a function called in the event loop whenever a port shows another version, with the
            product's id, the port's label and the version.
        faults: Products of the project that are refused, and why.
    """

    settings: Settings
    products: tuple[ResolvedProduct, ...]
    host: Callable[[str, int, str], Host]
    on_version: Callable[[Callable[[str, str, PublishedVersion], None]], None]
    faults: Mapping[str, str] = field(default_factory=dict)


def mounts(services: Services) -> list[Mount]:
    """Everything that is mounted beside ports."""
    found = []
    for name in MOUNTS:
        module, _, function = name.partition(":")
        made: Mount | None = getattr(import_module(module), function)(services)
        if made is not None:
            found.append(made)
    return found
