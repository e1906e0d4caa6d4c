"""Patterns of dates and times as Java's ``DateTimeFormatter`` writes them, which ODCS prescribes."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)
# By letter and length: the directive of strptime, and what it looks like.
_DIRECTIVES = {
    "yyyy": ("%Y", r"\d{4}"),
    "uuuu": ("%Y", r"\d{4}"),
    "yy": ("%y", r"\d{2}"),
    "MM": ("%m", r"\d{2}"),
    "MMM": ("%b", r"[A-Za-z]{3}"),
    "dd": ("%d", r"\d{2}"),
    "HH": ("%H", r"\d{2}"),
    "mm": ("%M", r"\d{2}"),
    "ss": ("%S", r"\d{2}"),
    "S": ("%f", r"\d"),
    "SSS": ("%f", r"\d{3}"),
    "SSSSSS": ("%f", r"\d{6}"),
    "SSSSSSSSS": ("", r"\d{9}"),
    "X": ("%z", r"(?:Z|[+-]\d{2})"),
    "XX": ("%z", r"(?:Z|[+-]\d{4})"),
    "XXX": ("%z", r"(?:Z|[+-]\d{2}:\d{2})"),
}
_RANGES = {
    "MM": r"(?:0[1-9]|1[0-2])",
    "dd": r"(?:0[1-9]|[12][0-9]|3[01])",
    "HH": r"(?:[01][0-9]|2[0-3])",
    "mm": r"[0-5][0-9]",
    "ss": r"[0-5][0-9]",
    "MMM": r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
}


def time_pattern(text: str) -> tuple[str, str] | None:
    """A regular expression for what a pattern writes, and the format of the date in it for ``strptime``.

    The expression fixes digits, ranges and separators. Whether a day is one of its month only a calendar knows:
    the second value reads the year, month and day out of a text that has all three and nothing else; it is empty
    otherwise.

    Returns:
        ``None`` for a pattern with letters that have no fixed form (names of days, eras, weeks).
    """
    regex, directives = [], []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.group(1) is not None:
            literal = match.group(1).replace("''", "'") or "'"
            regex.append(re.escape(literal))
            directives.append(literal.replace("%", "%%"))
        elif match.group(2):
            known = _DIRECTIVES.get(token)
            if known is None:
                return None
            regex.append(_RANGES.get(token, known[1]).replace(r"\d", "[0-9]"))
            directives.append(known[0])
        else:
            regex.append(re.escape(token))
            directives.append(token.replace("%", "%%"))
    whole_date = sorted(one for one in directives if one in ("%Y", "%m", "%d", "%b")) in (
        ["%Y", "%d", "%m"],
        ["%Y", "%b", "%d"],
    )
    only_date = all(not one.startswith("%") or one in ("%Y", "%m", "%d", "%b", "%%") for one in directives)
    return "".join(regex), "".join(directives) if whole_date and only_date else ""
