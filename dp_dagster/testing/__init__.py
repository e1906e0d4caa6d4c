r"""Conformance suites for kinds of ports and transforms and for policies, the same ones that the built-in kinds pass.

An author of a kind gets the whole suite for a few lines. It needs pytest and hypothesis.

Example:
    In ``tests/test_my_kind.py``::

        import pytest
        from dp_dagster.testing import InputPortSuite, InputSample
        from my_package import TicketsInput


        class TestTickets(InputPortSuite):
            kind = TicketsInput

            @pytest.fixture
            def sample(self, workplace):
                file = workplace.product_root / "tickets.txt"
                file.write_text("one\\n")
                return InputSample(
                    options={"file": "tickets.txt"},
                    change=lambda: file.write_text("one\\ntwo\\n"),
                    rows=1,
                    rows_after_change=2,
                    remove=file.unlink,
                )

    So that failed assertions show their values, write ``pytest.register_assert_rewrite("dp_dagster.testing")`` at
    the top of ``conftest.py``.
"""

from __future__ import annotations

from dp_dagster.testing.input_ports import InputPortSuite, InputSample
from dp_dagster.testing.kinds import Faulty, KindSuite, Secret, Workplace
from dp_dagster.testing.output_ports import OutputPortSuite, OutputSample
from dp_dagster.testing.policies import PolicySample, PolicySuite, Workshop
from dp_dagster.testing.published import publish_version
from dp_dagster.testing.transforms import TransformSample, TransformSuite

__all__ = [
    "Faulty",
    "InputPortSuite",
    "InputSample",
    "KindSuite",
    "OutputPortSuite",
    "OutputSample",
    "PolicySample",
    "PolicySuite",
    "Secret",
    "TransformSample",
    "TransformSuite",
    "Workplace",
    "Workshop",
    "publish_version",
]
