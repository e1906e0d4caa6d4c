"""Landing an input port: what is there now becomes a version that the run reads."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dp_dagster.contracts.audit import judge
from dp_dagster.errors import ContractViolationError, InputError
from dp_dagster.pipeline.landing import InputOutcome, Lander
from dp_dagster.pipeline.partitioned_inputs import land_partitions

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Contract, Rule
    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import Pinned
    from dp_dagster.resolve import ResolvedInput


def land_input(session: Session, name: str) -> InputOutcome:
    """Land what is there now, or pin it where it lies, and prove the input's contract if it has one.

    A run that is already reading the input at some version keeps it.

    Raises:
        InputError: there is nothing to read, or it is malformed.
        LockedError: another run is landing the same input.
    """
    declared = session.product.input(name)
    register_as_consumer(session, declared)
    if declared.port.lands(declared.config, audited=declared.contract is not None):
        if declared.is_partitioned:
            return land_partitions(session, declared)
        return Lander(session, declared).land()
    return _pin_in_place(session, declared)


def register_as_consumer(session: Session, declared: ResolvedInput) -> None:
    """Tell the producer, at the storage root, that this product reads its port."""
    upstream = declared.port.upstream(declared.config)
    if upstream is None:
        return
    from dp_dagster.storage.manifest import Registration, register_consumer

    contract = declared.contract
    registration = Registration(
        consumer=session.product.id,
        input=declared.name,
        port=upstream.port,
        major=upstream.major,
        registered_at=datetime.now(UTC).isoformat(),
        columns=tuple(column.name for column in contract.columns) if contract else (),
        rules=relied_rules(contract) if contract else None,
    )
    register_consumer(session.settings.storage, upstream.product, registration)


def relied_rules(contract: Contract) -> tuple[Rule, ...]:
    """What an input's contract asks of the rows beyond columns and types: what its product relies on."""
    return tuple(
        rule for rule in contract.rules if rule.severity == "error" and rule.kind not in ("columns", "type")
    )


def read_input(session: Session, declared: ResolvedInput) -> Pinned:
    """The version of an input that this run reads; pins the newest good one where none is pinned yet.

    Raises:
        InputError: nothing has been landed yet, or there is nothing to read.
        ContractViolationError: what would be read in place breaks the input's contract.
    """
    pinned = session.pinned(declared.name)
    if pinned is not None:
        return pinned
    if declared.port.lands(declared.config, audited=declared.contract is not None):
        return session.pin(declared.name, session.newest(session.input_table(declared.name), declared.name))
    outcome = _pin_in_place(session, declared)
    raise_if_held(outcome, session.product.id)
    if outcome.pinned is None:
        raise AssertionError("an input that is not held is pinned")
    return outcome.pinned


def _pin_in_place(session: Session, declared: ResolvedInput) -> InputOutcome:
    from dp_dagster.contracts.evaluate import evaluate

    context = session.input_context(declared)
    pinned = session.pinned(declared.name) or declared.port.pin(declared.config, context)
    verdict = None
    if declared.contract is not None:
        evaluation = evaluate(declared.contract, pinned.files, product_root=session.product.root)
        digest = hashlib.sha256("\n".join(pinned.files).encode()).hexdigest()
        verdict = judge(
            evaluation,
            candidate_id=f"{declared.name}@{pinned.version}",
            contract=declared.contract,
            input_hash=digest,
            max_invalid=None,
        )
        session.record("audited", f"input/{declared.name}", verdict=verdict.to_dict())
        if not verdict.passed:
            session.record("held", f"input/{declared.name}", verdict_id=verdict.id, reason=verdict.reason)
            return InputOutcome(declared.name, None, verdict)
        pinned = replace(pinned, rows=evaluation.rows)
    return InputOutcome(declared.name, session.pin(declared.name, pinned), verdict)


def inputs_still_the_same(session: Session, relation: str) -> None:
    """See that files which are read where they lie are still those that the run has pinned.

    Committed versions never change; such files may.

    Raises:
        InputError: they changed.
    """
    for name in session.product.inputs_of(relation):
        pinned = session.pinned(name)
        if pinned is None or pinned.version is not None or "fingerprint" not in pinned.provenance:
            continue
        declared = session.product.input(name)
        now = declared.port.fingerprint(declared.config, session.input_context(declared))
        if now != pinned.provenance["fingerprint"]:
            raise InputError(
                f"{session.product.id}/input/{name}: {declared.port.location(declared.config)} changed while the "
                "run was reading it; run again when it is complete"
            )


def raise_if_held(outcome: InputOutcome, product_id: str) -> None:
    """Turn a held input into the error that stops a run.

    Raises:
        ContractViolationError: the input was held.
    """
    if outcome.pinned is None and outcome.verdict is not None:
        raise ContractViolationError(f"{product_id}/input/{outcome.name} held: {outcome.verdict.reason}")
