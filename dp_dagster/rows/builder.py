"""Having row stores built: a thread that starts one building process after the other and tells when one is there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError
from dp_dagster.rows.build import EXIT_LOCKED
from dp_dagster.rows.store import StoreFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dp_dagster.rows.layout import Layout

_LOG = logging.getLogger("dp_dagster.serving")
_TRIES = 3
_LOOK_AGAIN_SECONDS = 0.25


@dataclass(frozen=True)
class Order:
    """A row store that is wanted.

    Attributes:
        target: Where it belongs.
        layout: What belongs into it.
        ready: Called with the open store, in the builder's thread.
        wanted: Whether it still is when its turn comes.
    """

    target: Path
    layout: Layout
    ready: Callable[[StoreFile], None]
    wanted: Callable[[], bool]


class StoreBuilder:
    """Builds one row store at a time. Another process that is at the same one is waited for, by nobody else.

    Args:
        retention: Seconds that a store is kept after a newer one was built: as long as cursors may hold it.
    """

    def __init__(self, *, retention: float) -> None:
        self._retention = retention
        self._orders: list[Order] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def order(self, order: Order) -> None:
        """Have a store built, after those that were asked for before."""
        with self._changed:
            if self._is_closed:
                return
            self._orders.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="row-stores", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Build no more; what is half built is left and forgotten."""
        with self._changed:
            self._is_closed = True
            self._orders.clear()
            self._changed.notify()
            process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if self._thread is not None:
            self._thread.join(timeout=10)

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._orders and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                # The newest first: readers wait for that one.
                order = self._orders.pop()
            if not order.wanted():
                continue
            try:
                store = self._built(order)
                if store is not None:
                    order.ready(store)
                    remove_old(order.target.parent, self._retention)
            except Exception:  # noqa: BLE001 the thread must live on for the other stores
                _LOG.exception("building %s failed", order.target)

    def _built(self, order: Order) -> StoreFile | None:
        tries = 0
        while not self._is_closed:
            if order.target.exists():
                try:
                    return StoreFile(order.target)
                except StoreError as error:
                    _LOG.warning("%s", error)
                    order.target.unlink(missing_ok=True)
            code, complaint = self._build(order)
            if code == EXIT_LOCKED:
                time.sleep(_LOOK_AGAIN_SECONDS)
            elif code != 0:
                tries += 1
                if tries == _TRIES:
                    _LOG.error(
                        "%s; the published files answer, more slowly",
                        complaint or f"building {order.target} ended with {code}",
                    )
                    return None
                time.sleep(_LOOK_AGAIN_SECONDS * tries)
        return None

    def _build(self, order: Order) -> tuple[int, str]:
        command = [sys.executable, "-m", "dp_dagster.rows.build", str(order.target)]
        with self._changed:
            if self._is_closed:
                return EXIT_LOCKED, ""
            self._process = process = subprocess.Popen(  # noqa: S603 this package's own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        _, complaint = process.communicate(order.layout.to_json())
        with self._changed:
            self._process = None
        return process.returncode, complaint.strip()


def remove_old(folder: Path, retention: float) -> None:
    """Remove the stores of a dataset that a newer one replaced longer ago than ``retention`` seconds."""
    found = []
    for path in folder.glob("*.db"):
        number = path.name.partition(".")[0]
        if number.isdigit():
            # Another process may have removed it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found.append((int(number), path.stat().st_mtime, path))
    found.sort()
    now = time.time()
    for (_, made, path), (_, newer, _) in itertools.pairwise(found):
        if now - max(made, newer) > retention:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
