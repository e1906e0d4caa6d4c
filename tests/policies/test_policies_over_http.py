"""``/control/policies`` of a real ``dp serve``: who may read and change, and that what is granted holds everywhere."""

from __future__ import annotations

import os
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import httpx
import pytest
from policy_helpers import make
from starlette.testclient import TestClient
from support import Processes, TestProject

from dp_dagster.access.authentication.api_keys import ApiKeys
from dp_dagster.cli.app import run
from dp_dagster.definitions.load import load_product
from dp_dagster.errors import PolicyError
from dp_dagster.pipeline import Session, land_input, publish_dataset, run_transform
from dp_dagster.policies import Grants, check_product
from dp_dagster.records import Records
from dp_dagster.resolve import resolve
from dp_dagster.serving.app import assemble
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
LATER = (datetime.now(UTC).date() + timedelta(days=30)).isoformat()
YESTERDAY = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
PATH = "/control/policies"
SETTINGS = """\
[policies]
owner_and_domain = "error"
naming = {severity = "warn", columns = "[a-z]+"}

[control]
auth = "api_key"
roles = {policies = ["governor"], audit = ["auditor"]}
"""
WANTED = {
    "policy": "owner_and_domain",
    "product": "shops",
    "reason": "being founded",
    "expires": LATER,
}


