from __future__ import annotations

import pytest
from graphql_shop import Shop, Versions


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    made = Versions(tmp_path_factory.mktemp("versions"))
    yield made
    made.close()


@pytest.fixture
def shop(tmp_path, versions):
    return Shop(tmp_path, versions)


@pytest.fixture
def make_shop(tmp_path, versions):
    return lambda **options: Shop(tmp_path, versions, **options)
