"""Publications as OpenLineage events: schema, column lineage, data quality and contract, by the client's own classes.

Two jobs for each dataset: the one that publishes it, and its audit, whose input is the candidate and whose
assertions are the contract's rules. Events go wherever the client's transport leads (file, HTTP, Kafka).

Source: the OpenLineage specification, https://openlineage.io/docs/spec/object-model.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.interpolation import InterpolationError, interpolate
from dp_dagster.errors import NotInstalledError, OperatorError, SettingsError
from dp_dagster.lineage.build import dataset_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.lineage.model import ProductLineage
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct
    from dp_dagster.settings import Settings
    from dp_dagster.storage import Snapshot

_PRODUCER = "urn:dp_dagster"
_CONTRACT_FACET = "urn:dp_dagster:facet:contract:1"
_TRANSFORMATIONS = {
    "identity": "IDENTITY",
    "transformation": "TRANSFORMATION",
    "aggregation": "AGGREGATION",
    "join": "JOIN",
    "filter": "FILTER",
    "group by": "GROUP_BY",
    "order": "SORT",
    "window": "WINDOW",
}


@dataclass(frozen=True)
class Audited:
    """One candidate that was audited, and published or held.

    Attributes:
        product: The product.
        dataset: What was to be published.
        lineage: The product's lineage.
        run_id: The run's id; a UUID, or anything else that is then hashed into one.
        started: When it began, with a time zone.
        verdict: What the audit found.
        snapshot: What was published; ``None`` where the candidate was held.
    """

    product: ResolvedProduct
    dataset: ResolvedDataset
    lineage: ProductLineage
    run_id: str
    started: datetime
    verdict: Verdict
    snapshot: Snapshot | None

    @property
    def namespace(self) -> str:
        """Namespace of jobs and datasets: the environment's name."""
        return self.product.settings.environment

    @property
    def name(self) -> str:
        """Name of the dataset and of the job that publishes it: its asset key."""
        return dataset_id(self.product.id, self.dataset.major, self.dataset.name)


def events_of(audited: Audited) -> list[RunEvent]:
    """The events of one publication, or of a candidate that was held.

    Raises:
        NotInstalledError: the OpenLineage client is missing.
    """
    try:
        from openlineage.client import event_v2
        from openlineage.client.facet_v2 import error_message_run
    except ImportError as error:
        raise NotInstalledError(
            "OpenLineage events need the extra lineage: pip install 'dp_dagster[lineage]'"
        ) from error
    event_v2.set_producer(_PRODUCER)
    product, verdict, run_id, started = audited.product, audited.verdict, audited.run_id, audited.started
    namespace, name = audited.namespace, audited.name
    inputs = [event_v2.InputDataset(namespace, source) for source in _sources(audited.lineage, name)]
    job = event_v2.Job(namespace, name, facets=_job_facets(product))
    audit = event_v2.Job(namespace, f"{name}/contract")
    ended = datetime.now(UTC)

    def event(state: str, job: Any, at: datetime, facets: dict[str, Any], *data: Sequence[Any]) -> RunEvent:
        run = event_v2.Run(_uuid(run_id, job.name), facets={**facets, **_parent(namespace, product, run_id)})
        return event_v2.RunEvent(
            eventType=event_v2.RunState(state),
            eventTime=at.isoformat(),
            run=run,
            job=job,
            inputs=list(data[0]) if data else [],
            outputs=list(data[1]) if len(data) > 1 else [],
        )

    candidate = _candidate(namespace, name, audited.dataset.contract, verdict)
    failed = {
        "errorMessage": error_message_run.ErrorMessageRunFacet(verdict.reason, programmingLanguage="SQL")
    }
    return [
        event("START", job, started, {}, inputs),
        event("START", audit, started, {}),
        event("COMPLETE", audit, ended, {}, [candidate]),
        event("COMPLETE", job, ended, {}, inputs, [_output(audited)])
        if audited.snapshot is not None
        else event("FAIL", job, ended, failed, inputs),
    ]


def send(settings: Settings, events: Sequence[RunEvent]) -> None:
    """Hand events to the transport that the settings name.

    Raises:
        SettingsError: the transport's settings are wrong, or name a variable that is not set.
        OperatorError: the transport failed; what it was told may hold secrets, so only its kind is named.
    """
    from openlineage.client import OpenLineageClient

    transport = _resolved(settings.openlineage or {})
    try:
        client = OpenLineageClient(config={"transport": transport})
    except Exception as error:
        # The client raises whatever its transports do; the values may hold secrets.
        raise SettingsError(
            f"openlineage: the client refuses these settings ({type(error).__name__}); see the client's own "
            "documentation of transports"
        ) from error
    try:
        for event in events:
            client.emit(event)
        client.close()
    except Exception as error:
        # A transport is code of others and raises anything.
        raise OperatorError(
            f"OpenLineage events could not be sent by {transport.get('type')}: {type(error).__name__}"
        ) from error


def _resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found[name] = _resolved(value)
        elif isinstance(value, str):
            try:
                found[name] = interpolate(value, os.environ).text
            except InterpolationError as error:
                raise SettingsError(f"openlineage.{name}: {error}; {error.fix}") from error
        else:
            found[name] = value
    return found


def _uuid(run_id: str, job: str) -> str:
    # One run of Dagster is several runs here, one for each job; the same one always has the same id.
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_PRODUCER}:{run_id}:{job}"))


