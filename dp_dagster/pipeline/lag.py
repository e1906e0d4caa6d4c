"""How far a port lags behind what its product reads: new files, new versions of other products."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dp_dagster.pipeline.landing import state_of
from dp_dagster.pipeline.partitioned_inputs import fingerprint_of, fingerprints_of
from dp_dagster.ports.base import InputContext

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedInput, ResolvedOutput, ResolvedProduct


@dataclass(frozen=True)
class Lag:
    """A port's lag: how long the oldest upstream publication that it does not show yet has been there."""

    duration: timedelta
    behind: tuple[str, ...]
    reason: str = ""


def measure_lag(product: ResolvedProduct, port: ResolvedOutput) -> Lag:
    """Compare what the port's version was made from with what is there to read now."""
    shown = _shown(product, port)
    oldest: datetime | None = None
    behind = []
    for declared in watched_inputs(product, port):
        context = input_context(product, declared)
        since = available_since(product, declared, context, shown.get(declared.name))
        if since is not None:
            behind.append(declared.port.location(declared.config))
            oldest = since if oldest is None else min(oldest, since)
    if oldest is None:
        return Lag(timedelta(0), (), "shows the newest of everything that it reads")
    duration = max(datetime.now(UTC) - oldest, timedelta(0))
    return Lag(duration, tuple(behind), f"behind {', '.join(behind)} for {duration}")


def current_fingerprint(product: ResolvedProduct, declared: ResolvedInput) -> str:
    """The fingerprint of what an input port has to read now, all partitions that are due included.

    Raises:
        InputError: there is nothing to read.
    """
    due = product.calendar.due(datetime.now(UTC)) if product.calendar else ()
    return fingerprint_of(declared, input_context(product, declared), due, product.calendar)


def available_since(
    product: ResolvedProduct, declared: ResolvedInput, context: InputContext, shown: str | None
) -> datetime | None:
    """When something newer than what is shown became available; see ``InputPort.available_since``."""
    calendar = product.calendar
    if not declared.names_partition or calendar is None:
        return declared.port.available_since(declared.config, context, shown)
    due = calendar.due(datetime.now(UTC))
    if shown == fingerprint_of(declared, context, due, calendar):
        return None
    # Which partitions are shown is not told apart here: the newest change of any of them counts.
    found = [
        since
        for key in fingerprints_of(declared, context, due, calendar)
        if (
            since := declared.port.available_since(
                declared.port.of_partition(declared.config, key, calendar.local_window(key)[0]), context, None
            )
        )
        is not None
    ]
    return max(found, default=None)


def input_context(product: ResolvedProduct, declared: ResolvedInput) -> InputContext:
    """Where an input port is looked at outside any run."""
    state = None
    if declared.port.landing(declared.config).mode != "replace":
        from dp_dagster.storage import Table, input_table

        table = Table(input_table(product.settings.storage, product.id, declared.name))
        state = state_of(declared, table.newest())
    return InputContext(
        product_id=product.id,
        product_root=product.root,
        port_name=declared.name,
        run_id="watch",
        settings=product.settings,
        contract=declared.contract,
        state=state,
    )


def watched_inputs(product: ResolvedProduct, port: ResolvedOutput) -> list[ResolvedInput]:
    """The input ports that a port's dataset is made from."""
    if port.dataset is None:
        return []
    return [product.input(name) for name in product.inputs_of(port.dataset.source)]


def inputs_on_show(product: ResolvedProduct) -> dict[str, str] | None:
    """Fingerprints of the inputs that all ports were made from; ``None`` where ports differ or one shows nothing."""
    found: dict[str, str] = {}
    for port in product.active_ports:
        shown = _shown(product, port)
        if not shown or any(found.get(name, value) != value for name, value in shown.items()):
            return None
        found |= shown
    return found


def _shown(product: ResolvedProduct, port: ResolvedOutput) -> dict[str, str]:
    """Fingerprints of the inputs that the version on show was made from."""
    from dp_dagster.storage import Table
    from dp_dagster.storage.manifest import read_manifest

    manifest = read_manifest(product.settings.storage, product.id)
    entry = manifest.port(port.major, port.name) if manifest else None
    if manifest is None or entry is None:
        return {}
    snapshot = Table(manifest.location(product.settings.storage, entry)).snapshot(entry.version)
    upstream = json.loads(snapshot.metadata.get("dp.upstream", "{}"))
    return {name: value["fingerprint"] for name, value in upstream.items() if "fingerprint" in value}
