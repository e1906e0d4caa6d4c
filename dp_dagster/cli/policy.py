"""``dp policy``: which policies hold, and who keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from dp_dagster.cli.groups import group
from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.policies import ConfiguredPolicy, PolicyReport, PolicySet
    from dp_dagster.resolve import Failure, ResolvedProduct

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

    products, failures = _products(product)
    reports = [check_product(one, policies=load_policies(one.settings)) for one in products]
    if as_json:
        print_json(
            {
                "refused": [report.product for report in reports if report.refused],
                "products": [_report(report) for report in reports],
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

    policies = _policies()
    if as_json:
        print_json(
            {
                "policies": [_policy(one) for one in policies.policies],
                "exemptions": [
                    {**one.model_dump(mode="json"), "expired": one.has_expired} for one in policies.exemptions
                ],
            }
        )
        return
    print_table(
        ("policy", "severity", "of each", "what must hold"),
        [(one.id, one.severity, one.scope, one.title or one.broken) for one in policies.policies],
    )
    for exemption in policies.exemptions:
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

    policies = _policies()
    known = {one.id: one for one in policies.policies}
    if policy not in known:
        raise UsageError(f"there is no policy {policy}; {suggestion(policy, known, 'policies')}")
    exemptions = [one for one in policies.exemptions if one.policy == policy]
    facts = {
        **_policy(known[policy]),
        "exemptions": [{**one.model_dump(mode="json"), "expired": one.has_expired} for one in exemptions],
    }
    if as_json:
        print_json(facts)
    else:
        _print_explanation(facts)


policy = group(
    "Policies: which hold, and who keeps them.", {"check": check, "list": list_policies, "explain": explain}
)


def _policies() -> PolicySet:
    from dp_dagster.policies import load_policies
    from dp_dagster.settings import Settings

    return load_policies(Settings.load())


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


def _policy(configured: ConfiguredPolicy) -> dict[str, Any]:
    made = configured.policy
    values = made.parameters.model_dump(mode="json") if made is not None else {}
    return {
        "policy": configured.id,
        "title": configured.title,
        "why": made.why if made is not None else "",
        "severity": configured.severity,
        "default_severity": made.severity if made is not None else None,
        "scope": configured.scope,
        "origin": configured.origin,
        "is_gate": made is not None and made.is_gate,
        "broken": configured.broken,
        "parameters": [
            {
                "name": name,
                "value": values[name],
                "default": field.get_default(call_default_factory=True, validated_data={}),
                "meaning": field.description or "",
            }
            for name, field in (made.Parameters.model_fields.items() if made is not None else ())
        ],
    }


def _report(report: PolicyReport) -> dict[str, Any]:
    return {
        "product_id": report.product,
        "refused": report.refused,
        "results": [
            {
                "policy": result.policy,
                "severity": result.severity,
                "subject": result.subject,
                "status": result.status,
                "reason": result.reason,
                "findings": [
                    {
                        "file": found.problem.file,
                        "line": found.problem.line,
                        "place": found.problem.field,
                        "part": found.part,
                        "message": found.problem.message,
                        "fix": found.problem.fix,
                        "exempted": found.exemption.reason if found.exemption else None,
                    }
                    for found in result.found
                ],
            }
            for result in report.results
        ],
        "notices": report.notices,
    }


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
        )
