"""The control port as ``dp serve`` mounts it: only where the settings say who may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from serving_helpers import make_product, publish, resolved, serving

from dp_dagster.access.authentication.api_keys import ApiKeys
from dp_dagster.records import Records

if TYPE_CHECKING:
    from pathlib import Path


def test_without_settings_there_is_none(running) -> None:
    assert running.client.get("/control/metrics").status_code == 404
    assert running.client.get("/catalog").status_code == 404


@pytest.mark.parametrize("part", ["metrics", "catalog", "schemas/subjects"])
def test_who_has_the_role_reads(part: str, watched) -> None:
    running, watcher, nobody = watched
    assert running.client.get(f"/control/{part}").status_code == 401
    assert running.client.get(f"/control/{part}", headers={"x-api-key": watcher}).status_code == 200
    if part == "metrics":
        denied = running.client.get("/control/metrics", headers={"x-api-key": nobody})
        assert (denied.status_code, denied.json()["title"]) == (403, "Forbidden")


def test_the_catalogue_is_where_people_look_for_it(watched) -> None:
    running, watcher, _ = watched
    for path, wanted in (
        ("/catalog", "/control/catalog"),
        ("/catalog?search=num%20x", "/control/catalog?search=num%20x"),
        ("/catalog/counted/odps", "/control/catalog/counted/odps"),
        ("/catalog//elsewhere.example.com", "/control/catalog//elsewhere.example.com"),
    ):
        answer = running.client.get(path, headers={"x-api-key": watcher})
        assert (answer.status_code, answer.headers["location"]) == (307, wanted)
    found = running.client.get("/catalog", headers={"x-api-key": watcher}, follow_redirects=True)
    assert [one["id"] for one in found.json()] == ["counted"]


def test_requests_are_counted(watched) -> None:
    running, watcher, _ = watched
    for _ in range(3):
        assert running.client.get("/counted/v1/plain/5").status_code == 200

    def counted() -> bool:
        text = running.client.get("/control/metrics", headers={"x-api-key": watcher}).text
        found = [line for line in text.splitlines() if line.startswith("dp_port_requests_total")]
        return any('outcome="good"' in line and float(line.split()[-1]) >= 3 for line in found)

    running.wait_for(counted)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory):
    """A port that anybody reads, beside a control port that wants keys."""
    root: Path = tmp_path_factory.mktemp("watched")
    make_product(root)
    settings = root / "dp_dagster.toml"
    settings.write_text(
        settings.read_text() + '[control]\nauth = "api_key"\nroles = {metrics = ["watcher"]}\n',
        encoding="utf-8",
    )
    product = resolved(root)
    publish(product, 1)
    keys = ApiKeys(Records(product.settings.resolved_records_url))
    watcher, _ = keys.create("watch", "user:tester", roles=["watcher"])
    nobody, _ = keys.create("nobody", "user:tester")
    with serving(product) as found:
        found.wait_for(lambda: found.state() == "ready")
        yield found, watcher, nobody
