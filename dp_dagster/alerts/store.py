"""Where alerts are kept: tables of their own in the database of the records.

What changes of an alert, what is to be told of it and the record of it are one transaction. Messages wait in the
database until a sender has delivered them, so that whoever is killed in between loses none.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import select

from dp_dagster.alerts.alert_tables import ALERTS, DELIVERIES, ITEMS, WATCHERS
from dp_dagster.alerts.kept import Glance, Happened, Outcome, Watcher, alert_of, content_of, watcher_of
from dp_dagster.alerts.machine import announce, fold, no_later_than
from dp_dagster.alerts.model import moment_text
from dp_dagster.alerts.outbox import Outbox
from dp_dagster.errors import UsageError
from dp_dagster.records import append_within
from dp_dagster.records_database import RecordsDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from dp_dagster.alerts.kept import Round
    from dp_dagster.alerts.machine import Change, Telling
    from dp_dagster.alerts.model import Alert, Item, Key, Observation
    from dp_dagster.records import Kind
    from dp_dagster.settings import Settings
    from dp_dagster.sla.store import Readings

_SKEW = timedelta(minutes=1)
# Alerts that are removed in one transaction.
_FORGOTTEN = 200


class AlertStore(Outbox):
    """The alerts of all products.

    Example:
        >>> store = AlertStore.of(Settings.load())
        >>> [alert.subject for alert in store.alerts(open_only=True)]
    """

    def __init__(self, url: str, *, lock_timeout: float = 60.0) -> None:
        """Open the database, and make the tables where they are not there yet.

        Raises:
            StoreError: the database cannot be reached.
        """
        super().__init__(RecordsDatabase.open(url, lock_timeout))

    @classmethod
    def of(cls, settings: Settings) -> AlertStore:
        """The store that the settings name, opened once in a process: opening costs as much as a look."""
        return _opened(settings.resolved_records_url, settings.lock_timeout)

    # -- watching ---------------------------------------------------------------------------------------

    def watchers(self, names: Collection[str] | None = None) -> dict[str, Watcher]:
        """Those who evaluate, by name: all, or those of the given names."""
        statement = WATCHERS.select()
        if names is not None:
            statement = statement.where(WATCHERS.c.name.in_(list(names)))
        with self._database.reading() as connection:
            return {row.name: watcher_of(row) for row in connection.execute(statement)}

    def glance(
        self,
        product: str,
        kinds: Collection[str],
        limit: int,
        now: datetime,
        readings: Readings | None = None,
    ) -> Glance:
        """What a look at a product needs, in one transaction whatever the history.

        Args:
            product: Id of the product, which is the watcher, too.
            kinds: Only records of these kinds.
            limit: At most so many records; the newest before the first look, else the oldest since the last.
            now: The time.
            readings: Of the objectives, in the same database; without them nothing is known of any.
        """
        if readings is not None:
            readings.opened()
        with self._database.reading() as connection:
            row = connection.execute(WATCHERS.select().where(WATCHERS.c.name == product)).first()
            watcher = Watcher(product) if row is None else watcher_of(row)
            of_product = ALERTS.select().where(ALERTS.c.product == product, ALERTS.c.recovered_at.is_(None))
            alerts = [alert_of(one.content) for one in connection.execute(of_product)]
            return Glance(
                watcher,
                self._happened(connection, product, watcher.cursor.get("record"), kinds, limit),
                self._failing(connection, product),
                [alert for alert in alerts if alert.watcher == product],
                {alert.condition for alert in alerts if alert.watcher != product},
                self._has_due(connection, product, now),
                readings.states_within(connection, [product]) if readings is not None else (),
            )

    def commit(
        self,
        done: Round,
        telling: Callable[[str], Telling],
        *,
        known: Collection[Alert] | None = None,
        alive_for: timedelta = timedelta(),
    ) -> Outcome:
        """Take what a round saw: change alerts, put them on record, and queue what is to be told.

        Args:
            done: The round.
            telling: When and where alerts of a product are told.
            known: The watcher's open alerts as they were read with it. Where nothing follows from the round, nothing
                is written then, and nobody has to wait for it.
            alive_for: For how long the last sign of life is good enough; afterwards there is another.

        Raises:
            StoreError: the database failed; nothing was changed.
        """
        if known is not None and _is_quiet(done, known, telling, alive_for):
            return Outcome(committed=True, quiet=True)
        name = done.watcher.name
        with self._database.writing() as connection:
            found = connection.execute(WATCHERS.select().where(WATCHERS.c.name == name)).first()
            if (watcher_of(found).round if found is not None else 0) != done.watcher.round:
                return Outcome(committed=False)
            before = self._open_alerts(connection, name)
            if _was_set_back(done):
                before = self._with_the_clock(connection, name, before, done.at)
            changes = _folded(done, before)
            after = {alert.id: alert for alert in before}
            for change in changes:
                after[change.alert.id] = change.alert
                self._save(connection, change.alert, insert=change.opened)
                self._put_on_record(connection, change)
            count = 0
            latest = {one.key: one for one in done.observations if one.bad}
            for told, items in _announced(after.values(), changes, telling, done.at):
                for alert in told:
                    self._save(connection, alert, insert=False)
                for item in items:
                    count += self._queue(connection, _as_seen_last(item, latest))
            self._sign_of_life(connection, done, is_first=found is None)
        return Outcome(
            committed=True,
            opened=tuple(change.alert for change in changes if change.opened),
            recovered=tuple(change.alert for change in changes if change.recovered),
            items=count,
        )

    def _with_the_clock(
        self, connection: Connection, watcher: str, alerts: Collection[Alert], now: datetime
    ) -> list[Alert]:
        """Bring to a clock that was set back what was written down when it was ahead, so that nothing waits for it."""
        self._wait_no_longer(connection, watcher, now)
        after = [no_later_than(alert, now) for alert in alerts]
        for alert in after:
            self._save(connection, alert, insert=False)
        return after

    def _sign_of_life(self, connection: Connection, done: Round, *, is_first: bool) -> None:
        values = {
            "round": done.watcher.round + 1,
            "seen_at": moment_text(done.at),
            "cursor": json.dumps(dict(done.cursor)),
            "routes": json.dumps(done.routes.to_json()),
        }
        if is_first:
            connection.execute(WATCHERS.insert().values(name=done.watcher.name, **values))
        else:
            connection.execute(WATCHERS.update().where(WATCHERS.c.name == done.watcher.name).values(**values))

    def _open_alerts(self, connection: Connection, watcher: str) -> list[Alert]:
        rows = connection.execute(
            ALERTS.select().where(ALERTS.c.watcher == watcher, ALERTS.c.recovered_at.is_(None))
        )
        return [alert_of(row.content) for row in rows]

    def _save(self, connection: Connection, alert: Alert, *, insert: bool) -> None:
        values = {
            "recovered_at": moment_text(alert.recovered_at) if alert.recovered_at else None,
            "content": content_of(alert),
        }
        if insert:
            connection.execute(
                ALERTS.insert().values(
                    id=alert.id,
                    watcher=alert.watcher,
                    product=alert.product,
                    subject=alert.subject,
                    family=alert.key[2],
                    opened_at=moment_text(alert.opened_at),
                    **values,
                )
            )
        else:
            connection.execute(ALERTS.update().where(ALERTS.c.id == alert.id).values(**values))

    def _put_on_record(self, connection: Connection, change: Change) -> None:
        kinds: tuple[tuple[bool, Kind], ...] = (
            (change.opened, "alert_opened"),
            (change.recovered, "alert_recovered"),
        )
        for happened, kind in kinds:
            if happened:
                alert = change.alert
                append_within(
                    self._database,
                    connection,
                    kind,
                    alert.product,
                    alert.subject,
                    f"sensor:{alert.watcher}_alerts",
                    alert.facts.get("run id", ""),
                    {
                        "alert": alert.id,
                        "condition": alert.condition,
                        "severity": alert.severity,
                        "reason": alert.reason,
                        "opened_at": moment_text(alert.opened_at),
                    },
                )

    # -- people -----------------------------------------------------------------------------------------

    def alerts(
        self, product: str | None = None, *, open_only: bool = False, limit: int | None = None
    ) -> list[Alert]:
        """Alerts, the newest first."""
        statement = ALERTS.select().order_by(ALERTS.c.opened_at.desc(), ALERTS.c.id).limit(limit)
        if product is not None:
            statement = statement.where(ALERTS.c.product == product)
        if open_only:
            statement = statement.where(ALERTS.c.recovered_at.is_(None))
        with self._database.reading() as connection:
            return [alert_of(row.content) for row in connection.execute(statement)]

    def acknowledge(self, name: str, who: str, now: datetime) -> Alert:
        """Take an alert on: no reminder and no escalation follows. Its end is told as ever.

        Args:
            name: Its id, or the beginning of it.
            who: Who takes it on.
            now: The time.

        Raises:
            UsageError: there is no such alert, or it is over; says which are open.
        """
        with self._database.writing() as connection:
            rows = connection.execute(ALERTS.select().where(ALERTS.c.id.startswith(name, autoescape=True)))
            found = [alert_of(row.content) for row in rows] if name else []
            if len(found) != 1 or not found[0].is_open:
                listed = connection.execute(ALERTS.select().where(ALERTS.c.recovered_at.is_(None)).limit(20))
                known = ", ".join(row.id for row in listed) or "none"
                what = "is over" if len(found) == 1 else f"names {len(found) or 'no'} alerts"
                raise UsageError(f"{name or 'an empty text'} {what}; open are {known}")
            alert = found[0]
            if alert.acknowledged_at is not None:
                return alert
            alert = alert.changed(acknowledged_at=now, acknowledged_by=who)
            self._save(connection, alert, insert=False)
            append_within(
                self._database,
                connection,
                "alert_acknowledged",
                alert.product,
                alert.subject,
                who,
                "",
                {"alert": alert.id, "condition": alert.condition},
            )
            return alert

    def forget(self, watcher: str, before: datetime) -> int:
        """Remove alerts of a watcher that were over before a time, with their messages; gives how many.

        That there were any stays on record. What waits to be told is never removed.
        """
        over = select(ALERTS.c.id).where(
            ALERTS.c.watcher == watcher,
            ALERTS.c.recovered_at < moment_text(before),
            ~ALERTS.c.id.in_(select(ITEMS.c.alert).where(ITEMS.c.delivery.is_(None))),
        )
        with self._database.writing() as connection:
            gone = [
                row.id for row in connection.execute(over.order_by(ALERTS.c.recovered_at).limit(_FORGOTTEN))
            ]
            told = ITEMS.c.alert.in_(gone)
            names = {row.delivery for row in connection.execute(select(ITEMS.c.delivery).where(told))}
            connection.execute(ITEMS.delete().where(told))
            # A message may tell of others, too, that are not over.
            needed = select(ITEMS.c.delivery).where(ITEMS.c.delivery.in_(names))
            settled = DELIVERIES.c.id.in_(names) & (DELIVERIES.c.state != "pending")
            connection.execute(DELIVERIES.delete().where(settled, ~DELIVERIES.c.id.in_(needed)))
            connection.execute(ALERTS.delete().where(ALERTS.c.id.in_(gone)))
        return len(gone)

    # -- records ----------------------------------------------------------------------------------------

    def happened(self, product: str, after: int | None, kinds: Collection[str], limit: int) -> list[Happened]:
        """What was put on record of a product, the oldest first.

        Args:
            product: Id of the product.
            after: Only records after this one; ``None`` for the newest ``limit``.
            kinds: Only of these kinds.
            limit: At most so many.
        """
        with self._database.reading() as connection:
            return self._happened(connection, product, after, kinds, limit)

    def _happened(
        self, connection: Connection, product: str, after: int | None, kinds: Collection[str], limit: int
    ) -> list[Happened]:
        table = self._database.records
        statement = select(
            table.c.id, table.c["at"], table.c.kind, table.c.subject, table.c.run_id, table.c.payload
        )
        statement = statement.where(table.c.product == product, table.c.kind.in_(list(kinds))).limit(limit)
        if after is None:
            statement = statement.order_by(table.c.id.desc())
        else:
            statement = statement.where(table.c.id > after).order_by(table.c.id)
        rows = connection.execute(statement).all()
        found = [
            Happened(
                row.id,
                datetime.fromisoformat(row.at),
                row.kind,
                row.subject,
                row.run_id,
                json.loads(row.payload),
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: one.id)


@lru_cache(maxsize=8)
def _opened(url: str, lock_timeout: float) -> AlertStore:
    return AlertStore(url, lock_timeout=lock_timeout)


def _as_seen_last(item: Item, latest: Mapping[Key, Observation]) -> Item:
    """What is told again of a state says how that is now, and not how it was when it began."""
    seen = latest.get(item.alert.key)
    if item.kind == "recovered" or seen is None or seen.is_event or seen.condition != item.alert.condition:
        return item
    return replace(item, alert=item.alert.changed(reason=seen.reason, facts=dict(seen.facts)))


def _was_set_back(done: Round) -> bool:
    """Whether the clock is earlier than at the last look, by more than clocks of two machines differ."""
    return done.watcher.seen_at is not None and done.watcher.seen_at - done.at > _SKEW


def _folded(done: Round, open_alerts: Collection[Alert]) -> list[Change]:
    return fold(
        done.watcher.name,
        open_alerts,
        done.observations,
        now=done.at,
        new_id=lambda: uuid.uuid4().hex[:12],
        covered=done.covered,
        unknown=done.unknown,
    )


def _announced(
    alerts: Collection[Alert], changes: Sequence[Change], telling: Callable[[str], Telling], now: datetime
) -> Iterator[tuple[list[Alert], list[Item]]]:
    """By product: the alerts that are told of now, and what is to be told."""
    for product in dict.fromkeys(alert.product for alert in alerts):
        yield announce(
            [alert for alert in alerts if alert.is_open and alert.product == product],
            [change for change in changes if change.alert.product == product],
            telling(product),
            now,
        )


def _is_quiet(
    done: Round, open_alerts: Collection[Alert], telling: Callable[[str], Telling], alive_for: timedelta
) -> bool:
    """Whether nothing follows from a round that somebody would have to know."""
    watcher = done.watcher
    if watcher.seen_at is None or not timedelta() <= done.at - watcher.seen_at < alive_for:
        return False
    if dict(watcher.cursor) != dict(done.cursor) or watcher.routes != done.routes:
        return False
    if _folded(done, open_alerts):
        return False
    return not any(told or items for told, items in _announced(open_alerts, [], telling, done.at))
