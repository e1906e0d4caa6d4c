"""Folders: files that a descriptor names must lie in its product's; what a killed process leaves goes."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

from dp_dagster.ports.base import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def leaves_folder(path: str, root: Path) -> bool:
    """Whether a relative path leads out of the folder, symbolic links followed."""
    try:
        return not (root / path).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        # Links that go round in circles, a NUL character: nothing that lies in the folder.
        return True


def missing_file(field: str, path: str, root: Path) -> Iterable[Fault]:
    """The fault of naming a file outside the folder, or one that is not there."""
    if leaves_folder(path, root):
        yield Fault(
            field, f"{path} leads out of the product's folder", "name a file inside the product's folder"
        )
    elif not _is_file(root / path):
        yield Fault(field, f"file {path} does not exist in {root.name}/", "create it, or correct the path")


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the temporary folders that a killed process left. Only where no other can be at work."""
    for folder in parent.glob(f"{prefix}*"):
        shutil.rmtree(folder)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than any file's
        return False


def code_version(paths: Iterable[Path]) -> str:
    """A short hash over the content of files, in the order given.

    Raises:
        FileNotFoundError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(b"\0")
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()[:16]
