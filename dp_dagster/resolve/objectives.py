"""The objectives of an output port: from its ``sla``, the product's, its contract, its refresh rate, its sunset.

Nothing that was promised gets lost: what is no objective, or cannot be measured at this port, is kept with the
reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.objective_forms import ObjectiveError, read_objectives
from dp_dagster.descriptor.objectives import EndOfLife, Freshness, Objective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.contracts.model import Contract, ServiceLevel
    from dp_dagster.descriptor.refresh import RefreshRate
    from dp_dagster.ports.base import OutputPort
    from dp_dagster.resolve.model import ResolvedDataset

# Properties of ODCS, and of the standard of qualities that it refers to, by the objective that measures them.
_NAMES = {
    "availability": "availability",
    "completeness": "completeness",
    "endOfLife": "end_of_life",
    "endOfSupport": "end_of_support",
    "errorRate": "error_rate",
    "freshness": "freshness",
    "frequency": "frequency",
    "generalAvailability": "general_availability",
    "latency": "freshness",
    "responseTime": "latency",
    "retention": "retention",
    "supportHours": "support_hours",
    "timeOfAvailability": "time_of_availability",
    "timeToDetect": "time_to_detect",
    "timeToRepair": "time_to_repair",
    "volume": "volume",
}
_NOT_MEASURED = {
    "throughput": "how much a port can deliver is only known under load, which nobody makes here",
    "timeToNotify": "when somebody was told is kept with the alerts and is no objective",
}
_UNITS = {
    "ms": "ms",
    "s": "s",
    "sec": "s",
    "second": "s",
    "m": "min",
    "min": "min",
    "minute": "min",
    "h": "h",
    "hr": "h",
    "hour": "h",
    "d": "d",
    "day": "d",
    "w": "w",
    "week": "w",
    "y": "y",
    "yr": "y",
    "year": "y",
}
_MONTH_DAYS = 30
_ISO = {"s": "PT{}S", "min": "PT{}M", "h": "PT{}H", "d": "P{}D", "w": "P{}W"}
_CLOCK_WITH_OFFSET = re.compile(r"(\d{2}:\d{2})(?::\d{2})?(Z|[+-]\d{2}(?::?\d{2})?)?\Z")
_PROPORTIONS = frozenset({"availability", "completeness", "error_rate"})
_SPANS = frozenset({"freshness", "latency", "retention", "time_to_detect", "time_to_repair"})
# What only somebody who counts the answers can know.
_OF_ANSWERS = frozenset({"error_rate", "latency"})


@dataclass(frozen=True)
class UnevaluatedLevel:
    """A promise of a contract that became no objective.

    Attributes:
        name: As the contract names it.
        value: What it promises, as text.
        reason: Why it is not evaluated.
        origin: Where it stands: ``contracts/shop.odcs.yaml:12``.
    """

    name: str
    value: str
    reason: str
    origin: str


@dataclass(frozen=True)
class Promises:
    """All that is promised of one port.

    Attributes:
        objectives: What is evaluated, and what would be if it could be measured.
        unmeasured: Reasons by id of those objectives that cannot be measured at this port.
        unevaluated: Promises of the contract that became no objective.
    """

    objectives: tuple[Objective, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    unevaluated: tuple[UnevaluatedLevel, ...] = ()


def promises_of(
    *,
    declared: Mapping[str, Any],
    dataset: ResolvedDataset | None,
    refresh: RefreshRate | None,
    port: OutputPort[Any] | None,
    inactive: str,
) -> Promises:
    """Gather what is promised of a port; what the ``sla`` says goes before the contract, name by name.

    Args:
        declared: The ``sla`` of the port over that of the product.
        dataset: What the port shows.
        refresh: When fresh data is due.
        port: The port's kind.
        inactive: Why nothing is published here; empty where something is.
    """
    found = list(read_objectives(declared))
    names = {one.name for one in found}
    unevaluated: list[UnevaluatedLevel] = []
    if dataset is not None:
        for objective in _of_contract(dataset.contract, unevaluated):
            if objective.name in names:
                reason = f"the sla of the port promises {objective.name} itself"
                unevaluated.append(
                    UnevaluatedLevel(objective.name, objective.promise, reason, objective.origin)
                )
            else:
                found.append(objective)
        names = {one.name for one in found}
        if dataset.deprecated is not None and EndOfLife.name not in names:
            sunset = dataset.deprecated.sunset
            found.append(
                EndOfLife(
                    date=datetime.combine(sunset, time(), UTC),
                    declared=sunset.isoformat(),
                    origin="deprecated",
                )
            )
    is_cut = dataset is not None and dataset.partitioned_by is not None
    if refresh is not None and Freshness.name not in names:
        found.append(_of_refresh(refresh, by_partition=is_cut))
    found = _numbered([_by_partition(one) if is_cut else one for one in found])
    reasons = {
        one.id: reason
        for one in found
        if (reason := inactive or _why_not(one, dataset, port)) is not None and reason
    }
    return Promises(tuple(found), reasons, tuple(unevaluated))


def _by_partition(objective: Objective) -> Objective:
    """Age since publication says nothing of a dataset with partitions: an old one may have been published just now."""
    if isinstance(objective, Freshness) and objective.of == "publication" and objective.column is None:
        return replace(objective, of="partition")
    return objective


def _of_refresh(refresh: RefreshRate, *, by_partition: bool) -> Freshness:
    """What a refresh rate promises: by when the next version or partition is due, or how far it may lag."""
    fail, warn = refresh.freshness_window(), refresh.warning_window()
    if fail is None or warn is None:
        return Freshness(
            target=refresh.maximum_lag,
            warn=refresh.warn_lag,
            of="upstream",
            declared=str(refresh),
            origin="refresh_rate",
        )
    if by_partition:
        fail, warn = refresh.maximum_lag, refresh.warn_lag
    return Freshness(target=fail, warn=warn, declared=str(refresh), origin="refresh_rate")


def _numbered(objectives: list[Objective]) -> list[Objective]:
    """A contract may promise one thing twice, by two deadlines say; each keeps an id of its own."""
    seen: dict[str, int] = {}
    found = []
    for one in objectives:
        seen[one.id] = number = seen.get(one.id, 0) + 1
        found.append(replace(one, ordinal=number) if number > 1 else one)
    return found


def _why_not(objective: Objective, dataset: ResolvedDataset | None, port: OutputPort[Any] | None) -> str:
    """Why an objective cannot be measured at this port; empty where it can."""
    if objective.name == "support_hours":
        return "nothing here sees when questions are answered"
    served = port is not None and port.capabilities.served
    if objective.name in _OF_ANSWERS and not served:
        return (
            "consumers open this port by themselves, so that nobody sees its answers; a served port has them"
        )
    if (
        objective.name == "availability"
        and not served
        and not (port is not None and port.capabilities.probed)
    ):
        return "this kind of port is not served, and cannot be probed"
    if isinstance(objective, Freshness) and objective.column is not None and dataset is not None:
        column = dataset.contract.column(objective.column)
        if column is None:
            return f"{dataset.name} has no column {objective.column}"
        if not column.type.startswith(("timestamp", "date")):
            return f"{objective.column} is {column.type}, neither timestamp nor date"
    return ""


# -- service levels of a contract ---------------------------------------------------------------------------


def _of_contract(contract: Contract, unevaluated: list[UnevaluatedLevel]) -> Iterator[Objective]:
    file = contract.source.partition(":")[0]
    for level in contract.service_levels:
        origin = f"{file}:{level.line}"
        said = f"{level.value} {level.unit}".strip()
        reason = _NOT_MEASURED.get(level.property) or (
            "" if level.property in _NAMES else "no objective measures it"
        )
        if not reason:
            try:
                name = _NAMES[level.property]
                yield from read_objectives({name: _promise(name, level, contract)}, origin)
            except ObjectiveError as error:
                reason = f"cannot be read: {said} {error}" + (f"; {error.fix}" if error.fix else "")
        if reason:
            unevaluated.append(UnevaluatedLevel(level.property, said, reason, origin))


def _promise(name: str, level: ServiceLevel, contract: Contract) -> Any:  # noqa: PLR0911 one for each family of properties
    """The value of a property in the form in which the ``sla`` of a product says it."""
    value = _unpacked(level.value)
    if isinstance(value, Mapping):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _PROPORTIONS or (name == "volume" and level.unit in {"%", "percent"}):
        return f"{value}%" if is_number else value
    if name == "volume" and is_number:
        return {"minimum": value}
    if name == "frequency":
        return _frequency(value, level)
    if name == "time_of_availability":
        return _deadline(value, level)
    if name in _SPANS:
        target = _span(value, level.unit)
        return _freshness(target, level, contract) if name == "freshness" else target
    return value


def _unpacked(value: Any) -> Any:
    """Our own long forms, which an export writes as JSON text."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, str):
        try:
            return float(value) if "." in value else int(value)
        except ValueError:
            return value
    return value


