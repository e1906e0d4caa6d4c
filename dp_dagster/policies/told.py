"""Policies, exemptions and results as plain values, as ``dp policy --json`` and the control port give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.policies.exemptions import GrantedExemption

if TYPE_CHECKING:
    from dp_dagster.policies.configuration import ConfiguredPolicy
    from dp_dagster.policies.exemptions import Exemption
    from dp_dagster.policies.report import PolicyReport


def policy_facts(configured: ConfiguredPolicy) -> dict[str, Any]:
    """A policy: what it wants, how strictly it holds, and what the settings say to it."""
    made = configured.policy
    values = made.parameters.model_dump(mode="json") if made is not None else {}
    return {
        "policy": configured.id,
        "title": configured.title,
        "why": made.why if made is not None else "",
        "severity": configured.severity,
        "default_severity": made.severity if made is not None else None,
        "scope": configured.scope,
        "origin": configured.origin,
        "is_gate": made is not None and made.is_gate,
        "broken": configured.broken,
        "parameters": [
            {
                "name": name,
                "value": values[name],
                "default": field.get_default(call_default_factory=True, validated_data={}),
                "meaning": field.description or "",
            }
            for name, field in (made.Parameters.model_fields.items() if made is not None else ())
        ],
    }


def exemption_facts(exemption: Exemption) -> dict[str, Any]:
    """An exemption: what it allows, why and until when; of one that was granted, who did and when."""
    granted = isinstance(exemption, GrantedExemption)
    return {
        "id": None,
        "by": None,
        "at": None,
        **exemption.model_dump(mode="json"),
        "origin": "granted" if granted else "settings",
        "expired": exemption.has_expired,
    }


def report_facts(report: PolicyReport) -> dict[str, Any]:
    """What checking a product came to."""
    return {
        "product_id": report.product,
        "refused": report.refused,
        "results": [
            {
                "policy": result.policy,
                "severity": result.severity,
                "subject": result.subject,
                "status": result.status,
                "reason": result.reason,
                "findings": [
                    {
                        "file": found.problem.file,
                        "line": found.problem.line,
                        "place": found.problem.field,
                        "part": found.part,
                        "message": found.problem.message,
                        "fix": found.problem.fix,
                        "exempted": found.exemption.reason if found.exemption else None,
                    }
                    for found in result.found
                ],
            }
            for result in report.results
        ],
        "notices": report.notices,
    }
