"""Who stands behind a Dagster run, by its tags, as records name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.records import os_user, service

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTOR_TAG = "dp/actor"
"""Run tag of whoever starts a run and knows for whom."""

# First what started this very run; a run that is tried again carries the tags of the first try.
_BY_ITSELF = {
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
}


def actor_of(tags: Mapping[str, str]) -> str:
    """The actor of a run with these tags.

    The open-source UI has no log-in: of a run that was launched in it, the account of its server is all that is
    known.
    """
    if "dagster/retry_number" in tags:
        return service("dagster-daemon")
    again = (
        "dagster/parent_run_id" in tags
    )  # somebody chose to run it again; who, is not in the first one's tags
    if not again and tags.get(ACTOR_TAG):
        return tags[ACTOR_TAG]
    if "user" in tags:
        return f"user:{tags['user']}"
    named = next((f"{role}:{tags[tag]}" for tag, role in _BY_ITSELF.items() if tag in tags), None)
    if named is not None and not again:
        return named
    automatic = "dagster/from_automation_condition" in tags or "dagster/auto_materialize" in tags
    return service("dagster-automation") if automatic and not again else os_user("ui")
