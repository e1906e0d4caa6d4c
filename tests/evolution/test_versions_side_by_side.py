"""Two major versions of a dataset, published by one run, until the older one's sunset."""

from __future__ import annotations

import dagster as dg
import duckdb
import pytest
from support import TOTALS_CONTRACT, TestProject

from dp_dagster import load_product
from dp_dagster.cli.app import run
from dp_dagster.errors import AuthorError, DescriptorError, UsageError
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings
from dp_dagster.storage.manifest import read_manifest

DESCRIPTOR = """\
product_id: shops
version: 2.0.0
refresh_rate: daily
owner: {team: testers}
input_ports:
  - {name: sales, type: FILES, path: inputs/sales.csv}
transforms:
  - {name: totals, type: SQL, path: transforms/totals.sql}
  - {name: totals_v1, type: SQL, path: transforms/totals_v1.sql}
datasets:
  - name: totals
    from: totals
    contract: contracts/totals_v2.py:Totals
    key: [shop]
    versions:
      - major: 1
        from: totals_v1
        contract: contracts/totals.py:Totals
        key: [shop]
        deprecated: {sunset: SUNSET, note: use version 2., after_sunset: AFTER}
output_ports:
  - {name: vw_totals, type: SQL, dataset: totals}
  - {name: totals_files, type: FILES, dataset: totals, format: csv}
"""

READER = """\
product_id: reader
version: 1.0.0
owner: {team: readers}
input_ports:
  - {name: totals, type: PRODUCT, port: shops.vw_totals@1}
"""


def write(project: TestProject, sunset: str = "2099-01-01", after: str = "warn") -> None:
    folder = project.root / "products" / "shops"
    (folder / "product.yaml").write_text(DESCRIPTOR.replace("SUNSET", sunset).replace("AFTER", after))
    (folder / "contracts" / "totals_v2.py").write_text(TOTALS_CONTRACT.replace("amount:", "sold:"))
    (folder / "transforms" / "totals_v1.sql").write_text("select shop, sold as amount from totals\n")
    (folder / "transforms" / "totals.sql").write_text(
        "select shop, cast(sum(amount) as bigint) as sold from sales group by shop order by shop\n"
    )


def resolved(project: TestProject, product_id: str = "shops") -> ResolvedProduct:
    folder = project.root / "products" / product_id
    return resolve(folder, Settings.load(folder))


def publish(project: TestProject) -> list[str | None]:
    product = resolved(project)
    session = Session(product, "run")
    land_input(session, "sales")
    for transform in product.transforms:
        run_transform(session, transform.name)
    warnings = [publish_dataset(session, dataset.label).warning for dataset in product.datasets]
    for port in product.active_ports:
        project_port(session, port.label)
    return warnings


def test_both_versions_are_live_from_one_run(project: TestProject) -> None:
    write(project)
    assert publish(project) == [None, None]
    catalog = project.storage / "shops" / "shops.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as connection:
        new = connection.execute("describe v2.vw_totals").fetchall()
        old = connection.execute("describe v1.vw_totals").fetchall()
        rows = connection.execute(
            "select count(*) from v1.vw_totals join v2.vw_totals using (shop)"
        ).fetchone()
    assert [row[0] for row in new] == ["shop", "sold"]
    assert [row[0] for row in old] == ["shop", "amount"]
    assert rows == (3,)
    for major in ("v1", "v2"):
        assert (project.storage / "shops" / major / "port" / "totals_files.csv").is_file()


def test_consumers_of_the_older_version_are_told(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    publish(project)
    manifest = read_manifest(str(project.storage), "shops")
    assert manifest is not None
    old, new = manifest.port(1, "vw_totals"), manifest.port(2, "vw_totals")
    assert old is not None
    assert new is not None
    assert old.deprecated == "deprecated, kept up until 2099-01-01: use version 2"
    assert new.deprecated is None
    assert new.deprecated_since is None
    # Published again, it is deprecated since the first time.
    since = old.deprecated_since
    assert since is not None
    publish(project)
    manifest = read_manifest(str(project.storage), "shops")
    assert manifest is not None
    again = manifest.port(1, "vw_totals")
    assert again is not None
    assert again.deprecated_since == since
    folder = project.root / "products" / "reader"
    folder.mkdir()
    (folder / "product.yaml").write_text(READER)
    monkeypatch.chdir(project.root)
    assert run(["validate", "products/reader"]) == 0
    notice = "shops.vw_totals@1 is deprecated, kept up until 2099-01-01: use version 2"
    assert notice in capsys.readouterr().out
    repository = load_product(folder).get_repository_def()
    node = repository.asset_graph.get(dg.AssetKey(["reader", "input", "totals"]))
    assert notice in (node.description or "")
    assert run(["list"]) == 0
    assert "totals@1" in capsys.readouterr().out


def test_assets_of_both_versions_stand_side_by_side(project: TestProject) -> None:
    write(project)
    repository = load_product(project.root / "products" / "shops").get_repository_def()
    found = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert {
        f"shops/v{major}/{part}"
        for major in (1, 2)
        for part in ("dataset/totals", "quarantine/totals", "port/vw_totals", "port/totals_files")
    } <= found
    old = repository.asset_graph.get(dg.AssetKey(["shops", "v1", "port", "vw_totals"]))
    assert "Deprecated, kept up until 2099-01-01: use version 2." in (old.description or "")
    assert old.tags["dp/deprecated"] == "2099-01-01"


def test_past_its_sunset_a_version_warns(project: TestProject) -> None:
    write(project, sunset="2020-02-29")
    assert publish(project) == [
        None,
        "shops.totals v1 is published past its sunset of 2020-02-29; remove the version, or move it",
    ]


def test_past_its_sunset_a_version_is_refused_where_the_product_says_so(project: TestProject) -> None:
    write(project, sunset="2020-02-29", after="refuse")
    with pytest.raises(AuthorError, match=r"shops\.totals v1 has been past its sunset since 2020-02-29"):
        publish(project)


def test_an_older_version_is_named_with_its_major(project: TestProject) -> None:
    write(project)
    product = resolved(project)
    assert product.dataset("totals").major == product.dataset("totals@2").major == 2
    assert product.dataset("totals@1").major == product.port("vw_totals@1").major == 1
    with pytest.raises(UsageError, match="there are totals, totals@1"):
        product.dataset("totals@3")


def test_commands_take_an_older_version(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    publish(project)
    monkeypatch.chdir(project.root)
    for command in (["history", "shops.totals@1"], ["quarantine", "shops.totals@1"], ["diff", "shops"]):
        assert run(command) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("major: 1", "major: 2", "datasets[0].versions[0].major: 2 is the product's own"),
        ("major: 1", "major: 3", "datasets[0].versions[0].major: 3 is newer than the product's own 2"),
        ("from: totals_v1", "from: nothing", "datasets[0].versions[0].from: nothing is no transform"),
        ("sunset: 2099-01-01", "sunset: soon", "datasets[0].versions[0].deprecated.sunset"),
        (
            "totals.py:Totals",
            "absent.py:Totals",
            "datasets[0].versions[0].contract: file contracts/absent.py",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(project: TestProject, old: str, new: str, message: str) -> None:
    write(project)
    path = project.root / "products" / "shops" / "product.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DescriptorError) as refused:
        resolved(project)
    assert message in str(refused.value)
