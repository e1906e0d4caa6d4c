"""Lineage of products: up and down, across products, and what is written down for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import ROOT

from dp_dagster.cli import main
from dp_dagster.errors import DescriptorError, StoreError
from dp_dagster.lineage.build import lineage_of
from dp_dagster.lineage.kept import graph_of, keep_lineage, read_lineage
from dp_dagster.lineage.model import Graph, Node, ProductLineage, Source, leaves
from dp_dagster.lineage.text import tree
from dp_dagster.lineage.versions import made_from
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.storage import Table, dataset_table

READER_YAML = """\
api_version: dp_dagster/v1
product_id: reader
version: 1.0.0
refresh_rate: {every: real-time, maximum_lag: PT1H}
input_ports:
  - {name: sold, type: PRODUCT, port: shops.vw_totals@1}
transforms:
  - {name: large, type: SQL, path: large.sql}
  - {name: scored, type: PYTHON, function: "scored.py:scored", inputs: [large], lineage: {shop: [large.shop]}}
datasets:
  - {name: large, from: scored, contract: "contract.py:Large", key: [shop]}
output_ports:
  - {name: vw_large, type: SQL, dataset: large}
"""
CONTRACT = """\
import pandera.polars as pa


class Large(pa.DataFrameModel):
    shop: str = pa.Field(unique=True)
    score: int
