"""Split a candidate: good rows into a new file, failing rows with the rules that they broke.

The second pass over the files, needed only where rows failed. Both parts come from one plan with the
evaluation, so the counts agree.
"""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dp_dagster.contracts.beside import Beside
from dp_dagster.contracts.custom import CustomChecks
from dp_dagster.contracts.evaluate import Evaluation, evaluate, listed_rows
from dp_dagster.contracts.phrases import phrase
from dp_dagster.contracts.plan import plan_rows
from dp_dagster.contracts.row_json import json_rows
from dp_dagster.contracts.schema_rules import judge_schema
from dp_dagster.contracts.source import ROW, Source, open_source
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl
    import pyarrow as pa

    from dp_dagster.contracts.model import Contract, Rule

_ROW_GROUP_ROWS = 122_880
_BATCH_ROWS = 20_000
_RULES = "__dp_rules"
_REASON = "__dp_reason"


def rejected_schema() -> pa.Schema:
    """The schema of failing rows: ``rules`` that were broken, a ``reason`` in words, the ``row`` as JSON.

    ``row`` has the values as they came, classified ones too: it is there to mend the row from.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("rules", pa.list_(pa.string())),
            pa.field("reason", pa.string()),
            pa.field("row", pa.string()),
        ]
    )


@dataclass(frozen=True)
class SplitResult:
    """What :func:`split` made.

    Attributes:
        rows_in: Rows that came in.
        rows_accepted: Rows in the new file.
        rows_rejected: Rows that broke a rule of severity ``error``.
    """

    rows_in: int
    rows_accepted: int
    rows_rejected: int
    _spill: IO[bytes]

    def rejected(self) -> pa.RecordBatchReader:
        """The failing rows in the order of the files, with :func:`rejected_schema`; to be read once at a time."""
        import pyarrow as pa

        reader: pa.RecordBatchReader = pa.RecordBatchReader.from_batches(rejected_schema(), self._batches())
        return reader

    def _batches(self) -> Iterator[pa.RecordBatch]:
        # A generator keeps the result, and with it the file, for as long as somebody reads.
        import pyarrow as pa

        self._spill.seek(0)
        yield from pa.ipc.open_stream(self._spill)


@dataclass(frozen=True)
class FailingRows:
    """Failing rows of a held candidate.

    Attributes:
        rows: How many are kept here.
        truncated: Whether more rows fail than were asked for.
        batches: The rows, with :func:`rejected_schema`.
    """

    rows: int
    truncated: bool
    batches: tuple[pa.RecordBatch, ...]


def split(
    contract: Contract,
    files: Sequence[str],
    accepted: Path | Sequence[Path],
    *,
    product_root: Path,
    evaluation: Evaluation | None = None,
    others: Mapping[str, Sequence[str]] | None = None,
    beside: Beside | None = None,
) -> SplitResult:
    """Write the rows that keep all rules of severity ``error``, and set the others aside.

    Order, names and types of the rows stay as they are. Of rows that share a unique key the first in the order
    of the files is kept, also if it breaks another rule and is rejected for that. The rejected rows are kept
    in a temporary file without a name until the result is dropped.

    Args:
        contract: The contract.
        files: The candidate's Parquet files, in order.
        accepted: The Parquet file to write; or one for each of ``files``, for the good rows of each.
        product_root: The product's folder, for checks that only pandera can run.
        evaluation: Of the same contract and files, if it is at hand.
        others: As for :func:`~.evaluate.evaluate`.
        beside: As for :func:`~.evaluate.evaluate`.

    Raises:
        ContractError: A rule of single rows at severity ``error`` cannot be evaluated, so nobody can say which
            rows are good.
        StoreError: A file cannot be read.
    """
    import pyarrow as pa

    evaluation = evaluation or evaluate(
        contract, files, product_root=product_root, sample_size=0, others=others, beside=beside
    )
    unknown = [
        r for r in evaluation.results if r.level == "row" and r.severity == "error" and not r.evaluated
    ]
    if unknown:
        raise ContractError(
            f"rule {unknown[0].rule_id} was not evaluated ({unknown[0].reason}): rows cannot be split"
        )
    marked = _Marked(
        contract, open_source(files), product_root, evaluation, others or {}, beside=beside or Beside()
    )
    rejected = 0
    # Closed when the result is dropped; without a name, so nothing is left behind by a killed process.
    spill: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the result
    try:
        with pa.ipc.new_stream(spill, rejected_schema()) as writer:
            for batch in marked.failing_batches():
                rejected += batch.num_rows
                writer.write_batch(batch)
        marked.write_accepted([accepted] if isinstance(accepted, Path) else list(accepted))
    except BaseException:
        spill.close()
        raise
    result = SplitResult(marked.source.rows, marked.source.rows - rejected, rejected, spill)
    weakref.finalize(result, spill.close)
    return result


def failing_rows(
    contract: Contract,
    files: Sequence[str],
    *,
    product_root: Path,
    limit: int,
    evaluation: Evaluation | None = None,
    others: Mapping[str, Sequence[str]] | None = None,
    beside: Beside | None = None,
) -> FailingRows:
    """The first failing rows of a candidate that is held, to look at.

    Args:
        contract: The contract.
        files: The candidate's Parquet files, in order.
        product_root: The product's folder.
        limit: At most so many rows.
        evaluation: Of the same contract and files, if it is at hand.
        others: As for :func:`~.evaluate.evaluate`.
        beside: As for :func:`~.evaluate.evaluate`.

    Returns:
        Rows that break rules of severity ``error`` that could be evaluated.
    """
    evaluation = evaluation or evaluate(
        contract, files, product_root=product_root, sample_size=0, others=others, beside=beside
    )
    marked = _Marked(
        contract, open_source(files), product_root, evaluation, others or {}, beside=beside or Beside()
    )
    batches = tuple(marked.failing_batches(limit))
    kept = sum(batch.num_rows for batch in batches)
    return FailingRows(kept, evaluation.rejected > kept, batches)


class _Marked:
    """The candidate's rows, each with the broken rules that it fails."""

    def __init__(
        self,
        contract: Contract,
        source: Source,
        product_root: Path,
        evaluation: Evaluation,
        others: Mapping[str, Sequence[str]],
        *,
        beside: Beside,
    ) -> None:
        self.source = source
        broken = {r.rule_id for r in evaluation.results if r.level == "row" and r.evaluated and r.failures}
        self.rules: list[Rule] = [
            rule for rule in contract.rules if rule.id in broken and rule.severity == "error"
        ]
        self.plan = plan_rows(contract, judge_schema(contract, source), CustomChecks(contract, product_root))
        listed = [rule for rule in self.rules if rule.kind in ("unique", "reference")]
        self.masks = {rule.id: self.plan.masks[rule.id] for rule in self.rules if rule not in listed}
        self.plan.unique = [rule for rule in listed if rule.kind == "unique"]
        self.plan.references = [rule for rule in listed if rule.kind == "reference"]
        self.repeated = listed_rows(contract, self.plan, source.frame(), source.rows, others, beside=beside)
        if lost := [self.plan.obstacles[rule.id] for rule in listed if rule.id not in self.repeated]:
            raise ContractError(f"rows cannot be split: {lost[0]}")

    def _any_mask(self) -> pl.Expr:
        import polars as pl

        masks = [mask.fill_null(value=False) for mask in self.masks.values()]
        return pl.any_horizontal(masks) if masks else pl.lit(value=False)

    def write_accepted(self, targets: Sequence[Path]) -> None:
        """Write the good rows: into one file, or those of each file into one of its own."""
        if len(targets) == 1:
            self._write_accepted(self.source, 0, targets[0])
            return
        first = 0
        for file, target in zip(self.source.files, targets, strict=True):
            source = open_source([file])
            self._write_accepted(source, first, target)
            first += source.rows

    def _write_accepted(self, source: Source, first: int, target: Path) -> None:
        """Write the good rows of files whose rows are numbered from ``first`` on."""
        import polars as pl

        frame = source.frame()
        if self.repeated:
            repeated = pl.concat(list(self.repeated.values())).unique()
            frame = (
                frame.with_row_index(ROW, offset=first)
                .join(repeated.lazy(), on=ROW, how="anti", maintain_order="left")
                .drop(ROW)
            )
        frame.filter(~self._any_mask()).sink_parquet(
            target, compression="snappy", row_group_size=_ROW_GROUP_ROWS, maintain_order=True
        )

    def failing_batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        import polars as pl

        if not self.rules or limit == 0:
            return
        frame = self.source.frame()
        columns = frame.collect_schema().names()
        flags: dict[str, pl.Expr] = {
            rule_id: mask.fill_null(value=False) for rule_id, mask in self.masks.items()
        }
        # Rows are numbered only where numbers are needed: below a number no filter reaches the reader of the
        # files, which otherwise decodes nothing but the failing rows.
        if self.repeated:
            frame = frame.with_row_index(ROW)
        for number, (rule_id, repeated) in enumerate(self.repeated.items()):
            flag = f"__dp_repeated_{number}"
            frame = frame.join(
                repeated.lazy().with_columns(pl.lit(value=True).alias(flag)),
                on=ROW,
                how="left",
                maintain_order="left",
            )
            flags[rule_id] = pl.col(flag).is_not_null()
        names = [pl.when(flags[rule.id]).then(pl.lit(rule.id)) for rule in self.rules]
        phrases = [pl.when(flags[rule.id]).then(pl.lit(phrase(rule))) for rule in self.rules]
        chosen = frame.filter(pl.any_horizontal(*flags.values())).select(
            *columns,
            pl.concat_list(names).list.drop_nulls().alias(_RULES),
            pl.concat_str(phrases, separator="; ", ignore_nulls=True).alias(_REASON),
        )
        if limit is not None:
            chosen = chosen.head(limit)
        for frame_batch in chosen.collect_batches(
            chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming"
        ):
            yield from _batches(frame_batch)


def _batches(frame: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    import polars as pl

    if not frame.height:
        return
    row = json_rows(frame.drop(_RULES, _REASON)).alias("row")
    made = frame.select(pl.col(_RULES).alias("rules"), pl.col(_REASON).alias("reason"), row)
    # Through Arrow as a whole: pyarrow imports pandas before it looks at a list of Python values.
    yield from made.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(rejected_schema()).to_batches()
