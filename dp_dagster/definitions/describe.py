"""What people read in the Dagster UI: descriptions, tags, owners, schemas, tables of results."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.contracts.phrases import phrase, wanted
from dp_dagster.definitions.words import count, escape_cell, share
from dp_dagster.deprecation import deprecation_notice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from dp_dagster.contracts.model import Column, Contract, Rule
    from dp_dagster.contracts.verdict import RuleResult, Verdict
    from dp_dagster.ports.base import Example
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct


def sla_check_name(objective: str) -> str:
    """The check that measures an objective: ``sla_availability``."""
    return f"sla_{objective}"


_OWNER_EMAIL = re.compile(r"[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+")


def owners(product: ResolvedProduct) -> list[str]:
    """Owners as Dagster takes them: e-mail addresses, and teams as ``team:…``.

    An address without a dot in its domain is none for Dagster, and stays in ``dp show``.
    """
    owner = product.descriptor.owner
    if owner is None:
        return []
    result = []
    if owner.team:
        result.append(f"team:{owner.team}")
    if owner.email and _OWNER_EMAIL.fullmatch(owner.email):
        result.append(owner.email)
    return result


def tags(product: ResolvedProduct, role: str) -> dict[str, str]:
    """Tags of every asset of a product."""
    result = {
        "dp/product": product.id,
        "dp/role": role,
        "dp/version": product.version,
        "dp/status": product.descriptor.status,
    }
    if product.descriptor.domain:
        result["domain"] = product.descriptor.domain
    for name, value in product.descriptor.tags.items():
        result.setdefault(name, value)
    return {name: value for name, value in result.items() if is_tag(name, value)}


def is_tag(name: str, value: str) -> bool:
    """Whether Dagster takes it as a tag."""
    # What Dagster would refuse as a tag still stands in the description and in `dp show`.
    return bool(
        re.fullmatch(r"(?:[A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}", name)
        and re.fullmatch(r"[A-Za-z0-9_.-]{0,63}", value)
    )


def column_schema(contract: Contract) -> dg.TableSchema:
    """The contract's columns with types, constraints and classification, and the rules of the table."""
    of_table = [_in_words(rule) for rule in contract.rules if _is_of_table(rule)]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=column.description or None,
                constraints=_column_constraints(contract, column),
                tags=_column_tags(column),
            )
            for column in contract.columns
        ],
        constraints=dg.TableConstraints(other=of_table),
    )


def _is_of_table(rule: Rule) -> bool:
    # What no single column can show. Columns and their types stand in the schema itself.
    return rule.level == "table" or (rule.level == "row" and len(rule.columns) != 1)


def _in_words(rule: Rule) -> str:
    text = rule.description or wanted(rule)
    if rule.kind == "unique" and not rule.description:
        text = f"unique ({', '.join(rule.columns)})"
    return text if rule.severity == "error" else f"{text} (warn)"


def _column_constraints(contract: Contract, column: Column) -> dg.TableColumnConstraints:
    other = []
    unique = contract.key == (column.name,)
    for rule in contract.rules:
        if rule.columns != (column.name,) or rule.level != "row" or rule.kind == "not_null":
            continue
        if rule.kind == "unique":
            unique = unique or rule.severity == "error"
            if rule.severity == "error":
                continue
        other.append(_in_words(rule))
    return dg.TableColumnConstraints(nullable=column.nullable, unique=unique, other=other)


def _column_tags(column: Column) -> dict[str, str]:
    result = dict(column.tags)
    if column.classification:
        result["classification"] = column.classification
    if column.unit:
        result["unit"] = column.unit
    return {name: value for name, value in result.items() if is_tag(name, value)}


