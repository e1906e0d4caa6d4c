"""``alerts`` of a descriptor and of the settings: what is read, refused, and said of each line."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from dp_dagster.descriptor.alerting import CONDITIONS
from dp_dagster.errors import SettingsError
from dp_dagster.resolve.alerting import not_evaluated, platform_alerts, references
from dp_dagster.settings import Settings

LITERAL = (
    "this may hold a secret, so it must not stand in the file; "
    "put it into an environment variable and write ${NAME}"
)

WHOLE = """\
owner: {team: shops, email: shops@example.com}
alerts:
  channels:
    chat: ${SHOP_CHAT}
    mail:
      email: {to: shops@example.com}
    hook:
      webhook: {url: "${SHOP_HOOK}", headers: {Authorization: "${SHOP_TOKEN}"}}
  on: [sla, failed run]
  to: [chat, owner]
  rules:
    - {on: all, to: "${SHOP_PAGER}", at_least: critical}
  remind: PT4H
  escalate: {after: PT1H, to: mail}
  grace: PT10S
  quarantine_share: 1%
  stuck_after: PT30M
  consumers: [sla breach]
  maintenance:
    - {cron: "0 2 * * 0", duration: PT2H, timezone: Europe/Berlin}
    - {from: 2026-12-24T18:00, to: 2026-12-27T06:00, reason: holidays}
  mail_server: {host: mail.example.com, from: dp@example.com, user: "${SMTP_USER}", password: "${SMTP_PASSWORD}"}
consumers:
  - {name: board_report, port: vw_sales, contact: "${BOARD_CHAT}"}
input_ports:
  - {name: sales, type: FILES, path: sales.csv}
datasets:
  - {name: sales, from: sales, contract: "contracts/sales.py:Sales"}
output_ports:
  - {name: vw_sales, type: SQL}
"""


def test_everything_that_can_be_said(folder, head, monkeypatch):
    monkeypatch.setenv("SHOP_CHAT", "json://user:hidden@localhost")
    product = folder.resolve(head + WHOLE)
    alerts = product.alerts
    assert list(alerts.channels) == ["chat", "mail", "hook", "owner", "shop_pager"]
    everyday, pager = alerts.rules
    assert (everyday.on, everyday.to) == (("sla_warning", "sla_breach", "failed_run"), ("chat", "owner"))
    assert (pager.on, pager.to, pager.at_least) == (CONDITIONS, ("shop_pager",), "critical")
    assert (alerts.remind, alerts.escalate_after) == (timedelta(hours=4), timedelta(hours=1))
    assert (alerts.escalate_to, alerts.grace) == (("mail",), timedelta(seconds=10))
    assert (alerts.quarantine_share, alerts.stuck_after) == (Fraction(1, 100), timedelta(minutes=30))
    assert alerts.consumers == ("sla_breach",)
    assert alerts.contacts == {"board_report": "${BOARD_CHAT}"}
    owner = alerts.channels["owner"].email
    assert owner.to == ("shops@example.com",)
    assert owner.server.host == "mail.example.com"
    assert references(alerts.channels["mail"]) == ("SMTP_USER", "SMTP_PASSWORD")
    assert "hidden" not in str(product.alerts)


def test_a_channel_says_which_variables_are_not_set(folder, head, monkeypatch):
    monkeypatch.setenv("SHOP_CHAT", "json://localhost")
    states = {line.path: (line.state, line.reason) for line in folder.resolve(head + WHOLE).lines}
    mail = "environment variables SMTP_USER, SMTP_PASSWORD are not set"
    assert states["alerts.channels.chat"] == ("active", "")
    assert states["alerts.channels.mail.email.to"] == ("not evaluated", mail)
    assert states["alerts.channels.hook.webhook.url"] == (
        "not evaluated",
        "environment variables SHOP_HOOK, SHOP_TOKEN are not set",
    )
    assert states["alerts.to[0]"] == ("active", "")
    assert states["alerts.to[1]"] == ("not evaluated", mail)
    assert states["alerts.rules[0].to"] == ("not evaluated", "environment variable SHOP_PAGER is not set")
    assert states["consumers[0].contact"] == ("not evaluated", "environment variable BOARD_CHAT is not set")
    assert states["alerts.remind"] == ("active", "")


def test_a_reference_alone_is_one_channel_for_everything(folder, head):
    alerts = folder.resolve(head + "alerts: ${SHOP_CHAT}\n").alerts
    assert list(alerts.channels) == ["shop_chat"]
    assert [(rule.on, rule.to) for rule in alerts.rules] == [(CONDITIONS, ("shop_chat",))]


def test_without_any_channel_nothing_is_green(folder, head):
    product = folder.resolve(head + "alerts: {on: sla}\n")
    (line,) = [line for line in product.lines if line.path == "alerts.on"]
    assert line.state == "not evaluated"
    assert line.reason.startswith("no channel is declared, here or in the settings")


REFUSED = """\
alerts: slack://s3cret
  => alerts: {LITERAL}
