"""Publishing into a PostgreSQL server: what readers see meanwhile, and what is left when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from dp_dagster.errors import AuthorError, LockedError, StoreError
from dp_dagster.testing.served_stand import people

if TYPE_CHECKING:
    from sql_helpers import Shop

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

PUBLICATIONS = 50
VIEW = "public_data.people"
ANYBODY: list[dict[str, Any]] = [{"anyone": True, "unmask": ["name", "email", "salary"]}]


def version(number: int, rows: int = 300) -> pa.Table:
    """Rows of which every one carries the version's number."""
    from decimal import Decimal

    table = people(5)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "name": [f'it\'s "{number}",\n\\.' for _ in range(rows)],
            "email": pa.array([None if row % 2 else "" for row in range(rows)], pa.string()),
            "salary": pa.array([Decimal(number)] * rows, pa.decimal128(10, 2)),
            "region": ["north"] * rows,
            "joined": pa.array([table["joined"][0].as_py()] * rows, pa.date32()),
        }
    )


def test_readers_during_fifty_publications(shop: Shop) -> None:
    """None fails or waits; each answer is of one version, whole; none goes back; an open transaction keeps its own."""
    shop.access = ANYBODY
    shop.run(version(1))
    oid = shop.ask(f"select '{VIEW}'::regclass::oid")
    query = f"select count(*), min(salary), max(salary), count(distinct id), count(email) from {VIEW}"
    stop = threading.Event()
    faults: list[str] = []
    reads = [0, 0, 0]

    def read(number: int) -> None:
        last = 0
        # One reader as libraries do it, one with a prepared statement, one in transactions that see one state.
        # None of them waits for a publication: who had to for as long as this would be refused.
        options = "-c lock_timeout=2000"
        with psycopg.connect(
            f"postgresql://tester@{shop.place}", autocommit=True, options=options
        ) as connection:
            while not stop.is_set():
                try:
                    if number == 2:
                        with connection.transaction():
                            connection.execute("set transaction isolation level repeatable read")
                            first = connection.execute(query).fetchone()
                            time.sleep(0.02)
                            second = connection.execute(query).fetchone()
                        if first != second:
                            faults.append(f"a transaction saw {first}, then {second}")
                        answer = second
                    else:
                        answer = connection.execute(query, prepare=number == 1).fetchone()
                except psycopg.Error as error:
                    faults.append(str(error))
                    continue
                # A server of its own would not share two processors with its readers.
                time.sleep(0.002)
                assert answer is not None
                count, low, high, distinct, emails = answer
                if (count, distinct, emails) != (300, 300, 150) or low != high or low < last:
                    faults.append(f"{answer} after {last}")
                last = low or 0
                reads[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    # Somebody who sits on the first version all the while, and must not hold up anybody.
    with psycopg.connect(f"postgresql://tester@{shop.place}") as sitting:
        sitting.execute("set transaction isolation level repeatable read")
        before = sitting.execute(query).fetchone()
        for number in range(2, PUBLICATIONS + 2):
            shop.run(version(number))
        assert sitting.execute(query).fetchone() == before
    stop.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert min(reads) > 10
    assert shop.ask(f"select min(salary) from {VIEW}") == [(PUBLICATIONS + 1,)]
    assert shop.ask(f"select '{VIEW}'::regclass::oid") == oid
    shop.project()
    shop.project()
    assert len(shop.tables()) == 4, "the table of generations, and one generation with its two parts"


def test_a_transaction_that_begins_before_and_reads_after(shop: Shop) -> None:
    """It sees the version of its beginning, also where it had not read the view before."""
    shop.access = ANYBODY
    shop.run(version(1))
    with psycopg.connect(f"postgresql://tester@{shop.place}") as sitting:
        sitting.execute("set transaction isolation level repeatable read")
        sitting.execute("select 1 from pg_class limit 1")
        for number in (2, 3, 4):
            shop.run(version(number))
        assert sitting.execute(f"select min(salary) from {VIEW}").fetchone() == (1,)


def test_names_keys_comments_and_values(shop: Shop) -> None:
    shop.access = None
    outcome = shop.run()
    assert outcome.address == shop.port["endpoint"]
    assert outcome.metadata == {"server": shop.place.partition("/")[0], "view": VIEW}
    assert shop.ask(f"select name, email from {VIEW} order by id") == [(row[1], row[2]) for row in rows()]
    (comment,) = shop.ask(f"select obj_description('{VIEW}'::regclass)")
    assert comment == ('It\'s "all"; -- (version 0)',)
    comments = shop.ask(
        f"select col_description('{VIEW}'::regclass, n) from generate_series(1, 6) n order by n"
    )
    assert comments[1] == ("Full name.",)
    kinds = shop.ask(
        "select data_type from information_schema.columns where table_name = 'people' order by 1"
    )
    assert kinds == [("bigint",), ("date",), ("numeric",), ("text",), ("text",), ("text",)]
    assert shop.ask(
        "select count(*) from pg_constraint c join pg_class t on t.oid = conrelid where contype = 'p' "
        "and connamespace = 'dp_shop'::regnamespace and relname like '%rows'"
    ) == [(1,)]
    shop.probe()


def rows() -> list[tuple[Any, ...]]:
    from dp_dagster.testing.access import ROWS

    return list(ROWS)


def test_columns_that_come_and_go(shop: Shop) -> None:
    shop.access = None
    shop.run()
    shop.ask("create role reporter; grant usage on schema public_data to reporter")
    shop.ask(f"grant select on {VIEW} to reporter; grant select (id, email) on {VIEW} to public")
    oid = shop.ask(f"select '{VIEW}'::regclass::oid")
    try:
        wider = people(5).append_column("more", pa.array(["x"] * 5))
        shop.contract += '    more: str = pa.Field(nullable=True, description="More.")\n'
        shop.run(wider)
        assert shop.ask(f"select more from {VIEW}") == [("x",)] * 5
        assert shop.ask(f"select '{VIEW}'::regclass::oid") == oid, "a column more, and the same view"
        shop.contract = shop.contract.replace("    region: str", "    area: str")
        shop.run(wider.rename_columns(["id", "name", "email", "salary", "area", "joined", "more"]))
        assert shop.ask(f"select area from {VIEW} where id = 1") == [("north",)]
        assert shop.ask(f"select has_table_privilege('reporter', '{VIEW}', 'select')") == [(True,)]
        shop.ask(f"create view public_data.mine as select area from {VIEW}")
        shop.contract = shop.contract.replace("    area: str", "    place: str")
        with pytest.raises(StoreError, match="other views depend on it"):
            shop.run(wider.rename_columns(["id", "name", "email", "salary", "place", "joined", "more"]))
        assert shop.ask(f"select area from {VIEW} where id = 1") == [("north",)]
        shop.ask("drop view public_data.mine")
        shop.project()
        assert shop.ask(f"select place from {VIEW} where id = 1") == [("north",)]
        assert len(shop.tables()) == 4
    finally:
        shop.ask("drop owned by reporter; drop role reporter")


def test_an_open_transaction_delays_other_columns_and_nobody_else(shop: Shop) -> None:
    shop.access = None
    shop.settings = shop.settings.model_copy(update={"lock_timeout": 1.0})
    shop.run()
    shop.contract += "    more: str = pa.Field(nullable=True)\n"
    with psycopg.connect(f"postgresql://tester@{shop.place}") as sitting:
        sitting.execute(f"select from {VIEW}")
        with pytest.raises(LockedError, match="keeps a transaction open"):
            shop.run(people(5).append_column("more", pa.array(["x"] * 5)))
        assert shop.ask(f"select count(*) from {VIEW}") == [(5,)]
    shop.project()
    assert shop.ask(f"select more from {VIEW} limit 1") == [("x",)]


def test_a_killed_load_leaves_the_last_good_version(shop: Shop) -> None:
    """And nothing to clean up that the next run would not."""
    shop.access = ANYBODY
    shop.run(version(1))
    shop.publish(version(2, rows=200_000))
    before = shop.tables()
    text = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import dp_dagster.ports.outputs.sql.postgresql.publication as publication\n"
        "from dp_dagster.pipeline import Session, project_port; from dp_dagster.resolve import resolve\n"
        "from dp_dagster.settings import Settings\n"
        "made = publication._csv\n"
        "def slowly(batch):\n"
        "    print('loading', flush=True); import time; time.sleep(0.2); return made(batch)\n"
        "publication._csv = slowly\n"
        "settings = Settings(project_root=Path(sys.argv[2]))\n"
        "project_port(Session(resolve(settings.project_root / 'products/shop', settings), 'killed'), 'people_sql')\n"
    )
    command = [sys.executable, "-c", text, str(Path(__file__).parent), str(shop.folder)]
    loader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert loader.stdout is not None
    for _ in range(3):
        assert loader.stdout.readline() == "loading\n"
    os.kill(loader.pid, signal.SIGKILL)
    loader.wait()
    loader.stdout.close()
    assert shop.ask(f"select count(*), max(salary) from {VIEW}") == [(300, 1)]
    deadline = time.monotonic() + 20
    while shop.ask("select count(*) from pg_stat_activity where application_name = 'dp_dagster'") != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert shop.tables() == before
    shop.project()
    assert shop.ask(f"select count(*), max(salary) from {VIEW}") == [(200_000, 2)]


