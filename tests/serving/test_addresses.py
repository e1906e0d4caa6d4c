"""Where the server listens."""

from __future__ import annotations

import socket

import pytest

from dp_dagster.errors import OperatorError
from dp_dagster.serving.options import ServeOptions
from dp_dagster.serving.server import run


def test_an_address_that_is_taken_is_named_and_nobody_is_told_that_it_is_served(tmp_path):
    told = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            OperatorError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            run(
                ServeOptions((), str(tmp_path), 1),
                host="127.0.0.1",
                port=port,
                when_bound=lambda: told.append("listening"),
            )
    assert told == []
