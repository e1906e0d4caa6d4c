"""What belongs to no single product: where products, data and records are, and how long to wait.

Settings come from ``[tool.dp_dagster]`` of ``pyproject.toml`` or from ``dp_dagster.toml``, whichever is found
first on the way up from the working directory, and each can be overridden by an environment variable.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from dp_dagster.errors import SettingsError

FILE_NAME = "dp_dagster.toml"
ENVIRONMENT_PREFIX = "DP_"
_BUCKETS = "s3://"
_TABLES = frozenset({"alerts", "control", "limits", "masks", "openlineage", "policies"})


MaskMethod = Literal["hash", "redact", "partial", "null"]
"""How a classified value is masked; see docs/access.md."""


def _masks(value: Any) -> Any:
    return {k: "null" if v is None else v for k, v in value.items()} if isinstance(value, Mapping) else value


Masks = Annotated[Mapping[str, MaskMethod], BeforeValidator(_masks)]
"""Methods by name of a classification or column. ``null`` may stand there as YAML's own."""


def _amount(value: Any) -> Any:
    if value == "unlimited" or value is None:
        return value
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        # The form that descriptor.values.fault has, for the fields of product.yaml that are typed so.
        said = {"said": "is no amount", "fix": "write a whole number from 1 on, or unlimited", "at": ()}
        raise PydanticCustomError("dp", "{said}; {fix}", said)
    return number


Amount = Annotated[int | Literal["unlimited"], BeforeValidator(_amount)]


