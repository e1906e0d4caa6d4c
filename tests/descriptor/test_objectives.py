"""Every objective in its short and its long form; what is refused, with place and fix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import jsonschema
import pytest

from dp_dagster.descriptor.objective_forms import ObjectiveError, objectives_schema, read_objectives
from dp_dagster.descriptor.objectives import OBJECTIVES, keys_of
from dp_dagster.descriptor.quantities import WeeklyHours, read_span

LONG = {
    "availability": {"target": "99.9%", "window": "7d"},
    "completeness": {"target": "99%"},
    "end_of_life": {"date": "2029-12-31", "warn": "60d"},
    "end_of_support": {"date": "2028-12-31T12:00:00+01:00", "warn": "P1W"},
    "error_rate": {"target": "0.1%", "window": "7d"},
    "freshness": {"target": "6h", "warn": "5h", "column": "observed_at"},
    "frequency": {"every": "0 6 * * *", "window": "14d"},
    "general_availability": {"date": "2027-01-31"},
    "latency": {"target": "200ms", "percentile": 99.9, "window": "1h"},
    "retention": {"target": "P3Y"},
    "support_hours": {"hours": "Mon-Fri 09:00-17:00, Sat 10:00-14:00", "timezone": "Europe/Berlin"},
    "time_of_availability": {"by": "0 7 * * 1-5", "timezone": "Europe/Berlin", "window": "7d"},
    "time_to_detect": {"target": "15min", "window": "90d"},
    "time_to_repair": {"target": "8h", "window": "90d"},
    "volume": {"tolerance": "20%", "versions": 3, "minimum": 1, "maximum": 1000000},
}


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(objectives_schema())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_short_form(name, schema):
    kind = OBJECTIVES[name]
    (objective,) = read_objectives({name: kind.example})
    assert type(objective) is kind
    assert objective.declared == kind.example
    assert objective.promise
    assert getattr(objective, kind.short) is not None
    schema.validate({name: kind.example})
    (long,) = read_objectives({name: {kind.short: kind.example}})
    assert long.promise == objective.promise
    assert [getattr(long, key) for key in keys_of(kind)] == [getattr(objective, key) for key in keys_of(kind)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_long_form(name, schema):
    (objective,) = read_objectives({name: LONG[name]})
    assert isinstance(objective, OBJECTIVES[name])
    schema.validate({name: LONG[name]})
    assert set(keys_of(OBJECTIVES[name])) - set(LONG[name]) <= {"of"}
    broken = {**LONG[name], "wanted": 1}
    with pytest.raises(ObjectiveError) as caught:
        read_objectives({name: broken})
    assert caught.value.at == (name, "wanted")
    assert not schema.is_valid({name: broken})
    assert objective.id.startswith(name)


def test_what_is_read():
    (availability,) = read_objectives("99.95%")
    assert (availability.target, availability.window) == (Fraction(9995, 10000), timedelta(days=30))
    fast, slow = read_objectives({"latency": {"p50": "80ms", "p99.9": "1.5s", "window": "2h"}})
    assert (fast.id, fast.percentile, fast.target, fast.promise) == (
        "latency_p50",
        50,
        timedelta(milliseconds=80),
        "p50 in 80ms",
    )
    assert (slow.id, slow.target, slow.window) == (
        "latency_p99_9",
        timedelta(seconds=1.5),
        timedelta(hours=2),
    )
    (hours,) = read_objectives({"support_hours": "Fri-Mon 08:30-24:00"})
    assert hours.hours == (WeeklyHours(frozenset({4, 5, 6, 0}), 510, 1440),)
    (day,) = read_objectives({"end_of_life": "2029-12-31"})
    assert day.date == datetime(2029, 12, 31, tzinfo=UTC)
    (deadline,) = read_objectives({"time_of_availability": "7:05"})
    assert deadline.by == "5 7 * * *"
    (fresh,) = read_objectives({"freshness": "10h"})
    assert fresh.warning == timedelta(hours=8)
    assert read_span("90min") == read_span("PT90M") == read_span("1.5h")


REFUSED = {
    "no percentage": ({"availability": "high"}, ("availability",), "is no availability"),
    "more than all": ({"availability": {"target": "101%"}}, ("availability", "target"), "is no availability"),
    "nothing promised": ({"volume": {}}, ("volume",), "promises nothing"),
    "minimum above maximum": (
        {"volume": {"minimum": 5, "maximum": 4}},
        ("volume", "minimum"),
        "above the maximum",
    ),
    "a number as span": ({"freshness": 6}, ("freshness",), "is no span of time"),
    "no time at all": ({"freshness": "0s"}, ("freshness",), "is out of range"),
    "warns after the target": (
        {"freshness": {"target": "1h", "warn": "1h"}},
        ("freshness", "warn"),
        "must be shorter",
    ),
    "two bases": (
        {"freshness": {"target": "1h", "column": "at", "of": "upstream"}},
        ("freshness", "of"),
        "does not go with column",
    ),
    "another basis": (
        {"freshness": {"target": "1h", "of": "moon"}},
        ("freshness", "of"),
        "is no choice here",
    ),
    "no target": ({"retention": {}}, ("retention", "target"), "is missing"),
    "empty key": ({"retention": {"target": None}}, ("retention", "target"), "is empty"),
    "empty": ({"retention": None}, ("retention",), "is empty"),
    "no percentile": (
        {"latency": {"target": "1s", "percentile": 100}},
        ("latency", "percentile"),
        "is no percentile",
    ),
    "percentile and target": (
        {"latency": {"p95": "1s", "target": "2s"}},
        ("latency", "target"),
        "does not go with",
    ),
    "wrong percentile": ({"latency": {"p95": "fast"}}, ("latency", "p95"), "is no span of time"),
    "percentile twice": ({"latency": {"p95": "1s", "p95.0": "2s"}}, ("latency",), "names a percentile twice"),
    "no deadline": ({"time_of_availability": "early"}, ("time_of_availability",), "is no deadline"),
    "a day that never comes": (
        {"time_of_availability": "0 7 31 2 *"},
        ("time_of_availability",),
        "is no cron expression",
    ),
    "no zone": (
        {"time_of_availability": {"by": "07:00", "timezone": "Mars/Base"}},
        ("time_of_availability", "timezone"),
        "is no time zone",
    ),
    "no period": ({"frequency": "real-time"}, ("frequency",), "has no period"),
    "no hours": ({"support_hours": "always"}, ("support_hours",), "names no hours"),
    "no day of the week": ({"support_hours": "Abc 09:00-10:00"}, ("support_hours",), "names no day"),
    "hours that end before they begin": (
        {"support_hours": "Mon 17:00-09:00"},
        ("support_hours",),
        "do not follow",
    ),
    "no day": ({"end_of_life": "soon"}, ("end_of_life",), "is no day"),
    "no zone of an instant": ({"end_of_life": "2029-12-31T12:00:00"}, ("end_of_life",), "has no time zone"),
    "too many versions": (
        {"volume": {"tolerance": "5%", "versions": 1000}},
        ("volume", "versions"),
        "number of versions",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    value, at, message = REFUSED[case]
    with pytest.raises(ObjectiveError, match=message) as caught:
        read_objectives(value)
    assert caught.value.at == at
    assert caught.value.fix


def test_a_descriptor_names_the_place(folder):
    problems = folder.problems("product_id: shops\nversion: 1.0.0\nsla:\n  freshness:\n    target: 6 hours\n")
    assert problems == [
        (
            "product.yaml:5: sla.freshness.target: 6 hours is no span of time; "
            "write a span such as 200ms, 15min, 6h, 30d, 3y or PT6H"
        )
    ]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("sold_at", "sales has no column sold_at"),
        ("shop", "shop is string, neither timestamp nor date"),
    ],
)
def test_a_column_must_be_a_time_of_the_dataset(folder, full, column, problem):
    text = full.replace('sla: "99.9%"', f"sla: {{freshness: {{target: 6h, column: {column}}}}}")
    assert text != full
    (found,) = folder.problems(text)
    assert f"output_ports[0].sla.freshness.column: {problem}; name a timestamp or date column" in found
