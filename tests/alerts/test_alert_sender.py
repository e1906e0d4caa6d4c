"""Messages arrive at a real webhook and a real mail server; errors never show a secret."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from receivers import texts

from dp_dagster.alerts import sender
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


def test_slack_is_told_with_its_links(webhook, monkeypatch):
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", webhook.url)
    monkeypatch.setenv("CHAT", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23alerts")
    send(Channel(url="${CHAT}"), MESSAGE)
    text = str(webhook.received)
    assert "[error] Shops: broken" in text
    assert "http://ui/runs/1" in text


TEAMS = (
    f"https://prod-1.westeurope.logic.azure.com:443/workflows/{'0a' * 16}/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=abcdef"
)


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23alerts",
        "pagerduty://integration@key?region=eu",
        TEAMS,
        "opsgenie://0123456789abcdef",
        "mailtos://user:password@example.com?to=a@example.com",
    ],
    ids=["slack", "pagerduty", "teams", "opsgenie", "mail"],
)
def test_addresses_are_still_understood_with_what_is_added_to_them(url, monkeypatch):
    import apprise

    monkeypatch.setenv("CHAT", url)
    found = apprise.Apprise.instantiate(sender._url(Channel(url="${CHAT}"), replace(MESSAGE, incident="a1")))
    assert found is not None
    assert (found.socket_connect_timeout, found.socket_read_timeout) == (5.0, 10.0)


def test_secrets_are_taken_out_in_parts_too():
    value = "https://ada:p%40ss-word@hooks.example.com/T000/abcd"
    said = "cannot reach https://hooks.example.com/T000 with p@ss-word or p%40ss-word"
    assert (
        without_secret(said, "HOOK", value)
        == "cannot reach ${HOOK}://${HOOK}/${HOOK} with ${HOOK} or ${HOOK}"
    )
