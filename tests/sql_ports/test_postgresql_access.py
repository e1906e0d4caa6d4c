"""Who sees what of a view in PostgreSQL: as the table of consumers says, and no way around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from dp_dagster.testing.access import ACCESS, COLUMNS, CONSUMERS, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sql_helpers import Shop

    from dp_dagster.testing.access import Consumer

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

ROLES = sorted({role for grant in ACCESS for role in [grant.get("role")] if role} | {"cook"})


@pytest.fixture(scope="module")
def logins(postgresql_server: str) -> Iterator[dict[str, str]]:
    """A login for each consumer, member of the consumer's roles."""
    address = f"{postgresql_server.replace('+psycopg', '')}/postgres"
    found: dict[str, str] = {}
    with psycopg.connect(address, autocommit=True) as server:
        for role in ROLES:
            server.execute(SQL("create role {}").format(Identifier(role)))
        for number, consumer in enumerate(CONSUMERS):
            is_subject = consumer.identity.subject == "auditor"
            found[consumer.name] = login = "auditor" if is_subject else f"login_{number}"
            server.execute(SQL("create role {} login").format(Identifier(login)))
            for role in consumer.identity.roles:
                server.execute(SQL("grant {} to {}").format(Identifier(role), Identifier(login)))
        yield found
        for name in (*found.values(), *ROLES):
            server.execute(SQL("drop role {}").format(Identifier(name)))


@pytest.fixture
def people(shop: Shop, logins: dict[str, str]) -> Iterator[Shop]:
    """The port with all rows; what each login is said to be stands in the table of claims."""
    shop.run()
    for consumer in CONSUMERS:
        claims: list[tuple[str, Any]] = [("scope", scope) for scope in consumer.identity.scopes]
        for name, value in consumer.identity.claims:
            claims += [(name, one) for one in (value if isinstance(value, tuple) else (value,))]
        for name, value in claims:
            shop.ask(
                "insert into dp_shop.claims values (%s, %s, %s)",
                values=(logins[consumer.name], name, str(value)),
            )
    yield shop
    shop.ask("drop schema dp_shop cascade; drop schema if exists public_data cascade")


