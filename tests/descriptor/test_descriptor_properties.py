"""Whatever is written, the answer is a descriptor or a ``DescriptorError``."""

from __future__ import annotations

import json
import tempfile
from io import StringIO
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dp_dagster.descriptor.document import from_mapping, parse
from dp_dagster.descriptor.interpolation import InterpolationError, interpolate
from dp_dagster.descriptor.loading import inline_draft, load_descriptor
from dp_dagster.descriptor.names import RESERVED_NAMES, RESERVED_PRODUCT_IDS
from dp_dagster.errors import DescriptorError
from dp_dagster.resolve import resolve, resolve_inline
from dp_dagster.settings import Settings

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)

KEYS = st.sampled_from(
    [
        "product_id", "version", "api_version", "name", "owner", "team", "email", "description", "status",
        "tags", "support", "refresh_rate", "every", "sla", "alerts", "infrastructure", "access", "input_ports",
        "transforms", "datasets", "output_ports", "type", "path", "format", "port", "dataset", "endpoint", "from",
        "contract", "key", "sort_by", "quarantine", "max_invalid", "function", "inputs", "models", "auth",
        "options", "<<", "kind", "schema", "product",
    ]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        [
            "SQL",
            "files",
            "PRODUCT",
            "DBT",
            "python",
            "WEBHOOK",
            "daily",
            "PT1H",
            "1.0.0",
            "v1.2.3",
            "99.9%",
            "../x",
            "/x",
            "a",
            "shops",
            "x.csv",
            "a.py:B",
            "${HOME}",
            "${X:-y}",
            "${",
            "https://a/b",
            "snowflake://a/b",
            "a.b@1",
        ]
    )
)
JSONISH = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)
MAPPINGS = st.dictionaries(KEYS, JSONISH, max_size=10).map(
    lambda data: {"product_id": "shops", "version": "1.0.0"} | data
)


def in_a_folder(action):
    with tempfile.TemporaryDirectory() as folder:
        return action(Path(folder), Settings(project_root=Path(folder)))


def answer(action):
    """The problems that resolving gives; none if it succeeds. Any other error fails the test."""
    try:
        in_a_folder(action)
    except DescriptorError as error:
        return error.problems
    return ()


@relaxed
@given(st.text() | st.text(alphabet="abc:-[]{}&*!|>'\"%@`#,?\n\t <$1.0"))
def test_any_text(text):
    def action(folder, platform):
        (folder / "product.yaml").write_text(text, encoding="utf-8", errors="replace", newline="")
        resolve(folder, platform)

    assert all("\n" not in str(problem) for problem in answer(action))


@relaxed
@given(st.binary())
def test_any_bytes(content):
    def action(folder, platform):
        (folder / "product.yaml").write_bytes(content)
        resolve(folder, platform)

    assert answer(action)  # too short to be a product


@relaxed
@given(MAPPINGS | JSONISH.filter(lambda data: isinstance(data, dict)))
def test_any_mapping(data):
    problems = answer(lambda folder, platform: resolve_inline(data, folder, platform, label="defs.yaml"))
    assert all("\n" not in str(problem) for problem in problems)


PLAIN_TEXT = st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"]))
# YAML looks for the colon after a key in its first 1,024 characters, escapes counted.
KEY_TEXT = st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"]), max_size=50)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(KEY_TEXT, inner),
)


@given(PLAIN)
def test_json_is_read_as_json_reads_it(data):
    document = from_mapping({"data": data}, "x")
    assert document.problems == ()
    assert document.data == {"data": data}


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B"]), st.text()))
def test_interpolation_replaces_or_refuses(text, environment):
    try:
        outcome = interpolate(text, environment)
    except InterpolationError:
        assert "${" in text
        return
    if "${" not in text:
        assert outcome.text == text
    assert interpolate("<${A:-none}>", environment).text == f"<{environment.get('A') or 'none'}>"


IDS = st.from_regex(r"\A[a-z][a-z0-9_]{2,20}\Z").filter(
    lambda name: (
        name not in RESERVED_NAMES | RESERVED_PRODUCT_IDS
        and not name.startswith(("con", "prn", "aux", "nul", "com", "lpt"))
    )
)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="$\ufeff"),
    min_size=1,
).filter(str.strip)
VERSIONS = st.tuples(*[st.integers(0, 99)] * 3).map(lambda parts: ".".join(map(str, parts)))


@st.composite
def descriptors(draw):
    names = draw(st.lists(IDS, min_size=4, max_size=4, unique=True))
    datasets = [
        {"name": name, "from": names[0], "contract": "contracts/a.py:A", "key": [draw(TEXTS)]}
        for name in names[1:3]
    ]
    ports = [
        {"name": name, "type": draw(st.sampled_from(["SQL", "FILES"])), "dataset": datasets[number]["name"]}
        for number, name in enumerate(names[:2])
    ]
    return {
        "product_id": draw(IDS),
        "version": draw(VERSIONS),
        "name": draw(TEXTS),
        "owner": {"team": draw(TEXTS)},
        "description": draw(TEXTS),
        "status": draw(st.sampled_from(["draft", "active", "deprecated", "retired"])),
        "tags": draw(st.dictionaries(IDS, IDS, max_size=3)),
        "refresh_rate": draw(st.sampled_from(["daily", "hourly", "PT30M", "0 6 * * *", "real-time"])),
        "input_ports": [{"name": names[0], "type": "FILES", "path": draw(TEXTS)}],
        "datasets": datasets,
        "output_ports": ports,
    }


def written(declared):
    """What the descriptor says, in the form in which it was written."""
    data = declared.model_dump(mode="python", by_alias=True, exclude_unset=True)
    data["refresh_rate"] = declared.refresh_rate.text
    for part in ("input_ports", "output_ports"):
        data[part] = [
            {**{k: v for k, v in item.items() if k != "options"}, **item["options"]} for item in data[part]
        ]
    data.pop("transforms")
    data["datasets"] = [{**item, "key": list(item["key"])} for item in data["datasets"]]
    return data


@relaxed
@given(descriptors())
def test_valid_descriptors_come_back_as_they_were_written(data):
    def from_file(text, name):
        def action(folder, _):
            (folder / name).write_text(text, encoding="utf-8", newline="")
            return load_descriptor(folder).descriptor

        return in_a_folder(action)

    as_yaml = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_style = (
        '"'  # unquoted, the writer makes texts such as ?0 that its own reader takes otherwise
    )
    writer.dump(data, as_yaml)
    read = [
        from_file(json.dumps(data, indent=2), "product.json"),
        from_file(as_yaml.getvalue(), "product.yaml"),
        inline_draft(data, Path(), "x").finish().descriptor,
    ]
    assert read[0] == read[1] == read[2]
    assert written(read[0]) == data


def test_every_leaf_is_marked_once():
    document = parse("a: 1\nb: [x, {c: '2'}]\nd: {}\ne: []\nf:\n", "x")
    assert [(keys, mark.line, mark.text) for keys, mark in document.leaves()] == [
        (("a",), 1, "1"),
        (("b", 0), 2, "x"),
        (("b", 1, "c"), 2, "2"),
        (("d",), 3, "{}"),
        (("e",), 4, "[]"),
        (("f",), 5, ""),
    ]
