"""Datasets: held, accepted in part, published, rolled back; what is on record of it and what is left of it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from pipeline_helpers import Workshop, rows

from dp_dagster.contracts import evaluate as evaluate_module
from dp_dagster.errors import LockedError, StoreError, UsageError
from dp_dagster.pipeline import land_input, project_port, publish_dataset
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.pipeline.quarantine import read_quarantine
from dp_dagster.pipeline.rollback import roll_back
from dp_dagster.pipeline.status import dataset_statuses
from dp_dagster.storage import Table
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from pipeline_helpers import Product

BAD = "name,amount\nada,1\nBEN,2\ncy,-3\ncy,4\n"


def tolerant(workshop: Workshop, share: str) -> Product:
    return workshop.product(
        datasets=[
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Rows",
                "key": ["name"],
                "quarantine": {"max_invalid": share},
            }
        ]
    )


def kinds(product: Product, subject: str = "v1/dataset/rows") -> list[str]:
    records = product.session().records.query(product=product.id, subject=subject)
    return [record.kind for record in reversed(records)]


def test_a_run(workshop: Workshop) -> None:
    product = workshop.product()
    run = product.run("run-of-the-test")
    snapshot = run.published.snapshot
    assert rows(snapshot) == [("ada", 1), ("ben", 2)]
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    assert run.published.verdict.decision == "accepted"
    assert run.ports["vw_rows"].changed
    metadata = snapshot.metadata
    assert metadata["dp.product_version"] == "1.0.0"
    assert metadata["dp.run_id"] == "run-of-the-test"
    assert metadata["dp.verdict_id"] == run.published.verdict.id
    assert metadata["dp.contract_hash"] == run.session.product.dataset("rows").contract.hash
    assert json.loads(metadata["dp.upstream"])["source"]["version"] == 0
    assert kinds(product) == ["checked", "audited", "published"]
    assert kinds(product, "v1/port/vw_rows") == ["projected"]
    assert run.session.records.verify() == []
    assert product.leftovers() == []


def test_a_held_dataset_leaves_consumers_with_the_last_good_version(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    product.write({"inputs/source.csv": BAD})
    run = product.run()
    outcome = run.published
    assert outcome.snapshot is None
    assert outcome.serving is not None
    assert outcome.serving.version == 0
    assert outcome.verdict.decision == "held"
    assert (outcome.verdict.rows_in, outcome.verdict.rows_rejected) == (4, 3)
    assert (outcome.quarantined_rows, outcome.quarantine_truncated) == (3, False)
    assert run.ports == {}
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    kept = read_quarantine(product.quarantine(), limit=10)
    assert {json.loads(row.row)["name"] for row in kept} == {"BEN", "cy"}
    assert all(row.run_id == run.session.run_id and not row.published_in_part for row in kept)
    assert kinds(product)[-3:] == ["audited", "quarantined", "held"]
    # The port alone projects the last good version again, and that is no news.
    again = project_port(product.session(), "vw_rows")
    assert (again.snapshot and again.snapshot.version, again.changed) == (0, False)
    assert product.leftovers() == []


def test_a_dataset_that_was_never_published_is_held(workshop: Workshop) -> None:
    product = workshop.product(files={"inputs/source.csv": BAD})
    run = product.run()
    assert run.published.serving is None
    assert project_port(run.session, "vw_rows").snapshot is None
    assert read_manifest(workshop.storage, "small") is None
    (status,) = dataset_statuses(run.session.product)
    assert (status.version, status.ports[0].freshness) == (None, "never published")


def test_a_schema_that_is_wrong_is_held_whatever_the_threshold(workshop: Workshop) -> None:
    product = tolerant(workshop, "99%")
    product.write({"transforms/chosen.sql": "select name, amount::varchar as amount from source"})
    outcome = product.run().published
    assert outcome.verdict.decision == "held"
    assert outcome.quarantined_rows == 0
    assert product.leftovers() == []


def test_accepted_in_part(workshop: Workshop) -> None:
    product = tolerant(workshop, "80%")
    product.write({"inputs/source.csv": BAD})
    run = product.run()
    outcome = run.published
    assert rows(outcome.snapshot) == [("ada", 1)]
    verdict = outcome.verdict
    assert verdict.decision == "accepted_in_part"
    assert (verdict.rows_in, verdict.rows_accepted, verdict.rows_rejected) == (4, 1, 3)
    assert verdict.input_hash != verdict.accepted_hash == outcome.snapshot.metadata["dp.files_hash"]
    assert verdict.candidate_id == outcome.snapshot.metadata["dp.candidate_id"]
    assert outcome.quarantined_rows == 3
    kept = read_quarantine(product.quarantine(), limit=10)
    assert len(kept) == 3
    assert all(row.published_in_part and row.candidate_id == verdict.candidate_id for row in kept)
    assert kinds(product) == ["checked", "quarantined", "audited", "published"]
    assert run.session.last_verdict(product.table()) == verdict
    assert product.query("from small.v1.vw_rows") == [("ada", 1)]
    assert product.leftovers() == []


def test_above_the_threshold(workshop: Workshop) -> None:
    product = tolerant(workshop, "50%")
    product.run()
    product.write({"inputs/source.csv": BAD})
    outcome = product.run().published
    assert outcome.verdict.decision == "held"
    assert outcome.snapshot is None
    assert outcome.quarantined_rows == 3
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]


def test_the_quarantine_is_asked_for_one_run_or_all(workshop: Workshop) -> None:
    product = workshop.product(files={"inputs/source.csv": BAD})
    first = product.run()
    product.write({"inputs/source.csv": "name,amount\nDI,1\n"})
    second = product.run()
    table = product.quarantine()
    assert [json.loads(row.row)["name"] for row in read_quarantine(table, limit=9)] == ["DI"]
    assert len(read_quarantine(table, limit=9, every_candidate=True)) == 4
    assert len(read_quarantine(table, limit=2, every_candidate=True)) == 2
    assert len(read_quarantine(table, limit=9, run_id=first.session.run_id)) == 3
    assert len(read_quarantine(table, limit=9, run_id=second.session.run_id)) == 1
    assert read_quarantine(table, limit=9, run_id="' or 1=1 --") == []


# -- what goes wrong on the way ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["evaluate", "record_verdict", "publish"])
def test_whatever_fails_before_the_commit_leaves_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    product = workshop.product()
    product.run()

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("the disk is full")

    target: Any = evaluate_module if stage == "evaluate" else Table
    session = product.session()
    land_input(session, "source")
    monkeypatch.setattr(target, stage, fail)
    with pytest.raises(StoreError, match="the disk is full"):
        publish_dataset(session, "rows")
    monkeypatch.undo()
    assert product.leftovers() == []
    newest = product.table().newest()
    assert newest is not None
    assert newest.version == 0
    assert product.run().published.snapshot.version == 1


def test_a_record_that_could_not_be_written_after_the_commit_is_made_good(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = workshop.product()

    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("no records today")

    monkeypatch.setattr(Publisher, "_record_published", fail)
    with pytest.raises(StoreError, match="no records today"):
        product.run()
    monkeypatch.undo()
    newest = product.table().newest()
    assert newest is not None
    assert rows(newest) == [("ada", 1), ("ben", 2)]  # it was published, so its files stay
    assert kinds(product) == ["checked", "audited"]
    product.run()
    assert kinds(product) == ["checked", "audited", "published", "audited", "published"]
    published = product.session().records.query(product="small", kind="published")
    assert [record.payload["version"] for record in published] == [1, 0]
    assert [record.payload.get("made_good") for record in published] == [None, True]


def test_candidates_of_dead_runs_are_cleaned_after_their_grace(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    draft = product.table().draft("dead")
    draft.new_file().write_bytes(b"half a file")
    assert len(product.leftovers()) == 1
    product.run()
    assert len(product.leftovers()) == 1
    workshop.changes["candidate_grace"] = 0.0
    product.run()
    assert product.leftovers() == []
    assert "cleaned" in kinds(product)


def test_work_folders_of_runs_of_yesterday_are_removed(workshop: Workshop) -> None:
    product = workshop.product()
    old, young = product.run("old").session, product.run("young").session
    past = time.time() - 25 * 3600
    os.utime(old.work_folder, (past, past))
    session = product.session("now")
    session.clean_work_folders()
    assert not old.work_folder.exists()
    assert young.work_folder.is_dir()
    session.clean_work_folders()


def test_a_locked_dataset_names_who_holds_it(workshop: Workshop) -> None:
    workshop.changes["lock_timeout"] = 0.1
    product = workshop.product()
    session = product.session()
    land_input(session, "source")
    from concurrent.futures import ThreadPoolExecutor

    with (
        ThreadPoolExecutor(1) as other,
        product.table().lock("run of somebody else"),
        pytest.raises(LockedError, match="small/v1/dataset/rows is locked by run of somebody else"),
    ):
        other.submit(publish_dataset, session, "rows").result()
    assert publish_dataset(session, "rows").snapshot is not None


def test_a_work_database_that_another_process_has_open(workshop: Workshop) -> None:
    import subprocess
    import sys

    session = workshop.product().session()
    session.work_folder.mkdir(parents=True)
    file = session.work_folder / "work.duckdb"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()",
            str(file),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(LockedError, match="is open in another process"):
            land_input(session, "source")
    finally:
        holder.communicate("")
    land_input(session, "source")


# -- rollback -----------------------------------------------------------------------------------------------


def test_a_rollback_shows_at_the_ports_and_looks_no_fresher(workshop: Workshop) -> None:
    product = workshop.product()
    first = product.run().published.snapshot
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    product.run()
    assert product.query("from small.v1.vw_rows") == [("cy", 3)]
    session = product.session()
    outcome = roll_back(session, "rows", 0)
    assert (outcome.before, outcome.snapshot.version) == (1, 2)
    assert outcome.snapshot.published_at == first.published_at
    assert [(port.port, port.changed) for port in outcome.ports] == [("vw_rows", True)]
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    entry = manifest.port(1, "vw_rows")
    assert entry is not None
    assert (entry.version, entry.published_at) == (2, first.published_at.isoformat())
    (record,) = session.records.query(product="small", kind="rolled_back")
    assert (record.actor, record.payload["to"]) == (session.actor, 0)
    # Projecting again changes nothing; the next run publishes on top.
    assert not project_port(product.session(), "vw_rows").changed
    assert product.run().published.snapshot.version == 3
    assert product.query("from small.v1.vw_rows") == [("cy", 3)]


@pytest.mark.parametrize("version", [-1, 0, 7])
def test_versions_that_cannot_be_rolled_back_to(workshop: Workshop, version: int) -> None:
    product = workshop.product()
    product.run()
    with pytest.raises(UsageError):
        roll_back(product.session(), "rows", version)
    assert len(product.table().history()) == 1
