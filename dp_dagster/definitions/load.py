"""Loading products as code locations: one product each, or many in one."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.build import build_definitions
from dp_dagster.descriptor.loading import FILE_NAMES
from dp_dagster.errors import DataProductError
from dp_dagster.resolve import find_descriptors, resolve, resolve_inline
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dp_dagster.resolve import ResolvedProduct

COMPONENT_FILE = "defs.yaml"


def load_product(place: str | Path) -> dg.Definitions:
    """The definitions of one product.

    Args:
        place: The product's folder, its descriptor, or a file beside the descriptor; in a product's
            ``definitions.py`` simply ``__file__``.

    Raises:
        dagster.DagsterInvalidDefinitionError: the product is broken. Dagster shows the message, which names
            file, line and field, at the failed code location; other locations are not touched.
    """
    path = Path(place)
    with _readable_errors():
        return build_definitions(resolve(descriptor_of(path), Settings.load(path)))


def load_inline(descriptor: Mapping[str, Any], folder: Path) -> dg.Definitions:
    """The definitions of a product whose descriptor is written out in a ``defs.yaml``.

    Raises:
        dagster.DagsterInvalidDefinitionError: as :func:`load_product`.
    """
    with _readable_errors():
        label = f"{folder.name}/defs.yaml"
        return build_definitions(resolve_inline(descriptor, folder, Settings.load(folder), label=label))


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except DataProductError as error:
        raise dg.DagsterInvalidDefinitionError(str(error)) from None
    except dg.DagsterError:
        raise
    except (Exception, SystemExit) as error:
        # SystemExit too: it would end the code server, and `dagster dev` with it.
        raise dg.DagsterInvalidDefinitionError(_sentence(error)) from error


def load_products(place: str | Path, pattern: str = "*") -> dg.Definitions:
    """The definitions of many products in one code location.

    A broken product is left out, and an asset ``<product>/load_error`` says why; the rest load. A folder with
    a ``defs.yaml`` of a data product, and no descriptor of its own, counts as well.

    Args:
        place: The folder that holds the products' folders, or a file in it (``__file__``).
        pattern: Which of the folders.
    """
    root = Path(place)
    root = root.parent if root.is_file() else root
    folders = sorted(folder for folder in root.glob(pattern) if folder.is_dir())
    return _merged(folders)


def load_project(start: Path | None = None) -> dg.Definitions:
    """The definitions of all products that the project's settings name, in one code location."""
    settings = Settings.load(start)
    folders = [path if path.is_dir() else path.parent for path in find_descriptors(settings)]
    inline = [
        path.parent
        for pattern in settings.products
        for path in sorted(settings.project_root.glob(f"{pattern}/{COMPONENT_FILE}"))
    ]
    return _merged(list(dict.fromkeys([*folders, *inline])))


def _merged(folders: Iterable[Path]) -> dg.Definitions:
    parts = list(_each(folders))
    return dg.Definitions.merge(*parts) if parts else dg.Definitions()


def descriptor_of(path: Path) -> Path:
    """The descriptor that a folder, a descriptor or a file beside one stands for."""
    if path.is_file() and path.name in FILE_NAMES:
        return path
    return path if path.is_dir() else path.parent


def _resolve_folder(folder: Path) -> ResolvedProduct | None:
    """The product of a folder; ``None`` where it holds none."""
    settings = Settings.load(folder)
    if any((folder / name).is_file() for name in FILE_NAMES):
        return resolve(folder, settings)
    if (folder / COMPONENT_FILE).is_file():
        return _resolve_component(folder, settings)
    return None


def _resolve_component(folder: Path, settings: Settings) -> ResolvedProduct | None:
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load((folder / COMPONENT_FILE).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not str(content.get("type", "")).endswith(".DataProductComponent"):
        return None
    descriptor = content.get("attributes", {}).get("descriptor")
    if isinstance(descriptor, dict):
        return resolve_inline(descriptor, folder, settings, label=f"{folder.name}/{COMPONENT_FILE}")
    return resolve(folder / str(descriptor), settings)


def _each(folders: Iterable[Path]) -> Iterable[dg.Definitions]:
    seen: dict[str, Path] = {}
    for folder in folders:
        try:
            product = _resolve_folder(folder)
            if product is None:
                continue
            if product.id in seen:
                message = (
                    f"product_id: {product.id} is the id of {seen[product.id].name} too; rename one of them"
                )
                yield _broken(folder.name, f"{folder.name}/{product.path.name}: {message}")
                continue
            definitions = build_definitions(product)
            seen[product.id] = folder
            yield definitions
        except DataProductError as error:
            yield _broken(folder.name, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see below
            # Whatever a product's own code raises must not stop the others; a sys.exit would end the server.
            yield _broken(folder.name, _sentence(error))


def _broken(name: str, message: str) -> dg.Definitions:
    spec = dg.AssetSpec(
        dg.AssetKey([name, "load_error"]),
        group_name="broken_products",
        description=f"Did not load: {message.splitlines()[0]}\n\n```\n{message}\n```",
        kinds={"error"},
        tags={"dp/state": "broken", "dp/product": name},
        metadata={"error": dg.MetadataValue.text(message)},
    )
    return dg.Definitions(assets=[spec])


def _sentence(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {error}"
