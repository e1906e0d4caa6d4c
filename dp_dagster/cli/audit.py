"""``dp audit``: who did what, whether the log is whole, and its head to keep outside."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from dp_dagster.cli.groups import group
from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.records import Record, Records

_KIND_HELP = "Only records of this kind (published, refused, changed, …)."
_SHOWN_FACTS = 100


def log(
    product: Annotated[str | None, typer.Argument(metavar="[PRODUCT]", help="Only of this product.")] = None,
    *,
    actor: Annotated[str | None, typer.Option(help="Only what they did: user:ada, schedule:NAME.")] = None,
    kind: Annotated[str | None, typer.Option(help=_KIND_HELP)] = None,
    since: Annotated[
        str | None, typer.Option(help="Not older than this: 2026-11-01, or 7d for a week ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Older than this.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, the newest ones. Default: 50; without limit with --json."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, oldest first, instead of a table.")
    ] = False,
) -> None:
    """Show the audit log, newest first: who did what, when, to what."""
    from dp_dagster.cli.moments import moment
    from dp_dagster.errors import UsageError
    from dp_dagster.records import KINDS

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind}: is no kind of record; choices: {', '.join(KINDS)}")
    wanted: dict[str, Any] = {
        "product": product,
        "actor": actor,
        "kind": kind,
        "since": moment(since, "--since") if since else None,
        "until": moment(until, "--until") if until else None,
    }
    records = _records()
    if as_json:
        _print_lines(records, wanted, limit)
    else:
        _print_table(records, wanted, limit or 50)


def verify(
    *,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of anchors (dp audit anchor); the log must still hold each. May be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Prove that no record and no access was changed, removed or slipped in; says which was. Ends with 1 if one was.

    Who can write the database can also rewrite the whole log. With an anchor that was kept where they cannot write,
    that shows, too.
    """
    from dp_dagster.access.verification import verify as verify_accesses
    from dp_dagster.cli.output import print_json
    from dp_dagster.records.verification import read_anchors

    anchors = [one for file in anchor or [] for one in read_anchors(file)]
    records = _records()
    found = records.verification(anchors)
    accesses = verify_accesses(records)
    is_whole = found.is_whole and not accesses
    if as_json:
        print_json({"whole": is_whole, **_plain(found), "accesses": accesses})
        return 0 if is_whole else 1
    for problem in (*found.problems, *accesses):
        click.echo(str(problem), err=True)
    if found.further:
        click.echo(f"and {found.further:,} more", err=True)
    if not is_whole:
        return 1
    if not found.count and not anchors:
        click.echo("there are no records yet")
        return 0
    proven = (
        f" All {len(anchors)} anchors hold." if len(anchors) > 1 else " The anchor holds." if anchors else ""
    )
    click.echo(f"{found.count:,} records, each as it was written.{proven} Head: {found.hash}")
    return 0


def anchor(
    *,
    file: Annotated[
        Path | None, typer.Option(help="Add it to this file instead of printing it; kept outside, of course.")
    ] = None,
) -> None:
    """Print the head of the log as one line of JSON, to be kept where nobody who writes the log can write."""
    from dp_dagster.errors import UsageError

    line = _records().anchor().to_json()
    if file is None:
        click.echo(line)
        return
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"added to {file}: {line}")


audit = group(
    "Audit log: who did what; whether it is whole. `dp audit [PRODUCT]` is `dp audit log [PRODUCT]`.",
    {"log": log, "verify": verify, "anchor": anchor},
    default="log",
)


def _records() -> Records:
    from dp_dagster.records import Records
    from dp_dagster.settings import Settings

    settings = Settings.load()
    return Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)


def _print_lines(records: Records, wanted: dict[str, Any], limit: int | None) -> None:
    import json
    from dataclasses import asdict

    if limit is None:
        found = records.stream(oldest_first=True, **wanted)
    else:
        found = reversed(records.query(limit=limit, **wanted))
    for record in found:
        click.echo(json.dumps(asdict(record), ensure_ascii=False))


def _print_table(records: Records, wanted: dict[str, Any], limit: int) -> None:
    from dp_dagster.cli.output import print_table

    found = records.query(limit=limit, **wanted)
    if not found:
        click.echo("no record matches")
        return
    print_table(
        ("id", "at (UTC)", "who", "did", "product", "what", "facts (all of them with --json)"),
        [
            (
                record.id,
                record.at[:19].replace("T", " "),
                record.actor,
                record.kind.replace("_", " "),
                record.product,
                record.subject,
                _facts(record),
            )
            for record in found
        ],
    )


def _facts(record: Record) -> str:
    """The facts that fit into a line: single values, the most telling first."""
    payload = record.payload
    verdict = payload.get("verdict")
    if isinstance(verdict, dict):
        payload = {"decision": verdict.get("decision"), "rows": verdict.get("rows_in")}
    plain = {
        name: value
        for name, value in payload.items()
        if isinstance(value, str | int) and name != "environment"
    }
    first = [name for name in ("reason", "by", "version") if name in plain]
    text = ", ".join(f"{name} {plain[name]}" for name in dict.fromkeys([*first, *plain]))
    return text if len(text) <= _SHOWN_FACTS else f"{text[: _SHOWN_FACTS - 1]}…"


def _plain(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)
