"""Sends what is due and dies in the middle: after the message has left, before the store knows. Run by a test."""

from __future__ import annotations

import os
import signal
import sys

from dp_dagster.alerts.delivery import deliver
from dp_dagster.alerts.routing import Routes
from dp_dagster.alerts.sender import send
from dp_dagster.alerts.store import AlertStore
from dp_dagster.descriptor.alerting import Channel


def send_and_die(channel, delivery):
    print(send(channel, delivery), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    deliver(
        AlertStore(sys.argv[1]),
        {"shops": Routes({"hook": Channel.model_validate({"webhook": {"url": "${HOOK}"}})})},
        pause=0.1,
        transport=send_and_die,
    )
