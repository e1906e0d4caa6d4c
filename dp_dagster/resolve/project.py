"""All products of a project, those that fail beside those that work, and what must hold between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.descriptor.loading import FILE_NAMES, descriptor_file, read_draft
from dp_dagster.descriptor.paths import shown
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.errors import DataProductError, DescriptorError, Problem, UsageError
from dp_dagster.registry import Registry
from dp_dagster.resolve.order import ordered
from dp_dagster.resolve.product import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dp_dagster.resolve.model import ResolvedProduct
    from dp_dagster.settings import Settings


@dataclass(frozen=True)
class Failure:
    """A product that cannot be resolved, and why."""

    path: Path
    product_id: str
    error: DataProductError


@dataclass(frozen=True)
class Project:
    """The products of a project."""

    settings: Settings
    products: tuple[ResolvedProduct, ...]
    failures: tuple[Failure, ...]


def find_descriptors(settings: Settings) -> tuple[Path, ...]:
    """The descriptors (or the folders of several, a fault of their own) that the settings' patterns match."""
    found: dict[Path, None] = {}
    for pattern in settings.products:
        base = settings.project_root
        try:
            matches = sorted(base.glob(pattern))
        except (ValueError, NotImplementedError) as error:
            raise UsageError(f"products: {pattern} is no pattern below {base}: {error}") from error
        for match in matches:
            if match.name.startswith((".", "_")):
                continue
            if match.is_file() and match.suffix in {".yaml", ".yml", ".json"}:
                found[match] = None
            elif match.is_dir():
                names = [name for name in FILE_NAMES if (match / name).is_file()]
                if names:
                    found[match / names[0] if len(names) == 1 else match] = None
    return tuple(found)


def resolve_project(settings: Settings, registry: Registry | None = None) -> Project:
    """Resolve every product of the project; one that fails stops no other."""
    return resolve_paths(find_descriptors(settings), settings, registry)


def resolve_paths(paths: Iterable[Path], settings: Settings, registry: Registry | None = None) -> Project:
    """Resolve the products at ``paths`` and judge them against each other."""
    registry = registry or Registry.load()
    products: list[ResolvedProduct] = []
    failures: list[Failure] = []
    for path in dict.fromkeys(path.absolute() for path in paths):
        try:
            products.append(resolve(path, settings, registry))
        except DataProductError as error:
            failures.append(Failure(path, product_id_at(path), error))
    problems: dict[Path, list[Problem]] = {}
    for product, problem in [
        *_shared_ids(products, failures),
        *_circles(products),
        *_missing_ports(products),
    ]:
        problems.setdefault(product.path, []).append(problem)
    failures += [
        Failure(product.path, product.id, DescriptorError(problems[product.path]))
        for product in products
        if product.path in problems
    ]
    sound = tuple(product for product in products if product.path not in problems)
    return Project(settings, sound, tuple(sorted(failures, key=lambda failure: failure.path)))


def product_id_at(path: Path) -> str:
    """The id that a descriptor declares, as far as it can be read; else the name of its folder."""
    try:
        return read_draft(path).product_id
    except DescriptorError:
        return path.parent.name if path.suffix else path.name


def find_product(name: str, settings: Settings, registry: Registry | None = None) -> ResolvedProduct:
    """Resolve the product of that id, without resolving the others.

    Raises:
        UsageError: there is none, or several.
        DescriptorError: it has problems.
    """
    ids = {path: product_id_at(path) for path in find_descriptors(settings)}
    paths = [path for path, product_id in ids.items() if product_id == name]
    if len(paths) == 1:
        return resolve(paths[0], settings, registry)
    if paths:
        raise UsageError(f"{name} is the id of several products: {', '.join(map(shown, paths))}")
    raise UsageError(
        f"there is no product {name} in {settings.project_root}; {suggestion(name, ids.values())}"
    )


def _shared_ids(
    products: list[ResolvedProduct], failures: list[Failure]
) -> Iterable[tuple[ResolvedProduct, Problem]]:
    others = [(product.id, product.path) for product in products]
    others += [(failure.product_id, failure.path) for failure in failures if failure.path.suffix]
    for product in products:
        same = [shown(path) for other, path in others if other == product.id and path != product.path]
        if same:
            message = f"{product.id} is the id of {', '.join(same)} too"
            yield product, _problem(product, "product_id", message, "give each product an id of its own")


def _circles(products: list[ResolvedProduct]) -> Iterable[tuple[ResolvedProduct, Problem]]:
    upstream = {product.id: [name for name, _ in _upstream(product)] for product in products}
    _, circles = ordered(upstream)
    for circle in circles:
        for product in products:
            if product.id in circle:
                first = circle.index(product.id)
                names = [*circle[first:-1], *circle[:first], product.id]
                at = next(at for name, at in _upstream(product) if name in names)
                yield (
                    product,
                    _problem(
                        product, at, f"needs itself: {' -> '.join(names)}", "read from outside the circle"
                    ),
                )


def _missing_ports(products: list[ResolvedProduct]) -> Iterable[tuple[ResolvedProduct, Problem]]:
    by_id = {product.id: product for product in products}
    for product in products:
        for number, declared in enumerate(product.inputs):
            port = declared.port.upstream(declared.config)
            producer = by_id.get(port.product) if port is not None else None
            # Another major version may have been published by an earlier state of the producer.
            if port is None or producer is None or producer.major != port.major:
                continue
            names = [output.name for output in producer.ports]
            if port.port not in names:
                message = f"{port.product} has no output port {port.port}"
                at = _place(product, number)
                yield product, _problem(product, at, message, suggestion(port.port, names))


def _upstream(product: ResolvedProduct) -> list[tuple[str, str]]:
    found = []
    for number, declared in enumerate(product.inputs):
        port = declared.port.upstream(declared.config)
        if port is not None:
            found.append((port.product, _place(product, number)))
    return found


def _place(product: ResolvedProduct, number: int) -> str:
    declaration = product.inputs[number].declaration
    return f"input_ports[{product.descriptor.input_ports.index(declaration)}]"


def _problem(product: ResolvedProduct, at: str, message: str, fix: str) -> Problem:
    line = next((line.number for line in product.lines if line.path.startswith(at)), 0)
    return Problem(shown(descriptor_file(product.path)), line, at, message, fix)
