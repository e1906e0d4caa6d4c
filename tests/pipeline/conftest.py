"""Products of a test's own, run in process and without Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipeline_helpers import Workshop

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import TestProject


@pytest.fixture
def workshop(make_project: Callable[[], TestProject]) -> Workshop:
    """A project without products; :meth:`Workshop.product` adds them."""
    return Workshop(make_project().root)


@pytest.fixture
def make_workshop(make_project: Callable[[], TestProject]) -> Callable[[], Workshop]:
    """Makes projects without products."""
    return lambda: Workshop(make_project().root)
