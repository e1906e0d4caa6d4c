"""Where a product stands, and what is asked for that is not there."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pipeline_helpers import Workshop, rows

from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.errors import (
    AuthorError,
    UsageError,
)
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset
from dp_dagster.pipeline import status as status_module
from dp_dagster.pipeline.status import dataset_statuses
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from pipeline_helpers import Product


# -- status -------------------------------------------------------------------------------------------------


def freshness(product: Product) -> tuple[str, str]:
    (status,) = dataset_statuses(product.resolved())
    (port,) = status.ports
    return port.freshness, port.freshness_reason


def test_freshness(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    product = workshop.product()
    assert freshness(product)[0] == "never published"
    session = product.session()
    land_input(session, "source")
    publish_dataset(session, "rows")
    # Published, and nobody can see it yet.
    assert freshness(product) == (
        "never published",
        "version 0 was published, and is not shown yet; run the product",
    )
    project_port(session, "vw_rows")
    assert freshness(product)[0] == "fresh"
    for age, expected in ((timedelta(hours=1), "fresh"), (timedelta(days=3), "late")):

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None, age: timedelta = age) -> Any:
                return datetime.now(tz) + age

        monkeypatch.setattr(status_module, "datetime", Later)
        assert freshness(product)[0] == expected


def test_a_newer_version_that_is_not_shown_makes_nothing_fresher(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    session = product.session()
    land_input(session, "source")
    publish_dataset(session, "rows")
    (status,) = dataset_statuses(product.resolved())
    assert status.version == 1
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    entry = manifest.port(1, "vw_rows")
    assert entry is not None
    assert entry.version == 0
    assert datetime.fromisoformat(entry.published_at) < datetime.now(UTC)


def test_the_lag_of_a_real_time_port(workshop: Workshop) -> None:
    port = {
        "name": "vw_rows",
        "type": "SQL",
        "dataset": "rows",
        "refresh_rate": {"every": "real-time", "maximum_lag": "PT1H"},
    }
    product = workshop.product(output_ports=[port])
    product.run()
    assert freshness(product)[0] == "fresh"
    source = product.root / "inputs/source.csv"
    source.write_text("name,amount\ncy,3\n")
    long_ago = time.time() - 7200
    os.utime(source, (long_ago, long_ago))
    assert freshness(product)[0] == "late"
    source.unlink()
    assert freshness(product)[0] == "not evaluated"
    assert "no file at inputs/source.csv" in freshness(product)[1]
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    product.run()
    assert freshness(product)[0] == "fresh"


def test_unknown_names(workshop: Workshop) -> None:
    session = workshop.product().session()
    for step, name in ((land_input, "nope"), (publish_dataset, "nope"), (project_port, "nope")):
        with pytest.raises(UsageError, match=r"nope is no .* of small; there are "):
            step(session, name)


def test_a_dataset_before_its_input(workshop: Workshop) -> None:
    with pytest.raises(
        AuthorError, match="small/input/source has no version yet; materialise it first: dp run small"
    ):
        publish_dataset(workshop.product().session(), "rows")


def test_evaluation_reads_the_candidate_alone(workshop: Workshop) -> None:
    """The verdict is on the candidate's files, not on what the table held before."""
    product = workshop.product()
    product.run()
    product.write({"inputs/source.csv": "name,amount\nada,5\n"})
    outcome = product.run().published
    assert outcome.verdict.rows_in == 1
    assert (
        evaluate(
            product.resolved().dataset("rows").contract, outcome.snapshot.files, product_root=product.root
        ).rows
        == 1
    )


def test_sessions_share_a_run_by_its_id(workshop: Workshop) -> None:
    product = workshop.product()
    session = product.session("shared")
    land_input(session, "source")
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    other = Session(product.resolved(), "shared")
    # The run goes on with what it reads already.
    again = land_input(other, "source")
    assert again.unchanged
    assert rows(again.pinned) == [("ada", 1), ("ben", 2)]
    published = publish_dataset(other, "rows").snapshot
    assert published is not None
    assert rows(published) == [("ada", 1), ("ben", 2)]