def test_what_somebody_did_by_hand_is_put_right(shop: Shop) -> None:
    shop.access = ANYBODY
    shop.run(version(1))
    shop.ask(f"drop view {VIEW}")
    assert "had been dropped" in shop.project().metadata["differs"]
    shop.ask(
        f"create or replace view {VIEW} as select 1::bigint as id, 'x' as name, '' as email, "
        "1::numeric(10,2) as salary, '' as region, current_date as joined"
    )
    assert "had been changed" in shop.project().metadata["differs"]
    assert shop.ask(f"select count(*) from {VIEW}") == [(300,)]
    (parent,) = shop.ask("select parent from dp_shop.ports")
    shop.ask(f'alter table dp_shop."{parent[0]}" add column extra text')
    shop.project()
    assert shop.ask(f"select count(*) from {VIEW}") == [(300,)]
    (parent,) = shop.ask("select parent from dp_shop.ports")
    shop.ask(f'drop table dp_shop."{parent[0]}" cascade')
    with pytest.raises(psycopg.errors.UndefinedTable):
        shop.ask(f"select count(*) from {VIEW}")
    with pytest.raises(StoreError):
        shop.probe()
    shop.project()
    assert shop.ask(f"select count(*) from {VIEW}") == [(300,)]
    assert "differs" not in shop.project().metadata
    shop.ask("create role nosy; grant usage on schema dp_shop to nosy")
    assert "is open to nosy" in shop.project().metadata["differs"]
    shop.ask("drop owned by nosy; drop role nosy")


