"""``dp import``: what comes of documents, that it is a sound product, and that nothing of them is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from odps_strategies import documents

from dp_dagster.cli import main
from dp_dagster.documents.exporting import export_product
from dp_dagster.documents.importing import import_product, write_import
from dp_dagster.documents.odps_mapping import described_as, description_of
from dp_dagster.documents.yaml_text import yaml_text
from dp_dagster.errors import DescriptorError
from dp_dagster.resolve import resolve

if TYPE_CHECKING:
    from dp_dagster.settings import Settings

PATIENT = with_settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)  # fmt: skip

PRODUCT = """\
# A comment that stays.
apiVersion: v1.1.0
kind: DataProduct
id: 0c3e0a5e-9b0e-4e8c-8a53-0c1c5b5f0001
name: Shop orders
version: v1.2.0
status: active
domain: ${DOMAIN:-sales}
tenant: Retail Corp
type: sourceAligned
description:
  purpose: Orders of the shop.
  limitations: Since 2020 only.
  authoritativeDefinitions: [{type: tutorial, url: "https://example.com/orders"}]
tags: ["tier:gold", finance, "a label with spaces"]
inputPorts:
  - name: Raw payments
    version: 1.0.0
    contractId: payments-in
    tags: [raw]
outputPorts:
  - name: orders
    type: SQL
    version: 1.2.0
    description: Orders, for queries.
    contractId: orders-out
    sbom: [{type: external, url: "https://example.com/sbom"}]
    inputContracts: [{id: payments-in, version: 1.0.0}]
  - name: dashboard
    type: tableau
managementPorts:
  - {name: control, content: control, url: "https://example.com/control"}
support:
  - {channel: "#orders", url: "https://chat.example.com/orders", tool: slack, scope: interactive}
  - {channel: Mail, url: "mailto:orders@example.com"}
team:
  name: Order team
  members: [{username: ada@example.com, role: owner, dateIn: 2024-01-31}]
customProperties:
  - {property: costCentre, value: {number: 4711, kept: [1, two, null]}, vendor: erp}
