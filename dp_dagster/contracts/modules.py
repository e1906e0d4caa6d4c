"""Import a product's own Python files, each product by itself.

A product's folder is not on ``sys.path``: two products may both have ``contracts/customers.py``. Each file is
imported as part of a package that exists for one product and one state of its sources, so a changed file is
another module and nothing stale is found. Within the folder a file reaches the others as one would write it:
``from .common import …``, ``from contracts.common import …`` or ``import common`` beside it.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
import threading
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOCK = threading.RLock()
_ROOTS: dict[str, Path] = {}


def local_sources(file: Path, product_root: Path) -> dict[str, bytes]:
    """The file and the files of the product that it imports, directly or through others.

    Found by reading the import statements, without running anything.

    Args:
        file: A Python file in the product's folder.
        product_root: The product's folder.

    Returns:
        Contents by path relative to the folder, in order of the paths.

    Raises:
        ContractError: A file does not parse, or cannot be read.
    """
    root = product_root.resolve()
    found: dict[str, bytes] = {}
    pending = [file.resolve()]
    while pending:
        current = pending.pop()
        relative = current.relative_to(root).as_posix()
        if relative in found:
            continue
        try:
            content = current.read_bytes()
        except OSError as error:
            raise ContractError(f"{relative}: cannot be read: {error.strerror}") from error
        found[relative] = content
        # The packages that hold a module run before it.
        for parent in current.relative_to(root).parents:
            initial = root / parent / "__init__.py"
            if parent != Path() and initial.is_file():
                pending.append(initial)
        pending.extend(_imported(_parse(content, relative), current, root))
    return dict(sorted(found.items()))


def _parse(content: bytes, relative: str) -> ast.Module:
    try:
        return ast.parse(content)
    except SyntaxError as error:
        raise ContractError(f"{relative}:{error.lineno or 1}: SyntaxError: {error.msg}") from error
    except ValueError as error:
        raise ContractError(f"{relative}: {error}") from error


def _imported(tree: ast.Module, file: Path, root: Path) -> list[Path]:
    files: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files += _files_of(alias.name.split("."), _absolute_bases(file, root))
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            bases = _absolute_bases(file, root)
            if node.level:
                bases = [file.parents[node.level - 1]] if node.level <= len(file.parents) else []
                bases = [base for base in bases if base.is_relative_to(root)]
            files += _files_of(parts, bases)
            for alias in node.names:
                files += _files_of([*parts, alias.name], bases)
    return files


def _absolute_bases(file: Path, root: Path) -> list[Path]:
    """Where an absolute import looks first: beside the file, then in the product's folder."""
    return [file.parent, root] if file.parent != root else [root]


def _files_of(parts: Sequence[str], bases: Sequence[Path]) -> list[Path]:
    for base in bases:
        files: list[Path] = []
        folder = base
        for part in parts:
            module, package = folder / f"{part}.py", folder / part / "__init__.py"
            files += [path for path in (package, module) if path.is_file()][:1]
            folder = folder / part
        if files:
            return files
    return []


def import_file(file: Path, *, product_root: Path, module_prefix: str = "product") -> ModuleType:
    """Import a Python file of a product under a name of its own.

    Args:
        file: The file, inside ``product_root``.
        product_root: The product's folder.
        module_prefix: Readable start of the package's name, the product's id say.

    Raises:
        ContractError: The file lies outside the folder, does not parse, or raises; the message has the place in
            the author's file and the exception's text.
    """
    root, path = product_root.resolve(), file.resolve()
    if not path.is_relative_to(root):
        raise ContractError(f"{file}: lies outside the product's folder; move it inside")
    sources = local_sources(path, root)
    package = _package(root, module_prefix, sources)
    name = ".".join([package, *path.relative_to(root).with_suffix("").parts])
    with _LOCK:
        try:
            return importlib.import_module(name)
        # The author's module may raise anything, and may call sys.exit().
        except (Exception, SystemExit) as error:
            raise ContractError(describe_exception(error, root)) from error


def describe_exception(error: BaseException, product_root: Path, *, with_text: bool = True) -> str:
    """``file:line: Type: text`` with the last place in the author's files that an exception came through.

    Args:
        error: The exception.
        product_root: The product's folder.
        with_text: Whether to add the exception's text; not where it may quote classified values.
    """
    root = product_root.resolve()
    # Polars adds paragraphs about the expression to the text of the exception itself.
    text = " ".join(str(error).split("\n\n", 1)[0].split())
    label = f"{type(error).__name__}: {text[:500]}" if text and with_text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        frames = [(error.filename, error.lineno or 1)]
    else:
        frames = [(frame.filename, frame.lineno or 1) for frame in traceback.extract_tb(error.__traceback__)]
    for filename, line in reversed(frames):
        place = Path(filename)
        if place.is_absolute() and place.is_relative_to(root):
            return f"{place.relative_to(root).as_posix()}:{line}: {label}"
    return label


def _package(root: Path, prefix: str, sources: Mapping[str, bytes]) -> str:
    """Make (once) the package that stands for this folder with these sources, and return its name."""
    digest = hashlib.sha256(str(root).encode())
    for relative, content in sources.items():
        digest.update(f"\0{relative}\0{len(content)}\0".encode() + content)
    name = f"_dp_{re.sub(r'[^A-Za-z0-9_]', '_', prefix)}_{digest.hexdigest()[:16]}"
    with _LOCK:
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(root)]
            _ROOTS[name] = root
            sys.modules[name] = package
            if not any(isinstance(finder, _ProductFinder) for finder in sys.meta_path):
                sys.meta_path.insert(0, _ProductFinder())
    return name


class _ProductFinder:
    """Finds the modules of the packages that :func:`_package` makes."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".", 1)[0] not in _ROOTS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _ProductLoader(spec.loader.name, spec.loader.path)
        return spec


class _ProductLoader(importlib.machinery.SourceFileLoader):
    """Runs a product's file so that its absolute imports look into the product's folder first."""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 - the name is importlib's
        # Compiled anew each time: bytecode is reused for a file of the same size and second.
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.split(".", 1)[0]
        module.__dict__["__builtins__"] = {
            **vars(builtins),
            "__import__": _importer(package, Path(self.path), _ROOTS[package]),
        }
        super().exec_module(module)


def _importer(package: str, file: Path, root: Path) -> Any:
    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names are those of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002 - the names are those of __import__
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        parts = name.split(".")
        if level == 0 and parts[0] not in sys.stdlib_module_names:
            for base in _absolute_bases(file, root):
                if any(
                    _files_of(wanted, [base])
                    for wanted in (parts, *([*parts, part] for part in fromlist or ()))
                ):
                    start = [package, *base.relative_to(root).parts]
                    module = importlib.import_module(".".join([*start, *parts]))
                    if not fromlist:
                        return sys.modules[".".join([*start, parts[0]])]
                    for wanted in fromlist:
                        if not hasattr(module, wanted) and _files_of([*parts, wanted], [base]):
                            importlib.import_module(".".join([*start, *parts, wanted]))
                    return module
        return builtins.__import__(name, globals, locals, fromlist, level)

    return import_
