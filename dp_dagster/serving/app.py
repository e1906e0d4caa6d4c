"""Putting it together: from resolved products to the shell."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import AuthorError, StoreError, UsageError
from dp_dagster.ports.relationships import datasets_near
from dp_dagster.ports.served import ServedPort
from dp_dagster.rows.builder import StoreBuilder
from dp_dagster.rows.export import Exports
from dp_dagster.rows.files import FilesEngine
from dp_dagster.rows.shelf import Desk, Kept, Shelf
from dp_dagster.rows.version import Limits
from dp_dagster.serving.follow import Follower
from dp_dagster.serving.gate import Gate, Gates
from dp_dagster.serving.hosts import Host
from dp_dagster.serving.mounts import Services, mounts
from dp_dagster.serving.options import ServeOptions
from dp_dagster.serving.products import found_products, served_ports
from dp_dagster.serving.shell import Route, Shell, json_answer
from dp_dagster.serving.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dp_dagster.access.view import DatasetView, Identity
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.rows.version import PublishedVersion
    from dp_dagster.serving.mounts import Mount
    from dp_dagster.serving.protocol import Application, Headers, Receive, Scope, Send
    from dp_dagster.settings import Settings
    from dp_dagster.storage.manifest import Manifest, PortEntry

_LOG = logging.getLogger("dp_dagster.serving")
_UNLIMITED_BYTES = 1 << 50
_UNLIMITED_SECONDS = 86_400.0
_SWITCH_SECONDS = 0.0005


def create() -> Shell:
    """The application of a worker process, by the options in its environment."""
    from dp_dagster.settings import Settings

    # Whatever other thread takes the interpreter (the access log, say) keeps it for this long: by default five
    # milliseconds, which is more than a page takes.
    sys.setswitchinterval(_SWITCH_SECONDS)
    options = ServeOptions.from_environment()
    settings = Settings.load(Path(options.start))
    products, faults = found_products(options, settings)
    return assemble(products, settings, workers=options.workers, faults=faults)


def assemble(
    products: Iterable[ResolvedProduct],
    settings: Settings,
    *,
    workers: int = 1,
    faults: Mapping[str, str] | None = None,
) -> Shell:
    """The shell around the served ports of these products.

    Args:
        products: Resolved.
        settings: Of the platform.
        workers: How many processes serve them side by side.
        faults: Products that are refused, and why; the catalogue lists them.

    Raises:
        AuthorError: two ports want the same path.
        SettingsError: a port cannot authenticate anybody.
    """
    return _Assembly(tuple(products), settings, workers, faults or {}).shell()


@dataclass
class _Port:
    """One served port and what belongs to it."""

    product: ResolvedProduct
    output: ResolvedOutput
    dataset: ResolvedDataset
    host: Host
    route: Route
    is_broken: bool


@dataclass
class _Assembly:
    products: tuple[ResolvedProduct, ...]
    settings: Settings
    workers_of_server: int = 1
    faults: Mapping[str, str] = field(default_factory=dict)
    ports: list[_Port] = field(default_factory=list)
    further: list[Mount] = field(default_factory=list)

    def __post_init__(self) -> None:
        from dp_dagster.access.masks import Masks

        settings = self.settings
        masks = Masks.from_environment()
        self.workers = ThreadPoolExecutor(settings.serve_threads, thread_name_prefix="rows")
        folder = settings.state_directory
        self.engine = FilesEngine(memory=settings.serve_memory, spill=folder / "spill")
        salt = hashlib.sha256(masks.secret).hexdigest() if masks.secret else ""
        largest = settings.limits.response_bytes
        self.exports = Exports(
            self.engine,
            folder / "exports",
            room=settings.export_room,
            largest=largest if isinstance(largest, int) else _UNLIMITED_BYTES,
            seconds=settings.export_seconds,
            salt=salt,
        )
        self.builder = StoreBuilder(retention=settings.row_store_retention)
        seconds = settings.limits.query_seconds
        self.desk = Desk(
            state_directory=folder,
            engine=self.engine,
            exports=self.exports,
            builder=self.builder,
            workers=self.workers,
            limits=Limits(seconds=_UNLIMITED_SECONDS if not isinstance(seconds, float | int) else seconds),
            masks=masks,
        )
        self.gates = Gates(settings, self.workers_of_server)
        self.shelves: dict[tuple[str, str], Shelf] = {}
        self.datasets: dict[tuple[str, str], Host] = {}
        self.followers: dict[str, Follower] = {}
        self.listeners: list[Callable[[str, str, PublishedVersion], None]] = []
        self.tasks: list[asyncio.Task[None]] = []

    # -- making ----------------------------------------------------------------------------------------

    def shell(self) -> Shell:
        """Everything, mounted."""
        for product in self.products:
            self.followers[product.id] = Follower(
                self.settings.storage,
                product.id,
                patience=self.settings.serve_patience,
                shown=self._shown,
                read=self._read,
            )
            for output in served_ports(product):
                self.ports.append(self._port(product, output))
        self.further = mounts(
            Services(self.settings, self.products, self._host_of, self.listeners.append, self.faults)
        )
        routes = [port.route for port in self.ports]
        routes += [Route(mount.path, mount.application, identify=mount.identify) for mount in self.further]
        routes += [Route("/health", self._health), Route("/ready", self._ready)]
        self._refuse_shared_paths(routes)
        return Shell(routes, start=self._start, stop=self._stop)

    def _refuse_shared_paths(self, routes: list[Route]) -> None:
        names = {id(port.route): port.host.name for port in self.ports}
        for number, route in enumerate(routes):
            for other in routes[:number]:
                if f"{route.path}/".startswith(f"{other.path}/") or f"{other.path}/".startswith(
                    f"{route.path}/"
                ):
                    both = [names.get(id(one), "dp serve itself") for one in (other, route)]
                    raise AuthorError(
                        f"{both[0]} is served at {other.path} and {both[1]} at {route.path}; give one of them an "
                        "endpoint with another path"
                    )

    def _port(self, product: ResolvedProduct, output: ResolvedOutput) -> _Port:
        from dp_dagster.pipeline.projections import output_context
        from dp_dagster.pipeline.session import Session

        kind, dataset = output.port, output.dataset
        assert isinstance(kind, ServedPort)
        assert dataset is not None
        context = output_context(Session(product, "serve"), output)
        name = f"{product.id}.{output.label}"
        host = Host(
            name,
            self._shelf(product, dataset),
            lambda manifest: _version_of_port(manifest, output),
            lambda other, identity: self._related(product, dataset, other, identity),
        )
        self.followers[product.id].add(host)
        near = datasets_near(dataset.name, context.relationships)
        for other in product.datasets:
            # Known before the first request, as what the port itself shows.
            if other.major == dataset.major and other.name in near:
                self._dataset(product, other)
        gate = self.gates.of(product, output, dataset)
        is_broken = False
        try:
            application: Application = kind.application(output.config, context, host)
        except Exception as error:  # noqa: BLE001 - a kind is code of others; this port is at fault, not the rest
            _LOG.exception("%s is not served: its kind failed", name)
            application = _broken(f"{name} failed to start: {error}")
            is_broken = True
        route = Route(
            kind.path(output.config, context),
            application,
            identify=gate.identify,
            admit=gate.admit,
            view=gate.view,
            finished=gate.finished,
            headers=_deprecation(dataset, None),
            **self._bounds(gate),
        )
        return _Port(product, output, dataset, host, route, is_broken)

    def _bounds(self, gate: Gate) -> dict[str, Any]:
        limits, platform = gate.limits, self.settings.limits
        seconds = limits.query_seconds if limits.query_seconds != platform.query_seconds else None
        return {
            "largest": limits.response_bytes if isinstance(limits.response_bytes, int) else None,
            "seconds": seconds if isinstance(seconds, int | float) else None,
        }

    def _shelf(self, product: ResolvedProduct, dataset: ResolvedDataset) -> Shelf:
        from dp_dagster.storage import dataset_table

        name = (product.id, dataset.label)
        if name not in self.shelves:
            location = dataset_table(self.settings.storage, product.id, dataset.major, dataset.name)
            kept = Kept(dataset.contract, dataset.key, dataset.sort_by, _looked_up_by(product, dataset))
            self.shelves[name] = Shelf(self.desk, location, kept)
        return self.shelves[name]

    def _related(
        self, product: ResolvedProduct, beside: ResolvedDataset, name: str, identity: Identity
    ) -> tuple[Host, DatasetView] | None:
        """Another dataset of the same product and major version."""
        found = next(
            (one for one in product.datasets if one.name == name and one.major == beside.major), None
        )
        view = product.access.view(found.label, identity) if found is not None else None
        if found is None or view is None:
            return None
        return self._dataset(product, found), view

    def _dataset(self, product: ResolvedProduct, dataset: ResolvedDataset) -> Host:
        """A dataset by itself, whether or not a port shows it."""
        key = (product.id, dataset.label)
        if key not in self.datasets:
            shelf = self._shelf(product, dataset)
            self.datasets[key] = Host(
                f"{product.id}.{dataset.label}",
                shelf,
                lambda manifest: _version_of_dataset(manifest, dataset, shelf),
                lambda other, identity: self._related(product, dataset, other, identity),
            )
            self.followers[product.id].add(self.datasets[key])
        return self.datasets[key]

    def _host_of(self, product: str, major: int, name: str) -> Host:
        for port in self.ports:
            if (port.product.id, port.output.major, port.output.name) == (product, major, name):
                return port.host
        raise UsageError(f"{product}.{name}@{major} is not served here")

    # -- running ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self.gates.start()
        self.signals = Signals(self._end_streams)
        self.signals.listen()
        # What ports show is known before the first request.
        await asyncio.gather(*(follower.look() for follower in self.followers.values()))
        self.tasks = [asyncio.create_task(follower.run()) for follower in self.followers.values()]
        for mount in self.further:
            if mount.start is not None:
                await mount.start()

    def _end_streams(self) -> None:
        """Answers without an end of their own come to one: the server waits for all that has begun."""
        for port in self.ports:
            port.host.end()

    async def _stop(self) -> None:
        self.signals.leave()
        self._end_streams()
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for mount in self.further:
            if mount.stop is not None:
                await mount.stop()
        self.exports.close()
        await asyncio.to_thread(self.builder.close)
        self.workers.shutdown(wait=False, cancel_futures=True)
        await self.gates.stop()

    def _shown(self, host: Host, version: PublishedVersion) -> None:
        for port in self.ports:
            if port.host is host:
                for listener in self.listeners:
                    listener(port.product.id, port.output.label, version)

    def _read(self, manifest: Manifest) -> None:
        for port in self.ports:
            if port.product.id == manifest.product_id:
                shown = manifest.port(port.output.major, port.output.name)
                port.route.headers = _deprecation(port.dataset, shown)

    # -- health ----------------------------------------------------------------------------------------

    async def _health(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await json_answer({"status": "alive"})(send)

    async def _ready(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """200 while at least one port can answer, or there is none; each port says for itself what it can do."""
        ports = [_state(port) for port in self.ports]
        # Where there is nothing but the control port, there is nothing to wait for.
        able = not ports or any(port["state"] in {"ready", "ready, from files"} for port in ports)
        await json_answer({"status": "ready" if able else "not ready", "ports": ports}, 200 if able else 503)(
            send
        )


def _state(port: _Port) -> dict[str, Any]:
    current = port.host.current
    if port.is_broken:
        state = "broken"
    elif current is None:
        state = "broken" if port.host.fault else "not published"
    elif port.host.fault:
        state = "behind"
    else:
        state = "ready" if current.store is not None else "ready, from files"
    return {
        "port": port.host.name,
        "path": port.route.path,
        "state": state,
        "version": current.version if current is not None else None,
        "published_at": current.published_at.isoformat() if current is not None else None,
    }


def _looked_up_by(product: ResolvedProduct, dataset: ResolvedDataset) -> tuple[tuple[str, ...], ...]:
    """The columns by which rows of other datasets are followed to this one."""
    from dp_dagster.resolve.relationships import relationships_of

    found: dict[tuple[str, ...], None] = {}
    for relation in relationships_of(product, dataset.major):
        if relation.dataset == dataset.name:
            found[relation.columns] = None
        if relation.target == dataset.name:
            found[relation.target_columns] = None
    return tuple(found)


def _version_of_port(manifest: Manifest, output: ResolvedOutput) -> int | None:
    entry = manifest.port(output.major, output.name)
    return entry.version if entry is not None else None


def _version_of_dataset(manifest: Manifest, dataset: ResolvedDataset, shelf: Shelf) -> int | None:
    """The newest version that any port shows; of a dataset without ports, the newest that there is."""
    entries = manifest.ports.get(f"v{dataset.major}", {}).values()
    shown = [entry.version for entry in entries if entry.dataset == dataset.name]
    return max(shown) if shown else shelf.newest()


def _broken(message: str) -> Application:
    async def answer(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise StoreError(message)

    return answer


def _deprecation(dataset: ResolvedDataset, shown: PortEntry | None) -> Headers:
    """Headers of a deprecated version: since when (RFC 9745), as its publication says, and until when (RFC 8594)."""
    deprecated = dataset.deprecated
    if deprecated is None:
        return []
    sunset = datetime.combine(deprecated.sunset, time(), UTC)
    headers: Headers = [(b"sunset", format_datetime(sunset, usegmt=True).encode())]
    if shown is not None and shown.deprecated_since is not None:
        since = int(datetime.fromisoformat(shown.deprecated_since).timestamp())
        headers.append((b"deprecation", f"@{since}".encode()))
    return headers
