"""Trying again what may succeed later, and not at once."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")
LONGEST_WAIT_SECONDS = 60.0


def with_retries(
    attempt: Callable[[], ResultT],
    *,
    retries: int,
    reason: Callable[[Exception], str | None],
    say: Callable[[str], None],
    first_wait: float = 1.0,
) -> ResultT:
    """Do something, again where it fails for a while: after 1, 2, 4 … seconds, and up to half of that more.

    Args:
        attempt: What to do.
        retries: How often to try again.
        reason: Why another attempt may succeed; ``None`` where none will.
        say: Told of each failure that is followed by another attempt.
        first_wait: Seconds before the second attempt.

    Raises:
        Exception: the last failure, or the first that nothing mends.
    """
    for number in range(retries + 1):
        try:
            return attempt()
        except Exception as error:
            why = reason(error)
            if why is None or number == retries:
                raise
            wait = min(first_wait * 2**number, LONGEST_WAIT_SECONDS)
            wait *= 1 + random.random() / 2  # noqa: S311 - so that not all come back at once
            say(f"{why}; trying again in {wait:.0f} s ({number + 1} of {retries})")
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")
