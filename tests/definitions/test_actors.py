"""Who stands behind a Dagster run."""

from __future__ import annotations

import getpass

import pytest

from dp_dagster.definitions.actors import actor_of

UI = f"ui:{getpass.getuser()}"


@pytest.mark.parametrize(
    ("tags", "actor"),
    [
        ({"dp/actor": "user:ada"}, "user:ada"),
        ({"dagster/schedule_name": "shops_daily"}, "schedule:shops_daily"),
        ({"dagster/sensor_name": "shops_upstream"}, "sensor:shops_upstream"),
        ({"dagster/from_automation_condition": "true"}, "service:dagster-automation"),
        ({"user": "ada@example.com"}, "user:ada@example.com"),
        ({}, UI),
        # Tried again: by the daemon, or by somebody who is not in the first run's tags.
        ({"dp/actor": "user:ada", "dagster/parent_run_id": "1", "dagster/retry_number": "1"}, "service:dagster-daemon"),
        ({"dp/actor": "user:ada", "dagster/parent_run_id": "1"}, UI),
        ({"dagster/schedule_name": "shops_daily", "dagster/parent_run_id": "1"}, UI),
        ({"user": "ben", "dp/actor": "user:ada", "dagster/parent_run_id": "1"}, "user:ben"),
    ],
)  # fmt: skip
def test_the_actor_of_a_run(tags: dict[str, str], actor: str) -> None:
    assert actor_of(tags) == actor
