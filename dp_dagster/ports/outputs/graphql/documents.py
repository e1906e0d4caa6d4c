"""Documents that were asked: parsed, held to limits, validated, and kept for the next who asks the same.

Limits come first, on what was parsed, since validation itself takes long on a document that was made for that.
graphql-core's rule for overlapping fields compares each with each; the schema has no interfaces and no unions, so
one walk that compares each field with the first of its name says the same in linear time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    get_named_type,
    parse,
    print_ast,
    specified_rules,
    validate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from graphql import DocumentNode, GraphQLSchema, SelectionSetNode

_MOST_TOKENS = 5_000
_MOST_ERRORS = 10
_MOST_OPERATIONS = 20
# What introspection needs to tell of types within types; what it may name is limited by validation.
_INTROSPECTION_DEPTH = 25
_INTROSPECTION = ("__schema", "__type")
_RULES = [rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule]


class DocumentError(Exception):
    """A document is refused; ``errors`` say why, with places."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True)
class DocumentLimits:
    """Attributes: how deep a document may go, and how many fields it may name, fragments counted where used."""

    depth: int
    fields: int
    introspection: bool


@dataclass
class Prepared:
    """A document that may be executed.

    Attributes:
        document: As it was parsed.
        operations: By name; ``None`` for the one without.
        fragments: By name.
        answers: What introspection said, by operation, where it depends on no variable.
    """

    document: DocumentNode
    operations: dict[str | None, OperationDefinitionNode]
    fragments: dict[str, FragmentDefinitionNode]
    answers: dict[str | None, dict[str, Any]] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to execute.

        Raises:
            DocumentError: there is none of that name, or several and no name.
        """
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        if name is None:
            raise DocumentError(
                GraphQLError("the document has several operations; say which in operationName")
            )
        if name not in self.operations:
            raise DocumentError(GraphQLError(f"the document has no operation {name[:100]!r}"))
        return self.operations[name]


class Documents:
    """The documents of one schema. Those that were asked lately are kept, up to ``kept``."""

    def __init__(self, schema: GraphQLSchema, limits: DocumentLimits, kept: int = 256) -> None:
        self._schema = schema
        self._limits = limits
        self._kept = kept
        self._known: OrderedDict[str, Prepared] = OrderedDict()

    def prepare(self, text: str) -> Prepared:
        """Read a document, or find it among those that were read.

        Raises:
            DocumentError: it does not parse, goes beyond a limit, or does not fit the schema.
        """
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        try:
            prepared = self._prepare(text)
        except RecursionError:
            raise DocumentError(GraphQLError("the document is nested too deeply; flatten it")) from None
        self._known[text] = prepared
        if len(self._known) > self._kept:
            self._known.popitem(last=False)
        return prepared

    def _prepare(self, text: str) -> Prepared:
        try:
            document = parse(text, max_tokens=_MOST_TOKENS)
        except GraphQLError as error:
            raise DocumentError(error) from None
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        if len(operations) > _MOST_OPERATIONS:
            raise DocumentError(
                GraphQLError(f"the document has {len(operations)} operations; {_MOST_OPERATIONS} are allowed")
            )
        for operation in operations:
            if operation.operation is not OperationType.QUERY:
                raise DocumentError(
                    GraphQLError(
                        f"only queries are answered: there is no {operation.operation.value}", operation
                    )
                )
        measure = _Measure(fragments)
        for operation in operations:
            self._hold(measure, operation)
        rules = _RULES if self._limits.introspection else [*_RULES, NoSchemaIntrospectionCustomRule]
        if errors := validate(self._schema, document, rules, max_errors=_MOST_ERRORS):
            raise DocumentError(*(self._spoken(error) for error in errors))
        walk = _Overlaps(fragments)
        query = self._schema.query_type
        for operation in operations:
            if query is not None:
                walk.check(query, [operation.selection_set])
        return Prepared(
            document,
            {operation.name.value if operation.name else None: operation for operation in operations},
            fragments,
        )

    def _hold(self, measure: _Measure, operation: OperationDefinitionNode) -> None:
        fields, depth, introspection = measure.of(operation.selection_set)
        for what, found, allowed in (
            ("fields", fields, self._limits.fields),
            ("levels", depth, self._limits.depth),
            ("levels of introspection", introspection, _INTROSPECTION_DEPTH),
        ):
            if found > allowed:
                raise DocumentError(
                    GraphQLError(
                        f"the query has {_number(found)} {what}; {allowed} are allowed, ask for less at once"
                    )
                )

    def _spoken(self, error: GraphQLError) -> GraphQLError:
        """An error without guesses at names, where the schema is not to be told."""
        if self._limits.introspection:
            return error
        message = error.message.partition(" Did you mean")[0]
        return GraphQLError(message, error.nodes)


_META_FIELDS = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}
_FAR_TOO_MANY = 10**6


def _number(found: int) -> str:
    return f"{found:,}" if found < _FAR_TOO_MANY else f"more than {_FAR_TOO_MANY:,}"


class _Measure:
    """Counts fields and levels, each fragment once, so that it is quick however often one is used."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, tuple[int, int, int]] = {}

    def of(self, selections: SelectionSetNode | None) -> tuple[int, int, int]:
        """Fields, levels, and levels below introspection."""
        fields = depth = introspection = 0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                below = self.of(node.selection_set)
                found = (1 + below[0], 1 + below[1], below[2])
                if node.name.value in _INTROSPECTION:
                    found = (found[0], 1, found[1])
            elif isinstance(node, InlineFragmentNode):
                found = self.of(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                found = self._fragment(node.name.value)
            else:  # there is no other kind of selection
                raise TypeError(node.kind)
            fields = min(fields + found[0], _FAR_TOO_MANY)
            depth, introspection = max(depth, found[1]), max(introspection, found[2])
        return fields, depth, introspection

    def _fragment(self, name: str) -> tuple[int, int, int]:
        if name not in self._known:
            # A fragment that comes back to itself counts as nothing here; validation refuses it.
            self._known[name] = (0, 0, 0)
            fragment = self._fragments.get(name)
            if fragment is not None:
                self._known[name] = self.of(fragment.selection_set)
        return self._known[name]


class _Overlaps:
    """Holds that fields of one name in the answer are one field, with the same arguments."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments

    def check(self, parent: GraphQLObjectType, selections: Sequence[SelectionSetNode]) -> None:
        first: dict[str, FieldNode] = {}
        below: dict[str, list[SelectionSetNode]] = {}
        spread: set[str] = set()
        for node in (node for one in selections for node in self._fields(one, spread)):
            key = node.alias.value if node.alias else node.name.value
            other = first.setdefault(key, node)
            if other is not node and _said(other) != _said(node):
                raise DocumentError(
                    GraphQLError(
                        f"{key!r} is asked for as {_said(other)} and as {_said(node)}; give one of them another alias",
                        [other, node],
                    )
                )
            if node.selection_set is not None:
                below.setdefault(key, []).append(node.selection_set)
        for key, sets in below.items():
            definition = parent.fields.get(first[key].name.value)
            definition = definition or _META_FIELDS.get(first[key].name.value)
            kind = get_named_type(definition.type) if definition is not None else None
            if isinstance(kind, GraphQLObjectType):
                self.check(kind, sets)

    def _fields(self, selections: SelectionSetNode, spread: set[str]) -> Iterator[FieldNode]:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields(node.selection_set, spread)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                yield from self._fields(self._fragments[node.name.value].selection_set, spread)


def _said(node: FieldNode) -> str:
    arguments = ", ".join(sorted(print_ast(argument) for argument in node.arguments))
    return f"{node.name.value}({arguments})" if arguments else node.name.value
