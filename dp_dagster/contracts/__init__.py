"""Contracts: what may be published. Formats compile into rules; evaluators run them."""

from dp_dagster.contracts.checks import row_check

__all__ = ["row_check"]
