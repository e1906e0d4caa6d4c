"""Running products from the command line, on the project's own Dagster instance.

The run is one of Dagster's: its events, checks and materialisations are in the instance, and the UI shows it
like any other.
"""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.definitions import automation, keys
from dp_dagster.definitions.actors import ACTOR_TAG
from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.orphans import hold_run, reconcile, release_run
from dp_dagster.definitions.partitions import run_tags
from dp_dagster.definitions.progress import progress_logger
from dp_dagster.definitions.work import ACKNOWLEDGED_TAG, EXIT_CODE
from dp_dagster.errors import OperatorError
from dp_dagster.home import dagster_environment, ensure_dagster_home
from dp_dagster.records import os_user

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dagster import DagsterInstance

    from dp_dagster.pipeline.rollback import RollbackOutcome
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        product_id: The product.
        run_id: The run, as Dagster knows it.
        succeeded: Whether every step did.
        failures: A sentence for each step that failed.
        retryable: Whether all of them failed for what the product runs on, so that another try may do.
    """

    product_id: str
    run_id: str
    succeeded: bool
    failures: tuple[str, ...]
    retryable: bool


def open_instance(settings: Settings) -> DagsterInstance:
    """The project's Dagster instance; a context manager."""
    environment = dagster_environment(settings)
    for name in ("DAGSTER_DISABLE_TELEMETRY", "DBT_SEND_ANONYMOUS_USAGE_STATS"):
        os.environ.setdefault(name, environment[name])
    return dg.DagsterInstance.from_config(str(ensure_dagster_home(settings)))


def run_product(
    product: ResolvedProduct,
    instance: DagsterInstance,
    say: Callable[[str], None],
    dataset: str | None = None,
    acknowledged: Sequence[str] = (),
    *,
    partitions: Sequence[str] | None = None,
) -> RunResult:
    """Refresh a product, or one of its datasets with all that leads to it and all of its ports.

    Args:
        product: The product.
        instance: Where the run is recorded.
        say: Takes lines of progress.
        dataset: Only this dataset.
        acknowledged: Consumers that agreed to a change of contract that breaks them.
        partitions: Keys of a range of partitions, in order; by default all that are due and missing or changed.

    Raises:
        UsageError: the product has no such dataset.
    """
    for orphan in reconcile(instance, product.settings.state_directory):
        say(f"  ! run {orphan} had died without a word; it is marked as failed now")
    definitions = dg.Definitions.merge(
        build_definitions(product), dg.Definitions(loggers={"console": progress_logger(say)})
    )
    job = definitions.resolve_job_def(automation.refresh_job(product).name)
    run_id = str(uuid.uuid4())
    # Before Dagster knows of the run: whenever this process is killed, the next run sees that it is gone.
    hold_run(product.settings.state_directory, run_id)
    try:
        # dbt speaks on standard output, which is for the command's own result; its words are in its log file.
        with contextlib.redirect_stdout(io.StringIO()):
            result = job.execute_in_process(
                run_id=run_id,
                instance=instance,
                raise_on_error=False,
                asset_selection=_selection(product, dataset) if dataset else None,
                run_config={"loggers": {"console": {}}},
                tags={
                    # Puts the run on the job's page of the product's code location.
                    ".dagster/repository": f"__repository__@{product.id}",
                    "dagster/code_location": product.id,
                    "dp/product": product.id,
                    ACTOR_TAG: os_user(),
                    **({ACKNOWLEDGED_TAG: ",".join(acknowledged)} if acknowledged else {}),
                    **run_tags(product, partitions),
                },
            )
    finally:
        release_run(run_id)
    failed = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    return RunResult(
        product_id=product.id,
        run_id=result.run_id,
        succeeded=result.success,
        failures=tuple(_failure(event) for event in failed),
        retryable=bool(failed) and all(_exit_code(event) == OperatorError.exit_code for event in failed),
    )


def _selection(product: ResolvedProduct, name: str) -> list[dg.AssetKey]:
    dataset = product.dataset(name)
    selected = [keys.input_key(product.id, port) for port in product.inputs_of(dataset.source)]
    for transform in product.transforms_of(dataset.source):
        selected += [keys.transform_key(product.id, relation) for relation in transform.provides]
    selected.append(keys.dataset_key(product.id, dataset.major, dataset.name))
    selected.append(keys.quarantine_key(product.id, dataset.major, dataset.name))
    selected += [
        keys.port_key(product.id, port.major, port.name)
        for port in product.active_ports
        if port.dataset is not None and port.dataset.label == dataset.label
    ]
    return selected


def _failure(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    place = (event.step_key or "").replace("__", "/")
    if data.user_failure_data is not None and data.user_failure_data.description:
        sentence = data.user_failure_data.description
        return sentence if sentence.startswith(place.split("/")[0]) else f"{place}: {sentence}"
    if data.error is None:
        return f"{place}: failed"
    cause = data.error
    while cause.cause is not None:
        cause = cause.cause
    return f"{place}: {cause.message.strip()}"


def _exit_code(event: dg.DagsterEvent) -> int | None:
    failure = event.step_failure_data.user_failure_data
    value = failure.metadata.get(EXIT_CODE) if failure is not None else None
    return value.value if isinstance(value, dg.IntMetadataValue) else None


def report_rollback(product: ResolvedProduct, outcome: RollbackOutcome) -> None:
    """Let the UI show a rollback at the ports: as an observation, so that nothing looks fresher."""
    with open_instance(product.settings) as instance:
        for port in outcome.ports:
            shown = product.port(port.port)
            instance.report_runless_asset_event(
                dg.AssetObservation(
                    keys.port_key(product.id, shown.major, shown.name),
                    metadata={
                        "version": outcome.snapshot.version,
                        "operation": "rollback",
                        "rolled back to": outcome.snapshot.metadata.get("dp.rolled_back_to", ""),
                        "dagster/row_count": outcome.snapshot.rows,
                    },
                )
            )
