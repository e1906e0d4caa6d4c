"""``dp show``: one product, with everything that it declares and what becomes of each line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import RenderableType

    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.refresh import RefreshRate
    from dp_dagster.resolve import Line, ResolvedProduct


def show(
    product: Annotated[str, typer.Argument(help="Id of a product, or path of its folder.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a product: owner, datasets and what is published, contracts, ports, and each line's state."""
    from pathlib import Path

    from dp_dagster.cli.output import print_json
    from dp_dagster.resolve import find_product, resolve
    from dp_dagster.settings import Settings

    settings = Settings.load()
    path = Path(product)
    is_path = path.name != product or path.suffix != "" or product == "."
    resolved = resolve(path, settings) if is_path and path.exists() else find_product(product, settings)
    facts = _facts(resolved)
    if as_json:
        print_json(facts)
    else:
        _print(facts)


def _facts(product: ResolvedProduct) -> dict[str, Any]:
    from dp_dagster.cli.published import partitions_of, published_datasets, published_ports
    from dp_dagster.descriptor.paths import shown

    declared = product.descriptor
    versions = published_datasets(product.settings.storage, product.id, product.major)
    addresses = published_ports(product.settings.storage, product.id, product.major)
    return {
        "product_id": product.id,
        "name": declared.title,
        "version": product.version,
        "status": declared.status,
        "domain": declared.domain,
        "owner": declared.owner.model_dump() if declared.owner else None,
        "support": declared.support.model_dump(exclude_none=True) if declared.support else None,
        "tags": dict(declared.tags),
        "description": declared.description,
        "file": shown(product.path),
        "input_ports": [
            {
                "name": one.name,
                "type": one.port.kind,
                "location": one.port.location(one.config),
                "contract": _contract(one.contract),
                "refresh": _refresh(one.refresh),
            }
            for one in product.inputs
        ],
        "transforms": [
            {"name": one.name, "type": one.transform.kind, "provides": one.provides, "reads": one.depends_on}
            for one in product.transforms
        ],
        "datasets": [
            {
                "name": one.name,
                "from": one.source,
                "key": one.key,
                "max_invalid": one.max_invalid,
                "contract": _contract(one.contract),
                "published": versions.get(one.name),
                "partitions": partitions_of(product.calendar, one.partitioned_by, versions.get(one.name)),
            }
            for one in product.datasets
        ],
        "output_ports": [
            {
                "name": one.name,
                "type": one.declaration.type,
                "dataset": one.dataset.name if one.dataset else None,
                "state": one.state,
                "reason": one.reason,
                "refresh": _refresh(one.refresh),
                "sla": dict(one.sla),
                "published": addresses.get(one.name),
            }
            for one in product.ports
        ],
        "lines": product.lines,
    }


def _contract(contract: Contract | None) -> dict[str, Any] | None:
    if contract is None:
        return None
    from dp_dagster.contracts.phrases import phrase

    rules = [rule.severity for rule in contract.rules]
    return {
        "source": contract.source,
        "columns": len(contract.columns),
        "error_rules": rules.count("error"),
        "warn_rules": rules.count("warn"),
        "rules": [
            {"id": rule.id, "severity": rule.severity, "asks": phrase(rule)} for rule in contract.rules
        ],
        "not_evaluated": [
            {
                "id": rule.id,
                "severity": rule.severity,
                "asks": rule.description,
                "reason": rule.params["reason"],
            }
            for rule in contract.rules
            if rule.kind == "unevaluated"
        ],
        "classified": contract.classified,
        "hash": contract.hash,
    }


def _refresh(rate: RefreshRate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "every": rate.text,
        "timezone": rate.timezone,
        "maximum_lag": rate.maximum_lag,
        "stale_after": rate.freshness_window(),
        "warns_after": rate.warning_window(),
    }


