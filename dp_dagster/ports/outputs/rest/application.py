"""The ASGI application of one REST port: what each address answers.

The way to one row is kept short: what depends on the version and the view alone is prepared once for all requests.
"""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from dp_dagster.errors import DataProductError, OperatorError, VersionGoneError
from dp_dagster.ports.cursors import Cursor, Cursors, InvalidCursorError
from dp_dagster.ports.outputs.rest.answers import Answer, Whole, problem_answer
from dp_dagster.ports.outputs.rest.asking import (
    Parameters,
    decoded,
    moment_or_version,
    page_limit,
    read_parameters,
)
from dp_dagster.ports.outputs.rest.bulk import Bulk
from dp_dagster.ports.outputs.rest.document import openapi_document
from dp_dagster.ports.outputs.rest.negotiation import negotiated
from dp_dagster.ports.outputs.rest.page import documentation_page
from dp_dagster.ports.outputs.rest.prepared import (
    JSON,
    VARY,
    Prepared,
    file_headers,
    header,
    headers_of,
    not_modified,
    published_at,
    tag_of,
)
from dp_dagster.ports.problems import Problem, RequestError, problem_of
from dp_dagster.ports.served import EXCHANGE, REQUEST_ID
from dp_dagster.predicates.model import EVERYTHING, columns_of
from dp_dagster.rows.query import Query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.view import DatasetView
    from dp_dagster.ports.outputs.rest.answers import Send
    from dp_dagster.ports.outputs.rest.description import PortDescription
    from dp_dagster.ports.served import Exchange, PortHost
    from dp_dagster.rows.query import Page, Position, ServedVersion

    Scope = dict[str, Any]

_LOG = logging.getLogger(__name__)
_METHODS = "GET, HEAD, OPTIONS"
_COUNT_OPTIONS = ("as_of",)
_ROW_OPTIONS = ("fields", "as_of", "format")
_DESCRIBED = {b"openapi.json", b"docs"}
_MOST_PREPARED = 256
_MOST_VERSIONS = 3
# The page's own styles, its own form, and nothing of anybody else.
_PAGE_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'"
)


