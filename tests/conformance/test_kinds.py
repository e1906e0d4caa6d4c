"""Every registered kind passes its family's suite. A kind that is registered without a sample here fails."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from kind_samples import SAMPLES

from dp_dagster.registry import Registry
from dp_dagster.testing import InputPortSuite, OutputPortSuite, TransformSuite, Workplace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUITES: dict[Any, type[Any]] = {
    "input_ports": InputPortSuite,
    "output_ports": OutputPortSuite,
    "transforms": TransformSuite,
}


def suite_for(base: type[Any], kind: type[Any], make: Callable[..., Any] | None) -> type[Any]:
    """The family's suite for one kind and one of its samples."""
    contents: dict[str, Any] = {"kind": kind}
    if make is not None:
        contents["pytestmark"] = getattr(make, "pytestmark", [])

        @pytest.fixture
        def sample(_: Any, workplace: Workplace, request: pytest.FixtureRequest) -> Any:
            wanted = [name for name in inspect.signature(make).parameters if name != "workplace"]
            return make(workplace, *(request.getfixturevalue(name) for name in wanted))

        contents["sample"] = sample
    return type("Suite", (base,), contents)


def suites() -> dict[str, type[Any]]:
    found: dict[str, type[Any]] = {}
    for family, base in SUITES.items():
        for kind in Registry.load().kinds(family):
            if kind.state != "installed" or kind.implementation is None:
                continue
            makers = SAMPLES.get((family, kind.name), {"": None})  # type: ignore[dict-item]
            for label, make in makers.items():
                name = f"Test_{family}_{kind.name}_{label.replace(' ', '_')}".rstrip("_")
                found[name] = suite_for(base, kind.implementation, make)
    return found


globals().update(suites())


def test_the_built_in_kinds_are_among_them() -> None:
    assert {name.removeprefix("Test_") for name in suites()} >= {
        "input_ports_FILES_landed",
        "input_ports_FILES_in_place",
        "input_ports_PRODUCT",
        "output_ports_FILES_delta",
        "output_ports_SQL",
        "transforms_DBT",
        "transforms_PYTHON",
        "transforms_SQL",
    }


def test_no_sample_is_of_a_kind_that_is_gone() -> None:
    for family, name in SAMPLES:
        kind = Registry.load().find(family, name)  # type: ignore[arg-type]
        assert kind is not None
        assert kind.state == "installed"


@pytest.mark.parametrize("family", list(SUITES))
def test_registered_names_are_the_kinds_own(family: Any) -> None:
    for kind in Registry.load().kinds(family):
        assert kind.state in {"installed", "not installed", "declared only"}, kind.reason
        if kind.implementation is not None:
            assert kind.implementation.kind == kind.name


# -- the suites themselves: they find what is wrong, and are a few lines for an author of a kind -----------------

PLUGIN = '''
from typing import ClassVar

import pytest
from pydantic import Field

from dp_dagster.errors import InputError
from dp_dagster.ports.base import InputPort, KindConfig
from dp_dagster.testing import InputPortSuite, InputSample, Secret
{imports}

class LinesConfig(KindConfig):
    """Configuration of LINES."""

    file: str = Field({described})
    {more}


class LinesInput(InputPort[LinesConfig]):
    """Lines of a text file."""

    kind = "LINES"
    summary = "lines of a text file"
    Config: ClassVar[type[KindConfig]] = LinesConfig

    def location(self, config):
        return {location}

    def fingerprint(self, config, context):
        try:
            return {fingerprint}
        except FileNotFoundError:
            {missing}

    def write(self, config, context, connection, destination):
        self.fingerprint(config, context)
        text = (context.product_root / config.file).read_text()
        connection.from_query("select unnest(string_split($1, chr(10))) as line", params=[text]).filter(
            "line <> ''"
        ).to_parquet(str(destination))


class TestLines(InputPortSuite):
    kind = LinesInput
{sample}
'''
SAMPLE = """
    @pytest.fixture
    def sample(self, workplace):
        file = workplace.product_root / "lines.txt"
        file.write_text("one\\n")
        return InputSample(
            options={"file": "lines.txt"},
            change=lambda: file.write_text("one\\ntwo\\n"),
            rows=1,
            rows_after_change=2,
            remove=file.unlink,
            secrets=(Secret({"file": "x?password=hunter2"}, "hunter2"),),
        )
"""
GOOD = {
    "imports": "",
    "described": 'description="The file."',
    "more": "",
    "location": 'config.file.partition("?")[0]',
    "fingerprint": '"lines: " + (context.product_root / config.file).read_text()',
    "missing": 'raise InputError(f"{context.product_id}/input/{context.port_name}: no file") from None',
    "sample": SAMPLE,
}


def run_suite(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(
        'import pytest\n\npytest.register_assert_rewrite("dp_dagster.testing")\n'
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    text = PLUGIN
    for name, value in {**GOOD, **changes}.items():
        text = text.replace("{" + name + "}", value)
    (folder / "test_lines.py").write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_kind_of_somebody_else(tmp_path: Path) -> None:
    result = run_suite(tmp_path)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"sample": ""}, "kind LINES has no sample, so nothing of it is tested"),
        ({"described": ""}, "test_every_option_is_described"),
        ({"more": 'model_config = {"frozen": False}'}, "test_the_configuration_is_frozen_and_closed"),
        ({"more": 'model_config = {"extra": "ignore"}'}, "test_an_unknown_option_is_refused"),
        ({"imports": "import polars"}, "test_importing_it_stays_light"),
        ({"location": "config.file"}, "test_secrets_stay_secret"),
        ({"fingerprint": '"always the same"'}, "test_the_fingerprint_changes_with_the_data_and_only_then"),
        ({"fingerprint": "str(object())"}, "test_the_fingerprint_changes_with_the_data_and_only_then"),
        ({"missing": "raise"}, "test_nothing_to_read_is_an_error_of_ours"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_kind_that_breaks_a_promise_is_found_out(
    tmp_path: Path, changes: dict[str, str], failing: str
) -> None:
    result = run_suite(tmp_path, **changes)
    assert result.returncode == 1, result.stdout
    assert failing in result.stdout
