"""Cursors say nothing, and cannot be forged or used for anything else."""

from __future__ import annotations

import base64
import math
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.errors import StoreError
from dp_dagster.ports.cursors import Cursor, Cursors, InvalidCursorError
from dp_dagster.rows.query import Position
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CURSORS = Cursors(bytes(32))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(st.integers(0, 2**53), st.lists(VALUES, max_size=4).map(tuple), st.booleans(), st.binary(max_size=40))
def test_what_is_written_is_read(
    version: int, values: tuple[object, ...], backward: bool, binding: bytes
) -> None:
    cursor = Cursor(version, Position(values), backward)
    read = CURSORS.read(binding, CURSORS.write(binding, cursor))
    assert read == cursor
    assert [type(value) for value in read.position.values] == [type(value) for value in values]


def test_types_are_kept() -> None:
    values = (
        1,
        1.0,
        True,
        Decimal("1.00"),
        "1",
        b"1",
        date(1, 1, 1),
        datetime(1, 1, 1, tzinfo=UTC),
        -math.inf,
    )
    read = CURSORS.read(b"", CURSORS.write(b"", Cursor(0, Position(values))))
    assert [repr(value) for value in read.position.values] == [repr(value) for value in values]


def test_it_shows_nothing_of_the_row() -> None:
    text = CURSORS.write(b"", Cursor(7, Position(("ada@example.com",))))
    assert b"ada" not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert text != CURSORS.write(b"", Cursor(7, Position(("ada@example.com",))))


def test_of_another_query_it_is_refused() -> None:
    text = CURSORS.write(b"sorted by name", Cursor(7, Position((1,))))
    with pytest.raises(InvalidCursorError, match="no cursor of this query"):
        CURSORS.read(b"sorted by size", text)


@given(st.data())
def test_a_changed_one_is_refused(data: st.DataObject) -> None:
    text = CURSORS.write(b"", Cursor(7, Position((1, "x"))))
    sealed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidCursorError):
        CURSORS.read(b"", base64.urlsafe_b64encode(sealed).decode().rstrip("="))


@given(st.text() | st.text("ABCDabcd0123-_=", max_size=200))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        CURSORS.read(b"", text)


def test_too_long_to_look_at() -> None:
    with pytest.raises(InvalidCursorError):
        CURSORS.read(b"", "A" * 1_000_000)


def test_processes_that_begin_together_share_one_key(tmp_path: Path) -> None:
    settings = Settings(project_root=tmp_path)
    begin = threading.Barrier(8)
    made: list[Cursors] = []

    def start() -> None:
        begin.wait()
        made.append(Cursors.of(settings))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = made[0].write(b"", Cursor(1, Position(("x",))))
    assert all(one.read(b"", text).version == 1 for one in made)
    (file,) = (tmp_path / ".dp" / "serving").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    settings = Settings(project_root=tmp_path)
    Cursors.of(settings)
    (tmp_path / ".dp/serving/cursors.key").write_bytes(b"short")
    with pytest.raises(StoreError, match=r"cursors\.key is damaged; remove it"):
        Cursors.of(settings)
