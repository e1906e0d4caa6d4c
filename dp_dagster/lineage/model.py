"""The lineage of one product, and the graph that several make. Plain values; written and read as JSON.

A node is one of the product's assets, named by its asset key (``flights/v1/dataset/flights``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Role = Literal["input", "transform", "dataset", "port"]
How = Literal["identity", "transformation", "aggregation"]
Why = Literal["join", "filter", "group by", "order", "window"]


@dataclass(frozen=True)
class Source:
    """A column that a value is made from."""

    node: str
    column: str
    how: How = "identity"


@dataclass(frozen=True)
class Influence:
    """A column that decides which rows there are."""

    node: str
    column: str
    why: Why


@dataclass(frozen=True)
class Node:
    """One asset of a product, and what it is made from.

    Attributes:
        id: Its asset key, parts joined by ``/``.
        role: What it is.
        name: Its name in the product.
        reads: Ids of the nodes that it is made from. For an input port: the other product's output port.
        columns: For each column, what its values are made from.
        influences: What decides over its rows.
        unknown: Columns whose origin is not known, and why; ``*`` for those that cannot be listed.
        place: Where the data of an input port comes from, for people.
    """

    id: str
    role: Role
    name: str
    reads: tuple[str, ...] = ()
    columns: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    influences: tuple[Influence, ...] = ()
    unknown: dict[str, str] = field(default_factory=dict)
    place: str = ""

    @property
    def product(self) -> str:
        """Id of the product."""
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class ProductLineage:
    """The lineage of one product, in the order in which data flows."""

    product: str
    version: str
    nodes: tuple[Node, ...]

    def node(self, node_id: str) -> Node | None:
        """The node of that id, or ``None``."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProductLineage:
        """Read what :meth:`to_dict` wrote."""
        return cls(data["product"], data["version"], tuple(_node(node) for node in data["nodes"]))


def _node(data: Mapping[str, Any]) -> Node:
    return Node(
        **{
            **data,
            "reads": tuple(data["reads"]),
            "columns": {
                name: tuple(Source(**source) for source in sources)
                for name, sources in data["columns"].items()
            },
            "influences": tuple(Influence(**influence) for influence in data["influences"]),
        }
    )


@dataclass(frozen=True)
class Step:
    """One column (or, without a column, one node) on the way up or down.

    Attributes:
        node: Its id.
        column: Its column; ``None`` for the node as a whole.
        how: How the one before it is made from it (going up), or it from the one before it (going down); for an
            influence, why it decides.
        steps: Where the way goes on.
        note: Why the way ends here, where it should not.
    """

    node: str
    column: str | None
    how: str = ""
    steps: tuple[Step, ...] = ()
    note: str = ""


class Graph:
    """Several products' lineage, to be followed in both directions. Each edge is looked at once."""

    def __init__(self, products: Iterable[ProductLineage]) -> None:
        self.nodes: dict[str, Node] = {}
        for product in products:
            self.nodes.update({node.id: node for node in product.nodes})
        self._made_into: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        self._decides: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._read_by: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for read in node.reads:
                self._read_by.setdefault(read, []).append(node.id)
            for column, sources in node.columns.items():
                for source in sources:
                    self._made_into.setdefault((source.node, source.column), []).append(
                        (node.id, column, source.how)
                    )
            for influence in node.influences:
                self._decides.setdefault((influence.node, influence.column), []).append(
                    (node.id, influence.why)
                )

    def up(self, node_id: str, column: str | None = None) -> Step:
        """What a node, or one column of it, is made from."""
        return self._up(node_id, column, "", frozenset())

    def down(self, node_id: str, column: str | None = None) -> Step:
        """What is made from a node, or from one column of it: what a change of it would reach."""
        return self._down(node_id, column, "", frozenset())

    def _up(self, node_id: str, column: str | None, how: str, above: frozenset[Any]) -> Step:
        node = self.nodes.get(node_id)
        if node is None:
            return Step(node_id, column, how, note="its product is not known here")
        here = (node_id, column)
        if here in above:
            return Step(node_id, column, how, note="needs itself")
        above |= {here}
        if column is None:
            steps = tuple(self._up(read, None, "", above) for read in node.reads)
            return Step(node_id, None, how, steps)
        steps = tuple(
            self._up(source.node, source.column, source.how, above) for source in node.columns.get(column, ())
        )
        return Step(node_id, column, how, steps, self._unknown(node, column))

    def _down(self, node_id: str, column: str | None, how: str, above: frozenset[Any]) -> Step:
        here = (node_id, column)
        if here in above:
            return Step(node_id, column, how, note="needs itself")
        above |= {here}
        if column is None:
            steps = tuple(self._down(reader, None, "", above) for reader in self._read_by.get(node_id, ()))
            return Step(node_id, None, how, steps)
        found = [
            self._down(other, made, made_how, above)
            for other, made, made_how in self._made_into.get((node_id, column), ())
        ]
        for other, why in self._decides.get((node_id, column), ()):
            # Every column of it may change with its rows, so from here on it is the whole that counts.
            found.append(self._down(other, None, f"decides its rows: {why}", above))
        # Behind a node of which nothing is known the whole of it counts: better too much than too little.
        found.extend(
            replace(
                self._down(reader, None, "may be made from it", above), note=self.nodes[reader].unknown["*"]
            )
            for reader in self._read_by.get(node_id, ())
            if "*" in self.nodes[reader].unknown
        )
        return Step(node_id, column, how, tuple(found))

    @staticmethod
    def _unknown(node: Node, column: str) -> str:
        if column in node.unknown:
            return node.unknown[column]
        if column in node.columns:
            return ""
        return node.unknown.get("*", f"{node.name} has no column {column}")


def leaves(step: Step) -> dict[tuple[str, str | None], str]:
    """Where the ways from a step end, and how it is made from there: by the strongest step on the way."""
    found: dict[tuple[str, str | None], str] = {}
    _collect(step, "identity", found)
    return found


def _collect(step: Step, how: str, found: dict[tuple[str, str | None], str]) -> None:
    if not step.steps:
        known = found.get((step.node, step.column), "identity")
        found[step.node, step.column] = max(known, how, key=_STRENGTH.index)
    for below in step.steps:
        _collect(below, max(how, below.how or "identity", key=_STRENGTH.index), found)


_STRENGTH: tuple[str, ...] = get_args(How)
