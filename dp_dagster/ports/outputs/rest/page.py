"""The page that tells people about a REST port: made by the server, with nothing from another host."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.phrases import wanted
from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES
from dp_dagster.ports.outputs.rest.document import visible_columns
from dp_dagster.ports.outputs.rest.negotiation import FORMS
from dp_dagster.predicates.conditions import operators_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.outputs.rest.description import PortDescription
    from dp_dagster.rows.query import ServedVersion

_MEANING = {
    "eq": "equal; `column=value` is short for it",
    "ne": "not equal",
    "lt": "less than",
    "lte": "at most",
    "gt": "more than",
    "gte": "at least",
    "in": "one of several: `a,b,c`, a comma in a value as `\\,`",
    "not_in": "none of several",
    "null": "`true`: has no value; `false`: has one",
    "contains": "holds a text",
    "starts_with": "begins with a text",
    "ends_with": "ends with a text",
}
_PARAMETERS = (
    ("fields", "name,value", "columns to give, in this order"),
    ("sort", "-value,name", "columns to sort by; - turns the order; rows without a value come last"),
    ("limit", "500", "rows of a page, or all"),
    ("cursor", "…", "the next or previous page; from the links of a page"),
    ("as_of", "12 or 2026-01-31T08:30:00Z", "a version, or what was on show at that time"),
    ("format", "csv", "goes before Accept"),
)


def documentation_page(
    port: PortDescription, version: ServedVersion, view: DatasetView, example: Mapping[str, Any] | None = None
) -> str:
    """The page, as HTML.

    Args:
        port: What the port is.
        version: The version on show.
        view: What the reader may see.
        example: A row as JSON, as the reader sees it.
    """
    columns = visible_columns(port.contract, version, view)
    key = "/".join(f"{{{name}}}" for name in version.key)
    rest = "\n".join(port.description.strip().splitlines()[1:]).strip()
    addresses = [
        (port.path, "rows, page by page or all of them"),
        *([(f"{port.path}/{key}", "one row")] if key else []),
        (f"{port.path}/count", "how many rows there are"),
        *([(f"{port.path}/files", "the published Parquet files")] if version.hands_out_files(view) else []),
        (f"{port.path}/openapi.json", "all of this for programs: OpenAPI 3.1"),
    ]
    title = f"{port.product}: {port.dataset}"
    facts = [
        ("address", f"<code>{escape(port.address)}</code>"),
        ("version on show", f"{version.version}, published {version.published_at:%Y-%m-%d %H:%M} UTC"),
        ("rows", f"{version.rows:,}" if view.is_whole else "those that you may see"),
        ("key", _codes(version.key) or "none"),
        ("access", _inline(port.access)),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<p class="crumb">{escape(port.product)} · v{port.major} · {escape(port.port)}</p>
<h1>{escape(port.dataset)}</h1>
<p class="summary">{escape(port.summary)}</p>
{
        f"<p class=warning>{escape(port.deprecation[:1].upper() + port.deprecation[1:])}.</p>"
        if port.deprecation
        else ""
    }
{f'<p class="more">{escape(rest)}</p>' if rest else ""}
</header>
<main>
<section><dl>{"".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)}</dl></section>
<section><h2>Try it</h2>{_form(port, columns, view)}</section>
<section><h2>Copy it</h2>{"".join(_example(one.language, one.text) for one in port.examples)}</section>
<section><h2>Addresses</h2>{
        _table(("GET", ""), [(f"<code>{escape(a)}</code>", escape(b)) for a, b in addresses])
    }</section>
<section><h2>Columns</h2>{_columns(port, columns, view, version)}</section>
{_row(example)}
<section><h2>Filters</h2>
<p>A column, an operator in brackets, a value: <code>amount[gte]=100</code>. All that is said must hold.</p>
{
        _table(
            ("operator", "meaning"),
            [(f"<code>{name}</code>", _inline(_MEANING[name])) for name in OPERATOR_NAMES],
        )
    }</section>
<section><h2>Parameters</h2>
{
        _table(
            ("parameter", "for example", "meaning"),
            [(f"<code>{a}</code>", f"<code>{escape(b)}</code>", escape(c)) for a, b, c in _PARAMETERS],
        )
    }</section>
<section><h2>Forms of an answer</h2>
<p>By <code>Accept</code>, or by <code>format</code>. JSON gives a page of {port.page_size} rows
{
        f", or up to {port.most_rows:,} by <code>limit</code>"
    }; the others give all rows unless <code>limit</code> says how many.</p>
{
        _table(
            ("format", "Accept"),
            [(f"<code>{form.name}</code>", f"<code>{form.media_type}</code>") for form in FORMS.values()],
        )
    }</section>
<section><h2>When something is wrong</h2>
<p>The answer is a problem document (RFC 9457) that says which part of the request is at fault, and what would be
right. Pages are read from one version, whatever is published meanwhile; when that version is no longer kept, the
answer is 410: begin again without the cursor. <code>ETag</code> changes with the version, so
<code>If-None-Match</code> costs nothing while there is nothing new.</p></section>
</main>
</body>
</html>
"""