class Platform:
    """A project whose only product nobody owns, and its server.

    Attributes:
        governor: May change policy; ``nobody`` may not.
    """

    def __init__(self, project: TestProject, processes: Processes) -> None:
        self.product = make(
            project,
            ("domain: sales\nowner: {team: sellers, email: sellers@example.com}\n", ""),
            settings=SETTINGS,
        )
        project.add_product("broken", descriptor="product_id: broken\n")
        self.root = project.root
        self.records = Records(self.product.settings.resolved_records_url)
        keys = ApiKeys(self.records)
        keys_of = {"governor": ["governor"], "auditor": ["auditor"], "nobody": []}
        self.headers = {
            name: {"x-api-key": keys.create(f"{name}@example.com", "user:tester", roles=roles)[0]}
            for name, roles in keys_of.items()
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DP_")}
        program = Path(sys.executable).parent / "dp"
        process, log = processes.start(
            [program, "serve", "--port", str(port)], cwd=project.root, env=environment
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.client.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    return
            except httpx.ConnectError:
                pass  # it is not listening yet
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def get(self, path: str = "", who: str = "governor") -> Any:
        answer = self.client.get(f"{PATH}{path}", headers=self.headers[who])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def grant(self, who: str = "governor", **changes: Any) -> httpx.Response:
        return self.client.post(f"{PATH}/exemptions", headers=self.headers[who], json={**WANTED, **changes})

    def withdraw(self, number: int, who: str = "governor", reason: str = "it has an owner") -> httpx.Response:
        return self.client.delete(
            f"{PATH}/exemptions/{number}", headers=self.headers[who], params={"reason": reason}
        )

    def publish(self, run_id: str) -> Any:
        session = Session(resolve(self.product.root, Settings.load(self.root)), run_id, actor="user:ada")
        land_input(session, "sales")
        run_transform(session, "totals")
        return publish_dataset(session, "totals")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("governed")
    processes = Processes(root)
    started = Platform(TestProject(root), processes)
    yield started
    started.client.close()
    for process in processes.started:
        process.terminate()
        assert process.wait(30) == 0


def test_who_has_the_role_reads_and_changes(platform: Platform) -> None:
    assert platform.client.get(PATH).status_code == 401
    assert platform.client.post(f"{PATH}/exemptions", json=WANTED).status_code == 401
    for who in ("nobody", "auditor"):
        for answer in (
            platform.client.get(PATH, headers=platform.headers[who]),
            platform.client.get(f"{PATH}/naming", headers=platform.headers[who]),
            platform.grant(who),
            platform.withdraw(1, who),
        ):
            assert answer.status_code == 403, answer.text
            assert "governor" not in answer.text
    assert platform.get()["exemptions"] == []


def test_the_catalogue_lists_what_is_refused(platform: Platform) -> None:
    answer = platform.client.get("/control/catalog", headers=platform.headers["nobody"])
    problems = {one["id"]: one["problem"] for one in answer.json()}
    assert problems["shops"] is None
    assert "version: is missing" in problems["broken"]
    nothing = platform.client.get("/control/catalog/nothing", headers=platform.headers["nobody"])
    assert (nothing.status_code, nothing.json()["title"]) == (404, "Not Found")


def test_what_holds_and_how_products_stand(platform: Platform) -> None:
    found = platform.get()
    policies = {one["policy"]: one for one in found["policies"]}
    assert policies["owner_and_domain"]["severity"] == "error"
    columns = next(one for one in policies["naming"]["parameters"] if one["name"] == "columns")
    assert columns["value"] == "[a-z]+"
    assert policies["no_breaking_change"]["is_gate"] is True
    [product] = found["products"]
    assert (product["product_id"], product["refused"]) == ("shops", True)
    assert platform.get("?product=shops")["products"] == [product]
    one = platform.get("/owner_and_domain")
    assert one["products"][0]["results"][0]["findings"][0]["message"].startswith("nobody owns the product")
    for path in ("?product=shop", "/nameing", "/exemptions/7"):
        assert platform.client.get(f"{PATH}{path}", headers=platform.headers["governor"]).status_code == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": "nameing"}, "policy: there is no policy nameing; did you mean naming?"),
        ({"policy": "no_breaking_change"}, "is a gate without exemptions"),
        ({"product": "shop"}, "product: there is no product shop; did you mean shops?"),
        ({"part": "datasets.total"}, "has no part datasets.total; did you mean datasets.totals?"),
        ({"reason": "  "}, "reason: string should have at least 1 character"),
        ({"expires": YESTERDAY}, "is past; name a day to come"),
        ({"expires": "soon"}, "expires: input should be a valid date"),
        ({"by": "user:somebody"}, "by: extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(
    platform: Platform, changes: dict[str, str], said: str
) -> None:
    answer = platform.grant(**changes)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert platform.get()["exemptions"] == []


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"content": b"policy=naming"}, "content-type: application/json"),
        ({"data": {"policy": "naming"}}, "content-type: application/json"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "is no JSON"),
        ({"json": ["naming"]}, "must be a JSON object"),
        ({"json": {"policy": "x" * 70_000}}, "is larger than"),
    ],
)
def test_bodies_that_are_none(platform: Platform, sent: dict[str, Any], said: str) -> None:
    headers = {**platform.headers["governor"], **sent.pop("headers", {})}
    answer = platform.client.post(f"{PATH}/exemptions", headers=headers, **sent)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_what_is_granted_holds_everywhere_until_it_is_withdrawn(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(platform.root)

    def is_refused() -> bool:
        refused = [run(["validate", "products/shops"]) == 1]
        for attempt in (lambda: load_product(platform.product.root), lambda: platform.publish("attempt")):
            try:
                attempt()
            except (dg.DagsterInvalidDefinitionError, PolicyError):
                refused.append(True)
            else:
                refused.append(False)
        assert len(set(refused)) == 1, refused
        return refused[0]

    assert is_refused()
    answer = platform.grant()
    assert answer.status_code == 201, answer.text
    granted = answer.json()
    assert granted["by"] == "user:governor@example.com"
    assert answer.headers["location"] == f"/control/policies/exemptions/{granted['id']}"
    assert platform.get(f"/exemptions/{granted['id']}") == granted == platform.get()["exemptions"][0]
    assert platform.get()["products"][0]["refused"] is False
    assert not is_refused()
    assert run(["policy", "list"]) == 0
    assert "(granted by user:governor@example.com, record" in capsys.readouterr().out
    [exempted] = platform.records.query(kind="exempted")
    assert exempted.payload["exemptions"][0]["reason"] == "being founded"

    assert platform.withdraw(granted["id"], reason=" ").status_code == 400
    assert platform.withdraw(granted["id"]).status_code == 200
    assert platform.withdraw(granted["id"]).status_code == 404
    assert is_refused()
    found = {
        record.kind: record
        for record in platform.records.query(product="shops", actor="user:governor@example.com")
    }
    assert set(found) == {"exemption_granted", "exemption_withdrawn"}
    assert found["exemption_granted"].payload["expires"] == LATER
    assert found["exemption_withdrawn"].payload["granted"] == granted["id"]
    assert found["exemption_withdrawn"].payload["reason"] == "it has an owner"
    assert platform.records.verification().is_whole


def test_a_part_and_a_later_grant_of_the_same(platform: Platform) -> None:
    first = platform.grant(part="owner").json()
    assert platform.get()["products"][0]["refused"] is True  # the domain is missing, too
    second = platform.grant(part="owner", reason="still").json()
    assert [one["id"] for one in platform.get()["exemptions"]] == [second["id"]]
    assert platform.withdraw(first["id"]).status_code == 404
    assert platform.withdraw(second["id"]).status_code == 200
    assert platform.get()["exemptions"] == []


def test_the_command_grants_and_withdraws(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(platform.root)
    command = ["policy", "exempt", "shops", "owner_and_domain", "--reason", "new", "--expires", LATER]
    assert run([*command, "--part", "owners"]) == 2
    assert "did you mean owner?" in capsys.readouterr().err
    assert run(command) == 0
    out = capsys.readouterr().out
    [exemption] = platform.get()["exemptions"]
    assert f"dp policy withdraw {exemption['id']}" in out
    assert exemption["by"].startswith("user:")
    assert run(["policy", "withdraw", str(exemption["id"]), "--reason", "done"]) == 0
    assert platform.get()["exemptions"] == []


def test_without_log_in_nobody_changes_anything(project: TestProject) -> None:
    open_to_all = SETTINGS.replace('auth = "api_key"', 'auth = "none"').replace('["governor"]', '["*"]')
    product = make(project, settings=open_to_all)
    with TestClient(assemble([product], product.settings), client=("127.0.0.1", 50000)) as client:
        assert client.get("/control/policies").status_code == 200
        answer = client.post("/control/policies/exemptions", json={**WANTED, "policy": "naming"})
        assert answer.status_code == 403
        assert "nobody could answer for a change" in answer.json()["detail"]
    assert Grants(product.settings).current() == []


def test_grants_that_cannot_be_read_allow_nothing_and_say_so(project: TestProject) -> None:
    product = make(
        project,
        ("owner: {team: sellers, email: sellers@example.com}\n", ""),
        settings='records_url = "sqlite:////proc/version"\npolicies.owner_and_domain = "error"\n',
    )
    report = check_product(product)
    assert report.refused
    assert report.notices[-1].startswith("granted exemptions could not be read, and count as none: ")
    # Who keeps the policies asks no database.
    assert check_product(make(project)).notices == ()
