"""From what is known of a product to observations: records, failing channels. Dagster's part is with Dagster."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dp_dagster.alerts.model import Observation
from dp_dagster.alerts.routing import channel_subject
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from dp_dagster.alerts.kept import Delivery, Happened
    from dp_dagster.alerts.model import Key
    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings
    from dp_dagster.sla.model import ObjectiveState

RECORDS = ("audited", "held", "published", "refused")
"""Kinds of records that say whether a contract holds, and whether it may."""


def links(settings: Settings, product: str, subject: str, run_id: str = "") -> dict[str, str]:
    """Where to look: the asset, and the run."""
    base = settings.ui_url.rstrip("/")
    found = {"asset": f"{base}/assets/{product}/{subject}"} if subject else {}
    if run_id:
        found |= {"run": f"{base}/runs/{run_id}", "run id": run_id}
    return found


def consumers_see(settings: Settings, product: str, subject: str = "") -> str:
    """What consumers of a product (or of one dataset or port of it) see now."""
    manifest = read_manifest(settings.storage, product)
    shown = []
    for major, ports in (manifest.ports if manifest is not None else {}).items():
        for name, entry in ports.items():
            place = f"{major}/port/{name}"
            if not subject or subject in {entry.area, place}:
                shown.append(
                    f"{place}: version {entry.version}, published at {entry.published_at[:19].replace('T', ' ')} UTC"
                )
    if not shown:
        return "nothing: never published"
    return f"still the last good version of {'; '.join(shown)}"


def from_records(
    product: ResolvedProduct, happened: Iterable[Happened], told_elsewhere: Collection[str] = ()
) -> list[Observation]:
    """Contracts that were broken and kept, breaking ones that were refused, and shares of rows in quarantine, in order.

    Args:
        product: The product.
        happened: The records, the oldest first.
        told_elsewhere: Conditions of the product that somebody else has told already.
    """
    found: list[Observation] = []
    for one in happened:
        facts = links(product.settings, product.id, one.subject, one.run_id)
        if one.kind == "held":
            facts |= _quarantine(product, one.subject)
            facts["consumers see"] = consumers_see(product.settings, product.id, one.subject)
            found.append(
                Observation(
                    product.id,
                    one.subject,
                    "contract_violation",
                    bad=True,
                    at=one.at,
                    reason=str(one.payload.get("reason", "")),
                    facts=facts,
                    is_event=True,
                )
            )
        elif one.kind == "refused":
            if one.payload.get("gate") == "contract" and "breaking_change" not in told_elsewhere:
                found.append(_blocked(product, one, facts))
        elif one.kind == "published":
            version = one.payload.get("version")
            found.append(
                Observation(
                    product.id,
                    one.subject,
                    "breaking_change",
                    bad=False,
                    at=one.at,
                    reason=f"Version {version} is published: its contract breaks nobody who has not agreed.",
                    is_event=True,
                )
            )
            found.append(
                Observation(
                    product.id,
                    one.subject,
                    "contract_violation",
                    bad=False,
                    at=one.at,
                    reason=f"Version {version} keeps the contract and is published.",
                    facts={**facts, "consumers see": f"version {version} of {one.subject}"},
                    is_event=True,
                )
            )
        elif one.kind == "audited":
            found += _share(product, one, facts)
    return found


def _blocked(product: ResolvedProduct, one: Happened, facts: Mapping[str, str]) -> Observation:
    """A run was refused, since its contract would break consumers."""
    return Observation(
        product.id,
        one.subject,
        "breaking_change",
        bad=True,
        at=one.at,
        reason=str(one.payload.get("reason", "")).partition("\n")[0],
        facts={
            **facts,
            "compare": f"dp diff {product.id}",
            "consumers see": consumers_see(product.settings, product.id, one.subject),
        },
        is_event=True,
    )


def _share(product: ResolvedProduct, one: Happened, facts: Mapping[str, str]) -> list[Observation]:
    verdict = one.payload.get("verdict", {})
    rows, rejected = int(verdict.get("rows_in", 0)), int(verdict.get("rows_rejected", 0))
    if verdict.get("decision") == "held" or not rows:
        return []  # A contract that is broken is told already.
    limit = threshold(product, one.subject)
    share = Fraction(rejected, rows)
    is_bad = limit is not None and share > limit
    reason = f"{rejected:,} of {rows:,} rows ({_percent(share)}) are in quarantine"
    if limit is not None:
        reason += f", told above {_percent(limit)}"
    return [
        Observation(
            product.id,
            one.subject,
            "quarantine",
            bad=is_bad,
            at=one.at,
            reason=f"{reason}.",
            facts={**facts, **_quarantine(product, one.subject), "consumers see": "the other rows"},
            is_event=True,
        )
    ]


def threshold(product: ResolvedProduct, subject: str) -> Fraction | None:
    """The share of a dataset's rows in quarantine that is told; ``None`` where nothing may go there anyway."""
    if product.alerts.quarantine_share is not None:
        return product.alerts.quarantine_share
    for dataset in product.datasets:
        if subject == f"v{dataset.major}/dataset/{dataset.name}" and dataset.max_invalid is not None:
            return dataset.max_invalid / 2
    return None


def _quarantine(product: ResolvedProduct, subject: str) -> dict[str, str]:
    major, kind, name = (*subject.split("/", 2), "", "")[:3]
    if kind != "dataset":
        return {}
    label = name if major == f"v{product.major}" else f"{name}@{major[1:]}"
    base = product.settings.ui_url.rstrip("/")
    return {
        "quarantine": f"{base}/assets/{product.id}/{major}/quarantine/{name}",
        "see the rows": f"dp quarantine {product.id}.{label}",
    }


_STATES: dict[str, Condition] = {"warning": "sla_warning", "breached": "sla_breach"}


def from_objectives(
    product: ResolvedProduct, states: Iterable[ObjectiveState]
) -> tuple[list[Observation], set[Key], set[Key]]:
    """Objectives that are at risk or broken; those of which nothing is known now; and all that were measured.

    Objectives that the product no longer declares are over: they are in none of them.
    """
    declared = {
        (port.label, objective.id): f"v{port.major}/port/{port.name}"
        for port in product.active_ports
        for objective in port.objectives
    }
    found: list[Observation] = []
    unknown: set[Key] = set()
    measured: set[Key] = set()
    for state in states:
        port = declared.get((state.port, state.objective))
        if port is None:
            continue
        subject = f"{port}/{state.objective}"
        if state.state == "not_evaluated":
            unknown.add((product.id, subject, "sla"))
        else:
            measured.add((product.id, subject, "sla"))
        if state.state not in _STATES:
            continue
        facts = {
            **links(product.settings, product.id, port),
            "promised": state.promise,
            "partition": state.partition or "",
            "measured": state.reading_text,
            "budget": state.budget_text,
            "consumers see": consumers_see(product.settings, product.id, port),
        }
        found.append(
            Observation(
                product.id,
                subject,
                _STATES[state.state],
                bad=True,
                at=state.since,
                reason=state.reason,
                facts=facts,
            )
        )
    return found, unknown, measured


def from_channels(owner: str, failing: Mapping[str, Delivery], now: datetime) -> list[Observation]:
    """Channels to which messages do not get through."""
    return [
        Observation(
            owner,
            channel_subject(name),
            "channel_failed",
            bad=True,
            at=now,
            reason=f"Tried {delivery.attempts} times: {delivery.error}",
            facts={"waiting": delivery.title, "next try": f"{delivery.next_at:%Y-%m-%d %H:%M:%S} UTC"},
        )
        for name, delivery in failing.items()
    ]


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.3g} %"
