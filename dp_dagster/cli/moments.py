"""Points in time on the command line: ``2026-11-01``, ``2026-11-01T06:00``, ``7d``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from dp_dagster.errors import UsageError

_AGO = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, option: str) -> datetime:
    """The point in time that an option names; without a time zone it is UTC.

    Args:
        text: A date, a date with a time, or how long ago: ``30m``, ``12h``, ``7d``, ``2w``.
        option: For the message.

    Raises:
        UsageError: it names none.
    """
    ago = _AGO.match(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text}: is no point in time; write 2026-11-01, 2026-11-01T06:00 (UTC), or 12h or 7d for so "
            "long ago"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
