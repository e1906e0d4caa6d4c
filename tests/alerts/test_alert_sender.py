"""Messages arrive at a real webhook and a real mail server; errors never show a secret."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime

import pytest
from receivers import texts

from dp_dagster.alerts.kept import Delivery
from dp_dagster.alerts.sender import send
from dp_dagster.descriptor.alerting import Channel
from dp_dagster.descriptor.interpolation import without_secret

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
BODY = (
    "**contract broken**: v1/dataset/totals\n\n1 of 4 rows breaks\n\n- since: now\n- run: http://ui/runs/1\n"
)
MESSAGE = Delivery(
    "id1", "shops", "chat", "shops", NOW, "pending", 1, NOW, "", "[error] Shops: broken", BODY, "error"
)


def test_a_webhook_with_headers_from_secrets(webhook, monkeypatch):
    monkeypatch.setenv("HOOK", f"{webhook.url}?team=a%26b")
    monkeypatch.setenv("TOKEN", "Bearer s3cret-token")
    channel = Channel.model_validate(
        {"webhook": {"url": "${HOOK}", "headers": {"Authorization": "${TOKEN}"}}}
    )
    assert send(channel, MESSAGE) == ""
    (received,) = webhook.received
    assert received["title"] == "[error] Shops: broken"
    assert received["id"] == "id1"
    assert (received["product"], received["severity"]) == ("shops", "error")
    assert "1 of 4 rows breaks" in received["message"]
    assert webhook.headers[0]["Authorization"] == "Bearer s3cret-token"


def test_an_apprise_url(webhook, monkeypatch):
    monkeypatch.setenv("CHAT", f"json://127.0.0.1:{webhook.port}/x")
    assert send(Channel(url="${CHAT}"), MESSAGE) == ""
    assert webhook.received[0]["type"] == "failure"


def test_mail_with_text_and_html(mail, monkeypatch):
    monkeypatch.setenv("MAIL_HOST", "127.0.0.1")
    server = {"host": "${MAIL_HOST}", "port": mail.port, "security": "none", "from": "dp@example.com"}
    channel = Channel.model_validate({"email": {"to": ["a@example.com", "b@example.com"], "server": server}})
    assert send(channel, MESSAGE) == ""
    assert sorted(one for found in mail.recipients for one in found) == ["a@example.com", "b@example.com"]
    message = mail.received[0]
    assert message["subject"] == "[error] Shops: broken"
    assert "dp@example.com" in message["from"]
    text = texts(message)
    assert "1 of 4 rows breaks" in text
    assert "http://ui/runs/1" in text
    kinds = {part.get_content_type() for part in message.walk()}
    assert {"text/plain", "text/html"} <= kinds


@pytest.mark.parametrize(
    "url", ["json://ada:s3cret-pw@127.0.0.1:9/s3cret-path", "nothing s3cret-pw", "slack://s3cret-pw"]
)
def test_an_error_never_shows_the_secret(url, monkeypatch):
    monkeypatch.setenv("CHAT", url)
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    # Not pytest's own handler, which it hangs on loggers that keep their lines to themselves, too.
    logging.getLogger().addHandler(handler)
    try:
        error = send(Channel(url="${CHAT}"), MESSAGE)
    finally:
        logging.getLogger().removeHandler(handler)
    assert error
    assert "s3cret" not in error + lines.getvalue()


def test_a_server_that_refuses_is_told_with_its_reason(webhook, monkeypatch):
    webhook.status = 503
    monkeypatch.setenv("HOOK", webhook.url)
    error = send(Channel.model_validate({"webhook": {"url": "${HOOK}"}}), MESSAGE)
    assert "503" in error
    assert webhook.refused == 1


def test_secrets_are_taken_out_in_parts_too():
    value = "https://ada:p%40ss-word@hooks.example.com/T000/abcd"
    said = "cannot reach https://hooks.example.com/T000 with p@ss-word or p%40ss-word"
    assert (
        without_secret(said, "HOOK", value)
        == "cannot reach ${HOOK}://${HOOK}/${HOOK} with ${HOOK} or ${HOOK}"
    )
