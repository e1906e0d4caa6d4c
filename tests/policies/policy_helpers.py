"""What the tests of policies share: a product that keeps all of them, and small changes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import TOTALS_CONTRACT

from dp_dagster.policies import PolicyReport, PolicyResult, check_product
from dp_dagster.ports.base import Example, OutputContext, Projected
from dp_dagster.ports.inputs.files import FilesInput
from dp_dagster.ports.outputs.sql import SqlOutput
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.registry import Registry
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings
from dp_dagster.transforms.sql import SqlTransform

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

KEPT = """\
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
  - {name: totals, from: totals, contract: "contracts/totals.py:Totals", key: [shop]}
output_ports:
  - {name: vw_totals, type: SQL, dataset: totals}
"""


class TotalsApi(ServedPort[ServedConfig]):
    """A served kind, as far as policies look at one."""

    kind = "TEST_API"
    summary = "answers requests"
    extra = None
    Config = ServedConfig

    def path(self, config: ServedConfig, context: OutputContext) -> str:
        return f"/{context.product_id}/{context.port_name}"

    def address(self, config: ServedConfig, context: OutputContext) -> str:
        return self.path(config, context)

    def examples(self, config: ServedConfig, context: OutputContext) -> tuple[Example, ...]:
        return ()

    def project(
        self, config: ServedConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        return Projected(self.path(config, context))

    def application(self, config: ServedConfig, context: OutputContext, host: Any) -> Any:
        raise NotImplementedError


REGISTRY = Registry.of(
    {"input_ports": [FilesInput], "transforms": [SqlTransform], "output_ports": [SqlOutput, TotalsApi]}
)


def make(
    project: TestProject, *changes: tuple[str, str], settings: str = "", contract: str = TOTALS_CONTRACT
) -> ResolvedProduct:
    """The product with some texts of its descriptor replaced, on a platform with these policies."""
    text = KEPT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder = project.add_product(descriptor=text)
    (folder / "contracts" / "totals.py").write_text(contract)
    if settings:
        set_policies(project.root, settings)
    return resolve(folder, Settings.load(folder), REGISTRY)


def set_policies(root: Path, text: str) -> None:
    (root / "dp_dagster.toml").write_text(f'products = ["products/*"]\nstorage = "data"\n{text}')


def results(product: ResolvedProduct, policy: str) -> list[PolicyResult]:
    return [one for one in check_product(product).results if one.policy == policy]


def said(product: ResolvedProduct, policy: str) -> list[str]:
    """What a policy finds, without file and line."""
    return [
        f"{problem.field}: {problem.message.removesuffix(f' (policy {policy})')}"
        for one in results(product, policy)
        for problem in one.problems
    ]


def states(product: ResolvedProduct) -> dict[str, str]:
    """What came of each policy; of several subjects, the last one's."""
    return {one.policy: one.status for one in check_product(product).results}


def reason(product: ResolvedProduct, policy: str) -> str:
    """Why a policy was not applied to the one subject that it has."""
    (result,) = results(product, policy)
    return result.reason


def lines(report: PolicyReport) -> list[str]:
    return [str(problem) for problem in (*report.errors, *report.warnings)]
