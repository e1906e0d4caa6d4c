"""Whether consumers can open a port: it is opened now and then as they do it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dp_dagster.alerts.links import consumers_see, links
from dp_dagster.alerts.model import Observation
from dp_dagster.sla.probes import probe
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dp_dagster.alerts.model import Key
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct

EVERY = timedelta(minutes=5)
"""How often a port that answers is opened; one that does not is opened each time."""


def ports_down(
    product: ResolvedProduct, cursor: Mapping[str, Any], now: datetime
) -> tuple[list[Observation], set[Key], dict[str, Any]]:
    """Open the ports that are due.

    A port is down when it could not be opened twice in a row: it may just be brought to a new version.

    Args:
        product: The product.
        cursor: What the last call gave: when each port was opened, and how often in vain since it last answered.
        now: The time.

    Returns:
        What is down, ports of which nothing is known now, and what the next call needs.
    """
    found: list[Observation] = []
    unknown: set[Key] = set()
    after: dict[str, Any] = {}
    ports = {f"v{port.major}/port/{port.name}": port for port in product.active_ports if _can_be_opened(port)}
    due = {name: port for name, port in ports.items() if _is_due(cursor.get(name), now)}
    manifest = read_manifest(product.settings.storage, product.id) if due else None
    for name, port in ports.items():
        if name not in due:
            unknown.add((product.id, name, "port_down"))
            after[name] = cursor[name]
            continue
        if manifest is None or manifest.port(port.major, port.name) is None:
            continue  # Nothing was ever shown there.
        outcome = probe(product, port, now)
        times = 0 if outcome.good else int(cursor.get(name, {}).get("in vain", 0)) + 1
        after[name] = {"at": now.isoformat(), "in vain": times}
        if times == 1:
            unknown.add((product.id, name, "port_down"))
        elif times > 1:
            found.append(
                Observation(
                    product.id,
                    name,
                    "port_down",
                    bad=True,
                    at=now,
                    reason=f"Consumers cannot open it: {outcome.reason}",
                    facts={
                        **links(product.settings, product.id, name),
                        "consumers see": f"an error, instead of {consumers_see(product.settings, product.id, name)}",
                    },
                )
            )
    return found, unknown, after


def _can_be_opened(port: ResolvedOutput) -> bool:
    return port.port is not None and port.port.capabilities.probed


def _is_due(known: Mapping[str, Any] | None, now: datetime) -> bool:
    if known is None or known["in vain"]:
        return True
    return not timedelta() <= now - datetime.fromisoformat(known["at"]) < EVERY
