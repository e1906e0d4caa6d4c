"""What the page of an output port tells beside its version: what was published last, and how judged; who reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.words import count, escape_cell
from dp_dagster.errors import DataProductError
from dp_dagster.records import Records
from dp_dagster.storage.manifest import consumers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct

_SHOWN = 5


def port_facts(product: ResolvedProduct, port: ResolvedOutput) -> dict[str, Any]:
    """Metadata for the page, as of now. What cannot be read says so."""
    dataset = port.dataset
    return {
        "consumers": _told(lambda: _consumers(product, port)),
        **({"last publications": _told(lambda: _publications(product, dataset))} if dataset else {}),
    }


def _told(text: Callable[[], str]) -> dg.MarkdownMetadataValue:
    try:
        return dg.MetadataValue.md(text())
    except DataProductError as error:
        return dg.MetadataValue.md(f"not known: {error}")


def _consumers(product: ResolvedProduct, port: ResolvedOutput) -> str:
    rows = [
        (one.name, "outside, declared in product.yaml", ", ".join(one.columns) or "all columns")
        for one in product.descriptor.consumers
        if (one.port, one.major if one.major is not None else product.major) == (port.name, port.major)
    ]
    rows += [
        (one.consumer, f"product, input {one.input}", ", ".join(one.columns) or "all columns")
        for one in consumers(product.settings.storage, product.id)
        if (one.port, one.major) == (port.name, port.major)
    ]
    if not rows:
        return "nobody has registered"
    return _table(("who", "as", "relies on"), rows)


def _publications(product: ResolvedProduct, dataset: ResolvedDataset) -> str:
    settings = product.settings
    records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)
    subject = f"v{dataset.major}/dataset/{dataset.name}"
    versions = {
        one.payload["commit"].get("dp.verdict_id"): one.payload["version"]
        for one in records.query(product=product.id, subject=subject, kind="published", limit=_SHOWN)
    }
    rows = []
    for one in records.query(product=product.id, subject=subject, kind="audited", limit=_SHOWN):
        verdict = one.payload["verdict"]
        version = versions.get(verdict["id"])
        rows.append(
            (
                "not published" if version is None else f"version {version}",
                one.at[:16].replace("T", " "),
                count(verdict["rows_accepted"]),
                count(verdict["rows_rejected"]),
                verdict["decision"].replace("_", " "),
                verdict["reason"],
            )
        )
    if not rows:
        return "nothing has been published yet"
    return _table(("", "at (UTC)", "rows", "rejected", "verdict", "why"), rows)


def _table(titles: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(_lines(tuple(titles), rows))


def _lines(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(escape_cell(cell) for cell in row)} |"
