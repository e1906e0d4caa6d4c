"""FILES ports outside the storage: a bucket, a local folder. The last good version stays, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import httpx
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet
from test_masked_copies import ACCESS, CONTRACT, SECRET

from dp_dagster.errors import AuthorError, DescriptorError, StoreError
from dp_dagster.pipeline import project_port
from dp_dagster.ports.base import OutputContext
from dp_dagster.ports.outputs import file_targets
from dp_dagster.ports.outputs.files import FilesConfig, FilesOutput
from dp_dagster.settings import Settings
from dp_dagster.storage import bucket as bucket_module
from dp_dagster.storage.bucket import BucketPath
from dp_dagster.storage.bucket_client import client, delta_options
from dp_dagster.testing.published import CONTRACT as NUMBERS
from dp_dagster.testing.published import DATASET, publish_rows, publish_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_helpers import Workshop

    from dp_dagster.storage import Snapshot


class Exported:
    """A port that exports to one endpoint."""

    def __init__(self, folder: Path, endpoint: str, file_format: str) -> None:
        self.config = FilesConfig.model_validate({"format": file_format, "endpoint": endpoint})
        self.context = OutputContext(
            product_id="shop",
            product_root=folder,
            major=1,
            port_name="numbers",
            dataset=DATASET,
            contract=NUMBERS,
            description="",
            settings=Settings(project_root=folder),
        )
        self.port = FilesOutput()

    def publish(self, batch: int) -> Snapshot:
        return publish_version(self.context.settings, "shop", batch)

    def publish_rows(self, rows: pa.Table) -> Snapshot:
        return publish_rows(self.context.settings, "shop", DATASET, NUMBERS, rows, files=1)

    def project(self, snapshot: Snapshot) -> dict[str, Any]:
        return dict(self.port.project(self.config, self.context, snapshot, None).metadata)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        return self.port.address(self.config, self.context)

    def table(self) -> pl.DataFrame:
        return pl.read_delta(self.address)


def keys_of(bucket: str) -> set[str]:
    found = client().list_objects_v2(Bucket=bucket).get("Contents", ())
    return {str(entry["Key"]) for entry in found}


def check_keys(server: str, after: str) -> None:
    """After so many requests the server looks at keys, and knows none."""
    httpx.post(f"{server}/moto-api/reset-auth", content=after).raise_for_status()


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Exported]:
    return lambda endpoint, file_format: Exported(tmp_path, endpoint, file_format)


# -- a bucket --------------------------------------------------------------------------------------------


def test_each_format_is_one_object(bucket: str, export: Callable[..., Exported]) -> None:
    readers: dict[str, Any] = {"csv": pl.read_csv, "arrow": pl.read_ipc, "parquet": pl.read_parquet}
    for batch, (file_format, reader) in enumerate(readers.items()):
        exported = export(f"s3://{bucket}/out/", file_format)
        shown = exported.project(exported.publish(batch))
        assert exported.address == f"s3://{bucket}/out/v1/numbers.{file_format}"
        content = fsspec.filesystem("s3").cat_file(exported.address)
        assert (set(reader(content)["batch"]), len(content)) == ({batch}, shown["bytes"])
        exported.port.probe(exported.config, exported.context)
        # The formats that the port had before are gone: they would grow old unnoticed.
        assert keys_of(bucket) == {f"out/v1/numbers.{file_format}"}
    exact = export(f"s3://{bucket}/daily/all.parquet", "parquet")
    exact.project(exact.publish(7))
    assert keys_of(bucket) == {"out/v1/numbers.parquet", "daily/all.parquet"}


def test_a_large_file_is_sent_in_parts(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 1024**2)
    source = tmp_path / "large"
    source.write_bytes(os.urandom(12 * 1024**2))
    target = BucketPath(bucket, "large")
    # What a killed process began.
    client().create_multipart_upload(Bucket=bucket, Key="large")
    target.upload(source)
    assert target.read_bytes() == source.read_bytes()
    assert not client().list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert target.download(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == source.read_bytes()
    # Broken off in the middle: the old object stays, and nothing is left of the new one.
    with monkeypatch.context() as broken:
        broken.setenv("AWS_ACCESS_KEY_ID", "tester")
        calls = iter(range(2))
        send = BucketPath._do

        def fails(self: BucketPath, operation: str, **arguments: Any) -> Any:
            if operation == "upload_part" and next(calls, None) is None:
                raise StoreError("the connection broke")
            return send(self, operation, **arguments)

        broken.setattr(BucketPath, "_do", fails)
        source.write_bytes(os.urandom(12 * 1024**2))
        with pytest.raises(StoreError, match="the connection broke"):
            target.upload(source)
    assert target.read_bytes() == (tmp_path / "again").read_bytes()
    assert not client().list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_a_reader_of_ranges_never_mixes_two_contents(bucket: str) -> None:
    target = BucketPath(bucket, "x")
    target.put(b"a" * 3_000_000)
    with target.open() as file:
        assert file.read(10) == b"a" * 10
        target.put(b"b" * 3_000_000)
        with pytest.raises(StoreError, match="was replaced while it was read"):
            file.read()


@pytest.mark.parametrize("file_format", ["parquet", "delta"])
def test_the_last_good_version_stays_when_the_bucket_does_not_answer(
    bucket: str, export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    exported = export(f"s3://{bucket}/out/", file_format)
    exported.project(exported.publish(1))
    second = exported.publish(2)

    def refused(match: str) -> None:
        for attempt in (
            lambda: exported.project(second),
            lambda: exported.port.probe(exported.config, exported.context),
        ):
            with pytest.raises(StoreError, match=match) as caught:
                attempt()
            assert "\n" not in str(caught.value)
            assert "tester-secret" not in str(caught.value)

    with monkeypatch.context() as down:
        down.setenv("AWS_ENDPOINT_URL", "http://ann:tester-secret@127.0.0.1:9")
        refused(r"cannot be reached at http://127\.0\.0\.1:9 ")
    server = os.environ["AWS_ENDPOINT_URL"]
    check_keys(server, after="0")
    try:
        refused("is refused to these AWS credentials")
    finally:
        check_keys(server, after="inf")
    with monkeypatch.context() as none:
        none.delenv("AWS_ACCESS_KEY_ID")
        none.delenv("AWS_SECRET_ACCESS_KEY")
        refused("there are no AWS credentials")
    exported.port.probe(exported.config, exported.context)
    seen = (
        exported.table()
        if file_format == "delta"
        else pl.read_parquet(BucketPath.of(exported.address).read_bytes())
    )
    assert set(seen["batch"]) == {1}
    exported.project(second)


def test_a_bucket_that_is_not_there_is_named(bucket: str, export: Callable[..., Exported]) -> None:
    for file_format in ("csv", "delta"):
        exported = export("s3://no-such-bucket/out/", file_format)
        with pytest.raises(StoreError, match="bucket no-such-bucket does not exist"):
            exported.project(exported.publish(1))


# -- a Delta table of the port's own ---------------------------------------------------------------------


@pytest.fixture(params=["bucket", "folder"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where tables may be put, with a slash at its end."""
    if request.param == "folder":
        return f"{tmp_path}/elsewhere/"
    return f"s3://{request.getfixturevalue('bucket')}/tables/"


