"""The page of service levels: one HTML text, which loads nothing from anywhere and runs no script."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from dp_dagster.resolve.objectives import UnevaluatedLevel
from dp_dagster.sla.charts import budget_bar, trend_chart
from dp_dagster.sla.model import STATES
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.model import ObjectiveKey, ObjectiveState
    from dp_dagster.sla.store import Stretch

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may load for the page: its own style, and nothing else."""

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5f6b7c; --line: #dfe3ea;
  --met: #1a8f5a; --warning: #c98a00; --breached: #d1343b; --pending: #4570d6; --not-evaluated: #8a94a6; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161d; --card: #1b212b; --ink: #e6eaf1; --soft: #98a4b5;
  --line: #2d3643; --met: #3fbf84; --warning: #e0ab3a; --breached: #f0666c; --pending: #7ea0f5;
  --not-evaluated: #76839a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 0; }
p { margin: 0; } .soft { color: var(--soft); }
.counts { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0 24px; padding: 0; list-style: none; }
.counts li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; }
.counts b { font-size: 22px; display: block; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px;
  margin-bottom: 20px; }
header { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; margin-bottom: 12px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--soft); }
th, td { padding: 8px 12px 8px 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; } tbody th { color: var(--ink); font-size: 15px; white-space: nowrap; }
tbody th small { display: block; color: var(--soft); font-weight: 400; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.state { display: inline-block; border-radius: 999px; padding: 0 10px; color: #fff; font-size: 13px; font-weight: 600;
  white-space: nowrap; }
.why { min-width: 220px; max-width: 420px; font-size: 14px; }
svg { display: block; } svg .ground { fill: var(--line); }
svg .value { fill: none; stroke: var(--ink); stroke-width: 1.5; } svg circle.value { fill: var(--ink); }
svg .target { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .met { fill: var(--met); } svg .warning { fill: var(--warning); } svg .breached { fill: var(--breached); }
svg .not_evaluated { fill: var(--not-evaluated); }
.state.met { background: var(--met); } .state.warning { background: var(--warning); }
.state.breached { background: var(--breached); } .state.pending { background: var(--pending); }
.state.not_evaluated { background: var(--not-evaluated); }
@media (prefers-color-scheme: dark) { .state { color: #10141a; } }
"""
_HEAD = ("objective", "promise", "reading", "budget", "trend", "state", "why")


@dataclass(frozen=True)
class Section:
    """One product on the page.

    Attributes:
        product: Its id; ``title`` its name for people, ``owner`` who answers for it.
        states: Where its objectives stand, in the order in which they are shown.
        unevaluated: Promises of contracts that are no objectives, and objectives of which there is no reading yet,
            with the label of the port.
        sees: What consumers see, by label of the port.
    """

    product: str
    title: str
    owner: str
    states: tuple[ObjectiveState, ...]
    unevaluated: tuple[tuple[str, UnevaluatedLevel], ...] = ()
    sees: Mapping[str, str] | None = None


def sections_of(products: Sequence[ResolvedProduct], states: Sequence[ObjectiveState]) -> list[Section]:
    """The sections of products, from states that may be those of many. What is no longer promised is left out."""
    from dp_dagster.sla.consumers_see import consumers_see

    by_key = {one.key: one for one in states}
    found = []
    for product in products:
        promised = [(port.label, one) for port in product.ports for one in port.objectives]
        stands = [(port, one, by_key.get((product.id, port, one.id))) for port, one in promised]
        owner = product.descriptor.owner
        found.append(
            Section(
                product.id,
                product.descriptor.title,
                owner.team if owner is not None else "",
                tuple(state for _, _, state in stands if state is not None),
                (
                    *((port, _not_read(one)) for port, one, state in stands if state is None),
                    *((port.label, level) for port in product.ports for level in port.promises.unevaluated),
                ),
                {
                    port.label: consumers_see(product.settings, product.id, port.label).text
                    for port in product.active_ports
                },
            )
        )
    return found


def _not_read(objective: Objective) -> UnevaluatedLevel:
    return UnevaluatedLevel(
        objective.id.replace("_", " "),
        objective.promise,
        "nothing was read yet; the sensor of the product's location does, or dp sla",
        objective.origin,
    )


def render(
    sections: Sequence[Section],
    trends: Mapping[ObjectiveKey, Sequence[Stretch]],
    start: datetime,
    now: datetime,
) -> str:
    """The page as HTML.

    Args:
        sections: The products.
        trends: How each objective went since ``start``, by the hour or by the day.
        start: Where the charts begin.
        now: Where they end.
    """
    states = [one for section in sections for one in section.states]
    counts = {name: sum(one.state == name for one in states) for name in STATES}
    counts["not_evaluated"] += sum(len(section.unevaluated) for section in sections)
    shown = "".join(
        f'<li><b>{count}</b><span class="state {name}">{_words(name)}</span></li>'
        for name, count in counts.items()
    )
    body = "".join(_section(one, trends, start, now) for one in sections)
    if not states:
        body = (
            "<p>Nothing is promised, or nothing was evaluated yet: write <code>sla:</code> in product.yaml.</p>"
            + body
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Service levels</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>Service levels</h1>"
        f'<p class="soft">{moment(now)}; charts go back {span(now - start)}. A budget is what a promise leaves: '
        "99.9 % over 30 days, 43.2 minutes.</p>"
        f'<ul class="counts">{shown}</ul>{body}</main></body></html>'
    )


def _section(
    section: Section, trends: Mapping[ObjectiveKey, Sequence[Stretch]], start: datetime, now: datetime
) -> str:
    rows = [_row(one, trends.get(one.key, ()), start, now) for one in section.states]
    rows += [
        f'<tr><th scope="row">{escape(level.name)}<small>{escape(port)}</small></th>'
        f"<td>{escape(level.value)}</td><td></td><td></td><td></td>"
        f'<td><span class="state not_evaluated">not evaluated</span></td>'
        f'<td class="why">{escape(level.reason)} ({escape(level.origin)})</td></tr>'
        for port, level in section.unevaluated
    ]
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
    seen = "; ".join(f"{port} shows {text}" for port, text in (section.sees or {}).items())
    owner = f" · {escape(section.owner)}" if section.owner else ""
    table = (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    return (
        f'<section id="{escape(section.product)}"><header><h2>{escape(section.title)}</h2>'
        f'<span class="soft">{escape(section.product)}{owner}</span></header>'
        f'<p class="soft">{escape(seen)}</p>{table if rows else "<p>Nothing is promised.</p>"}</section>'
    )


def _row(one: ObjectiveState, trend: Sequence[Stretch], start: datetime, now: datetime) -> str:
    name = one.objective.replace("_", " ")
    budget = ""
    if one.budget_left is not None:
        burn = f"<br>burn rate {one.burn_rate:.3g}" if one.burn_rate is not None else ""
        budget = (
            f"{budget_bar(one.budget_left, one.budget_text)}<small>{escape(one.budget_text)}{burn}</small>"
        )
    chart = trend_chart(trend, start, now, one.target, f"{one.port} {name} over {span(now - start)}")
    reading = escape(one.reading_text)
    target = f'<br><small class="soft">of {escape(one.target_text)}</small>' if one.target is not None else ""
    if one.partition:
        target += f'<br><small class="soft">partition {escape(one.partition)}</small>'
    return (
        f'<tr><th scope="row">{escape(name)}<small>{escape(one.port)}</small></th><td>{escape(one.promise)}</td>'
        f'<td class="number">{reading}{target}</td><td class="number">{budget}</td><td>{chart}</td>'
        f'<td><span class="state {one.state}">{_words(one.state)}</span></td>'
        f'<td class="why">{escape(one.reason)}<br><small class="soft">since {moment(one.since)}</small></td></tr>'
    )


def _words(state: str) -> str:
    return state.replace("_", " ")
