"""Input port over files: CSV, Parquet or JSON, local, shipped by a Python package, or behind any fsspec URL."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from dp_dagster.errors import InputError, StoreError
from dp_dagster.folder import leaves_folder
from dp_dagster.ports.base import Fault, InputContext, InputPort, KindConfig, Pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

    from dp_dagster.contracts.model import Contract

Format = Literal["csv", "parquet", "json"]

_FORMAT_BY_ENDING: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".ndjson": "json",
    ".jsonl": "json",
}
# What DuckDB opens by itself; the rest is unpacked first.
_UNPACKED_FIRST = {".zip", ".bz2", ".xz"}
_COMPRESSED = {".gz", ".zst", *_UNPACKED_FIRST}


class FilesConfig(KindConfig):
    """Configuration of a FILES input port."""

    path: str = Field(
        min_length=1,
        description="A file, or a pattern with `*`. Relative: inside the product's folder. "
        "`package://name/file`: a data file that an installed Python package ships. "
        "`file:///absolute/path`, or any other URL that fsspec opens.",
    )
    format: Format | None = Field(default=None, description="By default from the file's ending.")
    null_values: tuple[str, ...] = Field(
        default=(), description="CSV: texts that mean null, besides nothing."
    )
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=4, description="CSV: by default found by looking."
    )
    header: bool = Field(default=True, description="CSV: whether the first line names the columns.")
    types: dict[str, str] = Field(
        default_factory=dict,
        description="CSV and JSON: DuckDB types by column. By default those of the contract, else by looking.",
    )


class FilesInput(InputPort[FilesConfig]):
    """Files that somebody puts there. CSV and JSON are landed; Parquet without a contract is read in place."""

    kind = "FILES"
    summary = "CSV, Parquet or JSON files"
    Config: ClassVar[type[KindConfig]] = FilesConfig

    def check(self, config: FilesConfig, product_root: Path) -> Iterable[Fault]:
        """The path must stay in the folder or be a URL, and its format must be known."""
        scheme = urlsplit(config.path).scheme
        if not scheme:
            if Path(config.path).is_absolute():
                yield Fault(
                    "path",
                    f"{config.path} is absolute",
                    f"write a path inside the product's folder, or the URL file://{config.path}",
                )
            elif leaves_folder(config.path, product_root):
                yield Fault(
                    "path",
                    f"{config.path} leads out of the product's folder",
                    "name a file inside the folder, or a URL such as file:///absolute/path",
                )
        if config.format is None and _format(config) is None:
            yield Fault(
                "path", f"the format of {config.path} cannot be told", "add format: csv, parquet or json"
            )

    def location(self, config: FilesConfig) -> str:
        """The path as declared, without what a URL may carry of a password."""
        parts = urlsplit(config.path)
        if not parts.scheme or "@" not in parts.netloc:
            return config.path
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format."""
        return frozenset({_format(config) or "file"})

    def lands(self, config: FilesConfig, *, audited: bool) -> bool:
        """Parquet that lies on a local disk and carries no contract is read where it lies."""
        return audited or _format(config) != "parquet" or _is_remote(config.path)

    def fingerprint(self, config: FilesConfig, context: InputContext) -> str:
        """Names, sizes and times of change of the files."""
        digest = hashlib.sha256()
        for name, size, changed in self._listing(config, context):
            digest.update(f"{name}\0{size}\0{changed}\n".encode())
        return digest.hexdigest()[:32]

    def available_since(
        self, config: FilesConfig, context: InputContext, shown: str | None
    ) -> datetime | None:
        """When the newest local file changed; files behind other URLs do not all tell."""
        if _is_remote(config.path) or self.fingerprint(config, context) == shown:
            return None
        changed = max(path.stat().st_mtime for path in self._local_paths(config, context))
        return datetime.fromtimestamp(changed, UTC)

    def write(
        self,
        config: FilesConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
    ) -> None:
        """Read the files and write them as one Parquet file, rows in their order."""
        import duckdb

        from dp_dagster.engines.duckdb import write_parquet

        with self._local_files(config, context) as files:
            try:
                relation = connection.sql(*_reader(config, files, context.contract))
                write_parquet(relation, destination, f"{context.product_id}/input/{context.port_name}")
            except (duckdb.Error, InputError) as error:
                raise InputError(_explain(error, self.location(config), context)) from error

    def pin(self, config: FilesConfig, context: InputContext) -> Pinned:
        """The Parquet files that are there now."""
        paths = self._local_paths(config, context)
        return Pinned(
            name=context.port_name,
            files=tuple(str(path) for path in paths),
            version=None,
            provenance={
                "location": self.location(config),
                "fingerprint": self.fingerprint(config, context),
            },
        )

    def _listing(self, config: FilesConfig, context: InputContext) -> list[tuple[str, int, str]]:
        if not _is_remote(config.path):
            listing = []
            for path in self._local_paths(config, context):
                status = path.stat()
                listing.append((path.name, status.st_size, str(status.st_mtime_ns)))
            return listing
        filesystem, names = self._remote_files(config, context)
        listing = []
        for name in names:
            info: dict[str, Any] = filesystem.info(name)
            changed = next(
                (
                    str(info[key])
                    for key in ("ETag", "etag", "md5", "LastModified", "mtime", "updated")
                    if key in info
                ),
                "",
            )
            listing.append((name, int(info.get("size") or 0), changed))
        return listing

    def _local_paths(self, config: FilesConfig, context: InputContext) -> list[Path]:
        pattern = _local_pattern(config.path, context)
        if any(character in pattern.name for character in "*?["):
            paths = sorted(path for path in pattern.parent.glob(pattern.name) if path.is_file())
        else:
            paths = [pattern] if pattern.is_file() else []
        if not paths:
            raise InputError(
                f"{context.product_id}/input/{context.port_name}: no file at {self.location(config)}; "
                f"looked for {pattern}"
            )
        return paths

    def _remote_files(self, config: FilesConfig, context: InputContext) -> tuple[Any, list[str]]:
        import fsspec

        what = f"{context.product_id}/input/{context.port_name}"
        try:
            filesystem, path = fsspec.core.url_to_fs(config.path)
            names = sorted(filesystem.glob(path)) if "*" in path else [path]
            found = [name for name in names if filesystem.exists(name)]
        except ImportError as error:
            raise InputError(f"{what}: {self.location(config)} cannot be opened: {error}") from error
        except OSError as error:
            raise StoreError(
                f"{what}: {self.location(config)} cannot be reached: {type(error).__name__}"
            ) from error
        if not found:
            raise InputError(f"{what}: no file at {self.location(config)}")
        return filesystem, found

    @contextmanager
    def _local_files(self, config: FilesConfig, context: InputContext) -> Iterator[list[str]]:
        """The files on a local disk, unpacked where DuckDB would not unpack them."""
        import fsspec

        with tempfile.TemporaryDirectory(prefix="dp_dagster_input_") as folder:
            files: list[str] = []
            if _is_remote(config.path):
                filesystem, names = self._remote_files(config, context)
                local = []
                for index, name in enumerate(names):
                    target = Path(folder) / f"{index}_{PurePosixPath(name).name}"
                    filesystem.get_file(name, str(target))
                    local.append(target)
            else:
                local = self._local_paths(config, context)
            for index, path in enumerate(local):
                if path.suffix.lower() not in _UNPACKED_FIRST:
                    files.append(str(path))
                    continue
                target = Path(folder) / f"{index}_{path.stem}"
                try:
                    with (
                        fsspec.open(str(path), "rb", compression="infer") as packed,
                        target.open("wb") as out,
                    ):
                        shutil.copyfileobj(packed, out)
                except (OSError, ValueError, EOFError) as error:
                    raise InputError(
                        f"{context.product_id}/input/{context.port_name}: {path.name} cannot be unpacked: {error}"
                    ) from error
                files.append(str(target))
            yield files


