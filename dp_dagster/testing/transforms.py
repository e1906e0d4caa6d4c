"""The suite for kinds of transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from dp_dagster.errors import DataProductError, TransformError
from dp_dagster.folder import code_version
from dp_dagster.testing.kinds import KindSuite, Sample, Workplace
from dp_dagster.transforms.base import Transform, TransformPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.ports.base import Fault

_NAME = "sample_transform"


@dataclass(frozen=True, kw_only=True)
class TransformSample(Sample):
    """A working transform that reads the relation ``numbers`` (columns ``number`` and ``text``, three rows).

    Attributes:
        rows: What it makes of them, in any order. ``None`` for a kind that is not run in a session.
        failing: Options of a transform that fails when it runs, by what its error must name: its file.
    """

    rows: Sequence[tuple[Any, ...]] | None
    failing: Mapping[str, Mapping[str, Any]]


class TransformSuite(KindSuite):
    """Tests of what every kind of transform must keep. Give ``kind`` and a fixture ``sample``."""

    @pytest.fixture
    def place(self, workplace: Workplace) -> TransformPlace:
        """Where the transform lives."""
        return TransformPlace(_NAME, workplace.product_id, workplace.product_root, workplace.settings)

    def checked(self, config: Any, workplace: Workplace) -> Iterable[Fault]:
        """A transform is asked with its place."""
        checked: Iterable[Fault] = self.kind().check(
            config,
            TransformPlace(_NAME, workplace.product_id, workplace.product_root, workplace.settings),
        )
        return checked

    def test_is_a_transform(self) -> None:
        """By its base class."""
        assert issubclass(self.kind, Transform)
        assert self.kind.runs_in in {"session", "dbt"}

    def test_provides_relations(self, sample: TransformSample, place: TransformPlace) -> None:
        """By names that SQL and paths can carry; its own name, where it is run in a session."""
        provides = self.kind().provides(self.config(sample.options), place)
        assert provides
        assert len(set(provides)) == len(provides)
        if self.kind.runs_in == "session":
            assert provides == (_NAME,)

    def test_knows_what_it_reads(self, sample: TransformSample, place: TransformPlace) -> None:
        """Without running, out of what there is."""
        config = self.config(sample.options)
        assert set(self.kind().depends_on(config, place, frozenset({"numbers", "others"}))) >= {"numbers"}

    def test_what_it_reads_must_exist(self, sample: TransformSample, place: TransformPlace) -> None:
        """Else the error says what it names, and what there is."""
        if self.kind.runs_in != "session":
            return
        with pytest.raises(TransformError) as raised:
            self.kind().depends_on(self.config(sample.options), place, frozenset({"others"}))
        assert "numbers" in str(raised.value)
        assert "others" in str(raised.value)

    def test_its_code_decides_its_version(self, sample: TransformSample, place: TransformPlace) -> None:
        """Every file that it is made of counts; all of them lie in the project."""
        config = self.config(sample.options)
        sources = self.kind().sources(config, place)
        assert sources
        before = code_version(sources)
        assert code_version(self.kind().sources(config, place)) == before
        for source in sources:
            assert source.is_relative_to(place.settings.project_root)
            content = source.read_bytes()
            source.write_bytes(content + b"\n")
            assert code_version(self.kind().sources(config, place)) != before
            source.write_bytes(content)
        assert code_version(self.kind().sources(config, place)) == before

    def test_is_kept_or_has_a_definition(self, sample: TransformSample, place: TransformPlace) -> None:
        """Whoever reads a transform that is not kept computes it from its definition."""
        config = self.config(sample.options)
        kept = self.kind().kept(config)
        assert isinstance(kept, bool)
        if self.kind.runs_in == "session" and not kept:
            assert (self.kind().definition(config, place) or "").strip()

    def test_gives_its_rows(self, sample: TransformSample, place: TransformPlace) -> None:
        """As a relation on the run's own connection, in types that can be stored; twice the same."""
        if self.kind.runs_in != "session":
            with pytest.raises(NotImplementedError):
                self._rows(sample.options, place)
            assert sample.rows is None
            return
        assert sample.rows is not None
        expected = sorted(sample.rows, key=str)
        assert self._rows(sample.options, place) == expected
        assert self._rows(sample.options, place) == expected

    def test_its_authors_faults_name_the_file(self, sample: TransformSample, place: TransformPlace) -> None:
        """In an error of ours: no traceback of somebody's library ends a run."""
        assert bool(sample.failing) == (self.kind.runs_in == "session")
        for file, options in sample.failing.items():
            with pytest.raises(DataProductError) as raised:
                self._rows(options, place)
            assert file in str(raised.value)

    def _rows(self, options: Mapping[str, Any], place: TransformPlace) -> list[tuple[Any, ...]]:
        from dp_dagster.engines.duckdb import in_memory, storable

        with in_memory() as connection:
            connection.execute(
                "create view numbers as from (values (1, 'one'), (2, 'it''s'), (3, null)) as v(number, text)"
            )
            relation = self.kind().run(self.config(options), place, connection)
            return sorted(storable(relation, _NAME).fetchall(), key=str)
