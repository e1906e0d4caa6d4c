"""Where policies come from: entry points, and the file that the settings name."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dp_dagster.errors import OperatorError, SettingsError
from dp_dagster.policies.model import Policy, PolicyParameters, Scope, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

GROUP = "dp_dagster.policies"
_ID = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Registered:
    """A policy that is known.

    Attributes:
        id: Its id.
        origin: Where it comes from.
        implementation: Its class; ``None`` where that does not import.
        broken: Why it does not.
    """

    id: str
    origin: str
    implementation: type[Policy] | None = None
    broken: str = ""


def registered_policies(project_root: Path, file: Any, settings_origin: str) -> Mapping[str, Registered]:
    """All policies by id: those of installed packages, then those of the file.

    Args:
        project_root: What a relative file starts at.
        file: As the settings name it; ``None`` for none.
        settings_origin: Where the settings stand, for messages.

    Raises:
        SettingsError: the file cannot be used, or defines a policy that there is already.
        OperatorError: two installed packages have policies of one name.
    """
    known = dict(_installed())
    if file is None:
        return known
    place = f"{settings_origin}: policies.file"
    if not isinstance(file, str) or not file.endswith(".py"):
        raise SettingsError(f"{place}: wants the path of a Python file, such as policies.py")
    path = (project_root / Path(file).expanduser()).resolve()
    for registered in _of_file(path, place):
        if registered.id in known:
            raise SettingsError(
                f"{place}: {path} defines {registered.id}, as {known[registered.id].origin} does; rename it"
            )
        known[registered.id] = registered
    return known


@lru_cache(maxsize=1)
def _installed() -> Mapping[str, Registered]:
    from importlib.metadata import entry_points

    found: dict[str, Registered] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.value.partition(":")[0], one.name)):
        registered = _imported(point.name, point.value, point.load)
        other = found.setdefault(point.name, registered)
        # An editable install can be listed twice; the same object is no second registration.
        if other.origin != registered.origin:
            raise OperatorError(
                f"{GROUP}: {point.name} is registered twice, by {other.origin} and by {registered.origin}; "
                "uninstall one of them"
            )
    return found


def _imported(name: str, origin: str, load: Callable[[], Any]) -> Registered:
    try:
        implementation = load()
    except Exception as error:  # noqa: BLE001 - code of others; a policy at fault counts as failed, it stops nothing else
        return Registered(name, origin, broken=f"{origin} does not import: {type(error).__name__}: {error}")
    fault = fault_of(implementation)
    if not fault and implementation.id != name:
        fault = f"calls itself {implementation.id}, not {name}"
    return (
        Registered(name, origin, broken=f"{origin} {fault}")
        if fault
        else Registered(name, origin, implementation)
    )


def fault_of(implementation: Any) -> str:
    """What is wrong with a class that should be a policy; empty where nothing is."""
    if not (isinstance(implementation, type) and issubclass(implementation, Policy)):
        return "is no class of a policy"
    if inspect.isabstract(implementation):
        return "is abstract: it has no check"
    return next(_faults(implementation), "")


def _faults(implementation: type[Policy]) -> Iterator[str]:
    if not _ID.match(str(getattr(implementation, "id", ""))):
        yield "has no id of the form [a-z][a-z0-9_]*"
    if not str(getattr(implementation, "title", "")).strip():
        yield "has no title"
    if getattr(implementation, "scope", None) not in get_args(Scope):
        yield "has no scope: derive it from PlatformPolicy, ProductPolicy, DatasetPolicy or PortPolicy"
    if implementation.severity not in get_args(Severity):
        yield f"has severity {implementation.severity!r}; choices: {', '.join(get_args(Severity))}"
    parameters: Any = implementation.Parameters
    if not (isinstance(parameters, type) and issubclass(parameters, PolicyParameters)):
        yield "has Parameters that do not derive from PolicyParameters"
        return
    required = [name for name, field in parameters.model_fields.items() if field.is_required()]
    if required:
        yield f"has parameters without a default: {', '.join(required)}"


def _of_file(path: Path, place: str) -> tuple[Registered, ...]:
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise SettingsError(f"{place}: {path} cannot be read: {error.strerror}") from error
    return _read(path, changed, place)


@lru_cache(maxsize=16)
def _read(path: Path, changed: int, place: str) -> tuple[Registered, ...]:
    name = f"dp_dagster_policies_of_{path.parent.name}_{path.stem}_{changed}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{place}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = next(
            (
                one.lineno
                for one in reversed(traceback.extract_tb(error.__traceback__))
                if one.filename == str(path)
            ),
            0,
        )
        line = error.lineno or line if isinstance(error, SyntaxError) else line
        raise SettingsError(f"{place}: {path}:{line}: {type(error).__name__}: {error}") from error
    found = []
    for one in vars(module).values():
        if (
            isinstance(one, type)
            and issubclass(one, Policy)
            and one.__module__ == name
            and hasattr(one, "id")
        ):
            fault = fault_of(one)
            if fault:
                raise SettingsError(f"{place}: {path}: {one.__name__} {fault}")
            found.append(Registered(one.id, str(path), one))
    if not found:
        raise SettingsError(
            f"{place}: {path} defines no policy; derive a class from ProductPolicy, say, with an id"
        )
    twice = {one.id for one in found if [other.id for other in found].count(one.id) > 1}
    if twice:
        raise SettingsError(f"{place}: {path} defines {', '.join(sorted(twice))} twice; rename one of them")
    return tuple(found)