def _format(config: FilesConfig) -> Format | None:
    if config.format is not None:
        return config.format
    name = PurePosixPath(urlsplit(config.path).path or config.path)
    while name.suffix.lower() in _COMPRESSED:
        name = name.with_suffix("")
    return _FORMAT_BY_ENDING.get(name.suffix.lower())


def _is_remote(path: str) -> bool:
    return urlsplit(path).scheme not in {"", "file", "package"}


def _local_pattern(path: str, context: InputContext) -> Path:
    parts = urlsplit(path)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme == "package":
        # find_spec of a top-level name does not import the package, which may not even import any more.
        spec = importlib.util.find_spec(parts.netloc)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"{context.product_id}/input/{context.port_name}: Python package {parts.netloc} is not installed; "
                f"pip install {parts.netloc}"
            )
        root = Path(next(iter(spec.submodule_search_locations)))
        if leaves_folder(parts.path.lstrip("/"), root):
            raise InputError(
                f"{context.product_id}/input/{context.port_name}: {path} leads out of the package's folder"
            )
        return root / parts.path.lstrip("/")
    return context.product_root / path


_DUCKDB_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp(UTC)": "TIMESTAMPTZ",
}


def _declared_types(config: FilesConfig, contract: Contract | None) -> dict[str, str]:
    declared: dict[str, str] = {}
    for column in contract.columns if contract else ():
        if column.type.startswith("decimal("):
            declared[column.name] = column.type.upper()
        elif column.type in _DUCKDB_TYPES:
            declared[column.name] = _DUCKDB_TYPES[column.type]
    return {**declared, **config.types}


