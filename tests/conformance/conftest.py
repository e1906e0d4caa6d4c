"""The suites of dp_dagster.testing show the values of failed assertions."""

import pytest

pytest.register_assert_rewrite("dp_dagster.testing")