def rows_of(shop: Shop, login: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return shop.ask(f"select {', '.join(columns)} from public_data.people order by id", login)


def test_each_consumer_sees_what_the_table_says(people: Shop, logins: dict[str, str]) -> None:
    for consumer in CONSUMERS:
        login = logins[consumer.name]
        if consumer.sees_something:
            assert rows_of(people, login, consumer.columns) == list(consumer.rows), consumer.name
            (count,) = people.ask("select count(*) from public_data.people", login)
            assert count == (len(consumer.rows),), consumer.name
            continue
        try:
            assert rows_of(people, login, COLUMNS) == [], consumer.name
        except psycopg.errors.InsufficientPrivilege:
            continue
        # They have a role that may read, and nothing of what its grants ask for besides.
        assert consumer.identity.roles & set(ROLES), consumer.name
    for consumer in CONSUMERS:
        for column in consumer.hidden if consumer.name in {"reader", "matcher", "auditor"} else ():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                people.ask(f"select {column} from public_data.people", logins[consumer.name])


def test_one_role_at_a_time_can_be_taken_on(people: Shop, logins: dict[str, str]) -> None:
    """``set role`` gives what the role gives, and a login that inherits nothing has nothing by itself."""
    people.ask("create role gateway login noinherit in role analyst, hr")
    try:
        with people.signed_in("gateway") as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select id from public_data.people")
            connection.execute("set role analyst")
            (names,) = ({row[0] for row in connection.execute("select name from public_data.people")},)
            assert names == {"•••"}
            connection.execute("set role hr")
            names = {row[0] for row in connection.execute("select name from public_data.people")}
            assert names == {row[1] for row in ROWS}
    finally:
        people.ask("drop role gateway")


LEAK = """
create function pg_temp.seen({kind}) returns boolean language plpgsql cost 0.0000001 as
$$ begin raise warning 'seen %', $1; return true; end $$
"""


def consumer_named(name: str) -> Consumer:
    return next(one for one in CONSUMERS if one.name == name)


def test_functions_of_a_reader_see_what_the_reader_sees(people: Shop, logins: dict[str, str]) -> None:
    """A cheap function that tells what it is called with is never called with more."""
    told: list[str] = []
    for name in ("analyst", "manager of the north"):
        consumer = consumer_named(name)
        with people.signed_in(logins[name]) as connection:
            connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
            for kind, columns in (
                ("text", ("name", "email", "region")),
                ("numeric", ("salary",)),
                ("bigint", ("id",)),
            ):
                connection.execute(LEAK.format(kind=kind))
                for column in columns:
                    told.clear()
                    connection.execute(
                        f"select count(*) from public_data.people where pg_temp.seen({column}) and id > 0"
                    )
                    place = consumer.columns.index(column)
                    allowed = {
                        f"seen {'<NULL>' if row[place] is None else row[place]}" for row in consumer.rows
                    }
                    assert set(told) <= allowed, (name, column)
                    assert len(told) == len(consumer.rows), (name, column)


def test_errors_and_plans_tell_nothing_of_what_is_hidden(people: Shop, logins: dict[str, str]) -> None:
    north = logins["manager of the north"]
    # A division by zero for a hidden row would tell that it is there.
    assert people.ask("select count(*) from public_data.people where 1 / (id - 3) <> 7", north) == [(2,)]
    assert people.ask("select count(*) from public_data.people where 1 / (salary - 9000) > 0", north) == [
        (0,)
    ]
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
        people.ask("select name::int from public_data.people", logins["analyst"])
    assert "•••" in str(caught.value)
    plans = [
        str(people.ask(f"explain select * from public_data.people where {condition}", north))
        for condition in (
            "region = 'south'",
            "region = 'nowhere at all'",
            "joined = '1999-12-31'",
            "joined = '1999-12-30'",
        )
    ]
    guesses = {
        plan.replace("south", "")
        .replace("nowhere at all", "")
        .replace("1999-12-31", "")
        .replace("1999-12-30", "")
        for plan in plans
    }
    assert len(guesses) == 2, "one for each column: what is guessed does not depend on the value"
    assert people.ask("select count(*) from pg_stats where schemaname = 'dp_shop'", north) == [(0,)]


def test_what_is_behind_the_view_cannot_be_reached(people: Shop, logins: dict[str, str]) -> None:
    for name in ("hr", "analyst", "stranger"):
        for table in (*people.tables(), "claims", "ports"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                people.ask(f'select * from dp_shop."{table}"', logins[name])
    definition = str(
        people.ask("select definition from pg_views where viewname = 'people'", logins["stranger"])
    )
    # The text of a view is shown to everybody, so the secret of the hashes, or what follows from it, is not in it.
    assert "sha256" not in definition
    assert "x5" not in definition
    hidden = {str(row[1]) for row in ROWS if len(row[1]) > 1} | {"ada@example.com"}
    assert not any(value in definition for value in hidden)


def test_values_that_nobody_is_shown_are_not_on_the_server(people: Shop) -> None:
    people.access = [{"role": "analyst"}, {"role": "reader", "columns": ["id", "joined"]}]
    people.project()
    (parent,) = (name for name in people.tables() if name.endswith("_rows"))
    columns = {
        row[0]
        for row in people.ask(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0",
            values=(f'dp_shop."{parent}"',),
        )
    }
    assert columns == {"id", "region", "joined", "dp_generation", "dp_marker"}


def test_grants_follow_the_descriptor(people: Shop, logins: dict[str, str]) -> None:
    """Those of somebody else stay."""
    people.ask("create role helper login")
    people.ask("grant usage on schema public_data to helper; grant select on public_data.people to helper")
    oid = people.ask("select 'public_data.people'::regclass::oid")
    try:
        people.access = [{"role": "hr", "unmask": ["name", "email", "salary"]}]
        people.project()
        assert len(rows_of(people, logins["hr"], COLUMNS)) == len(ROWS)
        for name in ("analyst", "matcher", "reader", "auditor"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                people.ask("select id from public_data.people", logins[name])
        assert people.ask("select id from public_data.people", "helper") == []
        assert people.ask("select 'public_data.people'::regclass::oid") == oid
        people.access = [
            *people.access,
            {"anyone": True, "columns": ["id", "region"]},
            {"role": "no_such_role"},
        ]
        outcome = people.project()
        assert outcome.metadata["differs"] == (
            "no role or login no_such_role is on the server, so nobody has these grants"
        )
        assert len(rows_of(people, logins["stranger"], ("id", "region"))) == len(ROWS)
    finally:
        people.ask("drop owned by helper; drop role helper")


def test_without_access_the_server_decides(people: Shop, logins: dict[str, str]) -> None:
    people.access = None
    people.project()
    for name in ("hr", "analyst"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            people.ask("select id from public_data.people", logins[name])
    people.ask("grant select on public_data.people to hr")
    assert rows_of(people, logins["hr"], COLUMNS) == list(ROWS)
    people.run(3)
    assert len(rows_of(people, logins["hr"], COLUMNS)) == 3
