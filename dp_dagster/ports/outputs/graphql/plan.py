"""An operation as a plan: what to read, at what cost, and what the answer is made of. Nothing is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSkipDirective,
    InlineFragmentNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
)

from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.ports.outputs.graphql.names import field_names
from dp_dagster.ports.outputs.graphql.scalars import RefusedError
from dp_dagster.ports.outputs.graphql.selection import (
    NULL_PLACE,
    TYPE_NAME_PLACE,
    Columns,
    RelatedPlan,
    Selection,
    change_of,
    part_change_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from graphql import OperationDefinitionNode, SelectionSetNode

    from dp_dagster.contracts.type_trees import TypeTree
    from dp_dagster.ports.outputs.graphql.documents import Prepared
    from dp_dagster.ports.outputs.graphql.model import PageLimits, PortSchema

# What a query costs besides its rows, and a count of all rows, in rows; and how many fields a row costs one more for.
_QUERY_COST = 10
_COUNT_COST = 100
_FIELDS_OF_A_ROW = 25

Nodes = list[FieldNode]


@dataclass
class RootPlan:
    """A field of the query itself. ``kind`` says which: ``page``, ``row``, ``version``, ``meta`` or ``name``."""

    key: str
    kind: str
    node: FieldNode
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    edges: dict[str, dict[str, str | Selection]] = field(default_factory=dict)
    nodes: dict[str, Selection] = field(default_factory=dict)
    info: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    limit: int = 0
    type_name: str = ""

    @property
    def selections(self) -> Iterator[Selection]:
        """What was asked of rows, wherever it stands."""
        yield from self.nodes.values()
        for edge in self.edges.values():
            yield from (part for part in edge.values() if isinstance(part, Selection))

    @property
    def reads_rows(self) -> bool:
        """Whether a page must be read."""
        return bool(self.edges or self.nodes or self.info)

    @property
    def relates(self) -> bool:
        """Whether rows are looked up by the values of others."""
        return any(selection.related for selection in self.selections)

    @property
    def counts(self) -> bool:
        """Whether all rows must be counted."""
        return "totalCount" in self.fields.values()

    @property
    def wants_cursors(self) -> bool:
        """Whether each row's cursor was asked for."""
        return any("cursor" in edge.values() for edge in self.edges.values())


