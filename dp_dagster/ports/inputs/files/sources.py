"""Where files are: in the product's folder, in a Python package, or behind a URL that fsspec opens."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dp_dagster.errors import DataProductError, InputError, StoreError
from dp_dagster.folder import leaves_folder
from dp_dagster.ports.credentials import Secrets
from dp_dagster.ports.inputs.files.reading import UNPACKING_ERRORS, unpack
from dp_dagster.storage.bucket_client import circumstances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.ports.base import InputContext
    from dp_dagster.ports.inputs.files.config import FilesConfig
    from dp_dagster.storage.bucket_client import Circumstances

# What DuckDB opens by itself stays packed; the rest is unpacked first.
_UNPACKED_FIRST = {".zip", ".bz2", ".xz"}
_MAGIC = re.compile(r"[*?\[]")
# What file systems call the mark by which a changed file shows.
_CHANGED = ("ETag", "etag", "md5", "LastModified", "mtime", "updated", "created")
# `user:password@` of a URL, also of one inside another (zip://a.csv::https://…).
_CREDENTIALS = re.compile(r"(?<=//)[^/]*@")


def scheme_of(path: str) -> str:
    """The scheme of a URL; empty for a path, which may hold a colon, too."""
    # Without urlsplit, which refuses what is no good URL; the check says that better.
    scheme, separator, _ = path.partition("://")
    return scheme.lower() if separator else ""


def is_remote(path: str) -> bool:
    """Whether fsspec opens it."""
    return scheme_of(path) not in {"", "file", "package"}


def shown(path: str) -> str:
    """The path as declared, without what a URL may carry of a secret: user, password, query."""
    links = []
    for link in path.split("::"):
        without_login = _CREDENTIALS.sub("", link)
        links.append(re.split(r"[?#]", without_login, maxsplit=1)[0] if is_remote(link) else without_login)
    return "::".join(links)


@dataclass(frozen=True)
class Sources:
    """The files that an input port names, as they are now."""

    config: FilesConfig
    context: InputContext

    @property
    def location(self) -> str:
        """Where they are, for people."""
        return shown(self.config.path)

    def listing(self) -> list[tuple[str, int, str]]:
        """Name, size and time of change of each file.

        Raises:
            InputError: there is none, or one cannot be looked at.
            StoreError: the store cannot be reached.
        """
        if not is_remote(self.config.path):
            base, _ = self._local_pattern()
            listing = []
            for path in self.local_paths():
                try:
                    status = path.stat()
                except OSError as error:
                    raise InputError(
                        f"{self.context.what}: {path.name} cannot be looked at: {error.strerror}"
                    ) from error
                listing.append((os.path.relpath(path, base), status.st_size, str(status.st_mtime_ns)))
            return listing
        filesystem, names = self._remote_files()
        listing = []
        with self._reached():
            for name in names:
                info: dict[str, Any] = filesystem.info(name)
                changed = next((str(info[key]) for key in _CHANGED if info.get(key) is not None), "")
                listing.append((name, int(info.get("size") or 0), changed))
        return listing

    def local_paths(self) -> list[Path]:
        """The files on this machine.

        Raises:
            InputError: there is none, or one leads out of the product's folder.
        """
        base, pattern = self._local_pattern()
        # A file of just that name comes first, whatever characters it has.
        paths = [base / pattern] if (base / pattern).is_file() else []
        if not paths and _MAGIC.search(pattern):
            paths = sorted(path for path in base.glob(pattern) if path.is_file())
        what = self.context.what
        if not paths:
            raise InputError(f"{what}: no file at {self.location}; looked for {base / pattern}")
        if not scheme_of(self.config.path):
            root = self.context.product_root
            for path in paths:
                # By a symbolic link: the folder is deployed as one unit, and holds all that it reads.
                if leaves_folder(str(path.relative_to(root)), root):
                    raise InputError(
                        f"{what}: {path.name} leads out of the product's folder; name it as file:///absolute/path"
                    )
        return paths

    @contextmanager
    def fetched(self, only: set[str] | None) -> Iterator[dict[str, str]]:
        """The files on a local disk, unpacked where DuckDB would not unpack them, with the names that they had.

        Args:
            only: Names of those that are wanted; ``None`` for all.
        """
        with tempfile.TemporaryDirectory(prefix="dp_dagster_input_") as folder:
            local: list[Path] = []
            if not is_remote(self.config.path):
                base, _ = self._local_pattern()
                local = [
                    path for path in self.local_paths() if only is None or os.path.relpath(path, base) in only
                ]
            else:
                filesystem, found = self._remote_files()
                names = [name for name in found if only is None or name in only]
                with self._reached():
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
                        f"{self.context.what}: {path.name} cannot be unpacked: {error or type(error).__name__}"
                    ) from error
                files[str(target)] = path.name
            yield files

    def _remote_files(self) -> tuple[Any, list[str]]:
        import fsspec

        with self._reached():
            secrets = Secrets(self.context.what)
            options = {name: secrets.value(value) for name, value in self.config.credentials.items()}
            _forget_what_has_changed(self.config.path)
            # Listings are not kept: what somebody has just put there is to be seen.
            filesystem, path = fsspec.core.url_to_fs(self.config.path, **options)
            filesystem.invalidate_cache()
            names = sorted(filesystem.glob(path)) if _MAGIC.search(path) else [path]
            found = [name for name in names if _is_file(filesystem, name)]
        if not found:
            raise InputError(f"{self.context.what}: no file at {self.location}")
        return filesystem, found

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Errors of a file system, without their texts: those may hold the URL with its secrets."""
        where = f"{self.context.what}: {self.location}"
        try:
            yield
        except DataProductError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"{where}: is gone") from error
        except (ImportError, ValueError) as error:
            scheme = self.config.path.split("://", 1)[0]
            raise InputError(
                f"{where}: no installed library opens {scheme}:// ({type(error).__name__}); install the one that "
                "fsspec names for it"
            ) from error
        except Exception as error:
            raise StoreError(f"{where}: cannot be reached: {type(error).__name__}") from error

    def _local_pattern(self) -> tuple[Path, str]:
        """The folder that the path starts in, and the path or pattern below it."""
        path, what = self.config.path, self.context.what
        scheme = scheme_of(path)
        if not scheme:
            return self.context.product_root, path
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
            raise InputError(f"{what}: Python package {host} is not installed; pip install {host}")
        root = Path(next(iter(spec.submodule_search_locations)))
        if leaves_folder(below, root):
            raise InputError(f"{what}: {path} leads out of the package's folder")
        return root, below


def _is_file(filesystem: Any, name: str) -> bool:
    """Whether there is a file. Unlike the file system's own ``isfile``, a server that is down is not an absent file."""
    try:
        return bool(filesystem.info(name).get("type") != "directory")
    except FileNotFoundError:
        return False


_made_from: Circumstances | None = None


def _forget_what_has_changed(url: str) -> None:
    """Let go of S3 file systems of other credentials: fsspec keeps each as long as the process, with those it had."""
    global _made_from  # noqa: PLW0603 - as fsspec's cache is of the process, so is this
    if not any(scheme_of(link) in {"s3", "s3a"} for link in url.split("::")):
        return
    import fsspec

    now = circumstances()
    if now != _made_from:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        _made_from = now
