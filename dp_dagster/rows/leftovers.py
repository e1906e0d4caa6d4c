"""Unfinished files that carry their process in the name, and removing those of processes that are dead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def unfinished(path: Path, suffix: str) -> Path:
    """The name under which this process makes ``path``."""
    return path.with_name(f"{path.name}.{os.getpid()}{suffix}")


def remove_unfinished(folder: Path, suffix: str) -> None:
    """Remove what processes that are dead left in a folder."""
    for path in folder.glob(f"*{suffix}*"):
        pid = path.name.partition(suffix)[0].rpartition(".")[2]
        if pid.isdigit() and not _lives(int(pid)):
            if path.is_dir():
                for part in path.iterdir():
                    part.unlink(missing_ok=True)
                path.rmdir()
            else:
                path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
