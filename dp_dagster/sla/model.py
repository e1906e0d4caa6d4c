"""A reading of an objective, the budget that it leaves, and the state that follows from readings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args

from dp_dagster.sla.words import amount, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.resolve import ResolvedProduct

State = Literal["met", "warning", "breached", "pending", "not_evaluated"]
STATES: tuple[State, ...] = get_args(State)
Unit = Literal["share", "seconds", "rows", ""]


@dataclass(frozen=True)
class Budget:
    """What an objective leaves: how much of its window may be bad, and what of that is left.

    Attributes:
        total: ``99.9%`` over 30 days leaves 43.2 minutes.
        spent: How much of it went; may be more than there was.
        burn_rate: How many times faster than the budget allows it is being spent now; 1 uses it up exactly at the
            end of the window. ``None`` where nothing was seen lately.
    """

    total: timedelta
    spent: timedelta
    burn_rate: float | None = None

    @property
    def left(self) -> float:
        """Share that is left: 1 is all of it, below 0 it is overspent."""
        if not self.total:
            return 1.0 if not self.spent else -1.0
        return 1 - self.spent / self.total


@dataclass(frozen=True)
class Reading:
    """One evaluation of one objective.

    Attributes:
        product: Id of the product.
        port: The output port's label, ``vw_flights`` or ``vw_flights@1``.
        objective: Its id.
        state: ``pending`` is not yet due; ``not_evaluated`` could not be measured, and ``reason`` says why.
        at: When it was evaluated, UTC.
        reason: One sentence for people.
        promise: What was promised, as declared.
        value: What was measured, in ``unit``; ``None`` where nothing was.
        target: What it was measured against, in ``unit``.
        unit: Of both.
        onset: Since when it has been so, where that is known better than by asking again and again: the deadline
            that passed, say.
        budget: Where the objective has one.
        partition: Key of the partition that it is about; ``None`` where it is about the port as a whole.
    """

    product: str
    port: str
    objective: str
    state: State
    at: datetime
    reason: str
    promise: str = ""
    value: float | None = None
    target: float | None = None
    unit: Unit = ""
    onset: datetime | None = None
    budget: Budget | None = None
    partition: str | None = None

    @property
    def key(self) -> ObjectiveKey:
        """Product, port and objective."""
        return (self.product, self.port, self.objective)


ObjectiveKey = tuple[str, str, str]
"""Product, label of the port, id of the objective."""


@dataclass(frozen=True)
class ObjectiveState:
    """Where an objective stands: its last reading, and since when it has been so.

    Attributes:
        since: Since when it is in this state; a breach counts from its onset, also where it was noticed later.
        previous: The state before; ``None`` for the first.
        at: Last evaluation. One that lies long ago means that nobody evaluates any more.
        first_at: First evaluation ever.
        budget_seconds: The whole budget.
        budget_left: Share of it that is left.
        partition: Key of the partition that the last reading is about; ``None`` where it is about the port as a whole.
    """

    product: str
    port: str
    objective: str
    state: State
    since: datetime
    previous: State | None
    at: datetime
    first_at: datetime
    promise: str
    reason: str
    value: float | None
    target: float | None
    unit: Unit
    budget_seconds: float | None = None
    budget_left: float | None = None
    burn_rate: float | None = None
    partition: str | None = None

    @property
    def key(self) -> ObjectiveKey:
        """Product, port and objective."""
        return (self.product, self.port, self.objective)

    @property
    def reading_text(self) -> str:
        """What was measured, for people; empty where nothing was."""
        return amount(self.value, self.unit)

    @property
    def target_text(self) -> str:
        """What it was measured against, for people."""
        return amount(self.target, self.unit)

    @property
    def budget_text(self) -> str:
        """``31.2 of 43.2 min left``; empty without a budget."""
        if self.budget_seconds is None or self.budget_left is None:
            return ""
        total = timedelta(seconds=self.budget_seconds)
        if not total:
            return "none" if self.budget_left > 0 else "none, and something failed"
        left = total * abs(self.budget_left)
        if self.budget_left < 0:
            return f"overspent by {span(left)} of {span(total)}"
        return f"{span(left)} of {span(total)} left"


def declared_keys(product: ResolvedProduct) -> dict[ObjectiveKey, str]:
    """The objectives that a product's ports declare now, with their promises."""
    return {
        (product.id, port.label, objective.id): objective.promise
        for port in product.ports
        for objective in port.objectives
    }
