"""Write, audit, publish as Dagster shows it: what is held, what is published, what makes a port fresher."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import pytest
from definition_helpers import (
    BAD,
    DATASET,
    GOOD,
    INPUT,
    KEPT,
    PORT,
    QUARANTINE,
    checks,
    failures,
    materializations,
    observations,
    resolved,
    run,
    write_orders,
)

from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from support import TestProject

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def served(project: TestProject) -> list[int]:
    """What a consumer reads at the SQL port."""
    with duckdb.connect(str(project.storage / "orders/orders.duckdb"), read_only=True) as connection:
        return [row[0] for row in connection.sql("select order_id from v2.vw_orders order by 1").fetchall()]


def shown_version(project: TestProject) -> int:
    manifest = read_manifest(str(project.storage), "orders")
    entry = manifest.port(2, "vw_orders") if manifest else None
    assert entry is not None
    return entry.version


def last(instance: dg.DagsterInstance, key: dg.AssetKey) -> int | None:
    """Where in the event log the newest materialisation of an asset stands."""
    event = instance.get_latest_materialization_event(key)
    return None if event is None else hash((event.run_id, event.timestamp))


def test_a_good_run_materialises_everything_but_the_quarantine(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    result = run(write_orders(project), instance)
    assert result.success
    found = materializations(result)
    assert set(found) == {INPUT, dg.AssetKey(["orders", "transform", "large"]), KEPT, DATASET, PORT}
    assert found[DATASET]["version"] == found[PORT]["version"] == shown_version(project)
    assert found[DATASET]["dagster/row_count"] == found[PORT]["dagster/row_count"] == 3
    assert found[DATASET]["made from"]["orders"]["version"] == found[INPUT]["version"]
    assert found[PORT]["verdict id"] == found[DATASET]["verdict id"]
    assert found[PORT]["consumers"] == "nobody has registered"
    assert "| version 0 | 20" in found[PORT]["last publications"]
    assert "| 3 | 0 | accepted |" in found[PORT]["last publications"]
    judged = checks(result)
    assert judged[DATASET, "contract"].passed
    promised = {(PORT, "sla_availability"), (PORT, "sla_freshness")}
    rules = resolved(project.root / "products/orders").dataset("orders").contract.rules
    assert promised < set(judged)
    assert len(judged) == 3 + len(rules) + len(promised)
    assert judged[PORT, "policies"].passed
    assert [name for (_, name), one in judged.items() if not one.passed] == ["policies"]
    assert judged[DATASET, "policies"].severity == dg.AssetCheckSeverity.WARN
    assert all(one.target_materialization_data is not None for one in judged.values())
    assert served(project) == [1, 2, 3]


def test_a_held_candidate(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    before = {key: last(instance, key) for key in (DATASET, PORT)}
    write_orders(project, data=BAD)
    result = run(folder, instance)

    assert not result.success
    run_record = instance.get_run_by_id(result.run_id)
    assert run_record is not None
    assert run_record.status == dg.DagsterRunStatus.FAILURE
    assert list(failures(result)) == ["orders__v2__dataset__orders"]
    sentence = failures(result)["orders__v2__dataset__orders"]
    assert sentence.startswith("orders.orders held: ")
    assert "consumers keep version" in sentence
    assert sentence.endswith("See: dp quarantine orders.orders")

    found = materializations(result)
    assert DATASET not in found
    assert PORT not in found
    assert found[QUARANTINE]["rows of this candidate"] == 1
    assert {key: last(instance, key) for key in (DATASET, PORT)} == before
    assert served(project) == [1, 2, 3]

    judged = checks(result)
    assert not judged[DATASET, "contract"].passed
    assert judged[DATASET, "contract"].severity == ERROR
    failing = {
        name: one
        for (_, name), one in judged.items()
        if not one.passed and name not in {"contract", "policies"}
    }
    assert list(failing) == ["pattern_customer"]
    metadata = failing["pattern_customer"].metadata
    assert metadata["failing rows"].value == 1
    assert metadata["rows"].value == 4
    assert "sample" in metadata
    everything = str([one.metadata for one in judged.values()]) + sentence + str(found)
    assert "SECRET9" not in everything, "customer is personal data"


def test_values_that_are_not_classified_are_shown(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, data="order_id,customer,amount\n1,ada,10\n1,ben,20\n")
    judged = checks(run(folder, instance))
    unique = judged[DATASET, "unique_order_id"]
    assert not unique.passed
    assert unique.metadata["failing rows"].value == 1, "one of the two is one too many"
    assert "1" in str(unique.metadata["sample"].value)


def test_the_port_alone_after_a_held_candidate_shows_the_last_good_version(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    version = shown_version(project)
    write_orders(project, data=BAD)
    assert not run(folder, instance).success
    before = last(instance, PORT)
    # A consumer's catalog that got lost is made again; nothing else changes.
    (project.storage / "orders/orders.duckdb").unlink()

    result = run(folder, instance, [PORT])

    assert result.success
    assert materializations(result) == {}
    assert observations(result)[PORT]["version"] == version
    assert last(instance, PORT) == before, "the port would look fresher than it is"
    assert served(project) == [1, 2, 3]


def test_a_port_whose_dataset_was_never_published(project: TestProject, instance: dg.DagsterInstance) -> None:
    result = run(write_orders(project), instance, [PORT])
    assert not result.success
    assert failures(result)["orders__v2__port__vw_orders"] == (
        "orders.vw_orders: dataset orders has never been published, so there is nothing to project; "
        "materialise the dataset first"
    )


def test_a_first_candidate_that_is_held_says_that_nothing_was_published(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    result = run(write_orders(project, data=BAD), instance)
    assert "nothing was published before" in failures(result)["orders__v2__dataset__orders"]


def test_a_new_publication_is_a_new_materialisation(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    first = materializations(run(folder, instance))[PORT]["version"]
    second = materializations(run(folder, instance))[PORT]["version"]
    assert second > first


def test_a_publication_whose_port_was_not_projected_counts_when_it_is(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    assert run(folder, instance, [DATASET, QUARANTINE]).success
    result = run(folder, instance, [PORT])
    assert materializations(result)[PORT]["version"] == shown_version(project)
    again = run(folder, instance, [PORT])
    assert materializations(again) == {}
    assert observations(again)


def test_accepted_in_part(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, data=BAD, quarantine="30%")
    result = run(folder, instance)
    assert result.success
    found = materializations(result)
    assert found[QUARANTINE]["rows of this candidate"] == 1
    assert found[DATASET]["quarantined rows"] == 1
    assert found[DATASET]["dagster/row_count"] == 3
    judged = checks(result)
    assert judged[DATASET, "contract"].passed
    assert judged[DATASET, "contract"].metadata["rows rejected"].value == 1
    pattern = judged[DATASET, "pattern_customer"]
    assert not pattern.passed
    assert pattern.severity == WARN, "the rows are set aside: nothing is wrong with what was published"
    assert served(project) == [1, 2, 3]
    assert "SECRET9" not in str(judged)


def test_a_rule_that_warns_blocks_nothing(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, data="order_id,customer,amount\n1,ada,800\n2,ben,2\n")
    result = run(folder, instance)
    assert result.success
    score = checks(result)[DATASET, "maximum_score"]
    assert not score.passed
    assert score.severity == WARN
    assert score.metadata["failing rows"].value == 1
    assert PORT in materializations(result)


def test_a_rule_that_could_not_be_evaluated_never_passes(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    # The column is gone, so nothing about its values can be said.
    scored = (folder / "transforms/scored.py").read_text().replace(", amount * 2 as score", "")
    (folder / "transforms/scored.py").write_text(scored)
    result = run(folder, instance)
    assert not result.success
    judged = checks(result)
    assert not judged[DATASET, "columns"].passed
    for name in ("maximum_score", "score_fits"):
        assert not judged[DATASET, name].passed
        assert judged[DATASET, name].metadata["not evaluated"].value
    assert judged[DATASET, "not_null_order_id"].passed
    assert served(project) == [1, 2, 3]


def test_an_input_that_breaks_its_contract_stops_at_the_door(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, input_contract=True)
    assert run(folder, instance).success
    before = {key: last(instance, key) for key in (INPUT, DATASET, PORT)}
    write_orders(project, input_contract=True, data="order_id,customer,amount\n1,ada,10\n1,ben,200000\n")
    result = run(folder, instance)
    assert not result.success
    sentence = failures(result)["orders__input__orders"]
    assert sentence.startswith("orders/input/orders held: ")
    assert materializations(result) == {}
    judged = checks(result)
    assert {name for (key, name), one in judged.items() if not one.passed} == {
        "contract",
        "unique_order_id",
        "maximum_amount",
    }
    assert {key for key, _ in judged} == {INPUT}
    assert {key: last(instance, key) for key in (INPUT, DATASET, PORT)} == before
    assert served(project) == [1, 2, 3]


def test_an_unchanged_input_still_yields_its_check_results(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, input_contract=True)
    first = run(folder, instance)
    second = run(folder, instance)
    assert second.success
    assert not materializations(first)[INPUT]["unchanged"]
    assert materializations(second)[INPUT]["unchanged"]
    assert materializations(second)[INPUT]["version"] == materializations(first)[INPUT]["version"]

    def of_input(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
        return {name: one.passed for (key, name), one in checks(result).items() if key == INPUT}

    assert of_input(second) == of_input(first)
    assert all(of_input(second).values())
    assert len(of_input(second)) > 2


def test_an_unchanged_input_whose_verdict_is_lost_does_not_look_proven(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, input_contract=True)
    assert run(folder, instance).success
    lost = list((project.storage / "orders/.candidates").rglob("*.verdict.json"))
    assert lost
    for path in lost:
        path.unlink()
    result = run(folder, instance)
    of_input = {name: one for (key, name), one in checks(result).items() if key == INPUT}
    assert result.success
    assert not any(one.passed for one in of_input.values())
    assert all("lost" in str(one.metadata["not evaluated"].value) for one in of_input.values())


def test_the_dataset_alone_reads_what_was_landed(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    write_orders(project, data=BAD)
    result = run(folder, instance, [DATASET, QUARANTINE])
    assert result.success, "the bad file has not been landed"
    assert materializations(result)[DATASET]["dagster/row_count"] == 3


def test_a_rollback_shows_at_the_port_and_makes_nothing_fresher(project: TestProject) -> None:
    from dp_dagster.definitions.run import open_instance, run_product

    folder = write_orders(project)
    product = resolved(folder)
    with open_instance(product.settings) as instance:
        assert run_product(product, instance, lambda _: None).succeeded
        first = shown_version(project)
        write_orders(project, data=GOOD + "4,dan,40\n")
        assert run_product(product, instance, lambda _: None).succeeded
        before = last(instance, PORT)
    assert served(project) == [1, 2, 3, 4]

    done = subprocess.run(
        [Path(sys.executable).with_name("dp"), "rollback", "orders.orders", "--to", str(first)],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert served(project) == [1, 2, 3]

    with open_instance(product.settings) as instance:
        assert last(instance, PORT) == before
        records = instance.fetch_observations(PORT, limit=5).records
        observed = records[0].asset_observation
        assert observed is not None
        assert observed.metadata["operation"].value == "rollback"
        assert str(observed.metadata["rolled back to"].value) == str(first)
        # The port run alone afterwards: it shows the old rows, and is no publication.
        result = run(folder, instance, [PORT])
        assert result.success
        assert materializations(result) == {}
        assert last(instance, PORT) == before
        # The next publication counts again.
        newest = run(folder, instance)
        assert PORT in materializations(newest)
    assert served(project) == [1, 2, 3, 4]


def test_a_product_deployed_into_an_empty_dagster_projects_what_is_published(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project)
    assert run(folder, instance).success
    with dg.DagsterInstance.ephemeral() as other:
        result = run(folder, other, [PORT])
        assert result.success
        assert materializations(result)[PORT]["version"] == shown_version(project)


@pytest.mark.parametrize("unselected", [[DATASET], [QUARANTINE]], ids=["dataset", "quarantine"])
def test_dataset_and_quarantine_go_together(
    project: TestProject, instance: dg.DagsterInstance, unselected: list[dg.AssetKey]
) -> None:
    with pytest.raises(dg.DagsterInvalidSubsetError, match="orders__v2__dataset__orders"):
        run(write_orders(project), instance, unselected)
