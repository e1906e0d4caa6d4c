"""One schema object of an ODCS document compiled into a contract."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from dp_dagster.contracts.literals import is_nested
from dp_dagster.contracts.model import Column, Contract, Rule
from dp_dagster.contracts.odcs.columns import column_of
from dp_dagster.contracts.odcs.drafts import Draft, Subject
from dp_dagster.contracts.odcs.options import literal, option_rules
from dp_dagster.contracts.odcs.quality import QualityRules
from dp_dagster.contracts.odcs.relationships import Relationships
from dp_dagster.contracts.odcs.service_levels import service_levels
from dp_dagster.contracts.odcs.types import field_name, wish
from dp_dagster.contracts.rule_ids import rule_id
from dp_dagster.contracts.satisfiable import check_satisfiable
from dp_dagster.contracts.type_trees import leaf_type
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.errors import ContractDocumentError, ContractError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.contracts.odcs.models import Property, SchemaObject
    from dp_dagster.contracts.odcs.reading import OdcsDocument
    from dp_dagster.descriptor.paths import Keys


def compile_odcs(document: OdcsDocument, name: str | None, *, source: str) -> Contract:
    """Compile one schema object.

    Args:
        document: The document.
        name: Of the object; may be left out where there is only one.
        source: ``contracts/shop.odcs.yaml:orders``.

    Raises:
        ContractDocumentError: The document says something that is refused; with every problem found.
    """
    objects = document.head.schema_ or []
    if not objects:
        fix = "describe the table: `schema: [{name: …, properties: …}]`"
        raise ContractDocumentError([document.problem(("schema",), "is missing or empty", fix)])
    names = [one.name for one in objects]
    if name is None and len(objects) > 1:
        raise ContractDocumentError(
            [
                document.problem(
                    ("schema",),
                    f"holds {len(objects)} objects: {', '.join(names)}",
                    f"name one: {source}:{names[0]}",
                )
            ]
        )
    if name is not None and name not in names:
        raise ContractDocumentError(
            [document.problem(("schema",), f"there is no {name}", suggestion(name, names))]
        )
    number = names.index(name) if name is not None else 0
    return _Compiler(document, number, source).compile()


class _Compiler:
    def __init__(self, document: OdcsDocument, number: int, source: str) -> None:
        self.document = document
        self.objects = document.head.schema_ or []
        self.own: SchemaObject = self.objects[number]
        self.keys: Keys = ("schema", number)
        self.source = source
        self.problems: list[Problem] = []
        self.taken: set[str] = set()
        self.relationships = Relationships(self.own, self.objects, self.add)

    def add(self, keys: Keys, message: str, fix: str = "") -> None:
        self.problems.append(self.document.problem(keys, message, fix))

    def compile(self) -> Contract:
        properties = self.own.properties or []
        if not properties:
            self.add((*self.keys, "properties"), "is missing or empty", "name each column that is promised")
        columns: list[Column] = []
        drafts: list[Draft] = []
        for number, prop in enumerate(properties):
            keys: Keys = (*self.keys, "properties", number)
            column = column_of(prop, wish(prop, keys, self.add))
            if column.name in [one.name for one in columns] or column.name.startswith("__dp_"):
                self.add((*keys, "name"), f"{column.name} is taken", "choose another name")
            columns.append(column)
        quality = self._quality(columns)
        for number, (prop, column) in enumerate(zip(properties, columns, strict=True)):
            subject = Subject(column.name, (), column.type, (*self.keys, "properties", number))
            drafts += self._property(prop, subject, quality)
        drafts += self._keys()
        for number, one in enumerate(self.own.relationships or ()):
            drafts += self.relationships.of_schema(one, (*self.keys, "relationships", number))
        for number, rule in enumerate(self.own.quality or ()):
            drafts += quality.drafts(rule, (*self.keys, "quality", number), None)
        strict = self.own.custom("strict") is True
        rules = tuple(self._rules(columns, drafts, strict=strict))
        if self.problems:
            raise ContractDocumentError(sorted(set(self.problems), key=lambda one: (one.line, one.field)))
        key = tuple(field_name(prop) for prop in _primary_key(properties))
        return Contract(
            name=self.own.name,
            hash=_hash(columns, key, rules, strict=strict),
            format="odcs",
            source=self.source,
            columns=tuple(columns),
            rules=rules,
            key=key,
            strict=strict,
            version=self.document.head.version,
            description=self._description(),
            service_levels=service_levels(self.document, self.own.name),
        )

    def _quality(self, columns: list[Column]) -> QualityRules:
        known = {
            prop.name or column.name: (column.name, column.type)
            for prop, column in zip(self.own.properties or [], columns, strict=True)
        }
        tables = tuple(dict.fromkeys(one for one in (self.own.name, self.own.physical_name) if one))
        return QualityRules(known, tables, self.add)

    def _description(self) -> str:
        described = self.document.head.description
        purpose = (described.purpose if described is not None else None) or ""
        own = self.own.description or self.own.business_name or ""
        return "\n\n".join(text.strip() for text in (own, purpose) if text.strip())

    # -- one property -----------------------------------------------------------------------------------

    def _property(self, prop: Property, subject: Subject, quality: QualityRules) -> Iterator[Draft]:
        keys = subject.keys
        if prop.required or (prop.primary_key and not subject.path):
            place = "required" if prop.required else "primaryKey"
            yield Draft("not_null", (*keys, place), subject)
        if prop.unique:
            if subject.path or is_nested(subject.type):
                self.add((*keys, "unique"), "applies to whole columns of single values", "remove it")
            elif not (prop.primary_key and len(_primary_key(self.own.properties or [])) == 1):
                yield Draft("unique", (*keys, "unique"), None, (subject.column,), {"null_ignored": True})
        yield from option_rules(prop, subject, self.document.version, self.add)
        yield from self._enumeration(prop, subject)
        for number, one in enumerate(prop.relationships or ()):
            yield from self.relationships.of_property(one, (*keys, "relationships", number), subject)
        for number, rule in enumerate(prop.quality or ()):
            yield from quality.drafts(rule, (*keys, "quality", number), subject)
        yield from self._parts(prop, subject, quality)

    def _parts(self, prop: Property, subject: Subject, quality: QualityRules) -> Iterator[Draft]:
        parts: list[tuple[list[str], Property, Keys]] = [
            (["field", field_name(part)], part, (*subject.keys, "properties", number))
            for number, part in enumerate(prop.properties or ())
        ]
        if prop.items is not None:
            parts.append((["items"], prop.items, (*subject.keys, "items")))
        if prop.map is not None:
            parts.append((["key"], prop.map.key, (*subject.keys, "map", "key")))
            parts.append((["value"], prop.map.value, (*subject.keys, "map", "value")))
        for step, part, keys in parts:
            if part.primary_key:
                self.add((*keys, "primaryKey"), "a part of a column is no key", "move it to a column")
            type_name = leaf_type(subject.type, [step])
            yield from self._property(part, subject.below(step, type_name, keys), quality)

    def _enumeration(self, prop: Property, subject: Subject) -> Iterator[Draft]:
        if not prop.enum:
            return
        values = []
        for number, one in enumerate(prop.enum):
            if one.value is None:
                continue  # whether null is allowed is said by `required`
            try:
                values.append(literal(one.value, subject.type))
            except ValueError as error:
                self.add((*subject.keys, "enum", number, "value"), str(error), "correct the value")
        yield Draft("one_of", (*subject.keys, "enum"), subject, params={"values": values}, name="enum")

    def _keys(self) -> Iterator[Draft]:
        properties = self.own.properties or []
        key = _primary_key(properties)
        positions = [prop.primary_key_position for prop in key]
        given = [one for one in positions if one is not None and one > 0]
        for prop in key:
            if len(given) != len(set(given)) and prop.primary_key_position in given:
                place: Keys = (*self.keys, "properties", properties.index(prop), "primaryKeyPosition")
                self.add(
                    place, f"{prop.primary_key_position} is given twice", "number the columns of the key"
                )
        if key:
            place = (*self.keys, "properties", properties.index(key[0]), "primaryKey")
            yield Draft("unique", place, None, tuple(field_name(prop) for prop in key))

    # -- rules ------------------------------------------------------------------------------------------

    def _rules(self, columns: list[Column], drafts: list[Draft], *, strict: bool) -> Iterator[Rule]:
        yield Rule(
            self._id("columns", ()), "columns", (), {"strict": strict, "ordered": False}, level="schema"
        )
        for column in columns:
            params = {"type": column.type} | ({"accepts": column.accepts} if column.accepts else {})
            yield Rule(self._id("type", (column.name,)), "type", (column.name,), params, level="schema")
        made = [(draft, self._rule(draft)) for draft in drafts]
        for draft, rule in made:
            self._check(draft, rule, columns)
        for column in columns:
            self._check_column(
                column, [(draft, rule) for draft, rule in made if rule.columns == (column.name,)]
            )
        yield from (rule for _, rule in made)

    def _rule(self, draft: Draft) -> Rule:
        subject = draft.subject
        columns = draft.columns or ((subject.column,) if subject is not None else ())
        params = dict(draft.params)
        if subject is not None and subject.path:
            params["path"] = [list(step) for step in subject.path]
        label = subject.label if subject is not None else columns
        identifier = self._id(draft.name or draft.kind, label)
        return Rule(identifier, draft.kind, columns, params, draft.severity, draft.level, draft.description)

    def _check_column(self, column: Column, made: list[tuple[Draft, Rule]]) -> None:
        """Refuse rules that no value can keep together, at the first that contradicts those before it."""
        kept: list[Rule] = []
        for draft, rule in made:
            if rule.params.get("path") or rule.level != "row":
                continue
            try:
                check_satisfiable([*kept, rule], [column], lambda text, _: ContractError(text))
            except ContractError as error:
                self.add(draft.keys, str(error))
            else:
                kept.append(rule)

    def _check(self, draft: Draft, rule: Rule, columns: list[Column]) -> None:
        """Refuse what cannot be evaluated on the declared types, such as a regular expression that does not compile."""
        import polars as pl

        known = {column.name for column in columns}
        if missing := [name for name in rule.columns if name not in known]:
            self.add(draft.keys, f"{missing[0]} is no column", suggestion(missing[0], known))
        patterns = [rule.params.get("regex")] + [
            one["params"].get("regex") for one in rule.params.get("of", ())
        ]
        for regex in patterns:
            if regex is None:
                continue
            try:
                pl.Series(["x"]).str.contains(regex)
            except pl.exceptions.PolarsError as error:
                cause = " ".join(str(error).split())
                self.add(
                    draft.keys,
                    f"is no regular expression that takes linear time: {cause[:200]}",
                    "correct it; look-around and back-references are not supported",
                )

    def _id(self, label: str, columns: tuple[str, ...]) -> str:
        made = rule_id(label, columns, self.taken)
        self.taken.add(made)
        return made


def _primary_key(properties: list[Property]) -> list[Property]:
    """The columns of the key by position; those without one follow in the order of the document."""
    key = [prop for prop in properties if prop.primary_key]
    return sorted(key, key=lambda prop: _position(prop) or len(properties) + 1)


def _position(prop: Property) -> int | None:
    position = prop.primary_key_position
    return position if position is not None and position > 0 else None


def _hash(columns: list[Column], key: tuple[str, ...], rules: tuple[Rule, ...], *, strict: bool) -> str:
    content = Contract("", "", "odcs", "", tuple(columns), rules, key, strict).to_dict()
    parts = [content["columns"], content["key"], content["rules"], strict]
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
