"""dbt transforms: the models of one folder of the dbt project, run by dagster-dbt on dbt-duckdb."""

from __future__ import annotations

import json
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.engines.column_origins import opaque, origins_of_query
from dp_dagster.errors import TransformError
from dp_dagster.ports.base import Fault, KindConfig
from dp_dagster.transforms.base import Transform, TransformPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dp_dagster.engines.column_origins import Origins
    from dp_dagster.settings import Settings


class DbtConfig(KindConfig):
    """Configuration of a dbt transform."""

    models: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=200,
        description="Folder below `models/` of the dbt project. Each model in it becomes a transform.",
    )
    inputs: tuple[str, ...] | None = Field(
        default=None,
        description="Input ports that the models read as `source('input', …)`; all of them by default.",
    )


class DbtTransform(Transform[DbtConfig]):
    """A folder of dbt models; every model is a transform of its own name."""

    kind = "DBT"
    summary = "the models of one folder of the dbt project"
    Config: ClassVar[type[KindConfig]] = DbtConfig
    runs_in = "dbt"

    def check(self, config: DbtConfig, place: TransformPlace) -> Iterable[Fault]:
        """The folder must exist in the dbt project and hold models."""
        folder = models_folder(config, place.settings)
        if not (project_folder(place.settings) / "dbt_project.yml").is_file():
            yield Fault("models", "there is no dbt_project/dbt_project.yml in the project", "create it")
        elif not folder.is_dir():
            yield Fault(
                "models",
                f"folder dbt_project/models/{config.models} does not exist",
                "create it, with models",
            )
        elif not any(folder.rglob("*.sql")):
            yield Fault("models", f"dbt_project/models/{config.models} holds no model", "add a .sql file")

    def provides(self, config: DbtConfig, place: TransformPlace) -> tuple[str, ...]:
        """The names of the models."""
        # Without dbt: parsing takes seconds, and a model is named after its file.
        return tuple(sorted(path.stem for path in models_folder(config, place.settings).rglob("*.sql")))

    def depends_on(self, config: DbtConfig, place: TransformPlace, known: frozenset[str]) -> tuple[str, ...]:
        """The declared inputs, or all input ports of the product."""
        if config.inputs is None:
            return tuple(sorted(known))
        for name in config.inputs:
            if name not in known:
                raise TransformError(
                    f"{place.name}: reads {name}, which is no input port of {place.product_id}; "
                    f"there are {', '.join(sorted(known)) or 'none'}"
                )
        return config.inputs

    def origins(
        self, config: DbtConfig, place: TransformPlace, tables: Mapping[str, Sequence[str] | None]
    ) -> Mapping[str, Origins]:
        """Read from the SQL that dbt compiled when it built the models last."""
        manifest = built_manifest(place.settings, place.product_id, place.name)
        if manifest is None:
            reason = f"dbt has not built the models here yet; run dp run {place.product_id}"
            return {name: opaque(reason) for name in self.provides(config, place)}
        compiled = _compiled(json.loads(manifest.read_text(encoding="utf-8")))
        return origins_of_models(compiled, config, place, tables)

    def sources(self, config: DbtConfig, place: TransformPlace) -> tuple[Path, ...]:
        """Every file of the models' folder, and the project file."""
        folder = models_folder(config, place.settings)
        files = sorted(path for path in folder.rglob("*") if path.suffix in {".sql", ".yml", ".yaml", ".py"})
        project = project_folder(place.settings)
        shared = sorted(
            path
            for part in ("macros", "tests", "seeds")
            for path in (project / part).rglob("*")
            if path.is_file()
        )
        return (project / "dbt_project.yml", project / "profiles.yml", *shared, *files)


def built_manifest(settings: Settings, product_id: str, transform: str) -> Path | None:
    """The manifest of the models as they were built last, compiled SQL included; ``None`` before the first."""
    folder = settings.state_directory / "dbt" / product_id / transform
    try:
        pointer = json.loads((folder / "current.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    path = (folder / pointer["database"]).parent / "target" / "manifest.json"
    return path if path.is_file() else None


def project_folder(settings: Settings) -> Path:
    """The dbt project of the repository."""
    return settings.project_root / "dbt_project"


def models_folder(config: DbtConfig, settings: Settings) -> Path:
    """The folder that holds a transform's models."""
    return project_folder(settings) / "models" / config.models


def origins_of_models(
    compiled: Mapping[str, str | None],
    config: DbtConfig,
    place: TransformPlace,
    tables: Mapping[str, Sequence[str] | None],
) -> dict[str, Origins]:
    """What each column of each model is made from.

    Args:
        compiled: The SQL of each model, each after those that it reads; ``None`` for one that is no SQL.
        config: The transform's.
        place: Where it lives.
        tables: The columns of what the models read from outside.
    """
    cache = place.settings.state_directory / "cache" / "lineage"
    known = dict(tables)
    found = {}
    for name, text in compiled.items():
        file = f"dbt_project/models/{config.models}: {name}"
        found[name] = (
            opaque("the model is not written in SQL")
            if text is None
            else origins_of_query(text, known, file=file, cache_directory=cache)
        )
        known[name] = None if "*" in found[name].unknown else tuple(found[name].columns)
    return found


def compiled_so_far(manifest: dict[str, Any], target: Path) -> dict[str, str | None]:
    """The SQL of each model that a build has compiled until now; those that it has not reached are left out.

    dbt writes the manifest of a build when it ends, and the SQL of each model before it runs it.
    """
    written = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["language"] == "sql":
            path = target / "compiled" / node["package_name"] / node["original_file_path"]
            if path.is_file():
                written[node["name"]] = path.read_text(encoding="utf-8")
    return {
        name: written.get(name)
        for name, text in _compiled(manifest).items()
        if name in written or text is None
    }


def _compiled(manifest: dict[str, Any]) -> dict[str, str | None]:
    """The SQL of each model by its name, each after those that it reads; ``None`` for one that is no SQL."""
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    needs = {key: set(node["depends_on"]["nodes"]) & set(models) for key, node in models.items()}
    order = TopologicalSorter(needs).static_order()
    return {
        models[key]["name"]: models[key].get("compiled_code") if models[key]["language"] == "sql" else None
        for key in order
    }
