"""What a sound descriptor becomes."""

from __future__ import annotations

import json
from datetime import timedelta
from fractions import Fraction

import pytest

from dp_dagster.errors import DescriptorError, UsageError
from dp_dagster.resolve import resolve, resolve_inline


def states(product):
    return {line.path: (line.number, line.value, line.state) for line in product.lines}


def test_the_sample_loads_as_it_is(folder, sample):
    product = folder.resolve(sample, "product.json")
    assert (product.id, product.version, product.major) == ("customer_360", "1.2.0", 1)
    assert [(port.name, port.state) for port in product.ports] == [
        ("vw_customers", "not evaluated"),
        ("customers", "not evaluated"),
    ]
    assert product.active_ports == ()
    assert states(product) == {
        "product_id": (1, "customer_360", "active"),
        "version": (1, "v1.2.0", "active"),
        "output_ports[0].type": (3, "SQL", "not evaluated"),
        "output_ports[0].endpoint": (3, "snowflake://db/schema/vw_customers", "not evaluated"),
        "output_ports[0].sla": (3, "99.9%", "not evaluated"),
        "output_ports[0].refresh_rate": (3, "real-time", "not evaluated"),
        "output_ports[1].type": (4, "REST_API", "not evaluated"),
        "output_ports[1].endpoint": (4, "https://api.data.inc/v1/customers", "not evaluated"),
        "output_ports[1].auth": (4, "OAuth2", "not evaluated"),
    }
    assert all(line.reason for line in product.lines if line.state != "active")
    for number in (0, 1):
        path = f"output_ports[{number}].type"
        assert "no datasets" in next(line.reason for line in product.lines if line.path == path)


def test_json_indented_with_tabs_is_read(folder, sample):
    product = folder.resolve(json.dumps(json.loads(sample), indent="\t"), "product.json")
    assert states(product)["output_ports[1].auth"] == (14, "OAuth2", "not evaluated")


def test_a_full_product(folder, full):
    product = folder.resolve(full)
    assert (product.version, product.major, product.descriptor.title) == ("2.1.0", 2, "Shops")
    assert product.descriptor.summary == "Sales of shops."
    (sales,) = product.inputs
    assert (sales.name, sales.port.kind, sales.config.path) == ("sales", "FILES", "sales.csv")
    assert sales.contract.name == "Sales"
    assert sales.refresh.text == "hourly"
    (clean,) = product.transforms
    assert (clean.transform.kind, clean.depends_on, clean.provides) == ("SQL", ("sales",), ("clean",))
    (dataset,) = product.datasets
    assert (dataset.source, dataset.key, dataset.sort_by) == ("clean", ("shop",), ("shop", "amount"))
    assert dataset.max_invalid == Fraction(1, 200)
    view, files = product.ports
    assert (view.dataset, files.dataset) == (dataset, dataset)
    assert view.sla == {"availability": "99.9%", "latency": {"p95": "200ms"}}
    assert view.refresh.text == "daily"
    assert files.refresh.freshness_window() == timedelta(minutes=40)
    assert (files.config.format, files.state) == ("csv", "active")
    assert product.inputs_of("clean") == ("sales",)
    assert product.inputs_of("sales") == ("sales",)
    assert product.transform_providing("clean") is clean
    inactive = {path: state for path, (_, _, state) in states(product).items() if state != "active"}
    assert inactive == dict.fromkeys(
        (
            "sla.latency.p95",
            "alerts.to",
            "infrastructure.warehouse",
        ),
        "not evaluated",
    )


def test_every_leaf_has_its_line(folder, full):
    product = folder.resolve(full)
    lines = full.splitlines()
    assert len(product.lines) == 44
    for line in product.lines:
        key = line.path.rpartition(".")[2].partition("[")[0]
        assert key in lines[line.number - 1], line
        assert line.value.partition("\n")[0] in full


def test_what_is_asked_for_in_vain_names_the_choices(folder, full):
    product = folder.resolve(full)
    assert product.dataset("sales").name == "sales"
    assert product.port("files").name == "files"
    assert product.input("sales").name == "sales"
    assert product.transform("clean").name == "clean"
    with pytest.raises(UsageError, match="sale is no dataset of shops; there are sales"):
        product.dataset("sale")
    with pytest.raises(UsageError, match="no transform of shops makes x; there are clean"):
        product.transform_providing("x")