def _print(facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.text import Text

    from dp_dagster.cli.output import console, state, table

    out = console()
    out.print(
        f"[bold]{escape(facts['name'])}[/bold]  {facts['product_id']} {facts['version']}, {facts['status']}"
    )
    out.print(Text(facts["file"], style="dim"))
    owner = facts["owner"]
    people = [f"owner: {owner['team']}" + (f" <{owner['email']}>" if owner["email"] else "")] if owner else []
    people += [f"domain: {facts['domain']}"] if facts["domain"] else []
    people += [f"support: {', '.join(facts['support'].values())}"] if facts["support"] else []
    people += (
        [f"tags: {', '.join(f'{key}={value}' for key, value in facts['tags'].items())}"]
        if facts["tags"]
        else []
    )
    for line in people:
        out.print(Text(line))
    if facts["description"]:
        out.print()
        out.print(Text(facts["description"].strip()))
    out.print()
    rows: list[tuple[object, ...]]
    if facts["input_ports"]:
        rows = [
            (one["name"], one["type"], one["location"], _rules(one["contract"]))
            for one in facts["input_ports"]
        ]
        out.print(table(("input port", "type", "from", "rules"), rows))
    if facts["datasets"]:
        rows = [
            (one["name"], ", ".join(one["key"]), _rules(one["contract"]), _quarantine(one["max_invalid"]),
             _version(one["published"]))
            for one in facts["datasets"]
        ]  # fmt: skip
        out.print(table(("dataset", "key", "rules", "bad rows", "published"), rows))
    rows = [
        (one["name"], cut["by"], cut["column"], cut["published"] or "none", cut["newest_due"] or "none",
         cut["missing_told"] or "none")
        for one in facts["datasets"] if (cut := one["partitions"])
    ]  # fmt: skip
    if rows:
        out.print(table(("partitions of", "by", "column", "published", "newest due", "missing"), rows))
    rows = [
        (one["name"], rule["id"], rule["asks"], rule["reason"])
        for one in (*facts["input_ports"], *facts["datasets"])
        for rule in (one["contract"] or {}).get("not_evaluated", ())
    ]
    if rows:
        out.print(table(("of", "rule that nobody evaluates", "asks", "why"), rows))
    if facts["output_ports"]:
        rows = [
            (one["name"], one["type"], one["dataset"] or "", _due(one["refresh"]), state(one["state"]))
            for one in facts["output_ports"]
        ]
        out.print(table(("output port", "type", "dataset", "refresh", "state"), rows))
    lines: list[tuple[object, ...]] = [
        (line.number or "", line.path, _short(line.value), _state(line)) for line in facts["lines"]
    ]
    out.print(table(("line", "field", "value", "state"), lines))


def _state(line: Line) -> RenderableType:
    from rich.text import Text

    from dp_dagster.cli.output import STATE_STYLES

    reason = f": {line.reason}" if line.reason else ""
    return Text.assemble((line.state, STATE_STYLES[line.state]), reason)


def _rules(contract: dict[str, Any] | None) -> str:
    if contract is None:
        return "no contract"
    return f"{contract['error_rules']} error, {contract['warn_rules']} warn"


def _quarantine(max_invalid: Any) -> str:
    return "hold the version" if max_invalid is None else f"quarantined up to {float(max_invalid) * 100:.6g}%"


def _version(published: dict[str, Any] | None) -> str:
    if published is None:
        return "never"
    at = published["published_at"][:16].replace("T", " ")
    return f"version {published['version']}, {published['rows']:,} rows, {at}"


def _due(refresh: dict[str, Any] | None) -> str:
    if refresh is None:
        return ""
    if refresh["stale_after"] is None:
        return f"{refresh['every']}, at most {_hours(refresh['maximum_lag'])} behind"
    return f"{refresh['every']}, stale after {_hours(refresh['stale_after'])}"


def _hours(span: timedelta) -> str:
    days, hours, minutes = span.days, span.seconds // 3600, span.seconds % 3600 // 60
    if days > 3:
        return f"{days} d" + (f" {hours} h" if hours else "")
    hours += 24 * days
    return " ".join(filter(None, (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "")))


def _short(value: str) -> str:
    first, _, rest = value.strip().partition("\n")
    return f"{first} …" if rest else first
