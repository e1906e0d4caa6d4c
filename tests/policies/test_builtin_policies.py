"""What each of the built-in policies finds, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from policy_helpers import make, reason, results, said, states
from support import ROOT, TOTALS_CONTRACT, TestProject

from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.policies import check_product, load_policies
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.policies import PolicyReport


def test_a_product_that_keeps_all_of_them(project: TestProject) -> None:
    report = check_product(make(project))
    states = {one.policy: one.status for one in report.results}
    assert states == {
        "allowed_kinds": "not applicable",
        "allowed_locations": "not applicable",
        "classified_masked": "not applicable",
        "columns_described": "passed",
        "naming": "passed",
        "no_breaking_change": "not applicable",
        "no_clear_text_secret": "passed",
        "owner_and_domain": "passed",
        "retention_declared": "passed",
        "served_authenticated": "not applicable",
        "sla_declared": "passed",
    }
    assert not report.refused
    # What is not checked says why, and is never shown as passed.
    assert all(one.reason for one in report.results if one.status == "not applicable")


@pytest.mark.parametrize("name", ["customer_360", "flights", "route_punctuality"])
def test_the_example_products_keep_all_of_them(name: str) -> None:
    product = resolve(ROOT / "products" / name, Settings.load(ROOT))
    report: PolicyReport = check_product(product)
    assert [(one.policy, one.found) for one in report.results if one.failed] == []


def test_an_owner_and_a_domain(project: TestProject) -> None:
    product = make(project, ("domain: sales\nowner: {team: sellers, email: sellers@example.com}\n", ""))
    assert said(product, "owner_and_domain") == [
        "owner: nobody owns the product",
        "domain: the product belongs to no domain",
    ]
    strict = "[policies.owner_and_domain]\nemail = true\n"
    assert said(make(project, (", email: sellers@example.com", ""), settings=strict), "owner_and_domain") == [
        "owner: the owner has no e-mail address"
    ]


def test_a_description_for_every_column(project: TestProject) -> None:
    product = make(project)
    contract = product.root / "contracts" / "totals.py"
    contract.write_text(TOTALS_CONTRACT.replace(', description="What it sold, in euros"', ""))
    changed = resolve(product.root, product.settings)
    assert said(changed, "columns_described") == ["datasets[0].contract: 1 column has no description: amount"]
    [result] = results(changed, "columns_described")
    assert result.found[0].problem.line == 13
    assert result.found[0].problem.fix == "add a description to each, in contracts/totals.py:Totals"


def publish(product: ResolvedProduct) -> None:
    session = Session(product, "first")
    land_input(session, "sales")
    run_transform(session, "totals")
    assert publish_dataset(session, "totals").snapshot is not None
    project_port(session, "vw_totals")


def test_no_breaking_change(project: TestProject) -> None:
    product = make(project)
    publish(product)
    assert [one.status for one in results(product, "no_breaking_change")] == ["passed"]
    (product.root / "contracts" / "totals.py").write_text(TOTALS_CONTRACT.replace("ge=0", "ge=-5"))
    changed = resolve(product.root, product.settings)
    [finding] = said(changed, "no_breaking_change")
    assert finding.startswith(
        "datasets[0].contract: amount: rule loosened (at least 0 to at least -5) breaks what"
    )


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ('product_id = "[a-z]{6,}"', ["product_id: shops does not match [a-z]{6,}"]),
        ('domain = "sales|finance"', []),
        ('output_ports = "vw_.*|.*_files"', []),
        ('input_ports = "raw_.*"', ["input_ports[0].name: sales does not match raw_.*"]),
        ('columns = "[A-Z]+"', ["datasets[0].contract: columns do not match [A-Z]+: shop, amount"]),
    ],
)
def test_naming(project: TestProject, settings: str, found: list[str]) -> None:
    assert said(make(project, settings=f"[policies.naming]\n{settings}\n"), "naming") == found


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ('input_ports = ["files"]\noutput_ports = ["SQL", "REST_API"]', []),
        ('output_ports = ["REST-API"]', ["output_ports[0].type: SQL is not allowed here"]),
        ("transforms = []", ["transforms[0].type: SQL is not allowed here"]),
    ],
)
def test_allowed_kinds(project: TestProject, settings: str, found: list[str]) -> None:
    product = make(project, settings=f"[policies.allowed_kinds]\n{settings}\n")
    assert said(product, "allowed_kinds") == found


@pytest.mark.parametrize(
    ("path", "patterns", "is_allowed"),
    [
        ("inputs/sales.csv", ["inputs/**"], True),
        ("inputs/sales.csv", ["inputs/*"], True),
        ("inputs/sales.csv", ["*"], False),
        ("inputs/sales.csv", [], False),
        ("https://data.example.com/sales.csv", ["https://*.example.com/**"], True),
        ("https://evil.test/x.example.com/sales.csv", ["https://*.example.com/**"], False),
        ("https://evil.test/sales.csv#.example.com/sales.csv", ["https://*.example.com/**"], False),
        ("https://data.example.com/../private/sales.csv", ["https://data.example.com/**"], True),
        ("inputs/../inputs/sales.csv", ["inputs/**"], True),
        ("https://data.example.com/open/../private/sales.csv", ["https://data.example.com/open/**"], False),
    ],
)
def test_allowed_locations(project: TestProject, path: str, patterns: list[str], is_allowed: bool) -> None:
    product = make(
        project,
        ("path: inputs/sales.csv", f'path: "{path}"'),
        settings=f"[policies.allowed_locations]\ninputs = {patterns!r}\n",
    )
    assert (said(product, "allowed_locations") == []) is is_allowed


def test_objectives(project: TestProject) -> None:
    silent = make(project, ("refresh_rate: daily\n", ""), ("sla: {retention: 90d}\n", ""))
    assert said(silent, "sla_declared") == ["output_ports[0]: promises nothing"]
    assert said(silent, "retention_declared") == [
        "datasets[0]: no port of it says how long its versions are kept"
    ]
    wanted = '[policies.sla_declared]\nobjectives = ["freshness", "latency"]\n'
    assert said(make(project, settings=wanted), "sla_declared") == [
        "output_ports[0]: does not promise latency"
    ]


def test_objectives_that_nobody_can_measure_are_not_enough(project: TestProject) -> None:
    product = make(project, ("refresh_rate: daily\n", ""), ("sla: {retention: 90d}", "sla: {latency: 200ms}"))
    [finding] = said(product, "sla_declared")
    assert finding.startswith("output_ports[0]: promises only what cannot be measured: ")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("description: Use AKIAIOSFODNN7EXAMPLE for it.", "an AWS access key"),
        ("description: postgresql://ada:hunter2@db/shop", "an address with a password"),
        ("description: postgresql://ada:${PASSWORD:-hunter2}@db/shop", "an address with a password"),
        ("support: {url: 'https://example.com/help?token=abc123'}", "a password or token"),
        ("tags: {api_key: abc}", "a value of api_key"),
        ("support: {channel: 9fK2pQx7Lm4RtZ8vWc3NbH6yJd}", "a key or token"),
    ],
)
def test_secrets_in_clear_text(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, line: str, what: str
) -> None:
    monkeypatch.delenv("PASSWORD", raising=False)
    product = make(project, ("description: What each shop sold.", line))
    report = check_product(product)
    assert report.refused
    [problem] = report.errors
    assert problem.message == f"looks like {what} in clear text (policy no_clear_text_secret)"
    assert problem.line == 5
    assert "hunter2" not in str(problem)
    ignored = f'[policies.no_clear_text_secret]\nignore = ["{problem.field}"]\n'
    assert (
        said(make(project, ("description: What each shop sold.", line), settings=ignored), problem.field)
        == []
    )
    assert not check_product(make(project, ("description: What each shop sold.", line))).refused


CLASSIFIED = TOTALS_CONTRACT.replace('in euros"', 'in euros", metadata={"classification": "restricted"}')
SERVED = """\
  - {{name: totals_api, type: TEST_API, dataset: totals, auth: {auth}}}
