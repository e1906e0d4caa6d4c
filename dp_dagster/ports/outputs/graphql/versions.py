"""Which version a field reads, and whether that has what the schema says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.ports.outputs.graphql.scalars import RefusedError
from dp_dagster.predicates.values import BadValueError, read_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from dp_dagster.ports.outputs.graphql.model import PortSchema
    from dp_dagster.ports.outputs.graphql.plan import RootPlan
    from dp_dagster.ports.outputs.graphql.selection import Row, Selection
    from dp_dagster.ports.served import PortHost
    from dp_dagster.rows.query import ServedVersion


class Versions:
    """The versions of a port's own dataset, as the arguments of fields name them."""

    def __init__(self, schema: PortSchema, host: PortHost) -> None:
        self._schema = schema
        self._host = host

    def as_of(self, root: RootPlan) -> Mapping[str, Any] | None:
        """What a field says of it; ``None`` where it says nothing."""
        name = self._schema.as_of if root.kind == "row" else "asOf"
        found: Mapping[str, Any] | None = root.arguments.get(name)
        return found

    def at(self, as_of: Mapping[str, Any] | None) -> ServedVersion:
        """The version that is meant.

        Raises:
            RefusedError: it is named twice, or not at all.
            VersionGoneError: it is no longer kept.
        """
        if as_of is None:
            return self._host.newest()
        number, time = as_of.get("version"), as_of.get("time")
        if (number is None) == (time is None):
            raise RefusedError("asOf: give either version or time")
        return self._host.at(number) if number is not None else self._host.as_of(_read_time(str(time)))

    def moment(self, as_of: Mapping[str, Any] | None) -> datetime | None:
        """When the version was on show; ``None`` for the newest."""
        if as_of is None:
            return None
        if as_of.get("time") is not None:
            return _read_time(str(as_of["time"]))
        return self._host.at(as_of["version"]).published_at


def check_columns(version: ServedVersion, columns: Iterable[str]) -> None:
    """Whether a version has these columns.

    Raises:
        RefusedError: it has not.
    """
    there = {column.name for column in version.columns}
    if missing := [name for name in columns if name not in there]:
        raise RefusedError(
            f"version {version.version} has no {', '.join(missing)}; ask for other fields, or for a newer version"
        )


def check_nulls(
    version: ServedVersion,
    selection: Selection,
    columns: Sequence[str],
    rows: Sequence[Row],
    dataset: str = "",
) -> None:
    """Refuse rows of a version whose contract allowed nulls where the schema now says that there are none.

    Raises:
        RefusedError: there are such rows.
    """
    seen = selection.fields.seen
    if version.columns == seen.columns:
        return
    allowed = {column.name for column in version.columns if column.nullable}
    for column in seen.columns:
        if column.name not in selection.required or column.name not in allowed:
            continue
        place = columns.index(column.name)
        if any(row[place] is None for row in rows):
            raise RefusedError(
                f"version {version.version} of {dataset or seen.dataset} has rows without {column.name}, which "
                "the contract allowed then; leave the field out, or ask for a newer version"
            )


def written(version: ServedVersion) -> str:
    """When it was published, as text."""
    return version.published_at.isoformat(timespec="microseconds")


def _read_time(text: str) -> datetime:
    try:
        moment: datetime = read_value(text, "timestamp(UTC)")
    except BadValueError as fault:
        raise RefusedError(f"asOf.time: {fault}") from None
    return moment
