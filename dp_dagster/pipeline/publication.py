"""Write, audit, publish: the one way in which rows become a committed version.

The rows are written as files that no reader sees, the contract runs over exactly these files, and one commit
publishes them. Between the steps nothing is assumed: the store compares the bytes with the verdict again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.audit import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction
    from pathlib import Path

    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.pipeline.session import Session
    from dp_dagster.storage import Candidate, Snapshot, Table


@dataclass(frozen=True)
class Publication:
    """What came of a candidate: its verdict, and the version that it became unless it was held."""

    verdict: Verdict | None
    snapshot: Snapshot | None
    quarantined_rows: int = 0
    quarantine_truncated: bool = False


@dataclass(frozen=True)
class Publisher:
    """Publishes one full version of a table, under the table's lock.

    Attributes:
        session: The run.
        table: Where the rows go.
        subject: The asset, for messages and records: ``v1/dataset/customers``.
        write: Writes the rows into the Parquet file that it is given.
        upstream: What the rows were made from; asked when they have been written.
        contract: What must hold; without one, whatever was written is published.
        quarantine: Where failing rows go.
        max_invalid: Share of rows that may go to quarantine while the rest is published; none by default.
        code_version: Of the code that made the rows.
        metadata: Further commit metadata.
        before_commit: Called between verdict and commit; raises what should stop the commit.
    """

    session: Session
    table: Table
    subject: str
    write: Callable[[Path], None]
    upstream: Callable[[], Mapping[str, Any]]
    contract: Contract | None = None
    quarantine: Table | None = None
    max_invalid: Fraction | None = None
    code_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    before_commit: Callable[[], None] = lambda: None

    def publish(self) -> Publication:
        """Write, audit and publish.

        Returns:
            The verdict and, unless the candidate was held, the published version.

        Raises:
            LockedError: somebody else is publishing the same table.
            ConflictError: somebody else published in between.
        """
        with self.table.lock(self.session.holder):
            cleaned = self.table.clean(self.session.settings.candidate_grace)
            if cleaned:
                self.session.record("cleaned", self.subject, files=len(cleaned))
            candidate = self._written(self.write)
            commit = self._commit_metadata()
            if self.contract is None:
                self.before_commit()
                return Publication(None, self.table.publish(candidate, None, commit, contract_hash=None))
            return self._audit_and_publish(candidate, self.contract, commit)

    def _written(self, write: Callable[[Path], None]) -> Candidate:
        draft = self.table.draft(self.session.run_id)
        try:
            write(draft.new_file())
            return draft.seal()
        except BaseException:
            draft.discard()
            raise

    def _commit_metadata(self) -> dict[str, str]:
        return {
            "dp.product": self.session.product.id,
            "dp.product_version": self.session.product.version,
            "dp.code_version": self.code_version,
            "dp.upstream": json.dumps(self.upstream(), sort_keys=True),
            **self.metadata,
        }

    def _audit_and_publish(
        self, candidate: Candidate, contract: Contract, commit: dict[str, str]
    ) -> Publication:
        from dp_dagster.contracts.evaluate import evaluate

        evaluation = evaluate(contract, candidate.paths, product_root=self.session.product.root)
        verdict = judge(
            evaluation,
            candidate_id=candidate.id,
            contract=contract,
            input_hash=candidate.hash,
            max_invalid=self.max_invalid,
        )
        publication = Publication(verdict, None)
        return publication
