"""Published versions of a dataset, for tests of what shows or reads them."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dp_dagster.contracts.model import Column, Contract
from dp_dagster.contracts.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from dp_dagster.settings import Settings
    from dp_dagster.storage import Snapshot

#: Rows of every version that :func:`publish_version` makes.
ROWS = 500
DATASET = "numbers"

CONTRACT = Contract(
    name="Numbers",
    hash=hashlib.sha256(b"dp_dagster.testing").hexdigest(),
    format="pandera",
    source="contracts/numbers.py:Numbers",
    columns=(
        Column(
            "batch", "int64", nullable=False, description="The version's own number; it's in \"every\" row"
        ),
        Column("number", "int64", nullable=False, description="Counts the rows; -- from 0"),
        Column("text", "string", description="A text with ' and \", and no secret"),
    ),
    rules=(),
    key=("number",),
)


def publish_version(settings: Settings, product_id: str, batch: int, *, major: int = 1) -> Snapshot:
    """Publish a version of the dataset ``numbers``, of which every row carries the version's own number.

    So a reader that mixes two versions, or sees a part of one, can be found out.

    Args:
        settings: Of the platform.
        product_id: The product.
        batch: The number.
        major: The product's major version.
    """
    import pyarrow as pa

    texts = [f'it\'s "{number}"; {batch}' for number in range(ROWS)]
    rows = pa.table({"batch": pa.array([batch] * ROWS, pa.int64()), "number": range(ROWS), "text": texts})
    return publish_rows(settings, product_id, DATASET, CONTRACT, rows, major=major, label=f"batch-{batch}")


def publish_rows(
    settings: Settings,
    product_id: str,
    dataset: str,
    contract: Contract,
    rows: pa.Table,
    *,
    major: int = 1,
    label: str = "rows",
    files: int = 2,
) -> Snapshot:
    """Publish rows as the next version of a dataset, as if they had been audited.

    Args:
        settings: Of the platform.
        product_id: The product.
        dataset: The dataset.
        contract: What the version is said to keep.
        rows: All its rows.
        major: The product's major version.
        label: Begins the name of the candidate.
        files: How many files they are written to.
    """
    from pyarrow import parquet

    from dp_dagster.storage import Table, dataset_table

    table = Table(dataset_table(settings.storage, product_id, major, dataset))
    with table.lock("tests"):
        draft = table.draft(label)
        for number in range(files):
            start, end = (rows.num_rows * part // files for part in (number, number + 1))
            parquet.write_table(rows.slice(start, end - start), draft.new_file())
        candidate = draft.seal()
        verdict = Verdict(
            id=uuid.uuid4().hex,
            candidate_id=candidate.id,
            contract_hash=contract.hash,
            contract_version=None,
            decision="accepted",
            rows_in=candidate.rows,
            rows_accepted=candidate.rows,
            rows_rejected=0,
            input_hash=candidate.hash,
            accepted_hash=candidate.hash,
            results=(),
            reason="made for a test",
            at=datetime.now(UTC).isoformat(),
        )
        return table.publish(
            candidate,
            verdict,
            {"dp.product": product_id, "dp.product_version": "1.0.0"},
            contract_hash=contract.hash,
        )
