"""Checks that only pandera can run: an author's function over a frame or over single values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.load import load_schema
from dp_dagster.contracts.modules import describe_exception
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from dp_dagster.contracts.model import Contract, Rule


@dataclass(frozen=True)
class CustomOutcome:
    """What a check over the whole table found; ``reason`` is why it could not be run, or what failed."""

    failed: bool
    evaluated: bool
    reason: str
    sample: tuple[dict[str, Any], ...] = ()


class CustomChecks:
    """The author's checks of one contract, loaded when the first is needed."""

    def __init__(self, contract: Contract, product_root: Path) -> None:
        self._contract = contract
        self._root = product_root
        self._schema: Any = None

    def _check(self, rule: Rule) -> Any:
        if self._schema is None:
            loaded: Any = load_schema(self._contract.source, product_root=self._root)
            self._schema = getattr(loaded, "to_schema", lambda: loaded)()
        table = rule.params["scope"] == "table"
        checks = self._schema.checks if table else self._schema.columns[rule.columns[0]].checks
        return checks[rule.params["check"]]

    def cause(self, rule: Rule, error: BaseException) -> str:
        """Where and what an author's check raised; without the text if that may quote classified values."""
        read = set(rule.columns) if rule.columns else {column.name for column in self._contract.columns}
        return describe_exception(error, self._root, with_text=read.isdisjoint(self._contract.classified))

    def failing_value(self, rule: Rule) -> pl.Expr:
        """For a check of single values: an expression that calls it, true for failing rows."""
        import polars as pl

        check = self._check(rule)
        arguments = check._check_kwargs  # noqa: SLF001 - pandera passes them on in the same way

        def holds(value: Any) -> bool:
            return bool(check._check_fn(value, **arguments))  # noqa: SLF001 - pandera has no public name for it

        column = pl.col(rule.columns[0])
        failed = ~column.map_elements(holds, return_dtype=pl.Boolean)
        return failed | column.is_null() if rule.params.get("null_fails") else failed

    def run(self, rule: Rule, frame: pl.LazyFrame, sample_size: int) -> CustomOutcome:
        """Let pandera run a check of the table. What the author's function raises is part of the outcome."""
        import polars as pl

        try:
            check = self._check(rule)
            result = check(frame, rule.columns[0] if rule.params["scope"] == "column" else None)
            passed = result.check_passed.collect().item()
            if passed:
                return CustomOutcome(failed=False, evaluated=True, reason="")
            if passed is None:
                return CustomOutcome(failed=False, evaluated=False, reason="the check gave null")
            sample = result.failure_cases
            rows = sample.head(sample_size).collect().to_dicts() if sample is not None else []
            return CustomOutcome(
                True, evaluated=True, reason="pandera says that it fails", sample=tuple(rows)
            )
        except ContractError as error:
            return CustomOutcome(failed=False, evaluated=False, reason=str(error))
        # The author's function may raise anything, Polars' panics included.
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001
            cause = self.cause(rule, error)
            return CustomOutcome(failed=False, evaluated=False, reason=f"the check raised: {cause}")
