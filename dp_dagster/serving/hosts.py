"""What a served port shows: the version of its dataset that was projected last, and older ones on demand."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from dp_dagster.errors import DataProductError, NotPublishedError, StoreError, VersionGoneError
from dp_dagster.rows.shelf import gone_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dp_dagster.access.view import DatasetView, Identity
    from dp_dagster.rows.shelf import Shelf
    from dp_dagster.rows.version import PublishedVersion
    from dp_dagster.storage.manifest import Manifest

    Related = Callable[[str, Identity], "tuple[Host, DatasetView] | None"]

_LOG = logging.getLogger("dp_dagster.serving")


class Host:
    """See :class:`dp_dagster.ports.served.PortHost`.

    The version on show changes in one assignment, when the next one is ready: whoever asks meets the old one or the
    new one, and waits for neither.

    Args:
        name: What is hosted, for messages.
        shelf: The dataset's versions.
        wanted: From the product's manifest to the version that is to be on show; ``None`` for none.
        related: Another dataset of the product, as somebody sees it.
    """

    def __init__(
        self, name: str, shelf: Shelf, wanted: Callable[[Manifest], int | None], related: Related
    ) -> None:
        self.name = name
        self.shelf = shelf
        self.fault: str | None = None
        self._wanted = wanted
        self._related = related
        self._current: PublishedVersion | None = None
        self._next: PublishedVersion | None = None
        self._guard = threading.Lock()
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()

    # -- for kinds -------------------------------------------------------------------------------------

    def newest(self) -> PublishedVersion:
        """The version on show.

        Raises:
            NotPublishedError: there is none yet.
            StoreError: there is one, and it cannot be read.
        """
        found = self._current
        if found is not None:
            return found
        if self.fault is not None:
            raise StoreError(self.fault)
        raise NotPublishedError(f"{self.name} has not been published yet; try again later")

    def at(self, version: int) -> PublishedVersion:
        """A published version by its number.

        Raises:
            VersionGoneError: it was never on show, or is no longer kept.
        """
        current = self.newest()
        if version == current.version:
            return current
        if version > current.version or version < 0:
            # Not even whether it is about to be published.
            raise VersionGoneError(gone_message(version))
        return self.shelf.open(version)

    def as_of(self, moment: datetime) -> PublishedVersion:
        """The version that was on show at that time.

        Raises:
            VersionGoneError: nothing was, or it is no longer kept.
        """
        return self.at(self.shelf.version_at(moment, self.newest().version))

    def related(self, dataset: str, identity: Identity) -> tuple[Host, DatasetView] | None:
        """Another dataset of the product, as this identity sees it; ``None`` where it may not."""
        return self._related(dataset, identity)

    async def changed(self, version: int) -> None:
        """Wait until another version than this one is on show, or the server ends."""
        while not self.is_ending and (self._current is None or self._current.version == version):
            await self._changed.wait()

    @property
    def is_ending(self) -> bool:
        """Whether the server ends: answers that have no end of their own come to one."""
        return self._ending.is_set()

    async def ended(self) -> None:
        """Wait until the server ends."""
        await self._ending.wait()

    # -- for who follows the manifest ------------------------------------------------------------------

    @property
    def current(self) -> PublishedVersion | None:
        """The version on show, if there is one."""
        return self._current

    def follow(self, manifest: Manifest) -> PublishedVersion | None:
        """Open the version that the manifest says, beside the one on show; give it where it is another one.

        The first version is shown at once. Any other is shown by :meth:`show`. May take a while: not for an event
        loop.
        """
        try:
            wanted = self._wanted(manifest)
            if wanted is None or (self._current is not None and self._current.version == wanted):
                self.fault = None
                return None
            self.shelf.published_since()
            opened = self.shelf.open(wanted)
        except DataProductError as error:
            self.fault = f"{self.name} cannot be read"
            _LOG.error("%s: %s", self.name, error)
            return None
        self.fault = None
        with self._guard:
            if self._current is None:
                self._current = opened
                return None
            self._next = opened
        return opened

    def tell(self) -> None:
        """Wake who waits for another version. Called in the event loop."""
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    def end(self) -> None:
        """Have answers without an end come to one. Called in the event loop."""
        self._ending.set()
        self.tell()

    def show(self, version: PublishedVersion) -> None:
        """Put a version on show, unless a newer one was opened meanwhile."""
        with self._guard:
            if self._next is version:
                self._current, self._next = version, None
