"""Names for rules: readable, stable, unique in a contract, and valid as names of Dagster's asset checks."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_LONGEST = 100


def rule_id(label: str, columns: Sequence[str], taken: Collection[str] = ()) -> str:
    """``not_null_dep_time`` and the like, of the characters ``A-Z a-z 0-9 _``.

    Names that have other characters, or are very long, are told apart by a short hash, so that an id does not
    change when another column comes. A second rule of the same kind on the same columns gets ``_2``.

    Args:
        label: Kind of the rule, or the name of an author's check.
        columns: Columns that it is about.
        taken: Ids that are in use.
    """
    written = "_".join([label, *columns])
    made = re.sub(r"[^A-Za-z0-9_]+", "_", written)
    if made != written or len(made) > _LONGEST:
        digest = hashlib.sha256("\0".join([label, *columns]).encode()).hexdigest()[:6]
        made = f"{made[:_LONGEST].strip('_')}_{digest}"
    unique, number = made, 2
    while unique in taken:
        unique, number = f"{made}_{number}", number + 1
    return unique
