"""OpenLineage events: built by the client's own classes, sent to a file, over HTTP and to Kafka."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dp_dagster.errors import OperatorError, SettingsError
from dp_dagster.lineage.build import lineage_of
from dp_dagster.lineage.openlineage import Audited, events_of, send
from dp_dagster.pipeline import Session, land_input, publish_dataset, run_transform
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings


@pytest.fixture
def audited(project):
    """A function that publishes rows and gives what is told of it."""
    numbers = itertools.count(1)

    def publish(sales: str | None = None) -> Audited:
        folder = project.root / "products/shops"
        if sales is not None:
            (folder / "inputs/sales.csv").write_text(sales)
        product = resolve(folder, Settings.load(project.root))
        session = Session(product, f"8e0d3f0e-2c1f-4d6e-9d55-{next(numbers):012}")
        land_input(session, "sales")
        run_transform(session, "totals")
        outcome = publish_dataset(session, "totals")
        return Audited(
            product=product,
            dataset=product.dataset("totals"),
            lineage=lineage_of(product),
            run_id=session.run_id,
            started=datetime.now(UTC),
            verdict=outcome.verdict,
            snapshot=outcome.snapshot,
        )

    return publish


def written(events) -> list[dict]:
    from openlineage.client.serde import Serde

    return [json.loads(Serde.to_json(event)) for event in events]


def test_a_publication(audited) -> None:
    start, _, audit, complete = written(events_of(audited()))
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"] != audit["run"]["runId"]
    assert complete["run"]["facets"]["parent"]["run"]["runId"] == "8e0d3f0e-2c1f-4d6e-9d55-000000000001"
    assert complete["inputs"][0]["name"] == "shops/input/sales"
    (output,) = complete["outputs"]
    assert output["name"] == "shops/v1/dataset/totals"
    facets = output["facets"]
    assert [field["name"] for field in facets["schema"]["fields"]] == ["shop", "amount"]
    (source,) = facets["columnLineage"]["fields"]["amount"]["inputFields"]
    assert (source["name"], source["field"]) == ("shops/input/sales", "amount")
    assert source["transformations"][0]["subtype"] == "AGGREGATION"
    assert {one["field"] for one in facets["columnLineage"]["dataset"]} == {"shop"}
    assert facets["dpContract"]["decision"] == "accepted"
    assert facets["dpContract"]["_schemaURL"].startswith("urn:dp_dagster")
    assert facets["version"]["datasetVersion"] == "0"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assertions = audit["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {one["assertion"] for one in assertions} >= {"unique", "pattern", "minimum"}
    assert all(one["success"] for one in assertions)


def test_a_held_candidate_fails(audited) -> None:
    audited()
    _, _, audit, last = written(events_of(audited("sale,shop,amount\n1,NORTH,10\n")))
    assert last["eventType"] == "FAIL"
    assert "outputs" not in last or last["outputs"] == []
    assert "held" in last["run"]["facets"]["errorMessage"]["message"]
    failed = [
        one
        for one in audit["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
        if not one["success"]
    ]
    assert [(one["column"], one["actual"]) for one in failed] == [("shop", "1")]


def test_to_a_file(audited, tmp_path) -> None:
    events = events_of(audited())
    settings = Settings(
        project_root=tmp_path,
        openlineage={"type": "file", "log_file_path": str(tmp_path / "events.jsonl"), "append": True},
    )
    send(settings, events)
    send(settings, events)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["eventType"] for line in lines[:4]] == ["START", "START", "COMPLETE", "COMPLETE"]
    assert lines[:4] == lines[4:]


class _Collector(BaseHTTPRequestHandler):
    received: list[tuple[str, dict]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["Authorization"], json.loads(body)))
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_over_http_with_a_key_by_reference(audited, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LINEAGE_KEY", "secret-of-the-test")
    with HTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        transport = {
            "type": "http",
            "url": f"http://127.0.0.1:{server.server_port}",
            "auth": {"type": "api_key", "apiKey": "${LINEAGE_KEY}"},
            "compression": None,
        }
        send(Settings(project_root=tmp_path, openlineage=transport), events_of(audited()))
        server.shutdown()
        thread.join()
    assert [event["eventType"] for _, event in server.received] == ["START", "START", "COMPLETE", "COMPLETE"]
    assert {key for key, _ in server.received} == {"Bearer secret-of-the-test"}


def test_to_kafka(audited, tmp_path) -> None:
    from confluent_kafka import Consumer, Producer

    # librdkafka's own cluster: brokers on loopback that speak the protocol.
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    servers = f"{broker.host}:{broker.port}"
    transport = {
        "type": "kafka",
        "topic": "lineage",
        "config": {"bootstrap.servers": servers},
        "flush": True,
    }
    send(Settings(project_root=tmp_path, openlineage=transport), events_of(audited()))
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["lineage"])
    found: list[dict] = []
    while len(found) < 4:
        message = consumer.poll(20)
        assert message is not None, "no event within 20 s"
        assert message.error() is None
        found.append(json.loads(message.value()))
    consumer.close()
    assert [event["eventType"] for event in found] == ["START", "START", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("transport", "error", "message"),
    [
        ({"type": "nobody"}, SettingsError, "refuses these settings"),
        ({"type": "http", "url": "${NOT_SET_ANYWHERE}"}, SettingsError, "NOT_SET_ANYWHERE is not set"),
        (
            {"type": "http", "url": "http://user:hidden@127.0.0.1:9", "timeout": 1, "retry": {"total": 0}},
            OperatorError,
            "could not be sent by http",
        ),
    ],
)
def test_what_goes_wrong_is_told_without_secrets(audited, tmp_path, transport, error, message) -> None:
    settings = Settings(project_root=tmp_path, openlineage=transport)
    with pytest.raises(error, match=message) as raised:
        send(settings, events_of(audited()))
    assert "hidden" not in str(raised.value)
