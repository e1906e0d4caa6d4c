"""Make the reference pages in ``docs/`` from the code: ``make docs``. A test holds that they are current.

The commands come from ``dp`` itself, the keys of ``product.yaml`` from the models that read it, the kinds from the
registry, and the settings from their model.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import typer
from pydantic_core import PydanticUndefined

from dp_dagster.cli.app import application
from dp_dagster.contracts.evolution import CLASSIFICATION
from dp_dagster.descriptor.access import Grant
from dp_dagster.descriptor.alerting import (
    Alerts,
    Channel,
    EmailChannel,
    Escalation,
    MailServer,
    Maintenance,
    Rule,
    WebhookChannel,
)
from dp_dagster.descriptor.model import (
    Consumer,
    Dataset,
    DatasetVersion,
    Deprecation,
    Descriptor,
    InputPort,
    OutputPort,
    Owner,
    Quarantine,
    Support,
    Transform,
)
from dp_dagster.descriptor.objectives import OBJECTIVES, keys_of
from dp_dagster.registry import FAMILIES, Registry
from dp_dagster.settings import ENVIRONMENT_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Made by `make docs` from the code. Do not edit. -->\n"
FAMILY_TITLES = {"input_ports": "Input ports", "output_ports": "Output ports", "transforms": "Transforms"}
PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("owner", Owner),
    ("support", Support),
    ("input_ports", InputPort),
    ("transforms", Transform),
    ("datasets", Dataset),
    ("quarantine of a dataset", Quarantine),
    ("versions of a dataset", DatasetVersion),
    ("deprecated", Deprecation),
    ("output_ports", OutputPort),
    ("access", Grant),
    ("consumers", Consumer),
    ("alerts", Alerts),
    ("rules of alerts", Rule),
    ("channels of alerts", Channel),
    ("email of a channel", EmailChannel),
    ("mail_server", MailServer),
    ("webhook of a channel", WebhookChannel),
    ("escalate", Escalation),
    ("maintenance", Maintenance),
)


def cell(text: str) -> str:
    """Text as it can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def default_of(field: FieldInfo) -> str:
    """A field's default as one would write it in YAML; ``required`` without one."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or value in ((), {}, []):
        return ""
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"`{str(item).lower() if isinstance(item, bool) else item}`" for item in values)


def fields_table(model: type[BaseModel], without: frozenset[str] = frozenset()) -> list[str]:
    """The fields of a model as a table."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    # What tells a part from its neighbours comes first, whichever class declares it.
    first = [
        name
        for name in ("name", "major")
        if name in model.model_fields and model.model_fields[name].is_required()
    ]
    for name in dict.fromkeys([*first, *model.model_fields]):
        field = model.model_fields[name]
        if name in without:
            continue
        if not field.description:
            raise ValueError(f"{model.__name__}.{name} has no description")
        lines.append(f"| `{field.alias or name}` | {default_of(field)} | {cell(field.description)} |")
    return [*lines, ""]


def product_yaml() -> str:
    """The page on ``product.yaml``: its keys and the kinds with their own."""
    lines = [
        "# product.yaml",
        "",
        NOTE,
        "Unknown keys are refused. `${NAME}` and `${NAME:-default}` stand for environment variables. Ids and names are",
        "lower case: `[a-z][a-z0-9_]*`. `dp schema` gives the same as JSON Schema.",
        "",
        *fields_table(Descriptor),
    ]
    for title, model in PARTS:
        lines += [f"## {title}", "", f"{(model.__doc__ or '').splitlines()[0]}", ""]
        lines += fields_table(model, frozenset({"options"}))
        if "options" in model.model_fields:
            lines += ["Further keys belong to the kind, below.", ""]
    lines += objectives()
    registry = Registry.load()
    for family in FAMILIES:
        lines += [f"## Kinds: {FAMILY_TITLES[family].lower()}", ""]
        kinds = registry.kinds(family)
        for kind in kinds:
            if kind.implementation is not None:
                lines += [f"### {kind.name}", "", f"{sentence(kind.summary)}", ""]
                if kind.implementation.Config.model_fields:
                    lines += fields_table(kind.implementation.Config)
        reserved = [kind for kind in kinds if kind.implementation is None]
        if reserved:
            lines += [
                "Known, but not installed: " + ", ".join(f"`{kind.name}`" for kind in reserved) + ".",
                "",
            ]
    return "\n".join(lines)


def objectives() -> list[str]:
    """What an ``sla`` may promise: each objective with its short form, what is measured, and its keys."""
    lines = [
        "## sla",
        "",
        'Objectives by name, each in its short form or as a mapping of its keys; `sla: "99.9%"` alone is availability.',
        "Spans of time are `200ms`, `15min`, `6h`, `30d`, `3y` or ISO 8601. [More about it](sla.md).",
        "",
        "| objective | short form | what is measured |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{name}` | `{kind.example}` | {cell(kind.summary)} |" for name, kind in OBJECTIVES.items()]
    lines += ["", "| objective | key | default | meaning |", "| --- | --- | --- | --- |"]
    for name, kind in OBJECTIVES.items():
        for key, field in keys_of(kind).items():
            default = "required" if field.default is MISSING else _default_text(field.default)
            short = " (the short form)" if key == kind.short else ""
            meaning = f"{cell(field.metadata['description'])}{short}"
            lines.append(f"| `{name}` | `{key}` | {default} | {meaning} |")
    return [*lines, ""]


