"""FILES output port: the published version as a file, or the Delta table itself."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.errors import StoreError
from dp_dagster.ports.base import (
    Example,
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
_ARROW_BATCH_ROWS = 64_000


class FilesConfig(KindConfig):
    """Configuration of a FILES output port."""

    format: Literal["parquet", "csv", "arrow", "delta"] = Field(
        default="parquet",
        description="`parquet`, `csv` or `arrow`: one file, replaced by rename. `delta`: the table itself.",
    )


class FilesOutput(OutputPort[FilesConfig]):
    """One file that always holds a whole published version; or, as ``delta``, the table with its history."""

    kind = "FILES"
    summary = "a Parquet, CSV or Arrow file, or the Delta table itself"
    Config: ClassVar[type[KindConfig]] = FilesConfig
    capabilities = OutputCapabilities(hands_out_files=True)

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format."""
        return frozenset({"deltalake" if config.format == "delta" else config.format})

    def address(self, config: FilesConfig, context: OutputContext) -> str:
        """Path of the file or of the table."""
        major = Path(context.settings.storage) / context.product_id / f"v{context.major}"
        if config.format == "delta":
            return str(major / "dataset" / context.dataset)
        return str(major / "port" / f"{context.port_name}.{_ENDINGS[config.format]}")

    def examples(self, config: FilesConfig, context: OutputContext) -> tuple[Example, ...]:
        """From DuckDB's shell, and from Polars."""
        address = self.address(config, context)
        readers = {
            "parquet": f'import polars\npolars.scan_parquet("{address}")',
            "csv": f'import polars\npolars.scan_csv("{address}")',
            "arrow": f'import polars\npolars.scan_ipc("{address}")',
            "delta": f'import polars\npolars.scan_delta("{address}")',
        }
        python = Example("python", readers[config.format])
        if config.format in {"parquet", "csv"}:
            return (Example("sql", f"select * from '{address}' limit 10"), python)
        return (python,)

    def project(
        self, config: FilesConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Write the version beside the old file and put it in place by rename."""
        address = self.address(config, context)
        if config.format == "delta":
            return Projected(address, {"format": "delta"})
        target = Path(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".file-", dir=target.parent))
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
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            for leftover in folder.iterdir():
                leftover.unlink()
            folder.rmdir()
        return Projected(address, {"format": config.format, "bytes": size})


def _link_or_copy(source: Path, target: Path) -> None:
    # A published file never changes, so a second name for it costs nothing and survives a vacuum.
    try:
        os.link(source, target)
    except OSError:
        import shutil

        shutil.copyfile(source, target)


def _write_with_duckdb(snapshot: Snapshot, target: Path, file_format: str) -> None:
    import duckdb

    from dp_dagster.engines.duckdb import literal, prepare, scan

    options = "format csv, header" if file_format == "csv" else "format parquet"
    with duckdb.connect() as connection:
        prepare(connection)
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
