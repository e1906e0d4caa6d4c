"""What a request for events asks: where to begin and end, which columns and rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dp_dagster.ports.outputs.event_stream.envelope import Place, read_id
from dp_dagster.ports.outputs.rest.asking import Parameters, Readable, read_parameters
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.predicates.model import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate

OPTIONS = ("fields", "since", "snapshot", "until")
"""Parameters that are no filters; a column of such a name is filtered with its operator written out."""

_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Asked:
    """Where to begin and end.

    Attributes:
        after: The last event that the reader has; ``None`` for who begins anew.
        snapshot: The version whose rows are told first.
        until: The last version that is told; ``None`` for no end.
        parameters: Filters, and the columns that are wanted.
    """

    after: Place | None
    snapshot: int | Literal["newest"] | None
    until: int | Literal["newest"] | None
    parameters: Parameters

    def selection(
        self, columns: Mapping[str, Column], view: DatasetView
    ) -> tuple[tuple[str, ...], Predicate]:
        """Columns and rows that are wanted of a version.

        Raises:
            RequestError: a column is not there, or masked and filtered by, or a value is none of its column.
        """
        granted = {name: columns[name] for name in view.columns if name in columns}
        readable = Readable(granted, view.clear, OPTIONS)
        where = readable.where(self.parameters.filters)
        return readable.selection(self.parameters.options.get("fields")), where or EVERYTHING


def read_request(query: bytes, last_event_id: bytes | None) -> Asked:
    """Read a request. The header ``Last-Event-ID`` wins over ``since`` and ``snapshot``: it is sent by who comes back.

    Raises:
        RequestError: it cannot be read.
    """
    parameters = read_parameters(query, OPTIONS, OPTIONS)
    options = parameters.options
    if "since" in options and "snapshot" in options:
        raise RequestError(
            Problem(
                400,
                "contradiction",
                "since and snapshot both say where to begin",
                "since",
                fix="say one of them",
            )
        )
    after = None
    if last_event_id:
        after = _place(last_event_id.decode("latin-1"), "Last-Event-ID")
    elif "since" in options:
        after = _place(options["since"], "since")
    return Asked(
        after,
        None if after is not None else _version(options.get("snapshot"), "snapshot"),
        _version(options.get("until"), "until"),
        parameters,
    )


def _place(text: str, parameter: str) -> Place:
    found = read_id(text)
    if found is None:
        raise RequestError(
            Problem(
                400,
                "invalid-position",
                "neither the id of an event nor the number of a version",
                parameter,
                text,
                "give the id of the last event that you have, or snapshot=newest to begin with all rows",
            )
        )
    return found


def _version(text: str | None, parameter: str) -> int | Literal["newest"] | None:
    if text is None:
        return None
    if text == "newest":
        return "newest"
    if _NUMBER.fullmatch(text) is None:
        detail = "neither the number of a version nor newest"
        raise RequestError(Problem(400, "invalid-version", detail, parameter, text))
    return int(text)
