"""Contracts as ODCS 3.1 (Open Data Contract Standard of Bitol).

What ODCS has a key for is written there: types, ``required``, ``unique``, keys, bounds, lengths, patterns. The other
rules become ``quality``: of type ``library`` where a metric says it, else ``sql``. A rule that neither can say is
written as ``text``, for people, and named in the custom property ``notExpressed``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.phrases import wanted
from dp_dagster.contracts.portable_patterns import anchored, escaped, portable
from dp_dagster.contracts.type_shapes import Shape, quoted, shape_of, sql_type
from dp_dagster.documents.expressions import UnsaidError
from dp_dagster.documents.service_levels import label_list, sla_properties, support_channels
from dp_dagster.documents.sql_conditions import condition
from dp_dagster.documents.written import Note, Written
from dp_dagster.documents.yaml_text import yaml_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.contracts.model import Column, Contract, Rule
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

API_VERSION = "v3.1.0"
API_VERSION_WITH_MAPS = "v3.2.0"  # the first that has a type for them
NOT_EXPRESSED = "notExpressed"
STRICT = "strict"

_LOGICAL = {
    "bool": "boolean",
    "integer": "integer",
    "float": "number",
    "decimal": "number",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "list": "array",
    "struct": "object",
    "map": "map",
}
_SEVERITIES = {"error": "error", "warn": "warning"}


def contract_id(product: ResolvedProduct, dataset: ResolvedDataset) -> str:
    """The id of a dataset's contract: that of the ODCS document if it is one, else made of both names."""
    if dataset.contract.format != "odcs":
        return f"{product.id}.{document_name(dataset)}"
    from dp_dagster.contracts.odcs.reading import read_odcs

    return str(read_odcs(source_file(product, dataset.contract)).document.data["id"])


def document_name(dataset: ResolvedDataset) -> str:
    """What files about a dataset are called: its name, with the major version of one that is kept live."""
    return dataset.label.replace("@", ".v")


def export_odcs(product: ResolvedProduct, dataset: ResolvedDataset) -> Written:
    """The contract of a dataset. One that is an ODCS document is handed over as it is, under its own name."""
    if dataset.contract.format == "odcs":
        return kept_contract(source_file(product, dataset.contract))
    file = f"{document_name(dataset)}.odcs.yaml"
    document, notes = odcs_document(product, dataset)
    return Written(file, yaml_text(document), notes)


def kept_contract(path: Path) -> Written:
    """An ODCS document of the product as it is."""
    return Written(path.name, path.read_bytes().decode("utf-8"))


def other_contracts(product: ResolvedProduct) -> tuple[Written, ...]:
    """The ODCS documents that no dataset has: those of input ports, and of ports that are declared only."""
    declared = product.descriptor
    files = [port.contract.partition(":")[0] for port in declared.input_ports if port.contract]
    files += declared.documents.odcs if declared.documents else ()
    kept = [file for file in dict.fromkeys(files) if ".odcs." in file]
    return tuple(kept_contract(product.root / file) for file in kept)


def source_file(product: ResolvedProduct, contract: Contract) -> Path:
    """The file that an ODCS contract was read from."""
    return product.root / contract.source.partition(":")[0]


