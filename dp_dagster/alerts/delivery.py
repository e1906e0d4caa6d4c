"""Taking messages out of the store and sending them, one after the other, within a time."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from dp_dagster.alerts.kept import now_utc
from dp_dagster.alerts.message import compose, product_name
from dp_dagster.alerts.sender import keeps_incidents, send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dp_dagster.alerts.kept import Delivery
    from dp_dagster.alerts.routing import Routes
    from dp_dagster.alerts.store import AlertStore
    from dp_dagster.descriptor.alerting import Channel

LONGEST_SECONDS = 25.0
"""After so long the rest is left to the next time."""


def deliver(
    store: AlertStore,
    routes: Mapping[str, Routes],
    *,
    pause: float,
    now: Callable[[], datetime] = now_utc,
    transport: Callable[[Channel, Delivery], str] = send,
) -> list[tuple[Delivery, str]]:
    """Send what is due.

    Args:
        store: Where messages wait.
        routes: Whose messages, with their channels; what cannot be reached from here is left to others.
        pause: Seconds before the second attempt; doubled for each further one.
        now: The time.
        transport: Sends one message and says why it failed.

    Returns:
        The messages that were tried, each with why it failed; an empty text for those that arrived.
    """
    tried: list[tuple[Delivery, str]] = []
    deadline = time.monotonic() + LONGEST_SECONDS
    for owner, own in routes.items():
        reachable = own.reachable()
        apart = {name for name in reachable if keeps_incidents(own.channels[name])}
        while time.monotonic() < deadline:
            delivery = store.claim(owner, reachable, now(), partial(compose, product_name), apart)
            if delivery is None:
                break
            try:
                error = transport(own.channels[delivery.channel], delivery)
            except Exception as raised:  # noqa: BLE001 - one channel's fault must not keep the others waiting
                # Its words may hold parts of the channel's URL.
                error = f"the sender failed with {type(raised).__name__}"
            store.settle(delivery, error, now(), timedelta(seconds=pause))
            tried.append((delivery, error))
    return tried
