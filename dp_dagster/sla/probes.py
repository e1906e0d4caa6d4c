"""Synthetic probes: a port is opened as a consumer opens it, while nobody else does."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError
from dp_dagster.pipeline.projections import output_context
from dp_dagster.pipeline.session import Session
from dp_dagster.sla.facts import Answered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.store import Readings

PortKey = tuple[str, str]
"""Product, and label of the port."""

_HOUR = 3600


@dataclass(frozen=True)
class Probe:
    """One probe: whether it was good, how long it took, and what was wrong."""

    product: str
    port: str
    at: datetime
    good: bool
    seconds: float
    reason: str = ""


def probe(product: ResolvedProduct, port: ResolvedOutput, now: datetime) -> Probe:
    """Open a port now. Whatever its consumers would have met is the reason why it was not good."""
    started = time.perf_counter()
    reason = ""
    try:
        if port.port is None:
            raise AssertionError("only an active port is probed")
        port.port.probe(port.config, output_context(Session(product, "probe"), port))
    except DataProductError as error:
        reason = str(error)
    return Probe(product.id, port.label, now, not reason, time.perf_counter() - started, reason)


def record_probes(readings: Readings, probes: Sequence[Probe]) -> None:
    """Keep probes, and what they add up to by the hour.

    Raises:
        StoreError: the database cannot be written.
    """
    if not probes:
        return
    database, tables = readings.opened()
    hours: dict[tuple[str, str, int], dict[str, Any]] = {}
    for one in probes:
        start = int(one.at.timestamp()) // _HOUR * _HOUR
        row = hours.setdefault(
            (one.product, one.port, start),
            {"product": one.product, "port": one.port, "start": start, "probes": 0, "good": 0},
        )
        row["probes"] += 1
        row["good"] += one.good
    rows = [
        {
            "at": one.at.timestamp(),
            "product": one.product,
            "port": one.port,
            "good": one.good,
            "seconds": one.seconds,
            "reason": one.reason,
        }
        for one in probes
    ]
    with database.writing() as connection:
        connection.execute(tables.probes.insert(), rows)
        last = {(one["product"], one["port"]): one for one in rows}
        connection.execute(tables.upsert_last_probe(connection), list(last.values()))
        connection.execute(tables.upsert_probes(connection), list(hours.values()))


def probe_totals(
    readings: Readings, since: datetime, products: Collection[str], *, exact: bool
) -> Mapping[PortKey, Answered]:
    """What the probes since then came to, by port, in one query.

    Args:
        readings: The store.
        since: From when; where it is not ``exact``, from the beginning of that hour.
        products: Ids of the products.
        exact: Count single probes instead of hours. For short times.

    Raises:
        StoreError: the database cannot be read.
    """
    import sqlalchemy

    database, tables = readings.opened()
    start: float
    total: Any
    good: Any
    if exact:
        table, when, start = tables.probes, tables.probes.c.at, since.timestamp()
        total = sqlalchemy.func.count()
        good = sqlalchemy.func.sum(sqlalchemy.case((table.c.good, 1), else_=0))
    else:
        table, when = tables.probe_hours, tables.probe_hours.c.start
        start = int(since.timestamp()) // _HOUR * _HOUR
        total, good = sqlalchemy.func.sum(table.c.probes), sqlalchemy.func.sum(table.c.good)
    statement = (
        sqlalchemy.select(table.c.product, table.c.port, total, good, sqlalchemy.func.min(when))
        .where(when >= start)
        .group_by(table.c.product, table.c.port)
    )
    found: dict[PortKey, Answered] = defaultdict(Answered)
    with database.reading() as connection:
        row: Any
        for row in connection.execute(statement):
            product, port, number, fine, first = row
            if product in products:
                begun = max(datetime.fromtimestamp(first, UTC), since)
                found[product, port] = Answered(int(number), int(fine), begun, probes=int(number))
    return found


def last_probes(readings: Readings, products: Collection[str] | None = None) -> dict[PortKey, Probe]:
    """The last probe of each port: whether consumers could open it then.

    Args:
        readings: The store.
        products: Ids of the products; all by default.

    Raises:
        StoreError: the database cannot be read.
    """
    database, tables = readings.opened()
    table = tables.last_probes
    found: dict[PortKey, Probe] = {}
    with database.reading() as connection:
        for row in connection.execute(table.select()):
            if products is None or row.product in products:
                at = datetime.fromtimestamp(row.at, UTC)
                found[row.product, row.port] = Probe(
                    row.product, row.port, at, bool(row.good), row.seconds, row.reason
                )
    return found