alerts: {to: slack://s3cret}
  => alerts.to: neither the name of a channel nor a reference; write the name of a channel, or ${NAME}
alerts: {channels: slack://s3cret}
  => alerts.channels: channels are given by name; write `name: ${VARIABLE}` lines below it
alerts: {channels: {chat: slack://s3cret}}
  => alerts.channels.chat: {LITERAL}
alerts: {channels: {chat: "${CHAT:-slack://s3cret}"}}
  => alerts.channels.chat: {LITERAL}
alerts: {channels: {chat: {url: slack://s3cret}}}
  => alerts.channels.chat.url: {LITERAL}
alerts: {channels: {chat: [slack://s3cret]}}
  => alerts.channels.chat: {LITERAL}
alerts: {channels: {chat: {webhook: https://s3cret}}}
  => alerts.channels.chat.webhook: wants a mapping; write `name: value` lines below it
alerts: {channels: {chat: {}}}
  => alerts.channels.chat: a channel is one of url, email and webhook; write one of them
alerts: {mail_server: {host: a, from: b, password: s3cret}}
  => alerts.mail_server.password: {LITERAL}
alerts: {to: chat}
  => alerts.to: chat is no channel of the product or of the platform; choices: owner
alerts: {on: [sla, lateness]}
  => alerts.on[1]: lateness is no condition; conditions: {LISTED}
alerts: {remind: 4h}
  => alerts.remind: 4h is no ISO 8601 duration; write a duration such as PT30M, PT6H or P2D
alerts: {at_least: bad}
  => alerts.at_least: bad is no choice here; choices: critical, error, warning
alerts: {maintenance: [{cron: 0 2 * * 0}]}
  => alerts.maintenance[0]: is neither cron with duration nor from with to; write one of the two pairs
alerts: {maintenance: [{cron: 2 * 0, duration: PT1H}]}
  => alerts.maintenance[0].cron: 2 * 0 is no cron expression; write minute, hour, day of month, month, weekday
alerts: {remnid: PT4H}
  => alerts.remnid: unknown key; did you mean remind?
"""


def refused() -> list[tuple[str, str]]:
    """What is written, and what is said of it."""
    lines = REFUSED.splitlines()
    return [(block, said.removeprefix("  => ")) for block, said in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize(("block", "problem"), refused())
def test_what_is_refused_is_said_without_the_secret(folder, head, block, problem):
    (found,) = folder.problems(head + block + "\n")
    listed = ", ".join((*CONDITIONS, "all", "sla"))
    expected = problem.replace("{LITERAL}", LITERAL).replace("{LISTED}", listed)
    assert found == f"product.yaml:3: {expected}"
    assert "s3cret" not in found


def test_the_platforms_defaults(folder, head, tmp_path, monkeypatch):
    (folder.root.parent / "dp_dagster.toml").write_text(
        '[alerts]\nremind = "PT2H"\n[alerts.channels]\nops = "${OPS_CHAT}"\n'
    )
    settings = Settings.load(folder.root)
    assert platform_alerts(settings).rules[0].to == ("ops",)
    assert (
        not_evaluated(platform_alerts(settings).channels["ops"]) == "environment variable OPS_CHAT is not set"
    )
    folder.settings = settings
    alerts = folder.resolve(head).alerts
    assert (alerts.rules[0].to, alerts.remind) == (("ops",), timedelta(hours=2))
    alerts = folder.resolve(head + "alerts: {on: sla, to: ops, remind: PT1H}\n").alerts
    assert (alerts.rules[0].on, alerts.rules[0].to) == (("sla_warning", "sla_breach"), ("ops",))
    assert alerts.remind == timedelta(hours=1)
    monkeypatch.setenv("DP_ALERTS", '{"channels": {"ops": "slack://s3cret"}}')
    with pytest.raises(
        SettingsError, match=r"settings: alerts\.channels\.ops: this may hold a secret"
    ) as raised:
        platform_alerts(Settings.load(folder.root))
    assert "s3cret" not in str(raised.value)
