"""What stays of a table when a candidate takes the place of some of its partitions, or is added to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import PublicationRefusedError
from dp_dagster.storage.partitions import key_of

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Column
    from dp_dagster.storage.candidate import Candidate
    from dp_dagster.storage.log import View


@dataclass(frozen=True)
class Stays:
    """What a commit leaves as it is (absolute paths, rows), and the names of the files that it removes."""

    files: tuple[str, ...]
    rows: int
    removes: tuple[str, ...]


def staying(candidate: Candidate, view: View | None) -> Stays | None:
    """What stays of the version in ``view``; ``None`` where the candidate takes the place of all of it.

    Raises:
        PublicationRefusedError: the candidate does not fit to what stays.
    """
    if candidate.replaces is None or view is None:
        return None
    location = candidate.location
    state = view.state()
    replaced = set(candidate.replaces)
    stays, rows, removes = [], 0, []
    for name, count in zip(state.files, state.counts, strict=True):
        key = key_of(name)
        if key is None and replaced:
            raise PublicationRefusedError(
                f"{location} was published before it had partitions; publish all of them once"
            )
        if key in replaced:
            removes.append(name)
        else:
            stays.append(str(location.directory / name))
            rows += count
    if stays and names_and_types(candidate.columns) != names_and_types(state.columns):
        if not replaced:
            raise PublicationRefusedError(
                f"{location} has the columns {names_and_types(state.columns)}, not "
                f"{names_and_types(candidate.columns)}; files that are added have the same"
            )
        raise PublicationRefusedError(
            f"partitions {', '.join(candidate.replaces)} of {location} would have the columns "
            f"{names_and_types(candidate.columns)}, and the others have {names_and_types(state.columns)}; "
            "publish all of them"
        )
    return Stays(tuple(stays), rows, tuple(removes))


def names_and_types(columns: tuple[Column, ...]) -> str:
    """Columns as a message shows them."""
    return ", ".join(f"{column.name} {column.type}" for column in columns)
