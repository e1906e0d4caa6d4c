"""Verdicts as asset checks: one blocking check that carries the verdict, one check for each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.contracts.phrases import phrase
from dp_dagster.definitions import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.verdict import Verdict

CONTRACT_CHECK = "contract"


def check_specs(asset: dg.AssetKey, contract: Contract) -> list[dg.AssetCheckSpec]:
    """The checks of an asset that keeps a contract."""
    specs = [
        dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=asset,
            blocking=True,
            description=f"Whether what was written may be published: {describe.contract_summary(contract)}.",
        )
    ]
    for rule in contract.rules:
        effect = "holds or quarantines" if rule.level == "row" else "holds"
        specs.append(
            dg.AssetCheckSpec(
                rule.id,
                asset=asset,
                description=f"{phrase(rule)} ({'warns only' if rule.severity == 'warn' else effect})",
            )
        )
    return specs


def check_results(
    asset: dg.AssetKey, contract: Contract, verdict: Verdict | None
) -> Sequence[dg.AssetCheckResult]:
    """The results of one audit. A rule that was not evaluated never shows as passed."""
    if verdict is None:
        return _lost(asset, contract)
    results = [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=CONTRACT_CHECK,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=verdict.reason,
            metadata={
                "verdict": dg.MetadataValue.md(describe.verdict_markdown(verdict, contract)),
                "verdict id": verdict.id,
                "rows in": verdict.rows_in,
                "rows accepted": verdict.rows_accepted,
                "rows rejected": verdict.rows_rejected,
                "contract hash": verdict.contract_hash,
            },
        )
    ]
    found = {result.rule_id: result for result in verdict.results}
    for rule in contract.rules:
        result = found.get(rule.id)
        if result is None:
            results.append(
                dg.AssetCheckResult(
                    asset_key=asset,
                    check_name=rule.id,
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"not evaluated": "the audit ended before this rule"},
                )
            )
            continue
        # Only the verdict blocks: rows that went to quarantine, say, leave the rule failed and the data good.
        results.append(
            dg.AssetCheckResult(
                asset_key=asset,
                check_name=rule.id,
                passed=result.passed,
                severity=dg.AssetCheckSeverity.ERROR
                if rule.severity == "error" and not verdict.passed
                else dg.AssetCheckSeverity.WARN,
                metadata=describe.rule_metadata(result, verdict.rows_in),
            )
        )
    return results


def _lost(asset: dg.AssetKey, contract: Contract) -> list[dg.AssetCheckResult]:
    # The version was published, so it had passed; but what was found cannot be shown any more.
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"not evaluated": "nothing new was judged, and the verdict of this version is lost"},
        )
        for name in (CONTRACT_CHECK, *(rule.id for rule in contract.rules))
    ]
