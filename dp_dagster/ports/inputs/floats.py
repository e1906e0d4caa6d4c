"""Whether a number that somebody wrote is a float, written with some number of digits."""

from __future__ import annotations

from decimal import Context, Decimal


def is_written_as(number: float, written: Decimal) -> bool:
    """Whether the float, rounded to as many digits as were written, is what was written.

    That holds of the shortest writing (0.1), of the 17 digits that others use, and of more; not of what has more to it.
    """
    exact = Decimal(number)
    if not exact.is_finite() or not written.is_finite():
        return exact == written
    return Context(prec=max(len(written.as_tuple().digits), 1)).plus(exact) == written
