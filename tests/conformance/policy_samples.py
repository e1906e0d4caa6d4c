"""A product that keeps and one that breaks each built-in policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.resolve import resolve
from dp_dagster.testing import PolicySample
from dp_dagster.testing.policies import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.testing import Workshop

DAY = "description: When it sold that"
PORTS = "output_ports:\n"
PORT = "  - {name: vw_totals, type: SQL, dataset: totals}\n"
OWNER = "domain: sales\nowner: {team: sellers, email: sellers@example.com}\n"


def served(auth: str, grant: str) -> tuple[str, str]:
    port = f"  - {{name: totals_api, type: REST_API, dataset: totals, auth: {auth}}}\n"
    return PORTS + PORT, f"access: [{{{grant}}}]\n{PORTS}{port}"


def owner_and_domain(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(), broken=workshop.product((OWNER, "")), places=("owner", "domain")
    )


def columns_described(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(contract=CONTRACT.replace(DAY, "description: ''")),
        places=("datasets[0].contract",),
    )


def classified_masked(workshop: Workshop) -> PolicySample:
    contract = CONTRACT.replace(DAY, f"classification: restricted, {DAY}")
    return PolicySample(
        kept=workshop.product(served("api_key", "anyone: true"), contract=contract),
        broken=workshop.product(served("api_key", "anyone: true, unmask: [day]"), contract=contract),
        places=("output_ports[0]",),
        not_applicable=workshop.product(),
    )


def served_authenticated(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(served("api_key", "anyone: true")),
        broken=workshop.product(served("none", "anyone: true")),
        places=("output_ports[0].auth",),
        not_applicable=workshop.product(),
    )


def retention_declared(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(("sla: {retention: 90d}\n", "")),
        places=("datasets[0]",),
        not_applicable=workshop.product((PORTS + PORT, "")),
    )


def sla_declared(workshop: Workshop) -> PolicySample:
    declared = "type: NATS, endpoint: 'nats://example.com/totals'"
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(("refresh_rate: daily\nsla: {retention: 90d}\n", "")),
        places=("output_ports[0]",),
        not_applicable=workshop.product(("type: SQL, dataset: totals", declared)),
    )


def no_breaking_change(workshop: Workshop) -> PolicySample:
    product = workshop.product()
    session = Session(product, "first")
    land_input(session, "sales")
    run_transform(session, "totals")
    assert publish_dataset(session, "totals").snapshot is not None
    project_port(session, "vw_totals")
    contract = product.root / "contracts/totals.odcs.yaml"
    contract.write_text(CONTRACT.replace("minimum: 0", "minimum: -5"))
    changed = resolve(product.root, product.settings)
    return PolicySample(
        kept=product,
        broken=changed,
        places=("datasets[0].contract",),
        not_applicable=workshop.product(),
    )


def naming(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(("name: vw_totals", "name: totals_of_shops")),
        places=("output_ports[0].name",),
        parameters={"output_ports": "vw_.*"},
    )


def allowed_kinds(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(("type: SQL, dataset", "type: FILES, format: csv, dataset")),
        places=("output_ports[0].type",),
        parameters={"output_ports": ["SQL"]},
        not_applicable=workshop.product(),
        not_applicable_parameters={},
    )


def allowed_locations(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(
            ("path: inputs/sales.csv", "path: other/sales.csv"), files={"other/sales.csv": "shop\nnorth\n"}
        ),
        places=("input_ports[0]",),
        parameters={"inputs": ["inputs/**"]},
        not_applicable=workshop.product(),
        not_applicable_parameters={},
    )


def no_clear_text_secret(workshop: Workshop) -> PolicySample:
    return PolicySample(
        kept=workshop.product(),
        broken=workshop.product(("What each shop sold.", "Use AKIAIOSFODNN7EXAMPLE for it.")),
        places=("description",),
    )


#: By id; a registered policy that is not here fails the suite.
POLICY_SAMPLES: dict[str, Callable[[Workshop], PolicySample]] = {
    one.__name__: one
    for one in (
        owner_and_domain,
        columns_described,
        classified_masked,
        served_authenticated,
        retention_declared,
        sla_declared,
        no_breaking_change,
        naming,
        allowed_kinds,
        allowed_locations,
        no_clear_text_secret,
    )
}
