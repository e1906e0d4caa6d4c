"""The transform family: what a kind of transform must be able to do.

A transform reads input ports and other transforms of its product by name and provides one or more named
relations. Kinds register through the entry point group ``dp_dagster.transforms``; their modules must be
cheap to import.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from dp_dagster.engines.column_origins import Origins, opaque
from dp_dagster.ports.base import Fault, KindConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from dp_dagster.settings import Settings

ConfigT = TypeVar("ConfigT", bound=KindConfig)


@dataclass(frozen=True)
class TransformPlace:
    """Where a transform lives: its name, its product's folder and the platform settings."""

    name: str
    product_id: str
    product_root: Path
    settings: Settings


class Transform(ABC, Generic[ConfigT]):
    """A kind of transform.

    ``runs_in`` says who runs it: ``session`` transforms give a relation on the run's DuckDB connection
    (:meth:`run`); a ``dbt`` transform is a whole dbt selection that dagster-dbt runs into a DuckDB file.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    extra: ClassVar[str | None] = None
    Config: ClassVar[type[KindConfig]]
    runs_in: ClassVar[Literal["session", "dbt"]] = "session"

    def badges(self, config: ConfigT) -> frozenset[str]:
        """Technologies to show as badges in the Dagster UI; at most two."""
        return frozenset({self.kind.lower()})

    def check(self, config: ConfigT, place: TransformPlace) -> Iterable[Fault]:
        """Faults that can be known without running: a missing file, a path that leaves the folder."""
        return ()

    def provides(self, config: ConfigT, place: TransformPlace) -> tuple[str, ...]:
        """Names of the relations that it makes; its own name, unless the kind says otherwise."""
        return (place.name,)

    @abstractmethod
    def depends_on(self, config: ConfigT, place: TransformPlace, known: frozenset[str]) -> tuple[str, ...]:
        """Names of the input ports and relations that it reads, out of ``known``.

        Raises:
            TransformError: it names a relation that is not known, with file and line.
        """

    @abstractmethod
    def sources(self, config: ConfigT, place: TransformPlace) -> tuple[Path, ...]:
        """Files whose content decides the result; their hash is the asset's code version."""

    def kept(self, config: ConfigT) -> bool:
        """Whether the result is written to the store, rather than computed again by whoever reads it."""
        return False

    def definition(self, config: ConfigT, place: TransformPlace) -> str | None:
        """The SELECT that defines a transform that is not kept; ``None`` for the others."""
        return None

    def origins(
        self, config: ConfigT, place: TransformPlace, tables: Mapping[str, Sequence[str] | None]
    ) -> Mapping[str, Origins]:
        """Where the columns of each relation that it provides come from.

        Args:
            config: The transform's configuration.
            place: Where it lives.
            tables: What it reads, each with its columns; ``None`` where they are not known.

        Returns:
            Origins by relation, in an order in which each stands after what it reads. A kind that cannot tell
            says why, with :func:`~dp_dagster.engines.column_origins.opaque`.
        """
        reason = f"transforms of kind {self.kind} do not tell where their columns come from"
        return {name: opaque(reason) for name in self.provides(config, place)}

    def run(
        self, config: ConfigT, place: TransformPlace, connection: duckdb.DuckDBPyConnection
    ) -> duckdb.DuckDBPyRelation:
        """The result, as a relation on ``connection``, where all that it reads are views by their names.

        Raises:
            TransformError: with file, and line where it can be known.
        """
        raise NotImplementedError(f"transform kind {self.kind} is run by {self.runs_in}")
