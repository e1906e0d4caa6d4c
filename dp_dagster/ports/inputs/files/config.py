"""Configuration of a FILES input port."""

from __future__ import annotations

from pydantic import Field

from dp_dagster.ports.base import KindConfig, LandingMode, OnSchemaChange
from dp_dagster.ports.credentials import Secret  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.ports.inputs.files.reading import Format  # noqa: TC001 - pydantic reads annotations at run time


class FilesConfig(KindConfig):
    """Configuration of a FILES input port."""

    path: str = Field(
        min_length=1,
        description="A file, or a pattern with `*`. Relative: inside the product's folder. "
        "`package://name/file`: a data file that an installed Python package ships. "
        "`file:///absolute/path`, or any other URL that fsspec opens. `{partition}` stands for the key of one of the "
        "product's partitions, `{partition:%Y/%m}` for its start in a format of its own.",
    )
    format: Format | None = Field(default=None, description="By default from the file's ending.")
    null_values: tuple[str, ...] = Field(
        default=(), description="CSV: texts that mean null, besides nothing."
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=4,
        description="CSV: by default what separates the fields of the first line: `,`, `;`, tab or `|`.",
    )
    header: bool = Field(default=True, description="CSV: whether the first line names the columns.")
    skip: int = Field(
        default=0, ge=0, le=1000, description="CSV: lines to leave out before the first one that counts."
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="CSV and JSON: DuckDB types by column. By default those of the contract, else by looking.",
    )
    credentials: dict[str, Secret] = Field(
        default_factory=dict,
        description="Of URLs: options of the file system, by reference: `{key: ${S3_KEY}, secret: ${S3_SECRET}}`. By "
        "default what the environment says.",
    )
    mode: LandingMode = Field(
        default="replace",
        description="`replace`: all files are the whole version. `append`: each file is read once, and its rows are "
        "added. `merge`: new and changed files are read, and of each key what comes later takes the place of what was "
        "there.",
    )
    key: tuple[str, ...] = Field(default=(), description="With `merge`, the columns that identify a row.")
    deleted: str | None = Field(
        default=None,
        min_length=1,
        description="With `merge`, a column that says of a row that it is no more: true, or not null.",
    )
    on_schema_change: OnSchemaChange | None = Field(
        default=None,
        description="When columns or types are no longer those of the version landed before: `stop`, `evolve` or "
        "`quarantine`. By default `stop` with append and merge; with replace nobody asks but the contract.",
    )

    def identity(self) -> str:
        """All that was declared, but who reads."""
        # Without the options that a version of before did not know, so that it is read no second time.
        return self.model_dump_json(exclude=self._unset())

    def _unset(self) -> set[str]:
        """Options that say nothing of which rows are read, or that are as they are without being declared."""
        later = {"mode", "key", "deleted"}
        fields = type(self).model_fields
        same = {
            name
            for name in later
            if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {"credentials", "on_schema_change", *same}
