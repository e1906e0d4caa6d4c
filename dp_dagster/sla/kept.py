"""What a process remembers from one round to the next: what follows from a committed version never changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from dp_dagster.sla.facts import Unknown
from dp_dagster.sla.incidents import HeldVersions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dp_dagster.storage import Table
    from dp_dagster.storage.arrivals import Arrival

_KEPT = 10_000


class Kept:
    """Facts that follow from a committed version, by what they are about; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._facts: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.held = HeldVersions()
        self._arrivals: dict[tuple[str, str], KnownArrivals] = {}

    def get(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What is kept under the key, or is made now. What could not be found out is asked for again."""
        if key in self._facts:
            self._facts.move_to_end(key)
            return self._facts[key]
        made = make()
        if not isinstance(made, Unknown):
            self._facts[key] = made
            if len(self._facts) > _KEPT:
                self._facts.popitem(last=False)
        return made

    def arrivals(self, table: Table, version: int, since: datetime) -> tuple[Arrival, ...]:
        """When partitions of a table came, up to a version, since a time; see :class:`KnownArrivals`."""
        location = table.location
        known = self._arrivals.setdefault((location.root, str(location)), KnownArrivals())
        return known.up_to(table, version, since)


class KnownArrivals:
    """When the partitions of one table came: only what was published since the last round is read."""

    def __init__(self) -> None:
        self._newest = -1
        self._since: datetime | None = None
        self._found: tuple[Arrival, ...] = ()

    def up_to(self, table: Table, version: int, since: datetime) -> tuple[Arrival, ...]:
        """Publications up to a version and since a time, newest first.

        Raises:
            StoreError: a commit cannot be read.
        """
        if version < self._newest or self._since is None or since < self._since:
            self._newest, self._since, self._found = -1, since, ()
        if version > self._newest:
            fresh: list[Arrival] = []
            for one in table.arrivals(version):
                if one.version <= self._newest or one.at < since:
                    break
                fresh.append(one)
            self._newest, self._found = version, (*fresh, *self._found)
        # What is older than anybody asks for goes.
        self._since = since
        self._found = tuple(one for one in self._found if one.at >= since)
        return self._found
