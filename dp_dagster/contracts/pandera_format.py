"""pandera schemas compiled into contracts: ``DataFrameModel`` and ``DataFrameSchema``, of Polars and of pandas.

Nothing in a schema is dropped in silence. What only reports (titles, ``n_failure_cases``) is taken or has no
meaning here; what changes data (coercion, parsers, defaults, dropping rows) is refused, because a contract
judges and a transform changes; what no expression can say becomes a rule of kind ``custom``, which pandera
itself runs in the audit.

Beyond pandera's own words, ``metadata`` of a field may say ``classification``, ``unit``, ``tags`` (a mapping) and
``severity`` (``"warn"`` for all rules of the column, or a mapping from kinds of rules: ``{"not_null": "warn"}``);
all else is a label (``{"examples": ["north", "south"]}`` is shown to consumers of served ports).
``metadata`` of the model's ``Config`` or of the schema may say ``version``, ``severity`` (of what is declared there)
and ``row_count`` (``{"minimum": 1}``).
"""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import TYPE_CHECKING, Any, get_args

from dp_dagster.contracts.canonical import type_name, unstorable_part
from dp_dagster.contracts.model import Column, Contract, Rule, RuleKind
from dp_dagster.contracts.pandera_checks import Draft, draft_of_table_check, drafts_of_column_check
from dp_dagster.contracts.positions import Positions
from dp_dagster.contracts.rule_ids import rule_id
from dp_dagster.contracts.satisfiable import check_satisfiable
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dp_dagster.contracts.model import Severity

_SCHEMA_LEVEL = ("columns", "type")


def compile_pandera(
    schema_or_model: Any,
    *,
    source: str = "",
    positions: Positions | None = None,
    sources: Mapping[str, bytes] | None = None,
) -> Contract:
    """Compile a pandera schema or model.

    Args:
        schema_or_model: A ``DataFrameModel`` class or a ``DataFrameSchema``.
        source: ``contracts/flights.py:Flights``.
        positions: Where its parts stand, for messages.
        sources: The author's files by relative path; part of the contract's hash where pandera has to run a
            check whose meaning only its code says.

    Raises:
        ContractError: It is no pandera schema, or says something that is refused; with place, cause and fix.
    """
    return _Compiler(
        schema_or_model, source, positions or Positions(source.split(":", maxsplit=1)[0])
    ).compile(sources or {})


