"""One writer at a time over a bucket: an object that says who holds the lock, and until when.

Only a courtesy between machines: it spares writers work that would be lost. What may be published is decided by the
compare-and-swap of the commit and of the manifest, so a writer that was held up longer than its lease lasts can do no
harm. On one machine a lock of the operating system stands before it, which dies with its process.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import LockedError, StoreError

if TYPE_CHECKING:
    from dp_dagster.storage.bucket import BucketPath

# By the clock of the server that keeps the object; ours may be wrong.
LEASE_SECONDS = 30.0
_POLL_SECONDS = 0.25


class Lease:
    """A lease that is renewed until it is released or its process dies.

    Args:
        place: The object.
        home: Names this machine's mirror. A lease of the same home is void: whoever asks holds the lock of the
            operating system, so the process that had it is dead.
    """

    def __init__(self, place: BucketPath, home: str) -> None:
        self._place = place
        self._home = home
        self._tag = ""
        self._facts: dict[str, Any] = {}
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def acquire(self, what: str, holder: str, timeout: float) -> None:
        """Take it, waiting for somebody else at most ``timeout`` seconds.

        Raises:
            LockedError: somebody else held it all the time; names them.
            StoreError: the bucket cannot be asked.
        """
        deadline = time.monotonic() + timeout
        self._facts = {
            "holder": holder,
            "home": self._home,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        while True:
            found = self._place.look()
            held_by: dict[str, Any] = {}
            tag = None
            if found is not None:
                content, facts = found
                tag = facts.tag
                held_by = _read(content)
                is_over = (facts.now - facts.modified).total_seconds() > LEASE_SECONDS
                if is_over or held_by.get("home") == self._home:
                    held_by = {}
            if not held_by.get("holder"):
                taken = self._place.put_if(self._content(), tag)
                if taken is not None:
                    self._tag = taken
                    break
            elif time.monotonic() >= deadline:
                raise LockedError(
                    f"{what} is locked by {held_by['holder']} (process {held_by.get('pid')} on "
                    f"{held_by.get('host')}, since {held_by.get('since')}); gave up after {timeout:g} s, "
                    "try again later"
                )
            time.sleep(_POLL_SECONDS if held_by else 0)
        self._renewing = threading.Thread(target=self._renew, name=f"lease {self._place}", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Let others have it. If the bucket does not answer, it runs out by itself."""
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        try:
            self._place.put_if(json.dumps({"released": uuid.uuid4().hex}).encode(), self._tag)
        except StoreError:
            return

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_SECONDS / 3):
            try:
                tag = self._place.put_if(self._content(), self._tag)
            except StoreError:
                continue  # the next attempt comes before it has run out
            if tag is None:
                return  # somebody else has it; the compare-and-swap of the commit finds out
            self._tag = tag

    def _content(self) -> bytes:
        # Unique, so that an attempt whose answer was lost is recognised as ours.
        return json.dumps({**self._facts, "nonce": uuid.uuid4().hex}).encode()


def _read(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
