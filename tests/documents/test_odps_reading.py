"""ODPS documents: as strict as the official schema, all problems at once, each with line and field."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from odps_strategies import VALUES, documents, spoiled

from dp_dagster.descriptor.document import parse
from dp_dagster.documents.odps_reading import read_odps
from dp_dagster.documents.yaml_text import yaml_text
from dp_dagster.errors import DescriptorError

PATIENT = settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)  # fmt: skip
HEAD = "apiVersion: v1.1.0\nkind: DataProduct\nid: shop\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def do(text: str, name: str = "shop.odps.yaml"):
        (tmp_path / name).write_text(text)
        return read_odps(tmp_path / name)

    return do


@pytest.fixture
def problems(read):
    def do(text: str) -> list[str]:
        with pytest.raises(DescriptorError) as refused:
            read(text)
        return [str(problem) for problem in refused.value.problems]

    return do


@PATIENT
@given(document=documents())
def test_valid_documents_are_read(document, violations, read):
    assert violations(document) == []
    assert read(json.dumps(document)).written == document
    assert read(yaml_text(document)).written == document


@PATIENT
@given(document=spoiled())
def test_what_the_official_schema_refuses_is_refused(document, violations, read):
    try:
        official = violations(document)
    except (KeyError, AttributeError, FileNotFoundError):
        official = ["no version"]
    if official:
        with pytest.raises(DescriptorError) as refused:
            read(yaml_text(document))
        assert all(problem.line for problem in refused.value.problems)


@PATIENT
@given(value=VALUES)
def test_both_versions_of_yaml_read_what_is_written(value):
    text = yaml_text({"value": value})
    assert yaml.safe_load(text) == {"value": value}
    assert parse(text, "x").data == {"value": value}


def test_all_problems_are_told_in_one_run(problems):
    assert problems(
        "apiVersion: v1.1.0\nkind: DataProduct\nversion: 1.0\nstatus:\nnmae: x\n"
        "outputPorts:\n  - nam: orders\n  - name: a\n    sbom: [{url: nowhere}]\n"
        "support:\n  - channel: x\nteam: {members: [{username: a, dateIn: yesterday}]}\n"
    ) == [
        "shop.odps.yaml:1: id: is missing; add `id: …`",
        'shop.odps.yaml:3: version: wants text, not the number 1.0; write it in quotes: "1.0"',
        "shop.odps.yaml:4: status: is empty; write a value, or leave the key out",
        "shop.odps.yaml:5: nmae: unknown key; did you mean name?",
        "shop.odps.yaml:7: outputPorts[0].nam: unknown key; did you mean name?",
        "shop.odps.yaml:7: outputPorts[0].name: is missing; add `name: …`",
        (
            "shop.odps.yaml:9: outputPorts[1].sbom[0].url: nowhere is no URI; write it with its scheme, such as "
            "https://… or mailto:…"
        ),
        "shop.odps.yaml:11: support[0].url: is missing; add `url: …`",
        "shop.odps.yaml:12: team.members[0].dateIn: yesterday is no date; write it as 2024-01-31",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "apiVersion: v1.0.0\nkind: DataProduct\nid: shop\ntype: aggregate\ninputPorts: [{name: a}]\n",
            [
                "1: status: is missing; add `status: …`, or raise apiVersion to v1.1.0",
                "4: type: came with ODPS 1.1; raise apiVersion to v1.1.0, or remove it",
                "5: inputPorts[0].contractId: is missing; add `contractId: …`, or raise apiVersion to v1.1.0",
                "5: inputPorts[0].version: is missing; add `version: …`, or raise apiVersion to v1.1.0",
            ],
        ),
        (
            "apiVersion: v2.0.0\nkind: DataProduct\nid: shop\n",
            ["1: apiVersion: v2.0.0 is not a version that is read; choices: v0.9.0, v1.0.0, v1.1.0"],
        ),
        (
            HEAD + "outputPorts:\n  - {name: a, version: 1.0.0}\n  - {name: a, version: 1.0.0}\n",
            [
                (
                    "6: outputPorts[1].name: a is the name of outputPorts[0] on line 5 too, in the same version; give "
                    "each OutputPort a name or version of its own"
                )
            ],
        ),
        (HEAD + "id: other\n", ["4: id: key appears twice (first on line 3); remove one of them"]),
        (
            HEAD + "name: ${NOT_SET}\ntenant: ${SET_TO_NOTHING}\ndomain: x$${SET}\n",
            [
                "4: name: environment variable NOT_SET is not set; set it, or give a default: ${NOT_SET:-…}",
                (
                    "5: tenant: environment variable SET_TO_NOTHING is empty; give it a value, or a default: "
                    "${SET_TO_NOTHING:-…}"
                ),
                (
                    "6: domain: $${ is a dollar sign and a reference for some tools, and an escape for others; leave "
                    "one of the dollar signs out"
                ),
            ],
        ),
    ],
)
def test_problems_have_line_field_and_fix(problems, monkeypatch, text, expected):
    monkeypatch.setenv("SET_TO_NOTHING", "")
    monkeypatch.setenv("SET", "x")
    assert problems(text) == [f"shop.odps.yaml:{line}" for line in expected]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "schema: https://opendataproducts.org/v4.0/schema/odps.yaml\nversion: 4.0\nproduct: {}\n",
            "ODPS of ODPI",
        ),
        ("product:\n  en: {name: x}\n", "ODPS of ODPI"),
        ("odps_project: x\nodps_endpoint: y\n", "Alibaba's MaxCompute"),
        ("apiVersion: v3.1.0\nkind: DataContract\nid: x\n", "Open Data Contract Standard"),
        ("dataContractSpecification: 1.1.0\nid: x\n", "Data Contract Specification"),
        ("product_id: x\nversion: 1.0.0\n", "product of dp_dagster already"),
        ("a: 1\n", "is no Bitol ODPS document"),
        ("- a\n", "wants a mapping, not a list"),
        ("", "is empty"),
        ("a: [\n", "is not valid YAML"),
        ("kind: Something\napiVersion: v1.0.0\nid: x\n", "kind"),
    ],
)
def test_other_documents_are_refused_by_name(problems, text, says):
    assert says in "\n".join(problems(text))


def test_variables_are_resolved_for_use_and_kept_as_written(read, monkeypatch):
    text = HEAD.replace("shop", "${PRODUCT:-shop}") + "tenant: ${TENANT:-Retail Corp}\nname: In ${PLACE}\n"
    monkeypatch.setenv("PLACE", "Zürich")
    document = read(text)
    assert (document.product.id, document.product.tenant, document.product.name) == (
        "shop",
        "Retail Corp",
        "In Zürich",
    )
    assert document.written["name"] == "In ${PLACE}"
    monkeypatch.setenv("PRODUCT", "store")
    monkeypatch.setenv("TENANT", "")  # set to nothing is not set, where there is a default
    assert (read(text).product.id, read(text).product.tenant) == ("store", "Retail Corp")


def test_before_1_1_references_are_text(read):
    text = "apiVersion: v1.0.0\nkind: DataProduct\nid: shop\nstatus: active\nname: costs ${NOT_SET}\n"
    assert read(text).product.name == "costs ${NOT_SET}"
