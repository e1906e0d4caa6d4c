"""``dp policy``: which policies hold, and who keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from dp_dagster.cli.groups import group
from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.policies import Exemption, PolicyReport, PolicySet
    from dp_dagster.resolve import Failure, ResolvedProduct
    from dp_dagster.settings import Settings

_STYLES = {"passed": "green", "failed": "bold red", "raised": "bold red", "exempted": "yellow"}


def check(
    product: Annotated[
        str | None,
        typer.Argument(help="Id of a product, or path of its folder. Default: all of the project."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Check products against the policies. Ends with 1 if one of severity `error` is not kept."""
    from dp_dagster.cli.output import print_json
    from dp_dagster.errors import AuthorError
    from dp_dagster.policies import check_product, load_policies
    from dp_dagster.policies.told import report_facts

    products, failures = _products(product)
    reports = [check_product(one, policies=load_policies(one.settings)) for one in products]
    if as_json:
        print_json(
            {
                "refused": [report.product for report in reports if report.refused],
                "products": [report_facts(report) for report in reports],
                "unresolved": [
                    {"product_id": failure.product_id, "reason": str(failure.error)} for failure in failures
                ],
            }
        )
    else:
        _print_reports(reports)
    for failure in failures:
        click.echo(str(failure.error), err=True)
    if any(report.refused for report in reports):
        return AuthorError.exit_code
    return max((failure.error.exit_code for failure in failures), default=0)


def list_policies(*, as_json: AsJson = False) -> None:
    """List the policies that are known: how strictly each holds, and what it wants."""
    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.policies.told import exemption_facts, policy_facts

    policies, exemptions = _policies()
    if as_json:
        print_json(
            {
                "policies": [policy_facts(one) for one in policies.policies],
                "exemptions": [exemption_facts(one) for one in exemptions],
            }
        )
        return
    print_table(
        ("policy", "severity", "of each", "what must hold"),
        [(one.id, one.severity, one.scope, one.title or one.broken) for one in policies.policies],
    )
    for exemption in exemptions:
        click.echo(f"{exemption}{' (has expired)' if exemption.has_expired else ''}: {exemption.reason}")


