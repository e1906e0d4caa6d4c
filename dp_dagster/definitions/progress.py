"""What a run says on a terminal while it works: a line for each asset, nothing of Dagster's own log."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.words import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# How far an input port has read, and why it waits.
_SAID_BY_AN_INPUT = re.compile(r"\w+/input/\w+: ")


class ProgressHandler(logging.Handler):
    """Turns Dagster's events into lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._say = say
        self._started: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Say what an event means for the person who waits."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            message = str(meta.get("orig_message", record.getMessage()))
            not_run = re.match(r"Dependencies for step (\S+) .*Not executing", message)
            if not_run:
                self._say(f"  - {not_run[1].replace('__', '/')}  not run")
            elif record.levelno >= logging.WARNING:
                self._say(f"  ! {message}")
            elif _SAID_BY_AN_INPUT.match(message):
                self._say(f"  … {message}")
            return
        step = event.step_key or ""
        kind = event.event_type_value
        if kind == "STEP_START":
            self._started[step] = time.monotonic()
        elif kind == "ASSET_MATERIALIZATION":
            materialization = event.event_specific_data.materialization
            if self._is_told_already(materialization, step):
                return
            self._say(f"  ✓ {materialization.asset_key.to_user_string()}{self._facts(materialization, step)}")
            self._differences(materialization.metadata)
        elif kind == "ASSET_OBSERVATION":
            observation = event.event_specific_data.asset_observation
            self._say(f"  · {observation.asset_key.to_user_string()}  unchanged")
            self._differences(observation.metadata)
        elif kind == "STEP_UP_FOR_RETRY":
            self._say(f"  … {step.replace('__', '/')} is tried again")
        elif kind == "STEP_FAILURE":
            self._say(f"  ✗ {step.replace('__', '/')}")

    def _differences(self, metadata: Mapping[str, dg.MetadataValue[Any]]) -> None:
        if "differs" in metadata:
            self._say(f"    differs: {metadata['differs'].value}")

    def _is_told_already(self, materialization: dg.AssetMaterialization, step: str) -> bool:
        """One line for all partitions of an asset: Dagster has an event for each."""
        if materialization.partition is None:
            return False
        about = (step, materialization.asset_key.to_user_string())
        if about in self._said:
            return True
        self._said.add(about)
        return False

    def _facts(self, materialization: dg.AssetMaterialization, step: str) -> str:
        metadata = materialization.metadata
        facts = []
        if "partitions" in metadata:
            facts.append(str(metadata["partitions"].value))
        if "version" in metadata:
            facts.append(f"version {metadata['version'].value}")
        if "dagster/row_count" in metadata:
            facts.append(f"{count(int(str(metadata['dagster/row_count'].value)))} rows")
        unchanged = metadata.get("unchanged")
        if unchanged is not None and unchanged.value:
            facts.append("unchanged")
        if step in self._started:
            facts.append(f"{time.monotonic() - self._started[step]:.1f} s")
        return f"  {', '.join(facts)}" if facts else ""


def progress_logger(say: Callable[[str], None]) -> dg.LoggerDefinition:
    """A Dagster logger that says only what a person waits for."""

    def progress(_context: dg.InitLoggerContext) -> logging.Logger:
        log = logging.Logger("dp_dagster.progress", logging.DEBUG)  # noqa: LOG001 - Dagster adds it to its own
        log.addHandler(ProgressHandler(say))
        return log

    return dg.LoggerDefinition(progress, description="Progress of dp run")
