"""The catalogue as a page: one file, no scripts, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dp_dagster.control.catalog import DatasetEntry, Hit, PortEntry, ProductEntry

_STYLE = """
:root { color-scheme: light dark; --line: #d5dae1; --soft: #667085; --card: #ffffff; --back: #f5f6f8; --text: #1d2430;
  --link: #2457c5; --good: #16794a; --bad: #b42318; --warn: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --line: #333b47; --soft: #98a2b3; --card: #1c222b; --back: #13171d;
  --text: #e6e9ee; --link: #8ab4ff; --good: #5fd39a; --bad: #ff8a80; --warn: #f0c060 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1100px; margin: 0 auto; padding: 24px }
h1 { font-size: 24px; margin: 0 } h2 { font-size: 19px; margin: 0 } h3 { font-size: 15px; margin: 18px 0 6px }
a { color: var(--link) } code { font: 13px ui-monospace, monospace }
form { display: flex; gap: 8px; margin: 16px 0 24px }
input { flex: 1; padding: 9px 12px; border: 1px solid var(--line); border-radius: 6px; background: var(--card);
  color: inherit; font: inherit }
button { padding: 9px 18px; border: 0; border-radius: 6px; background: var(--link); color: #fff; font: inherit }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin: 0 0 20px }
.soft { color: var(--soft) } .met { color: var(--good) } .breached { color: var(--bad) } .warning { color: var(--warn) }
table { width: 100%; border-collapse: collapse; font-size: 14px }
th { text-align: left; font-weight: 600; color: var(--soft) }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top }
summary { cursor: pointer; margin: 14px 0 6px; font-weight: 600 }
.badge { border: 1px solid var(--line); border-radius: 10px; padding: 1px 8px; font-size: 12px; color: var(--soft) }
"""


def page(entries: Sequence[ProductEntry], text: str, hits: Sequence[Hit] | None, root: str) -> str:
    """The catalogue, or what a search found in it.

    Args:
        entries: The products.
        text: What was searched for; empty where nothing was.
        hits: What was found; ``None`` where nothing was searched for.
        root: Path of the control port, for links.
    """
    body = "".join(_product(entry, root) for entry in entries) if hits is None else _hits(hits, text)
    many = "1 product" if len(entries) == 1 else f"{len(entries)} products"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Data products</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Data products</h1><p class=soft>{many}</p>"
        f"<form action='{escape(root)}/catalog'><input name=search value='{escape(text, quote=True)}' "
        "placeholder='Search products, ports and columns' aria-label='Search'><button>Search</button></form>"
        f"{body}</main></body></html>"
    )


def _hits(hits: Sequence[Hit], text: str) -> str:
    if not hits:
        return f"<article>Nothing has all the words of <q>{escape(text)}</q>.</article>"
    rows = "".join(
        f"<tr><td><code>{escape(hit.where)}</code></td><td>{escape(hit.text)}</td></tr>" for hit in hits
    )
    return f"<article><table><tr><th>where</th><th>what it says</th></tr>{rows}</table></article>"


def _product(entry: ProductEntry, root: str) -> str:
    owner = " ".join(str(value) for value in entry.owner.values())
    facts = [entry.version, entry.status, entry.domain, f"owned by {owner}" if owner else "no owner"]
    facts += [f"help: {value}" for value in entry.support.values()]
    if entry.reads:
        facts.append(f"reads {', '.join(entry.reads)}")
    about = " · ".join(escape(str(fact)) for fact in facts if fact)
    problem = f"<p class=breached>{escape(entry.problem)}</p>" if entry.problem else ""
    documents = ""
    if entry.datasets and entry.status != "published elsewhere":
        place = f"{escape(root)}/catalog/{escape(entry.id)}"
        contracts = " ".join(
            f"<a href='{place}/odcs/{escape(one.name)}'>{escape(one.name)}</a>" for one in entry.datasets
        )
        documents = f"<p class=soft>Documents: <a href='{place}/odps'>ODPS</a>, ODCS of {contracts}</p>"
    text = "".join(f"<p>{escape(part)}</p>" for part in entry.description.split("\n\n") if part.strip())
    return (
        f"<article id='{escape(entry.id)}'><h2>{escape(entry.name)} <code class=soft>{escape(entry.id)}</code></h2>"
        f"<p class=soft>{about}</p>{problem}{text}{_ports(entry.ports)}"
        f"{''.join(_dataset(dataset) for dataset in entry.datasets)}{documents}</article>"
    )


def _ports(ports: Iterable[PortEntry]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(port.name)}</code> <span class=badge>{escape(port.kind)}</span>"
        f"<br><span class=soft>{escape(port.description)}</span>{_deprecated(port.deprecated)}</td>"
        f"<td>{_shown(port)}</td><td>{_objectives(port)}</td>"
        f"<td>{escape(', '.join(port.consumers)) or '<span class=soft>none known</span>'}</td></tr>"
        for port in ports
    )
    if not rows:
        return "<p class=soft>No output ports.</p>"
    return (
        "<h3>Output ports</h3><table><tr><th>port</th><th>shows</th><th>promises</th><th>consumers</th></tr>"
        f"{rows}</table>"
    )


def _shown(port: PortEntry) -> str:
    if port.version is None:
        return f"<span class=soft>{escape('nothing yet' if port.state == 'active' else port.state)}</span>"
    at = (port.published_at or "")[:16].replace("T", " ")
    return (
        f"version {port.version}, {port.rows or 0:,} rows<br><span class=soft>{escape(at)} UTC</span>"
        f"<br><code>{escape(port.address)}</code>"
    )


def _objectives(port: PortEntry) -> str:
    if not port.objectives:
        return "<span class=soft>none evaluated</span>"
    return "<br>".join(
        f"{escape(one['name'].replace('_', ' '))} {escape(one['promise'])}: <span class='{escape(one['state'])}'>"
        f"{escape(one['state'])}</span>"
        + (f" <span class=soft>({escape(one['reason'])})</span>" if one["state"] == "not evaluated" else "")
        for one in port.objectives
    )


def _deprecated(notice: str | None) -> str:
    return f"<br><span class=warning>{escape(notice)}</span>" if notice else ""


def _dataset(dataset: DatasetEntry) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(column.name)}</code>{' (key)' if column.name in dataset.key else ''}</td>"
        f"<td><code>{escape(column.type)}</code>{'' if column.nullable else ', not null'}</td>"
        f"<td>{escape(column.description)}{f' [{escape(column.unit)}]' if column.unit else ''}"
        f"{_classified(column.classification)}<br><span class=soft>{escape('; '.join(column.rules))}</span></td></tr>"
        for column in dataset.columns
    )
    return (
        f"<details><summary>{escape(dataset.name)}: {len(dataset.columns)} columns, contract "
        f"{escape(dataset.contract)}</summary><p class=soft>{escape(dataset.description)}</p>"
        f"<table><tr><th>column</th><th>type</th><th>meaning and rules</th></tr>{rows}</table></details>"
    )


def _classified(classification: str | None) -> str:
    return f" <span class=badge>{escape(classification)}</span>" if classification else ""
