"""What all servers have in common on which a SQL port can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dp_dagster.ports.base import Fault, OutputCapabilities
from dp_dagster.ports.outputs.sql.endpoint import endpoint_faults, read_endpoint, without_credentials
from dp_dagster.ports.outputs.sql.target import SqlTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dp_dagster.access.policy import DatasetGrant
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.ports.outputs.sql.endpoint import Endpoint
    from dp_dagster.ports.outputs.sql.guard import Guard
    from dp_dagster.ports.outputs.sql.holding import Holding
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest


class ServerTarget(SqlTarget):
    """A view on a server, which decides by itself who reads it.

    Attributes:
        name: Of the server, for people.
        with_host: Whether an endpoint names the host.
        right: An endpoint as it should be.
        credentials: How somebody logs in instead of by the endpoint.
        longest_name: How long names may be, and in which unit.
    """

    capabilities = OutputCapabilities(probed=True)
    name: ClassVar[str]
    with_host: ClassVar[bool]
    right: ClassVar[str]
    credentials: ClassVar[str]
    longest_name: ClassVar[tuple[int, str]]

    def size_of(self, name: str) -> int:
        """How long a name is, in that unit."""
        return len(name)

    def is_reserved(self, schema: str) -> bool:
        """Whether the server keeps a schema to itself."""
        return schema.lower() == "information_schema"

    def check(self, config: SqlConfig) -> Iterable[Fault]:
        """The endpoint names the view, and the way to it, and nothing else."""
        endpoint = config.endpoint or ""
        faults = list(
            endpoint_faults(
                endpoint, with_host=self.with_host, right=self.right, credentials=self.credentials
            )
        )
        yield from faults
        if faults:
            return
        place = read_endpoint(endpoint, with_host=self.with_host)
        longest, unit = self.longest_name
        for what in ("database", "schema", "view"):
            size = self.size_of(getattr(place, what))
            if size > longest:
                yield Fault("endpoint", f"names a {what} with {size} {unit}", f"use at most {longest}")
        if self.is_reserved(place.schema):
            yield Fault(
                "endpoint", f"names {place.schema}, which the server keeps to itself", "name another schema"
            )

    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """The endpoint."""
        return str(self.endpoint(config, context))

    def endpoint(self, config: SqlConfig, context: OutputContext) -> Endpoint:
        """Where the view of the port's major version is."""
        found = read_endpoint(without_credentials(config.endpoint or ""), with_host=self.with_host)
        return found.of_major(context)

    def guard(
        self,
        context: OutputContext,
        snapshot: Snapshot,
        sayable: Callable[[DatasetGrant, dict[str, str]], str],
        holding: Holding,
    ) -> tuple[Guard, list[str]]:
        """Who sees what of a version, and what of the grants the server cannot decide, a line each.

        Args:
            context: The port.
            snapshot: The version.
            sayable: Why a grant cannot be said on this server; empty where it can.
            holding: What the server's types hold.

        Raises:
            AuthorError: the server cannot hold a type or value of the version.
            StoreError: a grant needs a column that the version does not have.
        """
        from dp_dagster.ports.outputs.sql.guard import guard_of

        types = {column.name: column.type for column in snapshot.columns}
        differs, decided = [], []
        for grant in context.guarded.grants if context.guarded else ():
            reason = sayable(grant, types)
            if reason:
                differs.append(f"a grant gives nothing on {self.name}: {reason}")
            else:
                decided.append(grant)
        guard = guard_of(snapshot.columns, context.guarded, decided, f"version {snapshot.version}")
        holding.check(port_of(context), snapshot, [one.column for one in guard.stored if one.method is None])
        return guard, differs


def port_of(context: OutputContext) -> str:
    """The port as a server's catalog knows it: ``shop/v1/customers_sql``."""
    return f"{context.product_id}/v{context.major}/{context.port_name}"


def still_is(manifest: Manifest) -> Callable[[str], bool]:
    """Whether a port is one of the manifest's product, by the name of :func:`port_of`."""

    def is_port(name: str) -> bool:
        product, major, port = name.split("/")
        return product == manifest.product_id and port in manifest.ports.get(major, {})

    return is_port
