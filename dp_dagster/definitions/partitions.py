"""Partitions of a product as Dagster's: one definition that all of its assets share, and events for each partition.

A run with partitions makes exactly those. A run without makes all that are due and missing or changed, and tells
Dagster of each partition that it made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.descriptor.partitions import PartitionsError
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dp_dagster.resolve import ResolvedProduct

FIRST_TAG = "dagster/asset_partition_range_start"
LAST_TAG = "dagster/asset_partition_range_end"
ONE_TAG = "dagster/partition"
"""Tags by which Dagster says which partitions a run is for."""

BACKFILL_TAG = "dagster/backfill"
"""Tag of a run that belongs to a backfill."""

CHANGED_TAG = "dp/partitions"
CHANGED = "changed"
"""Tag of a run that looks at all partitions that are due, and makes those that are missing or changed."""

# Dagster knows no such run: it asks each step for the partitions of its inputs, so the run carries the newest partition
# that is due, and it would tell of each asset that just this one was made. What carries this metadata it does not tell
# of by itself; the key is Dagster's own and not documented, and a test holds what it does.
_UNTOLD = "__source_asset_observation__"
DATA_VERSION_TAG = "dagster/data_version"


@dataclass(frozen=True)
class Made:
    """What a step of an asset with partitions came to.

    Attributes:
        result: For Dagster.
        partitions: Metadata of each partition that was made.
        there: All partitions that the asset has: those that Dagster does not know of yet are told, too.
    """

    result: dg.MaterializeResult[Any]
    partitions: Mapping[str, Mapping[str, Any]]
    there: tuple[str, ...] = ()


def partitions_definition(product: ResolvedProduct) -> dg.TimeWindowPartitionsDefinition | None:
    """The partitions of a product."""
    calendar = product.calendar
    if calendar is None:
        return None
    return dg.TimeWindowPartitionsDefinition(
        start=calendar.start.strftime(calendar.format),
        end=calendar.end.strftime(calendar.format) if calendar.end else None,
        fmt=calendar.format,
        cron_schedule=calendar.cron,
        timezone=calendar.timezone,
    )


def of_asset(product: ResolvedProduct, relation: str) -> dg.TimeWindowPartitionsDefinition | None:
    """The partitions of an input port or of what a transform provides; ``None`` where it has none."""
    return partitions_definition(product) if relation in product.partitioned else None


def backfill_policy(partitions: dg.PartitionsDefinition | None) -> dg.BackfillPolicy | None:
    """A backfill of a range is one run: one commit of each table, whatever the length of the range."""
    return dg.BackfillPolicy.single_run() if partitions is not None else None


def run_for_changed(product: ResolvedProduct) -> tuple[str | None, dict[str, str]]:
    """Partition and tags of a run that makes all partitions that are due and missing or changed."""
    newest = product.calendar.newest_due(datetime.now(UTC)) if product.calendar else None
    if newest is None or not product.partitioned:
        return None, {}
    return newest, {CHANGED_TAG: CHANGED}


def run_tags(product: ResolvedProduct, keys: Sequence[str] | None = None) -> dict[str, str]:
    """Tags of a run in process: of a range of partitions, or, without, of all that changed."""
    if keys is not None:
        return {FIRST_TAG: keys[0], LAST_TAG: keys[-1]}
    newest, tags = run_for_changed(product)
    return {} if newest is None else {ONE_TAG: newest, **tags}


def asked(product: ResolvedProduct, tags: Mapping[str, str]) -> tuple[str, ...] | None:
    """Keys of the partitions that a run is for, by its tags; ``None`` for a run of all that changed.

    Raises:
        UsageError: the product has no such partitions any more, or they are not due.
    """
    first = tags.get(FIRST_TAG) or tags.get(ONE_TAG)
    if product.calendar is None or not first or tags.get(CHANGED_TAG) == CHANGED:
        return None
    text = f"{first}..{tags.get(LAST_TAG) or first}"
    try:
        return product.calendar.select(text, datetime.now(UTC))
    except PartitionsError as error:
        raise UsageError(f"{product.id}: partition {text} {error}; {error.fix}") from error


def told(context: dg.AssetExecutionContext, events: Iterable[Any]) -> Iterator[Any]:
    """Pass on what a step yields; of a run of all that changed, tell Dagster which partitions were made."""
    of_changed = CHANGED_TAG in context.run.tags
    for event in events:
        made = event if isinstance(event, Made) else None
        result = made.result if made is not None else event
        if made is None or result.asset_key is None:
            yield result
        elif of_changed:
            _tell(context, result, result.asset_key, made)
            yield dg.MaterializeResult(
                asset_key=result.asset_key,
                check_results=result.check_results,
                data_version=result.data_version,
                metadata={_UNTOLD: True},
            )
        else:
            # Dagster tells of each partition of the run by itself.
            for partition, metadata in made.partitions.items():
                context.add_asset_metadata(
                    dict(metadata), asset_key=result.asset_key, partition_key=partition
                )
            yield result


def _tell(
    context: dg.AssetExecutionContext, result: dg.MaterializeResult[Any], key: dg.AssetKey, made: Made
) -> None:
    tags = {} if result.data_version is None else {DATA_VERSION_TAG: result.data_version.value}
    metadata = dict(result.metadata or {})
    known = context.instance.get_materialized_partitions(key)
    keys = sorted({*made.partitions, *(one for one in made.there if one not in known)})
    for partition in keys:
        of_partition = {**metadata, **made.partitions.get(partition, {})}
        context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=of_partition, tags=tags))
    if not keys:
        context.log_event(dg.AssetObservation(key, metadata=metadata))
