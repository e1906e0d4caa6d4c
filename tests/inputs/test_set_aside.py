"""Rows of an input that were set aside are shown by ``dp quarantine``, and nothing of them that may be a secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dp_dagster.cli import main

if TYPE_CHECKING:
    import pytest
    from input_helpers import Landed

CONTRACT = """\
import pandera.polars as pa

Rows = pa.DataFrameSchema(
    {
        "id": pa.Column(int),
        "name": pa.Column(str, metadata={"classification": "pii"}),
        "price": pa.Column(int, pa.Check.ge(0)),
    }
)
"""


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    code = 0
    try:
        main(["quarantine", "small.input.source", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_dp_quarantine(
    landed: Landed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = landed.root / "products/small/in"
    options = {"type": "FILES", "path": "in/*.csv", "mode": "append", "on_schema_change": "quarantine"}
    landed.declare(options, {"in/1.csv": "id,name,price\n1,ada,5\n"})
    landed.land()
    monkeypatch.chdir(landed.root)
    assert shown(capsys) == "no rows of small.input.source are in quarantine\n"
    (folder / "2.csv").write_text("id,name,price\n2,ben,free\n3,cy,7\n")
    assert landed.land().quarantined_rows == 1
    assert landed.rows("id, price") == [(1, 5), (3, 7)]
    (row,) = json.loads(shown(capsys, "--json"))
    assert row["reason"] == "price is no int64, which it was when it was landed before"
    # Without a contract nobody knows which values may be seen.
    assert set(row["row"].values()) == {"•••"}
    assert json.loads(shown(capsys, "--json", "--unmasked"))[0]["row"]["price"] == "free"

    options = {**options, "contract": "contracts/rows.py:Rows", "quarantine": {"max_invalid": "50%"}}
    landed.declare(options, {"contracts/rows.py": CONTRACT})
    (folder / "3.csv").write_text("id,name,price\n4,dora,-1\n5,ed,9\n")
    (folder / "2.csv").unlink()
    landed.land()
    (row,) = json.loads(shown(capsys, "--json"))
    assert row["row"] == {"id": 4, "name": "•••", "price": -1}
    assert "price=-1" in shown(capsys)
    assert "dora" not in shown(capsys)
