"""Options that all kinds share which read what is new only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from dp_dagster.descriptor.refresh import RefreshRateError, parse_duration
from dp_dagster.descriptor.values import fault
from dp_dagster.ports.base import Fault, KindConfig, Landing, LandingMode, OnSchemaChange

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

#: Options that say how rows are fetched, and nothing of which.
FETCHING = frozenset({"credentials", "headers", "timeout", "retries", "batch_rows", "on_schema_change"})


class IncrementalConfig(KindConfig):
    """How rows come in, and when they are new."""

    mode: LandingMode | None = Field(
        default=None,
        description="`replace`: what is read is the whole version. `append`: it is added. `merge`: of each key, what "
        "comes later takes the place of what was there. By default `replace` without a cursor, `merge` with cursor and "
        "key, `append` with a cursor alone.",
    )
    key: tuple[str, ...] = Field(
        default=(),
        description="The columns that identify a row: `merge` replaces by them, `append` leaves out what is there.",
    )
    deleted: str | None = Field(
        default=None,
        min_length=1,
        description="With `merge`, a column that says of a row that it is no more: true, or not null.",
    )
    on_schema_change: OnSchemaChange = Field(
        default="stop",
        description="When columns or types are no longer those of the version landed before. `stop`: nothing is "
        "landed. `evolve`: columns are added and types widened, and the contract judges the outcome. "
        "`quarantine`: columns and types stay, and rows with values that do not fit are set aside.",
    )
    retries: int = Field(
        default=4, ge=0, le=20, description="How often to try again, after 1, 2, 4 … seconds."
    )

    @property
    def reads_on(self) -> bool:
        """Whether there is something by which new rows are told."""
        return False

    @property
    def landing_mode(self) -> LandingMode:
        """The mode that holds."""
        if self.mode is not None:
            return self.mode
        if not self.reads_on:
            return "replace"
        return "merge" if self.key else "append"

    def landing(self, order: str | None) -> Landing:
        """How rows come in; ``order`` names the column by which a row of a key is later."""
        return Landing(self.landing_mode, self.key, order, self.deleted, self.on_schema_change)

    def identity(self) -> str:
        """What decides which rows are read."""
        return self.model_dump_json(exclude=set(FETCHING))

    def faults(self) -> Iterable[Fault]:
        """What does not go together."""
        mode = self.landing_mode
        if mode == "merge" and not self.key:
            yield Fault("key", "is missing: rows are merged by it", "add key: [columns that identify a row]")
        if mode == "append" and not self.reads_on:
            yield Fault(
                "mode",
                "append adds all rows again each time, as nothing tells which are new",
                "add cursor, or leave mode out",
            )
        if mode == "replace" and self.key:
            yield Fault("key", "says nothing with mode replace", "remove it, or set mode: merge")
        if mode != "merge" and self.deleted:
            yield Fault("deleted", f"says nothing with mode {mode}", "remove it, or set mode: merge")


class CursorConfig(IncrementalConfig):
    """Of kinds that tell what is new by a column that only grows; they declare ``cursor`` and ``overlap``."""

    if TYPE_CHECKING:
        cursor: str | None
        overlap: int | str | None

    @field_validator("overlap", check_fields=False)
    @classmethod
    def _overlap(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 0:
            raise fault("is below zero", "write 0 or more")
        if isinstance(value, str):
            try:
                parse_duration(value)
            except RefreshRateError as error:
                raise fault(str(error), error.fix) from error
        return value

    @property
    def overlap_value(self) -> int | timedelta | None:
        """What to subtract from the cursor."""
        return parse_duration(self.overlap) if isinstance(self.overlap, str) else self.overlap

    @property
    def reads_on(self) -> bool:
        """By the cursor."""
        return self.cursor is not None
