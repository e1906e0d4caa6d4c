"""Messages that wait in the database until a sender has delivered them.

A sender takes one for a time, and another takes it up when that time has passed without an answer. A message can
therefore arrive twice, and carries an id by which that shows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, or_, select

from dp_dagster.alerts.alert_tables import DELIVERIES, ITEMS, TABLES
from dp_dagster.alerts.kept import Delivery, Told, alert_of, content_of, delivery_of
from dp_dagster.alerts.model import moment_text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from dp_dagster.alerts.model import Item
    from dp_dagster.records_database import RecordsDatabase

LEASE = timedelta(minutes=2)
"""How long a sender may take for one message before another takes it up."""
LONGEST_PAUSE = timedelta(hours=1)
REPORTED_AFTER = 3
"""A channel that failed so often for one message is told on the others."""
GIVEN_UP_AFTER = timedelta(days=7)

PENDING, DELIVERED, GIVEN_UP, REPLACED = "pending", "delivered", "given up", "replaced"
"""States of a message; ``replaced`` is one that never arrived and whose end is told by another."""


class Outbox:
    """The messages of all products."""

    def __init__(self, database: RecordsDatabase) -> None:
        """Make the tables where they are not there yet.

        Raises:
            StoreError: the database cannot be reached.
        """
        self._database = database
        self._database.make(TABLES)

    def _queue(self, connection: Connection, item: Item) -> int:
        key = {
            "alert": item.alert.id,
            "kind": item.kind,
            "owner": item.address.owner,
            "channel": item.address.channel,
            "number": item.number,
        }
        conditions = [ITEMS.c[name] == value for name, value in key.items()]
        if connection.execute(select(ITEMS.c.alert).where(*conditions)).first() is not None:
            return 0
        connection.execute(
            ITEMS.insert().values(
                **key,
                product=item.alert.product,
                due_at=moment_text(item.due_at),
                content=content_of(item.alert),
            )
        )
        return 1

    def claim(
        self,
        owner: str,
        channels: Collection[str],
        now: datetime,
        compose: Callable[[str, Sequence[Told]], tuple[str, str, str]],
        apart: Collection[str] = (),
    ) -> Delivery | None:
        """Take one message that is due; ``None`` if there is none.

        What waits for the same channel and product goes into one message, once the first of it is due.

        Args:
            owner: Whose channels.
            channels: Those that can be sent by from here.
            now: The time.
            compose: Makes title, body and severity of what is told of a product.
            apart: Channels at which each alert is a message of its own.
        """
        if not channels:
            return None
        with self._database.reading() as connection:
            if not self._has_due(connection, owner, now):
                return None
        with self._database.writing() as connection:
            self._gather(connection, owner, channels, now, compose, apart)
            row = connection.execute(
                DELIVERIES.select()
                .where(
                    DELIVERIES.c.owner == owner,
                    DELIVERIES.c.channel.in_(list(channels)),
                    DELIVERIES.c.state == PENDING,
                    DELIVERIES.c.next_at <= moment_text(now),
                    func.coalesce(DELIVERIES.c.claimed_until, "") < moment_text(now),
                )
                .order_by(DELIVERIES.c.next_at)
                .limit(1)
            ).first()
            if row is None:
                return None
            connection.execute(
                DELIVERIES.update()
                .where(DELIVERIES.c.id == row.id)
                .values(claimed_until=moment_text(now + LEASE), attempts=row.attempts + 1)
            )
            return delivery_of(row, attempts=row.attempts + 1)

    def settle(self, delivery: Delivery, error: str, now: datetime, pause: timedelta) -> None:
        """Say what became of a message that was claimed.

        Args:
            delivery: The message.
            error: Why it could not be delivered; empty when it was.
            now: The time.
            pause: Before the second attempt; doubled for each further one.
        """
        if not error:
            values: dict[str, Any] = {"state": DELIVERED, "settled_at": moment_text(now), "error": ""}
        elif now - delivery.created_at > GIVEN_UP_AFTER:
            values = {"state": GIVEN_UP, "settled_at": moment_text(now), "error": error}
        else:
            wait = min(pause * 2 ** min(delivery.attempts - 1, 20), LONGEST_PAUSE)
            values = {"next_at": moment_text(now + wait), "error": error}
        with self._database.writing() as connection:
            connection.execute(
                DELIVERIES.update().where(DELIVERIES.c.id == delivery.id).values(claimed_until=None, **values)
            )
            if not error:
                # The channel takes messages again: what it refused before need not wait.
                connection.execute(
                    DELIVERIES.update()
                    .where(
                        DELIVERIES.c.owner == delivery.owner,
                        DELIVERIES.c.channel == delivery.channel,
                        DELIVERIES.c.state == PENDING,
                        DELIVERIES.c.error != "",
                    )
                    .values(next_at=moment_text(now))
                )

    def _wait_no_longer(self, connection: Connection, owner: str, now: datetime) -> None:
        """The clock was set back: what waits for a time that it showed before is due now."""
        moment = moment_text(now)
        connection.execute(
            ITEMS.update()
            .where(ITEMS.c.owner == owner, ITEMS.c.delivery.is_(None), ITEMS.c.due_at > moment)
            .values(due_at=moment)
        )
        connection.execute(
            DELIVERIES.update()
            .where(DELIVERIES.c.owner == owner, DELIVERIES.c.state == PENDING, DELIVERIES.c.next_at > moment)
            .values(next_at=moment, claimed_until=None)
        )

    def failing_channels(self, owner: str) -> dict[str, Delivery]:
        """Channels of an owner that failed too often, each with a message that waits for it."""
        with self._database.reading() as connection:
            return self._failing(connection, owner)

    def _failing(self, connection: Connection, owner: str) -> dict[str, Delivery]:
        others = DELIVERIES.alias()
        arrived = (
            select(func.max(others.c.settled_at))
            .where(
                others.c.owner == DELIVERIES.c.owner,
                others.c.channel == DELIVERIES.c.channel,
                others.c.state == DELIVERED,
            )
            .scalar_subquery()
        )
        refused = and_(
            DELIVERIES.c.state == PENDING, DELIVERIES.c.attempts >= REPORTED_AFTER, DELIVERIES.c.error != ""
        )
        # That a message was given up mends no channel; only one that arrived later shows that it works.
        given_up = and_(DELIVERIES.c.state == GIVEN_UP, DELIVERIES.c.settled_at > func.coalesce(arrived, ""))
        rows = connection.execute(
            DELIVERIES.select()
            .where(DELIVERIES.c.owner == owner, or_(refused, given_up))
            .order_by(DELIVERIES.c.created_at.desc())
            .limit(100)
        )
        return {row.channel: delivery_of(row) for row in rows}

    def _has_due(self, connection: Connection, owner: str, now: datetime) -> bool:
        """Looked at without a lock first: nearly always there is nothing."""
        moment = moment_text(now)
        waiting = select(ITEMS.c.alert).where(
            ITEMS.c.owner == owner, ITEMS.c.delivery.is_(None), ITEMS.c.due_at <= moment
        )
        pending = select(DELIVERIES.c.id).where(
            DELIVERIES.c.owner == owner, DELIVERIES.c.state == PENDING, DELIVERIES.c.next_at <= moment
        )
        return bool(connection.execute(select(exists(waiting) | exists(pending))).scalar())

    def _gather(  # noqa: PLR0917 what a claim knows, in its order
        self,
        connection: Connection,
        owner: str,
        channels: Collection[str],
        now: datetime,
        compose: Callable[[str, Sequence[Told]], tuple[str, str, str]],
        apart: Collection[str],
    ) -> None:
        rows = connection.execute(
            ITEMS.select()
            .where(
                ITEMS.c.owner == owner,
                ITEMS.c.channel.in_(list(channels)),
                ITEMS.c.delivery.is_(None),
            )
            .order_by(ITEMS.c.due_at, ITEMS.c.alert, ITEMS.c.kind)
        ).all()
        groups: dict[tuple[str, str, str], list[Row[Any]]] = {}
        for row in rows:
            incident = row.alert if row.channel in apart else ""
            groups.setdefault((row.channel, row.product, incident), []).append(row)
        for (channel, product, incident), members in groups.items():
            if members[0].due_at > moment_text(now):
                continue
            is_over = bool(incident) and any(row.kind == "recovered" for row in members)
            if is_over and not self._replace(connection, owner, channel, incident, now):
                continue
            told = sorted(
                (Told(row.kind, alert_of(row.content)) for row in members),
                key=lambda one: (one.alert.opened_at, one.alert.condition, one.alert.id),
            )
            title, body, severity = compose(product, told)
            if is_over:
                severity = "recovered"  # Whatever else is told of it: nobody need come.
            content = {"title": title, "severity": severity, "incident": incident}
            name = self._deliver(connection, owner, channel, product, now, body, content)
            for row in members:
                connection.execute(
                    ITEMS.update()
                    .where(*(ITEMS.c[part.name] == getattr(row, part.name) for part in ITEMS.primary_key))
                    .values(delivery=name)
                )

    def _replace(
        self, connection: Connection, owner: str, channel: str, incident: str, now: datetime
    ) -> bool:
        """Take back what never arrived of an incident that is over: arriving later, it would open it again.

        Returns:
            Whether that is done; not while it is being sent.
        """
        rows = connection.execute(
            DELIVERIES.select().where(
                DELIVERIES.c.owner == owner, DELIVERIES.c.channel == channel, DELIVERIES.c.state == PENDING
            )
        ).all()
        before = [row for row in rows if delivery_of(row).incident == incident]
        if any(row.claimed_until is not None and row.claimed_until > moment_text(now) for row in before):
            return False
        connection.execute(
            DELIVERIES.update()
            .where(DELIVERIES.c.id.in_([row.id for row in before]))
            .values(state=REPLACED, settled_at=moment_text(now))
        )
        return True

    def _deliver(  # noqa: PLR0917 the columns of a message, in their order
        self,
        connection: Connection,
        owner: str,
        channel: str,
        product: str,
        now: datetime,
        body: str,
        content: dict[str, str],
    ) -> str:
        name = uuid.uuid4().hex[:16]
        connection.execute(
            DELIVERIES.insert().values(
                id=name,
                owner=owner,
                channel=channel,
                product=product,
                created_at=moment_text(now),
                state=PENDING,
                attempts=0,
                next_at=moment_text(now),
                error="",
                content=json.dumps({**content, "body": f"{body}\n\nMessage {name}\n"}),
            )
        )
        return name

    def deliveries(self, alert: str | None = None, *, state: str | None = None) -> list[Delivery]:
        """Messages, the newest first: of an alert, or in a state."""
        statement = DELIVERIES.select().order_by(DELIVERIES.c.created_at.desc()).limit(1000)
        if alert is not None:
            statement = statement.where(
                DELIVERIES.c.id.in_(select(ITEMS.c.delivery).where(ITEMS.c.alert == alert))
            )
        if state is not None:
            statement = statement.where(DELIVERIES.c.state == state)
        with self._database.reading() as connection:
            return [delivery_of(row) for row in connection.execute(statement)]
