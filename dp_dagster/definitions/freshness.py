"""Refresh rates as Dagster freshness policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dp_dagster.descriptor.refresh import RefreshRate


def freshness_policy(refresh: RefreshRate | None) -> dg.FreshnessPolicy | None:
    """The policy of a port: it warns and then fails as its newest publication grows old.

    ``real-time`` has none: a quiet source must not breach for ever, so its lag behind the newest upstream
    version is judged instead (:mod:`dp_dagster.definitions.lag`).
    """
    if refresh is None:
        return None
    fail, warn = refresh.freshness_window(), refresh.warning_window()
    if fail is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
