r"""The suite for policies.

Example:
    In ``tests/test_my_policies.py``::

        import pytest
        from dp_dagster.testing import PolicySample, PolicySuite
        from my_policies import SmallKeys


        class TestSmallKeys(PolicySuite):
            policy = SmallKeys

            @pytest.fixture
            def sample(self, workshop):
                return PolicySample(
                    kept=workshop.product(),
                    broken=workshop.product(("key: [shop]", "key: [shop, day, hour, till]")),
                    places=("datasets[0].key",),
                )
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import ValidationError

from dp_dagster.policies import (
    ConfiguredPolicy,
    Exemption,
    Policy,
    PolicyReport,
    PolicySet,
    check_product,
)
from dp_dagster.policies.registry import fault_of
from dp_dagster.policies.told import policy_facts, report_facts
from dp_dagster.testing.kinds import HEAVY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.resolve import ResolvedProduct

PRODUCT = """\
product_id: shops
version: 1.0.0
domain: sales
owner: {team: sellers, email: sellers@example.com}
description: What each shop sold.
refresh_rate: daily
sla: {retention: 90d}
input_ports:
  - {name: sales, type: FILES, path: inputs/sales.csv}
transforms:
  - {name: totals, type: SQL, path: transforms/totals.sql}
datasets:
  - {name: totals, from: totals, contract: "contracts/totals.odcs.yaml:totals", key: [shop]}
output_ports:
  - {name: vw_totals, type: SQL, dataset: totals}
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: shops
version: 1.0.0
status: active
schema:
  - name: totals
    properties:
      - {name: shop, logicalType: string, required: true, unique: true, description: Its name}
      - {name: day, logicalType: date, required: true, description: When it sold that}
      - {name: hour, logicalType: integer, required: true, description: Of the day}
      - {name: till, logicalType: string, required: true, description: Where in the shop}
      - {name: amount, logicalType: integer, required: true, description: "What it sold, in euros",
         logicalTypeOptions: {minimum: 0}}
"""
_FILES = {
    "inputs/sales.csv": "shop,day,hour,till,amount\nnorth,2026-01-01,9,left,3\n",
    "transforms/totals.sql": "select shop, day, hour, till, amount from sales\n",
}
_SECRET = "hunter2"  # noqa: S105 - it is what must not be shown
_BARE = """\
product_id: bare
version: 1.0.0
description: "postgresql://ann:hunter2@db/shops"
output_ports:
  - {name: later, type: NATS, endpoint: "nats://example.com/later", sla: "99.9%"}
"""
_OLD = """\
product_id: shops
version: 2.0.0
description: "x"
input_ports:
  - {name: sales, type: FILES, path: "http://ann:hunter2@127.0.0.1:1/sales.csv"}
datasets:
  - name: totals
    from: sales
    contract: "contracts/totals.odcs.yaml:totals"
    key: [shop, day]
    versions:
      - {major: 1, from: sales, contract: "contracts/totals.odcs.yaml:totals", key: [shop],
         deprecated: {sunset: 2099-01-01}}
output_ports:
  - {name: vw_totals, type: SQL, dataset: totals}
  - {name: files_of_totals, type: FILES, dataset: totals, format: csv}
  - {name: totals_api, type: REST_API, dataset: totals, auth: none}
