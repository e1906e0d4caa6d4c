"""The order in which several processes take the tests; see tests/distribution.py."""

from __future__ import annotations

from pathlib import Path

import distribution
import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS_DP_DEV = ("DevServer", "from test_daemon import dev", '"make", "dev"')


class Test:
    __test__ = False

    def __init__(self, nodeid: str, *, slow: bool) -> None:
        self.nodeid, self.slow = nodeid, slow

    def get_closest_marker(self, name: str) -> bool:
        assert name == "slow"
        return self.slow


def test_the_files_that_run_dp_dev_wait_together() -> None:
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    running = [path for path in files if any(name in path.read_text() for name in RUNS_DP_DEV)]
    assert {path.relative_to(ROOT).as_posix() for path in running} == set(distribution.WAITING)


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/end_to_end/test_ui.py::test_status", "waiting"),
        ("tests/end_to_end/test_dev.py::test_keys_are_stable[a::b]", "waiting"),
        ("tests/rows/test_exports.py::test_one[a::b]", "tests/rows/test_exports.py"),
        ("tests/rows/test_exports.py::Group::test_one", "tests/rows/test_exports.py"),
    ],
)
def test_a_file_is_never_divided(nodeid: str, scope: str) -> None:
    assert distribution.ByFile._split_scope(None, nodeid) == scope  # type: ignore[arg-type]


def test_the_long_ones_come_first_and_files_stay_together() -> None:
    ordered = [
        Test("tests/definitions/test_daemon.py::test_waits", slow=True),
        Test("tests/end_to_end/test_ui.py::test_second", slow=True),
        Test("tests/end_to_end/test_ui.py::test_first", slow=True),
        Test("tests/z/test_mixed.py::test_quick", slow=False),
        Test("tests/z/test_mixed.py::test_slow", slow=True),
        Test("tests/a/test_quick.py::test_one", slow=False),
        Test("tests/b/test_quick.py::test_two", slow=False),
    ]
    collected = [*ordered[5:], *ordered[1:3], ordered[0], *ordered[3:5]]
    assert distribution.in_order(collected) == ordered  # type: ignore[arg-type, comparison-overlap]