def test_what_is_not_ours_is_left_alone(shop: Shop) -> None:
    shop.ask("create schema public_data; create table public_data.people (x int)")
    with pytest.raises(StoreError, match="no port of this product made it"):
        shop.run()
    shop.ask("drop table public_data.people; create view public_data.people as select 1 as x")
    with pytest.raises(StoreError, match="no port of this product made it"):
        shop.project()
    assert shop.ask("select x from public_data.people") == [(1,)]


def test_values_that_the_server_cannot_hold_are_named_before_anything_is_written(shop: Shop) -> None:
    shop.access = None
    shop.run()
    before = shop.ask("select version from dp_shop.ports")
    table = people(5)
    at = table.schema.get_field_index("name")
    broken = table.set_column(at, "name", pa.array(["a\0b", "x", None, "y\0", "z"]))
    with pytest.raises(AuthorError, match=r"2 values of column name \(string\): they hold the character NUL"):
        shop.run(broken)
    at = table.schema.get_field_index("joined")
    days = pa.array([0, 2_147_000_000, None, 5, -3_000_000_000 // 2], pa.int32()).cast(pa.date32())
    with pytest.raises(AuthorError, match=r"column joined \(date\): they go from .*BC.* to 5880256"):
        shop.run(table.set_column(at, "joined", days))
    assert shop.ask("select version from dp_shop.ports") == before
    days = pa.array([-1_000_000, 2_000_000_000, None, 0, -719_162], pa.int32()).cast(pa.date32())
    shop.run(table.set_column(at, "joined", days))
    assert shop.ask(f"select joined::text from {VIEW} order by id") == [
        ("0769-02-04 BC",),
        ("5477784-01-06",),
        (None,),
        ("1970-01-01",),
        ("0001-01-01",),
    ]


def test_types_that_the_server_does_not_have_are_named() -> None:
    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.outputs.sql.postgresql.types import HOLDING

    columns = [
        Column("tags", "list<string>"),
        Column("both", "struct<a: int64>"),
        Column("é" * 40, "string"),
        Column("XMin", "int64"),
        Column("fine", "decimal(38,0)"),
    ]
    with pytest.raises(AuthorError) as caught:
        HOLDING.check("shop/v1/x", None, columns)  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    assert [line.partition("column ")[2].partition(":")[0] for line in lines] == [
        "tags",
        "both",
        "é" * 40,
        "XMin",
    ]
    assert "list<string>" in lines[0]


def test_two_ports_at_one_place(shop: Shop) -> None:
    shop.access = None
    shop.run()
    shop.port = {**shop.port, "name": "other_sql"}
    from dp_dagster.pipeline import Session, project_port

    # The first is no port of the product any more, so the place is free.
    project_port(Session(shop.product(), "tests"), "other_sql")
    assert shop.ask("select port from dp_shop.ports") == [("shop/v1/other_sql",)]


def test_somebody_else_is_publishing(shop: Shop) -> None:
    shop.settings = shop.settings.model_copy(update={"lock_timeout": 0.3})
    shop.run()
    with shop.signed_in() as other:
        other.execute("select pg_advisory_lock(hashtextextended('dp_dagster:dp_shop:public_data:people', 0))")
        with pytest.raises(LockedError, match="somebody else is publishing into"):
            shop.project()
