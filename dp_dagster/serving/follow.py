"""Following what is published: each product's manifest is looked at twice a second, which costs one system call.

Of a storage in a bucket it costs a request, and is done every two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from dp_dagster.errors import DataProductError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from dp_dagster.rows.version import PublishedVersion
    from dp_dagster.serving.hosts import Host
    from dp_dagster.storage.manifest import Manifest
    from dp_dagster.storage.places import Place

_LOG = logging.getLogger("dp_dagster.serving")
_LOOK_SECONDS = 0.5
_LOOK_SECONDS_OF_A_BUCKET = 2.0
_STORE_SECONDS = 0.05
_USE_SECONDS = 600.0


class Follower:
    """Keeps the hosts of one product at the newest version.

    A new version is opened beside the old one. The old one stays on show until the new one's row store has been
    built, so that no answer becomes slow; at most for ``patience`` seconds.

    Args:
        storage: The storage root.
        product: The product's id.
        patience: Seconds.
        shown: Called in the event loop when a version is put on show, also for the first one.
        read: Called with each manifest that is read, in a thread.
    """

    def __init__(
        self,
        storage: str,
        product: str,
        *,
        patience: float,
        shown: Callable[[Host, PublishedVersion], None] | None = None,
        read: Callable[[Manifest], None] | None = None,
    ) -> None:
        from dp_dagster.storage.bucket import is_bucket
        from dp_dagster.storage.location import product_place

        self._storage = storage
        self._product = product
        self._patience = patience
        self._shown = shown
        self._read = read
        self._path: Place = product_place(storage, product) / "manifest.json"
        self._pause = _LOOK_SECONDS_OF_A_BUCKET if is_bucket(storage) else _LOOK_SECONDS
        self._seen: Hashable | None = None
        self._next_look = 0.0
        self._next_use = time.monotonic() + _USE_SECONDS if is_bucket(storage) else float("inf")
        self._waiting: dict[Host, tuple[PublishedVersion, float]] = {}
        self._told: dict[Host, int] = {}
        self.hosts: list[Host] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_STORE_SECONDS if self._waiting else self._pause)

    async def look(self) -> None:
        """Look once."""
        seen = await self._stamp()
        if seen != self._seen:
            self._seen = seen
            await asyncio.to_thread(self._open)
        now = time.monotonic()
        for host, (version, since) in list(self._waiting.items()):
            if version.store is not None or now - since > self._patience:
                host.show(version)
                del self._waiting[host]
        self._tell()
        if now >= self._next_use:
            self._next_use = now + _USE_SECONDS
            await asyncio.to_thread(self._use)

    def add(self, host: Host) -> None:
        """Follow for one more host; it is brought to the newest version with the next look."""
        self.hosts.append(host)
        self._seen = None
        self._next_look = 0.0

    def _tell(self) -> None:
        for host in self.hosts:
            current = host.current
            if current is not None and self._told.get(host) != current.version:
                self._told[host] = current.version
                host.tell()
                if self._shown is not None:
                    self._shown(host, current)

    async def _stamp(self) -> Hashable | None:
        from pathlib import Path

        from dp_dagster.storage.places import stamp

        if isinstance(self._path, Path):
            return stamp(self._path)
        if time.monotonic() < self._next_look:  # asked more often while a row store is built
            return self._seen
        self._next_look = time.monotonic() + self._pause
        try:
            return await asyncio.to_thread(stamp, self._path)
        except DataProductError as error:
            # What is on show stays on show.
            _LOG.error("%s", error)
            return self._seen

    def _use(self) -> None:
        """Say that the files on show are in use, lest they make room for others."""
        from dp_dagster.storage.mirror import ensure

        for host in self.hosts:
            if host.current is not None:
                try:
                    ensure(self._storage, [str(file) for file in host.current.published_files()])
                except DataProductError as error:
                    _LOG.error("%s", error)

    def _open(self) -> None:
        from dp_dagster.storage.manifest import read_manifest

        try:
            manifest = read_manifest(self._storage, self._product)
        except DataProductError as error:
            _LOG.error("%s", error)
            for host in self.hosts:
                host.fault = f"{host.name} cannot be read"
            return
        if manifest is None:
            return
        if self._read is not None:
            self._read(manifest)
        for host in list(self.hosts):
            opened = host.follow(manifest)
            if opened is not None:
                since = self._waiting[host][1] if host in self._waiting else time.monotonic()
                self._waiting[host] = (opened, since)