def links(product: ResolvedProduct, declared_at: str, *files: Path) -> dict[str, Any]:
    """Metadata that leads to the lines which declare an asset, to its code, and to who helps.

    Args:
        product: The product.
        declared_at: Where in the descriptor, as ``output_ports[0]``.
        files: The asset's own code.
    """
    line = next((one.number for one in product.lines if one.path.startswith(f"{declared_at}.")), 1)
    places = [(product.path, line), *((path, 1) for path in files)]
    with warnings.catch_warnings():
        # Dagster calls code references beta; their page has looked like this for two years.
        warnings.simplefilter("ignore", dg.BetaWarning)
        references: dict[str, Any] = {
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[
                    dg.LocalFileCodeReference(
                        file_path=str(path), line_number=max(number, 1), label=path.name
                    )
                    for path, number in places
                    # A descriptor that is written out in a defs.yaml has no file of its own.
                    if path.is_file()
                ]
            )
        }
    support = product.descriptor.support
    if support is not None and support.url:
        references["support"] = dg.MetadataValue.url(str(support.url))
    return references


def contract_summary(contract: Contract) -> str:
    """One line: name, version, key, number of rules by severity."""
    severities = Counter(rule.severity for rule in contract.rules)
    version = f" {contract.version}" if contract.version else ""
    key = f", key {', '.join(contract.key)}" if contract.key else ""
    warns = f", {severities['warn']} that warn" if severities["warn"] else ""
    return (
        f"`{contract.name}`{version} ({contract.format}, `{contract.source}`){key}: "
        f"{severities['error']} rules that hold{warns}"
    )


def first_line(*texts: str | None) -> str:
    """The first line of the first text that has one, without Markdown: the asset list shows it as it is."""
    for text in texts:
        for line in (text or "").strip().splitlines():
            return _plain(line)
    return ""


def _plain(line: str) -> str:
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"^\s*(?:#+|>|[-*+])\s+", "", line)
    # A lone star or backtick, and underscores inside of names, are no Markdown.
    line = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", line)
    line = re.sub(r"(?<![\w*])([*_])(?=\S)(.+?)(?<=\S)\1(?![\w*])", r"\2", line)
    return line.strip()


def rest(text: str | None) -> str:
    """A text without its first line."""
    return "\n".join((text or "").strip().splitlines()[1:]).strip()


def sections(summary: str, *parts: tuple[str, str]) -> str:
    """A description: a plain first line, then titled parts in Markdown; empty ones are left out."""
    written = [summary] if summary else []
    for title, body in parts:
        if body:
            written.append(f"### {title}\n\n{body}" if title else body)
    return "\n\n".join(written)


def examples_markdown(examples: Iterable[Example]) -> str:
    """Lines to copy."""
    return "\n\n".join(f"```{example.language}\n{example.text}\n```" for example in examples)


def dataset_description(product: ResolvedProduct, dataset: ResolvedDataset) -> str:
    """What a dataset is, what it promises, what happens to rows that break the promise."""
    declared = dataset.declaration.description
    promised = contract_summary(dataset.contract)
    if dataset.max_invalid:
        kept = (
            f"Rows that fail go to quarantine while they are at most {share(float(dataset.max_invalid))} of all; "
            "above that the whole candidate is held."
        )
    else:
        kept = "One failing row holds the whole candidate; consumers keep the last good version."
    return sections(
        first_line(declared, dataset.contract.description, f"Dataset {dataset.name} of {product.id}"),
        ("", rest(declared) or rest(dataset.contract.description)),
        ("Deprecated", _sentence(deprecation_notice(dataset.deprecated))),
        ("Contract", f"{promised}.\n\n{kept}"),
        ("History", f"```shell\ndp history {product.id}.{dataset.label}\n```"),
    )


