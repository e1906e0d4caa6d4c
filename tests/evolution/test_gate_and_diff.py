"""The gate for breaking changes, and dp diff, on a product that is really published."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TOTALS_CONTRACT, TestProject

from dp_dagster.cli.app import run
from dp_dagster.contracts.model import Rule
from dp_dagster.errors import AuthorError, DescriptorError
from dp_dagster.evolution import compared, evolution_of, refuse_breaking
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage.manifest import Registration, register_consumer

STRICTER = TOTALS_CONTRACT.replace("ge=0", "ge=1")
LOOSER = TOTALS_CONTRACT.replace("ge=0", "ge=-5")
NULLABLE = TOTALS_CONTRACT.replace("ge=0,", "ge=0, nullable=True,")


def resolved(project: TestProject) -> ResolvedProduct:
    folder = project.root / "products" / "shops"
    return resolve(folder, Settings.load(folder))


def publish(project: TestProject, run_id: str, acknowledged: tuple[str, ...] = ()) -> int:
    product = resolved(project)
    session = Session(product, run_id, acknowledged=acknowledged)
    land_input(session, "sales")
    run_transform(session, "totals")
    outcome = publish_dataset(session, "totals")
    assert outcome.snapshot is not None
    project_port(session, "vw_totals")
    return outcome.snapshot.version


def set_contract(project: TestProject, text: str) -> None:
    (project.root / "products" / "shops" / "contracts" / "totals.py").write_text(text)


def set_version(project: TestProject, version: str) -> None:
    path = project.root / "products" / "shops" / "product.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", f"version: {version}"))


def register(
    project: TestProject,
    consumer: str,
    columns: tuple[str, ...] = (),
    rules: tuple[Rule, ...] | None = None,
) -> None:
    register_consumer(
        str(project.storage),
        "shops",
        Registration(consumer, "shop_totals", "vw_totals", 1, "2026-01-01T00:00:00+00:00", columns, rules),
    )


def at_least(value: int) -> tuple[Rule, ...]:
    return (Rule("any_name", "minimum", ("amount",), {"value": value, "exclusive": False}),)


def test_a_change_that_breaks_consumers_is_not_published(project: TestProject) -> None:
    publish(project, "first")
    register(project, "bakery")
    set_contract(project, LOOSER)
    with pytest.raises(AuthorError) as refused:
        publish(project, "second")
    message = str(refused.value)
    assert "shops.totals: its contract breaks what was published, and the major version is still 1" in message
    assert "amount: rule loosened" in message
    assert "breaks bakery (input shop_totals)" in message
    assert "raise version to 2.0.0, or, when they agree: dp run shops --acknowledge bakery" in message


def test_a_change_that_breaks_nobody_passes(project: TestProject) -> None:
    first = publish(project, "first")
    set_contract(project, STRICTER)
    assert publish(project, "second") > first


def test_under_a_new_major_version_it_is_published_beside_the_old_one(project: TestProject) -> None:
    publish(project, "first")
    set_contract(project, NULLABLE)
    set_version(project, "2.0.0")
    publish(project, "second")
    assert (project.storage / "shops" / "v1" / "dataset" / "totals").is_dir()
    assert (project.storage / "shops" / "v2" / "dataset" / "totals").is_dir()


def test_when_every_consumer_has_agreed_it_is_published_and_recorded(project: TestProject) -> None:
    publish(project, "first")
    register(project, "bakery")
    register(project, "brewery")
    set_contract(project, LOOSER)
    with pytest.raises(AuthorError, match="brewery"):
        publish(project, "second", ("bakery",))
    publish(project, "third", ("bakery", "brewery"))
    session = Session(resolved(project), "look")
    [record] = [
        one
        for one in session.records.query(product="shops", kind="published")
        if one.run_id == "third" and one.subject == "v1/dataset/totals"
    ]
    assert record.payload["commit"]["dp.acknowledged"] == "bakery, brewery"


def test_nobody_can_agree_where_nobody_is_registered(project: TestProject) -> None:
    publish(project, "first")
    set_contract(project, LOOSER)
    with pytest.raises(AuthorError, match="no consumer is registered") as refused:
        publish(project, "second", ("bakery",))
    assert "--acknowledge" not in str(refused.value)


def test_consumers_that_do_not_rely_on_what_changes_are_not_named(project: TestProject) -> None:
    publish(project, "first")
    register(project, "bakery", ("shop",))
    set_contract(project, LOOSER)
    product = resolved(project)
    evolution = evolution_of(product, product.dataset("totals"))
    assert evolution is not None
    assert evolution.broken_consumers() == ()
    with pytest.raises(AuthorError, match="no registered consumer relies on what changes"):
        refuse_breaking(product, product.datasets)


def test_consumers_from_outside_are_named_in_the_descriptor(project: TestProject) -> None:
    publish(project, "first")
    path = project.root / "products" / "shops" / "product.yaml"
    text = path.read_text()
    path.write_text(text + "consumers:\n  - {name: board_report, port: vw_totals, columns: [amount]}\n")
    set_contract(project, LOOSER)
    with pytest.raises(AuthorError, match=r"breaks board_report \(input outside\)"):
        publish(project, "second")
    publish(project, "third", ("board_report",))
    path.write_text(text + "consumers:\n  - {name: board_report, port: vw_total}\n")
    with pytest.raises(DescriptorError) as refused:
        resolved(project)
    assert str(refused.value).endswith(
        "consumers[0].port: vw_total is no output port of the product; did you mean vw_totals?"
    )


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        (None, True),  # who declares no rules relies on all of them
        ((), False),
        (at_least(0), True),
        (at_least(-3), True),
        (at_least(-5), False),  # that much is still promised
        ((Rule("few", "maximum", ("amount",), {"value": 9, "exclusive": False}),), False),
        ((Rule("there", "not_null", ("amount",)),), False),
    ],
)
def test_a_looser_rule_breaks_those_who_rely_on_more_than_is_left(
    project: TestProject, rules: tuple[Rule, ...] | None, broken: bool
) -> None:
    register(project, "bakery", ("amount",), rules)
    product = resolved(project)
    dataset = product.dataset("totals")
    set_contract(project, LOOSER)
    evolution = compared(resolved(project), resolved(project).dataset("totals"), dataset.contract)
    [change] = evolution.comparison.breaking
    assert [one.consumer for one in evolution.broken_by(change)] == (["bakery"] if broken else [])
    said = "breaks bakery (input shop_totals)" if broken else "breaks nobody's declared use"
    assert evolution.whom(change) == said


def test_rules_that_are_gone_and_nulls_that_come_break_those_who_rely_on_them(project: TestProject) -> None:
    register(project, "bakery", rules=(Rule("a", "not_null", ("amount",)),))
    register(
        project, "brewery", rules=(Rule("b", "pattern", ("shop",), {"regex": "^[a-z]+$", "mode": "match"}),)
    )
    before = resolved(project).dataset("totals").contract
    set_contract(project, NULLABLE.replace(', str_matches="^[a-z]+$"', ""))
    product = resolved(project)
    evolution = compared(product, product.dataset("totals"), before)
    assert {
        change.kind: [one.consumer for one in evolution.broken_by(change)]
        for change in evolution.comparison.breaking
    } == {"null allowed": ["bakery"], "rule removed": ["brewery"]}


def test_consumers_from_outside_name_the_rules_that_they_rely_on(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(project, "first")
    path = project.root / "products" / "shops" / "product.yaml"
    text = path.read_text()
    path.write_text(
        text
        + "consumers:\n  - {name: board_report, port: vw_totals, rules: [minimum_amount]}\n"
        + "  - {name: museum, port: vw_totals, rules: []}\n"
    )
    set_contract(project, LOOSER)
    with pytest.raises(AuthorError, match=r"rule loosened .*\(breaks board_report \(input outside\)\)"):
        publish(project, "second")
    monkeypatch.chdir(project.root)
    assert run(["diff", "shops", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)
    assert [one["consumer"] for one in found["changes"][0]["breaks"]] == ["board_report"]
    # The rule may be gone altogether: what it said is known from what was published.
    set_contract(project, TOTALS_CONTRACT.replace("ge=0, ", ""))
    with pytest.raises(AuthorError, match=r"rule removed .*breaks board_report"):
        publish(project, "third")
    path.write_text(
        text + "consumers:\n  - {name: board_report, port: vw_totals, rules: [minimum_amounts]}\n"
    )
    set_contract(project, TOTALS_CONTRACT)
    with pytest.raises(AuthorError) as refused:
        publish(project, "fourth")
    assert str(refused.value) == (
        "shops: consumers[0].rules: minimum_amounts is no rule of dataset totals; did you mean minimum_amount?"
    )


def test_a_compatible_change_evolves_the_table_in_the_commit_of_the_data(project: TestProject) -> None:
    publish(project, "first")
    table = Table(dataset_table(str(project.storage), "shops", 1, "totals"))
    old = table.newest()
    set_contract(
        project,
        TOTALS_CONTRACT + '    note: str = pa.Field(nullable=True, description="A remark")\n',
    )
    query = project.root / "products" / "shops" / "transforms" / "totals.sql"
    query.write_text(
        "select shop, cast(sum(amount) as bigint) as amount, null::varchar as note from sales group by shop\n"
    )
    publish(project, "second")
    new = table.newest()
    assert old is not None
    assert new is not None
    assert new.version == old.version + 1
    assert [column.name for column in new.columns] == ["shop", "amount", "note"]
    assert [column.name for column in table.snapshot(old.version).columns] == ["shop", "amount"]


def test_the_first_publication_breaks_nobody(project: TestProject) -> None:
    product = resolved(project)
    refuse_breaking(product, product.datasets)
    assert evolution_of(product, product.dataset("totals")) is None


def test_validate_refuses_it_too(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(project, "first")
    monkeypatch.chdir(project.root)
    assert run(["validate", "products/shops"]) == 0
    set_contract(project, LOOSER)
    assert run(["validate", "products/shops"]) == 1
    assert "its contract breaks what was published" in "".join(capsys.readouterr())


def test_diff_against_what_was_published(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(project, "first")
    monkeypatch.chdir(project.root)
    assert run(["diff", "shops"]) == 0
    assert "shops.totals: no changes" in capsys.readouterr().out
    set_contract(project, LOOSER)
    assert run(["diff", "shops", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)
    assert [(change["kind"], change["consumers"]) for change in found["changes"]] == [
        ("rule loosened", "breaking")
    ]
    assert run(["diff", "shops", "--markdown"]) == 1
    assert "| rule loosened | amount | at least 0 to at least -5 | **breaking** |" in capsys.readouterr().out


def test_diff_against_a_revision_and_a_file(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        subprocess.run(
            ["git", "-C", str(project.root), *identity, *arguments], check=True, capture_output=True
        )

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.chdir(project.root)
    set_contract(project, STRICTER)
    (project.root / "products" / "shops" / "contracts" / "before.py").write_text(LOOSER)
    assert run(["diff", "shops", "--against", "HEAD"]) == 0
    assert "rule tightened (at least 0 to at least 1)" in capsys.readouterr().out
    assert run(["diff", "shops", "--against", "contracts/before.py:Totals"]) == 0
    assert "rule tightened (at least -5 to at least 1)" in capsys.readouterr().out
    assert run(["diff", "shops", "--against", "no-such-revision"]) == 2
    assert "no-such-revision" in capsys.readouterr().err
    assert run(["diff", "shops", "--against", "--output=x"]) == 2


def test_diff_of_a_product_that_was_never_published(
    make_project: Callable[[], TestProject],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = make_project()
    made.add_product()
    monkeypatch.chdir(made.root)
    assert run(["diff", "shops"]) == 0
    assert "never published" in capsys.readouterr().out


def test_kept_contracts_are_read_without_anything_heavy(project: TestProject) -> None:
    publish(project, "first")
    code = (
        "import sys; from dp_dagster.storage.contracts import kept_contract; from pathlib import Path; "
        f"root = {str(project.storage)!r}; "
        "names = [path.stem for path in Path(root, 'shops', 'contracts').glob('*.json')]; "
        "assert kept_contract(root, 'shops', names[0]).name == 'Totals'; "
        "assert not {'pandera', 'polars', 'deltalake', 'dagster'} & set(sys.modules)"
    )
    subprocess.run(["python", "-c", code], check=True, env=project.environment, cwd=Path("/"))
