"""The reference pages say what the code says."""

from __future__ import annotations

import pytest
import reference


@pytest.mark.parametrize("page", reference.PAGES)
def test_pages_are_current(page: str) -> None:
    assert (reference.DOCS / page).read_text() == reference.PAGES[page](), "run `make docs`"


def test_every_command_argument_and_option_is_explained() -> None:
    unexplained = [
        line
        for line in reference.commands().splitlines()
        if line.startswith("| `") and line.rstrip(" |").endswith("`") and "Default:" not in line
    ]
    assert unexplained == []
