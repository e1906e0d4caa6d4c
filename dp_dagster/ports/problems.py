"""What a served port answers when it cannot: problem documents (RFC 9457) that say place, value and fix."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from dp_dagster.errors import (
    AccessDeniedError,
    DataProductError,
    NotFoundError,
    NotPublishedError,
    OperatorError,
    QueryLimitError,
    UsageError,
    VersionGoneError,
)

MEDIA_TYPE = "application/problem+json"
_NAMESPACE = "urn:dp-dagster:problem:"
_RETRY_AFTER_SECONDS = 5
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class Problem:
    """One reason why a request has no other answer.

    Attributes:
        status: HTTP status.
        name: Short name of the kind of problem, for programs: ``unknown-column``.
        detail: What is wrong, in a sentence.
        parameter: Which part of the request is at fault: a query parameter, ``path``, a header.
        value: What it said.
        fix: What would be right.
        headers: Further headers of the answer.
        members: Further members of the document.
    """

    status: int
    name: str
    detail: str
    parameter: str | None = None
    value: str | None = None
    fix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    members: dict[str, Any] = field(default_factory=dict)

    def document(self) -> bytes:
        """The problem as JSON."""
        said: dict[str, Any] = {
            "type": f"{_NAMESPACE}{self.name}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.parameter is not None:
            said["parameter"] = self.parameter
        if self.value is not None:
            said["value"] = (
                self.value if len(self.value) <= _LONGEST_VALUE else self.value[:_LONGEST_VALUE] + "…"
            )
        if self.fix:
            said["fix"] = self.fix
        return json.dumps({**said, **self.members}, ensure_ascii=True).encode()


class RequestError(UsageError):
    """A request is refused; ``problem`` is the answer."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


def problem_of(error: DataProductError) -> Problem:  # noqa: PLR0911 - one for each kind of error
    """The problem document of one of our errors. What only the operator may read is not in it."""
    if isinstance(error, RequestError):
        return error.problem
    if isinstance(error, AccessDeniedError):
        return Problem(403, "denied", str(error))
    if isinstance(error, VersionGoneError):
        return Problem(
            410, "version-gone", str(error), fix="ask again without as_of and cursor, for the newest version"
        )
    if isinstance(error, QueryLimitError):
        return Problem(422, "query-limit", str(error))
    if isinstance(error, NotFoundError):
        return Problem(404, "not-found", str(error))
    if isinstance(error, UsageError):
        return Problem(400, "bad-request", str(error))
    retry = (("Retry-After", str(_RETRY_AFTER_SECONDS)),)
    if isinstance(error, NotPublishedError):
        return Problem(
            503, "not-published", "nothing has been published yet", fix="try again later", headers=retry
        )
    if isinstance(error, OperatorError):
        # Its message may name files and servers; the log has it.
        return Problem(
            503, "unavailable", "the port cannot read its data", fix="try again later", headers=retry
        )
    return Problem(500, "failed", "the port failed")
