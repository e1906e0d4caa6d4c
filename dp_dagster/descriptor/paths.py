"""How fields and files are named in messages."""

from __future__ import annotations

import os
import re
from pathlib import Path

Keys = tuple[str | int, ...]
"""Where a value stands in a descriptor: ``("output_ports", 0, "sla")``."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*\Z")


def dotted(keys: Keys) -> str:
    """``("output_ports", 0, "sla")`` as people write it: ``output_ports[0].sla``."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN_KEY.match(key):
            text += f".{key}" if text else key
        else:
            text += f"[{key[:60]!r}]"
    return text


def shown(path: Path) -> str:
    """The path as messages show it: relative below the working directory, else absolute."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps symlinks as the reader knows them
    try:
        return absolute.relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(absolute)