def _reader(config: FilesConfig, files: Sequence[str], contract: Contract | None) -> tuple[str]:
    """The SELECT that reads the files. Values are literals: DuckDB binds none in a table function's options."""
    from dp_dagster.engines.duckdb import literal, literal_list, scan

    kind = _format(config)
    if kind == "parquet":
        return (f"select * from {scan(files)}",)
    types = _declared_types(config, contract)
    options = [literal_list(files)]
    if kind == "csv":
        nulls = ["", *config.null_values]
        options += [f"header = {str(config.header).lower()}", f"nullstr = {literal_list(nulls)}"]
        if config.delimiter is not None:
            options.append(f"delim = {literal(config.delimiter)}")
        if types:
            present = _header(config, files, nulls)
            types = {name: dtype for name, dtype in types.items() if present is None or name in present}
        # Without declared types the whole file decides, not its first rows: a late surprise is no error then.
        options.append("sample_size = -1" if not types else "sample_size = 20480")
        function = "read_csv"
    else:
        function = "read_json"
    if types and kind == "csv":
        pairs = ", ".join(f"{literal(name)}: {literal(dtype)}" for name, dtype in types.items())
        options.append(f"types = {{{pairs}}}")
    if len(files) > 1:
        options.append("union_by_name = true")
    return (f"select * from {function}({', '.join(options)})",)


def _header(config: FilesConfig, files: Sequence[str], nulls: Sequence[str]) -> frozenset[str] | None:
    """The columns that a CSV really has: DuckDB refuses types for others, where the contract says it better."""
    import duckdb

    from dp_dagster.engines.duckdb import literal, literal_list

    delimiter = f", delim = {literal(config.delimiter)}" if config.delimiter else ""
    union = ", union_by_name = true" if len(files) > 1 else ""
    rows = duckdb.execute(
        f"describe select * from read_csv({literal_list(files)}, header = {str(config.header).lower()}, "
        f"nullstr = {literal_list(nulls)}, all_varchar = true{delimiter}{union})"
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _explain(error: Exception, location: str, context: InputContext) -> str:
    # DuckDB's message names line, column and value first; hints on its own options follow and help nobody here.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = []
    for line in lines:
        if line.startswith(("Possible", "*", "file =", "file=")):
            break
        kept.append(line)
    return f"{context.product_id}/input/{context.port_name}: {location}: {' '.join(kept[:5]) or error}"
