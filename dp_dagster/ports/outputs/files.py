"""FILES output port: the published version as a file or Delta table, in the storage or where an endpoint says."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.errors import StoreError
from dp_dagster.folder import remove_leftovers
from dp_dagster.ports.base import (
    Example,
    Fault,
    KindConfig,
    Missing,
    OutputCapabilities,
    OutputContext,
    OutputPort,
    Projected,
)
from dp_dagster.ports.outputs.file_targets import (
    ENDINGS,
    endpoint_faults,
    owner_of,
    refuse_the_storage,
    target_of,
)
from dp_dagster.storage.bucket import BucketPath, is_bucket
from dp_dagster.storage.places import missing_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest
    from dp_dagster.storage.places import Place

_BUILDING = ".file-"
_ARROW_BATCH_ROWS = 64_000


class FilesConfig(KindConfig):
    """Configuration of a FILES output port."""

    format: Literal["parquet", "csv", "arrow", "delta"] = Field(
        default="parquet",
        description="`parquet`, `csv` or `arrow`: one file, replaced in one step. `delta`: the table itself, or with "
        "an `endpoint` a Delta table there.",
    )
    endpoint: str | None = Field(
        default=None,
        description="Where it goes instead of the storage: `s3://bucket/exports/flights.parquet` or an absolute local "
        "path is the file (with `delta`, the table's folder); with `/` at its end, a folder in which each port has "
        "a place of its own. Credentials come from the AWS environment alone.",
    )


class FilesOutput(OutputPort[FilesConfig]):
    """One file that always holds a whole published version; or, as ``delta``, a table with its history.

    The file is replaced in one step, by rename or as one object, so a reader that opens it once (of a bucket: asks
    for it once) sees one version. Who asks again for each part of it may meet the next version in between; such
    readers are better served by ``delta``.
    """

    kind = "FILES"
    summary = "a Parquet, CSV or Arrow file or a Delta table, also in a folder or bucket"
    Config: ClassVar[type[KindConfig]] = FilesConfig
    capabilities = OutputCapabilities(hands_out_files=True, probed=True)

    def check(self, config: FilesConfig, product_root: Path) -> Iterable[Fault]:
        """An endpoint must be a place that files can be put, and fit the format."""
        return endpoint_faults(config.endpoint, config.format)

    def missing(self, config: FilesConfig) -> Missing | None:
        """A bucket needs an extra."""
        if config.endpoint and is_bucket(config.endpoint) and find_spec("botocore") is None:
            return Missing("a FILES port on s3://", "s3")
        return None

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format, and where it is."""
        on_bucket = {"s3"} if config.endpoint and is_bucket(config.endpoint) else set()
        return frozenset({"deltalake" if config.format == "delta" else config.format, *on_bucket})

    def copies(self, config: FilesConfig) -> Fault | None:
        """Who reads the Delta table itself sees all of it; a table elsewhere is a copy."""
        if config.format != "delta" or config.endpoint is not None:
            return None
        return Fault(
            "format",
            "delta hands out the table itself, and its readers may not see all of it",
            "write parquet, csv or arrow, or give an endpoint, all of which are copies",
        )

    def address(self, config: FilesConfig, context: OutputContext) -> str:
        """Path or URL of the file or of the table."""
        return str(target_of(config.endpoint, config.format, context))

    def access(self, config: FilesConfig, context: OutputContext) -> str:
        """Who may read the place."""
        place = target_of(config.endpoint, config.format, context)
        if isinstance(place, BucketPath):
            return f"Whoever bucket `{place.bucket}` lets read it; AWS credentials are the reader's own."
        if config.endpoint is not None:
            return "No sign-in: whoever may read the folder may read this port."
        return super().access(config, context)

    def examples(self, config: FilesConfig, context: OutputContext) -> tuple[Example, ...]:
        """From DuckDB's shell, and from Polars."""
        from dp_dagster.engines.duckdb import literal

        target = target_of(config.endpoint, config.format, context)
        address = str(target)
        if config.format == "delta":
            return (Example("python", f"import polars\npolars.scan_delta({address!r})"),)
        # Opened once: given a path, Polars opens it twice, and may meet two versions.
        reader = {"parquet": "read_parquet", "csv": "read_csv", "arrow": "read_ipc"}[config.format]
        if isinstance(target, BucketPath):
            text = (
                "import fsspec, polars\n"
                f'rows = polars.{reader}(fsspec.filesystem("s3").cat_file({address!r}))'
            )
            return (Example("python", text), Example("shell", f"aws s3 cp {address} ."))
        python = Example(
            "python",
            f'import polars\nwith open({address!r}, "rb") as file:\n    rows = polars.{reader}(file)',
        )
        if config.format in {"parquet", "csv"}:
            return (Example("sql", f"select * from {literal(address)} limit 10"), python)
        return (python,)

    def probe(self, config: FilesConfig, context: OutputContext) -> None:
        """Open the file, or the table, and read a row."""
        from dp_dagster.storage.exports import ExportedTable, probe_table

        target = target_of(config.endpoint, config.format, context)
        if config.format == "delta":
            if config.endpoint is None:
                _probe_table(context)
            else:
                probe_table(ExportedTable(target, owner_of(context)))
            return
        import pyarrow as pa

        try:
            with target.open() if isinstance(target, BucketPath) else target.open("rb") as file:
                _PROBES[config.format](file)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(f"{target} cannot be read: {_first_line(error)}") from error

    def project(
        self, config: FilesConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Write the version beside what is there, and put it in place in one step."""
        from dp_dagster.storage.exports import ExportedTable, export_table

        target = target_of(config.endpoint, config.format, context)
        if config.endpoint is not None:
            refuse_the_storage(target, context)
        if config.format != "delta":
            size = _put_file(config, context, snapshot, target)
            return Projected(str(target), {"format": config.format, "bytes": size})
        if config.endpoint is None:
            return Projected(str(target), {"format": "delta"})
        version = export_table(ExportedTable(target, owner_of(context)), snapshot)
        return Projected(str(target), {"format": "delta", "table_version": version})


def _put_file(config: FilesConfig, context: OutputContext, snapshot: Snapshot, target: Place) -> int:
    """Build the file and put it in place; returns its bytes."""
    import duckdb

    # The product's lock is held, so whoever began another one is dead.
    if isinstance(target, BucketPath):
        parent = context.settings.state_directory / "exports" / context.product_id
    else:
        parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parent, _BUILDING)
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=parent))
    except OSError as error:
        raise StoreError(f"{parent} cannot be written: {error.strerror or error}") from error
    try:
        built = _build(config, snapshot, folder / target.name, for_bucket=isinstance(target, BucketPath))
        size = built.stat().st_size
        if isinstance(target, BucketPath):
            target.upload(built)
        else:
            built.replace(target)
        if config.endpoint is None or config.endpoint.endswith("/"):
            for ending in ENDINGS:
                if ending != config.format:
                    # Of a format that the port had before; it would grow old unnoticed.
                    target.with_suffix(f".{ending}").unlink(missing_ok=True)
    except (OSError, duckdb.Error) as error:
        raise StoreError(f"{target} cannot be written: {_first_line(error)}") from error
    finally:
        shutil.rmtree(folder)
    return size


def _build(config: FilesConfig, snapshot: Snapshot, built: Path, *, for_bucket: bool) -> Path:
    """The file to put in place: made at ``built``, or the published one where that will do."""
    if config.format == "parquet" and len(snapshot.files) == 1:
        source = Path(snapshot.files[0])
        if for_bucket:
            return source
        if config.endpoint is None:
            _link_or_copy(source, built)
        else:
            # Not linked: whoever may write there shall not be able to change what was published.
            shutil.copyfile(source, built)
    elif config.format == "arrow":
        _write_arrow(snapshot, built)
    else:
        _write_with_duckdb(snapshot, built, config.format)
    return built


def _link_or_copy(source: Path, target: Path) -> None:
    # A published file never changes, so a second name for it costs nothing and survives a vacuum.
    try:
        os.link(source, target)
        # Both names are one file: nobody shall write into what was published by way of the port.
        target.chmod(0o444)
    except OSError:
        shutil.copyfile(source, target)


def _write_with_duckdb(snapshot: Snapshot, target: Path, file_format: str) -> None:
    from dp_dagster.engines.duckdb import in_memory, literal, scan

    options = "format csv, header" if file_format == "csv" else "format parquet"
    with in_memory() as connection:
        connection.execute(
            f"copy (select * from {scan(snapshot.files)}) to {literal(str(target))} ({options})"
        )


def _write_arrow(snapshot: Snapshot, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.dataset as arrow_dataset

    rows = arrow_dataset.dataset(list(snapshot.files), format="parquet")
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        for batch in rows.to_batches(batch_size=_ARROW_BATCH_ROWS):
            writer.write_batch(batch)


def _probe_parquet(file: BinaryIO) -> None:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as rows:
        next(rows.iter_batches(1), None)


def _probe_csv(file: BinaryIO) -> None:
    if not file.readline().endswith(b"\n"):
        raise ValueError("it has no whole line")


def _probe_arrow(file: BinaryIO) -> None:
    import pyarrow as pa

    # Arrow's own errors are ValueErrors, a missing file is an OSError.
    with pa.ipc.open_file(file) as reader:
        if reader.num_record_batches:
            reader.get_batch(0)


_PROBES = {"parquet": _probe_parquet, "csv": _probe_csv, "arrow": _probe_arrow}


def _probe_table(context: OutputContext) -> None:
    from dp_dagster.storage import Table, dataset_table

    location = dataset_table(context.settings.storage, context.product_id, context.major, context.dataset)
    newest = Table(location).newest()
    if newest is None:
        raise StoreError(f"{location} was never published")
    missing = missing_in(location.place, {Path(path).name for path in newest.paths})
    if missing:
        raise StoreError(f"{location} version {newest.version} lacks {len(missing)} of its files")


def _first_line(error: Exception) -> str:
    from dp_dagster.engines.duckdb import first_line

    return first_line(error)
