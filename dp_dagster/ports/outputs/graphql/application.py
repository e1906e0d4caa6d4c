"""The ASGI application of one GRAPHQL port."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, get_variable_values

from dp_dagster.errors import NotPublishedError, OperatorError, UsageError
from dp_dagster.ports.cursors import Cursors
from dp_dagster.ports.outputs.graphql.documents import DocumentError, DocumentLimits, Documents
from dp_dagster.ports.outputs.graphql.execution import Execution
from dp_dagster.ports.outputs.graphql.http import (
    HTML,
    JSON,
    RESPONSE,
    Asked,
    HttpError,
    accepted,
    asked_by_get,
    asked_by_post,
    headers_of,
    send_bytes,
    wants_page,
    written,
)
from dp_dagster.ports.outputs.graphql.model import PageLimits, PortSchema, Seen
from dp_dagster.ports.outputs.graphql.page import schema_page
from dp_dagster.ports.outputs.graphql.plan import Planner
from dp_dagster.ports.outputs.graphql.scalars import RefusedError
from dp_dagster.ports.outputs.graphql.schema import build_schema
from dp_dagster.ports.relationships import datasets_near
from dp_dagster.ports.served import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.view import DatasetView
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.graphql.http import Receive, Send
    from dp_dagster.ports.outputs.graphql.port import GraphqlConfig
    from dp_dagster.ports.served import Exchange, PortHost
    from dp_dagster.rows.query import ServedVersion

_LOG = logging.getLogger(__name__)
_KEPT_SCHEMAS = 64
#: Rows of a page and behind a row, where nothing is asked; and of a page, where no limit is set.
_PAGE, _RELATED, _MOST_ROWS = 100, 10, 100_000
_KEPT_VERSIONS = 256
_METHODS = (b"allow", b"GET, HEAD, POST, OPTIONS")
_LONGEST_MESSAGE = 500
_UNAVAILABLE_SECONDS = b"5"

Others = dict[str, tuple["PortHost", "DatasetView"]]
#: Status, media type, body and further headers.
_Sent = tuple[int, str, bytes, tuple[tuple[bytes, bytes], ...]]


@dataclass
class _Ready:
    """A schema with the documents that were asked of it."""

    schema: PortSchema
    documents: Documents


class GraphqlApplication:
    """Answers below one path.

    Args:
        config: Of the port.
        context: Of the port.
        host: Versions of its dataset, and the datasets beside it.
        path: Where it is mounted.
    """

    def __init__(self, config: GraphqlConfig, context: OutputContext, host: PortHost, path: str) -> None:
        self._config = config
        self._context = context
        self._host = host
        self._path = path
        own, common = config.limits, config.limits.over(context.settings.limits)
        most = common.page_size if isinstance(common.page_size, int) else _MOST_ROWS
        self._pages = PageLimits(most, page=min(_PAGE, most), related=min(_RELATED, most))
        self._most_bytes = common.response_bytes if isinstance(common.response_bytes, int) else None
        self._limits = DocumentLimits(own.depth, own.fields, config.introspection)
        self._cursors = Cursors.of(context.settings)
        self._ready: OrderedDict[tuple[str, ...], _Ready] = OrderedDict()
        self._known: OrderedDict[tuple[str, int, str], tuple[Seen, str]] = OrderedDict()
        self._near = datasets_near(context.dataset, context.relationships)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a GRAPHQL port answers HTTP, not {scope['type']}")
        head = scope["method"] == "HEAD"
        try:
            status, kind, body, headers = await self._answered(scope, receive)
        except HttpError as error:
            status, kind, headers = error.status, JSON, error.headers
            body = written({"errors": [{"message": error.message}]})
        except NotPublishedError:
            status, kind, headers = 503, JSON, ((b"retry-after", _UNAVAILABLE_SECONDS),)
            body = written({"errors": [{"message": "nothing has been published yet; try again later"}]})
        except OperatorError:
            # Its message may name files and servers: it is for the log, not for consumers.
            _LOG.exception("%s cannot be answered", self._path)
            status, kind, headers = 503, JSON, ((b"retry-after", _UNAVAILABLE_SECONDS),)
            body = written({"errors": [{"message": "the port cannot read its data; try again later"}]})
        await send_bytes(send, status, f"{kind}; charset=utf-8", body, headers, only_head=head)

    async def _answered(self, scope: Mapping[str, Any], receive: Receive) -> _Sent:
        method, headers = scope["method"], headers_of(scope)
        place = scope["path"].removeprefix(self._path).rstrip("/")
        if place == "/schema.graphql":
            return self._schema_text(scope)
        if place:
            raise HttpError(404, f"there is nothing here; queries go to {self._path}")
        if method == "OPTIONS":
            return 204, JSON, b"", (_METHODS,)
        if method not in ("GET", "HEAD", "POST"):
            raise HttpError(405, "queries come by GET or POST", (_METHODS,))
        accept = headers.get(b"accept")
        if method == "POST":
            kind = accepted(accept)
            asked = await asked_by_post(headers, receive, self._config.limits.request_bytes)
        elif not scope["query_string"] and wants_page(accept):
            return self._schema_page(scope)
        else:
            kind = accepted(accept)
            asked = asked_by_get(scope["query_string"], self._config.limits.request_bytes)
        status, answer = await self._answer(asked, scope[EXCHANGE], kind)
        body = written(answer)
        if self._most_bytes is not None and len(body) > self._most_bytes:
            wrong = f"the answer has more than {self._most_bytes:,} bytes, which are allowed; ask for less at once"
            raise HttpError(400, wrong)
        return status, kind, body, ()

    async def _answer(self, asked: Asked, exchange: Exchange, kind: str) -> tuple[int, dict[str, Any]]:
        others = self._others(exchange)
        ready = self._schema(exchange, others)
        try:
            prepared = ready.documents.prepare(asked.query)
            operation = prepared.operation(asked.operation)
            schema = ready.schema.graphql
            try:
                variables = get_variable_values(
                    schema, list(operation.variable_definitions), asked.variables, max_errors=10
                )
                if isinstance(variables, list):
                    raise DocumentError(*variables)
                planner = Planner(ready.schema, prepared, variables, self._pages, self._config.limits.cost)
                roots = planner.plan(operation)
                execution = Execution(
                    schema=ready.schema,
                    host=self._host,
                    others=others,
                    exchange=exchange,
                    cursors=self._cursors,
                    place=self._path,
                )
                answer = await execution.run(prepared, operation, roots, variables)
            except RecursionError:
                raise DocumentError(GraphQLError("the query is nested too deeply; flatten it")) from None
            except (GraphQLError, UsageError) as error:
                wrong = error if isinstance(error, GraphQLError) else GraphQLError(str(error))
                raise DocumentError(wrong) from None
        except DocumentError as error:
            # Who speaks plain JSON takes any other status than 200 for a fault of the network.
            status = 400 if kind == RESPONSE else 200
            return status, {"errors": [_told(one) for one in error.errors]}
        found: dict[str, Any] = {"data": answer.data}
        if answer.errors:
            found["errors"] = [_told(one) for one in answer.errors]
        if answer.versions:
            found["extensions"] = {
                "versions": {dataset: sorted(numbers) for dataset, numbers in answer.versions.items()}
            }
        return 200, found

    # -- schemas ----------------------------------------------------------------------------------------------

    def _others(self, exchange: Exchange) -> Others:
        """The other datasets that relationships may lead to, for this identity."""
        found: Others = {}
        for dataset in self._near:
            related = self._host.related(dataset, exchange.identity)
            if related is not None:
                found[dataset] = related
        return found

    def _schema(self, exchange: Exchange, others: Mapping[str, tuple[PortHost, DatasetView]]) -> _Ready:
        """The schema for this view, built once for all who see the same of the same columns."""
        own, own_key = self._seen(self._context.dataset, self._host.newest(), exchange.view)
        seen: dict[str, Seen] = {}
        key = [own_key]
        for dataset, (host, view) in others.items():
            try:
                version = host.newest()
            except NotPublishedError:
                # There is nothing to lead to, and nothing to say of its columns.
                continue
            seen[dataset], more = self._seen(dataset, version, view)
            key.append(more)
        return self._built(tuple(key), own, seen)

    def _built(self, key: tuple[str, ...], own: Seen, seen: Mapping[str, Seen]) -> _Ready:
        ready = self._ready.get(key)
        if ready is None:
            schema = build_schema(
                own,
                seen,
                self._context.relationships,
                self._pages,
                description=self._context.description,
                deprecated=self._context.deprecation,
            )
            ready = self._ready[key] = _Ready(schema, Documents(schema.graphql, self._limits))
            if len(self._ready) > _KEPT_SCHEMAS:
                self._ready.popitem(last=False)
        else:
            self._ready.move_to_end(key)
        return ready

    def _seen(self, dataset: str, version: ServedVersion, view: DatasetView) -> tuple[Seen, str]:
        """A dataset as a view sees it, and what tells it from all that would make another schema."""
        place = (dataset, version.version, view.fingerprint)
        found = self._known.get(place)
        if found is None:
            seen = Seen(dataset, version.columns, version.key, view)
            found = self._known[place] = (seen, repr((place[0], place[2], version.columns, version.key)))
            if len(self._known) > _KEPT_VERSIONS:
                self._known.popitem(last=False)
        return found

    def _schema_text(self, scope: Mapping[str, Any]) -> _Sent:
        self._only_read(scope)
        exchange: Exchange = scope[EXCHANGE]
        text = self._schema(exchange, self._others(exchange)).schema.text
        return 200, "text/plain", text.encode(), ()

    def _schema_page(self, scope: Mapping[str, Any]) -> _Sent:
        self._only_read(scope)
        exchange: Exchange = scope[EXCHANGE]
        schema = self._schema(exchange, self._others(exchange)).schema
        body, policy = schema_page(schema, self._context, self._path)
        return 200, HTML, body.encode(), ((b"content-security-policy", policy.encode()),)

    def _only_read(self, scope: Mapping[str, Any]) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HttpError(405, "the schema is read with GET", ((b"allow", b"GET, HEAD"),))
        if not self._config.introspection:
            raise HttpError(403, "the schema of this port is not told; ask its owner")


def _told(error: GraphQLError) -> dict[str, Any]:
    """An error as JSON; messages of graphql-core repeat what was asked, however long that is."""
    if isinstance(error.original_error, RefusedError):
        # Without the value that graphql-core repeats of a variable.
        error = GraphQLError(error.original_error.message, error.nodes)
    formatted: dict[str, Any] = dict(error.formatted)
    if len(error.message) > _LONGEST_MESSAGE:
        formatted["message"] = f"{error.message[:_LONGEST_MESSAGE]}…"
    return formatted
