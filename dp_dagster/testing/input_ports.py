"""The suite for kinds of input ports."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from dp_dagster.errors import DataProductError
from dp_dagster.ports.base import InputContext, InputPort, UpstreamPort, Written
from dp_dagster.testing.kinds import KindSuite, Sample, Workplace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PORT_NAME = "sample_input"


@dataclass(frozen=True, kw_only=True)
class InputSample(Sample):
    """A working input port, and how to change what it reads.

    Attributes:
        change: Makes something new available to read.
        rows: Rows that are there at first.
        rows_after_change: Rows that are there then.
        remove: Takes everything away, so that there is nothing to read.
    """

    change: Callable[[], object]
    rows: int
    rows_after_change: int
    remove: Callable[[], object]


class InputPortSuite(KindSuite):
    """Tests of what every kind of input port must keep. Give ``kind`` and a fixture ``sample``."""

    @pytest.fixture
    def context(self, workplace: Workplace) -> InputContext:
        """Where the port is read."""
        return InputContext(
            workplace.product_id, workplace.product_root, _PORT_NAME, "sample_run", workplace.settings
        )

    def test_is_an_input_port(self) -> None:
        """By its base class."""
        assert issubclass(self.kind, InputPort)

    def test_the_fingerprint_changes_with_the_data_and_only_then(
        self, sample: InputSample, context: InputContext
    ) -> None:
        """Also when another process asks, so a fingerprint holds nothing of the object that gave it."""
        first = self.kind().fingerprint(self.config(sample.options), context)
        assert isinstance(first, str)
        assert first
        assert self.kind().fingerprint(self.config(sample.options), context) == first
        self.read(sample, context)
        assert self.kind().fingerprint(self.config(sample.options), context) == first
        sample.change()
        second = self.kind().fingerprint(self.config(sample.options), context)
        assert second != first
        assert self.kind().fingerprint(self.config(sample.options), context) == second

    def test_reads_what_is_there(self, sample: InputSample, context: InputContext) -> None:
        """All of it, before and after a change."""
        assert self.read(sample, context) == sample.rows
        sample.change()
        assert self.read(sample, context) == sample.rows_after_change

    def test_landing_writes_one_file_and_nothing_else(
        self, sample: InputSample, context: InputContext, tmp_path: Path
    ) -> None:
        """In types that every reader understands; the second time the same."""
        if not self.lands(sample):
            return
        from pyarrow import parquet

        from dp_dagster.storage.types import columns_of

        first, second = tmp_path / "first", tmp_path / "second"
        tables = []
        for folder in (first, second):
            folder.mkdir()
            self.write(sample, context, folder / "part.parquet")
            assert [path.name for path in folder.iterdir()] == ["part.parquet"]
            tables.append(parquet.read_table(folder / "part.parquet"))
            assert columns_of(tables[-1].schema)
        assert tables[0].equals(tables[1])

    def test_reading_goes_on_from_the_state(
        self, sample: InputSample, context: InputContext, tmp_path: Path
    ) -> None:
        """An incremental kind gives what is new, also after a process that has forgotten everything but the state."""
        config = self.config(sample.options)
        landing = self.kind().landing(config)
        if landing.mode == "replace" or not self.lands(sample):
            return
        first = self.write(sample, context, tmp_path / "first.parquet")
        assert first is not None
        assert first.fingerprint in {"", self.kind().fingerprint(config, context)}
        state = json.loads(json.dumps(first.state))
        again = replace(context, state=state)
        same = self.write(sample, again, tmp_path / "same.parquet")
        assert same is not None
        assert (same.state, same.fingerprint) == (first.state, first.fingerprint)
        sample.change()
        second = self.write(sample, again, tmp_path / "second.parquet")
        assert second is not None
        assert second.state != first.state
        rows = _count([str(tmp_path / "second.parquet")])
        assert sample.rows_after_change - sample.rows <= rows < sample.rows_after_change
        if first.again is not None or second.again is not None:
            assert second.again is not None
            assert second.again[0] in config.model_dump().values()

    def test_pinning_names_files_that_stay(self, sample: InputSample, context: InputContext) -> None:
        """What a run has pinned by its version is read to its end, whatever comes meanwhile."""
        if self.lands(sample):
            return
        pinned = self.kind().pin(self.config(sample.options), context)
        assert pinned.name == _PORT_NAME
        assert pinned.files
        assert json.loads(json.dumps(pinned.provenance)) == pinned.provenance
        assert pinned.provenance["fingerprint"] == self.kind().fingerprint(
            self.config(sample.options), context
        )
        assert pinned.rows in {None, sample.rows}
        if pinned.version is not None:
            sample.change()
            assert _count(pinned.files) == sample.rows

    def test_nothing_to_read_is_an_error_of_ours(self, sample: InputSample, context: InputContext) -> None:
        """It names the port and the place that was looked at."""
        sample.remove()
        for question in (self.kind().fingerprint, self._read_or_pin(sample)):
            with pytest.raises(DataProductError) as raised:
                question(self.config(sample.options), context)
            text = str(raised.value)
            assert f"{context.product_id}/input/{_PORT_NAME}" in text
            assert "\n" not in text

    def test_tells_since_when_something_newer_is_there(
        self, sample: InputSample, context: InputContext
    ) -> None:
        """Nothing newer: ``None``. Else a time with a zone, where the kind can tell."""
        config = self.config(sample.options)
        shown = self.kind().fingerprint(config, context)
        assert self.kind().available_since(config, context, shown) is None
        sample.change()
        since = self.kind().available_since(config, context, shown)
        assert since is None or (isinstance(since, datetime) and since.tzinfo is not None)

    def test_the_location_is_for_people(self, sample: InputSample) -> None:
        """One line."""
        location = self.kind().location(self.config(sample.options))
        assert location.strip()
        assert "\n" not in location

    def test_secrets_stay_secret(self, sample: InputSample, context: InputContext) -> None:
        """Neither the location nor an error shows them."""
        for secret in sample.secrets:
            config = self.config(secret.options)
            assert secret.text not in self.kind().location(config)
            for question in (self.kind().fingerprint, self._read_or_pin(sample)):
                with pytest.raises(DataProductError) as raised:
                    question(config, context)
                assert secret.text not in str(raised.value)
            for fault in self.kind().check(config, context.product_root):
                assert secret.text not in f"{fault.message} {fault.fix}"

    def test_says_whether_it_reads_another_product(self, sample: InputSample) -> None:
        """By product, port and major version."""
        upstream = self.kind().upstream(self.config(sample.options))
        assert upstream is None or isinstance(upstream, UpstreamPort)

    # -- helpers ----------------------------------------------------------------------------------------------

    def lands(self, sample: InputSample) -> bool:
        """Whether the sample is copied before it is read."""
        lands = self.kind().lands(self.config(sample.options), audited=False)
        assert isinstance(lands, bool)
        return lands

    def write(self, sample: InputSample, context: InputContext, destination: Path) -> Written | None:
        """Land what is there now."""
        from dp_dagster.engines.duckdb import in_memory

        with in_memory() as connection:
            written: Written | None = self.kind().write(
                self.config(sample.options), context, connection, destination
            )
        return written

    def read(self, sample: InputSample, context: InputContext) -> int:
        """How many rows are there now."""
        import tempfile
        from pathlib import Path

        if not self.lands(sample):
            return _count(self.kind().pin(self.config(sample.options), context).files)
        with tempfile.TemporaryDirectory() as folder:
            self.write(sample, context, Path(folder) / "part.parquet")
            return _count([str(Path(folder) / "part.parquet")])

    def _read_or_pin(self, sample: InputSample) -> Callable[[Any, InputContext], Any]:
        if not self.lands(sample):
            pin: Callable[[Any, InputContext], Any] = self.kind().pin
            return pin

        def write(config: Any, context: InputContext) -> None:
            from dp_dagster.engines.duckdb import in_memory

            destination = context.product_root.parent / "never.parquet"
            with in_memory() as connection:
                self.kind().write(config, context, connection, destination)

        return write


def _count(files: Any) -> int:
    import polars as pl

    return sum(pl.read_parquet(file, glob=False, hive_partitioning=False).height for file in files)
