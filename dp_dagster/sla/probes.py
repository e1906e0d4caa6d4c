"""Synthetic probes: a port is opened as a consumer opens it, while nobody else does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError
from dp_dagster.pipeline.projections import output_context
from dp_dagster.pipeline.session import Session
from dp_dagster.sla.facts import Answered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.store import Readings
    from dp_dagster.sla.tables import Tables

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


def keep_probes(probes: Sequence[Probe], connection: Connection, tables: Tables) -> None:
    """Keep probes, and what they add up to by the hour, in a transaction that somebody else commits."""
    if not probes:
        return
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
    connection.execute(tables.probes.insert(), rows)
    last = {(one["product"], one["port"]): one for one in rows}
    connection.execute(tables.upsert_last_probe(connection), list(last.values()))
    connection.execute(tables.upsert_probes(connection), list(hours.values()))


def probe_totals(
    readings: Readings, wanted: Mapping[datetime, Collection[PortKey]]
) -> Mapping[datetime, Mapping[PortKey, Answered]]:
    """What the probes since several times came to, by port, in one query that reads single probes of an hour at most.

    Args:
        readings: The store.
        wanted: Ports by the time since when.

    Raises:
        StoreError: the database cannot be read.
    """
    import sqlalchemy

    found: dict[datetime, dict[PortKey, Answered]] = {since: {} for since in wanted}
    if not any(wanted.values()):
        return found
    database, tables = readings.opened()
    single, hours = tables.probes.c, tables.probe_hours.c
    parts = []
    for number, (since, ports) in enumerate(wanted.items()):
        first = since.timestamp()
        whole = int(-(-first // _HOUR)) * _HOUR
        good = sqlalchemy.func.sum(sqlalchemy.case((single.good, 1), else_=0))
        for table, when, total, fine, start, end in (
            (single, single["at"], sqlalchemy.func.count(), good, first, whole),
            (
                hours,
                hours.start,
                sqlalchemy.func.sum(hours.probes),
                sqlalchemy.func.sum(hours.good),
                whole,
                None,
            ),
        ):
            statement = (
                sqlalchemy.select(
                    sqlalchemy.literal(number),
                    table.product,
                    table.port,
                    total,
                    fine,
                    sqlalchemy.func.min(when),
                )
                .where(sqlalchemy.tuple_(table.product, table.port).in_(sorted(ports)), when >= start)
                .group_by(table.product, table.port)
            )
            parts.append(statement if end is None else statement.where(when < end))
    times = list(wanted)
    row: Any
    with database.reading() as connection:
        for row in connection.execute(sqlalchemy.union_all(*parts)):
            number, product, port, total, fine, begin = row
            some = found[times[number]]
            # An hour's first probe is not known; it counts from its beginning.
            begun = max(datetime.fromtimestamp(begin, UTC), times[number])
            there = some.get((product, port), Answered())
            some[product, port] = Answered(
                there.total + int(total),
                there.good + int(fine),
                min(begun, there.since or begun),
                probes=there.probes + int(total),
            )
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
