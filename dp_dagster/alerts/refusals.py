"""What the gates before a publication refuse: breaking contracts, policies that are not kept, versions that have ended.

A refusal is noticed by the record of the run that it stopped, and is over when the product, as its files are now,
would pass: the refused change was published, since its consumers agreed, or it was withdrawn. That something else was
published meanwhile, by a run that had begun before, for example, does not end it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.alerts.links import consumers_see
from dp_dagster.alerts.model import CONTRACT_HASH, Observation
from dp_dagster.deprecation import past_sunset
from dp_dagster.errors import AuthorError, DataProductError
from dp_dagster.evolution import published_contract, refuse_breaking
from dp_dagster.policies import check_product
from dp_dagster.policies.builtin.evolution import NoBreakingChange
from dp_dagster.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from dp_dagster.alerts.kept import Happened
    from dp_dagster.alerts.model import Alert
    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.policies import PolicyReport
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

REFUSALS: tuple[Condition, ...] = ("breaking_change", "refused")
"""Conditions that are refusals; all of them are over in the same way."""

_GATES: Mapping[str, Condition] = {"contract": "breaking_change", "policies": "refused", "sunset": "refused"}
_GATE_POLICIES = frozenset({NoBreakingChange.id})
_MOST_LINES = 3


@dataclass(frozen=True)
class Refused:
    """What a gate says of a product as its files are.

    Attributes:
        reason: What is wrong, and what would be right.
        policies: Ids of the policies that are not kept.
    """

    reason: str
    policies: tuple[str, ...] = ()


def refusal(product: ResolvedProduct, one: Happened, facts: Mapping[str, str]) -> Observation | None:
    """A run that a gate stopped, from its record; ``None`` for a load, which the platform's sensor notices."""
    condition = _GATES.get(str(one.payload.get("gate", "")))
    if condition is None or "/dataset/" not in one.subject:
        return None
    refused = Refused(
        shortened(str(one.payload.get("reason", ""))), tuple(map(str, one.payload.get("policies") or ()))
    )
    return Observation(
        product.id,
        one.subject,
        condition,
        bad=True,
        at=one.at,
        reason=refused.reason,
        facts={
            **facts,
            **what_to_do(product.id, condition, refused),
            CONTRACT_HASH: str(one.payload.get("contract_hash", "")),
            "consumers see": consumers_see(product.settings, product.id, one.subject),
        },
        is_event=True,
    )


def what_to_do(product: str, condition: Condition, refused: Refused) -> dict[str, str]:
    """Where an author goes on from a refusal."""
    if condition == "breaking_change":
        return {"compare": f"dp diff {product}"}
    if not refused.policies:
        return {}
    return {
        "policies": ", ".join(refused.policies),
        "check": f"dp policy check {product}",
        "why": "; ".join(f"dp policy explain {name}" for name in refused.policies[:_MOST_LINES]),
    }


def ended(product: ResolvedProduct, alerts: Iterable[Alert], now: datetime) -> list[Observation]:
    """Those refusals that are over, since the product as its files are now would pass.

    Args:
        product: The product as it was loaded.
        alerts: Its open alerts.
        now: The time.
    """
    refusals = [alert for alert in alerts if alert.condition in REFUSALS]
    current = _current(product) if refusals else None
    if current is None:
        return []
    return [
        Observation(
            alert.product, alert.subject, alert.condition, bad=False, at=now, reason=reason, is_event=True
        )
        for alert in refusals
        if (reason := _why_over(current, alert)) is not None
    ]


def refused_now(product: ResolvedProduct) -> dict[Condition, Refused]:
    """What would refuse the product as it is, by the condition that tells it.

    Raises:
        SettingsError: the policies of the platform cannot be read.
    """
    found: dict[Condition, Refused] = {}
    try:
        refuse_breaking(product, product.datasets)
    except AuthorError as error:
        found["breaking_change"] = Refused(shortened(str(error)))
    refused = _policies_refuse(check_product(product))
    if refused is not None:
        found["refused"] = refused
    return found


def shortened(text: str) -> str:
    """The first lines of what was said, as one."""
    lines = text.splitlines()
    more = f" (and {len(lines) - _MOST_LINES} lines more)" if len(lines) > _MOST_LINES else ""
    return "; ".join(line.strip().removesuffix(":") for line in lines[:_MOST_LINES]) + more


def _policies_refuse(report: PolicyReport) -> Refused | None:
    """The policies that are not kept; those that stand for another gate are told by that."""
    failed = [
        result
        for result in report.results
        if result.failed and result.severity == "error" and result.policy not in _GATE_POLICIES
    ]
    if not failed:
        return None
    said = [str(found.problem) for result in failed for found in result.found if found.exemption is None]
    return Refused(shortened("\n".join(said)), tuple(dict.fromkeys(result.policy for result in failed)))


def _current(product: ResolvedProduct) -> ResolvedProduct | None:
    """The product as its files are; ``None`` where they cannot be read, which is told of elsewhere."""
    if not product.path.is_file():
        return product  # It stands in a component's file, and is as it was loaded.
    try:
        return resolve(product.path, product.settings)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a product's code raises is its own fault
        return None


def _why_over(product: ResolvedProduct, alert: Alert) -> str | None:
    dataset = next((one for one in product.datasets if _subject(one) == alert.subject), None)
    if dataset is None:
        return (
            f"The product makes no {alert.subject} any more; it is at version {product.descriptor.version}."
        )
    with suppress(DataProductError):
        if alert.condition == "breaking_change":
            refuse_breaking(product, [dataset])
            published = published_contract(product, dataset)
            if published is not None and published.hash == alert.facts.get(CONTRACT_HASH):
                return "The contract that was refused is published: the consumers that it breaks have agreed."
            return "The change was withdrawn: the contract under this major version breaks nothing that was published."
        past_sunset(product, dataset)
        if _policies_refuse(check_product(product, dataset=dataset.label)) is None:
            return (
                "Nothing refuses it any more: the policies are kept, or an exemption allows what they forbid."
            )
    return None


def _subject(dataset: ResolvedDataset) -> str:
    return f"v{dataset.major}/dataset/{dataset.name}"
