"""Python transforms: one function in a file of the product's folder."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.errors import DataProductError, TransformError
from dp_dagster.folder import missing_file
from dp_dagster.ports.base import Fault, KindConfig
from dp_dagster.transforms.base import Transform, TransformPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    import duckdb


class PythonConfig(KindConfig):
    """Configuration of a Python transform."""

    function: str = Field(
        pattern=r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$",
        description="`file.py:function`, relative to the product's folder. The function takes the run's "
        "DuckDB connection and returns a DuckDB relation, a Polars frame or a pyarrow table.",
    )
    inputs: tuple[str, ...] = Field(
        default=(), description="Input ports and transforms that the function reads from the connection."
    )


class PythonTransform(Transform[PythonConfig]):
    """A function from the run's DuckDB connection to rows. Its result is kept in the store."""

    kind = "PYTHON"
    summary = "a Python function over the run's DuckDB connection"
    Config: ClassVar[type[KindConfig]] = PythonConfig

    def check(self, config: PythonConfig, place: TransformPlace) -> Iterable[Fault]:
        """The file must lie in the product's folder and define the function."""
        file, function = config.function.split(":")
        faults = list(missing_file("function", file, place.product_root))
        if not faults and not _defines(place.product_root / file, function):
            faults.append(
                Fault(
                    "function", f"{file} defines no function {function}", "correct the name after the colon"
                )
            )
        return faults

    def depends_on(
        self, config: PythonConfig, place: TransformPlace, known: frozenset[str]
    ) -> tuple[str, ...]:
        """The declared inputs."""
        for name in config.inputs:
            if name not in known:
                raise TransformError(
                    f"{place.product_root.name}/{config.function}: reads {name}, which is neither an input "
                    f"port nor a transform of {place.product_id}; there are {', '.join(sorted(known)) or 'none'}"
                )
        return config.inputs

    def sources(self, config: PythonConfig, place: TransformPlace) -> tuple[Path, ...]:
        """The Python file."""
        return (place.product_root / config.function.split(":")[0],)

    def kept(self, config: PythonConfig) -> bool:
        """Always: a function may be slow, or give something else the next time."""
        return True

    def run(
        self, config: PythonConfig, place: TransformPlace, connection: duckdb.DuckDBPyConnection
    ) -> duckdb.DuckDBPyRelation:
        """Call the function and take what it returns as a relation."""
        file, name = config.function.split(":")
        path = place.product_root / file
        shown = f"{place.product_root.name}/{file}"
        try:
            function: Callable[[Any], Any] = getattr(_load(path, place), name)
            result = function(connection)
        except DataProductError:
            raise
        except Exception as error:
            raise TransformError(
                f"{shown}:{_line_in(error, path)}: {type(error).__name__}: {error}"
            ) from error
        return _relation(result, connection, f"{shown}:{name}")


def _defines(path: Path, function: str) -> bool:
    # Read, not imported: what a product's Python does at import must not run when it is only listed.
    import ast

    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise TransformError(
            f"{path.parent.parent.name}/{path.parent.name}/{path.name}:{getattr(error, 'lineno', 1)}: {error}"
        ) from error
    return any(
        (isinstance(node, ast.FunctionDef) and node.name == function)
        or (
            isinstance(node, ast.Assign | ast.ImportFrom)
            and function in {getattr(target, "id", getattr(target, "name", None)) for target in _bound(node)}
        )
        for node in tree.body
    )


def _bound(node: Any) -> list[Any]:
    return list(getattr(node, "targets", [])) or list(getattr(node, "names", []))


def _load(path: Path, place: TransformPlace) -> ModuleType:
    # A name of its own for each file, so that two products may both have transforms/clean.py.
    name = f"dp_dagster_products.{place.product_id}.{path.stem}_{abs(hash(str(path.resolve())))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TransformError(f"{path.name}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_in(error: BaseException, path: Path) -> int:
    """The line of the user's file where the error came through; 1 if it never did."""
    if isinstance(error, SyntaxError):
        return error.lineno or 1
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return frames[-1].lineno or 1 if frames else 1


def _relation(result: Any, connection: duckdb.DuckDBPyConnection, what: str) -> duckdb.DuckDBPyRelation:
    import duckdb

    if isinstance(result, duckdb.DuckDBPyRelation):
        return result
    module = type(result).__module__.partition(".")[0]
    if module == "polars":
        result = result.lazy().collect(engine="streaming").to_arrow()
        module = "pyarrow"
    if module == "pyarrow":
        try:
            return connection.from_arrow(result)
        except duckdb.Error as error:
            raise TransformError(f"{what}: returned Arrow data that DuckDB cannot read: {error}") from error
    raise TransformError(
        f"{what}: returned {type(result).__name__}; return a DuckDB relation, a Polars frame "
        "or a pyarrow table"
    )
