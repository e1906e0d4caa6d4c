"""Runs whose process died without a word: found by a lock that dies with its process, marked as failed.

Dagster's default launcher leaves such a run STARTED for ever (tried: kill -9 of the run's process group, or of
an in-process run), and enough of them fill the run queue. Each process of ours that executes steps holds a lock
named after its run; a run that is STARTED while its lock can be taken has no process any more.

``DagsterInstance.report_run_failed`` is used by Dagster's own daemons but carries no public mark; this module
is the only one that calls it, and a test holds its behaviour.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dagster as dg
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import DagsterInstance

# The lock of a run that ended is of no use; a day keeps it out of the way of whoever looks just now.
_LOCK_KEPT_SECONDS = 24 * 3600.0

# Locks of this process, held until it ends.
_held: dict[str, FileLock] = {}


def _locks(state_directory: Path) -> Path:
    return state_directory / "runs"


def hold_run(state_directory: Path, run_id: str) -> None:
    """Hold the run's lock until this process ends. Another process of the same run may hold it already."""
    if run_id in _held:
        return
    folder = _locks(state_directory)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"{run_id}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        # A step in another process of the same run: the run lives as long as that process does.
        return
    _held[run_id] = lock


def release_run(run_id: str) -> None:
    """Let go of a run's lock and remove it: the run has ended in this process, which goes on."""
    lock = _held.pop(run_id, None)
    if lock is not None:
        lock.release()


def reconcile(instance: DagsterInstance, state_directory: Path, own_run: str | None = None) -> list[str]:
    """Mark runs whose process is gone as failed.

    Args:
        instance: Where runs are recorded.
        state_directory: Where their locks are; a run of another state directory is left alone.
        own_run: The run that asks, which is not looked at.

    Returns:
        Ids of the runs that were marked.
    """
    marked = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    for record in instance.get_run_records(filters=unfinished):
        run_id = record.dagster_run.run_id
        if run_id == own_run or run_id in _held or not _is_dead(state_directory, run_id):
            continue
        instance.report_run_failed(
            record.dagster_run, "The process of this run is gone (killed, or the machine restarted)."
        )
        (_locks(state_directory) / f"{run_id}.lock").unlink(missing_ok=True)
        marked.append(run_id)
    _forget_ended(state_directory)
    return marked


def _forget_ended(state_directory: Path) -> None:
    """Remove locks that runs of days ago left."""
    folder = _locks(state_directory)
    for path in folder.glob("*.lock") if folder.is_dir() else ():
        is_old = time.time() - path.stat().st_mtime > _LOCK_KEPT_SECONDS
        if is_old and path.stem not in _held and _is_dead(state_directory, path.stem):
            path.unlink(missing_ok=True)


def _is_dead(state_directory: Path, run_id: str) -> bool:
    path = _locks(state_directory) / f"{run_id}.lock"
    if not path.exists():
        # Not one of ours, or not at its first step yet. Runs of other code are not ours to judge.
        return False
    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True
