"""``dp keys``: API keys of consumers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from datetime import timedelta

    from dp_dagster.access.authentication.api_keys import ApiKey, ApiKeys

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})(h|d|w|y)\Z")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7, "y": 24 * 365}

keys = typer.Typer(
    no_args_is_help=True,
    help="API keys of consumers, for served ports with `auth: api_key`: create, list, revoke.",
)


@keys.command("create")
def create(
    consumer: Annotated[str, typer.Argument(help="Whose key it is: the subject that access rules name.")],
    *,
    role: Annotated[
        list[str] | None, typer.Option(help="A role that the key brings. May be given again.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope that the key brings. May be given again.")
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What row filters may ask of the consumer. May be given again; the same name again makes a list.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long the key is good: 12h, 90d, 8w, 1y. For ever by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and show it this once: only a hash of it is kept."""
    from dp_dagster.cli.output import print_json
    from dp_dagster.records import os_user

    key, made = _keys().create(
        consumer,
        os_user(),
        roles=role or (),
        scopes=scope or (),
        claims=_claims(claim or []),
        lifetime=_lifetime(expires),
    )
    if as_json:
        print_json({"key": key, **_facts(made)})
        return
    typer.echo(key)
    until = f"until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else "for ever"
    typer.echo(
        f"The key of {made.consumer}, good {until}. It is not shown again; revoke it with: dp keys revoke {made.id}",
        err=True,
    )


@keys.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """List the keys: whose, what they bring, when they were last used. Never the keys themselves."""
    from dp_dagster.cli.output import print_json, print_table

    found = _keys().all()
    if as_json:
        print_json([_facts(one) for one in found])
        return
    if not found:
        typer.echo("there are no keys; make one with: dp keys create CONSUMER")
        return
    facts = [_facts(one) for one in found]
    print_table(
        (
            "id",
            "consumer",
            "state",
            "roles",
            "scopes",
            "claims",
            "expires (UTC)",
            "last used (UTC)",
            "created by",
        ),
        [
            (
                one["id"],
                one["consumer"],
                one["state"],
                ", ".join(one["roles"]),
                ", ".join(one["scopes"]),
                ", ".join(f"{name}={value}" for name, value in one["claims"].items()),
                f"{one['expires_at']:%Y-%m-%d %H:%M}" if one["expires_at"] else "never",
                f"{one['last_used_at']:%Y-%m-%d %H:%M}" if one["last_used_at"] else "never",
                one["created_by"],
            )
            for one in facts
        ],
    )


@keys.command("revoke")
def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as dp keys list shows it.")],
) -> None:
    """Revoke a key. Running servers refuse it within seconds."""
    from dp_dagster.records import os_user

    revoked = _keys().revoke(identifier, os_user())
    typer.echo(f"revoked {revoked.id}, a key of {revoked.consumer}")


def _keys() -> ApiKeys:
    from dp_dagster.access.authentication.api_keys import ApiKeys
    from dp_dagster.records import Records
    from dp_dagster.settings import Settings

    settings = Settings.load()
    return ApiKeys(Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout))


def _facts(key: ApiKey) -> dict[str, Any]:
    from datetime import UTC, datetime

    return {
        "id": key.id,
        "consumer": key.consumer,
        "state": key.state(datetime.now(UTC)),
        "roles": key.roles,
        "scopes": key.scopes,
        "claims": dict(key.claims),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _lifetime(text: str | None) -> timedelta | None:
    from datetime import timedelta

    from dp_dagster.errors import UsageError

    if text is None:
        return None
    match = _LIFETIME.match(text)
    if match is None:
        raise UsageError(f"{text[:60]!r} is no length of time; write 12h, 90d, 8w or 1y")
    return timedelta(hours=int(match.group(1)) * _HOURS[match.group(2)])


def _claims(texts: list[str]) -> dict[str, str | tuple[str, ...]]:
    from dp_dagster.errors import UsageError

    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{text[:60]!r} is no claim; write NAME=VALUE, such as region=EU")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else tuple(values) for name, values in found.items()}
