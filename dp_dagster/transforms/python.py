"""Python transforms: one function in a file of the product's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.contracts.modules import describe_exception, import_file, local_sources
from dp_dagster.engines.column_origins import Origin, Origins, opaque
from dp_dagster.errors import ContractError, DataProductError, TransformError
from dp_dagster.folder import missing_file
from dp_dagster.ports.base import Fault, KindConfig
from dp_dagster.transforms.base import Transform, TransformPlace

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

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
    lineage: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="What each column is made from: `delay: [raw_flights.dep_delay]`. `'*': [raw_flights.*]` "
        "stands for all columns of an input that keep their names. What is not declared is shown as not known.",
    )


class PythonTransform(Transform[PythonConfig]):
    """A function from the run's DuckDB connection to rows. Its result is kept in the store."""

    kind = "PYTHON"
    summary = "a Python function over the run's DuckDB connection"
    Config: ClassVar[type[KindConfig]] = PythonConfig

    def check(self, config: PythonConfig, place: TransformPlace) -> Iterable[Fault]:
        """The file must lie in the product's folder and define the function."""
        yield from _lineage_faults(config)
        file, function = config.function.split(":")
        faults = list(missing_file("function", file, place.product_root))
        yield from faults or _function_faults(place.product_root / file, file, function)

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
        """The Python file, and those of the product that it imports."""
        try:
            found = local_sources(_file(config, place), place.product_root)
        except ContractError as error:
            raise TransformError(f"{place.product_root.name}/{error}") from error
        return tuple(place.product_root / relative for relative in found)

    def kept(self, config: PythonConfig) -> bool:
        """Always: a function may be slow, or give something else the next time."""
        return True

    def origins(
        self, config: PythonConfig, place: TransformPlace, tables: Mapping[str, Sequence[str] | None]
    ) -> Mapping[str, Origins]:
        """As declared under ``lineage``."""
        return {place.name: _declared_origins(config, tables)}

    def run(
        self, config: PythonConfig, place: TransformPlace, connection: duckdb.DuckDBPyConnection
    ) -> duckdb.DuckDBPyRelation:
        """Call the function and take what it returns as a relation."""
        name = config.function.split(":")[1]
        what = f"{place.product_root.name}/{config.function}"
        try:
            module = import_file(
                _file(config, place), product_root=place.product_root, module_prefix=place.product_id
            )
        except ContractError as error:
            if isinstance(error.__cause__, SystemExit):
                raise TransformError(_told(error.__cause__, place, what)) from error
            raise TransformError(f"{place.product_root.name}/{error}") from error
        try:
            function: Callable[[Any], Any] = getattr(module, name)
            # A lazy frame runs the author's code only when it is collected.
            return _relation(function(connection), connection, what)
        except DataProductError:
            raise
        # The author's function may raise anything, and may call sys.exit().
        except (Exception, SystemExit) as error:
            raise TransformError(_told(error, place, what)) from error


def _lineage_faults(config: PythonConfig) -> Iterable[Fault]:
    for column, sources in config.lineage.items():
        for source in sources:
            relation, dot, name = source.partition(".")
            if not dot or not name:
                yield Fault("lineage", f"{column}: {source!r} names no column", "write input.column")
            elif relation not in config.inputs:
                known = ", ".join(config.inputs) or "none"
                yield Fault(
                    "lineage", f"{column}: {relation} is not read by the function", f"its inputs: {known}"
                )
            elif (name == "*") != (column == "*"):
                yield Fault(
                    "lineage",
                    f"{column}: {source} mixes all columns with one",
                    "write '*': [input.*] for all that keep their names, and name single columns one by one",
                )


def _declared_origins(config: PythonConfig, tables: Mapping[str, Sequence[str] | None]) -> Origins:
    if not config.lineage:
        return opaque("declare it under lineage: what a Python function does cannot be read from it")
    columns: dict[str, tuple[Origin, ...]] = {}
    unknown: dict[str, str] = {}
    for source in config.lineage.get("*", ()):
        relation = source.removesuffix(".*")
        names = tables.get(relation)
        if names is None:
            unknown["*"] = f"all columns of {relation} are passed on, and its columns are not known"
        columns.update({name: (Origin(relation, name),) for name in names or ()})
    for column, sources in config.lineage.items():
        if column == "*":
            continue
        places = [tuple(source.split(".", 1)) for source in sources]
        for relation, name in places:
            names = tables.get(relation)
            if names is not None and name not in names:
                unknown[column] = f"{relation} has no column {name}"
        columns[column] = tuple(Origin(relation, name, "transformation") for relation, name in places)
    return Origins(columns, unknown=unknown)


def _told(error: BaseException, place: TransformPlace, what: str) -> str:
    """An exception of the author's code, with its place in their files where it has one."""
    ends = isinstance(error, SystemExit)
    told = describe_exception(error, place.product_root, with_text=not ends)
    if isinstance(error, SystemExit):
        told = (
            told.removesuffix("SystemExit")
            + f"would end the process (exit {error.code}); raise an error instead"
        )
    return f"{place.product_root.name}/{told}" if ".py:" in told else f"{what}: {told}"


def _file(config: PythonConfig, place: TransformPlace) -> Path:
    return place.product_root / config.function.split(":")[0]


def _function_faults(path: Path, shown: str, function: str) -> list[Fault]:
    # Read, not imported: what a product's Python does at import must not run when it is only listed.
    import ast

    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        line = f"{shown}:{error.lineno or 1}"
        return [Fault("function", f"{line}: does not parse: {error.msg}", "correct the file")]
    except (OSError, ValueError) as error:
        return [Fault("function", f"{shown} cannot be read: {error}", "correct the file")]
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == function:
            return [Fault("function", f"{function} of {shown} is asynchronous", "write def, not async def")]
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return []
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.ImportFrom) and function in _bound(node):
            return []
    return [Fault("function", f"{shown} defines no function {function}", "correct the name after the colon")]


def _bound(node: ast.Assign | ast.AnnAssign | ast.ImportFrom) -> set[str]:
    import ast

    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _relation(result: Any, connection: duckdb.DuckDBPyConnection, what: str) -> duckdb.DuckDBPyRelation:
    import duckdb

    if isinstance(result, duckdb.DuckDBPyRelation):
        return result
    kind = f"{type(result).__module__.partition('.')[0]}.{type(result).__name__}"
    if kind == "polars.LazyFrame":
        result = result.collect(engine="streaming")
    if kind in {"polars.LazyFrame", "polars.DataFrame"}:
        result, kind = result.to_arrow(), "pyarrow.Table"
    if kind in {"pyarrow.Table", "pyarrow.RecordBatch", "pyarrow.RecordBatchReader"}:
        if kind == "pyarrow.RecordBatch":
            import pyarrow as pa

            result = pa.Table.from_batches([result])
        elif kind == "pyarrow.RecordBatchReader":
            # Read now: one over this very connection would be empty after the next query on it, without a word.
            result = result.read_all()
        return connection.from_arrow(result)
    raise TransformError(
        f"{what}: returned {_name_of(result)}; return a DuckDB relation, a Polars frame or a pyarrow table"
    )


def _name_of(result: Any) -> str:
    if result is None:
        return "nothing"
    module = type(result).__module__
    return (
        type(result).__name__
        if module == "builtins"
        else f"{module.partition('.')[0]}.{type(result).__name__}"
    )
