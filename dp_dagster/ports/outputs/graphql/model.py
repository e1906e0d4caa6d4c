"""What one identity sees of a port: datasets, what leads from one to another, what the fields stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from graphql import print_schema

from dp_dagster.ports.outputs.graphql.names import field_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphql import GraphQLSchema

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column


@dataclass(frozen=True)
class Seen:
    """A dataset as one identity sees it.

    Attributes:
        dataset: Its name.
        columns: All columns of the published version.
        key: Columns that identify a row.
        view: What of it is seen.
    """

    dataset: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    view: DatasetView

    @cached_property
    def names(self) -> dict[str, str]:
        """What each column is called."""
        return field_names(column.name for column in self.columns)

    @cached_property
    def visible(self) -> dict[str, Column]:
        """The columns that may be selected, by name."""
        granted = set(self.view.columns)
        return {column.name: column for column in self.columns if column.name in granted}

    def reads(self, columns: Iterable[str]) -> bool:
        """Whether rows may be found by these columns."""
        return all(column in self.visible and column in self.view.clear for column in columns)


@dataclass(frozen=True)
class Relation:
    """A field that leads from rows of one dataset to rows of another.

    Attributes:
        name: Of the field.
        here: Columns of the dataset that it starts from.
        dataset: Where it leads.
        there: The columns that have the same values there.
        is_one: Whether at most one row is found.
    """

    name: str
    here: tuple[str, ...]
    dataset: str
    there: tuple[str, ...]
    is_one: bool


@dataclass(frozen=True)
class RowFields:
    """What the fields of a dataset's rows stand for.

    Attributes:
        seen: The dataset.
        columns: By the name of the field.
        relations: By the name of the field.
    """

    seen: Seen
    columns: Mapping[str, Column]
    relations: Mapping[str, Relation]


@dataclass(frozen=True)
class PageLimits:
    """Attributes: ``most`` rows a page may have, and how many it has by default, on a page and behind a row."""

    most: int
    page: int
    related: int


@dataclass
class PortSchema:
    """A schema, and what its fields stand for.

    Attributes:
        graphql: The types.
        rows: What the fields of rows stand for, by the name of the type.
        own: Name of the type of the port's own rows.
        many: Name of the field that gives pages of them.
        one: Name of the field that gives one of them by key; empty where there is none.
        key_arguments: Columns of the key, by the name of the argument.
        as_of: Name of the argument of ``one`` that says which version.
    """

    graphql: GraphQLSchema
    rows: dict[str, RowFields]
    own: str
    many: str
    one: str = ""
    key_arguments: dict[str, Column] = field(default_factory=dict)
    as_of: str = "asOf"

    @cached_property
    def text(self) -> str:
        """The schema in GraphQL's own language."""
        return print_schema(self.graphql) + "\n"