access: [{anyone: true}]
"""


@dataclass(frozen=True)
class Workshop:
    """Makes small products, each in a project of its own."""

    folder: Path

    def product(
        self,
        *changes: tuple[str, str],
        contract: str = CONTRACT,
        descriptor: str = PRODUCT,
        settings: str = "",
        files: Mapping[str, str] | None = None,
    ) -> ResolvedProduct:
        """A product whose descriptor is :data:`PRODUCT`, with some texts replaced.

        Args:
            *changes: Texts of the descriptor, and what stands there instead.
            contract: An ODCS document, of the schema ``totals``.
            descriptor: Another descriptor to start from.
            settings: Of the platform, as TOML.
            files: Further files of the product's folder.
        """
        from dp_dagster.resolve import resolve
        from dp_dagster.settings import Settings

        for old, new in changes:
            assert old in descriptor, f"{old!r} does not stand in the descriptor"
            descriptor = descriptor.replace(old, new)
        root = self.folder / str(len(list(self.folder.iterdir())) if self.folder.exists() else 0)
        product = root / "products" / "shops"
        texts = {
            **_FILES,
            "product.yaml": descriptor,
            "contracts/totals.odcs.yaml": contract,
            **(files or {}),
        }
        for name, text in texts.items():
            (product / name).parent.mkdir(parents=True, exist_ok=True)
            (product / name).write_text(text)
        (root / "dp_dagster.toml").write_text(settings)
        return resolve(product, Settings.load(root))


@dataclass(frozen=True, kw_only=True)
class PolicySample:
    """What the suite needs of a policy.

    Attributes:
        kept: A product (on a platform) that keeps it.
        broken: One that does not.
        places: Where in ``product.yaml`` (or in the settings) it must find something; empty for the whole product.
        parameters: What the settings say to it, for both.
        not_applicable: One where there is nothing to look at. ``None`` only for a policy that always has something.
        not_applicable_parameters: What the settings say to it there; ``parameters`` where nothing is said.
    """

    kept: ResolvedProduct
    broken: ResolvedProduct
    places: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    not_applicable: ResolvedProduct | None = None
    not_applicable_parameters: Mapping[str, Any] | None = None


class PolicySuite:
    """Tests of what every policy must keep. Give ``policy`` and a fixture ``sample``."""

    policy: ClassVar[type[Policy]]

    @pytest.fixture
    def workshop(self, tmp_path: Path) -> Workshop:
        """Makes products for a sample."""
        return Workshop(tmp_path / "workshop")

    @pytest.fixture
    def sample(self) -> Any:
        """A product that keeps it and one that does not. None is skipped for lack of it."""
        pytest.fail(f"policy {self.policy.id} has no sample, so nothing of it is tested; give it one")

    # -- of the class --------------------------------------------------------------------------------------

    def test_can_be_registered(self) -> None:
        """It has an id, a title, a scope, a severity, and parameters with defaults."""
        assert fault_of(self.policy) == ""

    def test_explains_itself(self) -> None:
        """``dp policy explain`` is made of these words."""
        assert self.policy.title.endswith(".")
        assert "\n" not in self.policy.title
        assert inspect.getdoc(self.policy)
        for name, parameter in self.policy.Parameters.model_fields.items():
            assert (parameter.description or "").strip(), f"parameter {name} has no description"
        assert json.dumps(policy_facts(self.configured({})))

    def test_an_unknown_parameter_is_refused(self) -> None:
        """By name; what is misspelt in the settings must not go unnoticed."""
        assert self.policy.Parameters.model_config.get("frozen") is True
        with pytest.raises(ValidationError, match="no_such_parameter"):
            self.policy.Parameters.model_validate({"no_such_parameter": 1})

    def test_importing_it_stays_light(self) -> None:
        """``dp validate`` imports every policy; its libraries wait until they are used."""
        assert _heavy_imports_of(self.policy.__module__) == []

    # -- of what it finds -------------------------------------------------------------------------------------

    def test_who_keeps_it_passes(self, sample: PolicySample) -> None:
        """And is not merely left out."""
        report = self.report(sample, sample.kept)
        assert {one.status for one in report.results} <= {"passed", "not applicable"}, report.results
        assert any(one.status == "passed" for one in report.results), "it looked at nothing"

    def test_who_does_not_fails(self, sample: PolicySample) -> None:
        """With a place, what is wrong in one line, and what would be right."""
        report = self.report(sample, sample.broken)
        assert {one.status for one in report.results if one.failed} == {"failed"}, report.results
        problems = [problem for result in report.results for problem in result.problems]
        assert {problem.field for problem in problems} >= set(sample.places)
        for problem in problems:
            assert problem.message.strip()
            assert "\n" not in problem.message + problem.fix
            assert problem.fix.strip(), f"{problem.message}: says not what would be right"
            assert self.policy.scope == "platform" or problem.line, (
                f"{problem.field}: is nowhere in product.yaml"
            )
        assert json.dumps(report_facts(report))

    def test_the_severity_decides(self, sample: PolicySample) -> None:
        """Whether a product is refused is the platform's to say, unless the policy is a gate."""
        assert self.report(sample, sample.broken, severity="error").refused
        if not self.policy.is_gate:
            warned = self.report(sample, sample.broken, severity="warn")
            assert warned.warnings
            assert not warned.refused

    def test_where_there_is_nothing_to_look_at_it_says_so(self, sample: PolicySample) -> None:
        """With the reason; what is not looked at never shows as kept."""
        if sample.not_applicable is None:
            overridden = self.policy.not_applicable not in {Policy.not_applicable, *_of_bases()}
            assert not overridden, "the policy knows such cases; give a product of that kind"
            return
        there = sample.not_applicable_parameters
        results = self.report(sample, sample.not_applicable, parameters=there).results
        told = [one for one in results if one.status == "not applicable"]
        assert told, results
        assert all(one.reason.strip() for one in told)

    def test_an_exemption_allows_it_until_its_last_day(self, sample: PolicySample) -> None:
        """Each part by its own name. A gate cannot be exempted."""
        today = datetime.now(UTC).date()
        found = [one for result in self.report(sample, sample.broken).results for one in result.found]
        parts = {one.part for one in found}

        def exempted(last: date) -> PolicyReport:
            exemptions = tuple(
                Exemption(
                    policy=self.policy.id,
                    product=sample.broken.id,
                    part=part or None,
                    reason="for a test",
                    expires=last,
                )
                for part in parts
            )
            return self.report(sample, sample.broken, severity="error", exemptions=exemptions)

        assert exempted(today).refused is self.policy.is_gate
        assert exempted(today - timedelta(days=1)).refused

    def test_checking_changes_nothing(self, sample: PolicySample) -> None:
        """It finds the same again, and leaves nothing behind."""
        for product in (sample.kept, sample.broken):
            root = product.settings.project_root
            first = self.report(sample, product)
            before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
            assert self.report(sample, product) == first
            assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before

    def test_no_sound_product_makes_it_raise(self, sample: PolicySample, workshop: Workshop) -> None:
        """Bare ones, declared ports, several versions and ports; and it never repeats a secret."""
        for descriptor in (_BARE, _OLD):
            product = workshop.product(descriptor=descriptor)
            report = self.report(sample, product)
            assert [one.reason for one in report.results if one.status == "raised"] == []
            told = json.dumps([report_facts(report), report.facts()]) + "".join(
                one.reason for one in report.results
            )
            assert _SECRET not in told, "what it finds holds a secret of the descriptor"

    # -- helpers ----------------------------------------------------------------------------------------------

    def configured(self, parameters: Mapping[str, Any], severity: str | None = None) -> ConfiguredPolicy:
        """The policy as a platform has it."""
        made = self.policy(self.policy.Parameters.model_validate(dict(parameters)))
        return ConfiguredPolicy(
            self.policy.id, self.policy.title, severity or self.policy.severity, "the suite", made
        )

    def report(
        self,
        sample: PolicySample,
        product: ResolvedProduct,
        *,
        severity: str | None = None,
        exemptions: tuple[Exemption, ...] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> PolicyReport:
        """What the policy alone says of a product."""
        given = sample.parameters if parameters is None else parameters
        policies = PolicySet((self.configured(given, severity),), exemptions)
        return check_product(product, policies=policies)


def _of_bases() -> set[Any]:
    from dp_dagster.policies import DatasetPolicy, PlatformPolicy, PortPolicy, ProductPolicy

    return {base.not_applicable for base in (DatasetPolicy, PlatformPolicy, PortPolicy, ProductPolicy)}


@lru_cache(maxsize=64)
def _heavy_imports_of(module: str) -> list[str]:
    code = f"import sys; import {module}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return found.stdout.split()
