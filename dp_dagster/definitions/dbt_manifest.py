"""One dbt manifest a product, parsed once and kept: another product's broken model does no harm here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from dp_dagster.errors import NotInstalledError, TransformError
from dp_dagster.transforms.dbt import project_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.resolve import ResolvedProduct, ResolvedTransform

# Parsing hundreds of models takes a minute; after ten something hangs.
_PARSE_TIMEOUT_SECONDS = 600.0


def dbt_executable() -> str:
    """The ``dbt`` that is installed beside this Python.

    Raises:
        NotInstalledError: there is none.
    """
    beside = Path(sys.executable).with_name("dbt")
    found = str(beside) if beside.is_file() else shutil.which("dbt")
    if found is None:
        raise NotInstalledError("dbt is not installed beside this Python: pip install dbt-core dbt-duckdb")
    return found


def kept_target(product: ResolvedProduct, transform: ResolvedTransform) -> Path:
    """The folder that keeps what parsing gave."""
    return product.settings.state_directory / "dbt" / product.id / transform.name / "parsed"


@contextmanager
def dbt_environment(transform: ResolvedTransform, database: Path) -> Iterator[None]:
    """The variables that the dbt project reads. dagster-dbt hands dbt a copy of this process's environment."""
    changes = {
        "DP_PRODUCT": str(transform.config.models),
        "DP_WORK_DATABASE": str(database),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def load_manifest(product: ResolvedProduct, transform: ResolvedTransform) -> dict[str, Any]:
    """The manifest of a product's models, parsed again only where a file has changed.

    Raises:
        TransformError: dbt cannot parse the models; with dbt's own words.
    """
    target = kept_target(product, transform)
    stamp = target / "stamp"
    wanted = _stamp(product, transform)
    target.mkdir(parents=True, exist_ok=True)
    # Several code servers may start at once and find the manifest missing.
    with FileLock(str(target) + ".lock", fallback_to_soft=False):
        manifest = _kept(target, stamp, wanted)
        if manifest is None:
            # First: whoever is killed while dbt writes leaves nothing that looks whole.
            stamp.unlink(missing_ok=True)
            _parse(product, transform, target)
            manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
            stamp.write_text(wanted, encoding="utf-8")
    _refuse_unknown_sources(manifest, product, transform)
    return manifest


def _kept(target: Path, stamp: Path, wanted: str) -> dict[str, Any] | None:
    """The manifest that is there, if it is of the files as they are now and can be read."""
    try:
        if stamp.read_text(encoding="utf-8") != wanted:
            return None
        manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return manifest


def _refuse_unknown_sources(
    manifest: dict[str, Any], product: ResolvedProduct, transform: ResolvedTransform
) -> None:
    # dbt would find no such view, at night.
    for source in manifest["sources"].values():
        if source["name"] not in transform.depends_on:
            raise TransformError(
                f"dbt_project/{source['original_file_path']}: source {source['name']} is no input port that "
                f"{product.id}/{transform.name} reads; there are {', '.join(transform.depends_on) or 'none'}"
            )


def _stamp(product: ResolvedProduct, transform: ResolvedTransform) -> str:
    from importlib.metadata import version

    from dp_dagster.transforms.base import TransformPlace

    place = TransformPlace(transform.name, product.id, product.root, product.settings)
    project = project_folder(product.settings)
    digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-duckdb')}".encode())
    for path in transform.transform.sources(transform.config, place):
        digest.update(str(path.relative_to(project)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _parse(product: ResolvedProduct, transform: ResolvedTransform, target: Path) -> None:
    project = project_folder(product.settings)
    command = [
        *(dbt_executable(), "--quiet", "--no-use-colors", "parse"),
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target), "--log-path", str(target / "logs")),
    ]
    with dbt_environment(transform, target / "parse.duckdb"):
        done = subprocess.run(  # noqa: S603 - no shell, and nothing that a user types
            command, capture_output=True, text=True, timeout=_PARSE_TIMEOUT_SECONDS, check=False
        )
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise TransformError(
            f"dbt_project/models/{transform.config.models}: "
            f"dbt cannot parse the models of {product.id}: {' '.join(lines[-12:])}"
        )
