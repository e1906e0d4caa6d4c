"""Input port over files: CSV, Parquet or JSON, local, shipped by a Python package, or behind any fsspec URL."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import Field

from dp_dagster.errors import DataProductError, InputError, StoreError, TransformError
from dp_dagster.folder import leaves_folder
from dp_dagster.ports.base import (
    Fault,
    InputContext,
    InputPort,
    KindConfig,
    Landing,
    LandingMode,
    OnSchemaChange,
    Pinned,
    Written,
)
from dp_dagster.ports.credentials import Secret, Secrets
from dp_dagster.ports.inputs.file_reading import (
    UNPACKING_ERRORS,
    Format,
    Reading,
    declared_types,
    explain,
    format_of,
    relation_over,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb

# What DuckDB opens by itself stays packed; the rest is unpacked first.
_UNPACKED_FIRST = {".zip", ".bz2", ".xz"}
_MAGIC = re.compile(r"[*?\[]")
_PARTITION = re.compile(r"\{partition(?::(?P<format>[^{}]+))?\}")
# What file systems call the mark by which a changed file shows.
_CHANGED = ("ETag", "etag", "md5", "LastModified", "mtime", "updated", "created")
# `user:password@` of a URL, also of one inside another (zip://a.csv::https://…).
_CREDENTIALS = re.compile(r"(?<=//)[^/]*@")


class FilesConfig(KindConfig):
    """Configuration of a FILES input port."""

    path: str = Field(
        min_length=1,
        description="A file, or a pattern with `*`. Relative: inside the product's folder. "
        "`package://name/file`: a data file that an installed Python package ships. "
        "`file:///absolute/path`, or any other URL that fsspec opens. `{partition}` stands for the key of one of the "
        "product's partitions, `{partition:%Y/%m}` for its start in a format of its own.",
    )
    format: Format | None = Field(default=None, description="By default from the file's ending.")
    null_values: tuple[str, ...] = Field(
        default=(), description="CSV: texts that mean null, besides nothing."
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=4,
        description="CSV: by default what separates the fields of the first line: `,`, `;`, tab or `|`.",
    )
    header: bool = Field(default=True, description="CSV: whether the first line names the columns.")
    skip: int = Field(
        default=0, ge=0, le=1000, description="CSV: lines to leave out before the first one that counts."
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="CSV and JSON: DuckDB types by column. By default those of the contract, else by looking.",
    )
    credentials: dict[str, Secret] = Field(
        default_factory=dict,
        description="Of URLs: options of the file system, by reference: `{key: ${S3_KEY}, secret: ${S3_SECRET}}`. By "
        "default what the environment says.",
    )
    mode: LandingMode = Field(
        default="replace",
        description="`replace`: all files are the whole version. `append`: each file is read once, and its rows are "
        "added. `merge`: new and changed files are read, and of each key what comes later takes the place of what was "
        "there.",
    )
    key: tuple[str, ...] = Field(default=(), description="With `merge`, the columns that identify a row.")
    deleted: str | None = Field(
        default=None,
        min_length=1,
        description="With `merge`, a column that says of a row that it is no more: true, or not null.",
    )
    on_schema_change: OnSchemaChange | None = Field(
        default=None,
        description="When columns or types are no longer those of the version landed before: `stop`, `evolve` or "
        "`quarantine`. By default `stop` with append and merge; with replace nobody asks but the contract.",
    )


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
            parts, scheme = urlsplit(config.path), _scheme(config.path)
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
        if config.credentials and not _is_remote(config.path):
            yield Fault("credentials", "are for URLs, and these files lie on this machine", "remove them")

    def location(self, config: FilesConfig) -> str:
        """The path as declared, without what a URL may carry of a secret: user, password, query."""
        links = []
        for link in config.path.split("::"):
            shown = _CREDENTIALS.sub("", link)
            links.append(re.split(r"[?#]", shown, maxsplit=1)[0] if _is_remote(link) else shown)
        return "::".join(links)

    def badges(self, config: FilesConfig) -> frozenset[str]:
        """The format."""
        return frozenset({format_of(config.path, config.format) or "file"})

    def lands(self, config: FilesConfig, *, audited: bool) -> bool:
        """Parquet that lies on a local disk and carries no contract is read where it lies."""
        is_parquet = format_of(config.path, config.format) == "parquet"
        return audited or not is_parquet or _is_remote(config.path) or config.mode != "replace"

    def landing(self, config: FilesConfig) -> Landing:
        """All files at once, or those that are new."""
        if config.mode == "replace":
            return Landing(on_schema_change=config.on_schema_change)
        change = config.on_schema_change or "stop"
        return Landing(config.mode, config.key, None, config.deleted, change)

    def identity(self, config: FilesConfig) -> str:
        """All that was declared, but who reads."""
        # Without the options that a version of before did not know, so that it is read no second time.
        return config.model_dump_json(exclude=_unset(config))

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
    ) -> Written | None:
        """Read the files, or those that are new, and write them as one Parquet file, rows in their order."""
        if config.mode == "replace":
            self._write_files(config, context, connection, destination, None)
            return None
        listed = self._listing(config, context)
        marks = {_short(name): _short(f"{size} {changed}") for name, size, changed in listed}
        known: dict[str, str] = (context.state or {}).get("files", {})
        new = {name for name, _, _ in listed if known.get(_short(name)) != marks[_short(name)]}
        changed = sorted(name for name in new if _short(name) in known)
        if changed and config.mode == "append":
            raise InputError(
                f"{_what(context)}: {changed[0]} was read before and has changed since ({len(changed)} in all); append "
                "reads each file once: set mode: merge, or give what is new a name of its own"
            )
        if new:
            self._write_files(config, context, connection, destination, new)
        else:
            # Files were taken away, and nothing came.
            from pyarrow import parquet

            from dp_dagster.storage.types import arrow_schema

            parquet.write_table(arrow_schema(context.columns).empty_table(), destination)
        # Files that are gone stay known: what was read of them is landed.
        return Written({"files": {**known, **marks}})

    def _write_files(
        self,
        config: FilesConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
        only: set[str] | None,
    ) -> None:
        import duckdb

        from dp_dagster.engines.duckdb import write_rows

        what = f"{context.product_id}/input/{context.port_name}"
        with self._local_files(config, context, only) as files:
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
                write_rows(relation_over(reading, connection), destination, what)
            except (duckdb.Error, InputError, OSError) as error:
                cause = explain(error, files)
                raise InputError(f"{what}: {self.location(config)}: {cause}") from error
            except TransformError as error:
                # A type that cannot be stored, of a Parquet file: nobody can cast it on the way in.
                raise InputError(f"{error}, where the file is made") from error

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
            base, _ = _local_pattern(config.path, context)
            listing = []
            for path in self._local_paths(config, context):
                try:
                    status = path.stat()
                except OSError as error:
                    raise InputError(
                        f"{_what(context)}: {path.name} cannot be looked at: {error.strerror}"
                    ) from error
                listing.append((os.path.relpath(path, base), status.st_size, str(status.st_mtime_ns)))
            return listing
        filesystem, names = self._remote_files(config, context)
        listing = []
        with self._reached(config, context):
            for name in names:
                info: dict[str, Any] = filesystem.info(name)
                changed = next((str(info[key]) for key in _CHANGED if info.get(key) is not None), "")
                listing.append((name, int(info.get("size") or 0), changed))
        return listing

    def _local_paths(self, config: FilesConfig, context: InputContext) -> list[Path]:
        base, pattern = _local_pattern(config.path, context)
        # A file of just that name comes first, whatever characters it has.
        paths = [base / pattern] if (base / pattern).is_file() else []
        if not paths and _MAGIC.search(pattern):
            paths = sorted(path for path in base.glob(pattern) if path.is_file())
        if not paths:
            raise InputError(
                f"{_what(context)}: no file at {self.location(config)}; looked for {base / pattern}"
            )
        if not _scheme(config.path):
            for path in paths:
                # By a symbolic link: the folder is deployed as one unit, and holds all that it reads.
                if leaves_folder(str(path.relative_to(context.product_root)), context.product_root):
                    raise InputError(
                        f"{_what(context)}: {path.name} leads out of the product's folder; name it as "
                        "file:///absolute/path"
                    )
        return paths

    def _remote_files(self, config: FilesConfig, context: InputContext) -> tuple[Any, list[str]]:
        import fsspec

        with self._reached(config, context):
            secrets = Secrets(_what(context))
            options = {name: secrets.value(value) for name, value in config.credentials.items()}
            # Listings are not kept: what somebody has just put there is to be seen.
            filesystem, path = fsspec.core.url_to_fs(config.path, **options)
            filesystem.invalidate_cache()
            names = sorted(filesystem.glob(path)) if _MAGIC.search(path) else [path]
            found = [name for name in names if _is_file(filesystem, name)]
        if not found:
            raise InputError(f"{_what(context)}: no file at {self.location(config)}")
        return filesystem, found

    @contextmanager
    def _reached(self, config: FilesConfig, context: InputContext) -> Iterator[None]:
        """Errors of a file system, without their texts: those may hold the URL with its secrets."""
        where = f"{_what(context)}: {self.location(config)}"
        try:
            yield
        except DataProductError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"{where}: is gone") from error
        except (ImportError, ValueError) as error:
            scheme = config.path.split("://", 1)[0]
            raise InputError(
                f"{where}: no installed library opens {scheme}:// ({type(error).__name__}); install the one that "
                "fsspec names for it"
            ) from error
        except Exception as error:
            raise StoreError(f"{where}: cannot be reached: {type(error).__name__}") from error

    @contextmanager
    def _local_files(
        self, config: FilesConfig, context: InputContext, only: set[str] | None
    ) -> Iterator[dict[str, str]]:
        """The files on a local disk, unpacked where DuckDB would not unpack them, with the names that they had."""
        with tempfile.TemporaryDirectory(prefix="dp_dagster_input_") as folder:
            local: list[Path] = []
            if not _is_remote(config.path):
                base, _ = _local_pattern(config.path, context)
                local = [
                    path
                    for path in self._local_paths(config, context)
                    if only is None or os.path.relpath(path, base) in only
                ]
            else:
                filesystem, found = self._remote_files(config, context)
                names = [name for name in found if only is None or name in only]
                with self._reached(config, context):
                    for index, name in enumerate(names):
                        target = Path(folder) / str(index) / PurePosixPath(name).name
                        target.parent.mkdir()
                        filesystem.get_file(name, str(target))
                        local.append(target)
            files: dict[str, str] = {}
            for index, path in enumerate(local):
                if path.suffix.lower() not in _UNPACKED_FIRST:
                    files[str(path)] = path.name
                    continue
                target = Path(folder) / f"unpacked_{index}" / path.stem
                target.parent.mkdir()
                try:
                    unpack(path, target)
                except UNPACKING_ERRORS as error:
                    raise InputError(
                        f"{_what(context)}: {path.name} cannot be unpacked: {error or type(error).__name__}"
                    ) from error
                files[str(target)] = path.name
            yield files


def _is_file(filesystem: Any, name: str) -> bool:
    """Whether there is a file. Unlike the file system's own ``isfile``, a server that is down is not an absent file."""
    try:
        return bool(filesystem.info(name).get("type") != "directory")
    except FileNotFoundError:
        return False


