from __future__ import annotations

import pytest
from graphql_fakes import Shop


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def make_shop(tmp_path):
    return lambda **options: Shop(tmp_path, **options)
