"""Looking up the kind of a port or transform and giving it its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from dp_dagster.descriptor.problems import problems_of, suggestion
from dp_dagster.errors import AuthorError, ContractDocumentError, DescriptorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import InputPort, OutputPort, Transform
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.ports.base import Fault
    from dp_dagster.registry import Family, Kind, Registry

_WORDS = {"input_ports": "input port", "output_ports": "output port", "transforms": "transform"}
# What a kind that is not installed may be told; nothing is known of the rest.
_UNCHECKED = frozenset({"auth"})


@dataclass(frozen=True)
class Configured:
    """A kind with its configuration; without ``plugin`` it is known, but not installed."""

    kind: Kind
    plugin: Any = None
    config: Any = None


def configure(
    draft: Draft,
    registry: Registry,
    keys: Keys,
    part: InputPort | OutputPort | Transform,
    *,
    further: Mapping[str, Any] | None = None,
) -> Configured | None:
    """Look up a part's kind and validate its options; ``None`` with the problems noted in the draft.

    Args:
        draft: Where problems are noted.
        registry: The kinds that there are.
        keys: Where the part stands; begins with its family.
        part: The declaration.
        further: Common fields that the kind's configuration may take, where it has fields of these names.
    """
    family = cast("Family", keys[0])
    kind = registry.find(family, part.type)
    if kind is None:
        names = [known.name for known in registry.kinds(family)]
        draft.add(
            (*keys, "type"), f"{part.type} is no kind of {_WORDS[family]}", suggestion(part.type, names)
        )
        return None
    common = part.keys()
    if kind.implementation is None:
        if not kind.reserved:
            return Configured(kind)
        for name in part.options:
            if name not in _UNCHECKED:
                draft.add(
                    (*keys, name),
                    f"unknown key: {kind.name} is not installed, so nothing is known of it",
                    suggestion(name, {*_declared(common, part), *_UNCHECKED}, "known keys"),
                )
        return Configured(kind)
    fields = kind.implementation.Config.model_fields
    options = dict(part.options)
    if "auth" in options and "auth" not in fields:
        del options["auth"]
        draft.add(
            (*keys, "auth"),
            f"is refused: {kind.name} ports ask nobody who they are",
            "remove it; whoever may read the storage may read this port",
        )
    if "auth" in fields and "auth" not in options:
        draft.add(
            (*keys, "auth"),
            f"is missing: {kind.name} ports are served, and must say who may ask",
            "add `auth: OAuth2`, `auth: api_key` or, for everybody on this machine, `auth: none`",
        )
        return None
    for name, value in (further or {}).items():
        if value is not None and name in fields:
            options[name] = value
        elif value is not None:
            draft.add((*keys, name), f"unknown key for the kind {kind.name}", "remove it")
    try:
        config = kind.implementation.Config.model_validate(options)
    except ValidationError as error:
        aliases = {info.alias or name for name, info in fields.items()}
        known = {*_declared(common, part), *aliases} - set(further or {}) | (set(further or {}) & aliases)
        draft.problems.extend(problems_of(error, draft.document, keys, kind.implementation.Config, known))
        return None
    return Configured(kind, kind.implementation(), config)


def ask(draft: Draft, keys: Keys, question: Callable[[], Any], default: Any = None) -> Any:
    """Ask a kind something. What it raises is noted as a problem of its part, and ``default`` given."""
    try:
        return question()
    except (ContractDocumentError, DescriptorError) as error:
        draft.problems.extend(error.problems)
    except AuthorError as error:
        draft.add(keys, str(error))
    except Exception as error:  # noqa: BLE001 - a kind is code of others; its part is at fault, not the rest
        draft.add(
            keys, f"its kind failed: {type(error).__name__}: {error}", "see that the kind is up to date"
        )
    return default


def note_faults(draft: Draft, keys: Keys, check: Callable[[], Iterable[Fault]]) -> bool:
    """Note what a kind finds wrong with its configuration; whether that was nothing."""
    if draft.unreadable(keys):
        return False
    before = len(draft.problems)
    for fault in ask(draft, keys, lambda: tuple(check()), ()):
        at: Keys = (*keys, fault.field) if fault.field else keys
        draft.add(at, fault.message, fault.fix)
    return len(draft.problems) == before


def _declared(common: Iterable[str], part: BaseModel) -> set[str]:
    fields = type(part).model_fields
    return {fields[name].alias or name for name in common}
