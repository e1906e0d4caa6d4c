"""Policies as code: what an organisation wants of every product, checked where it counts.

They stand in ``dp validate``, when a code location loads, and before a dataset is published. A policy looks at the
resolved product, at nothing that is heavy to read.
"""

from __future__ import annotations

from dp_dagster.policies.check import check_product, enforce
from dp_dagster.policies.configuration import ConfiguredPolicy, PolicySet, load_policies
from dp_dagster.policies.exemptions import Exemption, GrantedExemption
from dp_dagster.policies.grants import Grants
from dp_dagster.policies.model import (
    DatasetPolicy,
    DatasetSubject,
    Finding,
    PlatformPolicy,
    PlatformSubject,
    Policy,
    PolicyParameters,
    PortPolicy,
    PortSubject,
    ProductPolicy,
    ProductSubject,
    Scope,
    Severity,
)
from dp_dagster.policies.report import Found, PolicyReport, PolicyResult

__all__ = [
    "ConfiguredPolicy",
    "DatasetPolicy",
    "DatasetSubject",
    "Exemption",
    "Finding",
    "Found",
    "GrantedExemption",
    "Grants",
    "PlatformPolicy",
    "PlatformSubject",
    "Policy",
    "PolicyParameters",
    "PolicyReport",
    "PolicyResult",
    "PolicySet",
    "PortPolicy",
    "PortSubject",
    "ProductPolicy",
    "ProductSubject",
    "Scope",
    "Severity",
    "check_product",
    "enforce",
    "load_policies",
]
