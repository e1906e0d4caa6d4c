"""The interface of served kinds: output ports that answer requests, mounted by ``dp serve``.

A served kind is an output port like any other (same registry, same conformance suite) that can also make an ASGI
application. The shell around it authenticates, decides the view, limits, records the access and follows new
versions; the kind speaks its protocol and nothing else. Web libraries are imported inside :meth:`application`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from dp_dagster.access.authentication.config import (  # noqa: TC001 - pydantic reads annotations at run time
    AuthenticationField,
)
from dp_dagster.ports.base import ConfigT, KindConfig, OutputCapabilities, OutputContext, OutputPort
from dp_dagster.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from dp_dagster.access.view import DatasetView, Identity
    from dp_dagster.rows.query import ServedVersion


class ServedConfig(KindConfig):
    """What every served kind can be told; its own configuration derives from this one."""

    auth: AuthenticationField = Field(
        description="Who may ask: `none`, `api_key`, `OAuth2`, or a mapping with `type`; see docs/access.md."
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="What each consumer may take: `requests_per_minute`, `rows_per_day`, `page_size`, "
        "`query_seconds`, `response_bytes`; a number or `unlimited`. By default the platform's `limits`.",
    )


EXCHANGE = "dp_dagster.exchange"
"""Key of the ASGI scope under which the shell hands an :class:`Exchange` to the kind."""

REQUEST_ID = "dp_dagster.request_id"
"""Key of the ASGI scope under which kinds find the request's id, which stands in every problem document."""


@dataclass
class Exchange:
    """One request as the shell sees it; the kind reads the upper half and fills in the lower.

    Attributes:
        identity: Who asks.
        view: What they see of the port's dataset.
        version: The version that was read.
        rows: How many rows were given.
        columns: Which columns were given or asked about.
    """

    identity: Identity
    view: DatasetView
    version: int | None = None
    rows: int = 0
    columns: tuple[str, ...] = field(default_factory=tuple)


class PortHost(Protocol):
    """What the shell offers to the application of one port."""

    def newest(self) -> ServedVersion:
        """The version on show.

        Raises:
            NotPublishedError: there is none yet.
        """

    def at(self, version: int) -> ServedVersion:
        """A published version by its number.

        Raises:
            VersionGoneError: it was never published, or is no longer kept.
        """

    def as_of(self, moment: datetime) -> ServedVersion:
        """The version that was on show at that time.

        Raises:
            VersionGoneError: nothing was, or it is no longer kept.
        """

    def related(self, dataset: str, identity: Identity) -> tuple[PortHost, DatasetView] | None:
        """Another dataset of the product, as this identity sees it; ``None`` where it may not."""

    async def changed(self, version: int) -> None:
        """Wait until another version than this one is on show, or the server ends."""

    @property
    def is_ending(self) -> bool:
        """Whether the server ends: answers that have no end of their own come to one."""

    async def ended(self) -> None:
        """Wait until the server ends."""


class ServedPort(OutputPort[ConfigT]):
    """A kind of output port that answers requests."""

    extra: ClassVar[str | None] = "serve"
    capabilities: ClassVar[OutputCapabilities] = OutputCapabilities(served=True, probed=True)

    def probe(self, config: ConfigT, context: OutputContext) -> None:
        """Ask ``dp serve`` whether the port can answer; a port behind a public address, whether that answers.

        Raises:
            StoreError: nobody answers, or the port cannot.
        """
        from dp_dagster.ports.asking import ask_endpoint, ask_ready

        endpoint = getattr(config, "endpoint", None)
        if endpoint:
            ask_endpoint(str(endpoint))
        else:
            ask_ready(context.settings.serve_url, self.path(config, context))

    @abstractmethod
    def path(self, config: ConfigT, context: OutputContext) -> str:
        """Where the port is mounted, without a trailing slash: ``/flights/v1/vw_flights``."""

    @abstractmethod
    def application(
        self, config: ConfigT, context: OutputContext, host: PortHost
    ) -> Callable[[dict[str, Any], Any, Any], Awaitable[None]]:
        """The ASGI application that answers below :meth:`path`."""
