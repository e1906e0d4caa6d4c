"""What each type of server in an ODCS document must say. Servers are kept and exported, never connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dp_dagster.contracts.odcs.models import Version

_COMMON = frozenset({"server", "type", "description", "environment", "roles", "customProperties"})

# Type: (since, required, optional).
_TYPES: dict[str, tuple[tuple[int, int], str, str]] = {
    "api": ((3, 0), "location", ""),
    "athena": ((3, 0), "schema", "stagingDir catalog regionName workgroup"),
    "azure": ((3, 0), "location format", "encoding delimiter"),
    "bigquery": ((3, 0), "project dataset", ""),
    "btrieve": ((3, 2), "host database", "port"),
    "clickhouse": ((3, 0), "host port database", ""),
    "cloudsql": ((3, 0), "host port database schema", ""),
    "custom": (
        (3, 0),
        "",
        (
            "account catalog database dataset delimiter encoding endpointUrl format host location path port project "
            "region regionName schema serviceName stagingDir stream warehouse"
        ),
    ),
    "databricks": ((3, 0), "catalog schema", "host"),
    "db2": ((3, 0), "host port database", "schema"),
    "denodo": ((3, 0), "host port", "database"),
    "dremio": ((3, 0), "host port", "schema"),
    "duckdb": ((3, 0), "database", "schema"),
    "exasol": ((3, 2), "host", "port schema"),
    "fastobjects": ((3, 2), "database", "host port"),
    "glue": ((3, 0), "account database", "location format encoding"),
    "hana": ((3, 2), "host", "port database schema"),
    "hive": ((3, 1), "host database", "port"),
    "iceberg": ((3, 2), "catalog catalogUrl", "namespace warehouse"),
    "impala": ((3, 1), "host database", "port"),
    "informix": ((3, 0), "host database", "port"),
    "ingres": ((3, 2), "database host", "port"),
    "kafka": ((3, 0), "host", "format encoding"),
    "kinesis": ((3, 0), "", "region format encoding"),
    "local": ((3, 0), "path format", "encoding"),
    "mysql": ((3, 0), "host port database", ""),
    "oracle": ((3, 0), "host port serviceName", ""),
    "poet": ((3, 2), "database", "host port"),
    "postgres": ((3, 0), "host port database schema", ""),
    "postgresql": ((3, 0), "host port database schema", ""),
    "presto": ((3, 0), "host", "catalog schema"),
    "pubsub": ((3, 0), "project", ""),
    "redshift": ((3, 0), "database schema", "host region account"),
    "s3": ((3, 0), "location", "endpointUrl format encoding delimiter"),
    "sftp": ((3, 0), "location", "format encoding delimiter"),
    "snowflake": ((3, 0), "account database schema", "host port warehouse"),
    "sqlserver": ((3, 0), "host database schema", "port"),
    "synapse": ((3, 0), "host port database", ""),
    "teradata": ((3, 2), "host", "port database"),
    "trino": ((3, 0), "host port catalog schema", ""),
    "vectorwise": ((3, 2), "database host", "port"),
    "versant": ((3, 2), "database", "host port"),
    "vertica": ((3, 0), "host port database schema", ""),
    "zen": ((3, 1), "host database", "port"),
}


def server_problems(
    server: Mapping[str, Any], version: Version
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong with a server: keys below it, what, and what would be right."""
    for name in ("server", "type"):
        if name not in server:
            yield (name,), "is missing", f"add `{name}: …`"
    kind = server.get("type")
    known = sorted(name for name, (since, _, _) in _TYPES.items() if since <= version)
    if "type" not in server:
        return
    if not isinstance(kind, str) or kind not in known:
        yield ("type",), f"{kind} is no type of server in this version", f"choices: {', '.join(known)}"
        return
    needed, allowed = _keys(kind, version)
    for name in needed:
        if name not in server:
            yield (name,), f"is missing: a server of type {kind} has one", f"add `{name}: …`"
    for name, value in server.items():
        if name not in allowed and version >= (3, 1):
            choices = ", ".join(sorted(allowed))
            yield (name,), f"unknown key for a server of type {kind}", f"known keys: {choices}"
        elif name in allowed and (wanted := _fault(name, value, version)):
            yield (name,), f"wants {wanted}", "correct the value"
    location = server.get("location")
    if kind == "sftp" and isinstance(location, str) and not location.startswith("sftp://"):
        yield ("location",), f"{location[:80]} is no address of an SFTP server", "write sftp://host/path"


def _keys(kind: str, version: Version) -> tuple[list[str], set[str]]:
    """The keys that a type of server needs, and all that it may have."""
    _, required, optional = _TYPES[kind]
    needed = required.split()
    allowed = {*_COMMON, *needed, *optional.split()}
    if version >= (3, 1):
        allowed.add("id")
    if version < (3, 2):
        allowed.discard("encoding")
        if kind == "athena":
            needed.append("stagingDir")
            allowed.discard("workgroup")
    if version < (3, 1) and kind == "custom":
        allowed.discard("stream")
    return needed, allowed


def _fault(name: str, value: Any, version: Version) -> str:
    """What a value should have been; empty if it is right."""
    if name in ("roles", "customProperties"):
        return "" if isinstance(value, list) else "a list"
    if name != "port":
        return "" if isinstance(value, str) else "text"
    # Since 3.2 a port may be text, for a variable that stands for it.
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole or (version >= (3, 2) and isinstance(value, str)) else "a whole number"
