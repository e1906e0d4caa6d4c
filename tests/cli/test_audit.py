"""``dp audit``: reading the log, proving it, anchoring it."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from dp_dagster.access.log import Access, AccessLog
from dp_dagster.cli.app import run
from dp_dagster.cli.moments import moment
from dp_dagster.errors import UsageError
from dp_dagster.records import Record, Records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import TestProject

    Ran = tuple[int, str, str]
    Dp = Callable[..., Ran]


@pytest.fixture
def dp(project: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Dp:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "200")

    def ran(*arguments: str) -> Ran:
        code = run(["audit", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


@pytest.fixture
def written(project: TestProject) -> list[Record]:
    records = Records(f"sqlite:///{project.storage}/records.db")
    return [
        records.append(
            "published", "shops", "v1/dataset/totals", "user:ada", "r1", {"version": 1, "rows": 3}
        ),
        records.append(
            "refused", "shops", "v1/dataset/totals", "schedule:nightly", "r2", {"reason": "no owner"}
        ),
        records.append("published", "flights", "v1/dataset/flights", "user:ben", "r3", {"version": 7}),
    ]


def ids(output: str) -> list[int]:
    return [json.loads(line)["id"] for line in output.splitlines()]


def test_the_log_newest_first(dp: Dp, written: list[Record]) -> None:
    code, output, _ = dp()
    assert code == 0
    lines = [line for line in output.splitlines() if "v1/dataset" in line]
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "user:ada" in lines[2]
    assert "version 1, rows 3" in lines[2]
    assert "reason no owner" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--json",), [1, 2, 3]),
        (("shops", "--json"), [1, 2]),
        (("log", "shops", "--json"), [1, 2]),
        (("--actor", "user:ben", "--json"), [3]),
        (("--kind", "published", "--limit", "1", "--json"), [3]),
        (("--kind", "published", "--json"), [1, 3]),
        (("--since", "1h", "--json"), [1, 2, 3]),
        (("--until", "1h", "--json"), []),
        (("--since", "2026-01-01", "--until", "2026-01-02", "--json"), []),
        (("nothing", "--json"), []),
    ],
)
def test_what_is_asked_for(
    dp: Dp, written: list[Record], arguments: tuple[str, ...], found: list[int]
) -> None:
    code, output, _ = dp(*arguments)
    assert (code, ids(output)) == (0, found)


def test_wrong_words_are_named(dp: Dp, written: list[Record]) -> None:
    code, _, complaint = dp("--kind", "sold")
    assert code == 2
    assert "--kind sold: is no kind of record; choices: audited, published" in complaint
    code, _, complaint = dp("--since", "yesterday")
    assert code == 2
    assert "--since yesterday: is no point in time; write 2026-11-01" in complaint
    assert dp("shops", "flights")[0] == 2
    assert dp("nothing")[1] == "no record matches\n"


def test_a_log_that_is_whole_and_one_that_is_not(
    dp: Dp, written: list[Record], project: TestProject, tmp_path: Path
) -> None:
    anchors = tmp_path / "anchors.jsonl"
    code, output, _ = dp("anchor", "--file", str(anchors))
    assert code == 0
    assert json.loads(anchors.read_text()) | {"at": ""} == {"count": 3, "hash": written[2].hash, "at": ""}
    assert json.loads(dp("anchor")[1])["count"] == 3
    code, output, _ = dp("verify", "--anchor", str(anchors))
    assert code == 0
    assert output == f"3 records, each as it was written. The anchor holds. Head: {written[2].hash}\n"
    connection = sqlite3.connect(project.storage / "records.db")
    connection.execute("drop trigger dp_records_no_update")
    connection.execute("update dp_records set actor = 'user:eve' where id = 2")
    connection.commit()
    connection.close()
    code, output, complaint = dp("verify")
    assert (code, output, complaint) == (1, "", "record 2 was changed after it was written\n")
    code, output, _ = dp("verify", "--json")
    found = json.loads(output)
    assert (code, found["whole"], found["problems"][0]["first"]) == (1, False, 2)
    assert dp("verify", "--anchor", str(tmp_path / "none"))[0] == 2


def test_a_log_without_records_proves_nothing(dp: Dp) -> None:
    code, output, _ = dp("verify")
    assert code == 0
    assert output == "there are no records yet\n"


def test_points_in_time() -> None:
    assert moment("2026-11-01", "--since").isoformat() == "2026-11-01T00:00:00+00:00"
    assert moment("2026-11-01T06:30+02:00", "--since").isoformat() == "2026-11-01T06:30:00+02:00"
    assert moment("2h", "--since") < moment("30m", "--since") < moment("5s", "--since")
    for wrong in ("", "d", "7y", "2026-13-01", "999999w"):
        with pytest.raises(UsageError, match="is no point in time"):
            moment(wrong, "--since")


def test_accesses_are_proven_with_the_records(dp: Dp, written: list[Record], project: TestProject) -> None:
    """An access that was edited is named, by the record that sealed its batch."""
    records = Records(f"sqlite:///{project.storage}/records.db")
    log = AccessLog(records)
    log.record(Access(0.0, "shops", "api", "totals", 1, "ada", None, "api_key", ("shop",), 3, 200, 1.0))
    assert log.flush()
    assert dp("verify")[0] == 0
    with sqlite3.connect(project.storage / "records.db") as connection:
        connection.execute("update dp_accesses set subject = 'ben'")
    connection.close()
    code, _, complaint = dp("verify")
    assert code == 1
    assert "(record 4), were changed, removed or added after they were written" in complaint
    code, output, _ = dp("verify", "--json")
    said = json.loads(output)
    assert (code, said["whole"], said["problems"], len(said["accesses"])) == (1, False, [], 1)
