"""A SQL port for DuckDB users: a small catalog file of views over the committed files.

One catalog a product, with a schema for each major version and a view for each SQL port. It is built beside the
old one and replaces it by rename, so a reader sees the old version or the new one. A connection that is open
keeps what it had; reconnect to see the next version.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError
from dp_dagster.folder import remove_leftovers
from dp_dagster.ports.base import Example, OutputCapabilities, OutputContext, Projected
from dp_dagster.ports.outputs.sql.target import SqlTarget
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.documents import read_document, write_document
from dp_dagster.storage.location import product_directory
from dp_dagster.storage.locks import hold
from dp_dagster.storage.manifest import read_manifest
from dp_dagster.storage.mirror import ensure

if TYPE_CHECKING:
    import duckdb

    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest, PortEntry

_BUILDING = ".catalog-"
_CATALOG_SECONDS = 60.0


def catalog_path(storage: str, product_id: str) -> Path:
    """The DuckDB catalog file of a product. DuckDB names the catalog after the file, hence its name.

    DuckDB reads files of this machine alone, so of a storage in a bucket each machine has a catalog of its own.
    """
    return product_directory(storage, product_id) / f"{product_id}.duckdb"


def ensure_catalog(storage: str, product_id: str, manifest: Manifest) -> None:
    """Have a catalog that shows what the manifest does, and the files behind it. In a local storage it is there.

    Raises:
        StoreError: the bucket cannot be read, or the catalog cannot be written.
    """
    if not is_bucket(storage):
        return
    path = catalog_path(storage, product_id)
    shown = path.with_name(f"{path.name}.shown")
    entries = [
        [major, name, entry.version, *entry.files]
        for major, ports in sorted(manifest.ports.items())
        for name, entry in sorted(ports.items())
        if _is_shown(entry)
    ]
    if not entries:
        return
    with hold(path.parent / ".locks" / "catalog.lock", f"the catalog {path}", "catalog", _CATALOG_SECONDS):
        known = read_document(shown)
        if known is not None and known["entries"] == entries and path.is_file():
            ensure(storage, known["files"])
            return
        files = _write_catalog(path, storage, manifest, {})
        write_document(shown, {"entries": entries, "files": sorted(files)}, durable=False)


class DuckdbCatalog(SqlTarget):
    """A view that consumers query with DuckDB, over exactly the files of the newest published version."""

    badge = "duckdb"
    capabilities = OutputCapabilities(hands_out_files=True, probed=True)

    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """``product.v1.port`` in the product's catalog file."""
        return f"{context.product_id}.v{context.major}.{context.port_name}"

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """As of any file."""
        return "No sign-in: whoever may read the storage may read this port."

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """From the shell and from Python."""
        query = f"from {self.address(config, context)}"
        catalog = catalog_path(context.settings.storage, context.product_id)
        return (
            Example("shell", f'dp sql "{query}"'),
            Example(
                "python",
                f'import duckdb\nduckdb.connect({str(catalog)!r}, read_only=True).sql("{query}").show()',
            ),
        )

    def probe(self, config: SqlConfig, context: OutputContext) -> None:
        """Attach the catalog and read one row of the view."""
        import duckdb

        from dp_dagster.engines.duckdb import first_line, in_memory, literal, quote

        path = catalog_path(context.settings.storage, context.product_id)
        manifest = read_manifest(context.settings.storage, context.product_id)
        if manifest is not None:
            ensure_catalog(context.settings.storage, context.product_id, manifest)
        view = f"{quote(context.product_id)}.{quote(f'v{context.major}')}.{quote(context.port_name)}"
        try:
            with in_memory() as connection:
                # DuckDB names the catalog after the file, and the views name it.
                connection.execute(f"attach {literal(str(path))} as {quote(context.product_id)} (read_only)")
                connection.execute(f"select * from {view} limit 1").fetchall()
        except duckdb.Error as error:
            raise StoreError(
                f"{self.address(config, context)} cannot be read: {first_line(error)}"
            ) from error

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Build the product's catalog anew, all its SQL ports in it, and put it in place by rename."""
        path = catalog_path(context.settings.storage, context.product_id)
        known = {(f"v{context.major}", context.port_name): snapshot}
        _write_catalog(path, context.settings.storage, manifest, known)
        return Projected(self.address(config, context), {"catalog": str(path)})


def _write_catalog(
    path: Path, storage: str, manifest: Manifest, known: dict[tuple[str, str], Snapshot]
) -> set[str]:
    """Build the catalog and put it in place; returns the files behind it. ``known`` versions are not looked up."""
    import duckdb

    from dp_dagster.engines.duckdb import first_line

    files: set[str] = set()
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lock is held, so whoever began another one is dead.
    remove_leftovers(path.parent, _BUILDING)
    folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=path.parent))
    try:
        # The same file name in a folder of its own: DuckDB names the catalog after the file, and views of a
        # catalog that was built under another name would not be found.
        built = folder / path.name
        connection = duckdb.connect(str(built))
        try:
            for major, entries in manifest.ports.items():
                for name, entry in entries.items():
                    if not _is_shown(entry):
                        continue
                    version = known.get((major, name)) or manifest.snapshot(storage, entry)
                    files.update(version.files)
                    _create_port_view(connection, major, name, version, entry)
        finally:
            connection.close()
        descriptor = os.open(built, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        built.replace(path)
    except (duckdb.Error, OSError) as error:
        raise StoreError(f"the catalog {path} cannot be built: {first_line(error)}") from error
    finally:
        shutil.rmtree(folder)
    return files


def _is_shown(entry: PortEntry) -> bool:
    # Views on servers are none of the catalog's; what they show may be guarded there.
    return entry.kind == "SQL" and "://" not in entry.address


def _create_port_view(
    connection: duckdb.DuckDBPyConnection, major: str, name: str, snapshot: Snapshot, entry: PortEntry
) -> None:
    from dp_dagster.engines.duckdb import literal, quote, scan

    connection.execute(f"create schema if not exists {quote(major)}")
    view = f"{quote(major)}.{quote(name)}"
    connection.execute(f"create view {view} as select * from {scan(snapshot.files)}")
    summary = entry.description.strip().partition("\n")[0]
    connection.execute(
        f"comment on view {view} is {literal(f'{summary} (version {snapshot.version})'.strip())}"
    )
    present = {row[0] for row in connection.execute(f"describe {view}").fetchall()}
    for column in entry.columns:
        if column.get("description") and column["name"] in present:
            connection.execute(
                f"comment on column {view}.{quote(column['name'])} is {literal(column['description'])}"
            )