def port_description(
    product: ResolvedProduct, port: ResolvedOutput, examples: Iterable[Example], access: str = ""
) -> str:
    """What a port is, how to get access and consume it, what it promises and to whom to turn."""
    declared = port.declaration.description or (
        port.dataset.declaration.description if port.dataset else None
    )
    support = support_lines(product)
    return sections(
        first_line(declared, f"Output port {port.name} of {product.id}"),
        ("", rest(declared)),
        ("", _of_product(product)),
        ("Deprecated", _sentence(deprecation_notice(port.dataset.deprecated) if port.dataset else None)),
        ("How to get access", access),
        ("How to consume", examples_markdown(examples)),
        ("Contract", contract_summary(port.dataset.contract) + "." if port.dataset else ""),
        ("Service level", service_level_table(product, port)),
        ("Support", "\n".join(f"- {line}" for line in support)),
    )


def _of_product(product: ResolvedProduct) -> str:
    """What the port belongs to, for somebody who has come here first."""
    descriptor = product.descriptor
    about = first_line(descriptor.description)
    name = f"**{descriptor.title}** (`{product.id}` {product.version}, {descriptor.status})"
    return f"Part of {name}{f': {about}' if about else '.'}"


def _sentence(text: str | None) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def support_lines(product: ResolvedProduct) -> list[str]:
    """Where consumers ask."""
    support = product.descriptor.support
    if support is None:
        return []
    named = (("channel", support.channel), ("e-mail", support.email), ("page", support.url))
    return [f"{name}: {value}" for name, value in named if value]


def service_level_table(product: ResolvedProduct, port: ResolvedOutput) -> str:
    """What is promised of a port, and by which check each promise is measured; what is not measured says so.

    States are those of the checks: a description is written when a product is loaded, and would soon be wrong.
    """
    rows = []
    for one in port.objectives:
        reason = port.promises.unmeasured.get(one.id)
        state = f"measured: `{sla_check_name(one.id)}`" if reason is None else "not evaluated"
        rows.append((one.id.replace("_", " "), one.promise, one.origin, state, reason or ""))
    rows += [
        (one.name, one.value, one.origin, "not evaluated", one.reason) for one in port.promises.unevaluated
    ]
    prefix = f"output_ports[{product.descriptor.output_ports.index(port.declaration)}]"
    rows += [
        (line.path.removeprefix(f"{prefix}."), line.value, "product.yaml", line.state, line.reason)
        for line in product.lines
        if line.path.startswith((f"{prefix}.refresh_rate", "refresh_rate")) and line.state != "active"
    ]
    if not rows:
        return ""
    cells = [f"| {' | '.join(escape_cell(str(cell)) for cell in row)} |" for row in rows]
    return "\n".join(["| objective | promise | declared by | state | why |", "|---|---|---|---|---|", *cells])


def verdict_markdown(verdict: Verdict, contract: Contract) -> str:
    """A verdict as a sentence and a table of what did not pass."""
    lines = [f"**{verdict.decision.replace('_', ' ')}**: {verdict.reason}"]
    notable = [result for result in verdict.results if not result.passed]
    if notable:
        lines += ["", "| rule | severity | rows | sample |", "|---|---|---|---|"]
        for result in notable:
            rule = contract.rule(result.rule_id)
            name = phrase(rule) if rule else result.rule_id
            found = count(result.failures) if result.evaluated else f"not evaluated: {result.reason}"
            lines.append(
                f"| {escape_cell(name)} | {result.severity} | {escape_cell(found)} "
                f"| {escape_cell(sample_text(result))} |"
            )
    return "\n".join(lines)


def sample_text(result: RuleResult) -> str:
    """A rule's failing values in one line."""
    return ", ".join(f"`{value}`" for value in result.sample[:5])


def rule_metadata(result: RuleResult, rows: int) -> Mapping[str, Any]:
    """Metadata of one rule's asset check."""
    metadata: dict[str, Any] = {
        "failing rows": result.failures,
        "rows": rows,
        "severity": result.severity,
    }
    if rows and result.level == "row":
        metadata["failing share"] = result.failures / rows
    if not result.evaluated:
        metadata["not evaluated"] = result.reason
    if result.sample:
        metadata["sample"] = dg.MetadataValue.md("\n".join(f"- `{value}`" for value in result.sample))
    return metadata
