"""dbt models as assets, their tests as asset checks: run by dagster-dbt into a database of the run's own."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets

from dp_dagster.definitions import describe, keys
from dp_dagster.definitions.dbt_manifest import dbt_environment, dbt_executable, kept_target, load_manifest
from dp_dagster.definitions.lineage import declared_lineage
from dp_dagster.definitions.work import begin, plain_failures
from dp_dagster.engines.column_origins import Origins
from dp_dagster.errors import TransformError
from dp_dagster.folder import code_version
from dp_dagster.pipeline.dbt import keep_database, prepare_database
from dp_dagster.resolve import ResolvedProduct, ResolvedTransform
from dp_dagster.transforms.base import TransformPlace
from dp_dagster.transforms.dbt import compiled_so_far, origins_of_models, project_folder


class ProductTranslator(DagsterDbtTranslator):
    """Gives dbt models the keys, group, owners and tags of their product, and sources those of its inputs."""

    def __init__(self, product: ResolvedProduct, code: str) -> None:
        super().__init__(settings=DagsterDbtTranslatorSettings(enable_asset_checks=True))
        self._product = product
        self._code = code

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        """The spec of one model or source."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        properties = self.get_resource_props(manifest, unique_id)
        name = properties["name"]
        product = self._product
        if properties["resource_type"] == "source":
            return spec.replace_attributes(key=keys.input_key(product.id, name))
        text = properties.get("description")
        return spec.replace_attributes(
            key=keys.transform_key(product.id, name),
            group_name=product.id,
            owners=describe.owners(product),
            tags=describe.tags(product, "transform"),
            kinds={"dbt", "duckdb"},
            code_version=self._code,
            description=describe.sections(
                describe.first_line(text, f"dbt model {name} of {product.id}"),
                ("", describe.rest(text)),
                ("Code", f"`dbt_project/{properties['original_file_path']}`"),
            ),
        )


def dbt_models(product: ResolvedProduct, transform: ResolvedTransform) -> dg.AssetsDefinition:
    """All models of one dbt transform."""
    manifest = load_manifest(product, transform)
    place = TransformPlace(transform.name, product.id, product.root, product.settings)
    code = code_version(transform.transform.sources(transform.config, place))
    project = str(project_folder(product.settings))

    @dbt_assets(
        manifest=manifest,
        name=keys.step_name(product.id, "dbt", transform.name),
        dagster_dbt_translator=ProductTranslator(product, code),
        select="fqn:*",
    )
    def build(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with plain_failures(context):
            session = begin(context, product)
            database = prepare_database(session, transform, fresh=not context.is_subset)
            target = database.parent / "target"
            target.mkdir(exist_ok=True)
            partial = kept_target(product, transform) / "partial_parse.msgpack"
            if partial.is_file():
                shutil.copyfile(partial, target / partial.name)
            dbt = DbtCliResource(project_dir=project, profiles_dir=project, dbt_executable=dbt_executable())
            with dbt_environment(transform, database):
                invocation = dbt.cli(
                    ["build"],
                    context=context.op_execution_context,
                    target_path=target,
                    raise_on_error=False,
                )

                def origins(tables: Mapping[str, Sequence[str] | None]) -> Mapping[str, Origins]:
                    compiled = compiled_so_far(manifest, target)
                    return origins_of_models(compiled, transform.config, place, tables)

                for event in invocation.stream():
                    if isinstance(event, dg.Output):
                        key = context.asset_key_for_output(event.output_name)
                        lineage = declared_lineage(context, product, key, {transform.name: origins})
                        yield event.with_metadata({**event.metadata, **lineage})
                    else:
                        yield event
            if not invocation.is_successful():
                raise TransformError(f"{product.id}/{transform.name}: {_failures(target, invocation)}")
            keep_database(session, transform)

    return build


def _failures(target: Path, invocation: Any) -> str:
    """What failed, in dbt's own words, one sentence a model or test."""
    path = target / "run_results.json"
    if not path.is_file():
        error = invocation.get_error()
        return f"dbt ended before it ran: {error}" if error else "dbt ended before it ran"
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    failed = [result for result in results if result["status"] in {"error", "fail"}]
    return "; ".join(
        f"{result['unique_id'].split('.')[2]}: {' '.join((result['message'] or '').split())}"
        for result in failed
    )
