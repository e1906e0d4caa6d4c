"""What a database does wrong: it is down, slow, hangs up, changes its columns, or knows another password."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from dp_dagster.errors import (
    ContractViolationError,
    DescriptorError,
    InputError,
    OperatorError,
    SettingsError,
)
from dp_dagster.pipeline.inputs import raise_if_held

if TYPE_CHECKING:
    from input_helpers import Landed, Line, Shop

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

PASSWORD = "hunter2-and-more"
ROWS = (
    "create table prices (id int primary key, price int, note text)",
    "insert into prices select n, n * 10, 'note ' || n from generate_series(1, 5) n",
)


def declare(landed: Landed, url: str, **options: Any) -> None:
    landed.declare({"type": "SQL", "url": url, "table": "prices", "cursor": "id", **options})


@pytest.fixture
def login(shop: Shop) -> str:
    """A URL without login, of a server that asks this user for a password."""
    shop.run(
        "drop role if exists reader",
        f"create role reader login password '{PASSWORD}'",
        "grant usage on schema public to reader",
        *ROWS,
        "grant select on prices to reader",
    )
    with shop.engine.connect() as connection:
        file = connection.execute(sa.text("show hba_file")).scalar_one()
        with open(file) as stream:  # noqa: PTH123
            rules = stream.read()
        if "reader" not in rules:
            with open(file, "w") as stream:  # noqa: PTH123
                stream.write(f"host all reader 127.0.0.1/32 scram-sha-256\n{rules}")
        connection.execute(sa.text("select pg_reload_conf()"))
    return f"postgresql://127.0.0.1:{shop.engine.url.port}/{shop.engine.url.database}"


def test_credentials_are_never_seen(
    shop: Shop, landed: Landed, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(landed, login, credentials={"user": "${READER}", "password": "${READER_PASSWORD}"})
    with pytest.raises(SettingsError, match="environment variable READER is not set"):
        landed.land()
    monkeypatch.setenv("READER", "reader")
    monkeypatch.setenv("READER_PASSWORD", f"{PASSWORD}-is-wrong")
    with pytest.raises(OperatorError, match="password authentication failed") as raised:
        landed.land()
    assert PASSWORD not in str(raised.value)
    assert landed.said == []  # nobody tries again what only a person mends
    monkeypatch.setenv("READER_PASSWORD", PASSWORD)
    assert landed.land().pinned.rows == 5
    monkeypatch.setenv("READER_PASSWORD", "and another one")
    with pytest.raises(OperatorError, match="password authentication failed"):
        landed.land()
    assert len(landed.rows()) == 5
    assert PASSWORD not in landed.everything()
    shop.run(
        "revoke all on prices from reader", "revoke all on schema public from reader", "drop role reader"
    )


def test_a_url_from_the_environment_is_never_seen(
    landed: Landed, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", login.replace("//", f"//reader:{PASSWORD}@"))
    declare(landed, "${SHOP_URL}")
    assert landed.land().pinned.provenance["location"] == "${SHOP_URL} prices"
    assert PASSWORD not in landed.everything()
    monkeypatch.setenv("SHOP_URL", f"postgresql//reader:{PASSWORD}")
    with pytest.raises(SettingsError, match="url \\$\\{SHOP_URL\\} is no URL") as raised:
        landed.land()
    assert PASSWORD not in str(raised.value)


def test_a_password_in_the_file_is_refused(landed: Landed) -> None:
    declare(landed, "postgresql://ann:hunter2@h/db")
    with pytest.raises(DescriptorError, match="holds a password") as raised:
        landed.land()
    assert "hunter2" not in str(raised.value)


def test_a_server_that_is_down_is_asked_again(shop: Shop, landed: Landed, line: Line) -> None:
    shop.run(*ROWS)
    url = str(shop.engine.url.set(port=line.port).render_as_string(hide_password=False))
    declare(landed, url, retries=2)
    landed.land()
    line.close()
    with pytest.raises(OperatorError, match="onnection refused"):
        landed.land()
    assert len(landed.said) == 2
    assert "(2 of 2)" in landed.said[-1]
    assert len(landed.rows()) == 5


def test_a_line_that_breaks_in_the_middle(shop: Shop, landed: Landed, line: Line) -> None:
    shop.run(*ROWS)
    url = str(shop.engine.url.set(port=line.port).render_as_string(hide_password=False))
    declare(landed, url, batch_rows=1000)
    landed.land()
    shop.run("insert into prices select n, n, repeat('x', 100) from generate_series(6, 20000) n")
    line.cut_after = [None, 500_000, 300_000]
    landed.land()
    assert line.cut_after == []
    assert len(landed.said) == 2
    assert "trying again" in landed.said[0]
    assert landed.rows("count(*), count(distinct id), max(id)") == [(20000, 20000, 20000)]


def test_a_server_that_falls_silent(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    landed.declare(
        {
            "type": "SQL",
            "url": shop.url,
            "query": "select *, pg_sleep(10) from prices",
            "timeout": 0.3,
            "retries": 1,
        }
    )
    with pytest.raises(OperatorError, match="statement timeout"):
        landed.land()
    assert len(landed.said) == 1


def test_a_line_that_is_dead(shop: Shop, landed: Landed, line: Line) -> None:
    shop.run(*ROWS)
    url = str(shop.engine.url.set(port=line.port).render_as_string(hide_password=False))
    declare(landed, url, timeout=1, batch_rows=1000)
    landed.land()
    shop.run("insert into prices select n, n, repeat('x', 100) from generate_series(6, 20000) n")
    line.cut_after, line.silent = [None, 500_000], True
    landed.land()
    assert len(landed.said) == 1
    assert "no answer in 1 s; trying again" in landed.said[0]
    assert landed.rows("count(*), count(distinct id)") == [(20000, 20000)]


# -- columns that change -------------------------------------------------------------------------------------------

LATER = "insert into prices (id, price) values (6, 60)"


def test_changed_columns_stop(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    declare(landed, shop.url)
    landed.land()
    shop.run(
        "alter table prices alter price type text",
        "alter table prices drop note",
        "alter table prices add vat numeric(4,2)",
        "insert into prices values (6, 'free', 1.5)",
    )
    with pytest.raises(InputError) as raised:
        landed.land()
    text = str(raised.value)
    assert "column price was int32 and is string (free)" in text
    assert "column note (string) is gone" in text
    assert "column vat (decimal(4,2)) is new" in text
    assert "on_schema_change" in text
    assert len(landed.rows()) == 5
    assert landed.state["cursor"]["value"] == "5"
    declare(landed, shop.url, on_schema_change="evolve")
    outcome = landed.land()
    assert len(outcome.changes) == 3
    assert [(column.name, column.type) for column in landed.newest.columns] == [
        ("id", "int32"),
        ("price", "string"),
        ("note", "string"),
        ("vat", "decimal(4,2)"),
    ]
    assert landed.rows("*", "id")[-2:] == [
        (5, "50", "note 5", None),
        (6, "free", None, Decimal("1.50")),
    ]
    assert landed.state["cursor"]["value"] == "6"
    assert "column vat (decimal(4,2)) is new" in landed.newest.metadata["dp.schema_changes"]
    assert landed.land().unchanged


def test_rows_that_do_not_fit_are_set_aside(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    declare(landed, shop.url, on_schema_change="quarantine", mode="merge", key=["id"])
    landed.land()
    shop.run(
        "alter table prices alter price type text",
        "alter table prices add vat int",
        "insert into prices values (6, 'free', 'a', 1), (7, '70', 'b', 2), (8, '1.5', 'c', 3)",
    )
    outcome = landed.land()
    assert outcome.quarantined_rows == 2
    assert landed.rows("id, price", "id")[-2:] == [(5, 50), (7, 70)]
    (first, second) = landed.set_aside()
    assert first[0] == ["schema:price"]
    assert first[1] == "price is no int32, which it was when it was landed before"
    assert '"price":"free"' in first[2]
    assert '"price":"1.5"' in second[2]
    assert landed.state["cursor"]["value"] == "8"
    assert landed.land().unchanged
    assert len(landed.set_aside()) == 2


def test_the_contract_judges_what_would_be_seen(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    contract = {
        "contracts/rows.py": "import pandera.polars as pa\n\n"
        'Rows = pa.DataFrameSchema({"price": pa.Column("int32", pa.Check.ge(0))}, unique=["price"])\n'
    }
    options = {
        "type": "SQL",
        "url": shop.url,
        "table": "prices",
        "cursor": "id",
        "contract": "contracts/rows.py:Rows",
    }
    landed.declare(options, contract)
    landed.land()
    shop.run("insert into prices values (6, 10, 'as 1'), (7, -1, 'bad'), (8, 80, ''), (9, 90, '')")
    outcome = landed.land()
    with pytest.raises(ContractViolationError, match="2 of 4 rows break 2 rules"):
        raise_if_held(outcome, "small")
    assert len(landed.rows()) == 5
    assert landed.state["cursor"]["value"] == "5"
    landed.declare({**options, "quarantine": {"max_invalid": "50%"}})
    assert landed.land().quarantined_rows == 2
    assert landed.rows("id") == [(1,), (2,), (3,), (4,), (5,), (8,), (9,)]
    assert landed.state["cursor"]["value"] == "9"
    shop.run("insert into prices values (10, 100, 'good')")
    landed.land()
    assert landed.rows("id")[-1] == (10,)


def test_another_contract_judges_what_is_there(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    options = {
        "type": "SQL",
        "url": shop.url,
        "table": "prices",
        "cursor": "id",
        "contract": "contracts/rows.py:Rows",
    }
    text = 'import pandera.polars as pa\n\nRows = pa.DataFrameSchema({"price": pa.Column("int32", pa.Check.lt(%s))})\n'
    landed.declare(options, {"contracts/rows.py": text % 100})
    landed.land()
    landed.declare(options, {"contracts/rows.py": text % 30})
    assert landed.land().pinned is None
    landed.declare(options, {"contracts/rows.py": text % 60})
    outcome = landed.land()
    assert not outcome.unchanged
    assert outcome.verdict is not None
    assert outcome.verdict.rows_in == 5
    assert landed.land().unchanged


def test_another_configuration_starts_over(shop: Shop, landed: Landed) -> None:
    shop.run(*ROWS)
    declare(landed, shop.url)
    landed.land()
    declare(landed, shop.url, columns=["id", "price"])
    landed.land()
    assert landed.said == [
        "small/input/source: its configuration has changed since version 0; everything is read again"
    ]
    assert landed.rows("*", "id")[0] == (1, 10)
    declare(landed, shop.url, columns=["id", "price"], timeout=5, retries=1)
    assert landed.land().unchanged
