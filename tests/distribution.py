"""How the tests are dealt out to the processes of pytest-xdist.

What runs ``dp dev`` mostly waits, for minutes: for a daemon that looks every so often, for data to grow old. All of
it goes to one process, first and one after the other, and the others have the processors meanwhile. The rest follows
by file, so that what a file sets up is set up once: first the files that start processes, then the quick ones, which
even out what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest
    from xdist.remote import Producer

#: Files whose tests run ``dp dev``, the longest first; neighbours that share a server are beside each other.
WAITING = (
    "tests/definitions/test_daemon.py",
    "tests/end_to_end/test_dev.py",
    "tests/end_to_end/test_ui.py",
    "tests/end_to_end/test_wheel.py",
    "tests/alerts/test_alerts_end_to_end.py",
    "tests/end_to_end/test_readme.py",
    "tests/definitions/test_partition_backfill.py",
)


def file_of(nodeid: str) -> str:
    """The file that a test is in."""
    return nodeid.partition("::")[0]


def in_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Tests in the order in which they are dealt out; those of a file stay together, as they were."""
    items = list(items)
    slow = {file_of(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> int:
        file = file_of(item.nodeid)
        if file in WAITING:
            return WAITING.index(file)
        return len(WAITING) + (file not in slow)

    return sorted(items, key=rank)


class ByFile(LoadScopeScheduling):
    """Deals out files in the order of their tests, and the waiting ones as if they were one."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        # Not by the number of their tests: one that waits for minutes is a single test.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = file_of(nodeid)
        return "waiting" if file in WAITING else file
