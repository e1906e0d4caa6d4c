from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dp_dagster.contracts.model import Rule
from dp_dagster.errors import StoreError, UsageError
from dp_dagster.storage.manifest import (
    Manifest,
    PortEntry,
    Registration,
    consumers,
    products,
    read_manifest,
    register_consumer,
    update_manifest,
)

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = PortEntry(
    kind="SQL",
    dataset="flights",
    area="v1/dataset/flights",
    version=3,
    published_at="2026-01-02T03:04:05+00:00",
    projected_at="2026-01-02T03:04:06+00:00",
    rows=10,
    columns=({"name": "flight_id", "type": "string"},),
    address="flights.v1.vw_flights",
)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert read_manifest(root, "flights") is None
    assert products(root) == []
    owner = {"team": "aviation"}
    written = update_manifest(
        root,
        "flights",
        lambda old: dataclasses.replace(old, version="1.0.0", owner=owner).with_port(1, "vw", ENTRY),
    )
    assert read_manifest(root, "flights") == written
    assert written.port(1, "vw") == ENTRY
    assert written.port(2, "vw") is None
    assert written.location(root, ENTRY).uri == str(tmp_path / "flights" / "v1" / "dataset" / "flights")
    assert products(root) == ["flights"]
    grown = update_manifest(
        root, "flights", lambda old: old.with_port(2, "vw", ENTRY).with_port(1, "b", ENTRY)
    )
    assert {major: sorted(ports) for major, ports in grown.ports.items()} == {"v1": ["b", "vw"], "v2": ["vw"]}


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    root = str(tmp_path)
    before = update_manifest(root, "flights", lambda old: old.with_port(1, "vw", ENTRY))

    def fail(_: Manifest) -> Manifest:
        raise RuntimeError("the catalog cannot be built")

    with pytest.raises(RuntimeError, match="catalog"):
        update_manifest(root, "flights", fail)
    assert read_manifest(root, "flights") == before
    assert update_manifest(root, "flights", lambda old: old) == before


def test_concurrent_changes_are_all_kept(tmp_path: Path) -> None:
    root = str(tmp_path)
    failures = []

    def add(name: str) -> None:
        try:
            update_manifest(root, "flights", lambda old: old.with_port(1, name, ENTRY))
        except Exception as error:  # noqa: BLE001 shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=add, args=(f"port_{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    manifest = read_manifest(root, "flights")
    assert manifest is not None
    assert len(manifest.ports["v1"]) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "not a JSON object"),
        ('{"format": 2}', "format 2, this release reads 1"),
        ('{"format": 1, "product_id": "flights"}', "is damaged: 'ports'"),
        ('{"format": 1, "product_id": "flights", "ports": {"one": {}}}', "no major version"),
        ('{"format": 1, "product_id": "flights", "ports": {"v1": {"a": {"x": 1}}}}', "is damaged"),
        ('{"format": 1, "product_id": "shops", "ports": {}}', "manifest of shops"),
    ],
)
def test_a_damaged_manifest_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "flights").mkdir()
    (tmp_path / "flights" / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_manifest(str(tmp_path), "flights")


def test_consumers_register_once(tmp_path: Path) -> None:
    root = str(tmp_path)
    rules = (Rule("minimum_a", "minimum", ("a",), {"value": 0, "exclusive": False}),)
    first = Registration("punctuality", "source", "vw", 1, "2026-01-01T00:00:00+00:00", ("a",), rules)
    assert consumers(root, "flights") == []
    register_consumer(root, "flights", first)
    register_consumer(root, "flights", dataclasses.replace(first, registered_at="2027-01-01T00:00:00+00:00"))
    assert consumers(root, "flights") == [first]
    changed = dataclasses.replace(first, major=2, registered_at="2027-01-01T00:00:00+00:00")
    other = dataclasses.replace(first, consumer="another")
    register_consumer(root, "flights", changed)
    register_consumer(root, "flights", other)
    assert consumers(root, "flights") == [other, changed]
    silent = dataclasses.replace(changed, rules=None)
    register_consumer(root, "flights", silent)
    assert consumers(root, "flights") == [other, silent]
    with pytest.raises(UsageError):
        register_consumer(root, "flights", dataclasses.replace(first, consumer="../x"))


def test_reading_manifests_imports_nothing_heavy(tmp_path: Path) -> None:
    update_manifest(str(tmp_path), "flights", lambda old: old.with_port(1, "vw", ENTRY))
    script = (
        "import json, sys\n"
        "from dp_dagster.storage import TableLocation\n"
        "from dp_dagster.storage.manifest import products, read_manifest\n"
        f"assert [read_manifest({str(tmp_path)!r}, name).product_id for name in products({str(tmp_path)!r})]\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    heavy = {
        "deltalake",
        "pyarrow",
        "duckdb",
        "polars",
        "numpy",
        "dagster",
        "pandera",
        "sqlalchemy",
        "filelock",
    }
    assert heavy.isdisjoint(json.loads(output))
