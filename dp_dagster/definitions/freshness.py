"""Refresh rates as Dagster freshness policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedOutput


def freshness_policy(port: ResolvedOutput) -> dg.FreshnessPolicy | None:
    """The policy of a port: it warns and then fails as its newest publication grows old.

    ``real-time`` has none: a quiet source must not breach for ever, so its lag behind the newest upstream
    version is judged instead (:mod:`dp_dagster.definitions.lag`). Nor has a dataset with partitions: to Dagster any
    partition, even the oldest, makes it fresh again. What counts there is the newest that is due, which the
    objective ``freshness`` measures (:mod:`dp_dagster.sla`).
    """
    refresh = port.refresh
    if refresh is None or (port.dataset is not None and port.dataset.partitioned_by is not None):
        return None
    fail, warn = refresh.freshness_window(), refresh.warning_window()
    if fail is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