def _parent(namespace: str, product: ResolvedProduct, run_id: str) -> dict[str, Any]:
    from openlineage.client.facet_v2 import parent_run

    try:
        run = str(uuid.UUID(run_id))
    except ValueError:
        run = _uuid(run_id, product.id)
    job = parent_run.Job(namespace=namespace, name=f"{product.id}_refresh")
    return {"parent": parent_run.ParentRunFacet(run=parent_run.Run(runId=run), job=job)}


def _job_facets(product: ResolvedProduct) -> dict[str, Any]:
    from openlineage.client.facet_v2 import documentation_job, job_type_job, ownership_job

    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="DP_DAGSTER", jobType="PUBLICATION"
        )
    }
    if product.descriptor.summary:
        facets["documentation"] = documentation_job.DocumentationJobFacet(product.descriptor.summary)
    if product.descriptor.owner is not None:
        owner = ownership_job.Owner(name=f"team:{product.descriptor.owner.team}", type="OWNER")
        facets["ownership"] = ownership_job.OwnershipJobFacet(owners=[owner])
    return facets


def _sources(lineage: ProductLineage, name: str) -> list[str]:
    """What is read from outside the product: other products' ports, and its own input ports."""
    found: dict[str, None] = {}
    waiting = [name]
    seen = set()
    while waiting:
        node = lineage.node(waiting.pop())
        if node is None or node.id in seen:
            continue
        seen.add(node.id)
        if node.role == "input":
            found.update(dict.fromkeys(node.reads or (node.id,)))
        else:
            waiting.extend(node.reads)
    return sorted(found)


def _output(audited: Audited) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        documentation_dataset,
        output_statistics_output_dataset,
    )

    contract = audited.dataset.contract
    facets: dict[str, Any] = {
        "schema": _schema(contract),
        "columnLineage": _column_lineage(audited.namespace, audited.name, audited.lineage),
        "dpContract": contract_facet(contract, audited.verdict),
    }
    if audited.snapshot is not None:
        version = str(audited.snapshot.version)
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(version)
    text = audited.dataset.declaration.description or audited.product.descriptor.summary
    if text:
        facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(text)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=audited.verdict.rows_accepted
    )
    return OutputDataset(
        audited.namespace, audited.name, facets=facets, outputFacets={"outputStatistics": statistics}
    )


def _schema(contract: Contract) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(
                name=column.name, type=column.type, description=column.description or None
            )
            for column in contract.columns
        ]
    )


def _column_lineage(namespace: str, name: str, lineage: ProductLineage) -> Any:
    """Columns down to what stands outside the product, and what decides over the rows on the way."""
    from openlineage.client.facet_v2 import column_lineage_dataset as facet

    from dp_dagster.lineage.model import Graph, leaves

    graph = Graph([lineage])
    node = graph.nodes[name]
    fields = {}
    for column in node.columns:
        found = leaves(graph.up(name, column))
        found.pop((name, column), None)
        fields[column] = facet.Fields(
            [
                facet.InputField(
                    namespace, place, source, [facet.Transformation("DIRECT", _TRANSFORMATIONS[how])]
                )
                for (place, source), how in sorted(found.items(), key=str)
                if source is not None
            ]
        )
    decides = [
        facet.InputField(
            namespace,
            influence.node,
            influence.column,
            [facet.Transformation("INDIRECT", _TRANSFORMATIONS[influence.why])],
        )
        for one in _above(lineage, name)
        for influence in one.influences
    ]
    return facet.ColumnLineageDatasetFacet(fields=fields, dataset=decides)


def _above(lineage: ProductLineage, name: str) -> list[Any]:
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        node = lineage.node(waiting.pop())
        if node is not None and node.id not in found:
            found[node.id] = node
            waiting.extend(node.reads)
    return list(found.values())


def _candidate(namespace: str, name: str, contract: Contract, verdict: Verdict) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import (
        data_quality_assertions_dataset,
        data_quality_metrics_input_dataset,
    )

    assertions = []
    for result in verdict.results:
        rule = contract.rule(result.rule_id)
        columns = rule.columns if rule else ()
        assertions.append(
            data_quality_assertions_dataset.Assertion(
                assertion=rule.kind if rule else result.rule_id,
                # What was not evaluated has not passed.
                success=result.passed,
                column=columns[0] if len(columns) == 1 else None,
                severity=result.severity,
                name=result.rule_id,
                actual=str(result.failures) if result.evaluated else f"not evaluated: {result.reason}",
            )
        )
    facets = {
        "dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            assertions=assertions
        ),
        "dataQualityMetrics": data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
            columnMetrics={}, rowCount=verdict.rows_in
        ),
    }
    return InputDataset(namespace, name, inputFacets=facets)


def contract_facet(contract: Contract, verdict: Verdict) -> Any:
    """The facet of ours: the contract that a version was proven against, and the verdict."""
    import attr
    from openlineage.client.event_v2 import set_producer
    from openlineage.client.generated.base import DatasetFacet

    set_producer(_PRODUCER)

    @attr.define
    class ContractDatasetFacet(DatasetFacet):
        contract: str
        hash: str
        format: str
        version: str | None
        verdict: str
        decision: str
        rowsIn: int  # noqa: N815 - names of facets are written like this
        rowsRejected: int  # noqa: N815

        @staticmethod
        def _get_schema() -> str:
            return _CONTRACT_FACET

    return ContractDatasetFacet(
        contract=contract.name,
        hash=contract.hash,
        format=contract.format,
        version=contract.version,
        verdict=verdict.id,
        decision=verdict.decision,
        rowsIn=verdict.rows_in,
        rowsRejected=verdict.rows_rejected,
    )
