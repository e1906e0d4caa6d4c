"""Loading products as code locations: one product each, or many in one."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.build import build_definitions
from dp_dagster.errors import DataProductError
from dp_dagster.resolve import resolve, resolve_inline
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DESCRIPTOR_NAMES = ("product.yaml", "product.yml", "product.json")


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
    except Exception as error:
        raise dg.DagsterInvalidDefinitionError(_sentence(error)) from error


def load_products(place: str | Path, pattern: str = "*") -> dg.Definitions:
    """The definitions of many products in one code location.

    A broken product is left out, and an asset ``<product>/load_error`` says why; the rest load.

    Args:
        place: The folder that holds the products' folders, or a file in it (``__file__``).
        pattern: Which of the folders.
    """
    root = Path(place)
    root = root.parent if root.is_file() else root
    folders = sorted(folder for folder in root.glob(pattern) if _has_descriptor(folder))
    return dg.Definitions.merge(*_each(folders)) if folders else dg.Definitions()


def descriptor_of(path: Path) -> Path:
    """The descriptor that a folder, a descriptor or a file beside one stands for."""
    if path.is_file() and path.name in DESCRIPTOR_NAMES:
        return path
    folder = path if path.is_dir() else path.parent
    return next(
        (folder / name for name in DESCRIPTOR_NAMES if (folder / name).is_file()), folder / "product.yaml"
    )


def _has_descriptor(folder: Path) -> bool:
    return any((folder / name).is_file() for name in DESCRIPTOR_NAMES)


def _each(folders: Iterable[Path]) -> Iterable[dg.Definitions]:
    seen: dict[str, Path] = {}
    for folder in folders:
        try:
            product = resolve(descriptor_of(folder), Settings.load(folder))
            if product.id in seen:
                yield _broken(
                    folder.name, f"{folder.name}: product_id {product.id} is also {seen[product.id].name}'s"
                )
                continue
            definitions = build_definitions(product)
            seen[product.id] = folder
            yield definitions
        except DataProductError as error:
            yield _broken(folder.name, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a product's own code raises must not stop the others
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


def _sentence(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {error}"
