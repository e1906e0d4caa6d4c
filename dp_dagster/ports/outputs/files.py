"""FILES output port: the published version as a file, or the Delta table itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.errors import StoreError
from dp_dagster.folder import remove_leftovers
from dp_dagster.ports.base import (
    Example,
    Fault,
    KindConfig,
    OutputCapabilities,
    OutputContext,
    OutputPort,
    Projected,
)

if TYPE_CHECKING:
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

_ENDINGS = {"parquet": "parquet", "csv": "csv", "arrow": "arrow"}
_BUILDING = ".file-"
_ARROW_BATCH_ROWS = 64_000


class FilesConfig(KindConfig):
    """Configuration of a FILES output port."""

    format: Literal["parquet", "csv", "arrow", "delta"] = Field(
        default="parquet",
        description="`parquet`, `csv` or `arrow`: one file, replaced by rename. `delta`: the table itself.",
    )


class FilesOutput(OutputPort[FilesConfig]):
    """One file that always holds a whole published version; or, as ``delta``, the table with its history.

    The file is replaced by rename, so a reader that opens it once sees one version. Who opens it again for each
    part of it may meet the next version in between; such readers are better served by ``delta``.
    """

    kind = "FILES"
    summary = "a Parquet, CSV or Arrow file, or the Delta table itself"
    Config: ClassVar[type[KindConfig]] = FilesConfig
    capabilities = OutputCapabilities(hands_out_files=True, probed=True)

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format."""
        return frozenset({"deltalake" if config.format == "delta" else config.format})

    def copies(self, config: FilesConfig) -> Fault | None:
        """Who reads the Delta table itself sees all of it."""
        if config.format != "delta":
            return None
        return Fault(
            "format",
            "delta hands out the table itself, and its readers may not see all of it",
            "write parquet, csv or arrow, which are copies",
        )

    def address(self, config: FilesConfig, context: OutputContext) -> str:
        """Path of the file or of the table."""
        major = Path(context.settings.storage) / context.product_id / f"v{context.major}"
        if config.format == "delta":
            return str(major / "dataset" / context.dataset)
        return str(major / "port" / f"{context.port_name}.{_ENDINGS[config.format]}")

    def examples(self, config: FilesConfig, context: OutputContext) -> tuple[Example, ...]:
        """From DuckDB's shell, and from Polars."""
        from dp_dagster.engines.duckdb import literal

        address = self.address(config, context)
        if config.format == "delta":
            return (Example("python", f"import polars\npolars.scan_delta({address!r})"),)
        # Opened once: given a path, Polars opens it twice, and may meet two versions.
        reader = {"parquet": "read_parquet", "csv": "read_csv", "arrow": "read_ipc"}[config.format]
        python = Example(
            "python",
            f'import polars\nwith open({address!r}, "rb") as file:\n    rows = polars.{reader}(file)',
        )
        if config.format in {"parquet", "csv"}:
            return (Example("sql", f"select * from {literal(address)} limit 10"), python)
        return (python,)

    def probe(self, config: FilesConfig, context: OutputContext) -> None:
        """Open the file, or the table, and read a row."""
        import duckdb

        from dp_dagster.engines.duckdb import first_line

        address = self.address(config, context)
        try:
            if config.format == "delta":
                _probe_table(context)
            elif config.format == "arrow":
                _probe_arrow(address)
            else:
                _probe_with_duckdb(address, config.format)
        except (OSError, ValueError, duckdb.Error) as error:
            raise StoreError(f"{address} cannot be read: {first_line(error)}") from error

    def project(
        self, config: FilesConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Write the version beside the old file and put it in place by rename."""
        import duckdb

        from dp_dagster.engines.duckdb import first_line

        address = self.address(config, context)
        if config.format == "delta":
            return Projected(address, {"format": "delta"})
        target = Path(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The product's lock is held, so whoever began another one is dead.
        remove_leftovers(target.parent, _BUILDING)
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=target.parent))
        try:
            built = folder / target.name
            if config.format == "parquet" and len(snapshot.files) == 1:
                _link_or_copy(Path(snapshot.files[0]), built)
            elif config.format == "arrow":
                _write_arrow(snapshot, built)
            else:
                _write_with_duckdb(snapshot, built, config.format)
            size = built.stat().st_size
            built.replace(target)
            for ending in _ENDINGS.values():
                if ending != _ENDINGS[config.format]:
                    # Of a format that the port had before; it would grow old unnoticed.
                    target.with_suffix(f".{ending}").unlink(missing_ok=True)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"{target} cannot be written: {first_line(error)}") from error
        finally:
            shutil.rmtree(folder)
        return Projected(address, {"format": config.format, "bytes": size})


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


def _probe_with_duckdb(address: str, file_format: str) -> None:
    from dp_dagster.engines.duckdb import exact, in_memory

    function = "read_csv" if file_format == "csv" else "read_parquet"
    with in_memory() as connection:
        connection.execute(f"select * from {function}(?) limit 1", [exact(address)]).fetchall()


def _probe_arrow(address: str) -> None:
    import pyarrow as pa

    # Arrow's own errors are ValueErrors, a missing file is an OSError.
    with pa.OSFile(address) as source, pa.ipc.open_file(source) as reader:
        if reader.num_record_batches:
            reader.get_batch(0)


def _probe_table(context: OutputContext) -> None:
    from dp_dagster.storage import Table, dataset_table

    location = dataset_table(context.settings.storage, context.product_id, context.major, context.dataset)
    newest = Table(location).newest()
    if newest is None:
        raise StoreError(f"{location} was never published")
    missing = [path for path in newest.files if not Path(path).is_file()]
    if missing:
        raise StoreError(f"{location} version {newest.version} lacks {len(missing)} of its files")
