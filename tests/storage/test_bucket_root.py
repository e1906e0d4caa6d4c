"""The storage root in a bucket, as several machines see it: the same guarantees as in a folder.

A machine is a cache of its own here: nothing else of what lies on a disk is shared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_helpers import Publisher, data_files, locked_by_another_process, named_by_history, number_of
from test_killed_writers import SCRIPT as KILLED
from test_readers_and_writers import SCRIPT as BUSY
from test_readers_and_writers import result, wait_ready

from dp_dagster.errors import ConflictError, LockedError, SettingsError, StoreError, UsageError
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage import lease as lease_module
from dp_dagster.storage.bucket import BucketPath
from dp_dagster.storage.lease import Lease
from dp_dagster.storage.locks import hold, product_lock
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
from dp_dagster.storage.mirror import local_root, make_room, root_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

ENTRY = PortEntry("SQL", "flights", "v1/dataset/flights", 0, "2026-01-01T00:00:00+00:00", "", 600)


@pytest.fixture
def root(bucket: str) -> str:
    return f"s3://{bucket}/store"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Goes on as another machine: with a cache of that name."""
    return lambda name: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def start(table: Table, script: Path, *arguments: str, machine: Path) -> subprocess.Popen[str]:
    """A process on a machine of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(machine)},
    )


# -- several machines ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reader_and_a_writer_on_other_machines(table: Table, publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish(0)
    stop = tmp_path / "stop"
    root = table.location.root
    reader = start(table, BUSY, "read", root, str(stop), machine=tmp_path / "reader")
    try:
        wait_ready(reader)
        result(start(table, BUSY, "write", root, "100", "6", machine=tmp_path / "writer"))
    finally:
        stop.touch()
    found = result(reader)
    assert found["reads"] >= found["versions"] >= 2
    newest = table.newest()
    assert newest is not None
    assert (newest.version, number_of(newest)) == (6, 105)


@pytest.mark.slow
def test_writers_on_two_machines_wait_for_each_other(table: Table, tmp_path: Path) -> None:
    begins = (100, 200)
    writers = [
        start(table, BUSY, "write", table.location.root, str(begin), "3", machine=tmp_path / f"m{begin}")
        for begin in begins
    ]
    versions = [version for writer in writers for version in result(writer)["versions"]]
    assert sorted(versions) == list(range(6))
    numbers = {number_of(table.snapshot(version)) for version in versions}
    assert numbers == {begin + turn for begin in begins for turn in range(3)}


@pytest.mark.slow
def test_of_two_candidates_for_one_version_one_wins(table: Table, tmp_path: Path) -> None:
    writers = [
        start(
            table,
            BUSY,
            "race without lock",
            table.location.root,
            str(begin),
            "8",
            machine=tmp_path / f"m{begin}",
        )
        for begin in (1000, 2000)
    ]
    for writer in writers:
        wait_ready(writer)
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    found = [result(writer) for writer in writers]
    won = [version for outcome in found for version in outcome["won"]]
    lost = sum(outcome["lost"] for outcome in found)
    assert sorted(won) == list(range(len(won)))
    assert len(won) + lost == 16
    assert lost > 0
    for version in won:
        number_of(table.snapshot(version))
    table.clean(0)
    assert data_files(table) == named_by_history(table)


# -- kill -9 ---------------------------------------------------------------------------------------------


def killed(table: Table, number: int, stage: str, machine: Path) -> None:
    writer = start(table, KILLED, table.location.root, str(number), stage, machine=machine)
    _, errors = writer.communicate(timeout=60)
    assert writer.returncode == -9, errors


def check(table: Table, old: int, attempted: int) -> bool:
    """Whether the attempted version landed; the next writer waits for nobody, and cleaning leaves nothing."""
    newest = table.newest()
    assert newest is not None
    number = number_of(newest)
    assert number in {old, attempted}
    hasty = Table(table.location, lock_timeout=0)
    assert number_of(Publisher(hasty).publish(attempted + 1)) == attempted + 1
    table.clean(0)
    assert data_files(table) == named_by_history(table)
    assert table.clean(0) == []
    return number == attempted


@pytest.mark.slow
def test_killed_at_each_stage(table: Table, publisher: Publisher) -> None:
    publisher.publish(0)
    cache = Path(os.environ["XDG_CACHE_HOME"])
    stages = ("verdict", "within files", "before commit", "after commit")
    landed = {}
    for turn, stage in enumerate(stages):
        killed(table, 2 * turn + 1, stage, cache)
        landed[stage] = check(table, 2 * turn, 2 * turn + 1)
    assert [stage for stage in stages if landed[stage]] == ["after commit"]


# -- the lease -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_machine_that_died_locks_until_its_lease_is_over(
    table: Table, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("theirs")
    with locked_by_another_process(table, "run-of-theirs") as process:
        machine("ours")
        table.lock_timeout = 0.5
        with pytest.raises(
            LockedError, match=r"is locked by run-of-theirs \(process \d+ on .*; gave up after 0\.5 s"
        ):
            table.lock("ours").__enter__()
        process.kill()
        process.wait()
        with pytest.raises(LockedError), table.lock("ours"):
            pass
        monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
        table.lock_timeout = 10
        with table.lock("ours"), table.lock("ours again"):
            assert Publisher(table).publish(1).version == 0


def modified(place: BucketPath) -> datetime:
    found = place.look()
    assert found is not None
    return found[1].modified


def test_a_lease_is_renewed_while_its_holder_lives(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server tells whole seconds.
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 2.0)
    place = root_place(root) / "lock"
    first, second = Lease(place, "a"), Lease(place, "b")
    first.acquire("it", "run-1", 0)
    begun = modified(place)
    deadline = time.monotonic() + 120
    while (modified(place) - begun).total_seconds() <= lease_module.LEASE_SECONDS:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # It would be over by now, and has just been renewed.
    with pytest.raises(LockedError, match="locked by run-1"):
        second.acquire("it", "run-2", 0)
    first.release()
    second.acquire("it", "run-2", 0)
    second.release()


def test_a_lease_that_cannot_be_had_leaves_the_machine_unlocked(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = local_root(root) / "x" / "lock"
    with monkeypatch.context() as down:
        # Another address is another mirror, so the lock file is told.
        down.setattr("dp_dagster.storage.locks.place_in", lambda *_: root_place(root) / "lock")
        down.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StoreError, match="cannot be reached"), hold(lock_file, "it", "run", 1, root):
            pass
    with hold(lock_file, "it", "run", 1, root):
        pass


def test_settled_candidates_are_asked_for_once(
    table: Table, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        publisher.publish(number)
    assert table.clean(0) == []
    asked: list[str] = []
    look = BucketPath.look

    def counted(path: BucketPath) -> Any:
        asked.append(path.key)
        return look(path)

    monkeypatch.setattr(BucketPath, "look", counted)
    held = publisher.candidate(4)
    assert len(table.clean(0)) == 2
    assert [key for key in asked if ".candidates" in key and held.id not in key] == []


# -- the mirror ------------------------------------------------------------------------------------------


def test_files_are_fetched_once_and_make_room(
    table: Table, publisher: Publisher, machine: Callable[[str], None]
) -> None:
    for number in range(3):
        publisher.publish(number)
    machine("other")
    snapshots = [table.snapshot(version) for version in range(3)]
    assert not any(Path(path).exists() for snapshot in snapshots for path in snapshot.paths), (
        "nothing until it is read"
    )
    assert [number_of(snapshot) for snapshot in snapshots] == [0, 1, 2]
    before = {path: Path(path).stat().st_ino for path in snapshots[0].files}
    assert {path: Path(path).stat().st_ino for path in snapshots[0].files} == before
    root = table.location.root
    assert make_room(root, 0, 3600) == 0, "just read"
    for snapshot in snapshots[:2]:
        for path in snapshot.paths:
            os.utime(path, (0, 0))
    rest = sum(Path(path).stat().st_size for path in snapshots[2].paths)
    assert make_room(root, rest, 3600) > 0
    assert [all(Path(path).exists() for path in one.paths) for one in snapshots] == [False, False, True]
    assert [number_of(snapshot) for snapshot in snapshots] == [0, 1, 2]
    assert make_room(str(local_root(root)), 0, 0) == 0, "a folder is no mirror"


def test_what_was_vacuumed_is_gone_everywhere(
    table: Table, publisher: Publisher, machine: Callable[[str], None]
) -> None:
    old = publisher.publish(0)
    publisher.publish(1)
    here = old.files
    machine("other")
    there = table.snapshot(0)
    assert len(table.vacuum(0)) == 2
    with pytest.raises(StoreError, match="is gone; it was vacuumed"):
        _ = there.files
    with pytest.raises(UsageError, match="can no longer be read"):
        table.snapshot(0)
    machine("cache")
    with pytest.raises(UsageError, match="can no longer be read"):
        table.snapshot(0)
    assert here == old.paths


# -- documents -------------------------------------------------------------------------------------------


def test_the_manifest_is_compared_and_swapped(root: str) -> None:
    update_manifest(root, "shop", lambda manifest: manifest.with_port(1, "a", ENTRY))

    def change(manifest: Manifest) -> Manifest:
        # Somebody whose lease was over did not notice.
        path = root_place(root) / "shop" / "manifest.json"
        path.put(json.dumps({**json.loads(path.read_bytes()), "name": "theirs"}).encode())
        return manifest.with_port(1, "b", ENTRY)

    with pytest.raises(ConflictError, match="was replaced by somebody else"):
        update_manifest(root, "shop", change)
    found = read_manifest(root, "shop")
    assert found is not None
    assert (found.name, list(found.ports["v1"])) == ("theirs", ["a"])
    assert products(root) == ["shop"]
    with product_lock(root, "shop", "run", 0):
        register_consumer(root, "shop", Registration("reader", "source", "a", 1, "2026-01-01T00:00:00+00:00"))
    assert [one.consumer for one in consumers(root, "shop")] == ["reader"]


@pytest.mark.parametrize("address", ["s3://B/x", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/a b"])
def test_a_root_that_is_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="storage "):
        Table(dataset_table(address, "flights", 1, "flights")).newest()


def test_a_bucket_that_does_not_answer_is_one_line(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    attempts: list[Callable[[], Any]] = [
        table.newest,
        lambda: table.draft("run"),
        lambda: products(table.location.root),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match=r"cannot be reached at http://127\.0\.0\.1:9") as caught:
            attempt()
        assert "\n" not in str(caught.value)