"""


@pytest.fixture
def shops(project):
    """The small product, published once."""
    settings = Settings.load(project.root)
    product = resolve(project.root / "products/shops", settings)
    session = Session(product, "run-1")
    land_input(session, "sales")
    run_transform(session, "totals")
    publish_dataset(session, "totals")
    project_port(session, "vw_totals")
    return product


@pytest.fixture
def reader(project, shops):
    """A product that reads it."""
    folder = project.root / "products/reader"
    folder.mkdir()
    (folder / "product.yaml").write_text(READER_YAML)
    (folder / "large.sql").write_text("select shop, amount from sold where amount > 5")
    (folder / "scored.py").write_text(
        "def scored(connection):\n    return connection.sql('select shop, 1::bigint as score from large')\n"
    )
    (folder / "contract.py").write_text(CONTRACT)
    return resolve(folder, shops.settings)


def lines(graph: Graph, step) -> list[str]:
    return tree(step, graph).splitlines()


def test_from_input_port_to_output_port(shops) -> None:
    graph = Graph([lineage_of(shops)])
    assert lines(graph, graph.up("shops/v1/port/vw_totals", "amount")) == [
        "shops/v1/port/vw_totals.amount",
        "└─ shops/v1/dataset/totals.amount",
        "   └─ shops/transform/totals.amount",
        "      └─ shops/input/sales.amount  [aggregation]  from inputs/sales.csv",
    ]


def test_a_change_is_followed_over_products(shops, reader) -> None:
    graph, faults = graph_of(shops.settings, [shops, reader])
    assert not faults
    assert lines(graph, graph.down("shops/input/sales", "amount"))[3:] == [
        "      └─ shops/v1/port/vw_totals.amount",
        "         └─ reader/input/sold.amount",
        "            ├─ reader/transform/large.amount",
        "            └─ reader/transform/large  [decides its rows: filter]",
        "               └─ reader/transform/scored",
        "                  └─ reader/v1/dataset/large",
        "                     └─ reader/v1/port/vw_large",
    ]


def test_what_is_not_declared_is_not_known(reader) -> None:
    graph = Graph([lineage_of(reader)])
    step = graph.up("reader/v1/dataset/large", "score")
    assert "not known to have this column" in step.note
    assert leaves(graph.up("reader/v1/dataset/large", "shop")) == {
        ("shops/v1/port/vw_totals", "shop"): "transformation"
    }


@pytest.mark.parametrize(
    ("lineage", "message"),
    [
        ("{shop: [large]}", "names no column"),
        ("{shop: [sold.shop]}", "sold is not read by the function"),
        ("{shop: [large.*]}", "mixes all columns with one"),
        ("{'*': [large.shop]}", "mixes all columns with one"),
    ],
)
def test_a_declaration_that_leads_nowhere_is_refused(project, reader, lineage, message) -> None:
    path = project.root / "products/reader/product.yaml"
    path.write_text(READER_YAML.replace("{shop: [large.shop]}", lineage))
    with pytest.raises(DescriptorError, match=message) as refused:
        resolve(path, reader.settings)
    assert refused.value.problems[0].line == 9


def test_others_read_what_was_written_down(shops, reader) -> None:
    graph, faults = graph_of(shops.settings, [reader])
    assert faults == {"shops": "it has written no lineage down; publish it again"}
    assert graph.up("reader/v1/dataset/large", "shop").steps[0].steps[0].steps[0].steps[0].note == (
        "its product is not known here"
    )
    written = keep_lineage(shops)
    assert read_lineage(shops.settings.storage, "shops") == written
    graph, faults = graph_of(shops.settings, [reader])
    assert not faults
    assert leaves(graph.up("reader/v1/dataset/large", "shop")) == {
        ("shops/input/sales", "shop"): "transformation"
    }


def test_a_damaged_document_is_told(shops) -> None:
    keep_lineage(shops)
    path = Path(shops.settings.storage) / "shops/lineage.json"
    path.write_text(json.dumps({"format": 1, "product": "shops"}))
    with pytest.raises(StoreError, match="damaged"):
        read_lineage(shops.settings.storage, "shops")
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="upgrade"):
        read_lineage(shops.settings.storage, "shops")


def test_a_circle_ends() -> None:
    circle = ProductLineage(
        "p",
        "1.0.0",
        (
            Node(
                "p/transform/a", "transform", "a", ("p/transform/b",), {"x": (Source("p/transform/b", "x"),)}
            ),
            Node(
                "p/transform/b", "transform", "b", ("p/transform/a",), {"x": (Source("p/transform/a", "x"),)}
            ),
        ),
    )
    assert Graph([circle]).up("p/transform/a", "x").steps[0].steps[0].note == "needs itself"
    assert Graph([circle]).down("p/transform/a").steps[0].steps[0].note == "needs itself"


def test_versions_that_a_version_was_made_from(shops, reader) -> None:
    session = Session(reader, "run-2")
    land_input(session, "sold")
    run_transform(session, "large")
    run_transform(session, "scored")
    publish_dataset(session, "large")
    made = made_from(dataset_table(shops.settings.storage, "reader", 1, "large"))
    (port,) = made.sources
    assert (port.name, port.version) == ("shops/v1/port/vw_totals", 0)
    (dataset,) = port.sources
    assert (
        dataset.version == Table(dataset_table(shops.settings.storage, "shops", 1, "totals")).newest().version
    )
    assert dataset.sources[0].place == "inputs/sales.csv"


def test_the_command(shops, reader, project, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project.root)

    def dp(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["lineage", *arguments])
        return ended.value.code, *capsys.readouterr()

    code, out, _ = dp("shops.totals.amount")
    assert code == 0
    assert out.startswith("made from\nshops/v1/dataset/totals.amount\n")
    assert "\nreaches\nshops/v1/dataset/totals.amount\n" in out
    code, out, _ = dp("shops.totals.amount", "--down", "--json")
    assert json.loads(out)["down"]["steps"][0]["node"] == "shops/v1/port/vw_totals"
    assert dp("shops.totals", "--versions")[1].splitlines()[0].startswith("shops/v1/dataset/totals version 0")
    assert dp("shops.totals.nothing")[0] == 2
    assert "it has shop, amount" in dp("shops.totals.nothing")[2]
    assert "there are reader, shops" in dp("nobody.totals")[2]
    assert "shops.sales" in dp("shops.nothing")[2]


def test_every_column_of_the_example_products_is_known() -> None:
    settings = Settings.load(ROOT)
    for name in ("flights", "route_punctuality"):
        for node in lineage_of(resolve(ROOT / "products" / name, settings)).nodes:
            # Nothing may have been landed where the tests run; the contracts of the inputs say enough.
            if name == "flights":
                assert not node.unknown, node.id