class Limits(BaseModel):
    """What each consumer may take from a port. What is left out is taken from the platform's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: Amount | None = Field(
        default=None, description="Requests of one consumer; a minute's worth may come at once."
    )
    rows_per_day: Amount | None = Field(
        default=None, description="Rows that one consumer may take in a day (UTC)."
    )
    page_size: Amount | None = Field(default=None, description="Rows of one page.")
    query_seconds: Amount | None = Field(
        default=None, description="Seconds that one answer may take to compute."
    )
    response_bytes: Amount | None = Field(default=None, description="Bytes of one answer.")

    def over(self, others: Limits) -> Limits:
        """These limits, with those of ``others`` where nothing is said."""
        return Limits(**{**others.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


DEFAULT_LIMITS = Limits(
    requests_per_minute=6000,
    rows_per_day="unlimited",
    page_size=1000,
    query_seconds=30,
    response_bytes="unlimited",
)


class Settings(BaseModel):
    """The platform's settings; every value below is also settable as ``DP_<NAME IN CAPITALS>``.

    Relative folders start at ``project_root``; once built, ``storage`` and ``state_directory`` are absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project_root: Path = Field(
        description="Folder of the settings file; the folder searched from, where there is no such file. "
        "Found, never set."
    )
    products: tuple[str, ...] = Field(
        default=("products/*",),
        description="Patterns of product folders (or of descriptor files), relative to the project. "
        "In DP_PRODUCTS several are separated as in PATH.",
    )
    storage: str = Field(
        default="data",
        description="Folder that holds all published data, one folder a product; or `s3://bucket/folder`: see "
        "[storage](storage.md).",
    )
    state_directory: Path = Field(
        default=Path(".dp"),
        description="Folder for what can be made again: work databases, compiled contracts, the project's "
        "Dagster home.",
    )
    records_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the records (verdicts, publications). Default: a SQLite file, "
        "records.db, in the storage folder; in the state directory where the storage is a bucket.",
    )
    environment: str = Field(
        default="development", description="Name of this environment, shown and recorded.", min_length=1
    )
    lock_timeout: float = Field(
        default=60.0, ge=0, description="Seconds to wait for another writer of the same dataset."
    )
    candidate_grace: float = Field(
        default=86_400.0,
        ge=0,
        description="Seconds after which files of a run that never published are cleaned up. Longer than the "
        "longest audit.",
    )

    alerts: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Who is told what, for products that do not say it themselves: a table like `alerts` of "
        "product.yaml. In DP_ALERTS as JSON.",
    )
    policies: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Which policies hold, how strictly, and who is exempted: see [policies](policies.md). In "
        "DP_POLICIES as JSON.",
    )
    alert_interval: float = Field(
        default=30.0, gt=0, description="Seconds between two looks at what may have to be told."
    )
    alert_retry: float = Field(
        default=15.0,
        gt=0,
        description="Seconds before a message that was not delivered is tried again; doubled each time, up to an hour.",
    )
    alert_retention: float = Field(
        default=90 * 86_400.0,
        gt=0,
        description="Seconds that an alert that is over is kept with its messages; that there was one stays in the "
        "audit log.",
    )
    silent_after: float = Field(
        default=300.0,
        gt=0,
        description="Seconds without a sign of life after which a sensor or the daemon counts as silent.",
    )
    serve_url: str = Field(
        default="http://127.0.0.1:8700",
        description="Where consumers reach `dp serve`: the address of served ports that name no `endpoint`.",
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="Where the Dagster UI is; messages link to it."
    )

    control: Mapping[str, Any] | None = Field(
        default=None,
        description="The control port of `dp serve`: `auth` as of a served port, and `roles` that may use each of "
        "`metrics`, `audit`, `policies`, `schemas`, `catalog` and `sla`, the page of service levels (`*`: every "
        "identity). Without it there is none of them.",
    )
    openlineage: Mapping[str, Any] | None = Field(
        default=None,
        description="Where OpenLineage events go: the transport's settings as the OpenLineage client takes them, such "
        'as `{type = "file", log_file_path = "events.jsonl", append = true}`; `http` and `kafka`, too. Secrets as '
        "`${NAME}`. Without it none are sent.",
    )
    oauth2_issuer: str | None = Field(
        default=None,
        description="Issuer of the tokens that `auth: OAuth2` asks for, where a port names none.",
    )
    oauth2_audience: str | None = Field(
        default=None, description="Audience that those tokens must be meant for, where a port names none."
    )
    masks: Masks = Field(
        default_factory=dict,
        description='How classified columns are masked by default, by classification: `{pii = "hash"}`; '
        "`default` stands for all others. `redact` where nothing is said. In DP_MASKS as JSON.",
    )
    limits: Limits = Field(
        default=DEFAULT_LIMITS,
        description="What each consumer may take from a served port that sets no limits of its own; see "
        "docs/access.md. In DP_LIMITS as JSON.",
    )
    access_retention_days: Amount = Field(
        default=400,
        description="Days that accesses of served ports are kept, or `unlimited`. What they came to by minute, and the "
        "records that sealed them, stay.",
    )
    bucket_room: int = Field(
        default=20 * 1024**3,
        ge=0,
        description="Bytes on disk for copies of published files, where the storage is a bucket. What was read within "
        "`candidate_grace` stays beyond that.",
    )
    row_store_retention: float = Field(
        default=3600.0,
        ge=0,
        description="Seconds that the row store of an older version is kept after a newer one was built. Cursors "
        "that are older read the published files, more slowly.",
    )
    serve_patience: float = Field(
        default=60.0,
        ge=0,
        description="Seconds that the old version stays on show while the row store of a new one is built; after "
        "that the new one is read from its files.",
    )
    serve_threads: int = Field(
        default=4,
        ge=1,
        description="Questions that one worker of dp serve asks the published files at a time.",
    )
    serve_memory: str = Field(
        default="1GB",
        pattern=r"^[0-9]+(\.[0-9]+)?\s?[KMGT]i?B$",
        description="Memory that one worker of dp serve takes for them; what does not fit goes to disk.",
    )
    export_room: int = Field(
        default=4 * 1024**3,
        ge=0,
        description="Bytes on disk for exports that are kept for who asks the same again.",
    )
    export_seconds: float = Field(default=600.0, gt=0, description="Seconds that making one export may take.")

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "project_root" not in data:
            return data
        values = dict(data)
        root = Path(values["project_root"]).absolute()
        values["project_root"] = root
        storage = values.get("storage", cls.model_fields["storage"].default)
        if isinstance(storage, str):
            values["storage"] = _storage(storage, root)
        state = values.get("state_directory", cls.model_fields["state_directory"].default)
        if isinstance(state, str | Path):
            values["state_directory"] = root / Path(state).expanduser()
        return values

    @classmethod
    def load(cls, start: Path | None = None) -> Settings:
        """Find and read the settings that hold for ``start`` (default: the working directory).

        Raises:
            SettingsError: the file does not parse, a key is unknown or a value is wrong; names the file or
                the environment variable.
        """
        folder = (start or Path.cwd()).absolute()
        if folder.is_file():
            folder = folder.parent
        source, values = _read(folder)
        _refuse_unknown(source, values)
        origins = dict.fromkeys(values, str(source))
        for name in cls.model_fields:
            variable = ENVIRONMENT_PREFIX + name.upper()
            if name != "project_root" and variable in os.environ:
                text = os.environ[variable]
                values[name] = _from_environment(name, text)
                origins[name] = f"environment variable {variable}"
        try:
            return cls(project_root=source.parent if source else folder, **values)
        except ValidationError as error:
            lines = []
            for detail in error.errors(include_url=False, include_context=False):
                name = str(detail["loc"][0]) if detail["loc"] else "storage"
                lines.append(f"{origins.get(name, 'settings')}: {name}: {detail['msg']}")
            raise SettingsError("\n".join(lines)) from None

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        object.__setattr__(self, "limits", self.limits.over(DEFAULT_LIMITS))
        return self

    @property
    def resolved_records_url(self) -> str:
        """URL of the records, the default filled in."""
        folder = self.state_directory if self.storage.startswith(_BUCKETS) else self.storage
        return self.records_url or f"sqlite:///{folder}/records.db"

    @property
    def contract_cache(self) -> Path:
        """Folder of compiled contracts."""
        return self.state_directory / "cache" / "contracts"


