"""Runs of a product that failed, and runs in which nothing happens any more.

What failed is over when it has succeeded: a run of something else says nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.alerts.links import consumers_see, links
from dp_dagster.alerts.message import span
from dp_dagster.alerts.model import Observation
from dp_dagster.definitions import keys

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from dp_dagster.resolve import ResolvedProduct

_MOST_RUNS = 50
_MOST_STEPS = 50
_NAMED = 5
# What a run says of its end reaches the database a moment after the time that it bears, from other machines even later.
_OVERLAP = timedelta(minutes=1)
# A run that failed without a step to blame; any run that succeeds says that runs do again.
_WHOLE = ""
_REPOSITORY = ".dagster/repository"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_PLANNED = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def ended_runs(
    instance: DagsterInstance,
    product: ResolvedProduct,
    location: str,
    cursor: Mapping[str, object],
    now: datetime,
) -> tuple[list[Observation], dict[str, object]]:
    """Runs that ended since the last look, in order; at the first look the newest one.

    Returns:
        What was seen, and the cursor of the next look.
    """
    records = _ended(instance, product, location, cursor, now)
    failing = set(_texts(cursor.get("failing"))) & (_steps(product) | {_WHOLE})
    known = set(_texts(cursor.get("runs")))
    found = []
    for record in records:
        run = record.dagster_run
        if run.run_id in known or not _of_product(product, run):
            continue
        at = utc(record.update_timestamp)
        if run.status == dg.DagsterRunStatus.FAILURE:
            steps = _step_keys(instance, run, dg.DagsterEventType.STEP_FAILURE)
            failing |= set(steps) & _steps(product) or {_WHOLE}
            found.append(_failed(product, run, at, steps))
            continue
        if failing:
            whole = run.job_name == f"{product.id}_refresh" and not run.asset_selection
            done = failing if whole else set(_step_keys(instance, run, dg.DagsterEventType.STEP_SUCCESS))
            failing -= done | {_WHOLE}
        if not failing:
            found.append(_succeeded(product, run, at))
    newest = max((utc(record.update_timestamp) for record in records), default=_last(cursor, now) or now)
    # A clock that is set back must not hide what ends before the time that it showed.
    until = min(newest, now)
    return found, {
        "run": until.isoformat(),
        "runs": sorted(
            record.dagster_run.run_id
            for record in records
            if utc(record.update_timestamp) >= until - _OVERLAP
        ),
        "failing": sorted(failing),
    }


def stuck_runs(
    instance: DagsterInstance, product: ResolvedProduct, location: str, now: datetime
) -> list[Observation]:
    """Runs that wait, or go on, without anything having happened in them for too long."""
    limit = product.alerts.stuck_after
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_UNFINISHED, tags=_tags(product, location), created_before=now - limit),
        limit=_MOST_RUNS,
    )
    found = []
    for record in records:
        run = record.dagster_run
        if not _of_product(product, run):
            continue
        (event,) = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records or (None,)
        last = utc(record.create_timestamp)
        where = ""
        if event is not None:
            entry = event.event_log_entry
            last = max(last, datetime.fromtimestamp(entry.timestamp, UTC))
            is_planned = entry.is_dagster_event and entry.get_dagster_event().event_type in _PLANNED
            where = "" if is_planned else _shown(entry.step_key or "")
        if now - last < limit:
            continue  # Long, but it goes on.
        stands = f"; it stands at {where}" if where else ""
        found.append(
            Observation(
                product.id,
                f"run/{run.run_id[:8]}",
                "stuck_run",
                bad=True,
                at=last + limit,
                reason=f"{run.status.value.replace('_', ' ').capitalize()}, and nothing has happened in it since "
                f"{last:%Y-%m-%d %H:%M:%S} UTC, for more than {span(limit)}{stands}.",
                facts={
                    **links(product.settings, product.id, "", run.run_id),
                    "consumers see": consumers_see(product.settings, product.id),
                },
            )
        )
    return found


def utc(moment: datetime) -> datetime:
    """A moment as Dagster gives it: without a zone it is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _last(cursor: Mapping[str, object], now: datetime) -> datetime | None:
    after = cursor.get("run")
    return min(datetime.fromisoformat(after), now) if isinstance(after, str) else None