class _Compiler:
    def __init__(self, schema_or_model: Any, source: str, positions: Positions) -> None:
        self.source = source
        self.positions = positions
        self.name = source.rpartition(":")[2]
        self.schema = self._schema(schema_or_model)
        self.library = self._library(self.schema)
        self.metadata = self._table_metadata(schema_or_model)
        self.taken: set[str] = set()

    def refuse(self, what: str, field: str | None = None) -> ContractError:
        label = f"{self.name}.{field}" if field is not None else self.name
        return ContractError(f"{self.positions.place(field)}: {label}: {what}")

    def _schema(self, schema_or_model: Any) -> Any:
        from pandera.api.base.schema import BaseSchema
        from pandera.api.dataframe.model import DataFrameModel

        if inspect.isclass(schema_or_model) and issubclass(schema_or_model, DataFrameModel):
            if not self.name:
                self.name = schema_or_model.__name__
            try:
                return schema_or_model.to_schema()
            # Whatever pandera makes of the author's model is the author's matter.
            except Exception as error:
                raise self.refuse(f"pandera refuses the model: {type(error).__name__}: {error}") from error
        if isinstance(schema_or_model, BaseSchema) and hasattr(schema_or_model, "columns"):
            self.name = self.name or str(schema_or_model.name or "schema")
            return schema_or_model
        kind = type(schema_or_model).__name__
        raise self.refuse(f"is of type {kind}; a pandera DataFrameModel or DataFrameSchema is needed")

    def _library(self, schema: Any) -> str:
        modules = [base.__module__ for base in type(schema).__mro__]
        for library in ("polars", "pandas"):
            if any(module.startswith(f"pandera.api.{library}.") for module in modules):
                return library
        raise self.refuse(f"is written for {modules[0]}; use pandera.polars")

    def _table_metadata(self, schema_or_model: Any) -> dict[str, Any]:
        config = getattr(schema_or_model, "__config__", None) or getattr(schema_or_model, "Config", None)
        metadata = getattr(config, "metadata", None) or self.schema.metadata or {}
        if not isinstance(metadata, dict):
            raise self.refuse("metadata must be a mapping")
        return metadata

    def compile(self, sources: Mapping[str, bytes]) -> Contract:
        schema = self.schema
        self._refuse_changes()
        columns = tuple(self._column(name, column) for name, column in schema.columns.items())
        if not columns:
            raise self.refuse("declares no columns; a contract names each column that it promises")
        rules = tuple(self._rules(columns))
        check_satisfiable(rules, columns, self.refuse)
        strict = schema.strict is True
        version = self.metadata.get("version")
        if version is not None and not isinstance(version, str):
            raise self.refuse(f"version {version!r} is not text; write it in quotes")
        unique = self._unique_keys()
        single = [c.name for c in columns if schema.columns[c.name].unique and not c.nullable]
        key = unique[0] if unique else tuple(single if len(single) == 1 else ())
        return Contract(
            name=self.name,
            hash=_hash(columns, key, rules, strict, sources),
            format="pandera",
            source=self.source,
            columns=columns,
            rules=rules,
            key=key,
            strict=strict,
            version=version,
            description=inspect.cleandoc(schema.description or schema.title or ""),
        )

    def _refuse_changes(self) -> None:
        schema = self.schema
        refused = [
            (schema.coerce, "coerce=True changes data; cast in the transform"),
            (
                schema.dtype is not None,
                "a type for the whole table is not supported; give each column its type",
            ),
            (
                schema.strict == "filter",
                'strict="filter" drops columns; use strict=True, select in the transform',
            ),
            (schema.parsers, "parsers change data; do it in the transform"),
            (schema.drop_invalid_rows, "drop_invalid_rows loses rows; use the dataset's quarantine"),
            (schema.add_missing_columns, "add_missing_columns changes data; add them in the transform"),
            (schema.index is not None, "a table has no index; declare its columns"),
            (schema.on_missing_columns, "on_missing_columns is not supported; leave it out"),
        ]
        for applies, what in refused:
            if applies:
                raise self.refuse(what)

    def _column(self, name: str, column: Any) -> Column:
        refused = [
            (column.regex, "a pattern for column names is not supported; name each column"),
            (column.coerce, "coerce=True changes data; cast in the transform"),
            (column.parsers, "parsers change data; do it in the transform"),
            (column.default is not None, "a default changes data; use coalesce in the transform"),
            (getattr(column, "on_missing", None), "on_missing is not supported; leave it out"),
            (column.drop_invalid_rows, "drop_invalid_rows loses rows; use the dataset's quarantine"),
            (column.dtype is None, "has no type; give it one"),
            (not isinstance(name, str) or name.startswith("__dp_"), "is a reserved name; choose another"),
        ]
        for applies, what in refused:
            if applies:
                raise self.refuse(what, name)
        metadata = dict(column.metadata or {})
        metadata.pop("severity", None)
        classification, unit = metadata.pop("classification", None), metadata.pop("unit", None)
        for label, value in (("classification", classification), ("unit", unit)):
            if value is not None and not isinstance(value, str):
                raise self.refuse(f"{label} {value!r} is not text", name)
        tags = metadata.pop("tags", {})
        if not isinstance(tags, dict):
            raise self.refuse(f"tags must be a mapping, not {tags!r}", name)
        return Column(
            name=name,
            type=self._type(name, column.dtype),
            nullable=bool(column.nullable),
            description=" ".join((column.description or column.title or "").split()),
            classification=classification,
            unit=unit,
            required=bool(column.required),
            tags={str(tag): _tag(value) for tag, value in {**metadata, **tags}.items()},
        )

    def _type(self, name: str, dtype: Any) -> str:
        if self.library == "pandas":
            found = _PANDAS_TYPES.get(str(dtype).split("[ns")[0].split("[us")[0].lower(), "")
            if str(dtype).startswith("datetime64"):
                found = (
                    "timestamp" if "," not in str(dtype) else "timestamp(UTC)" if "UTC" in str(dtype) else ""
                )
            if not found:
                raise self.refuse(f"type {dtype} has no counterpart in a published table", name)
            return found
        if type(dtype).__name__ == "PanderaSchema":
            raise self.refuse(
                "a nested schema is not supported; use pl.Struct and checks on its fields", name
            )
        if getattr(dtype, "time_zone_agnostic", False):
            raise self.refuse('time_zone_agnostic is not supported; use pl.Datetime("us", "UTC")', name)
        found = type_name(dtype.type() if isinstance(dtype.type, type) else dtype.type)
        zone = getattr(dtype.type, "time_zone", None)
        if zone not in (None, "UTC"):
            raise self.refuse(
                f'instants are published in UTC; use pl.Datetime("us", "UTC"), not {zone}', name
            )
        if part := unstorable_part(found):
            raise self.refuse(f"type {part} cannot be published; {_instead(part)}", name)
        return found

    # -- rules -----------------------------------------------------------------------------------------

    def _rules(self, columns: tuple[Column, ...]) -> Iterator[Rule]:
        schema = self.schema
        params = {"strict": schema.strict is True, "ordered": bool(schema.ordered)}
        yield Rule(self._id("columns", ()), "columns", (), params, level="schema")
        for column in columns:
            yield Rule(
                self._id("type", (column.name,)),
                "type",
                (column.name,),
                {"type": column.type},
                level="schema",
            )
        for column in columns:
            yield from self._column_rules(column, schema.columns[column.name])
        severity = self._severities(self.metadata, None)
        for key in self._unique_keys():
            yield Rule(
                self._id("unique", key),
                "unique",
                key,
                severity=severity.get("unique", severity.get("", "error")),
            )
        yield from self._row_count(severity)
        for index, check in enumerate(schema.checks):
            try:
                draft = draft_of_table_check(check, index, self.library)
            except ContractError as error:
                raise self.refuse(str(error), check.name) from error
            yield self._rule(draft, check, severity.get(draft.kind, severity.get("", "error")), columns)

    def _column_rules(self, column: Column, declared: Any) -> Iterator[Rule]:
        name = column.name
        severity = self._severities(declared.metadata or {}, name)

        def of(kind: str) -> Severity:
            return severity.get(kind, severity.get("", "error"))

        if not column.nullable:
            # pandera takes NaN for null in a column that is not nullable.
            params = {"nan_fails": True} if column.type.startswith("float") else {}
            yield Rule(self._id("not_null", (name,)), "not_null", (name,), params, of("not_null"))
        if declared.unique:
            yield Rule(self._id("unique", (name,)), "unique", (name,), severity=of("unique"))
        if type(declared.dtype).__name__ == "Enum" and self.library == "polars":
            values = sorted(declared.dtype.type.categories)
            yield Rule(
                self._id("one_of", (name,)), "one_of", (name,), {"values": values}, severity=of("one_of")
            )
        for index, check in enumerate(declared.checks):
            try:
                drafts = list(drafts_of_column_check(check, column, index, self.library))
            except ContractError as error:
                raise self.refuse(str(error), name) from error
            for draft in drafts:
                yield self._rule(draft, check, of(draft.kind), self.schema.columns)

    def _rule(self, draft: Draft, check: Any, severity: Severity, known: Any) -> Rule:
        names = [column.name if isinstance(column, Column) else column for column in known]
        if missing := [name for name in draft.columns if name not in names]:
            raise self.refuse(f"reads column {missing[0]}, which the contract does not declare", draft.name)
        return Rule(
            self._id(draft.name or draft.kind, draft.subject),
            draft.kind,
            draft.columns,
            draft.params,
            "warn" if check.raise_warning else severity,
            "row" if draft.level == "row" else "table",
            " ".join((check.description or check.title or "").split()),
        )

    def _id(self, label: str, columns: tuple[str, ...]) -> str:
        made = rule_id(label, columns, self.taken)
        self.taken.add(made)
        return made

    def _severities(self, metadata: Mapping[str, Any], field: str | None) -> dict[str, Severity]:
        """Severity by kind of rule; under the empty name that of all kinds not named."""
        given = metadata.get("severity", {})
        given = {"": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            raise self.refuse(f"severity {given!r} is neither text nor a mapping", field)
        for kind, severity in given.items():
            if kind and (kind in _SCHEMA_LEVEL or kind not in get_args(RuleKind)):
                raise self.refuse(f"severity of {kind!r}: there is no such kind of rule on rows", field)
            if severity not in ("error", "warn"):
                raise self.refuse(f"severity {severity!r} is unknown; error or warn", field)
        return given

    def _unique_keys(self) -> tuple[tuple[str, ...], ...]:
        unique = self.schema.unique or []
        if isinstance(unique, str):
            unique = [unique]
        keys = [unique] if all(isinstance(part, str) for part in unique) else unique
        for key in keys:
            if missing := [name for name in key if name not in self.schema.columns]:
                raise self.refuse(f"unique names {missing[0]}, which is not a column")
        return tuple(tuple(key) for key in keys if key)

    def _row_count(self, severity: Mapping[str, Severity]) -> Iterator[Rule]:
        given = self.metadata.get("row_count")
        if given is None:
            return
        limits = [given.get("minimum"), given.get("maximum")] if isinstance(given, dict) else [None, None]
        whole = all(limit is None or type(limit) is int for limit in limits)
        if (
            not isinstance(given, dict)
            or set(given) - {"minimum", "maximum"}
            or not whole
            or limits == [None] * 2
        ):
            raise self.refuse(f'row_count {given!r} is not understood; {{"minimum": 1}} say')
        params = {"minimum": limits[0], "maximum": limits[1]}
        yield Rule(
            self._id("row_count", ()),
            "row_count",
            (),
            params,
            severity.get("row_count", severity.get("", "error")),
            "table",
        )


def _tag(value: Any) -> str:
    """A label's text; of several values (``examples``), all of them, as ODCS contracts have it."""
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _instead(part: str) -> str:
    if part.startswith(("uint", "int128")):
        return "use a signed integer of at most 64 bits or a decimal"
    if part.startswith("timestamp"):
        return 'timestamps have microseconds: pl.Datetime("us")'
    return "use a number, a text or a list"


_PANDAS_TYPES = {
    **{f"int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    "float32": "float32",
    "float64": "float64",
    "bool": "bool",
    "boolean": "bool",
    "str": "string",
    "string": "string",
    "string[pyarrow]": "string",
    "string[python]": "string",
    "date": "date",
}


def _hash(
    columns: tuple[Column, ...],
    key: tuple[str, ...],
    rules: tuple[Rule, ...],
    strict: bool,
    sources: Mapping[str, bytes],
) -> str:
    from dp_dagster.contracts.sources import without_comments

    content = Contract("", "", "pandera", "", columns, rules, key, strict).to_dict()
    parts: list[Any] = [content["columns"], content["key"], content["rules"], strict]
    if any(rule.kind == "custom" for rule in rules):
        # Only the code says what such a check means.
        parts.append({relative: without_comments(text) for relative, text in sorted(sources.items())})
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