def explain(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Its id; see dp policy list.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a policy wants and why, how strictly it holds here, and what the settings can say to it."""
    from dp_dagster.cli.output import print_json
    from dp_dagster.descriptor.problems import suggestion
    from dp_dagster.errors import UsageError
    from dp_dagster.policies.told import exemption_facts, policy_facts

    policies, exemptions = _policies()
    known = {one.id: one for one in policies.policies}
    if policy not in known:
        raise UsageError(f"there is no policy {policy}; {suggestion(policy, known, 'policies')}")
    facts = {
        **policy_facts(known[policy]),
        "exemptions": [exemption_facts(one) for one in exemptions if one.policy == policy],
    }
    if as_json:
        print_json(facts)
    else:
        _print_explanation(facts)


def exempt(
    product: Annotated[str, typer.Argument(help="Id of the product.")],
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Id of the policy; see dp policy list.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")],
    expires: Annotated[str, typer.Option(metavar="DATE", help="The last day on which it holds (UTC).")],
    part: Annotated[
        str | None,
        typer.Option(help="datasets.NAME, output_ports.NAME, owner, …; without it all of the product."),
    ] = None,
) -> None:
    """Allow a product not to keep a policy until a day. It is on record, with who allowed it."""
    from dp_dagster.policies.grants import Grants, exemption_of
    from dp_dagster.records import os_user
    from dp_dagster.resolve import resolve_project
    from dp_dagster.settings import Settings

    settings = Settings.load()
    given = {"policy": policy, "product": product, "part": part, "reason": reason, "expires": expires}
    granted = Grants(settings).grant(
        exemption_of(given, resolve_project(settings).products), _loaded(settings), os_user()
    )
    click.echo(f"{granted}. To end it: dp policy withdraw {granted.id}")


def withdraw(
    exemption: Annotated[int, typer.Argument(metavar="ID", help="Its number; see dp policy list.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """End an exemption that was granted. It is on record, with who ended it."""
    from dp_dagster.policies.grants import Grants
    from dp_dagster.records import os_user
    from dp_dagster.settings import Settings

    click.echo(f"withdrawn: {Grants(Settings.load()).withdraw(exemption, reason, os_user())}")


policy = group(
    "Policies: which hold, and who keeps them.",
    {"check": check, "list": list_policies, "explain": explain, "exempt": exempt, "withdraw": withdraw},
)


def _policies() -> tuple[PolicySet, list[Exemption]]:
    """The policies, and all exemptions: those of the settings, those that were granted."""
    from dp_dagster.policies import Grants
    from dp_dagster.settings import Settings

    settings = Settings.load()
    policies = _loaded(settings)
    return policies, [*policies.exemptions, *Grants(settings).current()]


def _loaded(settings: Settings) -> PolicySet:
    from dp_dagster.policies import load_policies

    return load_policies(settings)


def _products(name: str | None) -> tuple[Sequence[ResolvedProduct], Sequence[Failure]]:
    from dp_dagster.cli.names import find_named
    from dp_dagster.errors import UsageError
    from dp_dagster.resolve import resolve_project
    from dp_dagster.settings import Settings

    if name is not None:
        return [find_named(name)], []
    project = resolve_project(Settings.load())
    if not project.products and not project.failures:
        patterns = ", ".join(project.settings.products)
        raise UsageError(f"no products: {patterns} matches nothing in {project.settings.project_root}")
    return project.products, project.failures


def _print_reports(reports: Sequence[PolicyReport]) -> None:
    from rich.text import Text

    from dp_dagster.cli.output import console, table

    out = console()
    for report in reports:
        rows = []
        by_policy: dict[str, list[Any]] = {}
        for result in report.results:
            by_policy.setdefault(result.policy, []).append(result)
        for policy_id, results in by_policy.items():
            states = [one.status for one in results]
            worst = next(
                state
                for state in ("raised", "failed", "exempted", "passed", "not applicable")
                if state in states
            )
            severity = results[0].severity
            style = "yellow" if worst == "failed" and severity == "warn" else _STYLES.get(worst, "")
            reasons = ", ".join(
                dict.fromkeys(one.reason for one in results if one.reason and worst == one.status)
            )
            rows.append((policy_id, severity, Text(worst, style=style), reasons or results[0].title))
        state = Text("kept", style="green")
        if report.refused:
            state = Text("refused", style="bold red")
        elif report.warnings:
            state = Text("kept, with warnings", style="yellow")
        out.print(Text.assemble((report.product, "bold"), " ", state))
        out.print(table(("policy", "severity", "", "what must hold, or why it is not looked at"), rows))
        for problem in (*report.errors, *report.warnings):
            click.echo(str(problem))
        for result in report.results:
            for found in result.found:
                if found.exemption is not None:
                    click.echo(
                        f"{found.problem} [exempted until {found.exemption.expires}: {found.exemption.reason}]"
                    )
        for notice in report.notices:
            click.echo(notice)


def _print_explanation(facts: dict[str, Any]) -> None:
    click.echo(f"{facts['policy']}: {facts['title'] or facts['broken']}\n")
    if facts["why"]:
        click.echo(f"{facts['why']}\n")
    default = facts["default_severity"]
    changed = f" (by default {default})" if default not in {None, facts["severity"]} else ""
    click.echo(
        f"severity: {facts['severity']}{changed}; looks at each {facts['scope']}; from {facts['origin']}"
    )
    for parameter in facts["parameters"]:
        value = "not set" if parameter["value"] in (None, [], ()) else parameter["value"]
        click.echo(f"  {parameter['name']}: {value}. {parameter['meaning']}")
    for exemption in facts["exemptions"]:
        until = "expired on" if exemption["expired"] else "until"
        part = f" ({exemption['part']})" if exemption["part"] else ""
        click.echo(
            f"exempted: {exemption['product']}{part} {until} {exemption['expires']}: {exemption['reason']}"
            + (f" (granted by {exemption['by']}, record {exemption['id']})" if exemption["by"] else "")
        )
