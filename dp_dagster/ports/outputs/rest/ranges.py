"""Range requests: the part of a file that a request asks for."""

from __future__ import annotations

import re

from dp_dagster.ports.problems import Problem, RequestError

_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)", re.IGNORECASE)
_MANY = re.compile(r"bytes\s*=[0-9\s,-]*,[0-9\s,-]*", re.IGNORECASE)
_MOST_DIGITS = 18


def wanted_part(header: str, if_range: str, tag: str, size: int) -> tuple[int, int] | None:
    """The first byte of the part and the one behind its last; ``None`` for the whole file.

    Args:
        header: ``Range``; empty if there is none.
        if_range: ``If-Range``; empty if there is none.
        tag: The file's entity tag.
        size: Of the file, in bytes.

    Raises:
        RequestError: 416, where nothing of the file is asked for, or several parts are.
    """
    if not header or (if_range and if_range.strip() != tag):
        # Another version than the one that the reader has begun with: it gets the whole of this one.
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        if _MANY.fullmatch(header.strip()):
            raise _refused("several ranges are asked for at once", header, size)
        # A unit that is not known is to be ignored.
        return None
    first, last = found[1][:_MOST_DIGITS], found[2][:_MOST_DIGITS]
    if not first and not last:
        return None
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise _refused("nothing of the file lies in the range", header, size)
    return start, end


def _refused(detail: str, header: str, size: int) -> RequestError:
    return RequestError(
        Problem(
            416,
            "range-not-satisfiable",
            detail,
            "Range",
            header,
            f"ask for one range of bytes within 0-{max(size - 1, 0)}",
            headers=(("Content-Range", f"bytes */{size}"),),
        )
    )
