"""The suite for kinds of output ports."""

from __future__ import annotations

import json
import multiprocessing
import queue
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dp_dagster.errors import StoreError
from dp_dagster.ports.base import Example, OutputCapabilities, OutputContext, OutputPort, Projected
from dp_dagster.testing.kinds import KindSuite, Sample, Workplace
from dp_dagster.testing.published import CONTRACT, DATASET, ROWS, publish_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dp_dagster.storage import Snapshot

_PORT_NAME = "sample_port"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class OutputSample(Sample):
    """A working output port, and how a consumer reads it.

    Attributes:
        read: A function of a module (another process imports it) from what :meth:`OutputPort.project` returned, as
            ``(address, metadata)``, to the rows that a consumer sees now: batch, number and text of each.
        projections: How many versions are projected while another process reads.
        place: Of a kind whose authors choose each port's place: the options that say it, for a port of that context.
    """

    read: Callable[[str, dict[str, Any]], Sequence[tuple[Any, ...]]]
    projections: int = 30
    place: Callable[[OutputContext], Mapping[str, Any]] | None = None


class OutputPortSuite(KindSuite):
    """Tests of what every kind of output port must keep. Give ``kind`` and a fixture ``sample``."""

    @pytest.fixture
    def context(self, workplace: Workplace) -> OutputContext:
        """The port that is projected. Its texts are as awkward as an author may write them."""
        return OutputContext(
            product_id=workplace.product_id,
            product_root=workplace.product_root,
            major=1,
            port_name=_PORT_NAME,
            dataset=DATASET,
            contract=CONTRACT,
            description='It\'s "all"; drop table x; --\nand more\n',
            settings=workplace.settings,
        )

    def test_is_an_output_port(self) -> None:
        """By its base class, and says what it can do."""
        assert issubclass(self.kind, OutputPort)
        assert isinstance(self.kind.capabilities, OutputCapabilities)

    def test_the_sample_needs_nothing_more(self, sample: OutputSample) -> None:
        """Tests run where everything is installed."""
        assert self.kind().missing(self.config(sample.options)) is None

    def test_shows_the_version(self, sample: OutputSample, context: OutputContext) -> None:
        """Whole, and the next one after it."""
        for batch in (1, 2):
            shown = self.projected(
                sample, context, publish_version(context.settings, context.product_id, batch)
            )
            assert self.seen(sample, shown) == batch

    def test_a_probe_finds_what_consumers_find(self, sample: OutputSample, context: OutputContext) -> None:
        """Kinds that say they can be probed; a kind that cannot says so, and is not asked."""
        port, config = self.kind(), self.config(sample.options)
        if not port.capabilities.probed:
            with pytest.raises(NotImplementedError):
                port.probe(config, context)
            return
        with pytest.raises(StoreError):
            port.probe(config, context)
        if port.capabilities.served:
            # It answers where ``dp serve`` runs, which is none of this suite's business.
            return
        self.projected(sample, context, publish_version(context.settings, context.product_id, 1))
        port.probe(config, context)

    def test_an_older_version_can_be_shown_again(self, sample: OutputSample, context: OutputContext) -> None:
        """As a rollback does, which commits the old files once more."""
        from dp_dagster.storage import Table

        publish_version(context.settings, context.product_id, 1)
        second = publish_version(context.settings, context.product_id, 2)
        self.projected(sample, context, second)
        rolled_back = Table(second.location).rollback(0, {"dp.run_id": "sample_run"})
        shown = self.projected(sample, context, rolled_back)
        assert self.seen(sample, shown) == 1

    def test_projecting_twice_is_harmless(self, sample: OutputSample, context: OutputContext) -> None:
        """The same rows at the same address, and nothing more on disk."""
        snapshot = publish_version(context.settings, context.product_id, 1)
        first = self.projected(sample, context, snapshot)
        before = _files(context)
        second = self.projected(sample, context, snapshot)
        assert second == first
        assert _files(context) == before
        assert self.seen(sample, second) == 1

    def test_the_address_is_known_beforehand(self, sample: OutputSample, context: OutputContext) -> None:
        """It is shown before the first projection, and stays."""
        config = self.config(sample.options)
        address = self.kind().address(config, context)
        assert address.strip()
        assert "\n" not in address
        shown = self.projected(sample, context, publish_version(context.settings, context.product_id, 1))
        assert shown.address == address == self.kind().address(config, context)
        assert json.loads(json.dumps(dict(shown.metadata))) == dict(shown.metadata)

    def test_examples(self, sample: OutputSample, context: OutputContext) -> None:
        """At least one, to be copied as it is."""
        examples = self.kind().examples(self.config(sample.options), context)
        assert examples
        for example in examples:
            assert isinstance(example, Example)
            assert example.language.strip()
            assert example.text.strip()
            if example.language == "python":
                compile(example.text, "example", "exec")

    def test_secrets_stay_secret(self, sample: OutputSample, context: OutputContext) -> None:
        """Neither address nor example nor fault shows them."""
        for secret in sample.secrets:
            config = self.config(secret.options)
            shown = [self.kind().address(config, context)]
            shown += [example.text for example in self.kind().examples(config, context)]
            shown += [
                f"{fault.message} {fault.fix}" for fault in self.kind().check(config, context.product_root)
            ]
            assert secret.text not in "\n".join(shown)

    def test_two_ports_of_a_product_do_not_meet(self, sample: OutputSample, context: OutputContext) -> None:
        """Nor do two major versions."""
        contexts = [
            context,
            replace(context, port_name="another_port"),
            replace(context, major=2),
        ]
        shown = [
            self.projected(
                sample,
                one,
                publish_version(one.settings, one.product_id, batch, major=one.major),
            )
            for batch, one in enumerate(contexts, start=1)
        ]
        # The second is of the same dataset, so the first shows what it showed unless it is projected again.
        assert self.seen(sample, shown[0]) in {1, 2}
        assert [self.seen(sample, one) for one in shown[1:]] == [2, 3]

    def test_a_reader_in_another_process_sees_whole_versions(
        self, sample: OutputSample, context: OutputContext
    ) -> None:
        """While versions are projected one after another, it reads without pause."""
        shown = self.projected(sample, context, publish_version(context.settings, context.product_id, 1))
        spawn = multiprocessing.get_context("spawn")
        answers: Any = spawn.Queue()
        stop = spawn.Event()
        reader = spawn.Process(
            target=_read_until, args=(sample.read, shown.address, dict(shown.metadata), stop, answers)
        )
        reader.start()
        try:
            assert answers.get(timeout=_PATIENCE_SECONDS) == "reading"
            for batch in range(2, sample.projections + 2):
                snapshot = publish_version(context.settings, context.product_id, batch)
                self.projected(sample, context, snapshot)
            stop.set()
            reads, faults, last = answers.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError("the reader died") from None
        finally:
            stop.set()
            reader.join(_PATIENCE_SECONDS)
            reader.kill()
        assert faults == []
        assert reads > 1
        assert last <= sample.projections + 1
        assert self.seen(sample, shown) == sample.projections + 1

    # -- helpers ----------------------------------------------------------------------------------------------

    def projected(self, sample: OutputSample, context: OutputContext, snapshot: Snapshot) -> Projected:
        """Project a version as the pipeline does: under the product's lock, the manifest written afterwards."""
        from dp_dagster.storage.manifest import Manifest, PortEntry, update_manifest

        options = {**sample.options, **(sample.place(context) if sample.place else {})}
        config = self.config(options)
        found: list[Projected] = []

        def change(manifest: Manifest) -> Manifest:
            entry = PortEntry(
                kind=self.kind.kind,
                dataset=context.dataset,
                area=snapshot.location.area,
                version=snapshot.version,
                published_at=snapshot.published_at.isoformat(),
                projected_at=snapshot.published_at.isoformat(),
                rows=snapshot.rows,
                columns=tuple(asdict(column) for column in context.contract.columns),
                description=context.description,
            )
            after = manifest.with_port(context.major, context.port_name, entry)
            found.append(self.kind().project(config, context, snapshot, after))
            return after

        update_manifest(context.settings.storage, context.product_id, change)
        (projected,) = found
        assert isinstance(projected, Projected)
        return projected

    def seen(self, sample: OutputSample, shown: Projected) -> int:
        """The number of the version that a consumer sees; fails unless it is one, whole."""
        return _batch_of(sample.read(shown.address, dict(shown.metadata)))


def _batch_of(rows: Sequence[tuple[Any, ...]]) -> int:
    batches = {row[0] for row in rows}
    assert len(batches) == 1, f"rows of the versions {sorted(batches)} are mixed"
    (batch,) = batches
    assert sorted(row[1] for row in rows) == list(range(ROWS)), f"{len(rows)} rows, not all of the version"
    assert all(row[2] == f'it\'s "{row[1]}"; {batch}' for row in rows)
    return int(batch)


def _read_until(
    read: Callable[[str, dict[str, Any]], Sequence[tuple[Any, ...]]],
    address: str,
    metadata: dict[str, Any],
    stop: Any,
    answers: Any,
) -> None:
    """What the reading process does."""
    reads, last = 0, 0
    faults: list[str] = []
    while not stop.is_set():
        try:
            batch = _batch_of(read(address, metadata))
            if batch < last:
                faults.append(f"version {batch} came after {last}")
            last = batch
        except Exception as error:  # noqa: BLE001 - told to the test
            faults.append(f"{type(error).__name__}: {error}")
        reads += 1
        if reads == 1:
            answers.put("reading")
        time.sleep(0)
    answers.put((reads, faults[:5], last))


def _files(context: OutputContext) -> set[str]:
    root = Path(context.settings.storage)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
