"""The project's own Dagster home: runs, events and settings of Dagster, kept in the state directory.

``dp run`` and ``dp dev`` work on the same home, so that the UI shows the runs that the command line made.
Imports no dagster: making a folder must not take seconds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.settings import Settings

#: Written once, and left alone from then on: an operator may change it.
INSTANCE = """\
# The project's Dagster instance. dp wrote this file because there was none; changes to it are kept.
telemetry:
  enabled: false
nux:
  enabled: false

# Freshness policies are evaluated by the daemon.
freshness:
  enabled: true

# Runs of different products go in parallel. One writer for each dataset is kept by the dataset's own lock,
# which dies with its process; a limit here would outlive a killed run.
concurrency:
  runs:
    max_concurrent_runs: 8

# A run that never started, or does not end after being cancelled, is marked as failed.
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 60
  poll_interval_seconds: 30

# Locations that import dbt or pandera take seconds on a small machine, several of them at once take longer.
code_servers:
  local_startup_timeout: 300
"""


def ensure_dagster_home(settings: Settings) -> Path:
    """Make the project's Dagster home where there is none, and give its folder.

    Safe to call from several processes at once. A ``dagster.yaml`` that is there is never changed.
    """
    home = settings.state_directory / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    instance = home / "dagster.yaml"
    if not instance.exists():
        # Written beside it first: no other process may read half a file.
        draft = home / f"dagster.yaml.{os.getpid()}"
        draft.write_text(INSTANCE, encoding="utf-8")
        draft.replace(instance)
    return home


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Environment variables for processes that work on the project's Dagster home.

    Everything that this process has, the home, and no reports to the makers of dagster and dbt.
    """
    return {
        **os.environ,
        "DAGSTER_HOME": str(ensure_dagster_home(settings)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
