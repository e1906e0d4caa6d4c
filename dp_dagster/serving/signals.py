"""Being told that the server is to end, before it waits for what has begun."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Calls a function in the event loop when the process is asked to end, then whoever listened before.

    ASGI says that the server ends only when every answer has ended, and an answer that follows what is published has
    no end of its own.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Begin; does nothing in a thread, where nobody gets signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()

        def tell(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self._told)
            before = self._before.get(number)
            if callable(before):
                before(number, frame)

        for number in _SIGNALS:
            self._before[number] = signal.getsignal(number)
            signal.signal(number, tell)

    def leave(self) -> None:
        """Put back who listened before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
