"""The lag of a ``real-time`` port as an asset check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.pipeline.lag import Lag, measure_lag, watched_inputs

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct

LAG_CHECK = "lag"


def lag_check_spec(
    product: ResolvedProduct, port: ResolvedOutput, key: dg.AssetKey
) -> dg.AssetCheckSpec | None:
    """The check of a ``real-time`` port; ``None`` for other ports."""
    if port.refresh is None or port.refresh.kind != "real_time" or not watched_inputs(product, port):
        return None
    return dg.AssetCheckSpec(
        LAG_CHECK,
        asset=key,
        description=f"Lag behind the newest that there is to read: warns after {port.refresh.warn_lag}, "
        f"fails after {port.refresh.maximum_lag}",
    )


def lag_check_result(product: ResolvedProduct, port: ResolvedOutput, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Judge a port's lag now."""
    passed, severity, lag = judge_lag(product, port)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=LAG_CHECK,
        passed=passed,
        severity=severity,
        description=lag.reason,
        metadata={"lag seconds": lag.duration.total_seconds(), "behind": ", ".join(lag.behind) or "nothing"},
    )


def judge_lag(product: ResolvedProduct, port: ResolvedOutput) -> tuple[bool, dg.AssetCheckSeverity, Lag]:
    """Whether a port lags too far, and how badly."""
    if port.refresh is None:
        raise AssertionError("only a port with a refresh rate has a lag check")
    lag = measure_lag(product, port)
    if lag.duration > port.refresh.maximum_lag:
        return False, dg.AssetCheckSeverity.ERROR, lag
    if lag.duration > port.refresh.warn_lag:
        return False, dg.AssetCheckSeverity.WARN, lag
    return True, dg.AssetCheckSeverity.WARN, lag
