"""Any order of publishing, holding, rolling back, cleaning and vacuuming, against a model in a few lines."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from store_helpers import CONTRACT, Publisher, data_files, number_of, verdict_on

from dp_dagster.errors import ConflictError, PublicationRefusedError, StoreError, UsageError
from dp_dagster.storage import Candidate, Table, dataset_table


@dataclass
class Published:
    """What the model knows of one version."""

    number: int
    content: str  # id of the candidate whose files it shows
    readable: bool = True


class StoreMachine(RuleBasedStateMachine):
    """The model: versions in order, the candidates that still have files, and which content is still there."""

    candidates = Bundle("candidates")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.table = Table(dataset_table(self.folder.name, "flights", 1, "flights"))
        self.publisher = Publisher(self.table)
        self.published: dict[int, Published] = {}
        self.waiting: dict[str, int] = {}
        self.gone: set[str] = set()
        self.next_number = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @property
    def newest(self) -> int | None:
        return max(self.published, default=None)

    @rule(target=candidates)
    def write(self) -> Candidate:
        self.next_number += 1
        candidate = self.publisher.candidate(self.next_number, rows=4)
        self.waiting[candidate.id] = self.next_number
        return candidate

    @rule(candidate=candidates)
    def publish(self, candidate: Candidate) -> None:
        """Whatever candidate there is: fresh, stale, published already, cleaned away."""

        def attempt() -> int:
            verdict = verdict_on(candidate)
            return self.table.publish(candidate, verdict, {}, contract_hash=CONTRACT).version

        known = [version for version, found in self.published.items() if found.content == candidate.id]
        if known:
            assert attempt() == min(known)
        elif candidate.id in self.gone:
            with pytest.raises(StoreError, match="is gone"):
                attempt()
        elif candidate.base_version != self.newest:
            with pytest.raises(ConflictError):
                attempt()
        else:
            version = attempt()
            assert version > (-1 if self.newest is None else self.newest)
            self.published[version] = Published(self.waiting.pop(candidate.id), candidate.id)

    @rule(candidate=candidates)
    def hold(self, candidate: Candidate) -> None:
        if candidate.id in self.waiting:
            verdict = verdict_on(candidate, decision="held", accepted_hash="")
            self.table.record_verdict(candidate, verdict)
            with pytest.raises(PublicationRefusedError, match="is held"):
                self.table.publish(candidate, verdict, {}, contract_hash=CONTRACT)

    @rule(candidate=consumes(candidates))
    def discard(self, candidate: Candidate) -> None:
        if any(found.content == candidate.id for found in self.published.values()):
            with pytest.raises(UsageError, match="was published"):
                self.table.discard(candidate)
        else:
            self.table.discard(candidate)
            self.waiting.pop(candidate.id, None)

    @rule(target=candidates)
    def write_and_publish(self) -> Candidate:
        candidate = self.write()
        self.publish(candidate)
        return candidate

    @rule(choice=st.integers(0, 9), unknown=st.sampled_from([False, False, False, True]))
    def roll_back(self, choice: int, unknown: bool) -> None:
        known = sorted(self.published)
        version = choice + 1000 if unknown or not known else known[choice % len(known)]
        target = self.published.get(version)
        newest = None if self.newest is None else self.published[self.newest]
        if target is None or newest is None or not target.readable or target.content == newest.content:
            with pytest.raises(UsageError):
                self.table.rollback(version, {})
        else:
            snapshot = self.table.rollback(version, {})
            self.published[snapshot.version] = Published(target.number, target.content)

    @rule(grace=st.sampled_from([0, 3600]))
    def clean(self, grace: int) -> None:
        removed = self.table.clean(grace)
        if grace:
            assert removed == []
        else:
            assert len(removed) == 2 * len(self.waiting)
            self.gone |= set(self.waiting)
            self.waiting = {}

    @rule(retention=st.sampled_from([0, 24]))
    def vacuum(self, retention: int) -> None:
        removed = self.table.vacuum(retention)
        kept = {} if self.newest is None else {self.published[self.newest].content}
        lost = {found.content for found in self.published.values() if found.readable} - set(kept)
        if retention:
            assert removed == []
            return
        assert len(removed) == 2 * len(lost)
        for found in self.published.values():
            found.readable = found.readable and found.content not in lost

    @invariant()
    def readers_see_the_newest_version_wholly(self) -> None:
        snapshot = self.table.newest()
        if self.newest is None:
            assert snapshot is None
        else:
            assert snapshot is not None
            assert snapshot.version == self.newest
            assert number_of(snapshot) == self.published[self.newest].number

    @invariant()
    def history_and_files_are_what_the_model_says(self) -> None:
        assert [entry.version for entry in self.table.history()] == sorted(self.published, reverse=True)
        readable = {found.content for found in self.published.values() if found.readable}
        assert len(data_files(self.table)) == 2 * (len(readable) + len(self.waiting))
        for version, found in self.published.items():
            if found.readable:
                assert number_of(self.table.snapshot(version)) == found.number


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStore = pytest.mark.slow(StoreMachine.TestCase)
