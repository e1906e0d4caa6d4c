"""Which form of an answer a request wants: by ``format``, or by ``Accept`` with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, get_args

from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.rows.query import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Form:
    """One form of an answer: its name in ``format``, its media type, and further names of that."""

    name: Format
    media_type: str
    content_type: bytes
    also: tuple[str, ...] = ()


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("json", "application/json", b"application/json"),
        Form(
            "ndjson",
            "application/x-ndjson",
            b"application/x-ndjson",
            ("application/jsonl", "application/ndjson"),
        ),
        Form("csv", "text/csv", b"text/csv; charset=utf-8; header=present"),
        Form("arrow", "application/vnd.apache.arrow.stream", b"application/vnd.apache.arrow.stream"),
        Form("parquet", "application/vnd.apache.parquet", b"application/vnd.apache.parquet"),
    )
}
_LONGEST_HEADER = 1000


def negotiated(named: str | None, accept: str, offered: Sequence[Format] = FORMATS) -> Form:
    """The form to answer in.

    Args:
        named: What ``format`` says, which goes before ``accept``.
        accept: The header; empty if there is none.
        offered: What there is, the preferred one first.

    Raises:
        RequestError: there is nothing of what was asked for (400 for ``format``, 406 for ``Accept``).
    """
    if named is not None:
        form = FORMS.get(named)
        if form is None or form.name not in offered:
            raise RequestError(
                Problem(
                    400,
                    "unknown-format",
                    "there is no such format here",
                    parameter="format",
                    value=named,
                    fix=f"use {', '.join(offered)}",
                )
            )
        return form
    if accept in ("", "*/*", "application/json"):
        return FORMS[offered[0]]
    form = _best(accept[:_LONGEST_HEADER], tuple(offered))
    if form is None:
        there_is = [FORMS[name].media_type for name in offered]
        raise RequestError(
            Problem(
                406,
                "not-acceptable",
                "nothing of what Accept asks for is here",
                parameter="Accept",
                value=accept,
                fix=f"use {', '.join(there_is)}",
                members={"available": there_is},
            )
        )
    return form


@lru_cache(maxsize=512)
def _best(accept: str, offered: tuple[Format, ...]) -> Form | None:
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best: tuple[float, Form] | None = None
    for name in offered:
        form = FORMS[name]
        weight = max(_weight(media_type, ranges) for media_type in (form.media_type, *form.also))
        if weight > 0 and (best is None or weight > best[0]):
            best = (weight, form)
    return best[1] if best else None


def _range(part: str) -> tuple[str, float]:
    media_type, *parameters = part.split(";")
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    # NaN is in no range, so no weight either.
    return media_type.strip().lower(), weight if 0 <= weight <= 1 else 0.0


def _weight(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The weight of the most specific range that holds a media type; 0 if none does."""
    family = media_type.partition("/")[0]
    for wanted in (media_type, f"{family}/*", "*/*"):
        found = [weight for name, weight in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