DATASET = (
    "input_ports:\n  - {name: sales, type: FILES, path: sales.csv}\n"
    'datasets:\n  - {name: sales, from: sales, contract: "contracts/sales.py:Sales"%s}\n'
)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            ", key: [shp]",
            "product.yaml:6: datasets[0].key[0]: shp is no column of contracts/sales.py:Sales; did you mean shop?",
        ),
        (
            ", key: [shop, shop]",
            "product.yaml:6: datasets[0].key: names shop twice; name each column once",
        ),
        (
            ", key: [amount]",
            (
                "product.yaml:6: datasets[0].key: nothing in contracts/sales.py:Sales proves that amount identifies "
                "a row; make it unique there: amount = pa.Field(unique=True)"
            ),
        ),
        (
            ", key: [note]",
            (
                "product.yaml:6: datasets[0].key: note may be null in contracts/sales.py:Sales; "
                "a key may not: nullable=False"
            ),
        ),
        (
            ", key: [shop], sort_by: [amount, sop]",
            (
                "product.yaml:6: datasets[0].sort_by[1]: sop is no column of contracts/sales.py:Sales; "
                "did you mean shop?"
            ),
        ),
        (
            ", key: shop",
            (
                "product.yaml:6: datasets[0].key: wants a list, not the text 'shop'; "
                "write it as a list: [first, second]"
            ),
        ),
        (
            ", key: [shop], quarantine: {max_invalid: 5}",
            (
                "product.yaml:6: datasets[0].quarantine.max_invalid: 5 is a share of 1 or more; "
                "as a percentage, write 5%"
            ),
        ),
        (
            ", key: [shop], quarantine: {max_invalid: 100%}",
            (
                "product.yaml:6: datasets[0].quarantine.max_invalid: 100% is the share of a dataset of which no row is "
                "good; write less than 100%"
            ),
        ),
        (
            ", key: [shop], quarantine: {max_invalid: -1%}",
            (
                "product.yaml:6: datasets[0].quarantine.max_invalid: -1% is no share of rows; "
                "write a percentage such as 0.5% or a share such as 0.005"
            ),
        ),
        (
            ", key: [shop], quarantine: {max_invalid: few}",
            (
                "product.yaml:6: datasets[0].quarantine.max_invalid: few is no share of rows; "
                "write a percentage such as 0.5% or a share such as 0.005"
            ),
        ),
        (
            ", key: [shop], quarantine: {}",
            "product.yaml:6: datasets[0].quarantine.max_invalid: is missing; add `max_invalid: …`",
        ),
        (
            ", key: [shop], access: {mask: [note]}",
            (
                "product.yaml:6: datasets[0].access: unknown key; known keys: contract, deprecated, "
                "description, from, key, masks, name, partitioned_by, quarantine, sort_by, versions"
            ),
        ),
    ],
)
def test_mistakes_of_a_dataset(folder, head, extra, expected):
    assert folder.problems(head + DATASET % extra) == [expected]


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("0.5%", Fraction(1, 200)),
        ("0.005", Fraction(1, 200)),
        ("'0.005'", Fraction(1, 200)),
        ("5 %", Fraction(1, 20)),
        ("0%", Fraction(0)),
        ("0", Fraction(0)),
        ("1e-3", Fraction(1, 1000)),
        ("99.9%", Fraction(999, 1000)),
        ("'${SHARE:-2%}'", Fraction(1, 50)),
    ],
)
def test_forms_of_max_invalid_are_exact(folder, head, written, share):
    product = folder.resolve(head + DATASET % f", key: [shop], quarantine: {{max_invalid: {written}}}")
    assert product.datasets[0].max_invalid == share


def test_the_contracts_key_is_the_default(folder, head):
    folder.write(
        "import pandera.polars as pa\nclass A(pa.DataFrameModel):\n    a: int\n"
        '    class Config:\n        unique = ["a"]\n',
        "contracts/a.py",
    )
    text = head + (DATASET % "").replace("contracts/sales.py:Sales", "contracts/a.py:A")
    assert folder.resolve(text).datasets[0].key == ("a",)


