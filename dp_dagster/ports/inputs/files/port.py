"""The kind FILES of input ports."""

from __future__ import annotations

import hashlib
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from dp_dagster.errors import InputError, TransformError
from dp_dagster.folder import leaves_folder
from dp_dagster.ports.base import Fault, InputContext, InputPort, KindConfig, Landing, Pinned, Written
from dp_dagster.ports.inputs.files.config import FilesConfig
from dp_dagster.ports.inputs.files.reading import (
    Reading,
    declared_types,
    explain,
    format_of,
    select_over,
    with_all_digits,
)
from dp_dagster.ports.inputs.files.sources import Sources, is_remote, scheme_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from dp_dagster.ports.base import Rejected

_PARTITION = re.compile(r"\{partition(?::(?P<format>[^{}]+))?\}")


class FilesInput(InputPort[FilesConfig]):
    """Files that somebody puts there. CSV and JSON are landed; Parquet without a contract is read in place."""

    kind = "FILES"
    summary = "CSV, Parquet or JSON files"
    Config: ClassVar[type[KindConfig]] = FilesConfig

    def names_partition(self, config: FilesConfig) -> bool:
        """Whether the path has a place for it: ``{partition}``."""
        return _PARTITION.search(config.path) is not None

    def of_partition(self, config: FilesConfig, key: str, begin: datetime) -> FilesConfig:
        """The path with the partition's key, or its start in a format of its own, in its place."""
        path = _PARTITION.sub(
            lambda found: begin.strftime(found["format"]) if found["format"] else key, config.path
        )
        return config.model_copy(update={"path": path})

    def check(self, config: FilesConfig, product_root: Path) -> Iterable[Fault]:
        """The path must stay in the folder or be a URL, and its format must be known."""
        try:
            parts, scheme = urlsplit(config.path), scheme_of(config.path)
        except ValueError as error:
            yield Fault("path", f"{self.location(config)} is no URL: {error}", "correct it")
            return
        if "\0" in config.path:
            yield Fault("path", "holds a NUL character", "remove it")
        elif not scheme and Path(config.path).is_absolute():
            yield Fault(
                "path",
                f"{config.path} is absolute",
                f"write a path inside the product's folder, or the URL file://{config.path}",
            )
        elif not scheme and leaves_folder(config.path, product_root):
            yield Fault(
                "path",
                f"{config.path} leads out of the product's folder",
                "name a file inside the folder, or a URL such as file:///absolute/path",
            )
        elif scheme == "file" and (parts.netloc or not parts.path.strip("/")):
            yield Fault("path", f"{config.path} names no file of this machine", "write file:///absolute/path")
        elif scheme == "package" and not parts.netloc.isidentifier():
            yield Fault(
                "path", f"{config.path} names no package", "write package://name/file, as one imports it"
            )
        if format_of(config.path, config.format) is None:
            yield Fault(
                "path",
                f"the format of {self.location(config)} cannot be told",
                "add format: csv, parquet or json",
            )

        if config.mode == "merge" and not config.key:
            yield Fault("key", "is missing: rows are merged by it", "add key: [columns that identify a row]")
        for name in ("key", "deleted"):
            if config.mode != "merge" and getattr(config, name):
                yield Fault(name, f"says nothing with mode {config.mode}", "remove it, or set mode: merge")
        if config.credentials and not is_remote(config.path):
            yield Fault("credentials", "are for URLs, and these files lie on this machine", "remove them")

    def location(self, config: FilesConfig) -> str:
        """The path as declared, without what a URL may carry of a secret: user, password, query."""
        return shown(config.path)

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format."""
        return frozenset({format_of(config.path, config.format) or "file"})

    def lands(self, config: FilesConfig, *, audited: bool) -> bool:
        """Parquet that lies on a local disk and carries no contract is read where it lies."""
        is_parquet = format_of(config.path, config.format) == "parquet"
        return audited or not is_parquet or is_remote(config.path) or config.mode != "replace"

    def landing(self, config: FilesConfig) -> Landing:
        """All files at once, or those that are new."""
        if config.mode == "replace":
            return Landing(on_schema_change=config.on_schema_change)
        change = config.on_schema_change or "stop"
        return Landing(config.mode, config.key, None, config.deleted, change)

    def identity(self, config: FilesConfig) -> str:
        """All that was declared, but who reads."""
        return config.identity()

    def fingerprint(self, config: FilesConfig, context: InputContext) -> str:
        """Names, sizes and times of change of the files."""
        digest = hashlib.sha256()
        for name, size, changed in Sources(config, context).listing():
            digest.update(f"{name}\0{size}\0{changed}\n".encode())
        return digest.hexdigest()[:32]

    def available_since(
        self, config: FilesConfig, context: InputContext, shown: str | None
    ) -> datetime | None:
        """When the newest local file changed; files behind other URLs do not all tell."""
        if is_remote(config.path) or self.fingerprint(config, context) == shown:
            return None
        changed = max(path.stat().st_mtime for path in Sources(config, context).local_paths())
        return datetime.fromtimestamp(changed, UTC)

    def write(
        self,
        config: FilesConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
    ) -> Written | None:
        """Read the files, or those that are new, and write them as one Parquet file, rows in their order."""
        if config.mode == "replace":
            rejected = self._write_files(config, context, connection, destination, None)
            # Who asks for columns to be compared has them compared with those of this version.
            return Written(rejected=rejected) if rejected or config.on_schema_change else None
        listed = Sources(config, context).listing()
        marks = {_short(name): _short(f"{size} {changed}") for name, size, changed in listed}
        known: dict[str, str] = (context.state or {}).get("files", {})
        new = {name for name, _, _ in listed if known.get(_short(name)) != marks[_short(name)]}
        changed = sorted(name for name in new if _short(name) in known)
        if changed and config.mode == "append":
            raise InputError(
                f"{context.what}: {changed[0]} was read before and has changed since ({len(changed)} in all); append "
                "reads each file once: set mode: merge, or give what is new a name of its own"
            )
        rejected = ()
        if new:
            rejected = self._write_files(config, context, connection, destination, new)
        else:
            # Files were taken away, and nothing came.
            from pyarrow import parquet

            from dp_dagster.storage.types import arrow_schema

            parquet.write_table(arrow_schema(context.columns).empty_table(), destination)
        # Files that are gone stay known: what was read of them is landed.
        return Written({"files": {**known, **marks}}, rejected=rejected)

    def _write_files(
        self,
        config: FilesConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
        only: set[str] | None,
    ) -> tuple[Rejected, ...]:
        import duckdb

        from dp_dagster.engines.duckdb import scan, write_rows

        what = context.what
        with Sources(config, context).fetched(only) as files:
            reading = Reading(
                format=format_of(config.path, config.format) or "csv",
                files=tuple(files),
                types=declared_types(context.contract, config.types),
                null_values=config.null_values,
                delimiter=config.delimiter,
                header=config.header,
                skip=config.skip,
            )
            try:
                if reading.format == "parquet":
                    write_rows(connection.sql(f"select * from {scan(reading.files)}"), destination, what)
                    return ()
                return self._write_texts(config, context, connection, destination, reading)
            except (duckdb.Error, InputError, OSError) as error:
                cause = explain(error, files)
                raise InputError(f"{what}: {self.location(config)}: {cause}") from error
            except TransformError as error:
                # A type that cannot be stored, of a Parquet file: nobody can cast it on the way in.
                raise InputError(f"{error}, where the file is made") from error

    def _write_texts(
        self,
        config: FilesConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
        reading: Reading,
    ) -> tuple[Rejected, ...]:
        """Write the rows of CSV and JSON, each value as it stands there."""
        from dp_dagster.ports.inputs import exactly

        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".ndjson") as file:
            declared = reading.types
            if reading.format == "json":
                reading = with_all_digits(reading, connection, file)
            return exactly.write_exactly(
                connection,
                exactly.Reading(
                    select=select_over(reading, connection),
                    declared=declared,
                    what=context.what,
                    sets_aside=config.on_schema_change == "quarantine",
                    classified=context.contract.classified if context.contract else (),
                ),
                destination,
            )

    def pin(self, config: FilesConfig, context: InputContext) -> Pinned:
        """The Parquet files that are there now."""
        paths = Sources(config, context).local_paths()
        return Pinned(
            name=context.port_name,
            files=tuple(str(path) for path in paths),
            version=None,
            provenance={
                "location": self.location(config),
                "fingerprint": self.fingerprint(config, context),
            },
        )


def _short(text: str) -> str:
    """A text as the state keeps it, which grows by a line for each file."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
