"""Running products from the command line, on the project's own Dagster instance.

The run is one of Dagster's: its events, checks and materialisations are in the instance, and the UI shows it
like any other.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.definitions import automation, keys
from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.orphans import reconcile, release_run
from dp_dagster.definitions.progress import progress_logger
from dp_dagster.home import dagster_environment, ensure_dagster_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagster import DagsterInstance

    from dp_dagster.pipeline.rollback import RollbackOutcome
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings


@dataclass(frozen=True)
class RunResult:
    """What a run came to. ``failures`` holds a sentence for each step that failed."""

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
) -> RunResult:
    """Refresh a product, or one of its datasets with all that leads to it and all of its ports.

    Args:
        product: The product.
        instance: Where the run is recorded.
        say: Takes lines of progress.
        dataset: Only this dataset.

    Raises:
        UsageError: the product has no such dataset.
    """
    reconcile(instance, product.settings.state_directory)
    definitions = dg.Definitions.merge(
        build_definitions(product), dg.Definitions(loggers={"console": progress_logger(say)})
    )
    job = definitions.resolve_job_def(automation.refresh_job(product).name)
    # dbt speaks on standard output, which is for the command's own result; its words are in its log file.
    with contextlib.redirect_stdout(io.StringIO()):
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=_selection(product, dataset) if dataset else None,
            run_config={"loggers": {"console": {}}},
            tags={
                # Puts the run on the job's page of the product's code location.
                ".dagster/repository": f"__repository__@{product.id}",
                "dagster/code_location": product.id,
                "dp/product": product.id,
                "dp/actor": actor(),
            },
        )
    release_run(result.run_id)
    return RunResult(
        product_id=product.id,
        run_id=result.run_id,
        succeeded=result.success,
        failures=tuple(_failures(result)),
        retryable=any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events),
    )


def _selection(product: ResolvedProduct, name: str) -> list[dg.AssetKey]:
    dataset = product.dataset(name)
    selected = [keys.input_key(product.id, port) for port in product.inputs_of(dataset.source)]
    for transform in product.transforms_of(dataset.source):
        selected += [keys.transform_key(product.id, relation) for relation in transform.provides]
    selected.append(keys.dataset_key(product.id, product.major, name))
    selected.append(keys.quarantine_key(product.id, product.major, name))
    selected += [
        keys.port_key(product.id, product.major, port.name)
        for port in product.active_ports
        if port.dataset is not None and port.dataset.name == name
    ]
    return selected


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    found = []
    for event in result.all_events:
        if event.event_type_value != "STEP_FAILURE":
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            sentence = data.user_failure_data.description
            place = (event.step_key or "").replace("__", "/")
            found.append(sentence if sentence.startswith(place.split("/")[0]) else f"{place}: {sentence}")
        elif data.error is not None:
            cause = data.error
            while cause.cause is not None:
                cause = cause.cause
            found.append(f"{event.step_key}: {cause.message.strip()}")
    return found


def report_rollback(product: ResolvedProduct, outcome: RollbackOutcome) -> None:
    """Let the UI show a rollback at the ports: as an observation, so that nothing looks fresher."""
    with open_instance(product.settings) as instance:
        for port in outcome.ports:
            instance.report_runless_asset_event(
                dg.AssetObservation(
                    keys.port_key(product.id, product.major, port.port),
                    metadata={
                        "version": outcome.snapshot.version,
                        "operation": "rollback",
                        "rolled back to": outcome.snapshot.metadata.get("dp.rolled_back_to", ""),
                        "dagster/row_count": outcome.snapshot.rows,
                    },
                )
            )


def actor() -> str:
    """Who runs this: the user of the command line."""
    # getuser raises where the user has no name, in a container for example.
    try:
        return f"cli.{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
