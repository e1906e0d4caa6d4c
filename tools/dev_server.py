"""A running ``dp dev``, as the end-to-end tests and the pictures of the documents use it.

Starts the real command on this repository's workspace with a storage of its own, and speaks to Dagster over
GraphQL as the UI does. Uses the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
#: Of this repository, each after those whose ports it reads.
PRODUCTS = ("customer_360", "flights", "route_punctuality")
Result = TypeVar("Result")

START_TIMEOUT = 240.0
RUN_TIMEOUT = 420.0
POLL = 0.5
#: Seconds between two looks of the daemon at how fresh the ports are.
FRESHNESS_INTERVAL = 2

LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
  __typename ... on PythonError { message } } } } ... on PythonError { message } } }
"""

ASSETS = """
query Assets($repository: RepositorySelector!) { repositoryOrError(repositorySelector: $repository) {
  __typename ... on Repository { assetNodes { assetKey { path } isMaterializable partitionKeys } }
  ... on PythonError { message } } }
"""

LAUNCH = """
mutation Launch($parameters: ExecutionParams!) { launchPipelineExecution(executionParams: $parameters) {
  __typename ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message } ... on InvalidSubsetError { message } ... on PipelineNotFoundError { message } } }
"""

BACKFILL = """
mutation Backfill($parameters: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $parameters) {
  __typename ... on LaunchBackfillSuccess { backfillId }
  ... on PythonError { message } ... on InvalidSubsetError { message } ... on PartitionKeysNotFoundError { message } } }
"""

RUN = """
query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } ... on PythonError { message } } }
"""

FAILURES = """
query Failures($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
  ... on MessageEvent { message } ... on ErrorEvent { error { message causes { message } } } } } } }
"""

NODE = """
query Node($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
  groupName kinds description isMaterializable
  owners { __typename ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
  repository { location { name } }
  dependencyKeys { path } dependedByKeys { path }
  freshnessStatusInfo { freshnessStatus }
  metadataEntries { __typename label ... on TableSchemaMetadataEntry { schema { columns {
    name type description constraints { nullable unique } } } } }
  assetMaterializations(limit: 5) { runId timestamp metadataEntries { label
    ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } } }
  assetChecksOrError { ... on AssetChecks { checks { name blocking description
    executionForLatestMaterialization { status } } } } } } }
"""


class DevServerError(Exception):
    """The server did not do what it was asked; the message holds what it said."""


def asset_key(text: str) -> list[str]:
    """``product/v1/port/name`` as the parts of an asset key."""
    return text.split("/")


