"""What every kind must keep, whatever its family."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dp_dagster.ports.base import Fault, KindConfig
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

#: Libraries that listing and validating products must not pay for.
HEAVY = frozenset(
    {
        "confluent_kafka",
        "dagster",
        "dbt",
        "deltalake",
        "dlt",
        "duckdb",
        "fsspec",
        "pandas",
        "pandera",
        "polars",
        "psycopg",
        "pyarrow",
        "requests",
        "sqlalchemy",
        "sqlglot",
    }
)
_ODD_TEXTS = (
    "",
    " ",
    "\0",
    "..",
    "/",
    "../../x",
    "http://[",
    "file://",
    "'",
    '"',
    "${X}",
    "a" * 5000,
    "\udcff",
)


@dataclass(frozen=True)
class Workplace:
    """An empty project for a test: its settings, and the folder of its only product."""

    settings: Settings
    product_root: Path
    product_id: str = "sample_product"


@dataclass(frozen=True)
class Secret:
    """Options of which a text must never be shown.

    Attributes:
        options: As they would stand in ``product.yaml``.
        text: What must not be in any location, address, example or error.
    """

    options: Mapping[str, Any]
    text: str


@dataclass(frozen=True)
class Faulty:
    """Options that the kind's types allow and its check must find at fault.

    Attributes:
        options: As they would stand in ``product.yaml``.
        field: The key at fault.
    """

    options: Mapping[str, Any]
    field: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the suite needs of a kind.

    Attributes:
        options: What stands in ``product.yaml`` besides name and type; what it names must exist.
        faulty: Options that ``check`` must refuse. Empty only for a kind that can check nothing.
        secrets: Options that carry a secret. Empty only for a kind that has no place for one.
    """

    options: Mapping[str, Any]
    faulty: tuple[Faulty, ...] = ()
    secrets: tuple[Secret, ...] = field(default=())


class KindSuite:
    """Tests of what every kind must keep. Subclass the suite of the kind's family instead."""

    kind: ClassVar[type[Any]]

    @pytest.fixture
    def workplace(self, tmp_path: Path) -> Workplace:
        """An empty project; a sample may write into its product's folder."""
        root = tmp_path / "project" / "products" / Workplace.product_id
        root.mkdir(parents=True)
        return Workplace(Settings(project_root=tmp_path / "project"), root)

    @pytest.fixture
    def sample(self) -> Any:
        """A working configuration of the kind. Every kind's own tests give it; none is skipped for lack of it."""
        pytest.fail(f"kind {self.kind.kind} has no sample, so nothing of it is tested; give it one")

    # -- of the class --------------------------------------------------------------------------------------

    def test_names_itself(self) -> None:
        """``kind`` is what stands in ``product.yaml``; ``summary`` completes 'a port over …'."""
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", self.kind.kind)
        assert self.kind.summary.strip() == self.kind.summary != ""
        assert "\n" not in self.kind.summary
        assert len(self.kind.summary) <= 80
        assert not self.kind.summary.endswith(".")
        assert self.kind.extra is None or re.fullmatch(r"[a-z][a-z0-9_-]*", self.kind.extra)
        assert inspect.getdoc(self.kind)

    def test_implements_all_of_its_family(self) -> None:
        """It can be made without arguments."""
        assert not inspect.isabstract(self.kind)
        assert isinstance(self.kind(), self.kind)

    def test_the_configuration_is_frozen_and_closed(self) -> None:
        """No key passes unnoticed, and nobody changes a configuration that others read."""
        assert issubclass(self.kind.Config, KindConfig)
        for model in _models(self.kind.Config):
            assert model.model_config.get("frozen") is True, model
            assert model.model_config.get("extra") == "forbid", model

    def test_every_option_is_described(self) -> None:
        """The reference pages and the JSON Schema are made of these words."""
        for model in _models(self.kind.Config):
            for name, option in model.model_fields.items():
                assert (option.description or "").strip(), f"{model.__name__}.{name}"
        assert self.kind.Config.model_json_schema()["type"] == "object"

    def test_importing_it_stays_light(self) -> None:
        """Listing products imports every kind; its libraries wait until they are used."""
        code = f"import sys; import {self.kind.__module__}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own text
        assert found.stdout.split() == []

    # -- of the configuration ---------------------------------------------------------------------------------

    def test_the_sample_is_valid(self, sample: Sample, workplace: Workplace) -> None:
        """A configuration that works has no faults, and comes back the same from JSON."""
        config = self.config(sample.options)
        assert self.faults(config, workplace) == []
        assert self.kind.Config.model_validate_json(config.model_dump_json()) == config

    def test_an_unknown_option_is_refused(self, sample: Sample) -> None:
        """By name."""
        with pytest.raises(ValidationError, match="no_such_option"):
            self.config({**sample.options, "no_such_option": 1})

    def test_badges(self, sample: Sample) -> None:
        """At most two, as the UI shows no more."""
        badges = self.kind().badges(self.config(sample.options))
        assert isinstance(badges, frozenset)
        assert 1 <= len(badges) <= 2
        assert all(re.fullmatch(r"[a-z0-9_]+", badge) for badge in badges)

    def test_faults_are_found(self, sample: Sample, workplace: Workplace) -> None:
        """Each names the option, says what is wrong, and what would be right."""
        for faulty in sample.faulty:
            faults = self.faults(self.config(faulty.options), workplace)
            assert faulty.field in {fault.field for fault in faults}, faulty
            for fault in faults:
                assert fault.field in self.kind.Config.model_fields
                assert fault.message.strip()
                assert fault.fix.strip()

    def test_checking_never_raises(self, sample: Sample, workplace: Workplace) -> None:
        """Whatever an author writes that the types allow, the answer is a fault and not an exception."""
        texts = [
            name for name, value in self.config(sample.options).model_dump().items() if isinstance(value, str)
        ]

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(st.sampled_from(texts), st.sampled_from(_ODD_TEXTS) | st.text())
        def odd(name: str, text: str) -> None:
            try:
                config = self.config({**sample.options, name: text})
            except ValidationError:
                return
            for fault in self.faults(config, workplace):
                assert isinstance(fault, Fault)
                assert fault.message

        if texts:
            odd()

    # -- to be called by the families ---------------------------------------------------------------------------

    def config(self, options: Mapping[str, Any]) -> Any:
        """The validated configuration."""
        return self.kind.Config.model_validate(dict(options))

    def faults(self, config: Any, workplace: Workplace) -> list[Fault]:
        """What the kind's check finds."""
        return list(self.checked(config, workplace))

    def checked(self, config: Any, workplace: Workplace) -> Iterable[Fault]:
        """Ask the kind's check, as its family does."""
        checked: Iterable[Fault] = self.kind().check(config, workplace.product_root)
        return checked


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and those that its fields are made of."""
    seen: set[type[BaseModel]] = set()
    waiting: list[Any] = [model]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current not in seen:
                seen.add(current)
                yield current
                waiting.extend(option.annotation for option in current.model_fields.values())
        else:
            waiting.extend(getattr(current, "__args__", ()))