access:
  - {{{who}{more}}}
"""


def served(
    project: TestProject, who: str, more: str = "", *, auth: str = "api_key", settings: str = ""
) -> ResolvedProduct:
    return make(
        project,
        (
            "output_ports:\n  - {name: vw_totals, type: SQL, dataset: totals}\n",
            "output_ports:\n" + SERVED.format(auth=auth, who=who, more=more),
        ),
        settings=settings,
        contract=CLASSIFIED,
    )


def test_classified_columns_are_masked_on_served_ports(project: TestProject) -> None:
    assert said(served(project, "anyone: true"), "classified_masked") == []
    assert said(served(project, "role: [auditor], unmask: [amount]"), "classified_masked") == []
    assert said(served(project, "anyone: true, unmask: [amount]"), "classified_masked") == [
        "output_ports[0]: gives classified columns of totals in clear to anyone: amount"
    ]
    strict = '[policies.classified_masked]\nclear_for = "nobody"\n'
    assert said(
        served(project, "role: [auditor], unmask: [amount]", settings=strict), "classified_masked"
    ) == ["output_ports[0]: gives classified columns of totals in clear to auditor: amount"]
    others = '[policies.classified_masked]\nclassifications = ["pii"]\n'
    assert said(served(project, "anyone: true, unmask: [amount]", settings=others), "classified_masked") == []


SERVER = "  - {name: vw_totals, type: SQL, dataset: totals, endpoint: 'postgresql://db.example.org/shop/public/totals'}\n"
FILE = "  - {name: vw_totals, type: SQL, dataset: totals}\n"


def other_port(project: TestProject, port: str, access: str = "", settings: str = "") -> ResolvedProduct:
    return make(project, (FILE, f"{port}{access}"), settings=settings, contract=CLASSIFIED)


def test_classified_columns_are_masked_on_sql_servers(project: TestProject) -> None:
    masked = other_port(project, SERVER, "access: [{anyone: true}]\n")
    assert said(masked, "classified_masked") == []
    assert states(masked)["classified_masked"] == "passed"
    assert said(
        other_port(project, SERVER, "access: [{anyone: true, unmask: [amount]}]\n"), "classified_masked"
    ) == ["output_ports[0]: gives classified columns of totals in clear to anyone: amount"]
    named = "access: [{role: [auditor], unmask: [amount]}]\n"
    assert said(other_port(project, SERVER, named), "classified_masked") == []
    # Without access nobody is told apart there.
    assert said(other_port(project, SERVER), "classified_masked") == [
        "output_ports[0]: gives classified columns of totals in clear to everybody whom its server lets read it: amount"
    ]
    assert "which asks by itself who is there" in reason(masked, "served_authenticated")


def test_classified_columns_in_files_for_readers(project: TestProject) -> None:
    def files(readers: str, settings: str = "") -> ResolvedProduct:
        port = "  - {name: vw_totals, type: SQL, dataset: totals, readers: {" + readers + "}}\n"
        grants = "access: [{anyone: true}, {role: [auditor], unmask: [amount]}]\n"
        return other_port(project, port, grants, settings)

    strict = '[policies.classified_masked]\nclear_for = "nobody"\n'
    assert said(files("role: auditor"), "classified_masked") == []
    assert said(files("role: analyst", strict), "classified_masked") == []
    assert said(files("role: auditor", strict), "classified_masked") == [
        "output_ports[0]: gives classified columns of totals in clear to auditor: amount"
    ]
    whole = other_port(project, FILE)
    assert states(whole)["classified_masked"] == "not applicable"
    assert reason(whole, "classified_masked").endswith(
        "who can read the storage reads them, amount in clear too"
    )


def test_served_ports_authenticate(project: TestProject) -> None:
    assert said(served(project, "anyone: true"), "served_authenticated") == []
    assert said(served(project, "anyone: true", auth="none"), "served_authenticated") == [
        "output_ports[0].auth: asks nobody who they are"
    ]


def test_a_minimal_product_is_warned_and_not_refused(project: TestProject) -> None:
    folder = project.add_product(
        descriptor='{"product_id": "shops", "version": "v1.2.0", "output_ports": '
        '[{"type": "SQL", "endpoint": "snowflake://db/schema/vw_customers", "sla": "99.9%"}]}'
    )
    report = check_product(resolve(folder, Settings.load(folder)))
    assert not report.refused
    assert {one.policy for one in report.results if one.failed} == {"owner_and_domain"}


def test_those_that_stop_a_product_are_few(make_project: Callable[[], TestProject]) -> None:
    policies = load_policies(Settings.load(make_project().root))
    assert {one.id for one in policies.policies if one.severity == "error"} == {
        "allowed_kinds",
        "allowed_locations",
        "classified_masked",
        "no_breaking_change",
        "no_clear_text_secret",
    }