def odcs_document(
    product: ResolvedProduct, dataset: ResolvedDataset
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """The contract of a dataset as an ODCS document, and what it could not say."""
    declared = product.descriptor
    table, notes = schema_object(dataset.contract, dataset.name, dataset.key, dataset.declaration.description)
    port = next((one for one in product.ports if one.dataset is dataset), None)
    levels = sla_properties(port.sla, port.refresh) if port is not None else []
    ending = dataset.deprecated
    if ending is not None:
        levels.append({"property": "endOfSupport", "value": ending.sunset.isoformat()})
        if ending.note:
            levels[-1]["description"] = ending.note
    version = product.version if dataset.is_current else str(dataset.major)
    purpose = dataset.contract.description
    maps = any("map<" in column.type for column in dataset.contract.columns)
    document: dict[str, Any] = {
        "apiVersion": API_VERSION_WITH_MAPS if maps else API_VERSION,
        "kind": "DataContract",
        "id": contract_id(product, dataset),
        "name": dataset.name,
        "version": dataset.contract.version or version,
        "status": "deprecated" if ending is not None else declared.status,
        "domain": declared.domain,
        "dataProduct": product.id,
        "description": {"purpose": purpose} if purpose else None,
        "tags": label_list(declared.tags),
        "schema": [table],
        "support": support_channels(declared),
        "team": {"name": declared.owner.team} if declared.owner else None,
        "slaProperties": levels,
    }
    return {key: value for key, value in document.items() if value not in (None, [], {})}, notes


def schema_object(
    contract: Contract, name: str, key: tuple[str, ...], description: str | None = None
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """A contract as a ``SchemaObject`` of ODCS, and what it could not say.

    Args:
        contract: The compiled contract.
        name: Name of the table.
        key: Columns that identify a row.
        description: What the table is.
    """
    return _Table(contract, name, key).written(description)


class _Table:
    def __init__(self, contract: Contract, name: str, key: tuple[str, ...]) -> None:
        self.contract = contract
        self.name = name
        self.key = key
        self.types = {column.name: column.type for column in contract.columns}
        self.properties = {column.name: self._property(column) for column in contract.columns}
        self.quality: list[dict[str, Any]] = []
        self.unsaid: list[dict[str, Any]] = []
        self.notes: list[Note] = []

    def written(self, description: str | None) -> tuple[dict[str, Any], tuple[Note, ...]]:
        for rule in self.contract.rules:
            if rule.kind != "type":
                self._rule(rule)
        for column in self.contract.columns:
            if not column.required:
                self._cannot(f"column {column.name}", "ODCS has no column that may be absent", column.name)
        custom: list[dict[str, Any]] = []
        if self.contract.strict:
            self.notes.append(
                Note(
                    "columns",
                    f"ODCS cannot refuse further columns; the custom property {STRICT} says it",
                )
            )
            custom.append(
                {
                    "property": STRICT,
                    "value": True,
                    "description": "Columns that are not named here are an error.",
                }
            )
        if self.unsaid:
            custom.append({"property": NOT_EXPRESSED, "value": self.unsaid})
        table: dict[str, Any] = {
            "name": self.name,
            "logicalType": "object",
            "physicalType": "table",
            "description": description,
            "properties": list(self.properties.values()),
            "quality": self.quality,
            "customProperties": custom,
        }
        return {key: value for key, value in table.items() if value not in (None, [])}, tuple(self.notes)

    # -- columns ----------------------------------------------------------------------------------------

    def _property(self, column: Column) -> dict[str, Any]:
        made: dict[str, Any] = {"name": column.name, **_typed(shape_of(column.type))}
        if column.name in self.key:
            made["primaryKey"] = True
            made["primaryKeyPosition"] = self.key.index(column.name) + 1
        if column.description:
            made["description"] = column.description
        if column.classification:
            made["classification"] = column.classification
        if column.tags:
            made["tags"] = label_list(column.tags)
        if column.unit:
            made["customProperties"] = [{"property": "unit", "value": column.unit}]
        return made

    # -- rules ------------------------------------------------------------------------------------------

    def _rule(self, rule: Rule) -> None:
        if rule.kind == "columns":
            if rule.params.get("ordered"):
                self._cannot(rule.id, "ODCS has no order of columns that must be kept")
        elif not self._said_by_key_word(rule) and not self._said_by_metric(rule):
            self._by_sql(rule)
        if rule.kind == "unique" and any(self._nullable(name) for name in rule.columns):
            self._cannot(
                rule.id, "ODCS leaves rows with nulls out, here two nulls are one value twice", rule=rule
            )

    def _nullable(self, name: str) -> bool:
        column = self.contract.column(name)
        return column is None or column.nullable

    def _said_by_key_word(self, rule: Rule) -> bool:
        """Whether the rule is now said by a key of its column; only rules that hold a version may be."""
        if rule.severity != "error" or rule.params.get("null_fails"):
            return False
        if rule.kind == "unique" and set(rule.columns) == set(self.key) and len(self.key) > 1:
            return True
        if len(rule.columns) != 1:
            return False
        column = self.properties[rule.columns[0]]
        if rule.kind in ("not_null", "unique"):
            column["required" if rule.kind == "not_null" else "unique"] = True
            return not rule.params.get("nan_fails")  # which needs words of its own
        options = _options(rule, shape_of(self.types[rule.columns[0]]))
        present = column.get("logicalTypeOptions", {})
        if not options or options.keys() & present.keys():
            return False
        column["logicalTypeOptions"] = {**present, **options}
        return True

    def _said_by_metric(self, rule: Rule) -> bool:
        further = rule.params.get("null_fails") or rule.params.get("nan_fails")
        metric = None if further else _metric(rule, self.types)
        if metric is None:
            return False
        self._quality(rule, {"type": "library", **metric}, at_column=len(rule.columns) == 1)
        return True

    def _by_sql(self, rule: Rule) -> None:
        try:
            holds = condition(rule, self.types)
        except UnsaidError as error:
            self._quality(rule, {"type": "text"})
            self._cannot(rule.id, f"{error}; it is there as text, for people", rule=rule)
            return
        query = f"SELECT COUNT(*) FROM {quoted(self.name)} WHERE NOT ({holds})"
        self._quality(rule, {"type": "sql", "query": query, "mustBe": 0})

    def _quality(self, rule: Rule, check: Mapping[str, Any], *, at_column: bool = False) -> None:
        # `required` has the rule's own name when the contract is read back.
        name = f"{rule.id}_nor_nan" if rule.params.get("nan_fails") else rule.id
        made = {
            "id": name,
            "name": name,
            "description": rule.description or f"{', '.join(rule.columns) or self.name}: {wanted(rule)}",
            **check,
            "severity": _SEVERITIES[rule.severity],
        }
        if at_column:
            self.properties[rule.columns[0]].setdefault("quality", []).append(made)
        else:
            self.quality.append(made)

    def _cannot(self, subject: str, reason: str, column: str | None = None, rule: Rule | None = None) -> None:
        named: dict[str, Any] = {"rule": subject, "reason": reason}
        if column is not None:
            named["column"] = column
        if rule is not None:
            named["columns"] = list(rule.columns)
        self.unsaid.append(named)
        self.notes.append(Note(subject, reason))


def _typed(shape: Shape) -> dict[str, Any]:
    if shape.family == "binary":
        return {"physicalType": sql_type(shape)}  # ODCS has no logical type for it
    made: dict[str, Any] = {"logicalType": _LOGICAL[shape.family], "physicalType": sql_type(shape)}
    if shape.family == "integer":
        made["logicalTypeOptions"] = {"format": f"i{shape.bits}"}
    elif shape.family == "float":
        made["logicalTypeOptions"] = {"format": f"f{shape.bits}"}
    elif shape.family == "timestamp":
        zone = {"defaultTimezone": "Etc/UTC"} if shape.zoned else {}
        made["logicalTypeOptions"] = {"timezone": shape.zoned, **zone}
    elif shape.family == "list":
        made["items"] = _typed(shape.parts[0][1])
    elif shape.family == "map":
        made["map"] = {name: _typed(part) for name, part in shape.parts}
    elif shape.family == "struct":
        made["properties"] = [{"name": name, **_typed(part)} for name, part in shape.parts]
    return made


def _options(rule: Rule, shape: Shape) -> dict[str, Any]:  # noqa: PLR0911 - one return for each kind
    """The options of the logical type that say what the rule says; none if they cannot."""
    params = rule.params
    match rule.kind:
        case "minimum" | "maximum":
            bound = _bound(params["value"], shape)
            if bound is None:
                return {}
            return {f"exclusive{rule.kind.title()}" if params["exclusive"] else rule.kind: bound}
        case "length":
            limits = {"minLength": params.get("minimum"), "maxLength": params.get("maximum")}
            return {key: max(limit, 0) for key, limit in limits.items() if limit is not None}
        case "pattern":
            regex = anchored(params)
            return {"pattern": regex} if portable(regex) else {}
        case "starts_with":
            return {"pattern": "^" + escaped(params["value"])}
        case "ends_with":
            return {"pattern": escaped(params["value"]) + "$"}
    return {}


def _bound(value: Any, shape: Shape) -> Any:
    if shape.family == "decimal":
        exact = Decimal(value)
        if exact == exact.to_integral_value():
            return int(exact)
        return float(exact) if Decimal(repr(float(exact))) == exact else None
    if shape.family in ("date", "timestamp"):
        return value
    if shape.family in ("integer", "float") and not isinstance(value, str):
        return value
    return None


def _metric(  # noqa: PLR0911 - one return for each kind
    rule: Rule, types: Mapping[str, str]
) -> dict[str, Any] | None:
    """The metric of the library that says what the rule says."""
    params = rule.params
    match rule.kind:
        case "not_null":
            return {"metric": "nullValues", "mustBe": 0}
        case "unique" if len(rule.columns) == 1:
            return {"metric": "duplicateValues", "mustBe": 0}
        case "unique":
            return {
                "metric": "duplicateValues",
                "arguments": {"properties": list(rule.columns)},
                "mustBe": 0,
            }
        case "one_of" | "equal":
            values = params["values"] if rule.kind == "one_of" else [params["value"]]
            shape = shape_of(types[rule.columns[0]])
            plain = [
                _bound(value, shape) if shape.family not in ("string", "bool") else value for value in values
            ]
            if None in plain or shape.family == "binary":
                return None
            return {"metric": "invalidValues", "arguments": {"validValues": plain}, "mustBe": 0}
        case "pattern":
            regex = anchored(params)
            if not portable(regex):
                return None
            return {"metric": "invalidValues", "arguments": {"pattern": regex}, "mustBe": 0}
        case "row_count":
            return {"metric": "rowCount", **_between(params.get("minimum"), params.get("maximum"))}
    return None


def _between(minimum: int | None, maximum: int | None) -> dict[str, Any]:
    if minimum is None:
        return {"mustBeLessOrEqualTo": maximum}
    if maximum is None:
        return {"mustBeGreaterOrEqualTo": minimum}
    return {"mustBe": minimum} if minimum == maximum else {"mustBeBetween": [minimum, maximum]}