def test_a_contract_that_does_not_load_is_told_with_its_place(folder, head):
    folder.write("import pandera.polars as pa\nraise RuntimeError('no')\n", "contracts/broken.py")
    text = head + (DATASET % ", key: [a]").replace("contracts/sales.py:Sales", "contracts/broken.py:A")
    (problem,) = folder.problems(text)
    assert problem.startswith("product.yaml:6: datasets[0].contract: contracts/broken.py:2: ")
    missing = head + (DATASET % ", key: [a]").replace("contracts/sales.py:Sales", "contracts/nowhere.py:A")
    assert folder.problems(missing) == [
        (
            "product.yaml:6: datasets[0].contract: file contracts/nowhere.py does not exist in shops/; "
            "create it, or correct the path"
        )
    ]


def test_a_dataset_from_nowhere(folder, head):
    text = head + DATASET.replace("from: sales", "from: sale") % ", key: [shop]"
    assert folder.problems(text) == [
        (
            "product.yaml:6: datasets[0].from: sale is no transform and no input port of the product; "
            "did you mean sales?"
        )
    ]


def test_a_port_must_say_which_of_several_datasets(folder, head):
    text = (
        head
        + DATASET % ", key: [shop]"
        + '  - {name: more, from: sales, contract: "contracts/sales.py:Sales", key: [shop]}\n'
        + "output_ports:\n  - {name: a, type: SQL}\n  - {name: b, type: SQL, dataset: mor}\n"
    )
    assert folder.problems(text) == [
        (
            "product.yaml:9: output_ports[0].dataset: is missing: the product has 2 datasets; "
            "add one of sales, more"
        ),
        "product.yaml:10: output_ports[1].dataset: mor is no dataset of the product; did you mean more?",
    ]


def test_names_of_ports_are_derived(folder, head):
    text = (
        head
        + DATASET % ", key: [shop]"
        + "output_ports:\n  - {type: SQL}\n  - {type: FILES}\n  - {type: NATS, endpoint: 'https://a.b/v1/Top-Shops/?x=1'}\n"
    )
    assert [port.name for port in folder.resolve(text).ports] == ["sql_sales", "files_sales", "top_shops"]
    bare = (
        head + "output_ports:\n  - {type: rest-api, auth: none}\n  - {type: Nats, endpoint: 'https://a.b'}\n"
    )
    assert [port.name for port in folder.resolve(bare).ports] == ["rest_api", "nats"]


def test_a_circle_among_transforms(folder, head):
    for name, reads in {"a": "b", "b": "c", "c": "a", "d": "a"}.items():
        folder.write(f"select * from {reads}", f"transforms/{name}.sql")
    text = (
        head
        + "transforms:\n"
        + "".join(f"  - {{name: {name}, type: SQL, path: transforms/{name}.sql}}\n" for name in "dabc")
    )
    assert folder.problems(text) == [
        "product.yaml:5: transforms[1]: needs itself: a -> b -> c -> a; take one of them out of the circle"
    ]
    folder.write("select * from a", "transforms/a.sql")
    alone = head + "transforms:\n  - {name: a, type: SQL, path: transforms/a.sql}\n"
    assert folder.problems(alone) == [
        "product.yaml:4: transforms[0]: needs itself: a -> a; take one of them out of the circle"
    ]


def test_transforms_stand_after_what_they_read(folder, head):
    folder.write("select * from b join sales using (x)", "transforms/a.sql")
    folder.write("select * from c", "transforms/b.sql")
    folder.write("select * from sales", "transforms/c.sql")
    text = head + (
        "input_ports:\n  - {name: sales, type: FILES, path: sales.csv}\n  - {name: other, type: FILES, path: a.csv}\n"
        "transforms:\n"
    )
    text += "".join(f"  - {{name: {name}, type: SQL, path: transforms/{name}.sql}}\n" for name in "abc")
    product = folder.resolve(text)
    assert [transform.name for transform in product.transforms] == ["c", "b", "a"]
    assert product.inputs_of("a") == ("sales",)


def test_a_transform_that_reads_what_is_not_there(folder, head):
    text = head + "transforms:\n  - {name: clean, type: SQL, path: transforms/clean.sql}\n"
    (problem,) = folder.problems(text)
    assert problem.startswith(
        "product.yaml:4: transforms[0]: shops/transforms/clean.sql:1: names table sales"
    )


