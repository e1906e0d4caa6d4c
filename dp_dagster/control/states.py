"""How objectives stand, as the catalogue and the metrics tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from dp_dagster.settings import Settings
    from dp_dagster.sla.model import ObjectiveState


def states_by_port(settings: Settings) -> dict[tuple[str, str], list[ObjectiveState]]:
    """The state of every objective that was ever evaluated, by product and port.

    Raises:
        StoreError: the readings cannot be read.
    """
    found: dict[tuple[str, str], list[ObjectiveState]] = {}
    for one in Readings(settings.resolved_records_url, lock_timeout=settings.lock_timeout).states():
        found.setdefault((one.product, one.port), []).append(one)
    return found


def told(
    states: dict[tuple[str, str], list[ObjectiveState]],
) -> dict[tuple[str, str], tuple[dict[str, str], ...]]:
    """The states as plain texts."""
    return {
        place: tuple(
            {
                "name": one.objective,
                "promise": one.promise,
                "state": one.state.replace("_", " "),
                "reading": one.reading_text,
                "reason": one.reason,
            }
            for one in of_port
        )
        for place, of_port in states.items()
    }
