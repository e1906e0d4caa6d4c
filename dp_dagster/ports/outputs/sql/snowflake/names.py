"""Names in Snowflake, which reads what is not quoted in capitals."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def server_name(name: str) -> str:
    """A name as the server keeps it: in capitals, if it is one that nobody would have to quote."""
    return name.upper() if _PLAIN.fullmatch(name) else name


def quoted_name(name: str) -> str:
    """A name in quotes, as the server keeps it."""
    return '"' + server_name(name).replace('"', '""') + '"'


def full_name(*names: str) -> str:
    """Database, schema and so on, each in quotes."""
    return ".".join(quoted_name(name) for name in names)


def literal(text: str) -> str:
    """A text in quotes. Snowflake reads backslashes in texts."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
