"""Find the expression behind an author's check, where running its function once can show it.

A check such as ``lambda data: data.lazyframe.select(pl.col("a") < pl.col("b"))`` says nothing that an expression
does not say, so it may join the single scan. It is captured by calling it with a stand-in for the frame. That
is right only if each later call would say the same, so a function that reads anything but its argument,
Polars' expressions and constants stays a custom check, which pandera runs in each audit.
"""

from __future__ import annotations

import dis
import inspect
import types
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from dp_dagster.contracts.checks import row_expression
from dp_dagster.contracts.row_expressions import serialise

_CONSTANTS = (bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, type(None))
_BUILTINS = frozenset(
    [
        "abs",
        "bool",
        "dict",
        "float",
        "frozenset",
        "int",
        "len",
        "list",
        "max",
        "min",
        "range",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
    ]
)
_NOT_IN_EXPRESSIONS = (
    "read_",
    "scan_",
    "from_",
    "map_",
    "collect",
    "pipe",
    "DataFrame",
    "LazyFrame",
    "SQL",
    "sample",
)


class _Frame:
    """Stands in for the frame: remembers what is selected from it, and can do nothing else."""

    def select(self, expression: Any) -> _Selected:
        return _Selected(expression)


class _Selected:
    def __init__(self, expression: Any) -> None:
        self.expression = expression


def captured(check: Any, column: str | None) -> str | None:  # noqa: PLR0911 - each return one obstacle
    """The serialised expression of a check, or ``None`` where it has to stay a custom check.

    Args:
        check: A pandera check that is not one of pandera's own.
        column: The column that it is declared on; ``None`` for a check on the whole table.
    """
    import polars as pl
    from pandera.api.polars.types import PolarsData

    declared = row_expression(check)
    if declared is not None:
        return serialise(declared)
    if check.element_wise or check.groupby is not None:
        return None
    function, leading = _author_function(check._check_fn)  # noqa: SLF001 - pandera offers no public name
    if function is None or not _says_the_same_each_time(function, leading):
        return None
    stand_in: Any = _Frame()
    try:
        result = check._check_fn(PolarsData(stand_in, column or "*"), **check._check_kwargs)  # noqa: SLF001 - as above
    # Whatever the author's function makes of a frame that can only select: it needs the real one.
    except Exception:  # noqa: BLE001
        return None
    if not isinstance(result, _Selected) or not isinstance(result.expression, pl.Expr):
        return None
    try:
        return serialise(result.expression)
    except ValueError:
        return None


def _author_function(function: Any) -> tuple[types.FunctionType | None, str | None]:
    """The function as written and the name of its leading ``cls``, if pandera's model passes one."""
    if not isinstance(function, types.FunctionType):
        return None, None
    if function.__name__ == "_adapter" and function.__module__.startswith("pandera."):
        info = inspect.getclosurevars(function).nonlocals.get("self")
        inner = getattr(info, "check_fn", None)
        if not isinstance(inner, types.FunctionType) or not inner.__code__.co_varnames:
            return None, None
        return inner, inner.__code__.co_varnames[0]
    return function, None


def _says_the_same_each_time(function: types.FunctionType, leading: str | None) -> bool:
    code = function.__code__
    if any(isinstance(constant, types.CodeType) for constant in code.co_consts):
        return False
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("IMPORT_NAME", "STORE_GLOBAL", "YIELD_VALUE"):
            return False
        if instruction.opname.startswith("LOAD_FAST") and leading is not None:
            loaded = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
            if leading in loaded:
                return False
    if any(name.startswith(_NOT_IN_EXPRESSIONS) for name in code.co_names):
        return False
    variables = inspect.getclosurevars(function)
    outer = [*variables.globals.values(), *variables.nonlocals.values(), *(function.__defaults__ or ())]
    return set(variables.builtins) <= _BUILTINS and all(map(_is_constant, outer))


def _is_constant(value: Any) -> bool:
    import polars as pl

    if value is pl or isinstance(value, (pl.Expr, pl.DataType)):
        return True
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_constant, value))
    if isinstance(value, dict):
        return all(map(_is_constant, [*value, *value.values()]))
    return isinstance(value, _CONSTANTS)