def _unit(text: str) -> str:
    word = text.strip().lower()
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"), word)


def _span(value: Any, unit: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if unit.strip().lower() in {"mo", "month", "months"}:
        return f"{value * _MONTH_DAYS}d"
    return f"{value}{_unit(unit)}"


def _freshness(target: Any, level: ServiceLevel, contract: Contract) -> Any:
    """A latency of data: by the column that it names, else behind what the port is made from."""
    columns = [one for one in level.elements if (found := contract.column(one)) and _is_time(found.type)]
    if columns:
        return {"target": target, "column": columns[0]}
    return {"target": target, "of": "upstream"} if level.property == "latency" else target


def _is_time(type_name: str) -> bool:
    return type_name.startswith(("timestamp", "date"))


def _frequency(value: Any, level: ServiceLevel) -> Any:
    if level.scheduler == "cron" and level.schedule:
        return level.schedule
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    unit, number = _unit(level.unit), value
    if unit == "y":
        unit, number = "d", value * 365
    return _ISO[unit].format(number) if unit in _ISO and number == int(number) else f"{value} {level.unit}"


def _deadline(value: Any, level: ServiceLevel) -> Any:
    if level.scheduler == "cron" and level.schedule:
        return level.schedule
    match = _CLOCK_WITH_OFFSET.match(value) if isinstance(value, str) else None
    if match is None:
        return value
    clock, offset = match.groups()
    if offset in {None, "Z", "+00", "+00:00", "+0000", "-00:00"}:
        return clock
    hours, minutes = int(offset[:3]), offset[3:].removeprefix(":") or "00"
    if minutes != "00":
        return value  # no zone of a fixed offset has parts of an hour; said as what cannot be read
    # The signs of these zones are those of POSIX: west is positive.
    return {"by": clock, "timezone": f"Etc/GMT{-hours:+d}"}
