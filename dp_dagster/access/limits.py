"""How much each consumer may take from a port: requests by minute, rows by day."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dp_dagster.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.access.view import Identity
    from dp_dagster.settings import Limits

_MOST_CONSUMERS = 100_000
_DAY = 86_400


class Usage(Protocol):
    """Who knows how many rows a consumer has taken: :class:`~dp_dagster.access.log.AccessLog`."""

    def rows_today(self, product: str, port: str, consumer: str) -> int:
        """Rows that a consumer has taken from a port today (UTC)."""


@dataclass
class _Bucket:
    tokens: float
    at: float


class Limiter:
    """Lets requests of a consumer through, as many as a port's limits allow. One for each port and worker.

    A minute's worth of requests may come at once; then they are let through as fast as the minute allows. Several
    workers share a limit in equal parts.

    Args:
        limits: With the platform's filled in.
        product: Id of the product.
        port: The port's label.
        usage: Knows the rows that were taken.
        workers: How many processes serve the port.
        clock: Seconds that only go up.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        limits: Limits,
        product: str,
        port: str,
        usage: Usage,
        *,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._requests = _number(limits.requests_per_minute)
        self._rows = _number(limits.rows_per_day)
        self._capacity = max(1.0, self._requests / workers)
        self._place = (product, port)
        self._usage = usage
        self._clock = clock
        self._wall = wall
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, identity: Identity) -> None:
        """Let a request through.

        Raises:
            LimitExceededError: the consumer has taken what there is for now; says when there is more.
        """
        consumer = f"{identity.method}:{identity.subject}"
        if self._requests < math.inf:
            self._take(consumer)
        if self._rows < math.inf and self._usage.rows_today(*self._place, consumer) >= self._rows:
            left = _DAY - int(self._wall()) % _DAY
            raise LimitExceededError(
                f"{self._rows:,.0f} rows a day are the limit of this port, and they have been taken; "
                "more tomorrow (UTC)",
                left,
            )

    def _take(self, consumer: str) -> None:
        now = self._clock()
        rate = self._capacity / 60
        bucket = self._buckets.get(consumer)
        if bucket is None:
            self._forget(now, rate)
            bucket = self._buckets[consumer] = _Bucket(self._capacity, now)
        bucket.tokens = min(self._capacity, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.tokens < 1:
            raise LimitExceededError(
                f"{self._requests:,.0f} requests a minute are the limit of this port",
                max(1, math.ceil((1 - bucket.tokens) / rate)),
            )
        bucket.tokens -= 1

    def _forget(self, now: float, rate: float) -> None:
        """Forget consumers whose bucket is full again: they are like new ones."""
        if len(self._buckets) >= _MOST_CONSUMERS:
            self._buckets = {
                name: one
                for name, one in self._buckets.items()
                if one.tokens + (now - one.at) * rate < self._capacity
            }


def _number(limit: int | str | None) -> float:
    return math.inf if limit is None or limit == "unlimited" else float(limit)