def free_port() -> int:
    """A TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DevServer:
    """A ``dp dev`` of its own.

    Attributes:
        url: Where the UI is.
        storage: Where the products publish.
        log: The file that the command's output goes to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: Path = ROOT,
        command: Sequence[str] | None = None,
        port: int | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            folder: An empty folder for storage, state and log.
            project: The project whose ``workspace.yaml`` is served.
            command: What starts it; default: the ``dp`` beside this Python.
            port: Port of the UI; default: one that is free.
        """
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.project = project
        self.storage = folder / "storage"
        self.log = folder / "dev.log"
        self.environment = {
            **os.environ,
            "DP_STORAGE": str(self.storage),
            "DP_STATE_DIRECTORY": str(folder / "state"),
            # Else the daemon judges freshness every 30 seconds, and whoever waits for that waits for as long.
            "FRESHNESS_DAEMON_INTERVAL_SECONDS": str(FRESHNESS_INTERVAL),
        }
        self._command = [
            *(command or [str(Path(sys.executable).parent / "dp"), "dev"]),
            "--port",
            str(self.port),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.project,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running command."""
        if self._process is None:
            raise DevServerError("the server has not been started")
        return self._process

    def stop(self, number: signal.Signals) -> int:
        """Stop the command with a signal and give its exit status. Harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise DevServerError(f"dp dev did not stop within 60 s\n{self.said()}") from None

    def said(self) -> str:
        """The last lines of the command's output."""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=60))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query.

        Raises:
            DevServerError: the server answers with errors.
            OSError: it does not answer.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is this machine's
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise DevServerError(f"{error}: {error.read().decode(errors='replace')}") from None
        if answer.get("errors"):
            raise DevServerError(json.dumps(answer["errors"], indent=1))
        data: dict[str, Any] = answer["data"]
        return data

    def wait_for_locations(self) -> dict[str, str | None]:
        """Wait until every code location has loaded or failed.

        Returns:
            Each location's name with its error, ``None`` where it loaded.
        """

        def loaded() -> dict[str, str | None] | None:
            try:
                workspace = self.ask(LOCATIONS)["workspaceOrError"]
            except OSError:
                return None
            entries = workspace.get("locationEntries") or []
            if not entries or any(entry["loadStatus"] != "LOADED" for entry in entries):
                return None
            return {entry["name"]: (entry["locationOrLoadError"] or {}).get("message") for entry in entries}

        return self._until(loaded, START_TIMEOUT, "the code locations to load")

    def assets(self, location: str) -> list[str]:
        """Keys of the assets of a location that can be materialised."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": location}
        answer = self.ask(ASSETS, repository=selector)["repositoryOrError"]
        if "assetNodes" not in answer:
            raise DevServerError(f"{location}: {answer}")
        return [
            "/".join(node["assetKey"]["path"]) for node in answer["assetNodes"] if node["isMaterializable"]
        ]

    def partitions(self, location: str) -> list[str]:
        """Keys of the partitions that assets of a location have."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": location}
        nodes = self.ask(ASSETS, repository=selector)["repositoryOrError"].get("assetNodes", [])
        return next((node["partitionKeys"] for node in nodes if node["partitionKeys"]), [])

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Begin a backfill of partitions of assets as the UI does; gives its id."""
        parameters = {
            "assetSelection": [{"path": asset_key(key)} for key in assets],
            "partitionNames": list(partitions),
            "tags": [],
        }
        answer = self.ask(BACKFILL, parameters=parameters)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise DevServerError(f"no backfill was launched: {answer}")
        return str(answer["backfillId"])

    def launch(self, location: str, assets: Sequence[str]) -> str:
        """Start a run of assets as the UI's Materialize button does; gives the run's id.

        Of a product with partitions, it is a run of all that are due and missing or changed, as its schedule starts it.
        """
        tags = {}
        if newest := max(self.partitions(location), default=None):
            tags = {"dagster/partition": newest, "dp/partitions": "changed"}
        parameters = {
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            "mode": "default",
            "runConfigData": "{}",
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": location,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": asset_key(key)} for key in assets],
            },
        }
        answer = self.ask(LAUNCH, parameters=parameters)["launchPipelineExecution"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise DevServerError(f"{location}: not launched: {answer}")
        return str(answer["run"]["runId"])

    def status(self, run_id: str) -> str:
        """A run's status now."""
        return str(self.ask(RUN, id=run_id)["runOrError"]["status"])

    def wait_for_run(self, run_id: str) -> str:
        """Wait until a run has ended; gives ``SUCCESS``, ``FAILURE`` or ``CANCELED``."""

        def ended() -> str | None:
            status = self.status(run_id)
            return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else None

        return self._until(ended, RUN_TIMEOUT, f"run {run_id} to end")

    def materialise(self, location: str, assets: Sequence[str] | None = None) -> str:
        """Materialise assets (default: all of the location) and wait.

        Raises:
            DevServerError: the run failed; with its errors.
        """
        run_id = self.launch(location, assets or self.assets(location))
        self.require(location, run_id)
        return run_id

    def require(self, location: str, run_id: str) -> None:
        """Wait until a run has ended well.

        Raises:
            DevServerError: it failed; with its errors.
        """
        if self.wait_for_run(run_id) != "SUCCESS":
            raise DevServerError(f"run of {location} failed:\n" + "\n".join(self.failures(run_id)))

    def failures(self, run_id: str) -> list[str]:
        """Messages and causes of what failed in a run."""
        found = []
        for event in self.ask(FAILURES, id=run_id)["logsForRun"]["events"]:
            if "Failure" in event["__typename"] or event.get("error"):
                found.append(str(event.get("message")))
                error = event.get("error") or {}
                found += [error.get("message", ""), *(cause["message"] for cause in error.get("causes", []))]
        return found

    def node(self, key: str) -> dict[str, Any]:
        """What the UI knows of an asset."""
        answer: dict[str, Any] = self.ask(NODE, key={"path": asset_key(key)})["assetNodeOrError"]
        if answer["__typename"] != "AssetNode":
            raise DevServerError(f"asset {key} is not known")
        return answer

    def _until(self, probe: Callable[[], Result | None], seconds: float, what: str) -> Result:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise DevServerError(f"dp dev ended with status {self.process.returncode}\n{self.said()}")
            if (result := probe()) is not None:
                return result
            time.sleep(POLL)
        raise DevServerError(f"waited {seconds:.0f} s for {what}\n{self.said()}")


@contextlib.contextmanager
def published(folder: Path) -> Iterator[DevServer]:
    """A server of this repository's workspace in which all three products have been materialised."""
    inputs = ROOT / "products" / "customer_360" / "generate_inputs.py"
    subprocess.run(
        [sys.executable, inputs], check=True, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True
    )
    with DevServer(folder) as server:
        failed = {name: error for name, error in server.wait_for_locations().items() if error}
        if failed:
            raise DevServerError("\n".join(f"{name}: {error}" for name, error in failed.items()))
        # The first two know nothing of each other; the third reads what the second publishes.
        begun = [(product, server.launch(product, server.assets(product))) for product in PRODUCTS[:2]]
        for product, run_id in begun:
            server.require(product, run_id)
        server.materialise(PRODUCTS[2])
        yield server
