"""A product as everything else sees it: its kinds found, its contracts compiled, its order settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dp_dagster.access.policy import AccessPolicy
from dp_dagster.errors import UsageError
from dp_dagster.resolve.alerting import ResolvedAlerts
from dp_dagster.resolve.objectives import Promises

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from fractions import Fraction
    from pathlib import Path

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor import model as declared
    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.descriptor.refresh import RefreshRate
    from dp_dagster.ports.base import InputPort, OutputPort
    from dp_dagster.settings import Settings
    from dp_dagster.transforms.base import Transform

LineState = Literal["active", "not installed", "not evaluated", "refused"]


@dataclass(frozen=True)
class Line:
    """One value of the descriptor, and what becomes of it.

    Attributes:
        path: ``output_ports[0].sla``.
        number: Line in the file, from 1; 0 where the descriptor stands in no file.
        value: As its author wrote it, so a reference to a variable and not the variable's value.
        state: What becomes of it.
        reason: Why it is not active; empty when it is.
    """

    path: str
    number: int
    value: str
    state: LineState = "active"
    reason: str = ""


@dataclass(frozen=True)
class ResolvedInput:
    """An input port that can be read.

    ``partitioned_by`` is the column that says which partition a row belongs to; with ``names_partition`` the place of
    the data says it.
    """

    name: str
    port: InputPort[Any]
    config: Any
    contract: Contract | None
    declaration: declared.InputPort
    refresh: RefreshRate | None
    partitioned_by: str | None = None
    names_partition: bool = False

    @property
    def is_partitioned(self) -> bool:
        """Whether its data is cut into the product's partitions."""
        return self.partitioned_by is not None or self.names_partition


@dataclass(frozen=True)
class ResolvedTransform:
    """A transform that can run. ``depends_on`` names inputs and relations; ``provides`` its own relations."""

    name: str
    transform: Transform[Any]
    config: Any
    depends_on: tuple[str, ...]
    declaration: declared.Transform
    provides: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedDataset:
    """A dataset. ``max_invalid`` is ``None`` where one bad row holds the version.

    ``references`` names the datasets that its contract refers to, by what the contract calls them. ``major`` is
    the major version that it is published under: the product's own, unless it is an older version that stays live.
    ``partitioned_by`` is the column that it is cut into the product's partitions by.
    """

    name: str
    source: str
    contract: Contract
    key: tuple[str, ...]
    sort_by: tuple[str, ...]
    max_invalid: Fraction | None
    declaration: declared.Dataset
    references: Mapping[str, str] = field(default_factory=dict)
    major: int = 0
    is_current: bool = True
    deprecated: declared.Deprecation | None = None
    partitioned_by: str | None = None

    @property
    def label(self) -> str:
        """What tells it from the product's other datasets: its name, with ``@major`` for an older version."""
        return self.name if self.is_current else f"{self.name}@{self.major}"


@dataclass(frozen=True)
class ResolvedOutput:
    """An output port.

    ``view`` is what the readers of a port that hands out files may see, where that is not all: they get a copy;
    ``readers`` what those of a port see that pushes what it has to tell.
    Only a port whose ``state`` is ``active`` has port, config and dataset for sure, and a refresh rate that
    is watched. ``sla`` holds what is promised by objective, as declared; ``promises`` all that is promised, read.
    """

    name: str
    port: OutputPort[Any] | None
    config: Any
    dataset: ResolvedDataset | None
    refresh: RefreshRate | None
    sla: Mapping[str, Any]
    declaration: declared.OutputPort
    state: LineState
    reason: str = ""
    major: int = 0
    is_current: bool = True
    view: DatasetView | None = None
    readers: DatasetView | None = None
    promises: Promises = field(default_factory=Promises)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is promised of the port; :attr:`promises` says which of it cannot be measured."""
        return self.promises.objectives

    @property
    def label(self) -> str:
        """What tells it from the product's other ports: its name, with ``@major`` for an older version."""
        return self.name if self.is_current else f"{self.name}@{self.major}"


_NamedT = TypeVar("_NamedT", ResolvedInput, ResolvedTransform)


