"""Rows with awkward values of every type, keyed and not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from row_helpers import EVERY_TYPE, every_type, published

from dp_dagster.rows import row_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from row_helpers import Rows


@pytest.fixture(scope="session", params=["key", "two columns", "no key"])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    """A version in two files, not sorted by its key, which is one column, two, or none."""
    key = {"key": ("id",), "two columns": ("group", "id"), "no key": ()}[request.param]
    table = every_type()
    # Many batches, so that rows lie on both sides of their borders.
    patched = pytest.MonkeyPatch()
    patched.setattr(row_file, "BATCH_ROWS", 7)
    with published(
        tmp_path_factory.mktemp("rows"),
        [table.slice(0, 25), table.slice(25)],
        EVERY_TYPE,
        key,
        indexes=(("text",),),
    ) as made:
        patched.undo()
        yield made
