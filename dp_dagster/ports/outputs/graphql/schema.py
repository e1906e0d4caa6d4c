"""The schema of a port as one view sees it, built from the columns of the published version.

Types are graphql-core's, so that its parser, validator and introspection work on them; none has a resolver.
What a field stands for is kept beside the types, for :mod:`.plan` to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
)

from dp_dagster.contracts.literals import is_float
from dp_dagster.contracts.type_trees import TypeTree, parse_type
from dp_dagster.ports.outputs.graphql.filters import Inputs, argument_types, inputs_of
from dp_dagster.ports.outputs.graphql.model import PortSchema, Relation, RowFields
from dp_dagster.ports.outputs.graphql.names import field_names, free, type_name
from dp_dagster.ports.outputs.graphql.scalars import DATE_TIME, LONG, scalar_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.base import Relationship
    from dp_dagster.ports.outputs.graphql.model import PageLimits, Seen

_SCALARS = {
    "Int",
    "Float",
    "String",
    "Boolean",
    "ID",
    "Long",
    "Decimal",
    "Date",
    "DateTime",
    "LocalDateTime",
    "Bytes",
}

AS_OF = GraphQLInputObjectType(
    "AsOf",
    {
        "version": GraphQLInputField(LONG, description="A version by its number."),
        "time": GraphQLInputField(DATE_TIME, description="The version that was on show at that moment."),
    },
    description="Which version to read: exactly one of the two is given. Without it, the newest.",
)
PAGE_INFO = GraphQLObjectType(
    "PageInfo",
    {
        "hasNextPage": GraphQLField(GraphQLNonNull(GraphQLBoolean)),
        "hasPreviousPage": GraphQLField(GraphQLNonNull(GraphQLBoolean)),
        "startCursor": GraphQLField(GraphQLString),
        "endCursor": GraphQLField(GraphQLString),
    },
    description="Where a page stands.",
)
VERSION_FIELDS = {
    "version": GraphQLField(GraphQLNonNull(LONG), description="Number of the version that was read."),
    "publishedAt": GraphQLField(GraphQLNonNull(DATE_TIME), description="When it was published."),
}
VERSION = GraphQLObjectType(
    "DatasetVersion",
    {
        **VERSION_FIELDS,
        "dataset": GraphQLField(GraphQLNonNull(GraphQLString), description="Of which dataset."),
    },
    description="A published version. It never changes.",
)


def build_schema(
    own: Seen,
    others: Mapping[str, Seen],
    relationships: Iterable[Relationship],
    limits: PageLimits,
    *,
    description: str = "",
    deprecated: str = "",
) -> PortSchema:
    """The schema of a port.

    Args:
        own: The port's dataset.
        others: The other datasets that may be seen, by name.
        relationships: Of the product.
        limits: Sizes of pages.
        description: Of the port.
        deprecated: Why the port's major version should no longer be used; empty while it should.
    """
    return _Builder({own.dataset: own, **others}, tuple(relationships), limits).build(
        own, description, deprecated
    )


class _Builder:
    def __init__(
        self, seen: Mapping[str, Seen], relationships: tuple[Relationship, ...], limits: PageLimits
    ) -> None:
        self.limits = limits
        self.taken = {"Query", "AsOf", "PageInfo", "DatasetVersion", "Direction", "Presence"} | _SCALARS
        self.taken |= {f"{name}Conditions" for name in self.taken}
        self.seen = dict(seen)
        self.types: dict[str, GraphQLObjectType] = {}
        self.rows: dict[str, RowFields] = {}
        self.inputs: dict[str, Inputs] = {}
        # Names are given in one order, not in the order in which types refer to each other.
        self.bases = {dataset: self._base(dataset) for dataset in self.seen}
        relations = {dataset: self._relations(dataset, relationships) for dataset in self.seen}
        for dataset in self.seen:
            self._row_type(dataset, relations[dataset])

    def build(self, own: Seen, description: str, deprecated: str) -> PortSchema:
        base = self.bases[own.dataset]
        node = self.types[own.dataset]
        many = field_names([own.dataset])[own.dataset]
        reason = deprecated or None
        fields = {
            many: GraphQLField(
                self._connection(base, node),
                {
                    "first": GraphQLArgument(
                        GraphQLInt,
                        description=f"At most that many rows from the front; {self.limits.page} unless said, "
                        f"{self.limits.most} at most.",
                    ),
                    "after": GraphQLArgument(GraphQLString, description="Go on behind this cursor."),
                    "last": GraphQLArgument(GraphQLInt, description="At most that many rows from the end."),
                    "before": GraphQLArgument(GraphQLString, description="Go on in front of this cursor."),
                    **argument_types(self.inputs[own.dataset]),
                    "asOf": GraphQLArgument(AS_OF, description="Which version; the newest by default."),
                },
                description=_text(description, f"Rows of {own.dataset}, page by page."),
                deprecation_reason=reason,
            )
        }
        key = {own.names[name]: own.visible[name] for name in own.key if name in own.visible}
        as_of = "asOf"
        keyed = bool(key) and own.reads(own.key) and all(scalar_of(one.type) for one in key.values())
        one = free(f"{many}ByKey", fields) if keyed else ""
        if keyed:
            arguments = {
                name: GraphQLArgument(
                    GraphQLNonNull(scalar_of(column.type)), description=column.description or None
                )
                for name, column in key.items()
            }
            as_of = free("asOf", arguments)
            arguments[as_of] = GraphQLArgument(AS_OF, description="Which version; the newest by default.")
            fields[one] = GraphQLField(
                node,
                arguments,
                description=f"The row of {own.dataset} with this key; null if there is none.",
                deprecation_reason=reason,
            )
        fields[free("datasetVersion", fields)] = GraphQLField(
            VERSION,
            {"asOf": GraphQLArgument(AS_OF, description="Which version; the newest by default.")},
            description="The version that is read.",
        )
        schema = GraphQLSchema(
            GraphQLObjectType("Query", fields, description=_text(description, own.dataset)),
            description=_text(description, f"Rows of {own.dataset}."),
        )
        return PortSchema(schema, self.rows, base, many, one, key if keyed else {}, as_of)

    def _base(self, dataset: str) -> str:
        base = type_name(dataset)
        suffixes = ("", "Filter", "Order", "Column", "Connection", "Edge")
        while any(f"{base}{suffix}" in self.taken for suffix in suffixes):
            base += "_"
        self.taken |= {f"{base}{suffix}" for suffix in suffixes}
        self.inputs[dataset] = inputs_of(
            base,
            dataset,
            self.seen[dataset].visible.values(),
            self.seen[dataset].names,
            self.seen[dataset].view,
        )
        return base

    def _relations(self, dataset: str, relationships: tuple[Relationship, ...]) -> list[Relation]:
        """Fields that lead from a dataset to others, in both directions, where both ends may be read."""
        found: list[tuple[Relation, tuple[str, ...]]] = []
        for one in relationships:
            if one.dataset == dataset:
                found.append(
                    (
                        Relation(one.target, one.columns, one.target, one.target_columns, one.to_one),
                        one.columns,
                    )
                )
            if one.target == dataset:
                back = Relation(one.dataset, one.target_columns, one.dataset, one.columns, one.from_one)
                found.append((back, one.columns))
        taken = set(self.seen[dataset].names.values())
        counts = [relation.name for relation, _ in found]
        relations: list[Relation] = []
        for relation, by in found:
            name = relation.name
            if name in taken or counts.count(name) > 1:
                # The columns that refer tell the relationships apart.
                name = "_".join([name, "by", *by])
            name = free(field_names([name])[name], taken)
            taken.add(name)
            there = self.seen.get(relation.dataset)
            if there is not None and there.reads(relation.there) and self.seen[dataset].reads(relation.here):
                relations.append(
                    Relation(name, relation.here, relation.dataset, relation.there, relation.is_one)
                )
        return relations

    def _row_type(self, dataset: str, relations: list[Relation]) -> None:
        seen, base = self.seen[dataset], self.bases[dataset]
        columns = {seen.names[name]: column for name, column in seen.visible.items()}
        fields: dict[str, GraphQLField] = {}
        for name, column in columns.items():
            kind = self._output(parse_type(column.type), type_name(base, name))
            # JSON numbers are finite, so a float may be null although the column has no nulls.
            if not column.nullable and column.name not in seen.view.masks and not is_float(column.type):
                kind = GraphQLNonNull(kind)
            fields[name] = GraphQLField(kind, description=_column_text(column, name, seen.view) or None)

        def with_relations() -> dict[str, GraphQLField]:
            return fields | {relation.name: self._relation_field(relation) for relation in relations}

        self.types[dataset] = GraphQLObjectType(base, with_relations, description=f"A row of {dataset}.")
        self.rows[base] = RowFields(seen, columns, {relation.name: relation for relation in relations})

    def _relation_field(self, relation: Relation) -> GraphQLField:
        node = self.types[relation.dataset]
        equal = ", ".join(
            f"{there} is {here}" for here, there in zip(relation.here, relation.there, strict=True)
        )
        if relation.is_one:
            return GraphQLField(node, description=f"The row of {relation.dataset} whose {equal}.")
        return GraphQLField(
            GraphQLList(GraphQLNonNull(node)),
            {
                "first": GraphQLArgument(
                    GraphQLInt,
                    default_value=self.limits.related,
                    description=f"At most that many of them, in the order of the key; {self.limits.most} at most.",
                )
            },
            description=f"The rows of {relation.dataset} whose {equal}.",
        )

    def _connection(self, base: str, node: GraphQLObjectType) -> GraphQLObjectType:
        edge = GraphQLObjectType(
            f"{base}Edge",
            {
                "cursor": GraphQLField(
                    GraphQLNonNull(GraphQLString),
                    description="Where the row stands, for `after` and `before`.",
                ),
                "node": GraphQLField(GraphQLNonNull(node), description="The row."),
            },
        )
        return GraphQLObjectType(
            f"{base}Connection",
            {
                "edges": GraphQLField(GraphQLNonNull(GraphQLList(GraphQLNonNull(edge)))),
                "nodes": GraphQLField(
                    GraphQLNonNull(GraphQLList(GraphQLNonNull(node))),
                    description="The rows, without their cursors.",
                ),
                "pageInfo": GraphQLField(GraphQLNonNull(PAGE_INFO)),
                "totalCount": GraphQLField(
                    GraphQLNonNull(LONG),
                    description="How many rows there are on all pages; counted when asked for.",
                ),
                **VERSION_FIELDS,
            },
            description="A page of rows. Cursors stay on the version that they come from.",
        )

    def _output(self, tree: TypeTree, name: str) -> Any:
        """The type of values of a column or of a part of it."""
        scalar = scalar_of(tree.name)
        if scalar is not None:
            return scalar
        if tree.name == "list":
            return GraphQLList(self._output(tree.parts[0][1], f"{name}Item"))
        if tree.name == "map":
            fields = {
                part: GraphQLField(self._output(kind, type_name(name, part))) for part, kind in tree.parts
            }
            return GraphQLList(GraphQLNonNull(self._object(f"{name}Entry", fields)))
        if tree.name == "struct":
            names = field_names(part for part, _ in tree.parts)
            return self._object(
                name,
                {
                    names[part]: GraphQLField(self._output(kind, type_name(name, part)))
                    for part, kind in tree.parts
                },
            )
        raise TypeError(f"{tree.name} is no type that a published column has")

    def _object(self, name: str, fields: dict[str, GraphQLField]) -> GraphQLObjectType:
        name = free(name, self.taken)
        self.taken.add(name)
        return GraphQLObjectType(name, fields)


def _text(*candidates: str) -> str:
    return next((one.strip() for one in candidates if one.strip()), "")


def _column_text(column: Column, name: str, view: DatasetView) -> str:
    parts = [column.description.strip()]
    if column.unit:
        parts.append(f"Unit: {column.unit}.")
    if name != column.name:
        parts.append(f"The column {column.name!r}.")
    if column.classification:
        parts.append(f"Classified as {column.classification}.")
    if column.name in view.masks:
        parts.append(f"Masked for you ({view.masks[column.name]}): can be neither filtered nor sorted by.")
    return " ".join(part for part in parts if part)
