"""``dp diff``: what changed in a product's contracts, and whom it breaks."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dp_dagster.cli.output import AsJson
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from dp_dagster.contracts.evolution import Change
    from dp_dagster.contracts.model import Contract
    from dp_dagster.evolution import Evolution
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

_GIT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class _Difference:
    dataset: str
    evolution: Evolution | None
    note: str = ""

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.evolution.comparison.changes if self.evolution else ()

    def whom(self, change: Change) -> str:
        """Whom a change breaks, in words; empty where it breaks nobody by rule."""
        return self.evolution.whom(change) if self.evolution and change.consumers == "breaking" else ""


def diff(
    product: Annotated[str, typer.Argument(help="Id of the product.")],
    *,
    against: Annotated[
        str,
        typer.Option(
            help="`published`, a git revision, or a contract (`file.py:Name`) of the product's folder."
        ),
    ] = "published",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show what changed in the contracts of a product: breaking, compatible, or documentation.

    Names the registered consumers whose declared use a breaking change touches. Ends with 1 where a change breaks
    consumers, declared or not.
    """
    from dp_dagster.resolve import find_product
    from dp_dagster.settings import Settings

    found = find_product(product, Settings.load())
    differences = [_difference(found, dataset, against) for dataset in found.datasets]
    if as_json:
        _print_json(differences)
    else:
        typer.echo(_as_text(found.id, differences, "markdown" if markdown else "text"))
    broken = any(change.consumers == "breaking" for one in differences for change in one.changes)
    return 1 if broken else 0


def _difference(product: ResolvedProduct, dataset: ResolvedDataset, against: str) -> _Difference:
    from dp_dagster.evolution import compared, published_contract

    if against == "published":
        old = published_contract(product, dataset)
        note = "never published" if old is None else ""
    elif ":" in against or (product.root / against).is_file():
        old, note = _contract(product, product.root, against), ""
    else:
        old, note = _contract_at(product, dataset, against)
    return _Difference(dataset.label, compared(product, dataset, old) if old is not None else None, note)


def _contract(product: ResolvedProduct, root: Path, reference: str) -> Contract:
    from dp_dagster.contracts.load import load_contract

    return load_contract(
        reference, product_root=root, cache_directory=product.settings.contract_cache, module_prefix="dp_diff"
    )


def _contract_at(
    product: ResolvedProduct, dataset: ResolvedDataset, revision: str
) -> tuple[Contract | None, str]:
    """The contract as it was at a git revision: the whole folder, since a contract imports its neighbours."""
    with tempfile.TemporaryDirectory(prefix="dp_diff_") as folder:
        top = _git(product.root, "rev-parse", "--show-toplevel").decode().strip()
        inside = product.root.resolve().relative_to(Path(top).resolve())
        if revision.startswith("-"):
            raise UsageError(f"--against {revision} is no revision")
        # Verified apart, so that a typing error is told from a product that was not there yet.
        _git(product.root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", what=revision)
        archive = Path(folder) / "product.tar"
        try:
            content = _git(Path(top), "archive", "--format=tar", revision, "--", str(inside))
        except UsageError:
            return None, f"not there at {revision}"
        archive.write_bytes(content)
        _unpack(archive, Path(folder))
        root = Path(folder) / inside
        declared = dataset.declaration.contract
        if not (root / str(declared).partition(":")[0]).is_file():
            return None, f"not there at {revision}"
        return _contract(product, root, str(declared)), ""


def _unpack(archive: Path, folder: Path) -> None:
    import tarfile

    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def _git(folder: Path, *arguments: str, what: str = "") -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - git, without a shell; a revision never begins with a dash
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            check=False,
            timeout=_GIT_TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed; --against takes `published` or a contract then") from error
    if done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        reason = told[0] if told else f"{what} is no revision"
        raise UsageError(
            f"--against {what or arguments[-1]}: {reason}; give `published`, a git revision, or file.py:Name"
        )
    return done.stdout


def _as_text(product_id: str, differences: list[_Difference], form: Literal["text", "markdown"]) -> str:
    lines = []
    for one in differences:
        name = f"{product_id}.{one.dataset}"
        if form == "markdown":
            lines += [f"### {name}", ""]
            if one.changes:
                lines += [
                    "| change | columns | was, is | consumers | producers | why | whom |",
                    "|---|---|---|---|---|---|---|",
                ]
                lines += [
                    f"| {change.kind} | {', '.join(change.columns)} | {_cell(change.detail)} "
                    f"| {'**breaking**' if change.consumers == 'breaking' else change.consumers} "
                    f"| {change.producers} | {change.reason} | {one.whom(change)} |"
                    for change in one.changes
                ]
            else:
                lines.append(one.note or "No changes.")
            lines.append("")
            continue
        if not one.changes:
            lines.append(f"{name}: {one.note or 'no changes'}")
            continue
        lines.append(f"{name}:")
        lines += [
            f"  {change.consumers:13} {change} - {change.reason} (producers: {change.producers})"
            + (f"; {one.whom(change)}" if one.whom(change) else "")
            for change in one.changes
        ]
    return "\n".join(lines).rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _print_json(differences: list[_Difference]) -> None:
    from dp_dagster.cli.output import print_json
    from dp_dagster.evolution import describe_change

    print_json(
        [
            {
                "dataset": one.dataset,
                "note": one.note,
                "changes": [describe_change(change, one.evolution) for change in one.changes]
                if one.evolution
                else [],
            }
            for one in differences
        ]
    )
