"""Checking a product against the policies of its platform."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.paths import shown
from dp_dagster.errors import PolicyError, Problem
from dp_dagster.policies.configuration import load_policies
from dp_dagster.policies.exemptions import ExemptionsOfProduct
from dp_dagster.policies.grants import Grants
from dp_dagster.policies.model import DatasetSubject, Finding, PlatformSubject, PortSubject, ProductSubject
from dp_dagster.policies.places import line_of, part_of
from dp_dagster.policies.report import Found, PolicyReport, PolicyResult
from dp_dagster.settings import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dp_dagster.policies.configuration import ConfiguredPolicy, PolicySet
    from dp_dagster.policies.model import Policy, Scope, Subject
    from dp_dagster.policies.report import Status
    from dp_dagster.resolve import ResolvedProduct


def check_product(
    product: ResolvedProduct,
    *,
    dataset: str | None = None,
    acknowledged: Sequence[str] = (),
    policies: PolicySet | None = None,
) -> PolicyReport:
    """Check a product against every policy that holds.

    Args:
        product: The product, resolved.
        dataset: Label of a dataset: only it, its ports, and what concerns the product as a whole.
        acknowledged: Consumers that agreed to a change of contract that breaks them.
        policies: The policies; by default those of the product's platform.

    Raises:
        SettingsError: the policies of the platform cannot be read.
    """
    chosen = policies or load_policies(product.settings)
    exemptions = ExemptionsOfProduct(product.id, chosen.exemptions, Grants(product.settings))
    results = [
        result
        for configured in chosen.active
        for result in _results(configured, product, dataset, tuple(acknowledged), exemptions)
    ]
    of_product = exemptions.known
    used = {found.exemption for result in results for found in result.found}
    off = {configured.id for configured in chosen.policies} - {configured.id for configured in chosen.active}
    return PolicyReport(
        product.id,
        tuple(results),
        expired=tuple(one for one in of_product if one.has_expired and one.policy not in off),
        unused=tuple(one for one in of_product if not one.has_expired and one not in used)
        if dataset is None
        else (),
        fault=exemptions.fault,
    )


def enforce(
    product: ResolvedProduct, *, dataset: str | None = None, acknowledged: Sequence[str] = ()
) -> PolicyReport:
    """Check a product, and refuse it where a policy of severity ``error`` is not kept.

    Args:
        product: The product, resolved.
        dataset: As for :func:`check_product`.
        acknowledged: As for :func:`check_product`.

    Raises:
        PolicyError: with all that was found, and the report.
        SettingsError: the policies of the platform cannot be read.
    """
    report = check_product(product, dataset=dataset, acknowledged=acknowledged)
    if report.refused:
        raise PolicyError(report.errors, report)
    return report


def _results(
    configured: ConfiguredPolicy,
    product: ResolvedProduct,
    dataset: str | None,
    acknowledged: tuple[str, ...],
    exemptions: ExemptionsOfProduct,
) -> Iterator[PolicyResult]:
    if configured.policy is None:
        yield _result(configured, "product", "raised", [_raised(configured, product, configured.broken)])
        return
    for subject in _subjects(configured.scope, product, dataset, acknowledged):
        yield _checked(configured, configured.policy, subject, product, exemptions)


def _subjects(
    scope: Scope, product: ResolvedProduct, dataset: str | None, acknowledged: tuple[str, ...]
) -> Iterable[Subject]:
    if scope == "platform":
        return [PlatformSubject(product.settings)]
    if scope == "product":
        return [ProductSubject(product, acknowledged)]
    if scope == "dataset":
        return [
            DatasetSubject(product, one, acknowledged)
            for one in product.datasets
            if dataset is None or one.label == dataset
        ]
    return [
        PortSubject(product, port)
        for port in product.ports
        if dataset is None or (port.dataset is not None and port.dataset.label == dataset)
    ]


def _checked(
    configured: ConfiguredPolicy,
    policy: Policy,
    subject: Subject,
    product: ResolvedProduct,
    exemptions: ExemptionsOfProduct,
) -> PolicyResult:
    try:
        reason = policy.not_applicable(subject)
        if reason:
            return _result(configured, subject.label, "not applicable", reason=reason)
        findings = [_sound(finding) for finding in policy.check(subject)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others; whatever it raises is a failure, not green
        cause = _cause(error)
        return _result(configured, subject.label, "raised", [_raised(configured, product, cause)], cause)
    found = [_located(configured, finding, subject, product, exemptions) for finding in findings]
    status: Status = "passed"
    if found:
        status = "exempted" if all(one.exemption for one in found) else "failed"
    return _result(configured, subject.label, status, found)


def _result(
    configured: ConfiguredPolicy, subject: str, status: Status, found: Sequence[Found] = (), reason: str = ""
) -> PolicyResult:
    return PolicyResult(
        policy=configured.id,
        title=configured.title,
        severity="warn" if configured.severity == "warn" else "error",
        scope=configured.scope,
        subject=subject,
        status=status,
        found=tuple(found),
        reason=reason,
    )


def _sound(finding: Any) -> Finding:
    if not isinstance(finding, Finding):
        raise TypeError(f"check gave {finding!r:.60} instead of a Finding")
    return finding


def _cause(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__] or frames
    return f"{own[-1].filename}:{own[-1].lineno}: {type(error).__name__}: {error}"


def _raised(configured: ConfiguredPolicy, product: ResolvedProduct, cause: str) -> Found:
    message = f"policy {configured.id} could not be checked, which counts as failed: {cause}"
    return Found(Problem(shown(product.path), 0, "", message, "mend the policy, or switch it off"), "")


def _located(
    configured: ConfiguredPolicy,
    finding: Finding,
    subject: Subject,
    product: ResolvedProduct,
    exemptions: ExemptionsOfProduct,
) -> Found:
    message = f"{finding.message} (policy {configured.id})"
    if isinstance(subject, PlatformSubject):
        own = subject.settings.project_root / FILE_NAME
        file = own if own.is_file() else subject.settings.project_root / "pyproject.toml"
        problem, part = Problem(shown(file), 0, finding.place, message, finding.fix), ""
    else:
        place = _joined(subject.place, finding.place)
        problem = Problem(shown(product.path), line_of(product, place), place, message, finding.fix)
        part = part_of(product, place)
    is_gate = configured.policy is not None and configured.policy.is_gate
    exemption = None if is_gate else exemptions.allowing(configured.id, part)
    return Found(problem, part, exemption)


def _joined(place: str, further: str) -> str:
    if not place or not further:
        return place or further
    return f"{place}{further}" if further.startswith("[") else f"{place}.{further}"
