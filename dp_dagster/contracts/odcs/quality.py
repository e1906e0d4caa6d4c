"""Quality rules of ODCS as rules: library, SQL, text and custom ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.comparisons import allows_none, can_hold
from dp_dagster.contracts.odcs.drafts import Draft, unevaluated
from dp_dagster.contracts.odcs.options import literal
from dp_dagster.contracts.sql_rules import SqlRuleError, read_rule_query
from dp_dagster.descriptor.problems import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.contracts.model import Severity
    from dp_dagster.contracts.odcs.drafts import Subject
    from dp_dagster.contracts.odcs.models import Quality
    from dp_dagster.descriptor.paths import Keys

    Add = Callable[[Keys, str, str], None]

_OPERATORS = {
    "mustBe": "equal",
    "mustNotBe": "not_equal",
    "mustBeGreaterThan": "above",
    "mustBeGreaterOrEqualTo": "at_least",
    "mustBeLessThan": "below",
    "mustBeLessOrEqualTo": "at_most",
    "mustBeBetween": "between",
    "mustNotBeBetween": "not_between",
}
# In 3.0 a library rule had a free name; these are the ones that the standard's own texts use.
_RULES_OF_30 = {
    "nullvalues": "nullValues",
    "nullcheck": "nullValues",
    "nullcount": "nullValues",
    "missingvalues": "missingValues",
    "missingcount": "missingValues",
    "invalidvalues": "invalidValues",
    "invalidcount": "invalidValues",
    "validvalues": "invalidValues",
    "duplicatevalues": "duplicateValues",
    "duplicatecount": "duplicateValues",
    "uniquecheck": "duplicateValues",
    "unique": "duplicateValues",
    "rowcount": "rowCount",
    "countcheck": "rowCount",
}
_WARNINGS = frozenset(
    {"warn", "warning", "info", "information", "informational", "notice", "low", "minor", "trivial"}
)
_UNITS = {"": "rows", "row": "rows", "rows": "rows", "count": "rows", "percent": "percent", "%": "percent"}


def severity_of(text: str | None) -> Severity:
    """``warn`` for the words that say so, else ``error``: a word that nobody knows must not weaken a promise."""
    return "warn" if (text or "").strip().lower() in _WARNINGS else "error"


class QualityRules:
    """The quality rules of one schema object.

    Args:
        columns: Its columns by the names of their properties: name in the data and canonical type.
        tables: Names by which an SQL rule may call the table.
        add: Notes a problem.
    """

    def __init__(self, columns: Mapping[str, tuple[str, str]], tables: tuple[str, ...], add: Add) -> None:
        self.columns = columns
        self.tables = tables
        self.add = add

    def drafts(self, quality: Quality, keys: Keys, subject: Subject | None) -> Iterator[Draft]:
        """The rules that one quality rule means; on a property ``subject`` is given."""
        kind = quality.type or "library"
        name, text = quality.name or "", quality.description or ""
        if quality.type is None and quality.metric is None and quality.rule is None:
            yield unevaluated(keys, subject, "a rule without a type is text", name=name, description=text)
        elif kind == "library" or quality.metric is not None:
            yield from self._library(quality, keys, subject)
        elif kind == "sql":
            yield from self._sql(quality, keys, subject)
        elif kind == "text":
            yield unevaluated(
                keys, subject, "a rule of type text is for people", name=name or "text", description=text
            )
        else:
            engine = quality.engine or "another engine"
            yield unevaluated(
                keys,
                subject,
                f"a rule of type custom is for {engine}",
                name=name or f"custom_{engine}",
                description=text,
            )

    # -- library ----------------------------------------------------------------------------------------

    def _library(self, quality: Quality, keys: Keys, subject: Subject | None) -> Iterator[Draft]:
        written = quality.metric or quality.rule or ""
        metric = written if quality.metric else _RULES_OF_30.get(re.sub(r"[^a-z]", "", written.lower()))
        if metric is None:
            reason = f"library rule {written} is none that the standard defines"
            yield unevaluated(
                keys, subject, reason, name=quality.name or written, description=quality.description or ""
            )
            return
        compare = self._compare(quality, keys)
        if compare is None:
            if metric == "rowCount" or _has_operator(quality):
                if not _has_operator(quality):
                    yield unevaluated(
                        keys, None, "the rule says nothing to compare with", name=quality.name or metric
                    )
                return
            compare = {"operator": "equal", "value": 0}
        unit = _UNITS.get((quality.unit or "").strip().lower())
        if unit is None:
            self.add((*keys, "unit"), f"{quality.unit} is no unit of a count", "choices: rows, percent")
            return
        if not self._is_possible(compare, keys, unit):
            return
        if metric == "rowCount":
            yield from self._row_count(quality, keys, compare, unit)
            return
        of = self._counted(metric, quality, keys, subject)
        if of is not None:
            params = {"of": of, "compare": compare, "unit": unit}
            yield from self._counting(quality, keys, subject, metric, params)

    def _compare(self, quality: Quality, keys: Keys) -> dict[str, Any] | None:
        for written, operator in _OPERATORS.items():
            value = getattr(quality, _attribute(written))
            if value is None:
                continue
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
                self.add((*keys, written), "wants a number to compare a count with", "write a number")
                return None
            return {"operator": operator, "value": value}
        return None

    def _is_possible(self, compare: dict[str, Any], keys: Keys, unit: str) -> bool:
        if can_hold(compare, highest=100 if unit == "percent" else None):
            return True
        written = next(name for name, operator in _OPERATORS.items() if operator == compare["operator"])
        what = "share of rows" if unit == "percent" else "number of rows"
        self.add(
            (*keys, written),
            f"no {what} can be {compare['operator'].replace('_', ' ')} {compare['value']}",
            "correct the value",
        )
        return False

    def _row_count(self, quality: Quality, keys: Keys, compare: dict[str, Any], unit: str) -> Iterator[Draft]:
        common: dict[str, Any] = {
            "level": "table",
            "severity": severity_of(quality.severity),
            "description": _first_line(quality.description),
            "name": quality.name or "",
        }
        if unit == "percent":
            self.add(
                (*keys, "unit"), "percent of what? the number of rows is counted", "remove it, or write rows"
            )
            return
        limits = _whole_limits(compare)
        if limits is not None:
            yield Draft("row_count", keys, params={"minimum": limits[0], "maximum": limits[1]}, **common)
        else:
            params = {"of": [{"kind": "rows", "params": {}}], "compare": compare, "unit": "rows"}
            yield Draft("measure", keys, params=params, **(common | {"name": quality.name or "rowCount"}))

    def _counted(
        self, metric: str, quality: Quality, keys: Keys, subject: Subject | None
    ) -> list[dict[str, Any]] | None:
        """What fails, as kinds of rules of which any may be broken; ``None`` with the problem noted."""
        arguments = {**(quality.model_extra or {}), **(quality.arguments or {})}
        place: Keys = (*keys, "arguments") if quality.arguments is not None else keys
        if metric == "duplicateValues":
            return self._duplicates(arguments, place, subject)
        if subject is None:
            self.add(
                keys,
                f"{metric} counts values of a property, and stands on the schema",
                "move it to the property",
            )
            return None
        if metric == "nullValues":
            return [{"kind": "not_null", "params": {}}]
        if metric == "missingValues":
            values = self._literals(arguments.get("missingValues", []), (*place, "missingValues"), subject)
            if values is None:
                return None
            found: list[dict[str, Any]] = [{"kind": "not_null", "params": {}}]
            return [*found, {"kind": "none_of", "params": {"values": values}}] if values else found
        return self._invalid(arguments, place, subject)

    def _invalid(
        self, arguments: Mapping[str, Any], place: Keys, subject: Subject
    ) -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = []
        if "validValues" in arguments:
            values = self._literals(arguments["validValues"], (*place, "validValues"), subject)
            if values is None:
                return None
            if not values:
                self.add((*place, "validValues"), "is empty, so no value is valid", "name the valid values")
                return None
            found.append({"kind": "one_of", "params": {"values": values}})
        if "pattern" in arguments:
            if not isinstance(arguments["pattern"], str) or subject.type != "string":
                self.add(
                    (*place, "pattern"),
                    f"does not apply to a property of type {subject.type}",
                    "write it as text, on a text",
                )
                return None
            found.append({"kind": "pattern", "params": {"regex": arguments["pattern"], "mode": "search"}})
        if not found:
            self.add(
                place, "invalidValues does not say what is valid", "add arguments: validValues or pattern"
            )
            return None
        return found

    def _duplicates(
        self, arguments: Mapping[str, Any], place: Keys, subject: Subject | None
    ) -> list[dict[str, Any]] | None:
        if subject is not None:
            if subject.path:
                self.add(place, "duplicates are counted for whole columns only", "move it to the column")
                return None
            return [{"kind": "unique", "params": {"null_ignored": True}, "columns": [subject.column]}]
        names = arguments.get("properties")
        if not isinstance(names, list) or not names:
            self.add(
                place, "does not say of which properties", "add `arguments: {properties: [first, second]}`"
            )
            return None
        unknown = [(number, name) for number, name in enumerate(names) if name not in self.columns]
        for number, name in unknown:
            self.add(
                (*place, "properties", number),
                f"{name} is no property here",
                suggestion(str(name), self.columns),
            )
        if unknown:
            return None
        columns = [self.columns[name][0] for name in names]
        return [{"kind": "unique", "params": {"null_ignored": True}, "columns": columns}]

    def _literals(self, values: Any, keys: Keys, subject: Subject) -> list[Any] | None:
        if not isinstance(values, list):
            self.add(keys, "wants a list", "write [first, second]")
            return None
        read: list[Any] = []
        fine = True
        for number, value in enumerate(values):
            if value is None:
                continue  # null is said by itself: it is missing, and is never invalid
            if value in ("", "N/A", "n/a", "NULL", "null") and subject.type != "string":
                continue  # no such text occurs in a column that holds no text
            try:
                read.append(literal(value, subject.type))
            except ValueError as error:
                self.add((*keys, number), str(error), "correct the value")
                fine = False
        return read if fine else None

    def _counting(
        self, quality: Quality, keys: Keys, subject: Subject | None, metric: str, params: dict[str, Any]
    ) -> Iterator[Draft]:
        description, name = _first_line(quality.description), quality.name or ""
        severity = severity_of(quality.severity)
        columns = tuple(params["of"][0].get("columns", ()))
        about = None if columns else subject
        if not _forbids_all(params):
            yield Draft(
                "measure", keys, about, columns, params, severity, "table", description, name or metric
            )
            return
        for one in params["of"]:
            # No row may fail, so each failing row can be shown and set aside.
            kind, own = one["kind"], dict(one["params"])
            yield Draft(kind, keys, about, columns, own, severity, "row", description, name)

    # -- SQL --------------------------------------------------------------------------------------------

    def _sql(self, quality: Quality, keys: Keys, subject: Subject | None) -> Iterator[Draft]:
        name = quality.name or "sql"
        compare: dict[str, Any] | None = None
        for written, operator in _OPERATORS.items():
            value = getattr(quality, _attribute(written))
            if value is not None:
                compare = {"operator": operator, "value": value}
        if compare is None:
            yield unevaluated(
                keys,
                subject,
                "the rule says nothing to compare with",
                name=name,
                description=quality.description or "",
            )
            return
        column = subject.column if subject is not None and not subject.path else None
        try:
            query = read_rule_query(
                quality.query or "", tables=self.tables, column=column, columns=dict(self.columns.values())
            )
        except SqlRuleError as error:
            self.add((*keys, "query"), str(error), error.fix)
            return
        yield Draft(
            "sql",
            keys,
            None,
            params={"query": query, "compare": compare},
            severity=severity_of(quality.severity),
            level="table",
            description=_first_line(quality.description),
            name=name,
        )


def _attribute(written: str) -> str:
    """``mustBe`` as the model has it: ``must_be``."""
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in written)


def _has_operator(quality: Quality) -> bool:
    fields = quality.model_fields_set
    return any(name.startswith("must_") for name in fields)


def _forbids_all(params: dict[str, Any]) -> bool:
    """Whether the rule is kept by no failing row alone."""
    if params["unit"] == "rows":
        return allows_none(params["compare"])
    return params["compare"]["value"] == 0 and params["compare"]["operator"] in ("equal", "at_most")


def _whole_limits(  # noqa: PLR0911 - one return for each comparison
    compare: dict[str, Any],
) -> tuple[int | None, int | None] | None:
    """A comparison of a number of rows as limits, where it is a range of whole numbers."""
    operator, value = compare["operator"], compare["value"]
    numbers = value if isinstance(value, list) else [value]
    if any(one != int(one) for one in numbers):
        return None
    match operator:
        case "equal":
            return int(value), int(value)
        case "above":
            return int(value) + 1, None
        case "at_least":
            return int(value), None
        case "below":
            return None, int(value) - 1
        case "at_most":
            return None, int(value)
        case "between":
            return int(value[0]), int(value[1])
    return None


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split())
