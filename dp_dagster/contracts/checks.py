"""Checks to write in a contract: rules over whole rows that both pandera and the streaming scan understand."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    import polars as pl
    from pandera.api.checks import Check

    from dp_dagster.contracts.model import Severity


def row_check(
    expression: pl.Expr, name: str | None = None, severity: Severity = "error", description: str = ""
) -> Check:
    """A pandera check that holds for each row where ``expression`` is true or null.

    It works under pandera as any other check does, and becomes one more expression of the single scan when
    the contract is compiled. The expression is fixed when the contract is compiled: a bound such as
    ``datetime.now()`` would stay what it was on that day, so write such a rule as a pandera check.

    Args:
        expression: A Polars expression that is true where a row is good and looks at one row at a time.
        name: Name of the check, the id of its rule; a model's attribute gives its own name.
        severity: ``error`` holds the candidate or quarantines the row, ``warn`` reports.
        description: What the rule means, in plain words.

    Raises:
        ContractError: The expression aggregates, looks at other rows, or calls Python.

    Example::

        class Flights(pa.DataFrameModel):
            departed: pl.Datetime("us") = pa.Field(nullable=True)
            arrived: pl.Datetime("us") = pa.Field(nullable=True)

            arrives_after_departure = row_check(pl.col("arrived") > pl.col("departed"))

        pa.DataFrameSchema({…}, checks=[row_check(pl.col("a") < pl.col("b"), name="a_below_b")])
    """
    from dp_dagster.contracts.row_expressions import serialise

    try:
        serialise(expression)
    except ValueError as error:
        raise ContractError(
            f"row_check {name or ''}: {error}; use an expression over the row's own columns, "
            "or a pandera check, which pandera itself runs"
        ) from error
    check: Check = _check_class()(expression, name, severity, description)
    return check


def row_expression(check: Any) -> pl.Expr | None:
    """The expression of a check made by :func:`row_check`, or ``None`` for any other."""
    expression: pl.Expr | None = getattr(check, "row_expression", None)
    return expression


@functools.cache
def _check_class() -> Any:
    """The class behind :func:`row_check`, made on first use because it derives from pandera's."""
    from pandera.api.checks import Check
    from pandera.api.dataframe.model_components import DATAFRAME_CHECK_KEY, CheckInfo

    class RowCheck(Check):
        """A check on whole rows. As an attribute of a model it adds itself to the model's checks."""

        def __init__(
            self, expression: pl.Expr, name: str | None, severity: Severity, description: str
        ) -> None:
            super().__init__(
                lambda data: data.lazyframe.select(expression),
                name=name or "row_check",
                raise_warning=severity == "warn",
                description=description or None,
            )
            self.row_expression = expression
            self._named = name is not None
            setattr(self, DATAFRAME_CHECK_KEY, RowCheckInfo(self))

        def __set_name__(self, owner: type, name: str) -> None:
            if not self._named:
                self.name = name

        @classmethod
        def get_backend(cls, check_obj: Any) -> Any:
            """That of every check: pandera registers backends for its own class only."""
            return Check.get_backend(check_obj)

        def __get__(self, instance: object, owner: type | None = None) -> RowCheck:
            """Itself; a descriptor, because pandera takes other attributes of a model for columns."""
            return self

    class RowCheckInfo(CheckInfo):
        """How pandera's models find the check."""

        def __init__(self, check: RowCheck) -> None:
            super().__init__(check._check_fn)  # noqa: SLF001 - pandera keeps the function nowhere else
            self.check = check

        def to_check(self, model_cls: type) -> Check:  # noqa: ARG002 - pandera's signature
            return self.check

    return RowCheck
