"""Owner, support and service levels of a product in the words that the Bitol standards share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.descriptor.model import Descriptor
    from dp_dagster.descriptor.refresh import RefreshRate

# objective -> property of ODCS; the names of the others are the same.
_PROPERTIES = {
    "completeness": "completeness",
    "end_of_life": "endOfLife",
    "end_of_support": "endOfSupport",
    "error_rate": "errorRate",
    "general_availability": "generalAvailability",
    # In ODCS a latency is that of data; this is how long answers take.
    "latency": "responseTime",
    "support_hours": "supportHours",
    "time_of_availability": "timeOfAvailability",
    "time_to_detect": "timeToDetect",
    "time_to_repair": "timeToRepair",
}
_EVERY = {"hourly": (1, "h"), "daily": (1, "d"), "weekly": (7, "d")}
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def support_channels(descriptor: Descriptor) -> list[dict[str, Any]]:
    """Where consumers ask; a channel that has no address has no ``url``."""
    found: list[dict[str, Any]] = []
    support, owner = descriptor.support, descriptor.owner
    if support is not None:
        if support.channel or support.url:
            channel: dict[str, Any] = {"channel": support.channel or support.url}
            found.append(channel | ({"url": support.url} if support.url else {}))
        if support.email:
            found.append({"channel": support.email, "url": f"mailto:{support.email}", "tool": "email"})
    if owner is not None and owner.email and (support is None or support.email != owner.email):
        found.append({"channel": owner.team, "url": f"mailto:{owner.email}", "tool": "email"})
    return found


def label_list(tags: Mapping[str, str]) -> list[str]:
    """Tags as plain texts: ``tier:gold``; one without a value is its name."""
    return [f"{name}:{value}" if value else name for name, value in tags.items()]


def sla_properties(objectives: Mapping[str, Any], refresh: RefreshRate | None) -> list[dict[str, Any]]:
    """Promises as ``slaProperties`` of ODCS. A promise in a form of its own is kept as JSON text."""
    import json

    found: list[dict[str, Any]] = []
    for name, promise in objectives.items():
        value = promise if isinstance(promise, str | int | float) else json.dumps(promise, ensure_ascii=False)
        found.append({"property": _PROPERTIES.get(name, name), "value": value})
    if refresh is not None:
        found.append(_frequency(refresh))
        value, unit = _in_units(refresh.maximum_lag.total_seconds())
        found.append(
            {
                "property": "latency",
                "value": value,
                "unit": unit,
                "description": "How late is too late: " + _due(refresh),
            }
        )
    return found


def _due(refresh: RefreshRate) -> str:
    return "behind the newest upstream version." if refresh.kind == "real_time" else "after data is due."


def _frequency(refresh: RefreshRate) -> dict[str, Any]:
    if refresh.text in _EVERY:
        value, unit = _EVERY[refresh.text]
        said: dict[str, Any] = {"property": "frequency", "value": value, "unit": unit}
    elif refresh.kind == "interval" and refresh.interval is not None:
        value, unit = _in_units(refresh.interval.total_seconds())
        said = {"property": "frequency", "value": value, "unit": unit}
    else:
        said = {"property": "frequency", "value": refresh.text}
    if refresh.kind == "calendar" and refresh.cron is not None:
        said["scheduler"] = "cron"
        said["schedule"] = refresh.cron
        if refresh.timezone != "UTC":
            said["description"] = f"On the clock of {refresh.timezone}."
    return said


def _in_units(seconds: float) -> tuple[int, str]:
    whole = int(seconds)
    return next((whole // size, unit) for size, unit in _UNITS if whole % size == 0)
