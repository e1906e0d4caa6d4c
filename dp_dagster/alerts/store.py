"""Where alerts are kept: tables of their own in the database of the records.

What changes of an alert, what is to be told of it and the record of it are one transaction. Messages wait in the
database until a sender has delivered them (an outbox), so that whoever is killed in between loses none; a sender
takes one for a time, and another takes it up when that time has passed without an answer. A message can therefore
arrive twice, and carries an id by which that shows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text, func, select, text

from dp_dagster.alerts.machine import announce, fold
from dp_dagster.alerts.model import Alert, moment_text
from dp_dagster.alerts.routing import Routes
from dp_dagster.errors import UsageError
from dp_dagster.records import append_within
from dp_dagster.records_database import RecordsDatabase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from dp_dagster.alerts.machine import Change, Telling
    from dp_dagster.alerts.model import Item, Key, Observation
    from dp_dagster.records import Kind
    from dp_dagster.settings import Settings

LEASE = timedelta(minutes=2)
"""How long a sender may take for one message before another takes it up."""
LONGEST_PAUSE = timedelta(hours=1)
REPORTED_AFTER = 3
"""A channel that failed so often for one message is told on the others."""
GIVEN_UP_AFTER = timedelta(days=7)

_tables = MetaData()
_alerts = Table(
    "dp_alerts",
    _tables,
    Column("id", String(40), primary_key=True),
    Column("watcher", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("family", String(40), nullable=False),
    Column("recovered_at", String(40)),
    Column("opened_at", String(40), nullable=False),
    Column("content", Text, nullable=False),
)
_open = text("recovered_at is null")
Index(
    "dp_alerts_open",
    _alerts.c.product,
    _alerts.c.subject,
    _alerts.c.family,
    unique=True,
    sqlite_where=_open,
    postgresql_where=_open,
)
Index("dp_alerts_watched", _alerts.c.watcher, sqlite_where=_open, postgresql_where=_open)
Index("dp_alerts_opened_at", _alerts.c.opened_at)
_items = Table(
    "dp_alert_items",
    _tables,
    Column("alert", String(40), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("owner", String(80), primary_key=True),
    Column("channel", String(160), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("product", Text, nullable=False),
    Column("due_at", String(40), nullable=False),
    Column("content", Text, nullable=False),
    Column("delivery", String(40)),
)
_waiting = text("delivery is null")
Index("dp_alert_items_waiting", _items.c.owner, sqlite_where=_waiting, postgresql_where=_waiting)
_deliveries = Table(
    "dp_alert_deliveries",
    _tables,
    Column("id", String(40), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("channel", String(160), nullable=False),
    Column("product", Text, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", String(40), nullable=False),
    Column("claimed_until", String(40)),
    Column("error", Text, nullable=False),
    Column("settled_at", String(40)),
    Column("content", Text, nullable=False),
)
_pending = text("state = 'pending'")
Index("dp_alert_deliveries_pending", _deliveries.c.owner, sqlite_where=_pending, postgresql_where=_pending)
_watchers = Table(
    "dp_alert_watchers",
    _tables,
    Column("name", String(80), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("seen_at", String(40), nullable=False),
    Column("cursor", Text, nullable=False),
    Column("routes", Text, nullable=False),
)

_MOMENTS = (
    "opened_at", "last_at", "told_at", "reminded_at", "escalated_at", "acknowledged_at", "recovered_at",
)  # fmt: skip


@dataclass(frozen=True)
class Watcher:
    """Somebody who evaluates: when that was last, and where it goes on.

    Attributes:
        name: Id of the product, or of the platform.
        round: How many evaluations there have been; two at once do not both count.
        seen_at: When the last one was; ``None`` before the first.
        cursor: Where the next one goes on reading.
        routes: Where messages to it go.
    """

    name: str
    round: int = 0
    seen_at: datetime | None = None
    cursor: Mapping[str, Any] = field(default_factory=dict)
    routes: Routes = field(default_factory=Routes)


@dataclass(frozen=True)
class Round:
    """One evaluation, to be committed.

    Attributes:
        watcher: As it was read before evaluating.
        at: When.
        observations: What was seen, in order of time.
        covered: Families of which everything that is wrong was seen.
        unknown: Keys of which nothing is known.
        cursor: Where the next evaluation goes on.
        routes: Where messages to the watcher go.
    """

    watcher: Watcher
    at: datetime
    observations: Sequence[Observation]
    covered: Collection[str]
    unknown: Collection[Key]
    cursor: Mapping[str, Any]
    routes: Routes


@dataclass(frozen=True)
class Told:
    """One thing in a message: what became of an alert."""

    kind: str
    alert: Alert


@dataclass(frozen=True)
class Delivery:
    """A message on its way, and what became of it so far."""

    id: str
    owner: str
    channel: str
    product: str
    created_at: datetime
    state: str
    attempts: int
    next_at: datetime
    error: str
    title: str
    body: str
    severity: str


@dataclass(frozen=True)
class Outcome:
    """What a round came to. ``committed`` is false where somebody else was quicker; nothing is lost then."""

    committed: bool
    opened: tuple[Alert, ...] = ()
    recovered: tuple[Alert, ...] = ()
    items: int = 0


class AlertStore:
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
        self._database = RecordsDatabase.open(url, lock_timeout)
        self._database.make(_tables)

    @classmethod
    def of(cls, settings: Settings) -> AlertStore:
        """The store that the settings name, opened once in a process: opening costs as much as a look."""
        return _opened(settings.resolved_records_url, settings.lock_timeout)

    # -- watching ---------------------------------------------------------------------------------------

    def watchers(self, names: Collection[str] | None = None) -> dict[str, Watcher]:
        """Those who evaluate, by name: all, or those of the given names."""
        statement = _watchers.select()
        if names is not None:
            statement = statement.where(_watchers.c.name.in_(list(names)))
        with self._database.reading() as connection:
            return {row.name: _watcher(row) for row in connection.execute(statement)}

    def commit(self, done: Round, telling: Callable[[str], Telling]) -> Outcome:
        """Take what a round saw: change alerts, put them on record, and queue what is to be told.

        Args:
            done: The round.
            telling: When and where alerts of a product are told.

        Raises:
            StoreError: the database failed; nothing was changed.
        """
        name = done.watcher.name
        with self._database.writing() as connection:
            found = connection.execute(_watchers.select().where(_watchers.c.name == name)).first()
            if (_watcher(found).round if found is not None else 0) != done.watcher.round:
                return Outcome(committed=False)
            before = self._open_alerts(connection, name)
            changes = fold(
                name,
                before,
                done.observations,
                now=done.at,
                new_id=lambda: uuid.uuid4().hex[:12],
                covered=done.covered,
                unknown=done.unknown,
            )
            after = {alert.id: alert for alert in before}
            for change in changes:
                after[change.alert.id] = change.alert
                self._save(connection, change.alert, insert=change.opened)
                self._put_on_record(connection, change)
            items = self._announce(connection, after, changes, telling, done.at)
            self._sign_of_life(connection, done, is_first=found is None)
        return Outcome(
            committed=True,
            opened=tuple(change.alert for change in changes if change.opened),
            recovered=tuple(change.alert for change in changes if change.recovered),
            items=items,
        )

    def _announce(
        self,
        connection: Connection,
        alerts: Mapping[str, Alert],
        changes: Iterable[Change],
        telling: Callable[[str], Telling],
        now: datetime,
    ) -> int:
        count = 0
        changes = list(changes)
        for product in dict.fromkeys(alert.product for alert in alerts.values()):
            told, items = announce(
                [alert for alert in alerts.values() if alert.is_open and alert.product == product],
                [change for change in changes if change.alert.product == product],
                telling(product),
                now,
            )
            for alert in told:
                self._save(connection, alert, insert=False)
            for item in items:
                count += self._queue(connection, item)
        return count

    def _sign_of_life(self, connection: Connection, done: Round, *, is_first: bool) -> None:
        values = {
            "round": done.watcher.round + 1,
            "seen_at": moment_text(done.at),
            "cursor": json.dumps(dict(done.cursor)),
            "routes": json.dumps(done.routes.to_json()),
        }
        if is_first:
            connection.execute(_watchers.insert().values(name=done.watcher.name, **values))
        else:
            connection.execute(
                _watchers.update().where(_watchers.c.name == done.watcher.name).values(**values)
            )

    def _open_alerts(self, connection: Connection, watcher: str) -> list[Alert]:
        rows = connection.execute(
            _alerts.select().where(_alerts.c.watcher == watcher, _alerts.c.recovered_at.is_(None))
        )
        return [_alert(row.content) for row in rows]

    def _save(self, connection: Connection, alert: Alert, *, insert: bool) -> None:
        values = {
            "recovered_at": moment_text(alert.recovered_at) if alert.recovered_at else None,
            "content": _content(alert),
        }
        if insert:
            connection.execute(
                _alerts.insert().values(
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
            connection.execute(_alerts.update().where(_alerts.c.id == alert.id).values(**values))

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

    # -- telling ----------------------------------------------------------------------------------------

    def _queue(self, connection: Connection, item: Item) -> int:
        key = {
            "alert": item.alert.id,
            "kind": item.kind,
            "owner": item.address.owner,
            "channel": item.address.channel,
            "number": item.number,
        }
        conditions = [_items.c[name] == value for name, value in key.items()]
        if connection.execute(select(_items.c.alert).where(*conditions)).first() is not None:
            return 0
        connection.execute(
            _items.insert().values(
                **key,
                product=item.alert.product,
                due_at=moment_text(item.due_at),
                content=_content(item.alert),
            )
        )
        return 1

    def claim(
        self,
        owner: str,
        channels: Collection[str],
        now: datetime,
        compose: Callable[[str, Sequence[Told]], tuple[str, str, str]],
    ) -> Delivery | None:
        """Take one message that is due; ``None`` if there is none.

        What waits for the same channel and product goes into one message, once the first of it is due.

        Args:
            owner: Whose channels.
            channels: Those that can be sent by from here.
            now: The time.
            compose: Makes title, body and severity of what is told of a product.
        """
        if not channels or not self._has_due(owner, now):
            return None
        with self._database.writing() as connection:
            self._gather(connection, owner, channels, now, compose)
            row = connection.execute(
                _deliveries.select()
                .where(
                    _deliveries.c.owner == owner,
                    _deliveries.c.channel.in_(list(channels)),
                    _deliveries.c.state == "pending",
                    _deliveries.c.next_at <= moment_text(now),
                    func.coalesce(_deliveries.c.claimed_until, "") < moment_text(now),
                )
                .order_by(_deliveries.c.next_at)
                .limit(1)
            ).first()
            if row is None:
                return None
            connection.execute(
                _deliveries.update()
                .where(_deliveries.c.id == row.id)
                .values(claimed_until=moment_text(now + LEASE), attempts=row.attempts + 1)
            )
            return _delivery(row, attempts=row.attempts + 1)

    def settle(self, delivery: Delivery, error: str, now: datetime, pause: timedelta) -> None:
        """Say what became of a message that was claimed.

        Args:
            delivery: The message.
            error: Why it could not be delivered; empty when it was.
            now: The time.
            pause: Before the second attempt; doubled for each further one.
        """
        if not error:
            values: dict[str, Any] = {"state": "delivered", "settled_at": moment_text(now), "error": ""}
        elif now - delivery.created_at > GIVEN_UP_AFTER:
            values = {"state": "given up", "settled_at": moment_text(now), "error": error}
        else:
            wait = min(pause * 2 ** min(delivery.attempts - 1, 20), LONGEST_PAUSE)
            values = {"next_at": moment_text(now + wait), "error": error}
        with self._database.writing() as connection:
            connection.execute(
                _deliveries.update()
                .where(_deliveries.c.id == delivery.id)
                .values(claimed_until=None, **values)
            )

    def failing_channels(self, owner: str) -> dict[str, Delivery]:
        """Channels of an owner that failed too often, each with a message that waits for it."""
        with self._database.reading() as connection:
            rows = connection.execute(
                _deliveries.select()
                .where(
                    _deliveries.c.owner == owner,
                    _deliveries.c.state == "pending",
                    _deliveries.c.attempts >= REPORTED_AFTER,
                    _deliveries.c.error != "",
                )
                .order_by(_deliveries.c.created_at.desc())
                .limit(100)
            )
            return {row.channel: _delivery(row) for row in rows}

    def _has_due(self, owner: str, now: datetime) -> bool:
        """Looked at without a lock first: nearly always there is nothing."""
        moment = moment_text(now)
        with self._database.reading() as connection:
            waiting = select(_items.c.alert).where(
                _items.c.owner == owner, _items.c.delivery.is_(None), _items.c.due_at <= moment
            )
            pending = select(_deliveries.c.id).where(
                _deliveries.c.owner == owner,
                _deliveries.c.state == "pending",
                _deliveries.c.next_at <= moment,
            )
            return any(connection.execute(one.limit(1)).first() is not None for one in (waiting, pending))

    def _gather(
        self,
        connection: Connection,
        owner: str,
        channels: Collection[str],
        now: datetime,
        compose: Callable[[str, Sequence[Told]], tuple[str, str, str]],
    ) -> None:
        rows = connection.execute(
            _items.select()
            .where(
                _items.c.owner == owner,
                _items.c.channel.in_(list(channels)),
                _items.c.delivery.is_(None),
            )
            .order_by(_items.c.due_at, _items.c.alert, _items.c.kind)
        ).all()
        groups: dict[tuple[str, str], list[Row[Any]]] = {}
        for row in rows:
            groups.setdefault((row.channel, row.product), []).append(row)
        for (channel, product), members in groups.items():
            if members[0].due_at > moment_text(now):
                continue
            told = [Told(row.kind, _alert(row.content)) for row in members]
            title, body, severity = compose(product, told)
            name = self._deliver(connection, owner, channel, product, title, body, severity, now)
            for row in members:
                connection.execute(
                    _items.update()
                    .where(*(_items.c[part.name] == getattr(row, part.name) for part in _items.primary_key))
                    .values(delivery=name)
                )

    def _deliver(  # noqa: PLR0917 the columns of a message, in their order
        self,
        connection: Connection,
        owner: str,
        channel: str,
        product: str,
        title: str,
        body: str,
        severity: str,
        now: datetime,
    ) -> str:
        name = uuid.uuid4().hex[:16]
        connection.execute(
            _deliveries.insert().values(
                id=name,
                owner=owner,
                channel=channel,
                product=product,
                created_at=moment_text(now),
                state="pending",
                attempts=0,
                next_at=moment_text(now),
                error="",
                content=json.dumps(
                    {"title": title, "body": f"{body}\n\nMessage {name}\n", "severity": severity}
                ),
            )
        )
        return name

    # -- people -----------------------------------------------------------------------------------------

    def alerts(
        self, product: str | None = None, *, open_only: bool = False, limit: int | None = None
    ) -> list[Alert]:
        """Alerts, the newest first."""
        statement = _alerts.select().order_by(_alerts.c.opened_at.desc(), _alerts.c.id).limit(limit)
        if product is not None:
            statement = statement.where(_alerts.c.product == product)
        if open_only:
            statement = statement.where(_alerts.c.recovered_at.is_(None))
        with self._database.reading() as connection:
            return [_alert(row.content) for row in connection.execute(statement)]

    def deliveries(self, alert: str | None = None, *, state: str | None = None) -> list[Delivery]:
        """Messages, the newest first: of an alert, or in a state."""
        statement = _deliveries.select().order_by(_deliveries.c.created_at.desc()).limit(1000)
        if alert is not None:
            statement = statement.where(
                _deliveries.c.id.in_(select(_items.c.delivery).where(_items.c.alert == alert))
            )
        if state is not None:
            statement = statement.where(_deliveries.c.state == state)
        with self._database.reading() as connection:
            return [_delivery(row) for row in connection.execute(statement)]

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
            rows = connection.execute(_alerts.select().where(_alerts.c.id.startswith(name, autoescape=True)))
            found = [_alert(row.content) for row in rows] if name else []
            if len(found) != 1 or not found[0].is_open:
                listed = connection.execute(
                    _alerts.select().where(_alerts.c.recovered_at.is_(None)).limit(20)
                )
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

    # -- records ----------------------------------------------------------------------------------------

    def happened(self, product: str, after: int | None, kinds: Collection[str], limit: int) -> list[Happened]:
        """What was put on record of a product, the oldest first.

        Args:
            product: Id of the product.
            after: Only records after this one; ``None`` for the newest ``limit``.
            kinds: Only of these kinds.
            limit: At most so many.
        """
        table = self._database.records
        statement = select(
            table.c.id, table.c["at"], table.c.kind, table.c.subject, table.c.run_id, table.c.payload
        )
        statement = statement.where(table.c.product == product, table.c.kind.in_(list(kinds))).limit(limit)
        if after is None:
            statement = statement.order_by(table.c.id.desc())
        else:
            statement = statement.where(table.c.id > after).order_by(table.c.id)
        with self._database.reading() as connection:
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


@dataclass(frozen=True)
class Happened:
    """A record, as far as alerts need it."""

    id: int
    at: datetime
    kind: str
    subject: str
    run_id: str
    payload: dict[str, Any]


def _content(alert: Alert) -> str:
    values = asdict(alert)
    return json.dumps(
        {**values, **{name: moment_text(values[name]) if values[name] else None for name in _MOMENTS}}
    )


def _alert(content: str) -> Alert:
    values = json.loads(content)
    return Alert(
        **{
            **values,
            **{name: datetime.fromisoformat(values[name]) if values[name] else None for name in _MOMENTS},
        }
    )


def _watcher(row: Row[Any]) -> Watcher:
    return Watcher(
        row.name,
        row.round,
        datetime.fromisoformat(row.seen_at),
        json.loads(row.cursor),
        Routes.from_json(json.loads(row.routes)),
    )


def _delivery(row: Row[Any], attempts: int | None = None) -> Delivery:
    content = json.loads(row.content)
    return Delivery(
        id=row.id,
        owner=row.owner,
        channel=row.channel,
        product=row.product,
        created_at=datetime.fromisoformat(row.created_at),
        state=row.state,
        attempts=row.attempts if attempts is None else attempts,
        next_at=datetime.fromisoformat(row.next_at),
        error=row.error,
        title=content["title"],
        body=content["body"],
        severity=content["severity"],
    )


def now_utc() -> datetime:
    """The time."""
    return datetime.now(UTC)
