"""A bucket whose server does not keep the conditions of writes is refused before anything depends on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from s3_front import before

from dp_dagster.errors import StoreError
from dp_dagster.storage.bucket import BucketPath
from dp_dagster.storage.bucket_client import client, delta_options
from dp_dagster.storage.locks import product_lock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (("if-none-match", "if-match"), "ignores If-None-Match and If-Match when something is written"),
        (("if-match",), "ignores If-Match when something is written"),
    ],
)
def test_a_server_that_ignores_conditions(
    dropped: tuple[str, ...], said: str, s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before(s3_server, *dropped) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for _ in range(2):  # a refusal is not remembered: the server may be mended
            with (
                pytest.raises(StoreError, match=f"bucket {bucket} cannot hold a storage: {address} {said}"),
                product_lock(f"s3://{bucket}/store", "shop", "the test", 1.0),
            ):
                raise AssertionError("nobody may write")
        # Nothing is left of the attempt.
        assert "Contents" not in client().list_objects_v2(Bucket=bucket)
        client().close()


def test_conditions_are_tried_once(
    s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dp_dagster.storage import conditions

    place = BucketPath.of(f"s3://{bucket}/store/manifest.json")
    with before(s3_server) as (address, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        tag = place.put_if(b"{}", None)
        assert sum(".conditions-" in request.path for request in asked) == 4
        asked.clear()
        assert place.put_if(b"[]", tag) is not None
        monkeypatch.setattr(conditions, "_known", set())  # as in another process of the machine
        assert place.put_if(b"{ }", tag) is None
        assert not [request for request in asked if ".conditions-" in request.path]
        # Another machine finds out for itself.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
        place.put_if(b"{ }", tag)
        assert sum(".conditions-" in request.path for request in asked) == 4
        client().close()


def test_credentials_that_were_replaced_are_taken_up(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert delta_options()["aws_access_key_id"] == "tester"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert delta_options()["aws_access_key_id"] == "another"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "aws-credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for key in ("first", "the-second"):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret-of-{key}\n")
        assert delta_options()["aws_access_key_id"] == key
