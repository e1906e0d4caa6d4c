"""API keys: shown once, hashed at rest, ended and revoked; ``dp keys``."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dp_dagster.access.authentication.api_keys import STALE, ApiKeyAuthenticator, ApiKeys
from dp_dagster.access.view import Identity
from dp_dagster.cli.app import run
from dp_dagster.errors import AuthenticationError, UsageError
from dp_dagster.records import Records

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path}/records.db", lock_timeout=5)


@pytest.fixture
def keys(records: Records) -> ApiKeys:
    return ApiKeys(records)


class Asked:
    def __init__(self, keys: ApiKeys) -> None:
        self.now = 1000.0
        self.authenticator = ApiKeyAuthenticator(keys, lambda: self.now)

    def identify(self, key: str = "", **headers: str) -> Identity:
        given = {"authorization": f"Bearer {key}"} if key else {}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self.authenticator.identify(given | names))

    def refused(self, key: str) -> AuthenticationError:
        with pytest.raises(AuthenticationError) as caught:
            self.identify(key)
        assert key[10:] not in str(caught.value)
        return caught.value


@pytest.fixture
def asked(keys: ApiKeys) -> Asked:
    return Asked(keys)


def test_a_key_says_whose_it_is(keys: ApiKeys, asked: Asked) -> None:
    key, made = keys.create(
        "shop", "user:ada", roles=["a", "a"], scopes=["read"], claims={"region": ("EU", "US")}
    )
    expected = Identity(
        "shop", made.id, frozenset({"a"}), frozenset({"read"}), "api_key", (("region", ("EU", "US")),)
    )
    assert asked.identify(key) == expected
    assert asked.identify(x_api_key=key) == expected
    assert asked.identify(key) is asked.identify(key)


def test_only_a_hash_is_kept(keys: ApiKeys, records: Records, tmp_path: Path) -> None:
    key, made = keys.create("shop", "user:ada")
    for file in tmp_path.iterdir():
        assert key.rpartition("_")[2].encode() not in file.read_bytes()
    assert len(key) == 3 + 12 + 1 + 43
    with closing(sqlite3.connect(tmp_path / "records.db")) as connection:
        ((found,),) = connection.execute("select hash from dp_api_keys").fetchall()
    assert found == made.hash
    (record,) = records.query()
    assert (record.kind, record.subject, record.actor) == ("key_created", f"key/{made.id}", "user:ada")
    assert made.hash not in str(record.payload)


def test_wrong_keys(keys: ApiKeys, asked: Asked) -> None:
    key, made = keys.create("shop", "user:ada")
    other, _ = keys.create("other", "user:ada")
    asked.identify(key)
    for wrong in (
        key[:-1], key + "A", key[:16] + other[16:], f"dp_{made.id}_{'A' * 43}", "dp_000000000000_" + "A" * 43,
        made.hash, "x" * 20_000, "' or 1=1 --", key.upper(), key.replace("dp_", "dq_"),
    ):  # fmt: skip
        error = asked.refused(wrong)
        assert error.status == 401
        assert error.challenge.startswith("Bearer")


def test_who_sends_none_is_told_what_to_send(asked: Asked) -> None:
    for headers in ({}, {"x-api-key": ""}, {"authorization": ""}):
        with pytest.raises(AuthenticationError, match="send a key: X-API-Key") as caught:
            asyncio.run(asked.authenticator.identify(headers))
        assert (caught.value.status, caught.value.challenge[:6]) == (401, "Bearer")


def test_keys_end(keys: ApiKeys, asked: Asked) -> None:
    key, made = keys.create("shop", "user:ada", lifetime=timedelta(seconds=-1))
    assert asked.refused(key).status == 401
    assert made.state(datetime.now(UTC)) == "expired"


def test_a_revoked_key_works_for_seconds_at_most(keys: ApiKeys, records: Records, asked: Asked) -> None:
    key, made = keys.create("shop", "user:ada")
    asked.identify(key)
    keys.revoke(made.id, "user:bob")
    asked.now += STALE + 0.1
    asked.refused(key)
    with pytest.raises(UsageError, match="was revoked on"):
        keys.revoke(made.id, "user:bob")
    with pytest.raises(UsageError, match="there is no key"):
        keys.revoke("000000000000", "user:bob")
    assert [record.kind for record in records.query()] == ["key_revoked", "key_created"]
    assert records.verify() == []


def test_a_new_key_works_within_a_second(keys: ApiKeys, asked: Asked) -> None:
    first, _ = keys.create("shop", "user:ada")
    asked.identify(first)
    second, _ = keys.create("shop", "user:ada")
    asked.refused(second)
    asked.now += 1.1
    assert asked.identify(second).subject == "shop"


def test_unknown_keys_are_no_way_to_ask_the_database(keys: ApiKeys, asked: Asked) -> None:
    key, _ = keys.create("shop", "user:ada")
    asked.identify(key)
    read = []
    original = keys.all
    keys.all = lambda: (read.append(1), original())[1]  # type: ignore[method-assign,return-value]
    for number in range(50):
        asked.refused(f"dp_{number:012x}_{'A' * 43}")
    assert read == []


def test_a_database_that_is_away_is_no_open_door(keys: ApiKeys, asked: Asked, tmp_path: Path) -> None:
    key, _ = keys.create("shop", "user:ada")
    asked.identify(key)
    asked.now += STALE + 0.1
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "records.db").mkdir()
    error = asked.refused(key)
    assert (error.status, str(error)) == (503, "keys cannot be checked now")


def test_last_use_is_noted(keys: ApiKeys, asked: Asked) -> None:
    key, _ = keys.create("shop", "user:ada")
    assert keys.all()[0].last_used_at is None
    asked.identify(key)
    asyncio.run(asked.authenticator.aclose())
    used = keys.all()[0].last_used_at
    assert used is not None
    assert datetime.now(UTC) - used < timedelta(seconds=30)


@pytest.mark.parametrize("consumer", ["", " ", "a b", "a" * 201, "a\n", "<b>"])
def test_names_of_consumers(keys: ApiKeys, consumer: str) -> None:
    with pytest.raises(UsageError, match="no name of a consumer"):
        keys.create(consumer, "user:ada")


# -- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def dp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "dp_dagster.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["keys", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_the_command(dp: Any, tmp_path: Path) -> None:
    assert dp("list") == (0, "there are no keys; make one with: dp keys create CONSUMER\n", "")
    options = ("--role", "a", "--scope", "s", "--claim", "region=EU", "--expires", "90d")
    code, key, told = dp("create", "shop", *options)
    assert code == 0
    assert key.startswith("dp_")
    assert "It is not shown again; revoke it with: dp keys revoke " in told
    code, listed, _ = dp("list", "--json")
    (found,) = json.loads(listed)
    assert (found["consumer"], found["state"], found["roles"], found["claims"]) == (
        "shop", "active", ["a"], {"region": "EU"},
    )  # fmt: skip
    assert key.strip() not in listed
    _, table, _ = dp("list")
    assert found["id"] in table
    keys = ApiKeys(Records(f"sqlite:///{tmp_path}/data/records.db"))
    assert Asked(keys).identify(key.strip()).subject == "shop"
    assert dp("revoke", found["id"]) == (0, f"revoked {found['id']}, a key of shop\n", "")
    assert json.loads(dp("list", "--json")[1])[0]["state"] == "revoked"
    assert dp("revoke", found["id"])[0] == 2
    for wrong in (("--expires", "soon"), ("--claim", "region"), ("--claim", "=EU")):
        assert dp("create", "shop", *wrong)[0] == 2
