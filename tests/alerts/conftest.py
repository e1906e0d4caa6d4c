"""Stores of alerts, and receivers of messages that listen on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from receivers import MailReceiver, WebhookReceiver

from dp_dagster.alerts.store import AlertStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> AlertStore:
    return AlertStore(f"sqlite:///{tmp_path}/records.db")


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as receiver:
        yield receiver
