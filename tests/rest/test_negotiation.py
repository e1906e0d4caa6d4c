"""Which form an answer has, and which part of a file."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.ports.outputs.rest.negotiation import FORMATS, FORMS, negotiated
from dp_dagster.ports.outputs.rest.ranges import wanted_part
from dp_dagster.ports.problems import RequestError


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV ; charset=utf-8", "csv"),
        ("application/json;q=0.5, application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("application/*", "json"),
        ("text/*;q=0.9, application/json;q=0.8", "csv"),
        ("*/*;q=0.1, application/vnd.apache.parquet", "parquet"),
        ("application/json;q=0, */*", "ndjson"),
        ("application/json;q=nan, text/csv;q=0.1", "csv"),
        ("application/json;q=7, text/csv;q=0.1", "csv"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        (",,text/csv,", "csv"),
    ],
)
def test_accept(accept: str, expected: str) -> None:
    assert negotiated(None, accept).name == expected


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "application/json;q=x", "json", ";", "*"]
)
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(RequestError) as caught:
        negotiated(None, accept)
    assert caught.value.problem.status == 406
    assert caught.value.problem.members["available"] == [form.media_type for form in FORMS.values()]


def test_format_goes_before_accept() -> None:
    assert negotiated("csv", "application/json").name == "csv"
    with pytest.raises(RequestError) as caught:
        negotiated("xml", "")
    assert caught.value.problem.status == 400
    assert ", ".join(FORMATS) in caught.value.problem.fix
    with pytest.raises(RequestError):
        negotiated("csv", "", ("json",))


@given(st.text(max_size=300))
def test_any_accept_is_read_or_refused(accept: str) -> None:
    with contextlib.suppress(RequestError):
        assert negotiated(None, accept) in FORMS.values()


@pytest.mark.parametrize(
    ("header", "if_range", "part"),
    [
        ("", "", None),
        ("bytes=0-0", "", (0, 1)),
        ("bytes=10-", "", (10, 100)),
        ("bytes=-5", "", (95, 100)),
        ("bytes=-500", "", (0, 100)),
        ("bytes=90-1000", "", (90, 100)),
        ("Bytes = 1 - 2", "", (1, 3)),
        ("bytes=5-4", "", None),
        ("rows=1-2", "", None),
        ("bytes=x-y", "", None),
        ("bytes=-", "", None),
        ("bytes=1-2", '"v1"', (1, 3)),
        ("bytes=1-2", '"v0"', None),
        ("bytes=1-2", 'W/"v1"', None),
        ("bytes=1-2", "Wed, 25 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_range(header: str, if_range: str, part: tuple[int, int] | None) -> None:
    assert wanted_part(header, if_range, '"v1"', 100) == part


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=0-1,5-6", "bytes=0-1, -1"]
)
def test_range_that_cannot_be(header: str) -> None:
    with pytest.raises(RequestError) as caught:
        wanted_part(header, "", '"v1"', 100)
    assert caught.value.problem.status == 416
    assert caught.value.problem.headers == (("Content-Range", "bytes */100"),)
    assert "one range" in caught.value.problem.fix


def test_an_empty_file_has_no_range() -> None:
    with pytest.raises(RequestError):
        wanted_part("bytes=0-", "", '"v1"', 0)


@given(st.text("bytes=0123456789-, ", max_size=30), st.integers(0, 50))
def test_any_range_lies_within(header: str, size: int) -> None:
    with contextlib.suppress(RequestError):
        part = wanted_part(header, "", "", size)
        assert part is None or 0 <= part[0] < part[1] <= size
