"""Answers that are more than a page: exports, and files, whole or in part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import QueryLimitError
from dp_dagster.ports.outputs.rest.answers import Answer, FilePart, Headers, Stream, Whole
from dp_dagster.ports.outputs.rest.negotiation import FORMS, Form
from dp_dagster.ports.outputs.rest.prepared import Prepared, file_headers, header, not_modified
from dp_dagster.ports.outputs.rest.ranges import wanted_part
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.predicates.model import EVERYTHING

if TYPE_CHECKING:
    from dp_dagster.ports.outputs.rest.description import PortDescription
    from dp_dagster.ports.outputs.rest.prepared import Scope
    from dp_dagster.ports.served import Exchange
    from dp_dagster.rows.query import Query, ServedVersion

_ENDINGS = {"json": "json", "ndjson": "ndjson", "csv": "csv", "arrow": "arrows", "parquet": "parquet"}


@dataclass(frozen=True)
class Bulk:
    """Large answers to one request."""

    port: PortDescription
    scope: Scope
    exchange: Exchange
    prepared: Prepared

    async def export(
        self,
        query: Query,
        form: Form,
        headers: Headers,
        *,
        rows: int | None = None,
    ) -> Answer:
        """All rows in a form; ``rows`` says how many, where that is known."""
        version = self.prepared.version
        if self.port.largest is not None:
            await self._check_size(self.port.largest, query, form)
        chunks = version.export(self.exchange.view, query, form.name)
        # What is wrong with the query shows before the first byte, while there is still a status to choose.
        first, last = await anext(chunks, b""), b""
        given = len(first)
        if form.name == "json":
            first = self.prepared.head + b',"data":' + first
            last = b',"links":{"next":null,"previous":null}}'
        if rows is not None:
            chunks.rows = rows
        elif chunks.rows is None:
            chunks.rows = await number_of(self.prepared, query)
        headers = (*self._kind(form, version), *headers)
        if chunks.size is not None:
            size = chunks.size - given + len(first) + len(last)
            headers = (*headers, (b"content-length", str(size).encode()))

        def ended() -> None:
            self.exchange.rows = chunks.rows or 0

        return Stream(headers, chunks, first, last, ended)

    async def _check_size(self, largest: int, query: Query, form: Form) -> None:
        """Make the answer to its end before its first byte goes out: one that is too large is refused in words."""
        descriptor = await self.prepared.version.export_file(self.exchange.view, query, form.name)
        try:
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size > largest:
            raise QueryLimitError(
                f"the answer is larger than {largest:,} bytes; filter, or select fewer columns"
            )

    async def export_file(self, query: Query, tag: str) -> Answer:
        """Parquet whose length or parts are asked for: readers look at a file's end before they read the rest."""
        rows = await number_of(self.prepared, query)
        descriptor = await self.prepared.version.export_file(self.exchange.view, query, "parquet")
        kind = self._kind(FORMS["parquet"], self.prepared.version)
        headers = (*kind, *file_headers(self.prepared, tag))
        return part_of(self.scope, self.exchange, descriptor, headers, tag=tag, rows=rows)

    def _kind(self, form: Form, version: ServedVersion) -> Headers:
        name = f"{self.port.dataset}-v{version.version}.{_ENDINGS[form.name]}"
        disposition = (b"content-disposition", f'inline; filename="{name}"'.encode())
        return (b"content-type", form.content_type), disposition

    def published_file(self, number: int) -> Answer:
        """One of the published files.

        Raises:
            RequestError: it is no longer kept.
        """
        version = self.prepared.version
        tag = f"{self.prepared.tag}-file{number}"
        headers = file_headers(self.prepared, tag)
        if not_modified(self.scope, tag):
            return Whole(304, headers, b"")
        try:
            descriptor = os.open(version.published_files()[number], os.O_RDONLY)
        except FileNotFoundError:
            detail = f"the files of version {version.version} are no longer kept"
            raise RequestError(
                Problem(410, "version-gone", detail, fix="ask for the newest version")
            ) from None
        kind = (b"content-type", FORMS["parquet"].content_type)
        name = (b"content-disposition", f'inline; filename="{self.port.dataset}-{number}.parquet"'.encode())
        return part_of(
            self.scope, self.exchange, descriptor, (kind, name, *headers), tag=tag, rows=version.rows
        )


def part_of(
    scope: Scope, exchange: Exchange, descriptor: int, headers: Headers, *, tag: str, rows: int
) -> FilePart:
    """What a request wants of an open file with that many rows; a part of it counts as a part of them."""
    try:
        size = os.fstat(descriptor).st_size
        wanted = header(scope, b"range") if scope["method"] == "GET" else ""
        part = wanted_part(wanted, header(scope, b"if-range"), f'"{tag}"', size)
    except BaseException:
        os.close(descriptor)
        raise
    start, end = part or (0, size)
    exchange.rows = 0 if scope["method"] == "HEAD" else -(-rows * (end - start) // max(size, 1))
    if part is None:
        return FilePart(200, headers, descriptor, start, end)
    content_range = (b"content-range", f"bytes {start}-{end - 1}/{size}".encode())
    return FilePart(206, (*headers, content_range), descriptor, start, end)


async def number_of(prepared: Prepared, query: Query) -> int:
    """How many rows a whole answer has."""
    if query.where == EVERYTHING and prepared.view.rows == EVERYTHING:
        return prepared.version.rows
    return await prepared.version.fetch_count(prepared.view, query.where)
