"""Loading products as code locations: one product each, or many in one."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.describe import is_tag
from dp_dagster.definitions.policies import refuse_by_policy
from dp_dagster.descriptor.loading import FILE_NAMES
from dp_dagster.errors import DataProductError, DescriptorError, Problem
from dp_dagster.evolution import refuse_breaking
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
        return _built(resolve(descriptor_of(path), Settings.load(path)))


def load_inline(descriptor: Mapping[str, Any], folder: Path) -> dg.Definitions:
    """The definitions of a product whose descriptor is written out in a ``defs.yaml``.

    Raises:
        dagster.DagsterInvalidDefinitionError: as :func:`load_product`.
    """
    with _readable_errors():
        label = f"{folder.name}/defs.yaml"
        return _built(resolve_inline(descriptor, folder, Settings.load(folder), label=label))


def _built(product: ResolvedProduct) -> dg.Definitions:
    refuse_breaking(product, product.datasets)
    refuse_by_policy(product)
    return build_definitions(product)


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
    places = list(find_descriptors(settings))
    known = {path if path.is_dir() else path.parent for path in places}
    components = [
        path.parent
        for pattern in settings.products
        for path in sorted(settings.project_root.glob(f"{pattern}/{COMPONENT_FILE}"))
        if path.parent not in known
    ]
    return _merged(list(dict.fromkeys([*places, *components])))


def _merged(places: Iterable[Path]) -> dg.Definitions:
    parts = list(_each(places))
    return dg.Definitions.merge(*parts) if parts else dg.Definitions()


def descriptor_of(path: Path) -> Path:
    """The descriptor that a folder, a descriptor (of any name) or a Python file beside one stands for."""
    return path.parent if path.suffix == ".py" else path


def _resolve_place(place: Path) -> Iterator[ResolvedProduct]:
    """The product of a descriptor or a folder; the products of a ``defs.yaml``; none where there is none."""
    settings = Settings.load(place)
    if place.is_file() or any((place / name).is_file() for name in FILE_NAMES):
        yield resolve(place, settings)
    elif (place / COMPONENT_FILE).is_file():
        yield from _resolve_components(place, settings)


def _resolve_components(folder: Path, settings: Settings) -> Iterator[ResolvedProduct]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    label = f"{folder.name}/{COMPONENT_FILE}"
    try:
        documents = list(YAML(typ="safe").load_all((folder / COMPONENT_FILE).read_text(encoding="utf-8")))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise DescriptorError([Problem(label, line, "", f"is no YAML: {error.problem}")]) from None
    for content in documents:
        # A defs.yaml may hold any component; the others are not ours.
        if not isinstance(content, dict) or not str(content.get("type", "")).endswith(
            ".DataProductComponent"
        ):
            continue
        descriptor = (content.get("attributes") or {}).get("descriptor")
        if isinstance(descriptor, dict):
            yield resolve_inline(descriptor, folder, settings, label=label)
        elif isinstance(descriptor, str):
            yield resolve(folder / descriptor, settings)
        else:
            raise DescriptorError(
                [
                    Problem(
                        label,
                        0,
                        "attributes.descriptor",
                        "is missing",
                        "write a path or the descriptor itself",
                    )
                ]
            )


def _each(places: Iterable[Path]) -> Iterable[dg.Definitions]:
    seen: dict[str, Path] = {}
    broken: set[str] = set()
    for place in places:
        folder = place if place.is_dir() else place.parent
        try:
            for product in _resolve_place(place):
                if product.id in seen:
                    message = f"{product.id} is the id of {seen[product.id]} too"
                    raise DescriptorError(  # noqa: TRY301 - shown like any other fault of a descriptor
                        [Problem(_shown(product.path), 0, "product_id", message, "rename one of them")]
                    )
                definitions = _built(product)
                seen[product.id] = Path(_shown(product.path))
                yield definitions
        except DataProductError as error:
            yield _broken(folder.name, str(error), broken)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see below
            # Whatever a product's own code raises must not stop the others; a sys.exit would end the server.
            yield _broken(folder.name, _sentence(error), broken)


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _broken(name: str, message: str, others: set[str]) -> dg.Definitions:
    # Folders of one name may lie below several parents.
    key = next(
        one for one in (name, *(f"{name}_{number}" for number in range(2, 10_000))) if one not in others
    )
    others.add(key)
    tags = {"dp/state": "broken", "dp/product": name}
    spec = dg.AssetSpec(
        dg.AssetKey([key, "load_error"]),
        group_name="broken_products",
        description=f"Did not load: {message.splitlines()[0]}\n\n```\n{message}\n```",
        kinds={"error"},
        tags={tag: value for tag, value in tags.items() if is_tag(tag, value)},
        metadata={"error": dg.MetadataValue.text(message)},
    )
    return dg.Definitions(assets=[spec])


def _sentence(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return f"{place}{type(error).__name__}: {error}"
