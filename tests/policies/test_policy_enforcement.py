"""Where policies stand: dp validate, the load of a code location, publication; and what is on record of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from policy_helpers import KEPT, make, set_policies
from support import TOTALS_CONTRACT, TestProject

from dp_dagster.cli.app import run
from dp_dagster.definitions.load import load_product, load_products
from dp_dagster.definitions.run import run_product as run_in_dagster
from dp_dagster.errors import PolicyError
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.records import Record, Records
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings

NOBODY = ("domain: sales\nowner: {team: sellers, email: sellers@example.com}\n", "")
STRICT = 'policies.owner_and_domain = "error"\n'
EXEMPTION = """\
[[policies.exemptions]]
policy = "{}"
product = "shops"
reason = "{}"
expires = {}
"""
SAID = "owner: nobody owns the product (policy owner_and_domain); add `owner: {team: …, email: …}`"


def again(product: ResolvedProduct) -> ResolvedProduct:
    """The product as its files and settings are now."""
    return resolve(product.root, Settings.load(product.root))


def publish(product: ResolvedProduct, run_id: str, **options: Any) -> Any:
    session = Session(again(product), run_id, actor="user:ada", **options)
    land_input(session, "sales")
    run_transform(session, "totals")
    return publish_dataset(session, "totals")


def recorded(project: TestProject, *kinds: str) -> list[Record]:
    found = Records(f"sqlite:///{project.storage}/records.db").query(oldest_first=True)
    return [record for record in found if record.kind in kinds]


# -- dp validate -------------------------------------------------------------------------------------------


def test_validate_refuses_with_file_and_line(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(project, NOBODY, settings=STRICT)
    monkeypatch.chdir(project.root)
    assert run(["validate"]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == f"products/shops/product.yaml:1: {SAID}"
    assert "valid shops" not in captured.out
    assert run(["validate", "--json"]) == 1
    [product] = json.loads(capsys.readouterr().out)["products"]
    assert [one["field"] for one in product["problems"]] == ["owner", "domain"]
    assert not project.storage.exists()  # checking leaves nothing behind


def test_validate_warns(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(project, NOBODY)
    monkeypatch.chdir(project.root)
    assert run(["validate"]) == 0
    assert f"  warning products/shops/product.yaml:1: {SAID}" in capsys.readouterr().out
    assert run(["validate", "--json"]) == 0
    [product] = json.loads(capsys.readouterr().out)["products"]
    assert [one["field"] for one in product["warnings"]] == ["owner", "domain"]


def test_settings_that_are_wrong_are_the_operators(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(project, settings='policies.nameing = "warn"\n')
    monkeypatch.chdir(project.root)
    assert run(["validate"]) == 3
    assert "policies.nameing: there is no such policy; did you mean naming?" in capsys.readouterr().err


# -- the load of a code location ---------------------------------------------------------------------------


def test_a_refused_product_stops_no_other_and_says_why(project: TestProject) -> None:
    make(project, NOBODY, settings=STRICT)
    project.add_product("bakery", descriptor=KEPT.replace("product_id: shops", "product_id: bakery"))
    definitions = load_products(project.root / "products")
    keys = {key.to_user_string(): spec for key, spec in _specs(definitions).items()}
    assert "bakery/v1/dataset/totals" in keys
    assert "shops/v1/dataset/totals" not in keys
    assert SAID in keys["shops/load_error"].metadata["error"].value
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="nobody owns the product"):
        load_product(project.root / "products" / "shops")


def _specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


def test_a_refused_load_is_recorded_once(project: TestProject) -> None:
    product = make(project, NOBODY, settings=STRICT)
    for _ in range(3):
        with pytest.raises(dg.DagsterInvalidDefinitionError):
            load_product(product.root)
    [record] = recorded(project, "refused")
    assert (record.subject, record.actor, record.payload["gate"]) == (
        "product",
        "service:dagster-code-location",
        "policies",
    )
    assert SAID in record.payload["reason"]


def test_a_load_without_fault_opens_no_records(project: TestProject) -> None:
    load_product(make(project, NOBODY).root)
    assert not (project.storage / "records.db").exists()


def test_a_refusal_that_cannot_be_recorded_still_refuses_and_says_both(project: TestProject) -> None:
    product = make(project, NOBODY, settings=f'{STRICT}records_url = "sqlite:////proc/nowhere/records.db"\n')
    with pytest.raises(dg.DagsterInvalidDefinitionError) as refused:
        load_product(product.root)
    assert "nobody owns the product" in str(refused.value)
    assert "and the refusal could not be recorded: /proc/nowhere" in str(refused.value)


# -- publication -------------------------------------------------------------------------------------------


def test_publication_is_refused_and_consumers_keep_what_they_have(project: TestProject) -> None:
    product = make(project)
    first = publish(product, "first")
    assert first.snapshot is not None
    assert not first.policies.refused
    make(project, NOBODY, settings=STRICT)
    with pytest.raises(PolicyError, match="nobody owns the product"):
        publish(product, "second")
    [refused] = recorded(project, "refused")
    assert (refused.subject, refused.actor, refused.run_id) == ("v1/dataset/totals", "user:ada", "second")
    assert refused.payload["gate"] == "policies"
    with pytest.raises(PolicyError):
        publish(product, "third")
    assert len(recorded(project, "refused")) == 2  # each was somebody's attempt
    assert [record.payload["version"] for record in recorded(project, "published")] == [
        first.snapshot.version
    ]


def test_results_are_recorded_when_they_change(project: TestProject) -> None:
    product = make(project)
    publish(product, "first")
    publish(product, "second")
    make(project, NOBODY)
    publish(product, "third")
    first, second = recorded(project, "checked")
    assert (first.run_id, first.payload["failed"], first.payload["warned"]) == ("first", [], [])
    assert (second.run_id, second.payload["warned"]) == ("third", ["owner_and_domain"])
    assert second.payload["findings"][0].startswith("owner: nobody owns the product")


def test_what_is_exempted_is_recorded(project: TestProject) -> None:
    until = (datetime.now(UTC).date() + timedelta(days=3)).isoformat()
    exemption = EXEMPTION.format("owner_and_domain", "new", until)
    product = make(project, NOBODY, settings=STRICT + exemption)
    publish(product, "first")
    publish(product, "second")
    [record] = recorded(project, "exempted")
    assert record.payload["exemptions"] == [
        {"policy": "owner_and_domain", "part": "", "reason": "new", "expires": until}
    ]


def test_what_changed_is_recorded(project: TestProject) -> None:
    product = make(project)
    publish(product, "first")
    publish(product, "second")
    assert [record.subject for record in recorded(project, "changed")] == ["product", "v1/contract/totals"]
    make(
        project,
        ("version: 1.0.0", "version: 1.1.0"),
        contract=TOTALS_CONTRACT.replace("ge=0", "ge=1"),
    )
    publish(product, "third")
    later = recorded(project, "changed")[2:]
    assert [record.subject for record in later] == ["product", "v1/contract/totals"]
    assert later[0].payload["version"] == "1.1.0"
    assert later[1].payload["contract_hash"] == again(product).dataset("totals").contract.hash
    assert {record.actor for record in later} == {"user:ada"}


def test_a_breaking_change_is_refused_and_its_agreement_recorded(project: TestProject) -> None:
    reader = "consumers:\n  - {name: board, port: vw_totals}\noutput_ports:"
    product = make(project, ("output_ports:", reader))
    publish(product, "first")
    project_port(Session(again(product), "first"), "vw_totals")
    make(project, ("output_ports:", reader), contract=TOTALS_CONTRACT.replace("ge=0", "ge=-5"))
    with pytest.raises(Exception, match="breaks board"):
        publish(product, "second")
    [refused] = recorded(project, "refused")
    assert (refused.payload["gate"], refused.run_id) == ("contract", "second")
    publish(product, "third", acknowledged=("board",))
    [agreed] = recorded(project, "acknowledged")
    assert (agreed.payload["consumers"], agreed.payload["changes"][0]["kind"]) == (["board"], "rule loosened")


def test_a_policy_that_raises_refuses_too(project: TestProject) -> None:
    own = (
        "from dp_dagster.policies import ProductPolicy\n\n\n"
        "class Asks(ProductPolicy):\n    id = 'asks'\n    title = 'Somebody was asked.'\n\n"
        "    def check(self, subject):\n        raise OSError('the service is down')\n"
    )
    (project.root / "own.py").write_text(own)
    product = make(project, settings='policies.file = "own.py"\n')
    with pytest.raises(PolicyError, match=r"own\.py:9: OSError: the service is down"):
        publish(product, "first")
    assert recorded(project, "published") == []
    set_policies(project.root, 'policies = {file = "own.py", asks = "off"}\n')
    assert publish(product, "second").snapshot is not None


# -- the check in Dagster ----------------------------------------------------------------------------------


def checks_of(product: ResolvedProduct, *asset: str) -> tuple[bool, Any]:
    """Run the product in Dagster; whether it succeeded, and the last check ``policies`` of an asset."""
    path = ["shops", "v1", *(asset or ("dataset", "totals"))]
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_in_dagster(product, instance, lambda _: None)
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(dg.AssetKey(path), "policies")]
        )
        [record] = records.values()
        return result.succeeded, record.event.dagster_event.event_specific_data


def test_the_check_of_a_dataset(project: TestProject) -> None:
    product = make(project, NOBODY)
    succeeded, check = checks_of(again(product))
    assert (succeeded, check.passed, check.severity) == (True, False, dg.AssetCheckSeverity.WARN)
    assert "| retention_declared | datasets.totals | ✓ |" in check.metadata["policies"].value
    set_policies(project.root, STRICT)
    succeeded, check = checks_of(again(product))
    assert (succeeded, check.passed, check.severity) == (False, False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["failed"].value == "owner_and_domain"
    assert "nobody owns the product" in check.description


def test_the_check_of_a_port(project: TestProject) -> None:
    product = make(project, ("sla: {retention: 90d}\n", ""), settings="policies.retention_declared = 'off'\n")
    wanted = '[policies.sla_declared]\nobjectives = ["latency"]\n'
    succeeded, check = checks_of(product, "port", "vw_totals")
    assert (succeeded, check.passed) == (True, True)
    table = check.metadata["policies"].value
    assert "| sla_declared | output_ports.vw_totals | ✓ |" in table
    assert "datasets.totals" not in table
    set_policies(project.root, wanted)
    succeeded, check = checks_of(again(product), "port", "vw_totals")
    assert (succeeded, check.passed, check.severity) == (True, False, dg.AssetCheckSeverity.WARN)
    assert "does not promise latency" in check.description
    off = "".join(
        f'policies.{name} = "off"\n' for name in ("sla_declared", "classified_masked", "served_authenticated")
    )
    set_policies(project.root, off)
    keys = {
        key.to_user_string()
        for key in load_product(product.root).get_repository_def().asset_graph.asset_check_keys
    }
    assert not [key for key in keys if "port/vw_totals" in key and key.endswith(":policies")]


# -- dp policy ---------------------------------------------------------------------------------------------


def test_dp_policy(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(project, NOBODY)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["policy", "check"]) == 0
    out = capsys.readouterr().out
    assert "shops kept, with warnings" in out
    assert f"products/shops/product.yaml:1: {SAID}" in out
    set_policies(project.root, STRICT)
    assert run(["policy", "check", "shops"]) == 1
    assert "shops refused" in capsys.readouterr().out
    assert run(["policy", "check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["refused"] == ["shops"]
    [result] = [one for one in found["products"][0]["results"] if one["policy"] == "owner_and_domain"]
    assert (result["status"], result["severity"], result["findings"][0]["line"]) == ("failed", "error", 1)
    assert run(["policy", "check", "nothing"]) == 2
    project.add_product("broken", descriptor="product_id: broken\n")
    assert run(["policy", "check"]) == 1
    assert "products/broken/product.yaml:1: version: is missing" in capsys.readouterr().err


def test_dp_policy_list_and_explain(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exemption = EXEMPTION.format("naming", "old names", "2020-01-01")
    set_policies(project.root, f'policies.naming = {{severity = "error", domain = "[a-z]+"}}\n{exemption}')
    monkeypatch.chdir(project.root)
    assert run(["policy", "list"]) == 0
    out = capsys.readouterr().out
    assert "exemption of shops from naming until 2020-01-01 (has expired): old names" in out
    assert run(["policy", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["exemptions"][0]["expired"] is True
    assert {one["policy"]: one["severity"] for one in listed["policies"]}["naming"] == "error"
    assert run(["policy", "explain", "naming"]) == 0
    out = capsys.readouterr().out
    assert "severity: error (by default warn); looks at each product; from dp_dagster.policies.builtin" in out
    assert "  domain: [a-z]+. Of domains." in out
    assert "exempted: shops expired on 2020-01-01: old names" in out
    assert run(["policy", "explain", "nameing", "--json"]) == 2
    assert "there is no policy nameing; did you mean naming?" in capsys.readouterr().err
