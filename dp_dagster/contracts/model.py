"""What a contract is, once compiled: columns, a key and rules, as plain frozen data.

Everything here is JSON in and JSON out and imports nothing heavy, so listing, loading a code location and
publishing need neither pandera nor polars. Formats (pandera, ODCS) compile *into* this; evaluators
(streaming Polars, SQL) read *from* it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warn"]

RuleKind = Literal[
    "columns",  # schema level: every declared column is there (params: {"strict": bool})
    "type",  # schema level: the column has its declared type
    "not_null",
    "minimum",  # params: {"value": x, "exclusive": bool}
    "maximum",  # params: {"value": x, "exclusive": bool}
    "one_of",  # params: {"values": [...]}
    "none_of",  # params: {"values": [...]}
    "pattern",  # params: {"regex": str, "mode": "match" | "search" | "full"}
    "length",  # params: {"minimum": int | None, "maximum": int | None}
    "multiple_of",  # params: {"value": number}
    "text_format",  # a text that must read as a date or time; params: {"format": str, "strptime": str}
    "size",  # items of a list, entries of a map, values of a struct; params as for "length"
    "distinct_items",  # no item of a list comes twice
    "reference",  # rows of another dataset; params: {"dataset": str, "columns": [...]}
    "equal",  # params: {"value": x}
    "not_equal",  # params: {"value": x}
    "starts_with",  # params: {"value": str}
    "ends_with",  # params: {"value": str}
    "unique",  # over one or several columns
    "row_count",  # params: {"minimum": int | None, "maximum": int | None}; a rule of the table
    "measure",  # how many rows may fail; params: {"of": [{"kind", "params"}, …], "compare": {…}, "unit": "rows"}
    "sql",  # one value that a query gives; params: {"query": str, "compare": {…}}
    "unevaluated",  # said, and checked by nobody; params: {"reason": str}
    "expression",  # params: {"expression": serialised Polars expression as JSON}; true where a row is good
    "custom",  # a check that only the contract's own library can run; params: {"check": index or name}
]


@dataclass(frozen=True)
class Column:
    """One column that the contract promises.

    Attributes:
        name: Exact name, case included.
        type: Canonical type: ``bool``, ``int8`` … ``int64``, ``float32``, ``float64``, ``decimal(p,s)``,
            ``string``, ``binary``, ``date``, ``timestamp`` (no zone), ``timestamp(UTC)``, ``list<T>``,
            ``struct<name: T, …>``, ``map<K, V>``. Timestamps have microseconds.
        nullable: Whether null is allowed.
        description: Meaning, in plain words.
        classification: ``pii``, ``restricted``, … or ``None``. Samples of a classified column are masked.
        unit: Unit of measure, where there is one.
        required: Whether the column must be present.
        tags: Further free labels.
        accepts: What the column's type may be, where that is more than ``type``: a type or family as in
            :mod:`.type_trees`. Rules are then judged by the type that is found.
    """

    name: str
    type: str
    nullable: bool = True
    description: str = ""
    classification: str | None = None
    unit: str | None = None
    required: bool = True
    tags: dict[str, str] = field(default_factory=dict)
    accepts: str = ""


@dataclass(frozen=True)
class Rule:
    """One thing that must hold. ``id`` is stable, unique in its contract and fit for an asset check's name.

    ``level`` says what a failure can be attributed to: ``row`` (failing rows can be quarantined), ``table``
    (a count, say) or ``schema`` (columns and types); the last two always hold a candidate at ``error``.

    ``params`` of a rule of level ``row`` may further say:

    * ``path``: the rule is about a part of its one column, reached by these steps (see :mod:`.type_trees`);
    * ``null_fails``, ``nan_fails``: that null or NaN breaks the rule;
    * ``null_ignored``: of ``unique``, that rows with a null in the key are left out.

    ``compare`` is one comparison, ``{"operator": "at_most", "value": 5}``; see :mod:`.comparisons`.
    """

    id: str
    kind: RuleKind
    columns: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    severity: Severity = "error"
    level: Literal["row", "table", "schema"] = "row"
    description: str = ""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rule:
        """Read plain JSON data, as :func:`dataclasses.asdict` gives it."""
        return cls(**{**data, "columns": tuple(data["columns"])})


@dataclass(frozen=True)
class ServiceLevel:
    """A promise about the service that a contract's document makes (``slaProperties`` of ODCS), as it stands there.

    Attributes:
        property: What is promised: ``availability``, ``latency``, …
        value: The value; ``extension`` is a second one.
        unit: ``d``, ``y``, ``%`` and so on; empty where none is given.
        elements: ``object.column`` that it is about; empty for all.
        schedule: Cron expression, where ``scheduler`` is ``cron``.
        line: In the document, from 1.
        place: ``slaProperties[2]``.
    """

    property: str
    value: Any
    extension: Any = None
    unit: str = ""
    elements: tuple[str, ...] = ()
    driver: str = ""
    scheduler: str = ""
    schedule: str = ""
    line: int = 0
    place: str = ""


@dataclass(frozen=True)
class Contract:
    """A compiled contract.

    Attributes:
        name: Name of the contract (the class or schema name).
        version: Version, where the format carries one.
        hash: SHA-256 over the canonical JSON of columns, key and rules (and, for custom checks, of the
            sources that they were read from): the same hash means the same promise.
        format: ``pandera`` or ``odcs``.
        source: ``contracts/flights.py:Flights`` or ``contracts/shop.odcs.yaml:orders``, relative to the product's
            folder.
        description: First the one-line summary, then more.
        columns: In order.
        key: Columns that identify a row; empty when there is none.
        rules: All rules, schema-level ones first.
        strict: Whether columns that the contract does not name are an error.
        service_levels: What the document promises about the service. No part of the hash: rows keep the same
            promise.
    """

    name: str
    hash: str
    format: str
    source: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    key: tuple[str, ...] = ()
    strict: bool = True
    version: str | None = None
    description: str = ""
    service_levels: tuple[ServiceLevel, ...] = ()

    def column(self, name: str) -> Column | None:
        """The column of that name, or ``None``."""
        return next((column for column in self.columns if column.name == name), None)

    def rule(self, rule_id: str) -> Rule | None:
        """The rule of that id, or ``None``."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    @property
    def classified(self) -> tuple[str, ...]:
        """Names of the columns that carry a classification."""
        return tuple(column.name for column in self.columns if column.classification)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Contract:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            **{
                **data,
                "columns": tuple(Column(**column) for column in data["columns"]),
                "rules": tuple(Rule.from_dict(rule) for rule in data["rules"]),
                "key": tuple(data["key"]),
                # Contracts that were kept before there were service levels have none.
                "service_levels": tuple(
                    ServiceLevel(**{**level, "elements": tuple(level["elements"])})
                    for level in data.get("service_levels", ())
                ),
            }
        )
