"""Where a FILES port puts its file or table: the storage, a local folder elsewhere, or a bucket."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dp_dagster.errors import AuthorError
from dp_dagster.ports.base import Fault
from dp_dagster.storage.bucket import fault_of, is_bucket
from dp_dagster.storage.location import product_place
from dp_dagster.storage.mirror import local_root, root_place
from dp_dagster.storage.places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.ports.base import OutputContext
    from dp_dagster.storage.places import Place

ENDINGS = ("parquet", "csv", "arrow")
_VERSION_PART = re.compile(r"/v[0-9]+(?=/|$)")
_RIGHT = "write s3://bucket/folder/ or an absolute folder (/srv/exports/)"


def endpoint_faults(endpoint: str | None, file_format: str) -> Iterable[Fault]:
    """What is wrong with the endpoint of a FILES port. Never repeats a secret."""
    if endpoint is None:
        return
    fault = fault_of(endpoint) if is_bucket(endpoint) else _fault_of_folder(endpoint)
    if fault:
        yield Fault("endpoint", fault, _RIGHT)
        return
    if endpoint.endswith("/"):
        return
    name = PurePosixPath(endpoint).name
    ending = name.rpartition(".")[2] if "." in name else ""
    if file_format == "delta":
        if ending in ENDINGS:
            yield Fault(
                "endpoint", f"ends in .{ending}, and delta makes a folder", "name the folder of the table"
            )
        elif is_bucket(endpoint) and not urlsplit(endpoint).path.strip("/"):
            yield Fault("endpoint", "is a whole bucket", f"end it with / for a folder, or {_RIGHT}")
    elif ending != file_format:
        yield Fault(
            "endpoint",
            f"does not end in .{file_format}",
            f"name the file (…/flights.{file_format}), or end with / for a folder in which the port names it",
        )


def target_of(endpoint: str | None, file_format: str, context: OutputContext) -> Place:
    """The file or table that consumers read.

    An endpoint that ends with ``/`` is a folder; below it each major version and port has a place of its own. Any
    other endpoint is the place itself; that of an older major version, kept beside, has its number in the path.
    """
    ending = "" if file_format == "delta" else f".{file_format}"
    if endpoint is None or any(endpoint_faults(endpoint, file_format)):
        # One at fault is refused before anything is written, and shown nowhere: it may hold a secret.
        major = product_place(context.settings.storage, context.product_id) / f"v{context.major}"
        if file_format == "delta":
            return major / "dataset" / context.dataset
        return major / "port" / f"{context.port_name}{ending}"
    if not endpoint.endswith("/"):
        return place_of(endpoint if context.is_current else _of_major(endpoint, context.major))
    scheme, slashes, path = endpoint.rpartition("://")
    found = _VERSION_PART.search(path)
    folder = _VERSION_PART.sub(f"/v{context.major}", path, count=1) if found else f"{path}v{context.major}/"
    return place_of(f"{scheme}{slashes}{folder}{context.port_name}{ending}")


def refuse_the_storage(target: Place, context: OutputContext) -> None:
    """Return if the target lies outside the storage, where only the store itself writes.

    Raises:
        AuthorError: it lies inside.
    """
    storage = context.settings.storage
    if isinstance(target, Path):
        is_inside = target.resolve().is_relative_to(local_root(storage).resolve())
    else:
        is_inside = is_bucket(storage) and f"{target}/".startswith(f"{root_place(storage)}/")
    if is_inside:
        raise AuthorError(
            f"{context.product_id}: endpoint of port {context.port_name} lies in the storage "
            f"({storage}); leave the endpoint out, or name a folder elsewhere"
        )


def owner_of(context: OutputContext) -> str:
    """Who the target belongs to, as every commit of a table there says."""
    return f"{context.product_id}/v{context.major}/{context.port_name}"


def _fault_of_folder(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return "is no address"
    if parts.scheme == "file" and not parts.netloc:
        path = unquote(parts.path)
    elif "://" in endpoint or "@" in parts.netloc:
        return "names no place that files can be put"
    else:
        path = endpoint
    if not path.startswith("/"):
        return "is no absolute folder"
    if ".." in PurePosixPath(path).parts or "\0" in path or "%" in path or "\n" in path:
        return "holds .., a percent sign, or a character that no path may hold"
    if not path.isprintable() or len(path) > 1000:
        return "is no path"
    return "" if path.strip("/") else "is the root of the disk"


def _of_major(endpoint: str, major: int) -> str:
    scheme, slashes, path = endpoint.rpartition("://")
    changed, found = _VERSION_PART.subn(f"/v{major}", path, count=1)
    if not found:
        folder, _, name = path.rpartition("/")
        changed = f"{folder}/v{major}/{name}"
    return f"{scheme}{slashes}{changed}"
