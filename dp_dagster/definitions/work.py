"""What every asset of a product does first: open the run's session, and settle runs that died."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.definitions.actors import actor_of
from dp_dagster.definitions.orphans import hold_run, reconcile
from dp_dagster.definitions.partitions import asked
from dp_dagster.errors import AuthorError, DataProductError, RetryableError
from dp_dagster.pipeline import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from dp_dagster.resolve import ResolvedProduct

# A lost race or a held lock is worth another try by itself; anything else is not.
RETRIES = 2
RETRY_SECONDS = 5
# Run tag with the consumers that agreed to a change of contract that breaks them, separated by commas.
ACKNOWLEDGED_TAG = "dp/acknowledged"
# Metadata of a failure that says whose fault it is, as the exit code of `dp` does.
EXIT_CODE = "exit code"


@contextmanager
def work_database(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A work database, opened through dagster-duckdb's resource."""
    # Imported here, since a code location is loaded far more often than it runs anything.
    from dagster_duckdb import DuckDBResource

    with DuckDBResource(database=str(database)).get_connection() as connection:
        yield connection


def begin(context: dg.AssetExecutionContext, product: ResolvedProduct) -> Session:
    """The session of the step's run. The first step in a process also settles what died before it."""
    _begin_run(context.run.run_id, context, product)
    agreed = context.run.tags.get(ACKNOWLEDGED_TAG, "")
    return Session(
        product,
        context.run.run_id,
        connect=work_database,
        acknowledged=[name for name in agreed.split(",") if name],
        actor=actor_of(context.run.tags),
        started=_started(context),
        say=context.log.info,
        partitions=asked(product, context.run.tags),
    )


def _started(context: dg.AssetExecutionContext) -> datetime | None:
    """When Dagster began the run; ``None`` where it does not say so, in a test of one asset for example."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None or record.start_time is None:
        return None
    return datetime.fromtimestamp(record.start_time, UTC)


_begun: set[str] = set()


def _begin_run(run_id: str, context: dg.AssetExecutionContext, product: ResolvedProduct) -> None:
    if run_id in _begun:
        return
    _begun.add(run_id)
    hold_run(product.settings.state_directory, run_id)
    for orphan in reconcile(context.instance, product.settings.state_directory, own_run=run_id):
        context.log.warning("run %s had died without a word; it is marked as failed now", orphan)
    Session(product, run_id).clean_work_folders()


@contextmanager
def plain_failures(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Turn our errors into failures that show their sentence in the UI, not a traceback.

    Raises:
        dagster.Failure: the step is at fault; another try would not help.
        dagster.RetryRequested: another try may.
    """
    try:
        yield
    except DataProductError as error:
        if isinstance(error, RetryableError) and context.op_execution_context.retry_number < RETRIES:
            # Dagster does not show why a step is tried again.
            context.log.warning("%s", error)
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=RETRY_SECONDS) from error
        raise dg.Failure(
            description=str(error),
            metadata={EXIT_CODE: error.exit_code},
            allow_retries=False,
        ) from error
    except SystemExit as error:
        # It would end the process, and the run would look as if it were still going on.
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise dg.Failure(
            description=f"{where.filename}:{where.lineno}: would end the process (exit {error.code}); "
            "raise an error instead",
            metadata={EXIT_CODE: AuthorError.exit_code},
            allow_retries=False,
        ) from error
