"""A running server, shared by the tests of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from serving_helpers import Running, make_product, publish, resolved, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dp_dagster.resolve import ResolvedProduct


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A product that is served, with a thousand rows published."""
    root = tmp_path_factory.mktemp("served")
    make_product(root)
    product = resolved(root)
    publish(product, 1)
    with serving(product) as found:
        found.wait_for(lambda: found.state() == "ready")
        yield found


@pytest.fixture
def own_product(tmp_path: Path) -> ResolvedProduct:
    """A product of the test's own, with nothing published."""
    make_product(tmp_path)
    return resolved(tmp_path)
