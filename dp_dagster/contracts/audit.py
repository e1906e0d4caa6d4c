"""From what an evaluation found to the decision what may be published."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING

from dp_dagster.contracts.evaluate import row_count_problem
from dp_dagster.contracts.verdict import Decision, RuleResult, Verdict
from dp_dagster.errors import PublicationRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.contracts.evaluate import Evaluation
    from dp_dagster.contracts.model import Contract


def judge(
    evaluation: Evaluation,
    *,
    candidate_id: str,
    contract: Contract,
    input_hash: str,
    max_invalid: Fraction | float | None = None,
) -> Verdict:
    """Decide what may be published.

    A broken rule of the schema or the table at severity ``error`` holds the candidate, and so does a rule at
    ``error`` that could not be evaluated. Failing rows hold it too, unless their share is at most
    ``max_invalid``: then the good rows may be published. Severity ``warn`` never holds.

    Args:
        evaluation: What the contract found.
        candidate_id: The candidate that it was found in.
        contract: The contract.
        input_hash: Hash of the candidate's files.
        max_invalid: Largest share of failing rows (0 to 1) with which the good rows are published; ``None``
            and 0 mean that no row may fail.

    Returns:
        The verdict. For ``accepted_in_part`` its ``accepted_hash`` is empty until :func:`accept_part` fills it in:
        the accepted rows have not been written yet.
    """
    decision, reason = _decide(evaluation, contract, max_invalid)
    accepted = {"accepted": evaluation.rows, "held": 0}.get(decision, evaluation.rows - evaluation.rejected)
    return Verdict(
        id=uuid.uuid4().hex,
        candidate_id=candidate_id,
        contract_hash=contract.hash,
        contract_version=contract.version,
        decision=decision,
        rows_in=evaluation.rows,
        rows_accepted=accepted,
        rows_rejected=evaluation.rejected,
        input_hash=input_hash,
        accepted_hash=input_hash if decision == "accepted" else "",
        results=evaluation.results,
        reason=reason,
        at=datetime.now(UTC).isoformat(),
    )


def accept_part(verdict: Verdict, *, accepted_hash: str, rows_accepted: int, rows_rejected: int) -> Verdict:
    """Complete a verdict ``accepted_in_part`` once the good rows have been written.

    Raises:
        PublicationRefusedError: The split does not agree with the verdict, so the files are not those that
            were judged.
    """
    expected = (verdict.rows_accepted, verdict.rows_rejected)
    if verdict.decision != "accepted_in_part" or expected != (rows_accepted, rows_rejected):
        raise PublicationRefusedError(
            f"verdict {verdict.id} ({verdict.decision}) accepts {expected[0]} and rejects {expected[1]} rows, "
            f"the split accepted {rows_accepted} and rejected {rows_rejected}"
        )
    return replace(verdict, accepted_hash=accepted_hash)


def _decide(
    evaluation: Evaluation, contract: Contract, max_invalid: Fraction | float | None
) -> tuple[Decision, str]:
    errors = [result for result in evaluation.results if result.severity == "error"]
    causes = [
        *_causes([r for r in errors if r.evaluated and r.failures and r.level != "row"], "broken"),
        *_causes([r for r in errors if not r.evaluated], "not evaluated"),
    ]
    rows, rejected = evaluation.rows, evaluation.rejected
    broken = [result for result in errors if result.level == "row" and result.failures]
    share = _share(max_invalid)
    within = bool(rows) and Fraction(rejected, rows) <= share
    if rejected:
        limit = f"at most {_percent(share)} may" if share else "none may"
        failing = f"{_count(rejected, 'row')} of {rows} {'break' if rejected > 1 else 'breaks'}"
        if rejected > 1:
            failing = f"{rejected} of {rows} rows break"
        sentence = f"{failing} {_count(len(broken), 'rule')}; {limit}"
        if not within:
            causes.append(sentence)
        else:
            causes += [
                f"without the {_count(rejected, 'rejected row')} there are {problem}"
                for rule in contract.rules
                if rule.kind == "row_count"
                and rule.severity == "error"
                and (problem := row_count_problem(rule, rows - rejected))
                and not row_count_problem(rule, rows)
            ]
    if causes:
        return "held", "; ".join(causes) + ": held"
    if rejected:
        return "accepted_in_part", f"{sentence}: {rows - rejected} accepted, {rejected} rejected"
    return "accepted", _clean(evaluation)


def _clean(evaluation: Evaluation) -> str:
    warned = [r for r in evaluation.results if r.severity == "warn" and not r.passed]
    kept = len(evaluation.results) - len(warned)
    text = f"{_count(evaluation.rows, 'row')}, {_count(kept, 'rule')} kept"
    if warned:
        text += f", {_count(len(warned), 'warning')} ({_names(warned)})"
    return f"{text}: accepted"


def _causes(results: Sequence[RuleResult], what: str) -> list[str]:
    if not results:
        return []
    verb = "is" if len(results) == 1 else "are"
    detail = f"; {results[0].reason}" if results[0].reason else ""
    return [f"{_count(len(results), 'rule')} {verb} {what} ({_names(results)}{detail})"]


def _names(results: Sequence[RuleResult]) -> str:
    names = [result.rule_id for result in results]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _share(max_invalid: Fraction | float | None) -> Fraction:
    if max_invalid is None:
        return Fraction(0)
    # A float is taken as it is written: 0.005 means five in a thousand.
    return max_invalid if isinstance(max_invalid, Fraction) else Fraction(str(max_invalid))


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.10g} %"
