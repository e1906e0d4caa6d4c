"""Runs whose process died without a word: found by a lock that dies with its process, marked as failed.

Dagster's default launcher leaves such a run STARTED for ever (tried: kill -9 of the run's process group, or of
an in-process run), and enough of them fill the run queue. Each process of ours that executes steps holds a lock
named after its run; a run that is STARTED while its lock can be taken has no process any more.

The lock is only believed once its holder has written its process id into it: between making the file and
locking it, it can be taken, too. And a run's status is read again under its lock, since a run may end between
a look at the list of runs and a look at the lock.

``DagsterInstance.report_run_failed`` is used by Dagster's own daemons but carries no public mark; this module
is the only one that calls it, and a test holds its behaviour.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dagster import DagsterInstance

# The lock of a run that ended is of no use; a day keeps it out of the way of whoever looks just now.
_LOCK_KEPT_SECONDS = 24 * 3600.0

# Others hold the lock no longer than it takes to look.
_LOOK_SECONDS = 1.0

_UNFINISHED = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)

# Locks of this process, held until it ends.
_held: dict[str, FileLock] = {}


def _lock_file(state_directory: Path, run_id: str) -> Path:
    return state_directory / "runs" / f"{run_id}.lock"


def _lock(path: Path) -> FileLock:
    # Never a lock that is made of a file's mere existence: it would outlive kill -9.
    return FileLock(str(path), fallback_to_soft=False)


def hold_run(state_directory: Path, run_id: str) -> None:
    """Hold the run's lock until this process ends. Another process of the same run may hold it already."""
    if run_id in _held:
        return
    path = _lock_file(state_directory, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        lock.acquire(timeout=_LOOK_SECONDS, poll_interval=0.02)
    except Timeout:
        # A step in another process of the same run: the run lives as long as that process does.
        return
    path.write_text(str(os.getpid()), encoding="ascii")
    _held[run_id] = lock


def release_run(run_id: str) -> None:
    """Let go of a run's lock: this process goes on. A run that has not ended by now never will."""
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
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=list(_UNFINISHED))):
        run_id = record.dagster_run.run_id
        if run_id == own_run or run_id in _held:
            continue
        path = _lock_file(state_directory, run_id)
        with _taken_from_the_dead(path) as is_dead:
            run = instance.get_run_by_id(run_id) if is_dead else None
            if run is None or run.status not in _UNFINISHED:
                continue
            instance.report_run_failed(
                run, "The process of this run is gone (killed, or the machine restarted)."
            )
            path.unlink(missing_ok=True)
            marked.append(run_id)
    _forget_ended(state_directory)
    return marked


def _forget_ended(state_directory: Path) -> None:
    """Remove locks that runs of days ago left."""
    folder = state_directory / "runs"
    for path in folder.glob("*.lock") if folder.is_dir() else ():
        if path.stem in _held or time.time() - _changed(path) < _LOCK_KEPT_SECONDS:
            continue
        with _taken_from_the_dead(path) as is_dead:
            if is_dead:
                path.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        # Another process has just removed it.
        return time.time()


@contextmanager
def _taken_from_the_dead(path: Path) -> Iterator[bool]:
    """Hold a run's lock if its process is gone; gives whether it is.

    Without a file, or before there is a process id in it, the run is not one of ours or not at its first step
    yet. Runs of other code are not ours to judge.
    """
    try:
        is_ours = path.stat().st_size > 0
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        yield False
        return
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
