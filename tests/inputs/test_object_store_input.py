"""Files of an object store come in: all of them, or each once; moto's S3 server, reached by fsspec."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import polars as pl
import pytest
from s3_front import before

from dp_dagster.errors import InputError, OperatorError

if TYPE_CHECKING:
    from input_helpers import Landed

pytestmark = pytest.mark.slow


class Store:
    def __init__(self, bucket: str) -> None:
        from dp_dagster.storage.bucket_client import client

        self.bucket = bucket
        self.client = client()

    def put(self, name: str, content: bytes | dict[str, Any]) -> None:
        if isinstance(content, dict):
            buffer = io.BytesIO()
            pl.DataFrame(content).write_parquet(buffer)
            content = buffer.getvalue()
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content)


@pytest.fixture
def store(bucket: str) -> Store:
    return Store(bucket)


def declare(landed: Landed, store: Store, name: str, **options: Any) -> None:
    landed.declare({"type": "FILES", "path": f"s3://{store.bucket}/{name}", **options})


def test_all_files(store: Store, landed: Landed) -> None:
    store.put("in/a.csv", b"id,name\n1,a\n")
    store.put("in/b.csv", b"id,name\n2,b\n")
    declare(landed, store, "in/*.csv")
    landed.land()
    assert landed.rows() == [(1, "a"), (2, "b")]
    assert landed.land().unchanged
    store.put("in/b.csv", b"id,name\n3,c\n")
    landed.land()
    assert landed.rows() == [(1, "a"), (3, "c")]


def test_each_file_once(store: Store, landed: Landed) -> None:
    store.put("in/day=1/a.parquet", {"id": [1, 2]})
    declare(landed, store, "in/*/*.parquet", mode="append")
    landed.land()
    store.put("in/day=2/a.parquet", {"id": [3]})
    outcome = landed.land()
    assert outcome.rows_read == 1
    assert landed.rows() == [(1,), (2,), (3,)]
    assert len(landed.newest.files) == 2
    store.client.delete_object(Bucket=store.bucket, Key="in/day=1/a.parquet")
    assert landed.land().unchanged
    assert landed.rows() == [(1,), (2,), (3,)]
    store.put("in/day=2/a.parquet", {"id": [4, 5]})
    with pytest.raises(InputError, match="day=2/a\\.parquet was read before and has changed since"):
        landed.land()
    store.put("in/day=3/a.parquet", {"id": ["x"]})
    store.put("in/day=2/a.parquet", {"id": [3]})
    with pytest.raises(InputError):
        landed.land()
    assert landed.rows() == [(1,), (2,), (3,)]


def test_changed_files_by_key(store: Store, landed: Landed) -> None:
    store.put("in/a.csv", b"id,name\n1,a\n2,b\n")
    declare(landed, store, "in/*.csv", mode="merge", key=["id"])
    landed.land()
    store.put("in/a.csv", b"id,name\n1,A\n")
    store.put("in/c.csv", b"id,name\n3,c\n")
    assert landed.land().rows_read == 2
    assert landed.rows() == [(1, "A"), (2, "b"), (3, "c")]
    assert landed.land().unchanged


def test_credentials_by_reference(store: Store, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a.csv", b"id\n1\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    declare(landed, store, "a.csv", credentials={"key": "${S3_KEY}", "secret": "${S3_SECRET}"})
    with pytest.raises(OperatorError, match="S3_KEY is not set"):
        landed.land()
    monkeypatch.setenv("S3_KEY", "reader")
    monkeypatch.setenv("S3_SECRET", "hunter2-and-more")
    landed.land()
    assert landed.rows() == [(1,)]
    assert "hunter2" not in landed.everything()
    declare(landed, store, "absent.csv", credentials={"key": "${S3_KEY}", "secret": "${S3_SECRET}"})
    with pytest.raises(InputError, match="no file at s3://"):
        landed.land()


def test_credentials_of_the_environment_that_were_replaced(
    store: Store, landed: Landed, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a.csv", b"id\n1\n")
    declare(landed, store, "a.csv")
    with before(s3_server) as (address, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for key in ("key-of-may", "key-of-june"):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            asked.clear()
            landed.land()
            assert asked
            assert all(f"Credential={key}/" in one.authorization for one in asked)
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_store_that_is_down(store: Store, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a.csv", b"id\n1\n")
    declare(landed, store, "a.csv")
    landed.land()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(OperatorError, match="cannot be reached"):
        landed.land()
    assert duckdb.sql(f"select count(*) from read_parquet({list(landed.newest.files)!r})").fetchall() == [
        (1,)
    ]
