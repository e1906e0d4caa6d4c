"""What a run shows when a step fails: our sentence, once, without retries that cannot help."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from definition_helpers import DATASET, failures, materializations, resolved, retries, run, write_orders

from dp_dagster.definitions import work
from dp_dagster.definitions.run import open_instance, run_product
from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from pathlib import Path

    import dagster as dg
    from support import TestProject


def edit(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def fails(folder: Path, instance: dg.DagsterInstance, step: str) -> str:
    """Run; exactly this step must fail, at once, and give its sentence."""
    result = run(folder, instance)
    assert not result.success
    found = failures(result)
    assert list(found) == [step]
    assert retries(result) == []
    assert "Traceback" not in found[step]
    assert "TRACEBACK" not in found[step]
    return found[step]


def test_an_input_file_that_is_not_there(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    (folder / "data/orders.csv").unlink()
    sentence = fails(folder, instance, "orders__input__orders")
    assert sentence.startswith("orders/input/orders: no file at data/orders.csv; looked for ")


def test_an_input_file_that_is_malformed(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, input_contract=True)
    edit(folder, "data/orders.csv", "order_id,customer,amount\n1,ada,ten\n")
    sentence = fails(folder, instance, "orders__input__orders")
    assert sentence.startswith("orders/input/orders: ")
    assert "ten" in sentence


def test_a_query_that_names_a_missing_column(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    edit(folder, "transforms/large.sql", "select order_id, custmer, amount from orders")
    sentence = fails(folder, instance, "orders__transform__large")
    assert sentence.startswith("orders/transform/large: ")
    assert "custmer" in sentence


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise ValueError('no such rate')", "orders/transforms/scored.py:5: ValueError: no such rate"),
        ("return 5", "orders/transforms/scored.py:scored: returned int; return a DuckDB relation"),
        ("import sys; sys.exit(3)", "scored.py:5: would end the process (exit 3); raise an error instead"),
    ],
    ids=["exception", "wrong type", "exit"],
)
def test_python_of_the_product_that_fails(
    project: TestProject, instance: dg.DagsterInstance, body: str, expected: str
) -> None:
    folder = write_orders(project)
    edit(folder, "transforms/scored.py", f'"""Scores."""\n\n\ndef scored(connection):\n    {body}\n')
    assert expected in fails(folder, instance, "orders__transform__scored")
    run_id = instance.get_runs()[0].run_id
    record = instance.get_run_by_id(run_id)
    assert record is not None
    assert record.status.value == "FAILURE"


def test_python_that_ends_the_process_where_it_is_loaded(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    edit(folder, "transforms/scored.py", "raise SystemExit('no licence')\n\n\ndef scored(connection): ...\n")
    sentence = fails(folder, instance, "orders__transform__scored")
    assert "scored.py:1: would end the process (exit no licence)" in sentence


def test_what_reads_a_failed_step_is_not_run(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    edit(folder, "transforms/large.sql", "select nothing_of_it from orders")
    result = run(folder, instance)
    assert [key.to_user_string() for key in materializations(result)] == ["orders/input/orders"]


def lock_dataset(folder: Path) -> Table:
    product = resolved(folder)
    return Table(dataset_table(product.settings.storage, "orders", 2, "orders"), lock_timeout=1)


@pytest.fixture
def impatient(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long: neither for a lock nor for the next try."""
    (project.root / "dp_dagster.toml").write_text('products = ["products/*"]\nlock_timeout = 0.1\n')
    monkeypatch.setattr(work, "RETRY_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_is_let_go_is_waited_for(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    ready, let_go = threading.Event(), threading.Event()

    def other_run() -> None:
        with lock_dataset(folder).lock("run 1 of orders"):
            ready.set()
            let_go.wait(20)

    thread = threading.Thread(target=other_run)
    thread.start()
    try:
        assert ready.wait(20)
        tried: list[str] = []

        def watch() -> None:
            # Let go as soon as Dagster has recorded that the step will be tried again.
            for _ in range(400):
                tried.extend(step for step in steps_tried_again(instance) if step)
                if tried:
                    break
                threading.Event().wait(0.02)
            let_go.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        result = run(folder, instance)
        watcher.join()
    finally:
        let_go.set()
        thread.join()
    assert result.success
    assert set(retries(result)) == {"orders__v2__dataset__orders"}
    assert DATASET in materializations(result)


def steps_tried_again(instance: dg.DagsterInstance) -> list[str]:
    import dagster as dg

    return [
        record.event_log_entry.step_key or ""
        for run_record in instance.get_runs(limit=1)
        for record in instance.get_records_for_run(
            run_record.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY
        ).records
    ]


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_is_never_let_go_fails_with_its_holder(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    with lock_in_another_thread(folder):
        result = run(folder, instance)
    assert not result.success
    assert retries(result) == ["orders__v2__dataset__orders"] * work.RETRIES
    sentence = failures(result)["orders__v2__dataset__orders"]
    assert "is locked by run 1 of orders" in sentence
    assert "TRACEBACK" not in sentence


@pytest.mark.usefixtures("impatient")
def test_the_command_line_says_who_holds_the_lock_and_that_another_try_may_do(project: TestProject) -> None:
    folder = write_orders(project)
    product = resolved(folder)
    with open_instance(product.settings) as instance, lock_in_another_thread(folder):
        result = run_product(product, instance, lambda _: None)
    assert not result.succeeded
    assert result.retryable
    assert len(result.failures) == 1
    assert "is locked by run 1 of orders" in result.failures[0]


def test_the_command_line_knows_the_authors_fault(project: TestProject) -> None:
    folder = write_orders(project)
    edit(folder, "transforms/large.sql", "select nothing_of_it from orders")
    product = resolved(folder)
    said: list[str] = []
    with open_instance(product.settings) as instance:
        result = run_product(product, instance, said.append)
    assert not result.succeeded
    assert not result.retryable
    assert result.failures[0].startswith("orders/transform/large: ")
    assert any(line.startswith("  ✗ orders/transform/large") for line in said)
    assert any("orders/v2/dataset/orders  not run" in line for line in said)


class lock_in_another_thread:  # noqa: N801 - reads as a function where it is used
    """Hold the dataset's lock as another run would."""

    def __init__(self, folder: Path) -> None:
        self._table = lock_dataset(folder)
        self._ready, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        with self._table.lock("run 1 of orders"):
            self._ready.set()
            self._let_go.wait(60)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._thread.join()
