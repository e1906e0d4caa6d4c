"""The lag of a ``real-time`` port as an asset check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.errors import DataProductError
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


@dataclass(frozen=True)
class LagVerdict:
    """Whether a port lags too far, how badly, and why.

    ``lag`` is ``None`` where it could not be measured: that never passes, and warns only.
    """

    passed: bool
    severity: dg.AssetCheckSeverity
    reason: str
    lag: Lag | None = None

    @property
    def level(self) -> str:
        """``passed``, ``WARN`` or ``ERROR``."""
        return "passed" if self.passed else self.severity.value

    @property
    def metadata(self) -> dict[str, Any]:
        """What the check shows."""
        if self.lag is None:
            return {"not evaluated": self.reason}
        return {
            "lag seconds": dg.MetadataValue.float(self.lag.duration.total_seconds()),
            "behind": ", ".join(self.lag.behind) or "nothing",
        }


def lag_check_result(product: ResolvedProduct, port: ResolvedOutput, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Judge a port's lag now."""
    verdict = judge_lag(product, port)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=LAG_CHECK,
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.reason,
        metadata=verdict.metadata,
    )


def judge_lag(product: ResolvedProduct, port: ResolvedOutput) -> LagVerdict:
    """Whether a port lags too far, and how badly."""
    if port.refresh is None:
        raise AssertionError("only a port with a refresh rate has a lag check")
    try:
        lag = measure_lag(product, port)
    except DataProductError as error:
        # A source that is gone for now is no reason to fail what was published.
        return LagVerdict(False, dg.AssetCheckSeverity.WARN, f"cannot be measured: {error}")
    if lag.duration > port.refresh.maximum_lag:
        return LagVerdict(False, dg.AssetCheckSeverity.ERROR, lag.reason, lag)
    return LagVerdict(lag.duration <= port.refresh.warn_lag, dg.AssetCheckSeverity.WARN, lag.reason, lag)
