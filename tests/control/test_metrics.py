"""Metrics: what they say, that Prometheus' own tools and server take them, and that labels stay few."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support import ROOT

from dp_dagster.control.facts import RecordFacts
from dp_dagster.pipeline import Session
from dp_dagster.records import Records
from dp_dagster.sla.store import Readings

WATCHER = {"authorization": "Bearer watcher"}
OPENMETRICS = {**WATCHER, "accept": "application/openmetrics-text; version=1.0.0"}


def samples(control) -> dict[tuple[str, ...], float]:
    """Value by name and labels other than the product."""
    text = control.get("/metrics", headers=OPENMETRICS).text
    return {
        (
            sample.name,
            *(f"{key}={value}" for key, value in sorted(sample.labels.items()) if key != "product"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_they_say_what_happened(control, shop) -> None:
    place = ("dataset=totals", "major=1")
    found = samples(control)
    assert found["dp_port_rows", "major=1", "port=vw_totals"] == 3
    assert found["dp_publications_total", *place] == 1
    assert found["dp_candidate_held", *place] == 0
    assert 0 <= found["dp_port_freshness_age_seconds", "major=1", "port=vw_totals"] < 60
    shop.publish("sale,shop,amount\n1,NORTH,10\n2,north,5\n")
    found = samples(control)
    assert found["dp_publications_total", *place] == 1
    assert found["dp_held_candidates_total", *place] == 1
    assert found["dp_candidate_held", *place] == 1
    assert found["dp_candidate_rows", *place, "outcome=rejected"] == 1
    assert found["dp_quarantined_rows_total", *place] == 1
    shop.publish("sale,shop,amount\n1,NORTH,10\n2,north,5\n3,SOUTH,1\n")
    found = samples(control)
    assert found["dp_quarantined_rows_total", *place] == 3
    shop.publish("sale,shop,amount\n1,NORTH,10\n2,north,5\n")
    found = samples(control)
    failing = {key for key, value in found.items() if key[0] == "dp_rule_failures" and value}
    assert len(failing) == 1
    assert found["dp_port_rows", "major=1", "port=vw_totals"] == 3
    assert {value for key, value in found.items() if key[0] == "dp_scrape_errors"} == {0.0}


def test_a_store_that_is_broken_takes_only_its_own_part_away(control, shop) -> None:
    path = shop.settings.storage + "/shops/manifest.json"
    with open(path, "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write("{")
    found = samples(control)
    assert found["dp_scrape_errors", "part=ports"] == 1
    assert ("dp_port_rows", "major=1", "port=vw_totals") not in found
    assert found["dp_publications_total", "dataset=totals", "major=1"] == 1


def test_more_history_makes_no_more_series(control, shop) -> None:
    before = set(samples(control))
    for number in range(3):
        shop.publish(f"sale,shop,amount\n1,north,{number}\n")
    assert {key[:1] for key in samples(control)} == {key[:1] for key in before}
    assert len(samples(control)) == len(before)


@pytest.mark.slow
@pytest.mark.needs("prometheus")
def test_prometheus_takes_them(standing, standing_shop, tmp_path) -> None:
    text = standing.get("/metrics", headers=WATCHER).text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = tmp_path / "rules.yml"
    shutil.copyfile(ROOT / "dp_dagster/control/prometheus_rules.yml", rules)
    checked = subprocess.run(
        ["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    target = str(standing.base_url).removeprefix("http://").rstrip("/")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [rules.yml]\n"
        "scrape_configs:\n"
        "  - job_name: products\n"
        "    authorization: {credentials: watcher}\n"
        f"    static_configs: [{{targets: ['{target}']}}]\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={listen}",
            "--log.level=error",
        ]
    ) as process:
        try:
            result = _asked(listen, 'dp_publications_total{product="shops"}')
            scraped = {
                name: {
                    one["metric"].get("objective", ""): float(one["value"][1]) for one in _asked(listen, name)
                }
                for name in (
                    "dp_objective_state==1",
                    "dp_objective_reading",
                    "dp_objective_target",
                    "dp_objective_budget_left_ratio",
                    "dp_objective_burn_rate_ratio",
                    "dp_last_run_duration_seconds",
                )
            }
            states = {
                one["metric"]["objective"]: one["metric"]["state"]
                for one in _asked(listen, "dp_objective_state==1")
            }
        finally:
            process.terminate()
    assert result[0]["metric"]["dataset"] == "totals"
    assert result[0]["value"][1] == "1"
    assert 0 < scraped["dp_last_run_duration_seconds"][""] < 60
    _are_what_was_read(scraped, states, standing_shop.settings)


def _are_what_was_read(scraped, states, settings) -> None:
    """Prometheus has what the readings say of each objective, and nothing of what they do not say."""
    kept = {one.objective: one for one in Readings(settings.resolved_records_url).states()}
    assert states == {name: one.state for name, one in kept.items()}
    assert {"met", "not_evaluated"} <= set(states.values())
    for metric, attribute in (
        ("dp_objective_reading", "value"),
        ("dp_objective_target", "target"),
        ("dp_objective_budget_left_ratio", "budget_left"),
        ("dp_objective_burn_rate_ratio", "burn_rate"),
    ):
        told = {name: getattr(one, attribute) for name, one in kept.items()}
        assert scraped[metric] == pytest.approx({name: one for name, one in told.items() if one is not None})
    assert scraped["dp_objective_budget_left_ratio"]["availability"] == 1


def test_how_long_the_last_run_took(control, shop) -> None:
    first = samples(control)["dp_last_run_duration_seconds",]
    assert 0 < first < 60
    session = Session(shop.product, "long", started=datetime.now(UTC) - timedelta(minutes=5))
    session.record("projected", "v1/port/other")
    # It was scraped in the middle of the run, which changes nothing of what the run took in the end.
    assert samples(control)["dp_last_run_duration_seconds",] == pytest.approx(300, abs=10)
    session.record("projected", "v1/port/vw_totals")
    assert samples(control)["dp_last_run_duration_seconds",] == pytest.approx(300, abs=10)


def test_how_long_runs_took(control, shop) -> None:
    """Each run once for each dataset, when it had published it or held its candidate; scraped in between or not."""
    published, held = ("dataset=totals", "major=1", "outcome=published"), ("outcome=held",)
    held = (*published[:2], *held)

    def told(outcome: tuple[str, ...]) -> dict[str, float]:
        found = samples(control)
        buckets = {
            key[2].removeprefix("le="): value
            for key, value in found.items()
            if key[0] == "dp_run_duration_seconds_bucket" and {*outcome} < {*key}
        }
        assert buckets["+Inf"] == found["dp_run_duration_seconds_count", *outcome]
        assert list(buckets.values()) == sorted(buckets.values())
        return buckets | {"sum": found["dp_run_duration_seconds_sum", *outcome]}

    before = told(published)
    assert before["+Inf"] == 1
    assert before["sum"] > 0
    session = Session(shop.product, "long", started=datetime.now(UTC) - timedelta(minutes=20))
    session.record("published", "v1/dataset/totals")
    session.record("held", "v1/dataset/totals")
    session.record("published", "v1/transform/other")
    after = told(published)
    assert (after["600.0"], after["1800.0"], after["+Inf"]) == (1, 2, 2)
    assert after["sum"] >= before["sum"] + 1200
    assert told(held)["1800.0"] == 1
    assert told(published) == after
    # A record of a release before this, and one of no run, tell nothing of runs.
    session.records.append("published", "shops", "v1/dataset/totals", "user:ada", "old", {})
    assert told(published) == after


@pytest.mark.slow
@pytest.mark.needs("postgresql")
def test_how_long_runs_took_by_records_in_postgresql(postgresql_url: str) -> None:
    records = Records(postgresql_url)
    facts = RecordFacts(records)
    started = (datetime.now(UTC) - timedelta(seconds=20)).isoformat()
    records.append("published", "shops", "v1/dataset/totals", "user:ada", "one", {"run_started": started})
    records.append("held", "shops", "v1/dataset/totals", "user:ada", "one", {})
    for rows in (2, 5):
        records.append("quarantined", "shops", "input/sales", "user:ada", "one", {"rows": rows})
        assert facts.now().set_aside["shops", "input/sales"] >= rows
    assert facts.now().set_aside == {("shops", "input/sales"): 7}
    (found,) = facts.now().durations.items()
    assert found[0] == ("shops", "v1/dataset/totals", "published")
    assert sum(found[1].buckets) == 1
    assert found[1].seconds >= 20


def _asked(listen: str, query: str) -> list:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(
                f"http://{listen}/api/v1/query?query={urllib.request.quote(query)}"
            ) as answer:
                found = json.load(answer)["data"]["result"]
                if found:
                    return found
        except OSError:
            pass  # it is not listening yet
        time.sleep(0.2)
    raise AssertionError("Prometheus has scraped nothing within 40 s")