def _form(port: PortDescription, columns: Mapping[str, Column], view: DatasetView) -> str:
    """A form that asks the port, without a script. No filters: a field left empty would ask for an empty text."""
    clear = [column for name, column in columns.items() if name in view.clear]
    sorts = "".join(
        f'<option value="{escape(sign + column.name, quote=True)}">{escape(column.name)} {arrow}</option>'
        for column in clear
        if "lt" in operators_for(column.type)
        for sign, arrow in (("", "↑"), ("-", "↓"))
    )
    formats = "".join(f"<option>{name}</option>" for name in FORMS)
    return (
        f'<form action="{escape(port.path, quote=True)}" method="get">'
        f'<label><span>sort</span><select name="sort">{sorts}</select></label>'
        '<label><span>limit</span><input name="limit" type="number" min="1" value="10"></label>'
        f'<label><span>format</span><select name="format">{formats}</select></label>'
        "<button>Ask</button></form>"
    )


def _columns(
    port: PortDescription, columns: Mapping[str, Column], view: DatasetView, version: ServedVersion
) -> str:
    rows = []
    for name, column in columns.items():
        badges = []
        if name in version.key:
            badges.append('<b class="badge key">key</b>')
        if column.classification:
            badges.append(f'<b class="badge">{escape(column.classification)}</b>')
        if name in view.masks:
            badges.append(f'<b class="badge masked">masked: {view.masks[name]}</b>')
        rules = [
            wanted(rule)
            for rule in port.contract.rules
            if rule.columns == (name,)
            and rule.level == "row"
            and rule.kind != "type"
            and name not in view.masks
        ]
        about = escape(column.description) + (f" In {escape(column.unit)}." if column.unit else "")
        rows.append(
            (
                f"<code>{escape(name)}</code> {' '.join(badges)}",
                f"<code>{escape(column.type)}</code>",
                f"{about}{_rules(rules)}",
            )
        )
    return _table(("column", "type", "meaning"), rows)


def _rules(rules: Sequence[str]) -> str:
    return f'<p class="rules">{escape("; ".join(dict.fromkeys(rules)))}</p>' if rules else ""


def _row(example: Mapping[str, Any] | None) -> str:
    if not example:
        return ""
    text = json.dumps(example, indent=2, ensure_ascii=False)
    return f"<section><h2>A row</h2><pre>{escape(text)}</pre></section>"


def _example(language: str, text: str) -> str:
    return f"<figure><figcaption>{escape(language)}</figcaption><pre>{escape(text)}</pre></figure>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are HTML."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _inline(text: str) -> str:
    """Text with code in backticks, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


_STYLE = """
:root { color-scheme: light dark; --ink: #16202c; --soft: #5a6b7e; --paper: #fbfcfd; --card: #fff; --line: #dfe5ec;
  --mark: #0b6e6e; --code: #f1f4f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #94a3b5; --paper: #10161d; --card: #17202a;
  --line: #2a3642; --mark: #4fc3b8; --code: #1f2a35; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header, main { max-width: 980px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; padding-bottom: 8px; }
.crumb { margin: 0; color: var(--mark); font-weight: 600; letter-spacing: .02em; }
h1 { margin: 4px 0 6px; font-size: 34px; line-height: 1.15; }
.summary { margin: 0; font-size: 18px; }
.more { color: var(--soft); white-space: pre-line; }
.warning { margin: 14px 0 6px; padding: 8px 14px; border-left: 4px solid #b4541a; background: var(--code); }
h2 { margin: 0 0 12px; font-size: 19px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 18px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: var(--code); border-radius: 5px; }
code { padding: 1px 5px; overflow-wrap: anywhere; } pre { margin: 0; padding: 12px 14px; overflow-x: auto; }
pre code { padding: 0; }
figure { margin: 0 0 14px; } figure:last-child { margin-bottom: 0; }
figcaption { color: var(--soft); font-size: 13px; margin-bottom: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.rules { margin: 2px 0 0; color: var(--soft); font-size: 13px; }
.badge { font-size: 11px; font-weight: 600; padding: 1px 7px; border-radius: 9px; border: 1px solid var(--line);
  color: var(--soft); white-space: nowrap; }
.badge.key { color: var(--mark); border-color: var(--mark); }
.badge.masked { color: #b4541a; border-color: #b4541a; }
form { display: flex; flex-wrap: wrap; gap: 14px; align-items: end; }
label span { display: block; color: var(--soft); font-size: 13px; margin-bottom: 3px; }
input, select, button { font: inherit; padding: 6px 10px; border: 1px solid var(--line); border-radius: 7px;
  background: var(--paper); color: var(--ink); }
button { background: var(--mark); border-color: var(--mark); color: var(--card); font-weight: 600; cursor: pointer; }
"""
