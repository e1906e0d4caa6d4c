"""Kinds of ports and transforms: found by entry point, the built-in ones like those of others.

The kinds that the design names are known before they exist, so a product that declares one is told that the
kind is not installed, rather than that there is no such thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from dp_dagster.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import BaseModel

Family = Literal["input_ports", "output_ports", "transforms"]
FAMILIES: tuple[Family, ...] = get_args(Family)
DECLARED = "DECLARED"
"""Type of a port of which only its existence is known; imported documents often say no more."""
GROUP_PREFIX = "dp_dagster."
State = Literal["installed", "not installed", "broken", "declared only"]


class KindClass(Protocol):
    """What the registry needs of a kind's class; its family's base class says the rest."""

    kind: str
    summary: str
    extra: str | None
    Config: type[BaseModel]

    def __call__(self) -> Any:
        """Make the kind."""


@dataclass(frozen=True)
class Kind:
    """A kind that is known.

    Attributes:
        family: What it is a kind of.
        name: In capitals: ``REST_API``.
        state: ``installed``; ``not installed`` (its extra or library is missing); ``broken`` (it does not
            import); ``declared only`` (no kind, but the word for not having one).
        summary: What it is, in a few words.
        extra: The extra that brings it, if one does.
        reason: Why it cannot be used; empty when it can.
        reserved: Known from the design only, so nothing is known of its own configuration.
        implementation: The kind's class, when installed.
    """

    family: Family
    name: str
    state: State
    summary: str = ""
    extra: str | None = None
    reason: str = ""
    reserved: bool = False
    implementation: KindClass | None = None


# name, summary, extra
_RESERVED: dict[Family, tuple[tuple[str, str, str], ...]] = {
    "input_ports": (
        ("DELTA", "a Delta table that somebody else writes", "delta"),
        ("NATS", "a NATS stream", "nats"),
        ("PYTHON", "a Python function", "python"),
    ),
    "output_ports": (
        ("WEBHOOK", "changes as CloudEvents, sent to an address", "serve"),
        ("NATS", "changes as CloudEvents in a NATS stream", "nats"),
        ("METRICS", "SLA metrics for Prometheus", "serve"),
        ("AUDIT_LOG", "the audit log", "serve"),
        ("SCHEMA_REGISTRY", "contract versions as a schema registry", "serve"),
        ("POLICIES", "the policies that hold", "serve"),
        ("CATALOG", "the catalogue of products", "serve"),
    ),
    "transforms": (("SPARK", "one SELECT, run by Spark", "spark"),),
}


@dataclass(frozen=True)
class Entry:
    """One registration: a name, where it comes from, and how to import it."""

    name: str
    origin: str
    load: Callable[[], KindClass]


class Registry:
    """The kinds that are known. Implementations are imported when they are first asked for.

    Args:
        entries: Registrations by family.

    Raises:
        OperatorError: two registrations of a family have one name.
    """

    def __init__(self, entries: Mapping[Family, Iterable[Entry]]) -> None:
        self._entries: dict[tuple[Family, str], Entry] = {}
        self._kinds: dict[tuple[Family, str], Kind] = {}
        for family, registered in entries.items():
            for entry in registered:
                place = (family, _canonical(entry.name))
                other = self._entries.get(place)
                if other is not None and other.origin != entry.origin:
                    raise OperatorError(
                        f"{GROUP_PREFIX}{family}: kind {place[1]} is registered twice, by {other.origin} and "
                        f"by {entry.origin}; uninstall one of them"
                    )
                self._entries[place] = entry
        for family, reserved in _RESERVED.items():
            for name, summary, extra in reserved:
                if (family, name) not in self._entries:
                    reason = f"comes with the extra {extra!r}, which this release does not have yet"
                    self._kinds[family, name] = Kind(
                        family, name, "not installed", summary, extra, reason, reserved=True
                    )
        reason = "declared only: nothing says how it is reached; give it a kind"
        for ports in FAMILIES[:2]:
            self._kinds[ports, DECLARED] = Kind(
                ports, DECLARED, "declared only", "a port that has no kind yet", reason=reason, reserved=True
            )

    @classmethod
    def of(cls, kinds: Mapping[Family, Iterable[type[Any]]]) -> Registry:
        """A registry of classes at hand."""

        def entry(kind: type[Any]) -> Entry:
            return Entry(kind.kind, f"{kind.__module__}:{kind.__qualname__}", lambda: cast("KindClass", kind))

        return cls({family: [entry(kind) for kind in classes] for family, classes in kinds.items()})

    @classmethod
    def load(cls) -> Registry:
        """The registry of all installed packages."""
        return _installed()

    def find(self, family: Family, name: str) -> Kind | None:
        """The kind of that name, in any case; ``None`` if nobody knows it."""
        place = (family, _canonical(name))
        if place not in self._kinds and place in self._entries:
            self._kinds[place] = _import(family, place[1], self._entries[place])
        return self._kinds.get(place)

    def kinds(self, family: Family) -> tuple[Kind, ...]:
        """All kinds of a family that are known, by name. Imports every one of them."""
        names = {name for known, name in (*self._entries, *self._kinds) if known == family}
        found = (self.find(family, name) for name in sorted(names))
        return tuple(kind for kind in found if kind is not None)


@lru_cache(maxsize=1)
def _installed() -> Registry:
    from importlib.metadata import entry_points

    found: dict[Family, list[Entry]] = {}
    for family in FAMILIES:
        found[family] = [
            # An editable install can be listed twice; the same object is no second registration.
            Entry(point.name, point.value, point.load)
            for point in entry_points(group=GROUP_PREFIX + family)
        ]
    return Registry(found)


def _canonical(name: str) -> str:
    return name.upper().replace("-", "_")


def _import(family: Family, name: str, entry: Entry) -> Kind:
    try:
        implementation = entry.load()
    except ImportError as error:
        missing = error.name or "a library"
        return Kind(
            family, name, "not installed", reason=f"{entry.origin} needs {missing}, not installed here"
        )
    except Exception as error:  # noqa: BLE001 - code of others; a plugin at fault must not stop all products
        reason = f"{entry.origin} does not import: {type(error).__name__}: {error}"
        return Kind(family, name, "broken", reason=reason)
    if _canonical(str(getattr(implementation, "kind", ""))) != name:
        reason = f"{entry.origin} calls itself {getattr(implementation, 'kind', 'nothing')}, not {name}"
        return Kind(family, name, "broken", reason=reason)
    return Kind(
        family,
        name,
        "installed",
        implementation.summary,
        implementation.extra,
        implementation=implementation,
    )
