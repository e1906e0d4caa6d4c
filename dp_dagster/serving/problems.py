"""What the shell answers when something is wrong: the one place where errors become HTTP."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.errors import (
    AuthenticationError,
    DataProductError,
    LimitExceededError,
    OperatorError,
    QueryLimitError,
    UsageError,
)
from dp_dagster.ports.problems import MEDIA_TYPE, Problem
from dp_dagster.ports.problems import problem_of as problem_of_port

if TYPE_CHECKING:
    from dp_dagster.serving.protocol import Headers, Send

_LOG = logging.getLogger("dp_dagster.serving")


class RequestRefusedError(UsageError):
    """A request that no application is asked about: its address, its size, its form.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """The problem document for an error.

    What only the operator may know goes to the log, where the request's id finds it.
    """
    if isinstance(error, RequestRefusedError):
        found = Problem(error.status, "refused", str(error))
    elif isinstance(error, AuthenticationError):
        challenge = (("WWW-Authenticate", error.challenge),) if error.challenge else ()
        retry = (("Retry-After", str(error.retry_after)),) if error.retry_after is not None else ()
        found = Problem(error.status, "authentication", str(error), headers=challenge + retry)
    elif isinstance(error, LimitExceededError):
        found = Problem(429, "limit", str(error), headers=(("Retry-After", str(error.retry_after)),))
    elif isinstance(error, QueryLimitError):
        found = Problem(422, "query-limit", str(error))
    elif isinstance(error, DataProductError):
        found = problem_of_port(error)
        if isinstance(error, OperatorError):
            _LOG.error("request %s: %s", request_id, error)
    else:
        found = Problem(500, "failed", "the port failed; tell its owner the request's id")
        _LOG.error("request %s failed", request_id, exc_info=error)
    return replace(found, members={**found.members, "request_id": request_id})


async def answer_problem(send: Send, error: BaseException, request_id: str, *, head: bool = False) -> None:
    """Answer with the problem (RFC 9457)."""
    problem = problem_of(error, request_id)
    body = problem.document()
    headers: Headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
