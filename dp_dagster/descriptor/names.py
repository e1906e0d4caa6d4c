"""Names: what they may be, which are taken, and how a port without one gets its own."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

ID_PATTERN = r"^[a-z][a-z0-9_]*$"
MAX_LENGTH = 63
VERSION_PATTERN = (
    r"^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)

RESERVED_PRODUCT_IDS = frozenset(
    {"main", "memory", "temp", "system", "information_schema", "pg_catalog", "records", "default", "platform"}
)
"""Catalogs that DuckDB keeps to itself, and names that the platform uses beside the products."""

_SQL_WORDS = (
    "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create "
    "default deferrable desc describe distinct do else end except false fetch for foreign from group having "
    "in initially intersect into lambda lateral leading limit not null offset on only or order pivot "
    "pivot_longer pivot_wider placing primary qualify references returning select show some summarize symmetric "
    "table then to trailing true union unique unpivot using variadic when where window with"
)
RESERVED_NAMES = frozenset(_SQL_WORDS.split())
"""Words that SQL reads as its own; a relation of that name could only be queried in quotes."""

# Windows opens a device instead of a file of these names.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})

_ID = re.compile(ID_PATTERN + r"(?!\n)")


def id_fault(name: str, *, product: bool = False) -> tuple[str, str] | None:
    """What is wrong with an id, without the id itself, and what would be right; ``None`` if nothing is."""
    if not _ID.match(name) or name.endswith("\n"):
        return (
            "is no id",
            "use lower-case letters, digits and underscores, beginning with a letter",
        )
    if len(name) > MAX_LENGTH:
        return f"has {len(name)} characters", f"use at most {MAX_LENGTH}"
    if name in _DEVICES or name in (RESERVED_PRODUCT_IDS if product else RESERVED_NAMES):
        return "is a reserved name", "choose another, with a word more"
    return None


def derived_port_name(kind: str, endpoint: str | None, dataset: str | None) -> str:
    """The name of an output port that declares none.

    The last part of its endpoint's path; without one, the kind and the dataset (``sql_customers``). What an
    id may not hold becomes an underscore, so the result may still be no id: an empty text, say.
    """
    last = ""
    if endpoint:
        try:
            path = unquote(urlsplit(endpoint).path)
        except ValueError:
            path = endpoint
        last = path.rstrip("/").rpartition("/")[2]
    text = last or "_".join(filter(None, (kind, dataset)))
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