@dataclass(frozen=True)
class ResolvedProduct:
    """A product that can run.

    Attributes:
        descriptor: What it declares.
        root: Its folder.
        path: Its descriptor's file.
        settings: Of the platform.
        inputs: Input ports whose kinds are installed.
        transforms: In an order in which each stands after what it reads.
        datasets: As declared.
        ports: All output ports, declared-only ones included; :attr:`active_ports` can be projected.
        lines: Every leaf of the descriptor, in order.
        alerts: Who is told what.
        access: Who may see what of the datasets, by label.
        partitioned: Names of inputs and relations that are made partition by partition.
    """

    descriptor: declared.Descriptor
    root: Path
    path: Path
    settings: Settings
    inputs: tuple[ResolvedInput, ...]
    transforms: tuple[ResolvedTransform, ...]
    datasets: tuple[ResolvedDataset, ...]
    ports: tuple[ResolvedOutput, ...]
    lines: tuple[Line, ...]
    alerts: ResolvedAlerts = field(default_factory=ResolvedAlerts)
    access: AccessPolicy = field(default_factory=AccessPolicy)
    partitioned: frozenset[str] = frozenset()

    @property
    def calendar(self) -> Calendar | None:
        """The product's partitions, if it has any."""
        return self.descriptor.partitions

    @property
    def id(self) -> str:
        """The product's id."""
        return self.descriptor.product_id

    @property
    def version(self) -> str:
        """Semantic version, without a leading v."""
        return self.descriptor.version

    @property
    def major(self) -> int:
        """Major version, that of assets and storage paths."""
        return self.descriptor.major

    @property
    def active_ports(self) -> tuple[ResolvedOutput, ...]:
        """Output ports that can be projected."""
        return tuple(port for port in self.ports if port.state == "active")

    def input(self, name: str) -> ResolvedInput:
        """The input port of that name; ``UsageError`` if there is none."""
        return _named(self.inputs, name, f"input port of {self.id}")

    def dataset(self, name: str) -> ResolvedDataset:
        """The dataset of that name (``name@major`` for an older version); ``UsageError`` if there is none."""
        return _labelled(self.datasets, name, self.major, f"dataset of {self.id}")

    def transform(self, name: str) -> ResolvedTransform:
        """The transform declared under that name; ``UsageError`` if there is none."""
        return _named(self.transforms, name, f"transform of {self.id}")

    def port(self, name: str) -> ResolvedOutput:
        """The output port of that name (``name@major`` for an older version); ``UsageError`` if there is none."""
        return _labelled(self.ports, name, self.major, f"output port of {self.id}")

    def transform_providing(self, relation: str) -> ResolvedTransform:
        """The transform that makes a relation (its own name, or a dbt model); ``UsageError`` if none does."""
        for transform in self.transforms:
            if relation in transform.provides:
                return transform
        known = ", ".join(name for transform in self.transforms for name in transform.provides)
        raise UsageError(f"no transform of {self.id} makes {relation}; there are {known or 'none'}")

    def inputs_of(self, relation: str) -> tuple[str, ...]:
        """Names of the input ports that a relation is made from, directly or not, in order of declaration."""
        names = {declared.name for declared in self.inputs}
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [relation]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in names:
                found.add(name)
            else:
                waiting.extend(self.transform_providing(name).depends_on)
        return tuple(declared.name for declared in self.inputs if declared.name in found)

    def transforms_of(self, relation: str) -> tuple[ResolvedTransform, ...]:
        """The transforms that a relation is made by, each after what it reads."""
        inputs = {declared.name for declared in self.inputs}
        found: set[str] = set()
        waiting = [relation]
        while waiting:
            name = waiting.pop()
            if name in inputs:
                continue
            transform = self.transform_providing(name)
            if transform.name not in found:
                found.add(transform.name)
                waiting.extend(transform.depends_on)
        return tuple(transform for transform in self.transforms if transform.name in found)


_LabelledT = TypeVar("_LabelledT", ResolvedDataset, ResolvedOutput)


def _labelled(items: Iterable[_LabelledT], label: str, major: int, what: str) -> _LabelledT:
    wanted = label.removesuffix(f"@{major}")
    found = {item.label: item for item in items}
    if wanted not in found:
        raise UsageError(f"{label} is no {what}; there are {', '.join(found) or 'none'}")
    return found[wanted]


def _named(items: Iterable[_NamedT], name: str, what: str) -> _NamedT:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items)
    raise UsageError(f"{name} is no {what}; there are {known or 'none'}")