def test_a_kind_that_is_not_installed_may_be_declared_and_not_read(folder, head):
    inputs = "input_ports:\n  - {name: sales, type: NATS}\n"
    product = folder.resolve(head + inputs)
    assert product.inputs == ()
    assert states(product)["input_ports[0].name"] == (4, "sales", "not installed")
    text = head + inputs + "transforms:\n  - {name: clean, type: SQL, path: transforms/clean.sql}\n"
    assert folder.problems(text) == [
        (
            "product.yaml:6: transforms[0]: reads sales, which is not installed; kind NATS comes with the extra "
            "'nats', which this release does not have yet"
        )
    ]


def test_declared_only_ports_and_rates_are_not_evaluated(folder, head):
    product = folder.resolve(head + "refresh_rate: daily\noutput_ports:\n  - {type: SQL, name: a}\n")
    (port,) = product.ports
    assert (port.state, port.reason, port.refresh) == (
        "not evaluated",
        "declared only: the product has no datasets",
        None,
    )
    assert states(product)["refresh_rate"] == (3, "daily", "not evaluated")


def test_a_variable_is_read_and_its_value_not_shown(folder, head, monkeypatch):
    monkeypatch.setenv("SHOPS_FILE", "tresor.csv")
    product = folder.resolve(
        head + "name: $${literal} ${SHOPS_TITLE:-Shops}\n"
        "input_ports:\n  - {name: sales, type: FILES, path: '${SHOPS_FILE}', header: '${HEADER:-false}'}\n"
    )
    assert product.descriptor.name == "${literal} Shops"
    assert product.inputs[0].config.path == "tresor.csv"
    assert product.inputs[0].config.header is False
    assert states(product)["input_ports[0].path"] == (5, "${SHOPS_FILE}", "active")
    assert "tresor" not in str(product.lines)


def test_an_empty_variable_takes_the_default(folder, head, monkeypatch):
    monkeypatch.setenv("SHOPS_TITLE", "")
    assert folder.resolve(head + "name: ${SHOPS_TITLE:-Shops}\n").descriptor.name == "Shops"


def test_words_that_yaml_1_1_reads_otherwise_stay_text(folder, head):
    text = head + "name: on\ndomain: no\nowner: {team: 1_000}\nsupport: {channel: 12:30, url: 2024-01-01}\n"
    declared = folder.resolve(text).descriptor
    assert (declared.name, declared.domain, declared.owner.team) == ("on", "no", "1_000")
    assert (declared.support.channel, declared.support.url) == ("12:30", "2024-01-01")


def test_merge_keys_and_aliases(folder, head):
    text = head + (
        "input_ports:\n"
        "  - &files {name: a, type: FILES, path: a.csv, null_values: &nulls [NA]}\n"
        "  - {<<: *files, name: b}\n"
        "  - {name: c, type: FILES, path: c.csv, null_values: *nulls}\n"
    )
    product = folder.resolve(text)
    assert [(one.name, one.config.path) for one in product.inputs] == [
        ("a", "a.csv"),
        ("b", "a.csv"),
        ("c", "c.csv"),
    ]
    assert states(product)["input_ports[1].path"] == (4, "a.csv", "active")


def test_json_escapes_beyond_the_basic_plane(folder):
    product = folder.resolve(
        json.dumps(
            {
                "product_id": "shops",
                "version": "1.0.0",
                "name": "\N{DELIVERY TRUCK} \N{LATIN SMALL LETTER E WITH ACUTE}",
            }
        ),
        "product.json",
    )
    assert product.descriptor.name == "\N{DELIVERY TRUCK} é"


def test_a_descriptor_inside_of_another_document(folder, full):
    from ruamel.yaml import YAML

    data = YAML(typ="safe", pure=True).load(full)
    product = resolve_inline(data, folder.root, folder.settings, label="defs.yaml")
    assert product.datasets[0].contract.name == "Sales"
    assert {line.number for line in product.lines} == {0}
    with pytest.raises(DescriptorError) as caught:
        resolve_inline({**data, "nmae": 1}, folder.root, folder.settings, label="defs.yaml")
    assert str(caught.value) == "defs.yaml: nmae: unknown key; did you mean name?"
    with pytest.raises(DescriptorError, match=r"^defs.yaml: is not plain data"):
        resolve_inline({"product_id": object()}, folder.root, folder.settings, label="defs.yaml")


def test_a_folder_or_its_file(folder, full):
    path = folder.write(full)
    assert resolve(folder.root, folder.settings).path == path == resolve(path, folder.settings).path
