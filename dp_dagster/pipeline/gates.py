"""What stands before a publication: sunset, breaking changes, policies. What they say is on record."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dp_dagster.deprecation import past_sunset
from dp_dagster.errors import AuthorError, PolicyError
from dp_dagster.evolution import describe_change, refuse_breaking
from dp_dagster.policies import PolicyReport, enforce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.pipeline.session import Session
    from dp_dagster.resolve import ResolvedDataset


def pass_gates(session: Session, dataset: ResolvedDataset) -> tuple[PolicyReport, str | None]:
    """Let a dataset through to its publication, or refuse it.

    Returns:
        What the policies say, and a warning where it is past its sunset.

    Raises:
        AuthorError: it is past a sunset that ends publication, or its contract breaks consumers.
        PolicyError: a policy of severity ``error`` is not kept.
        SettingsError: the policies of the platform cannot be read.
    """
    subject = f"v{dataset.major}/dataset/{dataset.name}"
    product = session.product
    with _refusals_recorded(session, subject, "sunset"):
        warning = past_sunset(product, dataset)
    with _refusals_recorded(session, subject, "contract", contract_hash=dataset.contract.hash):
        agreed = refuse_breaking(product, [dataset], session.acknowledged)
    with _refusals_recorded(session, subject, "policies"):
        report = _keep_policies(session, dataset, subject)
    for evolution in agreed:
        session.record(
            "acknowledged",
            subject,
            consumers=sorted({one.consumer for one in evolution.broken_consumers()}),
            changes=[describe_change(change, evolution) for change in evolution.comparison.breaking],
            contract_hash=dataset.contract.hash,
        )
    _record_changes(session, dataset)
    return report, warning


@contextmanager
def _refusals_recorded(session: Session, subject: str, gate: str, **facts: str) -> Iterator[None]:
    try:
        yield
    except PolicyError as error:
        report = error.report
        failed = report.facts()["failed"] if isinstance(report, PolicyReport) else []
        session.record("refused", subject, gate=gate, reason=str(error), policies=failed, **facts)
        raise
    except AuthorError as error:
        session.record("refused", subject, gate=gate, reason=str(error), **facts)
        raise


def _keep_policies(session: Session, dataset: ResolvedDataset, subject: str) -> PolicyReport:
    try:
        report = enforce(session.product, dataset=dataset.label, acknowledged=session.acknowledged)
    except PolicyError as error:
        if isinstance(error.report, PolicyReport):
            _record_policies(session, subject, error.report)
        raise
    _record_policies(session, subject, report)
    return report


def _record_policies(session: Session, subject: str, report: PolicyReport) -> None:
    """What the policies came to, when that is something else than before."""
    session.record_if_changed("checked", subject, **report.facts())
    exemptions = report.exemptions()
    if exemptions:
        session.record_if_changed("exempted", subject, exemptions=exemptions)


def _record_changes(session: Session, dataset: ResolvedDataset) -> None:
    """A version of the product, or of the contract, that was not there the time before."""
    contract = dataset.contract
    session.record_if_changed("changed", "product", version=session.product.version)
    session.record_if_changed(
        "changed",
        f"v{dataset.major}/contract/{dataset.name}",
        name=contract.name,
        version=contract.version,
        source=contract.source,
        format=contract.format,
        contract_hash=contract.hash,
    )
