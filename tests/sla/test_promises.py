"""Nothing that is promised gets lost: every objective in both forms, every property of ODCS, at every kind of port."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from dp_dagster.descriptor.objective_forms import read_objectives
from dp_dagster.descriptor.objectives import OBJECTIVES
from dp_dagster.documents.service_levels import sla_properties
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.evaluator import evaluator_for

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct

DATASET = """\
product_id: shops
version: 1.0.0
support: {email: help@example.com}
input_ports: [{name: sales, type: FILES, path: sales.csv}]
datasets: [{name: sales, from: sales, contract: "sales.odcs.yaml:sales"}]
output_ports: [{name: vw_sales, type: SQL, dataset: sales}]
"""
#: Every property that the standard names, as documents write them, and what becomes of each.
ODCS: dict[str, tuple[dict[str, Any], str, str]] = {
    "availability": ({"value": 99.9, "unit": "%"}, "availability", "99.9%"),
    "throughput": ({"value": 500, "unit": "MB/s"}, "", "only known under load"),
    "errorRate": ({"value": "0.1", "unit": "percent"}, "error_rate", "0.1%"),
    "generalAvailability": ({"value": "2022-05-12T09:30:10-08:00"}, "general_availability", "2022-05-12"),
    "endOfSupport": ({"value": "2032-05-12T09:30:10-08:00"}, "end_of_support", "2032-05-12"),
    "endOfLife": ({"value": "2042-05-12"}, "end_of_life", "2042-05-12"),
    "retention": ({"value": 3, "unit": "y", "element": "sales.sold_at"}, "retention", "3y"),
    "frequency": ({"value": 1, "valueExt": 1, "unit": "d"}, "frequency", "P1D"),
    "latency": ({"value": 4, "unit": "d", "element": "sales.sold_at"}, "freshness", "4d"),
    "timeToDetect": ({"value": 15, "unit": "minutes"}, "time_to_detect", "15min"),
    "timeToNotify": ({"value": 15, "unit": "minutes"}, "", "kept with the alerts"),
    "timeToRepair": ({"value": 8, "unit": "h"}, "time_to_repair", "8h"),
    "timeOfAvailability": (
        {"value": "09:00-08:00", "driver": "regulatory"},
        "time_of_availability",
        "09:00 Etc/GMT+8",
    ),
    # Our own, as `dp export` writes them.
    "freshness": ({"value": 6, "unit": "h"}, "freshness", "6h"),
    "completeness": ({"value": "99.5%"}, "completeness", "99.5%"),
    "supportHours": ({"value": "Mon-Fri 09:00-17:00"}, "support_hours", "Mon-Fri 09:00-17:00 UTC"),
    "volume": ({"value": 1000}, "volume", "minimum 1000"),
    "responseTime": ({"value": '{"p95": "200ms"}'}, "latency_p95", "p95 in 200ms"),
    # What nobody knows.
    "beauty": ({"value": 5}, "", "no objective measures it"),
}


def product_with(root: Path, levels: list[dict[str, Any]], descriptor: str = DATASET) -> ResolvedProduct:
    (root / "dp_dagster.toml").write_text('storage = "data"\n')
    (root / "product.yaml").write_text(descriptor)
    (root / "sales.csv").write_text("shop\nnorth\n")
    columns = [
        {"name": "shop", "logicalType": "string", "primaryKey": True},
        {"name": "sold_at", "logicalType": "timestamp"},
    ]
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "sales",
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "sales", "properties": columns}, {"name": "other", "properties": columns}],
        "slaProperties": levels,
    }
    with (root / "sales.odcs.yaml").open("w") as stream:
        YAML(typ="safe").dump(document, stream)
    return resolve(root, Settings.load(root))


def own(port: ResolvedOutput) -> list[Any]:
    return [one for one in port.objectives if one.origin.startswith("sales.odcs.yaml:")]


@pytest.mark.parametrize("name", ODCS)
def test_a_property_of_odcs_is_an_objective_or_says_why_not(tmp_path, name):
    level, objective, told = ODCS[name]
    port = product_with(tmp_path, [{"property": name, **level}]).port("vw_sales")
    if objective:
        (found,) = own(port)
        assert (found.id, port.promises.unevaluated) == (objective, ())
        assert found.promise.startswith(told)
        line = int(found.origin.rpartition(":")[2])
        assert f"property: {name}" in "\n".join(
            (tmp_path / "sales.odcs.yaml").read_text().splitlines()[line - 1 :][:2]
        )
    else:
        (level_found,) = port.promises.unevaluated
        assert own(port) == []
        assert level_found.name == name
        assert told in level_found.reason


def test_all_properties_at_once_are_accounted_for(tmp_path):
    levels = [{"property": name, **level} for name, (level, _, _) in ODCS.items()]
    product = product_with(tmp_path, levels)
    port = product.port("vw_sales")
    # latency and freshness are both ages of data: each is kept.
    assert len(own(port)) + len(port.promises.unevaluated) == len(ODCS)
    assert {"freshness", "freshness_2"} <= {one.id for one in own(port)}
    evaluated = evaluator_for(product.settings).evaluate([product])
    assert {one.objective for one in evaluated} == {one.id for one in port.objectives}
    assert all(one.reason for one in evaluated)


def test_what_a_contract_says_of_another_object_is_not_promised_here(tmp_path):
    levels = [
        {"property": "retention", "value": 1, "unit": "y", "element": "other.sold_at"},
        {"property": "latency", "value": 4, "unit": "h", "element": "other.sold_at, sales.sold_at"},
        {"property": "latency", "value": 2, "unit": "h", "element": "sales.shop"},
    ]
    first, second = own(product_with(tmp_path, levels).port("vw_sales"))
    assert (first.id, first.column, first.of) == ("freshness", "sold_at", "publication")
    assert (second.id, second.column, second.of) == ("freshness_2", None, "upstream")


def test_two_deadlines_are_two_objectives(tmp_path):
    levels = [
        {"property": "timeOfAvailability", "value": clock, "driver": driver}
        for clock, driver in (("09:00-08:00", "regulatory"), ("08:00Z", "analytics"))
    ]
    found = own(product_with(tmp_path, levels).port("vw_sales"))
    assert [(one.id, one.by, one.timezone) for one in found] == [
        ("time_of_availability", "0 9 * * *", "Etc/GMT+8"),
        ("time_of_availability_2", "0 8 * * *", "UTC"),
    ]


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        (
            {"property": "retention", "value": 3, "unit": "fortnights"},
            "cannot be read: 3 fortnights is no span of time",
        ),
        ({"property": "availability", "value": "always"}, "cannot be read: always is no availability"),
        (
            {"property": "timeOfAvailability", "value": "09:00+05:30"},
            "cannot be read: 09:00+05:30 is no deadline",
        ),
        ({"property": "frequency", "value": 2, "unit": "y"}, "cannot be read: 2 y is out of range"),
        ({"property": "endOfLife", "value": None}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path, level, reason):
    product = product_with(tmp_path, [level])
    (found,) = product.port("vw_sales").promises.unevaluated
    assert reason in found.reason
    assert found.origin.startswith("sales.odcs.yaml:")


def test_the_product_goes_before_its_contract(tmp_path):
    descriptor = DATASET + "sla: {availability: 99%}\nrefresh_rate: daily\n"
    levels = [
        {"property": "availability", "value": 99.9, "unit": "%"},
        {"property": "latency", "value": 4, "unit": "h"},
    ]
    port = product_with(tmp_path, levels, descriptor).port("vw_sales")
    assert [(one.id, one.promise, one.origin.partition(":")[0]) for one in port.objectives] == [
        ("availability", "99%", "sla"),
        ("freshness", "4h", "sales.odcs.yaml"),
    ]
    (left_out,) = port.promises.unevaluated
    assert left_out.reason == "the sla of the port promises availability itself"


def test_what_is_exported_is_read_back(tmp_path):
    declared = {name: kind.example for name, kind in OBJECTIVES.items()} | {
        "latency": {"p99": "1s"},
        "freshness": {"target": "6h", "column": "sold_at"},
        "volume": {"tolerance": "20%", "versions": 3},
    }
    port = product_with(tmp_path, sla_properties(declared, None)).port("vw_sales")
    assert port.promises.unevaluated == ()
    read = [replace(one, declared=None, origin="") for one in own(port)]
    assert read == [replace(one, declared=None, origin="") for one in read_objectives(declared)]


@pytest.mark.parametrize("form", ["short", "long"])
def test_every_objective_is_evaluated_and_shown_at_every_port(project: TestProject, form):
    folder = project.root / "products" / "shops"
    descriptor = YAML(typ="safe").load((folder / "product.yaml").read_text())
    descriptor["sla"] = {
        name: kind.example if form == "short" else {kind.short: kind.example}
        for name, kind in OBJECTIVES.items()
    }
    descriptor["output_ports"].append({"name": "files", "type": "FILES", "dataset": "totals"})
    descriptor["output_ports"].append({"name": "later", "type": "DECLARED"})
    with (folder / "product.yaml").open("w") as stream:
        YAML(typ="safe").dump(descriptor, stream)
    product = resolve(folder, Settings.load(folder))
    evaluated = evaluator_for(product.settings).evaluate([product])
    unmeasured = {"latency", "error_rate", "support_hours"}
    for name in OBJECTIVES:
        found = {one.port: one for one in evaluated if one.objective.removesuffix("_p95") == name}
        assert set(found) == {"vw_totals", "files", "later"}
        assert all(one.reason and one.promise for one in found.values())
        assert found["later"].state == "not_evaluated"
        line = next(one for one in product.lines if one.path.startswith(f"sla.{name}"))
        assert (line.state, bool(line.reason)) == (
            ("not evaluated", True) if name in unmeasured else ("active", False)
        )
        for port in ("vw_totals", "files"):
            assert (found[port].state == "not_evaluated") is (name in unmeasured)