class RestApplication:
    """Answers below the path of one REST port.

    Args:
        described: What the port is, for documents and problems.
        cursors: Writes and reads cursors.
        host: The shell.
    """

    def __init__(self, described: PortDescription, cursors: Cursors, host: PortHost) -> None:
        self._port = described
        self._cursors = cursors
        self._host = host
        self._mounted = quote(described.path).encode()
        # What is said of the port may change while its version stays.
        self._about = zlib.crc32(repr(described).encode())
        self._prepared: dict[int, tuple[ServedVersion, dict[int, Prepared]]] = {}

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a REST port is asked over http, not {scope['type']}")
        method = scope["method"]
        try:
            answer = await self._answer(scope, method)
        except DataProductError as error:
            if isinstance(error, OperatorError):
                _LOG.warning("%s: %s", self._port.path, error)
            answer = problem_answer(problem_of(error), (VARY,), scope.get(REQUEST_ID))
        await answer.send(send, only_head=method == "HEAD")

    async def _answer(self, scope: Scope, method: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return _other_method(method)
        exchange: Exchange = scope[EXCHANGE]
        segments = self._segments(scope)
        if not segments:
            return await self._collection(scope, exchange)
        first = segments[0]
        if len(segments) == 1 and first == b"count":
            return await self._count(scope, exchange)
        if len(segments) == 1 and first in _DESCRIBED:
            return await self._described(scope, exchange, first)
        if first == b"files":
            return self._files(scope, exchange, segments[1:])
        return await self._row(scope, exchange, segments)

    def _segments(self, scope: Scope) -> list[bytes]:
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        start = raw.find(self._mounted)
        if start < 0:
            # Somebody wrote the mounted part with other escapes: keys then hold no slash.
            raw = quote(scope["path"]).encode()
            start = raw.find(self._mounted)
        below = raw[start + len(self._mounted) :].removeprefix(b"/")
        return below.split(b"/") if below else []

    # -- which version -------------------------------------------------------------------------------------

    def _prepare(self, version: ServedVersion, view: DatasetView) -> Prepared:
        # By identity, which costs nothing; the entry holds both, so no other object can take their places. Few
        # versions are held: what is old shall go.
        held = self._prepared.get(id(version))
        if held is None:
            held = self._prepared[id(version)] = (version, {})
            if len(self._prepared) > _MOST_VERSIONS:
                del self._prepared[next(iter(self._prepared))]
        found = held[1].get(id(view))
        if found is None:
            if len(held[1]) >= _MOST_PREPARED:
                held[1].clear()
            found = held[1][id(view)] = Prepared.of(version, view)
        return found

    def _version(self, options: Mapping[str, str], cursor: Cursor | None = None) -> ServedVersion:
        if cursor is not None:
            try:
                return self._host.at(cursor.version)
            except VersionGoneError as error:
                detail = f"the cursor goes on in version {cursor.version}, which is no longer kept"
                fix = "begin again without the cursor, in the newest version"
                raise RequestError(Problem(410, "cursor-gone", detail, "cursor", fix=fix)) from error
        wanted = options.get("as_of")
        if wanted is None:
            return self._host.newest()
        found = moment_or_version(wanted)
        try:
            return self._host.at(found) if isinstance(found, int) else self._host.as_of(found)
        except VersionGoneError as error:
            fix = "leave as_of out for the newest version"
            raise RequestError(Problem(410, "version-gone", str(error), "as_of", wanted, fix)) from error

    # -- one row -------------------------------------------------------------------------------------------

    async def _row(self, scope: Scope, exchange: Exchange, segments: list[bytes]) -> Answer:
        query: bytes = scope["query_string"]
        if query:
            parameters = read_parameters(query, _ROW_OPTIONS)
            if parameters.filters:
                name, value = parameters.filters[0]
                detail = "a row is found by its key alone"
                raise RequestError(Problem(400, "unknown-parameter", detail, name, value, "leave it out"))
            options = parameters.options
        else:
            options = {}
        negotiated(options.get("format"), header(scope, b"accept"), ("json",))
        prepared = self._prepare(self._version(options), exchange.view)
        version, key_columns = prepared.version, prepared.version.key
        exchange.version = version.version
        if len(segments) != len(key_columns):
            raise self._no_such_address(key_columns)
        if not_modified(scope, prepared.tag):
            return Whole(304, prepared.row_headers[1:], b"")
        names = prepared.readable.selection(options.get("fields")) if options else prepared.names
        readable = prepared.readable
        key = tuple(
            readable.key_value(name, decoded(segment, "the path"))
            for name, segment in zip(key_columns, segments, strict=True)
        )
        exchange.columns = names
        text = await version.fetch_text(exchange.view, key, names)
        if text is None:
            detail = f"no row has that {', '.join(key_columns)}"
            read = (("Dataset-Version", str(version.version)),)
            raise RequestError(Problem(404, "no-such-row", detail, "path", headers=read))
        exchange.rows = 1
        return Whole(200, prepared.row_headers, text)

    def _no_such_address(self, key: tuple[str, ...]) -> RequestError:
        if not key:
            detail, fix = "there is no such address, and the dataset has no key to find rows by", ""
        else:
            detail = "there is no such address"
            fix = f"a row is at {self._port.path}/{'/'.join(f'{{{name}}}' for name in key)}"
        return RequestError(
            Problem(404, "no-such-address", detail, "path", fix=fix or f"see {self._port.path}/docs")
        )

    # -- counting ------------------------------------------------------------------------------------------

    async def _count(self, scope: Scope, exchange: Exchange) -> Answer:
        parameters = read_parameters(scope["query_string"], _COUNT_OPTIONS)
        negotiated(None, header(scope, b"accept"), ("json",))
        prepared = self._prepare(self._version(parameters.options), exchange.view)
        exchange.version = prepared.version.version
        where = prepared.readable.where(parameters.filters)
        tag = tag_of(prepared, "count", scope)
        headers = headers_of(prepared, tag)
        if not_modified(scope, tag):
            return Whole(304, headers, b"")
        exchange.columns = tuple(columns_of(where))
        count = await prepared.version.fetch_count(exchange.view, where)
        body = {"count": count, "version": prepared.version.version, "published_at": published_at(prepared)}
        return Whole(200, (JSON, *headers), orjson.dumps(body))

    # -- many rows -----------------------------------------------------------------------------------------

    async def _collection(self, scope: Scope, exchange: Exchange) -> Answer:
        parameters = read_parameters(scope["query_string"])
        options = parameters.options
        form = negotiated(options.get("format"), header(scope, b"accept"))
        cursor = self._cursor(parameters, exchange.view)
        prepared = self._prepare(self._version(options, cursor), exchange.view)
        exchange.version = prepared.version.version
        # Bulk formats give all rows, unless they are told how many.
        paged = form.name == "json" or "limit" in options or cursor is not None
        limit = (
            page_limit(options.get("limit"), self._port.page_size, self._port.most_rows) if paged else None
        )
        readable = prepared.readable
        query = Query(
            columns=readable.selection(options.get("fields")),
            where=readable.where(parameters.filters),
            sort=readable.order(options.get("sort")),
            limit=limit,
            after=cursor.position if cursor and not cursor.backward else None,
            before=cursor.position if cursor and cursor.backward else None,
            joined=form.name == "json",
        )
        asked = {*columns_of(query.where), *(one.column for one in query.sort)} - set(query.columns)
        exchange.columns = (*query.columns, *sorted(asked))
        bulk = Bulk(self._port, scope, exchange, prepared)
        if form.name == "parquet" and self._is_whole_file(prepared, query):
            return bulk.published_file(0)
        tag = tag_of(prepared, form.name, scope)
        is_file = form.name == "parquet" and limit is None
        headers = (file_headers if is_file else headers_of)(prepared, tag)
        if not_modified(scope, tag):
            return Whole(304, headers, b"")
        if limit is None:
            if is_file and (scope["method"] == "HEAD" or header(scope, b"range")):
                return await bulk.export_file(query, tag)
            return await bulk.export(query, form, headers)
        page = await prepared.version.fetch_page(exchange.view, query)
        exchange.rows = page.count
        links = self._links(parameters, prepared, page, cursor)
        if links:
            headers = (
                *headers,
                (b"link", ", ".join(f'<{url}>; rel="{name}"' for name, url in links.items()).encode()),
            )
        if form.name != "json":
            return await bulk.export(query, form, headers, rows=page.count)
        beside = orjson.dumps({"next": links.get("next"), "previous": links.get("prev")})
        body = b'%b,"data":[%b],"links":%b}' % (prepared.head, page.joined, beside)
        return Whole(200, (JSON, *headers), body)

    def _binding(self, parameters: Parameters, view: DatasetView) -> bytes:
        return repr((self._port.path, view.fingerprint, parameters.binding)).encode()

    def _cursor(self, parameters: Parameters, view: DatasetView) -> Cursor | None:
        text = parameters.options.get("cursor")
        if text is None:
            return None
        if "as_of" in parameters.options:
            detail = "a cursor stays on its own version"
            raise RequestError(Problem(400, "cursor-and-as-of", detail, "as_of", fix="leave as_of out"))
        try:
            return self._cursors.read(self._binding(parameters, view), text)
        except InvalidCursorError as error:
            raise RequestError(Problem(400, "invalid-cursor", str(error), "cursor", text)) from None

    def _links(
        self, parameters: Parameters, prepared: Prepared, page: Page, cursor: Cursor | None
    ) -> dict[str, str]:
        """Addresses of the pages beside this one."""
        if page.first is None or page.last is None:
            return {}
        binding = self._binding(parameters, prepared.view)
        backward = cursor is not None and cursor.backward
        links: dict[str, str] = {}
        kept = parameters.text

        def link(name: str, position: Position, *, back: bool) -> None:
            text = self._cursors.write(binding, Cursor(prepared.version.version, position, back))
            links[name] = f"{self._port.path}?{kept}{'&' if kept else ''}cursor={text}"

        if backward or page.has_more:
            link("next", page.last, back=False)
        if page.has_more if backward else cursor is not None:
            link("prev", page.first, back=True)
        return links

    # -- files ---------------------------------------------------------------------------------------------

    def _is_whole_file(self, prepared: Prepared, query: Query) -> bool:
        """Whether a published file is the answer as it is."""
        return (
            query.limit is None
            and query.where == EVERYTHING
            and not query.sort
            and query.columns == prepared.names
            and prepared.version.hands_out_files(prepared.view)
            and len(prepared.version.published_files()) == 1
        )

    def _files(self, scope: Scope, exchange: Exchange, segments: list[bytes]) -> Answer:
        parameters = read_parameters(scope["query_string"], ("as_of",))
        if parameters.filters:
            name, value = parameters.filters[0]
            detail = "files are given as they are"
            raise RequestError(Problem(400, "unknown-parameter", detail, name, value, "leave it out"))
        prepared = self._prepare(self._version(parameters.options), exchange.view)
        exchange.version = prepared.version.version
        if not prepared.version.hands_out_files(exchange.view):
            detail = "published files hold what is hidden from you"
            fix = f"ask {self._port.path} for application/vnd.apache.parquet instead"
            raise RequestError(Problem(403, "files-denied", detail, "path", fix=fix))
        files = prepared.version.published_files()
        if not segments:
            negotiated(None, header(scope, b"accept"), ("json",))
            tag = tag_of(prepared, "files", scope)
            as_of = prepared.version.version
            listed = [
                {
                    "href": f"{self._port.path}/files/{number}.parquet?as_of={as_of}",
                    "bytes": file.stat().st_size,
                }
                for number, file in enumerate(files)
            ]
            body = {"version": as_of, "published_at": published_at(prepared), "files": listed}
            return Whole(200, (JSON, *headers_of(prepared, tag)), orjson.dumps(body))
        name = decoded(segments[0], "the path")
        number = name.removesuffix(".parquet")
        if len(segments) > 1 or not name.endswith(".parquet") or number not in map(str, range(len(files))):
            fix = f"the files are {self._port.path}/files/0.parquet to {len(files) - 1}.parquet"
            raise RequestError(Problem(404, "no-such-file", "there is no such file", "path", name, fix))
        exchange.columns = prepared.names
        return Bulk(self._port, scope, exchange, prepared).published_file(int(number))

    # -- documents -----------------------------------------------------------------------------------------

    async def _described(self, scope: Scope, exchange: Exchange, name: bytes) -> Answer:
        prepared = self._prepare(self._host.newest(), exchange.view)
        exchange.version = prepared.version.version
        tag = tag_of(prepared, f"{name.decode()}-{self._about:08x}", scope)
        headers = headers_of(prepared, tag)
        if not_modified(scope, tag):
            return Whole(304, headers, b"")
        page = await prepared.version.fetch_page(exchange.view, Query(prepared.names, limit=1))
        exchange.rows, exchange.columns = len(page.rows), prepared.names
        example = prepared.encode(page.rows[0]) if page.rows else None
        if name == b"openapi.json":
            document = openapi_document(self._port, prepared.version, exchange.view, example)
            kind = (b"content-type", b"application/vnd.oai.openapi+json;version=3.1")
            return Whole(200, (kind, *headers), orjson.dumps(document, option=orjson.OPT_INDENT_2))
        text = documentation_page(self._port, prepared.version, exchange.view, example)
        html = ((b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _PAGE_POLICY))
        return Whole(200, (*html, *headers), text.encode())


def _other_method(method: str) -> Answer:
    if method == "OPTIONS":
        return Whole(204, ((b"allow", _METHODS.encode()), VARY), b"")
    detail = "what was published is read, and changed by publishing alone"
    allow = (("Allow", _METHODS),)
    raise RequestError(
        Problem(405, "method-not-allowed", detail, "method", method[:20], f"use {_METHODS}", headers=allow)
    )
