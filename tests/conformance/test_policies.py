"""Every registered policy passes the suite. One that is registered without a sample here fails."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from policy_samples import POLICY_SAMPLES
from support import ROOT

from dp_dagster.policies.registry import registered_policies
from dp_dagster.testing import PolicySuite, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dp_dagster.policies import Policy


def suite_for(policy: type[Policy], make: Callable[[Workshop], Any] | None) -> type[Any]:
    contents: dict[str, Any] = {"policy": policy}
    if make is not None:

        @pytest.fixture
        def sample(_: Any, workshop: Workshop) -> Any:
            return make(workshop)

        contents["sample"] = sample
    return type("Suite", (PolicySuite,), contents)


def suites() -> dict[str, type[Any]]:
    registered = registered_policies(ROOT, None, "the tests")
    assert all(one.broken == "" for one in registered.values())
    return {
        f"Test_{name}": suite_for(one.implementation, POLICY_SAMPLES.get(name))
        for name, one in registered.items()
        if one.implementation is not None
    }


globals().update(suites())


def test_all_built_in_policies_are_among_them() -> None:
    assert {name.removeprefix("Test_") for name in suites()} == set(POLICY_SAMPLES)


# -- the suite itself: it finds what is wrong, and is a few lines for an author --------------------------------------

AUTHOR = '''
import pytest

from dp_dagster.policies import DatasetPolicy, Finding, PolicyParameters
from dp_dagster.testing import PolicySample, PolicySuite
{imports}

class SmallKeysParameters(PolicyParameters):
    """Its parameters."""

    most: int = {most}


class SmallKeys(DatasetPolicy):
    """A key of few columns."""

    id = "small_keys"
    title = "A dataset is identified by few columns."
    severity = "warn"
    Parameters = SmallKeysParameters

    def check(self, subject):
        {before}
        if len(subject.dataset.key) > self.parameters.most:
            yield Finding("key", {message}, {fix})


class TestSmallKeys(PolicySuite):
    policy = SmallKeys
{sample}
'''
SAMPLE = """
    @pytest.fixture
    def sample(self, workshop):
        return PolicySample(
            kept=workshop.product(),
            broken=workshop.product(("key: [shop]", "key: [shop, day, hour, till]")),
            places=("datasets[0].key",),
        )
"""
SOUND = {
    "imports": "from pydantic import Field\n",
    "most": 'Field(default=3, description="Columns that a key may have.")',
    "before": "",
    "message": 'f"the key has {len(subject.dataset.key)} columns"',
    "fix": '"add a column that identifies a row"',
    "sample": SAMPLE,
}


def outcome(folder: Path, **changes: str) -> str:
    """Run the suite as an author does."""
    (folder / "test_small_keys.py").write_text(AUTHOR.format(**{**SOUND, **changes}))
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "test_small_keys.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout + found.stderr


@pytest.mark.slow
def test_an_authors_policy_passes(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    assert " passed" in found
    assert "failed" not in found


@pytest.mark.slow
def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """Everything at once: each is a fault of a test of its own."""
    found = outcome(
        tmp_path,
        imports="import sqlalchemy\n",
        most="3",
        before='(subject.product.root / "seen.txt").write_text(str(__import__("time").time_ns())); '
        "subject.product.descriptor.owner.team.strip()",
        fix='""',
    )
    for test in (
        "test_explains_itself",
        "test_importing_it_stays_light",
        "test_who_does_not_fails",
        "test_checking_changes_nothing",
        "test_no_sound_product_makes_it_raise",
    ):
        assert f"FAILED test_small_keys.py::TestSmallKeys::{test}" in found, found