def _default_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return f"`{value.days}d`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def sentence(text: str) -> str:
    """Text with a capital first letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def settings() -> str:
    """The page on the platform's settings."""
    lines = [
        "# Settings",
        "",
        NOTE,
        "What belongs to no single product stands in `[tool.dp_dagster]` of `pyproject.toml` or in `dp_dagster.toml`,",
        "whichever is found first on the way up from the working directory. The environment variable wins.",
        "",
        "| key | environment variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        if name != "project_root":
            variable = f"`{ENVIRONMENT_PREFIX}{name.upper()}`"
            lines.append(f"| `{name}` | {variable} | {default_of(field)} | {cell(field.description or '')} |")
    return "\n".join([*lines, ""])


def commands() -> str:
    """The page on ``dp``."""
    group = typer.main.get_command(application())
    if not isinstance(group, click.Group):
        raise TypeError("dp has no commands")
    lines = [
        "# Commands",
        "",
        NOTE,
        "`dp` ends with 0; with 1 if the product or its data is at fault, 2 if the command is wrong, 3 if something",
        "that it runs on is at fault, so that a retry may help.",
        "",
    ]
    for name, command in leaves(group):
        lines += [f"## dp {name}", "", "```text", f"{usage(name, command)}", "```", ""]
        lines += [*paragraphs(command.help or ""), ""]
        parameters = [parameter_row(parameter) for parameter in command.params]
        if parameters:
            lines += ["| argument or option | meaning |", "| --- | --- |", *parameters, ""]
    return "\n".join(lines)


def leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands, those of groups with the group's name before theirs."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def usage(name: str, command: click.Command) -> str:
    """The line that says how a command is called."""
    context = click.Context(command, info_name=f"dp {name}")
    return f"dp {name} {' '.join(command.collect_usage_pieces(context))}"


def paragraphs(text: str) -> list[str]:
    """Help text without its indentation."""
    return [line.strip() for line in text.strip().replace("\b", "").splitlines()]


def parameter_row(parameter: click.Parameter) -> str:
    """One argument or option."""
    shown = (
        parameter.human_readable_name if isinstance(parameter, click.Argument) else ", ".join(parameter.opts)
    )
    text = cell(getattr(parameter, "help", None) or "")
    default: Any = parameter.default
    if (
        isinstance(parameter, click.Option)
        and not parameter.is_flag
        and isinstance(default, str | int | float)
    ):
        text += f" Default: `{default}`."
    return f"| `{shown}` | {text} |"


def contract_evolution() -> str:
    """The page on changes of contracts."""
    lines = [
        "# How contracts change",
        "",
        NOTE,
        "Consumers read rows that keep the new contract with code that was written for the old one. Producers deliver",
        "rows that kept the old contract and are judged by the new one. `dp diff` shows each change of a product with",
        "its effect; a change that breaks consumers is not published under the same major version.",
        "",
        "| change | consumers | producers | why |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row.kind} | {row.consumers} | {row.producers} | {row.reason} |"
            for row in CLASSIFICATION.values()
        ),
        "",
        "A type is widened when every value of the old one is a value of the new one without loss: `int32` to `int64`,",
        "`int32` to `float64`, `decimal(10,2)` to `decimal(12,2)`. All other changes of a type break both sides.",
        "",
        "## Whom a change breaks",
        "",
        "A product that reads a port registers by itself, with each run: the columns of its input's contract, and",
        "what that contract asks of the rows. Whoever reads from outside is named under `consumers` in",
        "`product.yaml`, with `columns` and `rules` (ids of the contract's rules). Who declares no columns relies",
        "on all, and who declares no rules on all rules of these columns.",
        "",
        "A change of a rule touches those who rely on a rule of that kind on these columns, if the new form no",
        "longer promises what theirs says: after `at least 0` became `at least -5`, an input that asks for at",
        "least -10 is as safe as before. Columns that go, and types and units that change, touch all who read",
        "them. What touches nobody's declared use is still breaking, and is said to break nobody: others may read",
        "the port.",
        "",
    ]
    return "\n".join(lines)


PAGES = {
    "commands.md": commands,
    "contract-evolution.md": contract_evolution,
    "product-yaml.md": product_yaml,
    "settings.md": settings,
}


def main() -> int:
    """Write the pages; with ``--check``, only say which are out of date."""
    stale = []
    for name, make in PAGES.items():
        text = make()
        page = DOCS / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                page.write_text(text, encoding="utf-8")
                print(f"  docs/{name}")
    if stale and "--check" in sys.argv:
        print(f"out of date, run `make docs`: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
