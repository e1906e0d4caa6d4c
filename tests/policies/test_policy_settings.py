"""Which policies hold, how strictly, and who is exempted; an organisation's own; what is wrong with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from policy_helpers import lines, make, results, set_policies

from dp_dagster.errors import OperatorError, SettingsError
from dp_dagster.policies import check_product, load_policies
from dp_dagster.policies import registry as policy_registry
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

TODAY = datetime.now(UTC).date()
NOBODY = ("domain: sales\nowner: {team: sellers, email: sellers@example.com}\n", "")


def exemption(**changes: str) -> str:
    values = {
        "policy": "owner_and_domain",
        "product": "shops",
        "reason": "being founded",
        "expires": (TODAY + timedelta(days=30)).isoformat(),
        **changes,
    }
    return "[[policies.exemptions]]\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())


def test_severity(project: TestProject) -> None:
    assert not check_product(make(project, NOBODY)).refused
    strict = check_product(make(project, NOBODY, settings='policies.owner_and_domain = "error"\n'))
    assert strict.refused
    assert lines(strict)[0] == (
        f"{project.root}/products/shops/product.yaml:1: owner: nobody owns the product (policy owner_and_domain); "
        "add `owner: {team: …, email: …}`"
    )
    off = make(project, NOBODY, settings='policies.owner_and_domain = "off"\n')
    assert results(off, "owner_and_domain") == []
    assert "owner_and_domain" in {one.id for one in load_policies(off.settings).policies}


def test_policies_by_environment_variable(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_POLICIES", json.dumps({"owner_and_domain": "error"}))
    assert check_product(make(project, NOBODY)).refused
    monkeypatch.setenv("DP_POLICIES", json.dumps({"owner": "error"}))
    with pytest.raises(
        SettingsError, match=r"^environment variable DP_POLICIES: policies\.owner: there is no such"
    ):
        check_product(make(project))


def test_an_exemption_allows_until_it_expires(project: TestProject) -> None:
    strict = 'policies.owner_and_domain = "error"\n'
    report = check_product(make(project, NOBODY, settings=strict + exemption()))
    assert not report.refused
    [result] = [one for one in report.results if one.policy == "owner_and_domain"]
    assert (result.status, result.problems, len(result.found)) == ("exempted", (), 2)
    assert report.exemptions()[0]["reason"] == "being founded"
    last = check_product(make(project, NOBODY, settings=strict + exemption(expires=TODAY.isoformat())))
    assert not last.refused
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    past = check_product(make(project, NOBODY, settings=strict + exemption(expires=yesterday)))
    assert past.refused
    assert past.notices == (
        f"exemption of shops from owner_and_domain until {yesterday}: has expired, and counts as none",
    )


def test_an_exemption_of_a_part_allows_that_part(project: TestProject) -> None:
    strict = 'policies.owner_and_domain = "error"\n'
    report = check_product(make(project, NOBODY, settings=strict + exemption(part="owner")))
    assert [problem.field for problem in report.errors] == ["domain"]
    silent = [("refresh_rate: daily\n", ""), ("sla: {retention: 90d}\n", "")]
    promised = 'policies.sla_declared = "error"\n'
    for part, refused in (("output_ports.vw_totals", False), ("output_ports.other", True)):
        found = exemption(policy="sla_declared", part=part)
        report = check_product(make(project, *silent, settings=promised + found))
        assert report.refused is refused
    assert report.notices[0].startswith("exemption of shops (output_ports.other) from sla_declared until")
    assert report.notices[0].endswith("allows nothing that was found")


OWN = '''\
"""What we want of every product."""

from dp_dagster.policies import DatasetPolicy, Finding, PolicyParameters, PlatformPolicy, ProductPolicy


class Summary(ProductPolicy):
    """A description that starts with a summary."""

    id = "summary"
    title = "Every product has a summary of at most 80 characters."

    def check(self, subject):
        if len(subject.product.descriptor.summary) > self.limit:
            yield Finding("description", "the summary is too long", "shorten its first line")

    limit = 10


class Shared(PlatformPolicy):
    """Records where all can write them."""

    id = "shared_records"
    title = "Records are kept in PostgreSQL."
    severity = "warn"

    def check(self, subject):
        if not subject.settings.resolved_records_url.startswith("postgresql"):
            yield Finding("records_url", "records are kept in a file", "set records_url")


class Broken(DatasetPolicy):
    """One that raises."""

    id = "broken"
    title = "Datasets are counted."
    severity = "warn"

    def check(self, subject):
        return [Finding("", str(1 / (len(subject.dataset.key) - 1)))]
'''


def write_own(project: TestProject, text: str) -> Path:
    file = project.root / "own_policies.py"
    file.write_text(text)
    return file


def test_policies_of_a_file(project: TestProject) -> None:
    file = write_own(project, OWN)
    product = make(project, settings='policies.file = "own_policies.py"\n')
    report = check_product(product)
    assert report.refused
    assert [problem.message for problem in report.errors] == ["the summary is too long (policy summary)"]
    assert report.errors[0].line == 5
    [shared] = results(product, "shared_records")
    assert (shared.subject, shared.found[0].problem.field) == ("platform", "records_url")
    assert shared.found[0].problem.file.endswith("dp_dagster.toml")
    [broken] = results(product, "broken")
    assert (broken.status, broken.failed) == ("raised", True)
    assert broken.problems[0].message == (
        f"policy broken could not be checked, which counts as failed: {file}:39: ZeroDivisionError: division by zero"
    )
    assert check_product(
        make(project, settings='policies = {file = "own_policies.py", broken = "error"}\n')
    ).refused


def test_a_changed_file_is_read_again(project: TestProject) -> None:
    write_own(project, OWN)
    product = make(project, settings='policies.file = "own_policies.py"\n')
    assert check_product(product).refused
    write_own(project, OWN.replace("limit = 10", "limit = 100"))
    assert not check_product(product).refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "defines no policy; derive a class from ProductPolicy, say, with an id"),
        ("x = (\n", "own_policies.py:1: SyntaxError"),
        ("\nraise SystemExit(3)\n", "own_policies.py:2: SystemExit: 3"),
        ("import nowhere\n", "own_policies.py:1: ModuleNotFoundError"),
        (OWN.replace('id = "summary"', 'id = "No Id"'), "Summary has no id of the form"),
        (OWN.replace('id = "summary"', 'id = "naming"'), "defines naming, as dp_dagster.policies.builtin"),
        (OWN.replace('id = "summary"', 'id = "broken"'), "defines broken twice"),
        (OWN.replace('severity = "warn"', 'severity = "fatal"'), "has severity 'fatal'; choices: error, warn"),
        (OWN.replace('title = "Every', 'heading = "Every'), "Summary has no title"),
        (OWN.replace("def check", "def test"), "Summary is abstract: it has no check"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_an_error_of_the_settings(
    project: TestProject, text: str, said: str
) -> None:
    write_own(project, text)
    product = make(project, settings='policies.file = "own_policies.py"\n')
    with pytest.raises(SettingsError) as refused:
        check_product(product)
    assert said in str(refused.value)
    assert "dp_dagster.toml: policies.file: " in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('policies.namng = "error"', "policies.namng: there is no such policy; did you mean naming?"),
        ('policies.naming = "fatal"', "policies.naming: 'fatal' is no severity; choices: error, warn, off"),
        ("policies.naming = 3", "policies.naming: wants a severity or a table; write error, warn, off"),
        ("policies.naming.colums = '.*'", "policies.naming.colums: unknown key; did you mean columns?"),
        ("policies.naming.columns = '('", "policies.naming.columns: value error, is no regular expression"),
        ("policies.columns_described.least = 0", "policies.columns_described.least: input should be greater"),
        ('policies.no_breaking_change = "off"', "policies.no_breaking_change: is a gate and always an error"),
        ('policies.file = "nowhere.py"', "nowhere.py cannot be read: No such file"),
        ("policies.file = 3", "policies.file: wants the path of a Python file"),
        ("policies.exemptions = 3", "policies.exemptions: wants a list"),
        (
            exemption(policy="name"),
            "policies.exemptions[0].policy: there is no policy name; did you mean naming?",
        ),
        (exemption(policy="no_breaking_change"), "no_breaking_change is a gate without exemptions"),
        (exemption(reason=""), "policies.exemptions[0].reason: string should have at least 1"),
        (exemption(expires="soon"), "policies.exemptions[0].expires: "),
        (exemption(until="2027-01-01"), "policies.exemptions[0].until: unknown key"),
        ('[[policies.exemptions]]\npolicy = "naming"\n', "policies.exemptions[0].product: field required"),
    ],
)
def test_wrong_settings_are_named(project: TestProject, settings: str, said: str) -> None:
    product = make(project, settings=f"{settings}\n")
    with pytest.raises(SettingsError) as refused:
        check_product(product)
    assert f"dp_dagster.toml: {said}" in str(refused.value) or said in str(refused.value)
    assert str(refused.value).startswith(f"{project.root}/dp_dagster.toml: policies.")


def test_all_wrong_settings_at_once(project: TestProject) -> None:
    set_policies(project.root, 'policies = {a = "warn", naming = "x", sla_declared = {b = 1}}\n')
    with pytest.raises(SettingsError) as refused:
        load_policies(Settings.load(project.root))
    assert len(str(refused.value).splitlines()) == 3


class Point:
    """An entry point, as far as the registry looks at one."""

    def __init__(self, name: str, value: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, value, loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def install(monkeypatch: pytest.MonkeyPatch, *points: Point) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: points)
    policy_registry._installed.cache_clear()


def test_a_package_whose_policy_does_not_import_counts_as_failed(
    project: TestProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = make(project)
    try:
        install(
            monkeypatch,
            Point("ours", "ours:Policy", ImportError("no module named ours")),
            Point("odd", "odd:Policy", int),
        )
        report = check_product(product)
    finally:
        monkeypatch.undo()
        policy_registry._installed.cache_clear()
    assert report.refused
    assert [(one.policy, one.status) for one in report.results] == [("odd", "raised"), ("ours", "raised")]
    assert "ours:Policy does not import: ImportError: no module named ours" in str(report.errors[1])
    assert "odd:Policy is no class of a policy" in str(report.errors[0])


def test_two_packages_with_policies_of_one_name(
    monkeypatch: pytest.MonkeyPatch, project: TestProject
) -> None:
    try:
        install(monkeypatch, Point("ours", "a:Policy", int), Point("ours", "b:Policy", int))
        with pytest.raises(OperatorError, match="ours is registered twice, by a:Policy and by b:Policy"):
            load_policies(Settings.load(project.root))
    finally:
        monkeypatch.undo()
        policy_registry._installed.cache_clear()