def _ended(
    instance: DagsterInstance,
    product: ResolvedProduct,
    location: str,
    cursor: Mapping[str, object],
    now: datetime,
) -> Sequence[dg.RunRecord]:
    last = _last(cursor, now)
    tags = _tags(product, location)
    if last is None:
        newest = instance.get_run_records(
            dg.RunsFilter(statuses=_FINISHED, tags=tags), limit=_MOST_RUNS, order_by="update_timestamp"
        )
        return [record for record in newest if _of_product(product, record.dagster_run)][:1]
    known = set(_texts(cursor.get("runs")))
    for after in (last - _OVERLAP, last):
        records = instance.get_run_records(
            dg.RunsFilter(statuses=_FINISHED, tags=tags, updated_after=after),
            limit=_MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )
        # So many runs within the overlap that it holds nothing else: on without it.
        if len(records) < _MOST_RUNS or any(record.dagster_run.run_id not in known for record in records):
            break
    return records


def _of_product(product: ResolvedProduct, run: dg.DagsterRun) -> bool:
    if run.job_name == f"{product.id}_refresh":
        return True
    return any(key.path[0] == product.id for key in run.asset_selection or ())


def _tags(product: ResolvedProduct, location: str) -> dict[str, str | list[str]]:
    """Runs of the location, and those that ``dp run`` made."""
    names = dict.fromkeys((f"__repository__@{location}", f"__repository__@{product.id}"))
    return {_REPOSITORY: list(names)}


def _steps(product: ResolvedProduct) -> set[str]:
    """The steps that the product has; what it no longer has, no run will mend."""
    return {
        *(keys.step_name(product.id, "input", one.name) for one in product.inputs),
        *(
            keys.step_name(product.id, kind, one.name)
            for one in product.transforms
            for kind in ("transform", "dbt")
        ),
        *(keys.step_name(product.id, f"v{one.major}", "dataset", one.name) for one in product.datasets),
        *(keys.step_name(product.id, f"v{one.major}", "port", one.name) for one in product.active_ports),
    }


def _step_keys(instance: DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType) -> list[str]:
    """The steps of a run of which something is on its log."""
    limit = _MOST_STEPS if kind == dg.DagsterEventType.STEP_FAILURE else None
    records = instance.get_records_for_run(run.run_id, of_type=kind, limit=limit).records
    return list(dict.fromkeys(record.event_log_entry.step_key or "" for record in records))


def _shown(step: str) -> str:
    return step.replace("__", "/")


def _facts(product: ResolvedProduct, run: dg.DagsterRun, step: str = "") -> dict[str, str]:
    subject = _shown(step).removeprefix(f"{product.id}/")
    return links(product.settings, product.id, "" if subject.startswith("dbt/") else subject, run.run_id)


def _succeeded(product: ResolvedProduct, run: dg.DagsterRun, at: datetime) -> Observation:
    return Observation(
        product.id,
        "run",
        "failed_run",
        bad=False,
        at=at,
        reason="What had failed has succeeded.",
        facts=_facts(product, run),
        is_event=True,
    )


def _failed(product: ResolvedProduct, run: dg.DagsterRun, at: datetime, steps: Sequence[str]) -> Observation:
    names = [_shown(step) for step in steps if step]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    facts = _facts(product, run, steps[0] if names else "")
    return Observation(
        product.id,
        "run",
        "failed_run",
        bad=True,
        at=at,
        # Not what the steps said: it may hold values of rows.
        reason=f"Failed at {', '.join(names[:_NAMED])}{more}." if names else "Failed.",
        facts={**facts, "consumers see": consumers_see(product.settings, product.id)},
        is_event=True,
    )


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
