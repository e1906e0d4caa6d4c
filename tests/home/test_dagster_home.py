"""The project's Dagster home is made once, read by Dagster as it is meant, and left to the operator."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from dp_dagster.home import dagster_environment, ensure_dagster_home
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_dagster_reads_the_settings(tmp_path: Path) -> None:
    from dagster import DagsterInstance

    home = ensure_dagster_home(Settings(project_root=tmp_path))
    with DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_settings("freshness") == {"enabled": True}
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 8


def test_an_operators_changes_are_kept(tmp_path: Path) -> None:
    settings = Settings(project_root=tmp_path)
    home = ensure_dagster_home(settings)
    assert home == tmp_path / ".dp" / "dagster"
    (home / "dagster.yaml").write_text("nux: {enabled: true}\n")
    assert ensure_dagster_home(settings) == home
    assert (home / "dagster.yaml").read_text() == "nux: {enabled: true}\n"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]


def test_processes_report_to_nobody(tmp_path: Path) -> None:
    environment = dagster_environment(Settings(project_root=tmp_path))
    assert environment["DAGSTER_HOME"] == str(tmp_path / ".dp" / "dagster")
    assert environment["DAGSTER_DISABLE_TELEMETRY"] == "yes"
    assert environment["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "false"


def test_the_module_is_light() -> None:
    program = "import sys, dp_dagster.home; sys.exit('dagster' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
