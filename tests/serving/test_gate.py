"""Who is let in, what they may take, and what is written down of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import sqlalchemy
from serving_helpers import DESCRIPTOR, make_product, publish, resolved, serving

from dp_dagster.access.access_tables import ACCESSES
from dp_dagster.access.authentication.api_keys import ApiKeys
from dp_dagster.access.verification import verify
from dp_dagster.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving_helpers import Running

PORT = "/counted/v1/plain"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str, str]]:
    """A port that wants a key and allows little; a key that sees something, and one that does not."""
    root = tmp_path_factory.mktemp("guarded")
    make_product(
        root,
        DESCRIPTOR.replace("auth: none", "auth: api_key")
        .replace(
            "requests_per_minute: unlimited",
            "requests_per_minute: 12, response_bytes: 20000, query_seconds: 1",
        )
        .replace("access: [{anyone: true}]", "access: [{role: [analyst]}]"),
    )
    product = resolved(root)
    publish(product, 1)
    keys = ApiKeys(Records(product.settings.resolved_records_url))
    seeing, _ = keys.create("ada", "user:tester", roles=["analyst"])
    blind, _ = keys.create("bob", "user:tester")
    with serving(product) as found:
        yield found, seeing, blind


def test_only_who_proves_it_and_is_granted_something_gets_an_answer(
    guarded: tuple[Running, str, str],
) -> None:
    running, seeing, blind = guarded
    nobody = running.client.get(f"{PORT}/5")
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"]
    assert running.client.get(f"{PORT}/5", headers={"x-api-key": "dp_forged_key"}).status_code == 401
    denied = running.client.get(f"{PORT}/5", headers={"x-api-key": blind})
    assert (denied.status_code, denied.json()["title"]) == (403, "Forbidden")
    assert running.client.get(f"{PORT}/5", headers={"x-api-key": seeing}).json()[0] == 5


def test_what_is_too_much_is_refused(guarded: tuple[Running, str, str]) -> None:
    running, seeing, _ = guarded
    key = {"x-api-key": seeing}
    large = running.client.get(PORT, params={"limit": 900}, headers=key | {"accept-encoding": "identity"})
    assert (large.status_code, "larger than 20,000 bytes" in large.text) == (422, True)
    # Nobody knew how large it would be: it breaks off, and does not look like the whole.
    with pytest.raises(httpx.RemoteProtocolError):
        running.client.get(
            f"{PORT}/export", params={"form": "csv"}, headers=key | {"accept-encoding": "identity"}
        )
    late = running.client.get(f"{PORT}/sleep", params={"seconds": 5}, headers=key)
    assert (late.status_code, "longer than this port allows" in late.text) == (422, True)
    statuses = [running.client.get(f"{PORT}/5", headers=key) for _ in range(15)]
    refused = statuses[-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


def test_every_access_is_written_down(guarded: tuple[Running, str, str]) -> None:
    """Also those that were refused, each with who asked and what came of it; bound to the chain of records."""
    running, seeing, _ = guarded
    running.client.get(f"{PORT}/7?columns=number,text", headers={"x-api-key": seeing})
    records = Records(running.product.settings.resolved_records_url)

    def found() -> list[sqlalchemy.Row[tuple[object, ...]]]:
        with records.database().reading() as connection:
            return list(connection.execute(sqlalchemy.select(ACCESSES)))

    running.wait_for(lambda: {401, 403, 200, 422, 429} <= {row.status for row in found()}, 10)
    rows = found()
    assert {(row.subject, row.status) for row in rows} >= {
        ("unknown", 401),
        ("bob", 403),
        ("ada", 200),
        ("ada", 422),
        ("ada", 429),
    }
    one = next(row for row in rows if row.status == 200)
    assert (one.product, one.port, one.dataset, one.version, one.rows) == (
        "counted",
        "plain",
        "numbers",
        0,
        1,
    )
    assert verify(records) == []
