"""Plans carried out: one read for each field of the query, one for each relationship on each level."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, execute_sync
from orjson import Fragment

from dp_dagster.errors import AccessDeniedError, OperatorError, QueryLimitError, UsageError, VersionGoneError
from dp_dagster.ports.cursors import Cursor, InvalidCursorError
from dp_dagster.ports.outputs.graphql.filters import FilterReader
from dp_dagster.ports.outputs.graphql.scalars import RefusedError
from dp_dagster.ports.outputs.graphql.versions import Versions, check_columns, check_nulls, written
from dp_dagster.predicates.model import columns_of
from dp_dagster.predicates.values import BadValueError, read_value
from dp_dagster.rows.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from graphql import OperationDefinitionNode

    from dp_dagster.access.view import DatasetView
    from dp_dagster.ports.cursors import Cursors
    from dp_dagster.ports.outputs.graphql.documents import Prepared
    from dp_dagster.ports.outputs.graphql.model import PortSchema
    from dp_dagster.ports.outputs.graphql.plan import RootPlan
    from dp_dagster.ports.outputs.graphql.selection import RelatedPlan, Row, Selection
    from dp_dagster.ports.served import Exchange, PortHost
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.query import Page, Position, ServedVersion, Sort

_MOST_CONDITIONS = 100


@dataclass
class Answer:
    """What an operation came to.

    Attributes:
        data: By key, in the order that was asked.
        errors: Of fields; each of them is null in the data.
        versions: The versions that were read, by dataset.
    """

    data: dict[str, Any] = field(default_factory=dict)
    errors: list[GraphQLError] = field(default_factory=list)
    versions: dict[str, set[int]] = field(default_factory=dict)


class Execution:
    """One operation, for one identity.

    Args:
        schema: As its view sees it.
        host: Of the port.
        others: Hosts and views of the other datasets that it may see.
        exchange: Filled with what was read.
        cursors: Writes and reads cursors.
        place: Names the port, so that a cursor of another one is refused.
    """

    def __init__(
        self,
        *,
        schema: PortSchema,
        host: PortHost,
        others: Mapping[str, tuple[PortHost, DatasetView]],
        exchange: Exchange,
        cursors: Cursors,
        place: str,
    ) -> None:
        self._schema = schema
        self._host = host
        self._others = others
        self._exchange = exchange
        self._cursors = cursors
        self._place = place
        self._versions = Versions(schema, host)
        self._answer = Answer()
        self._main: ServedVersion | None = None
        self._columns: dict[str, None] = {}

    async def run(
        self,
        prepared: Prepared,
        operation: OperationDefinitionNode,
        roots: Iterable[RootPlan],
        variables: Mapping[str, Any],
    ) -> Answer:
        """Carry out a plan.

        A field that cannot be answered is null, with an error; the others are answered all the same.

        Raises:
            OperatorError: what we run on is at fault, so that nothing can be answered.
        """
        answer = self._answer
        for root in roots:
            if root.kind == "name":
                answer.data[root.key] = root.type_name
            elif root.kind == "meta":
                answer.data[root.key] = _introspect(self._schema, prepared, operation, variables)[root.key]
            else:
                try:
                    answer.data[root.key] = await self._read(root)
                except OperatorError:
                    raise
                except (UsageError, GraphQLError) as error:
                    answer.data[root.key] = None
                    answer.errors.append(_field_error(error, root))
        self._exchange.columns = tuple(self._columns)
        return answer

    async def _read(self, root: RootPlan) -> Any:
        if root.kind == "page":
            return await self._page(root)
        version = self._versions.at(self._versions.as_of(root))
        if root.kind == "row":
            return await self._row(root, version)
        self._note(self._schema.rows[self._schema.own].seen.dataset, version)
        facts = {
            "version": version.version,
            "publishedAt": written(version),
            "dataset": self._schema.rows[self._schema.own].seen.dataset,
            "__typename": root.type_name,
        }
        return {key: facts[name] for key, name in root.fields.items()}

    # -- rows of the port's own dataset -----------------------------------------------------------------------

    async def _page(self, root: RootPlan) -> dict[str, Any]:
        own = self._schema.rows[self._schema.own]
        view = own.seen.view
        reader = FilterReader(own.columns, _MOST_CONDITIONS)
        where = reader.predicate(root.arguments.get("where"))
        sort = reader.sort(root.arguments.get("orderBy"), view)
        binding = self._binding(view, where, sort)
        as_of = self._versions.as_of(root)
        after, before = root.arguments.get("after"), root.arguments.get("before")
        cursor = after if after is not None else before
        position: Position | None = None
        if cursor is not None:
            found = self._cursor(binding, "after" if after is not None else "before", cursor)
            position = found.position
            if as_of is not None and self._versions.at(as_of).version != found.version:
                raise RefusedError(
                    "asOf: the cursor is of another version; leave asOf out, cursors stay on theirs"
                )
            version = self._host.at(found.version)
        else:
            version = self._versions.at(as_of)
        self._note(own.seen.dataset, version)
        self._asked(own.seen.dataset, columns_of(where) | {one.column for one in sort})
        page: Page | None = None
        if root.reads_rows and root.limit:
            selections = tuple(root.selections)
            query = Query(
                self._to_read(root, own.seen.key),
                where,
                sort,
                root.limit,
                after=position if after is not None else None,
                before=position if before is not None else None,
                backward=root.arguments.get("last") is not None,
                positions=root.wants_cursors,
                # Where rows are looked up by the values, they must be values.
                encoded=not root.relates,
            )
            check_columns(version, query.columns)
            # Where the schema promises more than the version's contract did, the values are looked at.
            if version.columns == own.seen.columns and selections:
                texts = all(selection.is_as_written(query.columns) for selection in selections)
                query = replace(query, texts=texts)
            page = await version.fetch_page(view, query)
            if page.texts and _holds_not_finite(page.texts):
                page = await version.fetch_page(view, replace(query, texts=False))
            self._given(own.seen.dataset, query.columns, len(page.texts or page.rows))
            for selection in selections:
                check_nulls(version, selection, page.columns, page.rows)
        count = await version.fetch_count(view, where) if root.counts else None
        return await self._connection(root, version, page, binding, count)

    async def _connection(
        self, root: RootPlan, version: ServedVersion, page: Page | None, binding: bytes, count: int | None
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "version": version.version,
            "publishedAt": written(version),
            "totalCount": count,
            "__typename": root.type_name,
        }
        made: dict[str, Any] = {}
        for key, name in root.fields.items():
            if name == "nodes":
                made[key] = await self._nodes(root, root.nodes[key], page)
            elif name == "edges":
                made[key] = await self._edges(root, key, version, page, binding)
            elif name == "pageInfo":
                info = self._page_info(root, version, page, binding)
                made[key] = {part: info[wanted]() for part, wanted in root.info[key].items()}
            else:
                made[key] = facts[name]
        return made

    async def _edges(
        self, root: RootPlan, key: str, version: ServedVersion, page: Page | None, binding: bytes
    ) -> list[dict[str, Any]]:
        count = len(page.texts or page.rows) if page is not None else 0
        edge_name = f"{self._schema.own}Edge"
        edges: list[dict[str, Any]] = [{} for _ in range(count)]
        for part, wanted in root.edges[key].items():
            if not isinstance(wanted, str):
                values: Sequence[Any] = await self._nodes(root, wanted, page)
            elif wanted == "cursor":
                positions = page.positions if page is not None else ()
                values = self._cursors.write_all(
                    binding, [Cursor(version.version, position) for position in positions]
                )
            else:
                values = [edge_name] * count
            for edge, value in zip(edges, values, strict=True):
                edge[part] = value
        return edges

    def _cursor(self, binding: bytes, argument: str, text: str) -> Cursor:
        try:
            return self._cursors.read(binding, text)
        except InvalidCursorError:
            raise RefusedError(
                f"{argument}: is no cursor of these rows; take it from a page, and leave where and orderBy as they were"
            ) from None

    def _page_info(
        self, root: RootPlan, version: ServedVersion, page: Page | None, binding: bytes
    ) -> dict[str, Callable[[], Any]]:
        backward = root.arguments.get("last") is not None or root.arguments.get("before") is not None
        has_more = page is not None and page.has_more
        # The row of the cursor lies on the other side of the page, so there is one at least.
        continued = root.arguments.get("before" if backward else "after") is not None

        def written(position: Position | None) -> str | None:
            if position is None:
                return None
            return self._cursors.write(binding, Cursor(version.version, position))

        return {
            "hasNextPage": lambda: continued if backward else has_more,
            "hasPreviousPage": lambda: has_more if backward else continued,
            "startCursor": lambda: written(page.first if page is not None else None),
            "endCursor": lambda: written(page.last if page is not None else None),
            "__typename": lambda: "PageInfo",
        }

    async def _row(self, root: RootPlan, version: ServedVersion) -> dict[str, Any] | None:
        own = self._schema.rows[self._schema.own]
        key = []
        by_name = {column.name: (name, column) for name, column in self._schema.key_arguments.items()}
        for name in own.seen.key:
            spoken, column = by_name[name]
            try:
                key.append(read_value(root.arguments[spoken], column.type))
            except BadValueError as fault:
                raise RefusedError(f"{spoken}: {fault}") from None
        columns = self._to_read(root, own.seen.key)
        check_columns(version, columns)
        self._note(own.seen.dataset, version)
        self._asked(own.seen.dataset, own.seen.key)
        row = await version.fetch_row(own.seen.view, tuple(key), columns)
        self._given(own.seen.dataset, columns, 0 if row is None else 1)
        if row is None:
            return None
        selection = root.nodes[root.key]
        check_nulls(version, selection, columns, [row])
        (found,) = await self._objects(root, selection, [row])
        return found

    # -- rows of any dataset ----------------------------------------------------------------------------------

    async def _nodes(self, root: RootPlan, selection: Selection, page: Page | None) -> list[Any]:
        """The rows of a page, as objects or as texts that are such objects."""
        if page is None:
            return []
        if page.texts:
            return list(map(Fragment, page.texts))
        return await self._objects(root, selection, page.rows, encoded=not root.relates)

    async def _objects(
        self, root: RootPlan, selection: Selection, rows: Sequence[Row], *, encoded: bool = False
    ) -> list[dict[str, Any]]:
        """The rows as objects, with the rows behind them."""
        objects = selection.objects(rows, encoded=encoded)
        for key, count in selection.not_finite.items():
            values = "1 value" if count == 1 else f"{count:,} values"
            self._answer.errors.append(
                GraphQLError(
                    f"{key}: {values} that JSON has no number for (NaN or an infinity), null here",
                    root.node,
                    path=[root.key],
                    extensions={"code": "NOT_FINITE"},
                )
            )
        selection.not_finite.clear()
        for related in selection.related:
            await self._relate(root, related, rows, objects)
        return objects

    async def _relate(
        self,
        root: RootPlan,
        plan: RelatedPlan,
        rows: Sequence[Row],
        objects: list[dict[str, Any]],
    ) -> None:
        """Put the related rows of all rows into their objects, read at once."""
        relation, places = plan.relation, plan.places
        references = [tuple(row[place] for place in places) for row in rows]
        # A row with a null in its reference refers to nothing, as in SQL.
        wanted = list(dict.fromkeys(one for one in references if None not in one))
        theirs: dict[Row, list[Row]] = {}
        if wanted and plan.most:
            other, view = self._other(root, relation.dataset)
            seen = plan.selection.fields.seen
            columns = plan.columns.names or relation.there
            check_columns(other, columns)
            theirs = await other.fetch_related(view, relation.there, wanted, columns, limit=plan.most)
            self._note(relation.dataset, other)
            self._given(relation.dataset, columns, sum(map(len, theirs.values())))
            for found in theirs.values():
                check_nulls(other, plan.selection, columns, found, seen.dataset)
        flat = [row for key in wanted for row in theirs.get(key, ())]
        made = iter(await self._objects(root, plan.selection, flat))
        by_reference = {key: [next(made) for _ in theirs.get(key, ())] for key in wanted}
        for one, reference in zip(objects, references, strict=True):
            found_objects = by_reference.get(reference, [])
            if relation.is_one:
                one[plan.key] = found_objects[0] if found_objects else None
            else:
                one[plan.key] = found_objects

    def _other(self, root: RootPlan, dataset: str) -> tuple[ServedVersion, DatasetView]:
        """The version of a dataset that goes with the one that the field reads."""
        own = self._schema.rows[self._schema.own].seen
        if dataset == own.dataset:
            return self._main or self._host.newest(), own.view
        host, view = self._others[dataset]
        moment = self._versions.moment(self._versions.as_of(root))
        return (host.newest() if moment is None else host.as_of(moment)), view

    # -- the record of the access -----------------------------------------------------------------------------

    def _to_read(self, root: RootPlan, key: tuple[str, ...]) -> tuple[str, ...]:
        seen = self._schema.rows[self._schema.own].seen
        return (
            root.columns.names or tuple(name for name in key if name in seen.visible) or seen.view.columns[:1]
        )

    def _binding(self, view: DatasetView, where: Predicate, sort: Sequence[Sort]) -> bytes:
        text = repr((self._place, view.fingerprint, where, tuple(sort)))
        return hashlib.sha256(text.encode()).digest()

    def _note(self, dataset: str, version: ServedVersion) -> None:
        self._answer.versions.setdefault(dataset, set()).add(version.version)
        if dataset == self._schema.rows[self._schema.own].seen.dataset:
            self._main = version
            self._exchange.version = version.version

    def _asked(self, dataset: str, columns: Iterable[str]) -> None:
        own = dataset == self._schema.rows[self._schema.own].seen.dataset
        for column in sorted(columns):
            self._columns[column if own else f"{dataset}.{column}"] = None

    def _given(self, dataset: str, columns: Iterable[str], rows: int) -> None:
        self._asked(dataset, columns)
        self._exchange.rows += rows


def _holds_not_finite(texts: list[bytes]) -> bool:
    """Whether there may be NaN or an infinity, which the form of values has as texts and GraphQL has not."""
    whole = b"".join(texts)
    return b':"NaN"' in whole or b':"inf"' in whole or b':"-inf"' in whole


def _introspect(
    schema: PortSchema, prepared: Prepared, operation: OperationDefinitionNode, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """What graphql-core says of the schema; fields of rows have no resolvers there, and are null."""
    name = operation.name.value if operation.name else None
    if name in prepared.answers:
        return prepared.answers[name]
    result = execute_sync(
        schema.graphql, prepared.document, variable_values=dict(variables), operation_name=name
    )
    if result.errors or result.data is None:
        raise result.errors[0] if result.errors else RefusedError("the schema cannot be told")
    if not operation.variable_definitions:
        prepared.answers[name] = result.data
    return result.data


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (AccessDeniedError, "ACCESS_DENIED"),
    (VersionGoneError, "VERSION_GONE"),
    (QueryLimitError, "LIMIT_EXCEEDED"),
    (GraphQLError, "BAD_REQUEST"),
    (UsageError, "BAD_REQUEST"),
)


def _field_error(error: Exception, root: RootPlan) -> GraphQLError:
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    message = error.message if isinstance(error, GraphQLError) else str(error)
    return GraphQLError(message, root.node, path=[root.key], extensions={"code": code})
