"""The tables of alerts, in the database of the records."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text, text

TABLES = MetaData()
ALERTS = Table(
    "dp_alerts",
    TABLES,
    Column("id", String(40), primary_key=True),
    Column("watcher", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("family", String(40), nullable=False),
    Column("recovered_at", String(40)),
    Column("opened_at", String(40), nullable=False),
    Column("content", Text, nullable=False),
)
_OPEN = text("recovered_at is null")
Index(
    "dp_alerts_open",
    ALERTS.c.product,
    ALERTS.c.subject,
    ALERTS.c.family,
    unique=True,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)
Index("dp_alerts_watched", ALERTS.c.watcher, sqlite_where=_OPEN, postgresql_where=_OPEN)
Index("dp_alerts_opened_at", ALERTS.c.opened_at)
ITEMS = Table(
    "dp_alert_items",
    TABLES,
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
_WAITING = text("delivery is null")
Index("dp_alert_items_waiting", ITEMS.c.owner, sqlite_where=_WAITING, postgresql_where=_WAITING)
DELIVERIES = Table(
    "dp_alert_deliveries",
    TABLES,
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
_PENDING = text("state = 'pending'")
Index("dp_alert_deliveries_pending", DELIVERIES.c.owner, sqlite_where=_PENDING, postgresql_where=_PENDING)
_GIVEN_UP = text("state = 'given up'")
Index("dp_alert_deliveries_given_up", DELIVERIES.c.owner, sqlite_where=_GIVEN_UP, postgresql_where=_GIVEN_UP)
WATCHERS = Table(
    "dp_alert_watchers",
    TABLES,
    Column("name", String(80), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("seen_at", String(40), nullable=False),
    Column("cursor", Text, nullable=False),
    Column("routes", Text, nullable=False),
)
