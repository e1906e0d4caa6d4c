"""Which policies hold, how strictly, and who is exempted: ``[tool.dp_dagster.policies]`` of the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from dp_dagster.descriptor.problems import suggestion
from dp_dagster.errors import SettingsError
from dp_dagster.policies.exemptions import Exemption
from dp_dagster.policies.model import Policy, Severity
from dp_dagster.policies.registry import Registered, registered_policies
from dp_dagster.settings import ENVIRONMENT_PREFIX, FILE_NAME

if TYPE_CHECKING:
    from dp_dagster.policies.model import Scope
    from dp_dagster.settings import Settings

OFF = "off"
FILE_KEY = "file"
EXEMPTIONS_KEY = "exemptions"
SEVERITIES = (*get_args(Severity), OFF)


@dataclass(frozen=True)
class ConfiguredPolicy:
    """A policy as the platform wants it.

    Attributes:
        id: Its id.
        title: What must hold; empty where it does not import.
        severity: What a failure means; ``off`` where nobody looks.
        origin: Where it comes from.
        policy: The policy; ``None`` where it does not import.
        broken: Why it does not.
    """

    id: str
    title: str
    severity: str
    origin: str
    policy: Policy | None = None
    broken: str = ""

    @property
    def scope(self) -> Scope:
        """What it looks at."""
        return self.policy.scope if self.policy is not None else "product"


@dataclass(frozen=True)
class PolicySet:
    """The policies of a platform.

    Attributes:
        policies: All that are known, those that are switched off too.
        exemptions: As declared, the expired ones too.
    """

    policies: tuple[ConfiguredPolicy, ...]
    exemptions: tuple[Exemption, ...] = ()

    @property
    def active(self) -> tuple[ConfiguredPolicy, ...]:
        """Those that are looked at."""
        return tuple(policy for policy in self.policies if policy.severity != OFF)


def load_policies(settings: Settings) -> PolicySet:
    """The policies that hold on a platform.

    Raises:
        SettingsError: the settings name an unknown policy, severity or parameter, a gate that cannot be switched off,
            or a file that cannot be used; says where, and what would be right.
    """
    declared = dict(settings.policies)
    origin = _origin(settings)
    exemptions = declared.pop(EXEMPTIONS_KEY, [])
    known = registered_policies(settings.project_root, declared.pop(FILE_KEY, None), origin)
    problems = [
        f"{origin}: policies.{name}: there is no such policy; "
        f"{suggestion(name, [*known, FILE_KEY, EXEMPTIONS_KEY], 'known policies')}"
        for name in declared
        if name not in known
    ]
    policies = []
    for name, registered in known.items():
        try:
            policies.append(_configured(registered, declared.get(name, {}), f"{origin}: policies.{name}"))
        except SettingsError as error:
            problems.append(str(error))
    read = _exemptions(exemptions, known, origin, problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return PolicySet(tuple(policies), read)


def _origin(settings: Settings) -> str:
    variable = f"{ENVIRONMENT_PREFIX}POLICIES"
    if variable in os.environ:
        return f"environment variable {variable}"
    own = settings.project_root / FILE_NAME
    return str(own if own.is_file() else settings.project_root / "pyproject.toml")


def _configured(registered: Registered, declared: Any, place: str) -> ConfiguredPolicy:
    options = {"severity": declared} if isinstance(declared, str) else declared
    if not isinstance(options, Mapping):
        raise SettingsError(f"{place}: wants a severity or a table; write {', '.join(SEVERITIES)}")
    given = dict(options)
    kind = registered.implementation
    severity = given.pop("severity", "error" if kind is None else kind.severity)
    if severity not in SEVERITIES:
        raise SettingsError(f"{place}: {severity!r} is no severity; choices: {', '.join(SEVERITIES)}")
    if kind is None:
        return ConfiguredPolicy(registered.id, "", severity, registered.origin, broken=registered.broken)
    if kind.is_gate and severity != "error":
        raise SettingsError(f"{place}: is a gate and always an error; {kind.why}")
    try:
        parameters = kind.Parameters.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_said(error, place, list(kind.Parameters.model_fields)))) from None
    return ConfiguredPolicy(registered.id, kind.title, severity, registered.origin, kind(parameters))


def _said(error: ValidationError, place: str, known: list[str]) -> list[str]:
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        where = "".join(f".{key}" for key in detail["loc"])
        if detail["type"] == "extra_forbidden":
            fix = suggestion(str(detail["loc"][-1]), ["severity", *known], "known keys")
            lines.append(f"{place}{where}: unknown key; {fix}")
        else:
            lines.append(f"{place}{where}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")
    return lines


def _exemptions(
    declared: Any, known: Mapping[str, Registered], origin: str, problems: list[str]
) -> tuple[Exemption, ...]:
    place = f"{origin}: policies.{EXEMPTIONS_KEY}"
    if not isinstance(declared, list):
        problems.append(f"{place}: wants a list; write [[tool.dp_dagster.policies.{EXEMPTIONS_KEY}]]")
        return ()
    found = []
    for number, item in enumerate(declared):
        try:
            exemption = Exemption.model_validate(item)
        except ValidationError as error:
            problems += _said(error, f"{place}[{number}]", list(Exemption.model_fields))
            continue
        registered = known.get(exemption.policy)
        if registered is None:
            fix = suggestion(exemption.policy, known, "known policies")
            problems.append(f"{place}[{number}].policy: there is no policy {exemption.policy}; {fix}")
        elif registered.implementation is not None and registered.implementation.is_gate:
            why = registered.implementation.why
            problems.append(
                f"{place}[{number}].policy: {exemption.policy} is a gate without exemptions; {why}"
            )
        found.append(exemption)
    return tuple(found)