productCreatedTs: "2024-01-31T12:00:00Z"
"""

ORDERS = """\
apiVersion: v3.1.0
kind: DataContract
id: orders-out
name: Orders
version: 1.2.0
status: active
price: {priceAmount: 9.95, priceCurrency: EUR, priceUnit: month}
roles: [{role: reader, access: read}]
servers: [{server: local, type: local, path: ./orders.csv, format: csv}]
customProperties: [{property: anything, value: [1, {a: b}]}]
schema:
  - name: orders
    properties:
      - {name: order_id, logicalType: integer, primaryKey: true}
      - {name: customer, logicalType: string, required: true, logicalTypeOptions: {minLength: 1}}
      - {name: placed, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
"""
PAYMENTS = """\
apiVersion: v3.0.2
kind: DataContract
id: payments-in
name: Payments
version: 1.0.0
status: active
schema:
  - name: payments
    properties:
      - {name: payment_id, logicalType: string, primaryKey: true}
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "documents to import"
    (folder / "contracts").mkdir(parents=True)
    (folder / "orders.odps.yaml").write_text(PRODUCT)
    (folder / "contracts" / "orders.odcs.yaml").write_text(ORDERS)
    (folder / "payments.yml").write_text(PAYMENTS)
    return folder


@pytest.fixture
def dp(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return ended.value.code, captured.out, captured.err

    return run


def test_a_product_with_contracts_becomes_a_sound_folder(dp, project, source):
    code, out, err = dp("import", source / "orders.odps.yaml")
    assert (code, out) == (0, "products/shop_orders\n")
    folder = project.root / "products" / "shop_orders"
    assert (folder / "documents" / "shop_orders.odps.yaml").read_text() == PRODUCT
    assert (folder / "contracts" / "orders.odcs.yaml").read_text() == ORDERS
    assert (folder / "contracts" / "payments.odcs.yaml").read_text() == PAYMENTS
    assert yaml.safe_load((folder / "product.yaml").read_text()) == {
        "api_version": "dp_dagster/v1",
        "product_id": "shop_orders",
        "name": "Shop orders",
        "version": "1.2.0",
        "domain": "${DOMAIN:-sales}",
        "owner": {"team": "Order team"},
        "description": "Orders of the shop.\n\n## Limitations\n\nSince 2020 only.",
        "status": "active",
        "tags": {"tier": "gold", "finance": ""},
        "support": {
            "channel": "#orders",
            "url": "https://chat.example.com/orders",
            "email": "orders@example.com",
        },
        "documents": {"odps": "documents/shop_orders.odps.yaml"},
        "input_ports": [
            {"name": "raw_payments", "type": "DECLARED", "contract": "contracts/payments.odcs.yaml"}
        ],
        "transforms": [{"name": "orders", "type": "SQL", "path": "transforms/orders.sql"}],
        "datasets": [
            {
                "name": "orders",
                "from": "orders",
                "contract": "contracts/orders.odcs.yaml",
                "key": ["order_id"],
            }
        ],
        "output_ports": [
            {"name": "orders", "type": "SQL", "description": "Orders, for queries.", "dataset": "orders"},
            {"name": "dashboard", "type": "DECLARED"},
        ],
    }
    assert err.splitlines() == [
        line.replace("FILE", str(source / "orders.odps.yaml"))
        for line in [
            "FILE: inputPorts[0] (raw_payments) is declared only: the document does not say how it is read",
            "FILE: transforms/orders.sql is a placeholder: the documents do not say how orders is made",
            "FILE: outputPorts[1] (dashboard) is declared only: its type, 'tableau', is no kind here",
        ]
    ]
    code, out, err = dp("validate", "products/shop_orders")
    assert (code, err) == (0, "")
    assert (
        "output_ports[1].type: not evaluated: declared only: nothing says how it is reached; give it a kind"
        in out
    )


def test_a_placeholder_fails_when_it_runs(dp, project, source):
    dp("import", source / "orders.odps.yaml")
    query = (project.root / "products/shop_orders/transforms/orders.sql").read_text()
    with pytest.raises(duckdb.Error, match=r"orders.sql is a placeholder: write the query that makes orders"):
        duckdb.sql(query).fetchall()
    code, out, err = dp("run", "shop_orders")
    assert code == 1
    assert "transforms/orders.sql is a placeholder" in out + err
    assert not (project.storage / "shop_orders" / "manifest.json").exists()


def exported(product, folder: Path) -> Path:
    """Both exports of a product in one folder; gives the file of the product's document."""
    folder.mkdir()
    for form in ("odps", "odcs"):
        if form == "odcs" and not (product.datasets or (product.root / "contracts").exists()):
            continue
        for written in export_product(product, form):
            (folder / written.file).write_bytes(written.text.encode())
    return next(folder.glob("*.odps.*"))


def imported(file: Path, folder: Path, settings: Settings):
    made = import_product(file, settings)
    write_import(made, folder, settings)
    return made, resolve(folder, settings)


def test_import_and_export_and_import_give_the_same(source, settings, tmp_path):
    first, product = imported(source / "orders.odps.yaml", tmp_path / "one", settings)
    file = exported(product, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "shop_orders.odps.yaml", "orders.odcs.yaml", "payments.odcs.yaml",
    }  # fmt: skip
    assert file.read_text() == PRODUCT
    second, _ = imported(file, tmp_path / "two", settings)
    assert second.files == first.files


@PATIENT
@given(document=documents())
def test_no_document_loses_anything(document, settings):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "in").mkdir()
        (root / "in" / "any.odps.json").write_text(json.dumps(document))
        first, product = imported(root / "in" / "any.odps.json", root / "one", settings)
        file = exported(product, root / "out")
        assert json.loads(file.read_text()) == document
        second, _ = imported(file, root / "two", settings)
        assert second.files == first.files


def test_the_products_of_this_repository_survive(example, settings, tmp_path, monkeypatch):
    """Exported, imported and exported again: the same documents, with contracts that say the same."""
    # References stay references, and import reads what they refer to.
    for name in ("CUSTOMER_ALERTS_URL", "AVIATION_ALERTS_URL", "AVIATION_PAGER_URL", "ROUTES_ALERTS_URL"):
        monkeypatch.setenv(name, "json://127.0.0.1/alerts")
    file = exported(example, tmp_path / "out")
    _, product = imported(file, tmp_path / "in", settings)
    assert [dataset.key for dataset in product.datasets] == [dataset.key for dataset in example.datasets]
    assert [port.name for port in product.ports] == [port.name for port in example.ports]
    assert [port.state for port in product.ports] == [port.state for port in example.ports]
    assert [one.declaration.options for one in product.inputs] == [
        one.declaration.options for one in example.inputs
    ]
    again = exported(product, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == {
        path.name: path.read_bytes() for path in again.parent.iterdir()
    }


def test_a_contract_in_odcs_is_written_in_the_other_formats_too(source, settings, tmp_path):
    contract = ORDERS + (
        "      - {name: weight, logicalType: number, logicalTypeOptions: {minimum: 0, multipleOf: 0.5}}\n"
        "      - {name: labels, logicalType: array, items: {logicalType: string, logicalTypeOptions: {maxLength: 3}},\n"
        "         logicalTypeOptions: {maxItems: 2, uniqueItems: true}}\n"
        "      - {name: place, logicalType: object, properties: [{name: zip, logicalType: string}]}\n"
        "    quality:\n"
        "      - {type: text, description: For people.}\n"
        "      - {type: library, metric: rowCount, mustBeGreaterThan: 0}\n"
    )
    (source / "contracts" / "orders.odcs.yaml").write_text(contract)
    _, product = imported(source / "orders.odps.yaml", tmp_path / "one", settings)
    (schema,) = export_product(product, "jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema.text))
    good = {
        "order_id": 2**40, "customer": "ada", "placed": "2024-01-01T00:00:00.000000+00:00", "weight": 1.5,
        "labels": ["a", "abcd"], "place": {"zip": "1"},
    }  # fmt: skip
    validator.validate(good)
    validator.validate(good | {"weight": "1.50", "labels": None})
    for bad in (
        {"customer": ""},
        {"order_id": 1.5},
        {"labels": ["a", "b", "c"]},
        {"labels": ["a", "a"]},
        {"place": 1},
    ):
        assert not validator.is_valid(good | bad), bad
    (dbt,) = export_product(product, "dbt")
    columns = {one["name"]: one for one in yaml.safe_load(dbt.text)["models"][0]["columns"]}
    assert columns["place"]["data_type"] == 'STRUCT("zip" VARCHAR)'
    for written in (schema, dbt):
        assert any("labels" in note.subject for note in written.notes)
        assert any("people" in note.reason or "text" in note.subject for note in written.notes)


# -- what is changed after the import -------------------------------------------------------------------------


@pytest.fixture
def edited(source, settings, tmp_path, violations):
    """Imports, changes product.yaml, exports; gives the document."""

    def do(change) -> dict:
        folder = tmp_path / "product"
        imported(source / "orders.odps.yaml", folder, settings)
        data = yaml.safe_load((folder / "product.yaml").read_text())
        change(data)
        (folder / "product.yaml").write_text(yaml_text(data))
        (written,) = export_product(resolve(folder, settings), "odps")
        document = yaml.safe_load(written.text)
        assert violations(document) == []
        shutil.rmtree(folder)
        return document

    return do


ORIGINAL = json.loads(json.dumps(yaml.safe_load(PRODUCT), default=str))


def differences(document: dict) -> dict:
    return {
        key: document.get(key)
        for key in {*document, *ORIGINAL}
        if json.loads(json.dumps(document.get(key), default=str)) != ORIGINAL.get(key)
    }


def test_a_changed_head_is_written_into_the_document(edited):
    def change(data):
        data |= {"name": "Orders", "version": "1.3.0", "status": "deprecated", "domain": "trade"}

    assert differences(edited(change)) == {
        "name": "Orders", "version": "1.3.0", "status": "deprecated", "domain": "trade",
    }  # fmt: skip


def test_a_changed_description_keeps_what_it_does_not_show(edited):
    said = edited(lambda data: data.update(description="New.\n\n## Usage\n\nAsk."))
    kept = ORIGINAL["description"]["authoritativeDefinitions"]
    assert said["description"] == {"purpose": "New.", "usage": "Ask.", "authoritativeDefinitions": kept}


def test_changed_tags_keep_labels_that_are_none(edited):
    said = differences(edited(lambda data: data.update(tags={"tier": "silver", "new": ""})))
    assert said == {"tags": ["a label with spaces", "tier:silver", "new"]}


def test_a_changed_owner_keeps_the_members(edited):
    said = differences(
        edited(lambda data: data.update(owner={"team": "New team", "email": "new@example.com"}))
    )
    assert said["team"] == ORIGINAL["team"] | {"name": "New team"}
    assert said["support"] == [
        *ORIGINAL["support"],
        {"channel": "New team", "url": "mailto:new@example.com", "tool": "email"},
    ]


def test_what_odps_has_no_place_for_is_kept_in_words_of_our_own(edited):
    def change(data):
        data["refresh_rate"] = "daily"
        data["output_ports"][0]["sla"] = "99.9%"

    said = edited(change)
    assert said["customProperties"] == [
        *ORIGINAL["customProperties"],
        {"property": "dpDagster", "value": {"refresh_rate": "daily"}},
    ]
    assert said["outputPorts"][0] == ORIGINAL["outputPorts"][0] | {
        "customProperties": [{"property": "dpDagster", "value": {"sla": "99.9%"}}]
    }


def test_ports_come_and_go(edited):
    def change(data):
        data["output_ports"][1] = {"name": "files", "type": "FILES", "dataset": "orders", "format": "parquet"}
        data["input_ports"] = []

    said = edited(change)
    assert "inputPorts" not in said
    assert said["outputPorts"] == [
        ORIGINAL["outputPorts"][0],
        {
            "name": "files",
            "type": "FILES",
            "version": "1.2.0",
            "contractId": "orders-out",
            "customProperties": [{"property": "dpDagster", "value": {"format": "parquet"}}],
        },
    ]


def test_a_port_that_is_given_a_kind_keeps_the_type_that_the_document_says(edited, settings, tmp_path):
    def change(data):
        data["output_ports"][1] |= {"type": "SQL", "dataset": "orders"}

    said = edited(change)
    assert said["outputPorts"][1] == {
        "name": "dashboard",
        "type": "tableau",
        "customProperties": [{"property": "dpDagster", "value": {"type": "SQL"}}],
    }


@pytest.mark.parametrize(
    "description",
    [
        {"purpose": "a"},
        {"usage": "b"},
        {"purpose": "a\n\n## Other\n\nx", "limitations": "c", "usage": "b"},
        {},
    ],
)
def test_descriptions_come_back(description):
    assert description_of(described_as(description) or "") == description


# -- what the documents leave open ----------------------------------------------------------------------------


def notes_of(source: Path, settings: Settings, **options) -> list[str]:
    made = import_product(source / "orders.odps.yaml", settings, **options)
    write_import(made, Path(settings.project_root) / "out", settings)
    resolve(Path(settings.project_root) / "out", settings)
    return made.notes


def test_a_contract_that_is_not_there_is_named(source, settings):
    (source / "contracts" / "orders.odcs.yaml").unlink()
    notes = notes_of(source, settings)
    wanted = f"outputPorts[0].contractId: no ODCS contract orders-out in {source}; put it there, or name its folder"
    assert f"{wanted} with --contracts" in notes
    product = resolve(Path(settings.project_root) / "out", settings)
    assert not product.datasets


def test_contracts_are_found_in_another_folder_and_by_path(source, settings, tmp_path):
    moved = tmp_path / "elsewhere"
    (source / "contracts").rename(moved)
    text = PRODUCT.replace("contractId: payments-in", "contractId: payments.yml")
    (source / "orders.odps.yaml").write_text(text)
    made = import_product(source / "orders.odps.yaml", settings, contracts=[moved])
    assert made.files["contracts/orders.odcs.yaml"] == ORDERS.encode()
    assert made.files["contracts/payments.odcs.yaml"] == PAYMENTS.encode()


def test_a_path_out_of_the_folder_is_not_followed(source, settings, tmp_path):
    (tmp_path / "outside.yaml").write_text(PAYMENTS.replace("payments-in", "x"))
    (source / "orders.odps.yaml").write_text(
        PRODUCT.replace("contractId: payments-in", "contractId: ../outside.yaml")
    )
    made = import_product(source / "orders.odps.yaml", settings)
    assert any("no ODCS contract ../outside.yaml" in note for note in made.notes)


def test_of_several_contracts_of_one_id_the_version_decides(source, settings, dp):
    other = ORDERS.replace("version: 1.2.0", "version: 2.0.0")
    (source / "other.odcs.yaml").write_text(other)
    made = import_product(source / "orders.odps.yaml", settings)
    assert made.files["contracts/orders.odcs.yaml"] == ORDERS.encode()
    (source / "other.odcs.yaml").write_text(ORDERS + "# changed\n")
    code, _, err = dp("import", source / "orders.odps.yaml")
    assert code == 2
    assert "several contracts have the id orders-out" in err


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        (ORDERS.replace(", primaryKey: true", ""), "no primary key, so nothing can tell its rows apart"),
        (ORDERS[: ORDERS.index("    properties")], "schema[0].properties: is missing or empty"),
    ],
)
def test_a_table_that_cannot_be_published_is_declared_only(source, settings, contract, says):
    (source / "contracts" / "orders.odcs.yaml").write_text(contract)
    (note,) = [note for note in notes_of(source, settings) if "orders is declared only" in note]
    assert says in note
    product = resolve(Path(settings.project_root) / "out", settings)
    assert [port.dataset for port in product.ports] == [None, None]
    assert product.descriptor.documents.odcs == ("contracts/orders.odcs.yaml",)
    assert {written.file for written in export_product(product, "odcs")} == {
        "orders.odcs.yaml",
        "payments.odcs.yaml",
    }


def test_a_contract_of_several_tables_becomes_several_ports(source, settings):
    second = ORDERS + (
        "  - name: order lines\n    properties:\n      - {name: line_id, logicalType: integer, primaryKey: true}\n"
    )
    (source / "contracts" / "orders.odcs.yaml").write_text(second)
    notes_of(source, settings)
    product = resolve(Path(settings.project_root) / "out", settings)
    assert [(port.name, port.dataset.name) for port in product.ports if port.dataset] == [
        ("orders_orders", "orders"), ("orders_order_lines", "order_lines"),
    ]  # fmt: skip
    (written,) = export_product(product, "odps")
    assert written.text == PRODUCT
    assert len(export_product(product, "odcs")) == 2  # one document each, however many tables it has


def test_versions_of_one_port_are_told_apart(source, settings):
    ports = "".join(
        f"  - {{name: Order, version: {version}, contractId: c{number}}}\n"
        for number, version in enumerate(("1.0.0", "2.0.0", "2.1.0"))
    )
    (source / "orders.odps.yaml").write_text(
        f"apiVersion: v1.1.0\nkind: DataProduct\nid: select\nversion: '3'\ninputPorts:\n{ports}outputPorts:\n{ports}"
    )
    for number in range(3):
        (source / f"c{number}.odcs.yaml").write_text(ORDERS.replace("orders-out", f"c{number}"))
    notes_of(source, settings, product_id="mine")
    product = resolve(Path(settings.project_root) / "out", settings)
    assert product.version == "3.0.0"
    assert [port.name for port in product.ports] == ["order_v1", "order_v2_0_0", "order_v2_1_0"]
    assert [dataset.name for dataset in product.datasets] == ["orders", "orders_v2", "orders_2"]


# -- wrong use ----------------------------------------------------------------------------------------------


def test_all_problems_of_all_documents_are_told_and_nothing_is_written(dp, project, source):
    (source / "orders.odps.yaml").write_text(
        PRODUCT.replace("kind: DataProduct", "kind: DataProduct\nnmae: x")
    )
    code, out, err = dp("import", source / "orders.odps.yaml")
    assert (code, out) == (1, "")
    assert err == f"{source}/orders.odps.yaml:4: nmae: unknown key; did you mean name?\n"
    (source / "orders.odps.yaml").write_text(PRODUCT)
    (source / "payments.yml").write_text(PAYMENTS.replace("status: active", "state: active"))
    (source / "contracts" / "orders.odcs.yaml").write_text(ORDERS.replace("type: local", "type: nowhere"))
    code, _, err = dp("import", source / "orders.odps.yaml")
    assert code == 1
    assert f"{source}/contracts/orders.odcs.yaml:9: servers[0].type:" in err
    assert f"{source}/payments.yml:6: state: unknown key" in err
    assert not (project.root / "products" / "shop_orders").exists()


def test_a_contract_that_cannot_be_parsed_is_refused_with_its_line(dp, source):
    (source / "contracts" / "orders.odcs.yaml").write_text(ORDERS + "  - [\n")
    code, _, err = dp("import", source / "orders.odps.yaml")
    assert code == 1
    assert f"{source}/contracts/orders.odcs.yaml:" in err


def test_a_folder_that_is_there_is_left_alone(dp, project, source):
    assert dp("import", source / "orders.odps.yaml")[0] == 0
    before = (project.root / "products/shop_orders/product.yaml").read_text()
    code, _, err = dp("import", source / "orders.odps.yaml")
    assert code == 2
    assert "shop_orders is there already" in err
    assert (project.root / "products/shop_orders/product.yaml").read_text() == before
    code, out, _ = dp("import", source / "orders.odps.yaml", "--id", "other", "--json")
    assert (code, json.loads(out)["product_id"]) == (0, "other")
    code, _, err = dp("import", source / "orders.odps.yaml", "--id", "Not An Id")
    assert code == 2
    assert "product id 'Not An Id' is no id" in err
    assert dp("import", source / "nothing.yaml")[0] == 2
    assert (
        dp("import", source / "orders.odps.yaml", "--id", "third", "--contracts", source / "nothing")[0] == 2
    )
    code, out, _ = dp(
        "import", source / "orders.odps.yaml", "--id", "third", "--output", project.root / "elsewhere"
    )
    assert (code, (project.root / "elsewhere" / "product.yaml").is_file()) == (0, True)


OWN = "dpDagster, value: {refresh_rate: never}"


def test_what_would_be_no_sound_product_is_refused_and_not_written(source, settings, tmp_path):
    (source / "orders.odps.yaml").write_text(
        PRODUCT.replace("costCentre, value: {number: 4711, kept: [1, two, null]}, vendor: erp", OWN)
    )
    made = import_product(source / "orders.odps.yaml", settings)
    with pytest.raises(DescriptorError, match=r"there/product.yaml:\d+: refresh_rate: "):
        write_import(made, tmp_path / "there", settings)
    assert not (tmp_path / "there").exists()


def test_a_killed_import_leaves_no_product(source, settings, tmp_path, monkeypatch):
    made = import_product(source / "orders.odps.yaml", settings)
    monkeypatch.setattr(shutil, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_import(made, tmp_path / "there", settings)
    assert not (tmp_path / "there").exists()
    assert list(Path(settings.state_directory).glob("import-*")) == []
