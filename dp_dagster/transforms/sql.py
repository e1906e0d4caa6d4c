"""SQL transforms: one ``SELECT`` in a file of the product's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.engines.column_origins import origins_of_query
from dp_dagster.engines.duckdb import blame
from dp_dagster.engines.sql import Query, read_query
from dp_dagster.errors import TransformError
from dp_dagster.folder import missing_file
from dp_dagster.ports.base import Fault, KindConfig
from dp_dagster.transforms.base import Transform, TransformPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from dp_dagster.engines.column_origins import Origins


class SqlConfig(KindConfig):
    """Configuration of a SQL transform."""

    path: str = Field(description="SQL file with one SELECT, relative to the product's folder.")
    materialized: Literal["view", "table"] = Field(
        default="view",
        description="`view`: computed by whoever reads it. `table`: computed once and kept in the store.",
    )


class SqlTransform(Transform[SqlConfig]):
    """A query over input ports and other transforms, named as tables."""

    kind = "SQL"
    summary = "one SELECT in DuckDB's dialect"
    Config: ClassVar[type[KindConfig]] = SqlConfig

    def badges(self, config: SqlConfig) -> frozenset[str]:
        """SQL, on DuckDB."""
        return frozenset({"sql", "duckdb"})

    def check(self, config: SqlConfig, place: TransformPlace) -> Iterable[Fault]:
        """The file must lie in the product's folder."""
        return missing_file("path", config.path, place.product_root)

    def depends_on(self, config: SqlConfig, place: TransformPlace, known: frozenset[str]) -> tuple[str, ...]:
        """The tables that the query names."""
        by_lower = {name.lower(): name for name in known}
        names = []
        for table in self._query(config, place).tables:
            name = by_lower.get(table.name.lower())
            if name is None:
                raise TransformError(
                    f"{self._file(config, place)}:{table.line}: names table {table.name}, which is neither "
                    f"an input port nor a transform of {place.product_id}; "
                    f"there are {', '.join(sorted(known)) or 'none'}"
                )
            names.append(name)
        return tuple(names)

    def sources(self, config: SqlConfig, place: TransformPlace) -> tuple[Path, ...]:
        """The SQL file."""
        return (place.product_root / config.path,)

    def kept(self, config: SqlConfig) -> bool:
        """Only with ``materialized: table``."""
        return config.materialized == "table"

    def definition(self, config: SqlConfig, place: TransformPlace) -> str | None:
        """The query itself."""
        return self._query(config, place).text

    def origins(
        self, config: SqlConfig, place: TransformPlace, tables: Mapping[str, Sequence[str] | None]
    ) -> Mapping[str, Origins]:
        """Read from the query."""
        cache = place.settings.state_directory / "cache" / "lineage"
        text = self._query(config, place).text
        return {
            place.name: origins_of_query(text, tables, file=self._file(config, place), cache_directory=cache)
        }

    def run(
        self, config: SqlConfig, place: TransformPlace, connection: duckdb.DuckDBPyConnection
    ) -> duckdb.DuckDBPyRelation:
        """Run the query."""
        import duckdb

        try:
            return connection.sql(self._query(config, place).text)
        except duckdb.Error as error:
            raise blame(error, self._file(config, place)) from error

    def _file(self, config: SqlConfig, place: TransformPlace) -> str:
        return f"{place.product_root.name}/{config.path}"

    def _query(self, config: SqlConfig, place: TransformPlace) -> Query:
        path = place.product_root / config.path
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise TransformError(f"{self._file(config, place)}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TransformError(f"{self._file(config, place)}: is not UTF-8 text: {error.reason}") from error
        cache = place.settings.state_directory / "cache" / "sql"
        return read_query(text, file=self._file(config, place), cache_directory=cache)