def _unset(config: FilesConfig) -> set[str]:
    """Options that say nothing of which rows are read, or that are as they are without being declared."""
    later = {"mode", "key", "deleted"}
    fields = type(config).model_fields
    same = {
        name for name in later if getattr(config, name) == fields[name].get_default(call_default_factory=True)
    }
    return {"credentials", "on_schema_change", *same}


def _short(text: str) -> str:
    """A text as the state keeps it, which grows by a line for each file."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _what(context: InputContext) -> str:
    return f"{context.product_id}/input/{context.port_name}"


def _scheme(path: str) -> str:
    """The scheme of a URL; empty for a path, which may hold a colon, too."""
    # Without urlsplit, which refuses what is no good URL; the check says that better.
    scheme, separator, _ = path.partition("://")
    return scheme.lower() if separator else ""


def _is_remote(path: str) -> bool:
    return _scheme(path) not in {"", "file", "package"}


def _local_pattern(path: str, context: InputContext) -> tuple[Path, str]:
    """The folder that a path starts in, and the path or pattern below it."""
    scheme = _scheme(path)
    if not scheme:
        return context.product_root, path
    # By hand: in these URLs `?` is part of a pattern, and begins no query.
    host, _, below = path.partition("://")[2].partition("/")
    if scheme == "file":
        return Path("/"), unquote(below)
    # find_spec of a top-level name does not import the package, which may not even import any more.
    try:
        spec = importlib.util.find_spec(host)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{_what(context)}: Python package {host} is not installed; pip install {host}")
    root = Path(next(iter(spec.submodule_search_locations)))
    if leaves_folder(below, root):
        raise InputError(f"{_what(context)}: {path} leads out of the package's folder")
    return root, below