def test_columns_may_change_between_versions(tables: str, export: Callable[..., Exported]) -> None:
    exported = export(tables, "delta")
    exported.project(exported.publish_rows(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"]})))
    assert exported.table().rows() == [(1, "x"), (2, "y")]
    wider = pa.table(
        {
            "a": pa.array([5_000_000_000], pa.int64()),
            "at": pa.array([0], pa.timestamp("us")),
            "amount": pa.array([pa.scalar("1.50").cast(pa.decimal128(12, 2))]),
            "parts": pa.array([[{"k": 1}]]),
        }
    )
    shown = exported.project(exported.publish_rows(wider))
    seen = exported.table()
    assert seen.columns == ["a", "at", "amount", "parts"]
    assert seen["a"].to_list() == [5_000_000_000]
    # The old version stays readable, as the table's own history.
    options = delta_options() if tables.startswith("s3://") else None
    old = DeltaTable(exported.address, version=0, storage_options=options)
    assert pl.DataFrame(pl.read_delta(exported.address, version=0)).rows() == [(1, "x"), (2, "y")]
    assert old.version() == 0 < shown["table_version"]


def test_a_table_of_somebody_else_is_left_alone(tables: str, export: Callable[..., Exported]) -> None:
    exported = export(f"{tables}theirs", "delta")
    options = delta_options() if tables.startswith("s3://") else None
    pl.DataFrame({"theirs": [1]}).write_delta(exported.address, storage_options=options)
    with pytest.raises(StoreError, match=r"did not write; give the port an endpoint of its own"):
        exported.project(exported.publish(1))
    assert exported.table().rows() == [(1,)]


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from test_files_elsewhere import Exported
from dp_dagster.storage.log import Log
from dp_dagster.storage import exports
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
exported = Exported(Path(sys.argv[2]), sys.argv[3], "delta")
if sys.argv[4] == "before":
    Log.commit = die
else:
    exports._vacuum = die
exported.project(exported.publish(2))
"""


@pytest.mark.slow
def test_killed_while_exporting(bucket: str, tmp_path: Path) -> None:
    for stage, seen in (("before", 1), ("after", 2)):
        exported = Exported(tmp_path, f"s3://{bucket}/{stage}/table", "delta")
        exported.project(exported.publish(1))
        died = subprocess.run(
            [
                sys.executable,
                "-c",
                _KILLED,
                str(Path(__file__).parent),
                tmp_path,
                exported.config.endpoint or "",
                stage,
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert set(exported.table()["batch"]) == {seen}
        exported.project(exported.publish(3))
        assert set(exported.table()["batch"]) == {3}
        assert exported.port.probe(exported.config, exported.context) is None
        # What was put there without a commit is gone.
        there = {
            Path(key).name
            for key in keys_of(bucket)
            if key.startswith(f"{stage}/") and "_delta_log" not in key
        }
        table = DeltaTable(exported.address, storage_options=delta_options())
        named = {name for version in range(table.version() + 1) for name in _files(exported.address, version)}
        assert there == named


def _files(address: str, version: int) -> list[str]:
    table = DeltaTable(address, version=version, storage_options=delta_options())
    return [path.rpartition("/")[2] for path in table.file_uris()]


# -- in a product ----------------------------------------------------------------------------------------


def test_readers_of_a_table_elsewhere_get_their_copy(
    workshop: Workshop, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP_MASK_SECRET", SECRET)
    monkeypatch.setenv("EXPORTS", bucket)

    def port(endpoint: str | None) -> dict[str, Any]:
        told = {} if endpoint is None else {"endpoint": endpoint}
        return {
            "name": "rows",
            "type": "FILES",
            "dataset": "rows",
            "readers": {"role": "analyst"},
            "format": "delta",
        } | told

    def product(name: str, endpoint: str | None) -> Any:
        return workshop.product(
            name,
            files={"inputs/source.csv": "id,name,amount\n1,ada,1\n2,ben,2\n3,cy,3\n"},
            contract=CONTRACT,
            datasets=[
                {"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["id"]}
            ],
            access=ACCESS,
            output_ports=[port(endpoint)],
        )

    made = product("shop", "s3://${EXPORTS}/shop/rows")
    run = made.run()
    assert run.ports["rows"].address == f"s3://{bucket}/shop/rows"
    seen = pl.read_delta(f"s3://{bucket}/shop/rows")
    assert sorted(seen["id"]) == [2, 3]
    assert not set(seen["name"]) & {"ada", "ben", "cy"}
    # Nothing new, nothing done; a new secret is a new copy of the same version.
    before = keys_of(bucket)
    project_port(made.session(), "rows")
    assert keys_of(bucket) == before
    monkeypatch.setenv("DP_MASK_SECRET", SECRET + "s")
    project_port(made.session(), "rows")
    again = pl.read_delta(f"s3://{bucket}/shop/rows")
    assert sorted(again["id"]) == [2, 3]
    assert not set(seen["name"]) & set(again["name"])
    # The table in the storage would show everything.
    with pytest.raises(DescriptorError, match="delta hands out the table itself"):
        product("other", None).run()


def test_the_storage_itself_is_no_place_to_export_to(export: Callable[..., Exported], tmp_path: Path) -> None:
    exported = export(f"{tmp_path}/data/shop/v1/dataset/", "delta")
    with pytest.raises(AuthorError, match="lies in the storage"):
        exported.project(exported.publish(1))


def test_a_file_elsewhere_is_no_second_name_of_the_published_one(
    export: Callable[..., Exported], tmp_path: Path
) -> None:
    exported = export(f"file://{tmp_path}/else/numbers.parquet", "parquet")
    rows = pa.table({"a": [1]})
    snapshot = exported.publish_rows(rows)
    exported.project(snapshot)
    target = tmp_path / "else" / "numbers.parquet"
    assert target.stat().st_nlink == 1
    target.write_bytes(b"")
    assert parquet.read_table(snapshot.files[0]).equals(rows)
    assert duckdb.sql(f"from '{snapshot.files[0]}'").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("endpoint", "current", "older"),
    [
        ("s3://exports/all.csv", "s3://exports/all.csv", "s3://exports/v1/all.csv"),
        ("s3://exports/v2/all.csv", "s3://exports/v2/all.csv", "s3://exports/v1/all.csv"),
        ("s3://exports/", "s3://exports/v2/numbers.csv", "s3://exports/v1/numbers.csv"),
        ("s3://exports/v2/day/", "s3://exports/v2/day/numbers.csv", "s3://exports/v1/day/numbers.csv"),
        ("/srv/x/", "/srv/x/v2/numbers.csv", "/srv/x/v1/numbers.csv"),
        ("file:///srv/a%20b/x.csv", "/srv/a b/x.csv", "/srv/a b/v1/x.csv"),
    ],
)
def test_major_versions_never_meet(tmp_path: Path, endpoint: str, current: str, older: str) -> None:
    def at(major: int, *, is_current: bool) -> str:
        context = OutputContext(
            "shop",
            tmp_path,
            major,
            "numbers",
            DATASET,
            NUMBERS,
            "",
            Settings(project_root=tmp_path),
            is_current=is_current,
        )
        return str(file_targets.target_of(endpoint, "csv", context))

    assert not list(file_targets.endpoint_faults(endpoint, "csv"))
    assert (at(2, is_current=True), at(1, is_current=False)) == (current, older)


@pytest.mark.parametrize(
    ("endpoint", "file_format", "message"),
    [
        ("s3://bucket/x.csv", "parquet", "does not end in .parquet"),
        ("s3://bucket/x.csv", "delta", "delta makes a folder"),
        ("s3://bucket", "delta", "is a whole bucket"),
        ("s3://ann:key@bucket/x/", "csv", "credentials come from the environment alone"),
        ("exports/", "csv", "is no absolute folder"),
    ],
)
def test_faults_say_what_is_wrong(endpoint: str, file_format: str, message: str) -> None:
    (fault,) = file_targets.endpoint_faults(endpoint, file_format)
    assert message in fault.message
    assert fault.fix