def _from_environment(name: str, text: str) -> Any:
    if name == "products":
        return tuple(filter(None, text.split(os.pathsep)))
    if name in _TABLES:
        try:
            return json.loads(text)
        except ValueError as error:
            raise SettingsError(
                f"environment variable {ENVIRONMENT_PREFIX}{name.upper()}: is no JSON"
            ) from error
    return text


def _storage(storage: str, root: Path) -> str:
    if storage.startswith(_BUCKETS):
        if "@" in storage or "?" in storage:
            raise ValueError(
                "holds more than a bucket and a folder; credentials come from the AWS environment alone"
            )
        if not storage.removeprefix(_BUCKETS).strip("/"):
            raise ValueError("names no bucket; give s3://bucket/folder")
        return storage.rstrip("/")
    parts = urlsplit(storage)
    if parts.scheme == "file":
        return str(Path(unquote(parts.path)))
    if "://" in storage:
        raise ValueError(
            f"{parts.scheme}:// is not a storage that can be published to; give a local folder or s3://bucket/folder"
        )
    if not storage.strip():
        raise ValueError("is empty; give a local folder or s3://bucket/folder")
    return str(Path(os.path.normpath(root / Path(storage).expanduser())))


def _read(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    for place in (folder, *folder.parents):
        own, project = place / FILE_NAME, place / "pyproject.toml"
        if own.is_file():
            return own, _parse(own)
        if project.is_file():
            tool = _parse(project).get("tool", {})
            if "dp_dagster" in tool:
                section = tool["dp_dagster"]
                if not isinstance(section, dict):
                    raise SettingsError(f"{project}: tool.dp_dagster: wants a table")
                return project, section
    return None, {}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _refuse_unknown(source: Path | None, values: Mapping[str, Any]) -> None:
    known = [name for name in Settings.model_fields if name != "project_root"]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise SettingsError(
            "\n".join(f"{source}: {name}: unknown key; known keys: {', '.join(known)}" for name in unknown)
        )