class Planner:
    """Plans operations on one schema.

    Args:
        schema: Of the port.
        prepared: The document.
        variables: Coerced.
        limits: Sizes of pages.
        most_cost: What one operation may cost.
    """

    def __init__(
        self,
        schema: PortSchema,
        prepared: Prepared,
        variables: dict[str, Any],
        limits: PageLimits,
        most_cost: int,
    ) -> None:
        self._schema = schema
        self._fragments = prepared.fragments
        self._variables = variables
        self._limits = limits
        self._most_cost = most_cost

    def plan(self, operation: OperationDefinitionNode) -> list[RootPlan]:
        """The fields of an operation, in order.

        Raises:
            RefusedError: an argument is wrong, or the operation costs more than is allowed.
        """
        query = self._schema.graphql.query_type
        if query is None:
            raise RefusedError("there is nothing to query")
        roots = []
        cost = 0
        for key, nodes in self._collect([operation.selection_set]).items():
            name = nodes[0].name.value
            if name == "__typename":
                roots.append(RootPlan(key, "name", nodes[0], type_name=query.name))
                continue
            if name.startswith("__"):
                roots.append(RootPlan(key, "meta", nodes[0]))
                continue
            definition = query.fields[name]
            arguments = get_argument_values(definition, nodes[0], self._variables)
            kind = get_named_type(definition.type)
            if name == self._schema.many:
                root, spent = self._page(key, nodes, arguments, kind.name)
            elif name == self._schema.one:
                root = RootPlan(key, "row", nodes[0], arguments, type_name=kind.name)
                selection, below = self._row(kind.name, _sets(nodes), root.columns)
                root.nodes[key] = selection
                spent = _QUERY_COST + 1 + below
            else:
                fields = {one: found[0].name.value for one, found in self._collect(_sets(nodes)).items()}
                root = RootPlan(key, "version", nodes[0], arguments, fields, type_name=kind.name)
                spent = 1
            cost += spent
            roots.append(root)
        if cost > self._most_cost:
            raise RefusedError(
                f"the query may cost {cost:,} rows; {self._most_cost:,} are allowed, ask for fewer rows at once"
            )
        return roots

    def _page(
        self, key: str, nodes: Nodes, arguments: Mapping[str, Any], type_name: str
    ) -> tuple[RootPlan, int]:
        root = RootPlan(key, "page", nodes[0], arguments, type_name=type_name)
        root.limit = self._page_size(arguments)
        base = self._schema.own
        below = 0
        for one, found in self._collect(_sets(nodes)).items():
            name = found[0].name.value
            root.fields[one] = name
            if name == "nodes":
                root.nodes[one], cost = self._row(base, _sets(found), root.columns)
                below += cost
            elif name == "edges":
                edge: dict[str, str | Selection] = {}
                for part, inner in self._collect(_sets(found)).items():
                    edge[part] = inner[0].name.value
                    if inner[0].name.value == "node":
                        edge[part], cost = self._row(base, _sets(inner), root.columns)
                        below += cost
                root.edges[one] = edge
            elif name == "pageInfo":
                root.info[one] = {
                    part: inner[0].name.value for part, inner in self._collect(_sets(found)).items()
                }
        cost = _QUERY_COST + (root.limit * (1 + below) if root.reads_rows else 0)
        return root, cost + (_COUNT_COST if root.counts else 0)

    def _page_size(self, arguments: Mapping[str, Any]) -> int:
        first, last = arguments.get("first"), arguments.get("last")
        if first is not None and last is not None:
            raise RefusedError("first and last exclude each other; give one of them")
        if arguments.get("after") is not None and arguments.get("before") is not None:
            raise RefusedError("after and before exclude each other; give one of them")
        if first is not None and arguments.get("before") is not None:
            raise RefusedError("before goes with last; for rows behind a cursor use first and after")
        if last is not None and arguments.get("after") is not None:
            raise RefusedError("after goes with first; for rows in front of a cursor use last and before")
        return self._held("first" if first is not None else "last", first if first is not None else last)

    def _held(self, name: str, asked: int | None) -> int:
        if asked is None:
            return self._limits.page
        if not 0 <= asked <= self._limits.most:
            raise RefusedError(
                f"{name}: {asked} is not between 0 and {self._limits.most:,}; ask for further rows by their cursor"
            )
        return asked

    def _row(self, base: str, sets: Sequence[SelectionSetNode], columns: Columns) -> tuple[Selection, int]:
        """What was asked of rows of a type, and what each may cost besides itself: by its width, and rows behind it."""
        fields = self._schema.rows[base]
        types = self._fields_of(base)
        selection = Selection(fields, base)
        cost = 0
        for key, nodes in self._collect(sets).items():
            name = nodes[0].name.value
            column = fields.columns.get(name)
            if column is not None:
                selection.places[key] = columns.place(column.name)
                kind = get_named_type(types[name].type)
                change = change_of(
                    parse_type(column.type),
                    key,
                    selection,
                    partial(self._parts, kind, _sets(nodes), key, selection),
                )
                if change is not None:
                    selection.changes[key] = change
                if isinstance(types[name].type, GraphQLNonNull):
                    selection.required.add(column.name)
            elif name in fields.relations:
                related, below = self._related(key, base, nodes, columns)
                selection.places[key] = NULL_PLACE
                selection.related.append(related)
                cost += below
            else:
                selection.places[key] = TYPE_NAME_PLACE
        return selection, cost + len(selection.places) // _FIELDS_OF_A_ROW

    def _related(self, key: str, base: str, nodes: Nodes, columns: Columns) -> tuple[RelatedPlan, int]:
        relation = self._schema.rows[base].relations[nodes[0].name.value]
        definition = self._fields_of(base)[nodes[0].name.value]
        most = 1
        if not relation.is_one:
            most = self._held(
                "first", get_argument_values(definition, nodes[0], self._variables).get("first")
            )
        theirs = Columns()
        selection, below = self._row(get_named_type(definition.type).name, _sets(nodes), theirs)
        places = tuple(columns.place(name) for name in relation.here)
        return RelatedPlan(key, relation, places, most, selection, theirs), most * (1 + below)

    def _fields_of(self, type_name: str) -> dict[str, GraphQLField]:
        kind = self._schema.graphql.type_map[type_name]
        if not isinstance(kind, GraphQLObjectType):
            raise TypeError(f"{type_name} has no fields")
        fields: dict[str, GraphQLField] = kind.fields
        return fields

    def _parts(
        self, kind: Any, sets: Sequence[SelectionSetNode], key: str, selection: Selection, tree: TypeTree
    ) -> Callable[[Any], Any]:
        """How structs and entries of maps are written: the fields that were asked for, in that order."""
        names = {spoken: part for part, spoken in field_names(part for part, _ in tree.parts).items()}
        entries: list[tuple[str, str, Callable[[Any], Any] | None]] = []
        for spoken, nodes in self._collect(sets).items():
            name = nodes[0].name.value
            if name == "__typename":
                entries.append((spoken, "", None))
                continue
            part = tree.part(names[name])
            if part is None:
                raise TypeError(f"{kind} has no {name}")
            inner = get_named_type(kind.fields[name].type)
            below = partial(self._parts, inner, _sets(nodes), key, selection)
            entries.append((spoken, names[name], part_change_of(part, key, selection, below)))

        def change(value: Any) -> dict[str, Any]:
            made = {}
            for spoken, part, change_part in entries:
                found = value.get(part) if part else kind.name
                made[spoken] = change_part(found) if change_part is not None and found is not None else found
            return made

        return change

    # -- fields -----------------------------------------------------------------------------------------------

    def _collect(self, sets: Iterable[SelectionSetNode]) -> dict[str, Nodes]:
        """The fields of selections, merged by their key in the answer; ``@skip`` and ``@include`` are obeyed."""
        found: dict[str, Nodes] = {}
        spread: set[str] = set()
        for one in sets:
            self._gather(one, found, spread)
        return found

    def _gather(self, selections: SelectionSetNode, found: dict[str, Nodes], spread: set[str]) -> None:
        for node in selections.selections:
            if node.directives and not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                self._gather(node.selection_set, found, spread)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                self._gather(self._fragments[node.name.value].selection_set, found, spread)

    def _is_included(self, node: Any) -> bool:
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and not (include and not include["if"])


def _sets(nodes: Nodes) -> list[SelectionSetNode]:
    return [node.selection_set for node in nodes if node.selection_set is not None]
