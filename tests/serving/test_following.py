"""New versions, old ones, and what is broken: nobody's request fails for it, and each port is on its own."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving_helpers import DESCRIPTOR, make_product, publish, resolved, serving

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    import pytest
    from serving_helpers import Running

    from dp_dagster.resolve import ResolvedProduct

PORT = "/counted/v1/plain"
VERSIONS = 20


def stores(product: ResolvedProduct) -> list[Path]:
    return sorted((product.settings.state_directory / "rows").rglob("*.db"))


def test_nothing_is_published_yet(own_product: ResolvedProduct) -> None:
    with serving(own_product) as running:
        answer = running.client.get(PORT)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert running.client.get("/ready").status_code == 503
        assert running.client.get("/health").status_code == 200
        publish(own_product, 1)
        running.wait_for(lambda: running.client.get(PORT).status_code == 200)


def test_versions_follow_one_another_under_readers(own_product: ResolvedProduct) -> None:
    """No request fails, each page is of one version, and no version comes back once a newer one was seen."""
    publish(own_product, 0, rows=200)
    faults: list[Any] = []
    seen: list[list[int]] = [[], []]
    stop = threading.Event()

    def read(mine: list[int], running: Running) -> None:
        import httpx

        with httpx.Client(base_url=running.client.base_url, trust_env=False, timeout=30) as client:
            while not stop.is_set():
                answer = client.get(PORT, params={"limit": 150})
                if answer.status_code != 200:
                    faults.append(answer.text)
                    continue
                page = answer.json()
                batches = {row[1] for row in page["rows"]}
                if batches != {page["version"]} or len(page["rows"]) != 150:
                    faults.append((page["version"], batches))
                mine.append(page["version"])

    with serving(own_product) as running:
        threads = [threading.Thread(target=read, args=(mine, running)) for mine in seen]
        for thread in threads:
            thread.start()
        for batch in range(1, VERSIONS + 1):
            publish(own_product, batch, rows=200)
        running.wait_for(lambda: all(mine and mine[-1] == VERSIONS for mine in seen))
        stop.set()
        for thread in threads:
            thread.join()
        assert faults == []
        for mine in seen:
            assert mine == sorted(mine)
        # An older version is still there for whoever asks for it.
        assert running.client.get(PORT, params={"version": 3, "limit": 1}).json()["rows"] == [
            [0, 3, "row 0 of batch 3"]
        ]


def test_a_vacuumed_version_is_gone_wherever_it_lies(own_product: ResolvedProduct) -> None:
    publish(own_product, 0)
    with serving(own_product) as running:
        running.wait_for(lambda: running.state() == "ready")
        publish(own_product, 1)
        running.wait_for(lambda: running.client.get(PORT).json()["version"] == 1)
        old = {"version": 0, "limit": 1}
        assert running.client.get(PORT, params=old).json()["version"] == 0
        Table(dataset_table(own_product.settings.storage, "counted", 1, "numbers")).vacuum(0)
        answer = running.client.get(PORT, params=old)
        assert answer.status_code == 410
        assert "start again" in answer.json()["detail"]
        assert [path.name.partition(".")[0] for path in stores(own_product)] == ["1"]
        assert running.client.get(PORT).json()["version"] == 1


def test_a_store_that_cannot_be_opened_is_built_again(own_product: ResolvedProduct) -> None:
    publish(own_product, 1)
    with serving(own_product) as running:
        running.wait_for(lambda: running.state() == "ready")
    (store,) = stores(own_product)
    store.write_bytes(b"no store at all" * 1000)
    with serving(own_product) as running:
        assert running.client.get(f"{PORT}/5").json()[0] == 5
        running.wait_for(lambda: running.state() == "ready")
        assert running.client.get(f"{PORT}/5").json()[0] == 5


def test_a_store_that_breaks_while_it_is_read(own_product: ResolvedProduct) -> None:
    publish(own_product, 1, rows=20_000)
    with serving(own_product) as running:
        running.wait_for(lambda: running.state() == "ready")
        (store,) = stores(own_product)
        good = store.stat()
        with store.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (good.st_size - 8192))
        for number in (5, 10_000, 19_999):
            assert running.client.get(f"{PORT}/{number}").json()[0] == number
        assert len(running.client.get(PORT, params={"limit": 500}).json()["rows"]) == 500
        running.wait_for(lambda: running.state() == "ready")
        assert stores(own_product)[0].stat().st_ino != good.st_ino


def test_a_manifest_that_cannot_be_read(own_product: ResolvedProduct) -> None:
    """What was on show stays on show."""
    publish(own_product, 1)
    with serving(own_product) as running:
        running.wait_for(lambda: running.state() == "ready")
        manifest = Path(own_product.settings.storage) / "counted" / "manifest.json"
        text = manifest.read_text()
        manifest.write_text("{")
        running.wait_for(lambda: running.state() == "behind")
        assert running.client.get(PORT).status_code == 200
        manifest.write_text(text)
        running.wait_for(lambda: running.state() == "ready")


def test_a_kind_that_fails_to_start_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_product(
        tmp_path,
        DESCRIPTOR.replace(
            "access:", "  - {name: other, type: PLAIN, dataset: numbers, auth: none}\naccess:"
        ),
    )
    product = resolved(tmp_path)
    publish(product, 1, ports=("plain", "other"))
    other = product.port("other").port

    def fail(*_: object) -> None:
        raise RuntimeError("no application")

    monkeypatch.setattr(other, "application", fail)
    with serving(product) as running:
        assert running.client.get("/counted/v1/other").status_code == 503
        assert running.client.get(PORT).status_code == 200
        states = {port["port"]: port["state"] for port in running.client.get("/ready").json()["ports"]}
        assert states["counted.other"] == "broken"


def test_a_deprecated_version_says_so(tmp_path: Path) -> None:
    sunset = date.today() + timedelta(days=30)  # noqa: DTZ011 - a day, wherever
    make_product(
        tmp_path,
        DESCRIPTOR.replace("sort_by: [number]}", f"sort_by: [number], deprecated: {{sunset: {sunset}}}}}"),
    )
    product = resolved(tmp_path)
    since = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    publish(product, 1, deprecated_since=since)
    for _ in range(2):
        # Since when it is deprecated stands in what was published, and not in when a server was started.
        with serving(product) as running:
            headers = running.client.get(PORT).headers
        assert headers["deprecation"] == f"@{int(since.timestamp())}"
    assert headers["sunset"].endswith("00:00:00 GMT")
    assert f"{sunset:%d %b %Y}" in headers["sunset"]


def test_a_deprecation_that_nobody_has_published_yet_has_no_date(tmp_path: Path) -> None:
    """The sunset is known; since when, nobody wrote down. It is told as soon as it is."""
    make_product(
        tmp_path,
        DESCRIPTOR.replace("sort_by: [number]}", "sort_by: [number], deprecated: {sunset: 2099-01-01}}"),
    )
    product = resolved(tmp_path)
    publish(product, 1)
    with serving(product) as running:
        headers = running.client.get(PORT).headers
        assert "deprecation" not in headers
        assert headers["sunset"] == "Thu, 01 Jan 2099 00:00:00 GMT"
        publish(product, 2, deprecated_since=datetime.now(UTC))
        running.wait_for(lambda: "deprecation" in running.client.get(PORT).headers)


def test_versions_in_a_bucket_are_followed(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the bucket does not answer: what is on show stays on show."""
    monkeypatch.setenv("DP_STORAGE", f"s3://{bucket}/data")
    make_product(tmp_path)
    product = resolved(tmp_path)
    publish(product, 1)

    def shown(running: Running) -> Any:
        answer = running.client.get(PORT, params={"limit": 1})
        return answer.json()["version"] if answer.status_code == 200 else answer.status_code

    with serving(product) as running:
        running.wait_for(lambda: shown(running) == 0)
        publish(product, 2)
        running.wait_for(lambda: shown(running) == 1)
        with monkeypatch.context() as down:
            down.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            time.sleep(2.5)
            assert shown(running) == 1
        publish(product, 3)
        running.wait_for(lambda: shown(running) == 2)
