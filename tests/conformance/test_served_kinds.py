"""Every served kind that is registered passes the suite; one that is registered without a sample fails."""

from __future__ import annotations

from typing import Any

import pytest
from served_samples import SERVED_SAMPLES

from dp_dagster.ports.served import ServedPort
from dp_dagster.registry import Registry
from dp_dagster.testing.served_ports import ServedPortSuite


def served_kinds() -> dict[str, type[Any]]:
    kinds = Registry.load().kinds("output_ports")
    return {
        kind.name: kind.implementation
        for kind in kinds
        if isinstance(kind.implementation, type) and issubclass(kind.implementation, ServedPort)
    }


def suites() -> dict[str, type[Any]]:
    return {
        f"Test_{name}": type("Suite", (ServedPortSuite,), {"kind": kind, "sample": SERVED_SAMPLES[name]})
        for name, kind in served_kinds().items()
        if name in SERVED_SAMPLES
    }


globals().update(suites())


def test_every_served_kind_has_a_sample() -> None:
    assert set(served_kinds()) == set(SERVED_SAMPLES)


@pytest.mark.parametrize("name", ["GRAPHQL", "REST_API"])
def test_the_built_in_kinds_are_among_them(name: str) -> None:
    assert f"Test_{name}" in suites()
