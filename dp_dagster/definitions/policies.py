"""Policies in Dagster: they may refuse a load, and are a check of each dataset and each output port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.descriptor.paths import shown
from dp_dagster.errors import DataProductError, PolicyError, Problem
from dp_dagster.policies import PortSubject, check_product, enforce, load_policies
from dp_dagster.records import Records, service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.policies import PolicyReport, PolicyResult
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct

POLICIES_CHECK = "policies"
_MARKS = {"passed": "✓", "failed": "✗", "raised": "✗", "exempted": "exempted", "not applicable": "-"}


def refuse_by_policy(product: ResolvedProduct) -> None:
    """Refuse to load a product that does not keep the policies; that it was refused is on record, once.

    Raises:
        PolicyError: a policy of severity ``error`` is not kept.
    """
    try:
        enforce(product)
    except PolicyError as error:
        reason = str(error)
        try:
            Records(
                product.settings.resolved_records_url, lock_timeout=product.settings.lock_timeout
            ).append_if_changed(
                "refused",
                product.id,
                "product",
                service("dagster-code-location"),
                "",
                {"gate": "policies", "reason": reason, "environment": product.settings.environment},
            )
        except DataProductError as failure:
            unrecorded = Problem(
                shown(product.path), 0, "", f"and the refusal could not be recorded: {failure}"
            )
            raise PolicyError([*error.problems, unrecorded], error.report) from failure
        raise


def policy_check_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that shows what the policies say of an asset."""
    return dg.AssetCheckSpec(
        POLICIES_CHECK,
        asset=asset,
        description="Whether the platform's policies are kept; `dp policy list` names them.",
    )


def port_policy_check_specs(product: ResolvedProduct, asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The check of an output port; none where no policy looks at ports.

    Raises:
        SettingsError: the policies of the platform cannot be read.
    """
    is_any = any(policy.scope == "port" for policy in load_policies(product.settings).active)
    return [policy_check_spec(asset)] if is_any else []


def port_policy_check_results(
    product: ResolvedProduct, port: ResolvedOutput, asset: dg.AssetKey
) -> list[dg.AssetCheckResult]:
    """What the policies that look at ports say of one.

    Raises:
        SettingsError: the policies of the platform cannot be read.
    """
    if not port_policy_check_specs(product, asset):
        return []
    label = port.dataset.label if port.dataset is not None else None
    report = check_product(product, dataset=label).only(PortSubject(product, port).label)
    return [policy_check_result(asset, report)]


def policy_check_result(asset: dg.AssetKey, report: PolicyReport) -> dg.AssetCheckResult:
    """What the policies say of an asset. One that could not be checked counts as failed."""
    failed = [result for result in report.results if result.failed]
    kept = dict.fromkeys(result.policy for result in report.results if result.status == "passed")
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=POLICIES_CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if report.refused else dg.AssetCheckSeverity.WARN,
        description="; ".join(problem.message for result in failed for problem in result.problems)
        or f"{len(kept)} kept: {', '.join(kept)}",
        metadata={
            "policies": dg.MetadataValue.md(_table(report.results)),
            "failed": ", ".join(dict.fromkeys(result.policy for result in failed)) or "none",
            **({"exemptions": "\n".join(report.notices)} if report.notices else {}),
        },
    )


def _table(results: Iterable[PolicyResult]) -> str:
    lines = ["| policy | of | | |", "| --- | --- | --- | --- |"]
    for result in results:
        said = "; ".join(
            f"{found.problem.message} ({found.exemption.reason})"
            if found.exemption
            else found.problem.message
            for found in result.found
        )
        said = said or result.reason or result.title
        cells = (result.policy, result.subject, _MARKS[result.status], said)
        lines.append(
            f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
        )
    return "\n".join(lines)
