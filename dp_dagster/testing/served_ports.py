"""The suite for served kinds: output ports that answer requests.

It publishes a small dataset with personal columns and grants, serves it by the kind under test, in this process and
with everything that ``dp serve`` puts around it, and asks as several consumers. One table says what each of them may
see; every served kind has to show exactly that. How a consumer's question is put is the sample's to say.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dp_dagster.access.view import Identity
from dp_dagster.ports.base import OutputContext
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.settings import Settings
from dp_dagster.testing.asgi import Client
from dp_dagster.testing.published import CONTRACT, DATASET, publish_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from dp_dagster.predicates.model import Operator
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.rows.shelf import Shelf
    from dp_dagster.serving.shell import Served, Shell

_WHO = "x-consumer"
_HIDDEN = "•••"


@dataclass(frozen=True)
class Question:
    """What a consumer wants to know, in no protocol's words.

    Attributes:
        columns: Which columns of the rows.
        where: Column, operator and value of a filter.
        sort: A column to sort by, upwards.
        key: The key of the only row that is wanted.
        count: Whether the number of rows is wanted, and no row.
        as_of: The version that is asked for.
    """

    columns: tuple[str, ...]
    where: tuple[str, Operator, Any] | None = None
    sort: str | None = None
    key: Any = None
    count: bool = False
    as_of: int | None = None


@dataclass(frozen=True)
class Reply:
    """What the consumer is told.

    Attributes:
        status: HTTP status.
        rows: Rows by column, as JSON has them, all that were asked for; of a key that no row has, none.
        count: The number of rows.
        version: The version that was read, where the protocol says so.
        refused: Why there is no answer, in the port's words.
    """

    status: int
    rows: tuple[dict[str, Any], ...] | None = None
    count: int | None = None
    version: int | None = None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServedSample:
    """A working served port, and how a consumer asks it.

    Attributes:
        options: What stands in ``product.yaml`` besides name, type and ``auth``.
        ask: Puts a question to the port that a client reaches below a path.
    """

    ask: Callable[[Client, str, Question], Reply]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Consumer:
    """Somebody who asks, and what they may see.

    Attributes:
        identity: Who they are.
        columns: The columns that they see, in the contract's order; none where they may see nothing at all.
        rows: Numbers of the rows that there are for them.
        masked: Of the columns, those that they see masked, and what of a row's value is then shown.
    """

    identity: Identity
    columns: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    masked: Mapping[str, Callable[[str], str | None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in the tests."""
        return self.identity.subject

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as they see it."""
        return {
            name: self.masked[name](row[name]) if name in self.masked else row[name] for name in self.columns
        }


ROWS: tuple[dict[str, Any], ...] = tuple(
    {
        "id": number,
        "name": f"name {number % 3}",
        "email": f"person{number}@example.com",
        "region": ("EU", "US", "ASIA")[number % 3],
        "amount": number * 10,
    }
    for number in range(12)
)
"""The dataset. What every consumer may see of it is in :data:`CONSUMERS`."""

ALL = ("id", "name", "email", "region", "amount")
_EU = tuple(row["id"] for row in ROWS if row["region"] == "EU")
_US = tuple(row["id"] for row in ROWS if row["region"] == "US")

CONSUMERS: tuple[Consumer, ...] = (
    Consumer(Identity("steward", roles=frozenset({"steward"})), ALL, tuple(range(12))),
    Consumer(
        Identity("analyst", roles=frozenset({"analyst"})),
        ALL,
        tuple(range(12)),
        {"name": lambda _: _HIDDEN, "email": lambda _: None},
    ),
    Consumer(Identity("of_region", scopes=frozenset({"europe"})), ("id", "region", "amount"), _EU),
    Consumer(
        Identity("partner", client="partner_app", claims=(("region", "US"),)),
        ("id", "email", "region"),
        _US,
        {"email": lambda _: _HIDDEN},
    ),
    Consumer(Identity("stranger", roles=frozenset({"visitor"}))),
)
"""The table of consumers: who asks, and what they may see."""

_GRANTS = """
access:
  - {role: steward, unmask: [name, email]}
  - {role: analyst, masks: {name: redact, email: "null"}}
  - {scope: europe, columns: [id, region, amount], rows: "region = 'EU'"}
  - {client: partner_app, columns: [id, email, region], rows: "region = {claim.region}"}
"""
_CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string, required: true, classification: pii}
      - {name: email, logicalType: string, required: true, classification: restricted}
      - {name: region, logicalType: string, required: true}
      - {name: amount, logicalType: integer, physicalType: bigint, required: true}
"""
_ODD_VALUES = (
    "",
    "'",
    "' or 1=1 --",
    '"; drop table rows; --',
    "name 0' union select email from rows --",
    "%",
    "_",
    "\\",
    "\x00",
    "é\u2028",
    "x" * 3000,
    "{{7*7}}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
)


def rows_table(batch: int) -> pa.Table:
    """The dataset as it is published; every version's amounts are its own."""
    import pyarrow as pa

    columns = {name: [row[name] for row in ROWS] for name in ALL}
    columns["amount"] = [amount + batch for amount in columns["amount"]]
    return pa.table(columns)


class Stand:
    """Products on disk, each with the dataset and a port of the kind under test, and a server of them in this process.

    Attributes:
        products: By id.
        client: Asks the server.
        shell: The server's application.
        served: What the access log was told, in order.
    """

    def __init__(self, folder: Path, kind: type[ServedPort[Any]], sample: ServedSample) -> None:
        self.folder = folder
        self.kind = kind
        self.sample = sample
        # Without a wait for row stores: what is shown is the same.
        self.settings = Settings(project_root=folder, serve_patience=0.0)
        self.products: dict[str, ResolvedProduct] = {}
        self.served: list[Served] = []

    def add(self, product_id: str) -> ResolvedProduct:
        """Another product."""
        from dp_dagster.registry import Registry
        from dp_dagster.resolve import resolve

        root = self.folder / "products" / product_id
        (root / "contracts").mkdir(parents=True)
        (root / "raw.csv").write_text("id\n1\n")
        (root / "contracts" / "people.odcs.yaml").write_text(textwrap.dedent(_CONTRACT))
        port = {
            "name": "served",
            "type": self.kind.kind,
            "dataset": "people",
            "auth": "api_key",
            **self.sample.options,
        }
        (root / "product.yaml").write_text(
            f"product_id: {product_id}\nversion: 1.0.0\n"
            "input_ports: [{name: raw, type: FILES, path: raw.csv}]\n"
            'datasets: [{name: people, from: raw, contract: "contracts/people.odcs.yaml:people"}]\n'
            f"output_ports: [{json.dumps(port)}]\n{_GRANTS}"
        )
        installed = Registry.load().find("input_ports", "FILES")
        assert installed is not None
        registry = Registry.of({"input_ports": [_class_of(installed)], "output_ports": [self.kind]})
        self.products[product_id] = made = resolve(root, self.settings, registry)
        return made

    def publish(self, product_id: str, batch: int) -> int:
        """Publish a version, have the port show it, and give its number."""
        from dp_dagster.pipeline import Session, project_port

        product = self.products[product_id]
        contract = product.dataset("people").contract
        snapshot = publish_rows(self.settings, product_id, "people", contract, rows_table(batch))
        project_port(Session(product, f"batch-{batch}"), "served")
        return snapshot.version

    def path(self, product_id: str) -> str:
        """Where a product's port is mounted."""
        from dp_dagster.pipeline import Session
        from dp_dagster.pipeline.projections import output_context

        product = self.products[product_id]
        port = product.port("served")
        return self.kind().path(port.config, output_context(Session(product, "tests"), port))

    def serve(self) -> Shell:
        """The server's application. It believes who somebody says that they are; nothing else is changed."""
        from dp_dagster.serving.app import assemble

        shell = assemble(self.products.values(), self.settings)
        by_name = {consumer.name: consumer.identity for consumer in CONSUMERS}

        async def identify(headers: Mapping[str, str]) -> Identity:
            return by_name[headers[_WHO]]

        for product_id in self.products:
            route = shell.route_of(self.path(product_id))
            assert route is not None
            route.identify = identify
            route.finished = self.served.append
        return shell

    def ask(self, client: Client, who: str, question: Question, product_id: str = "shop") -> Reply:
        """Put a question as a consumer."""
        client.headers[_WHO] = who
        return self.sample.ask(client, self.path(product_id), question)


class ServedPortSuite:
    """Tests of what every served kind must keep. Give ``kind`` and ``sample``."""

    kind: ClassVar[type[ServedPort[Any]]]
    sample: ClassVar[ServedSample]

    @pytest.fixture(scope="class")
    @classmethod
    def stand(cls, tmp_path_factory: pytest.TempPathFactory) -> Stand:
        """A product with two published versions, and one that has published nothing yet."""
        stand = Stand(tmp_path_factory.mktemp("served"), cls.kind, cls.sample)
        stand.add("shop")
        stand.add("empty")
        stand.publish("shop", 1)
        stand.publish("shop", 2)
        return stand

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, stand: Stand) -> Iterator[Client]:
        """A client of the server."""
        with Client(stand.serve()) as client:
            yield client

    @pytest.fixture(params=CONSUMERS, ids=lambda consumer: consumer.name)
    def consumer(self, request: pytest.FixtureRequest) -> Consumer:
        """Each consumer of the table."""
        found: Consumer = request.param
        return found

    # -- of the class --------------------------------------------------------------------------------------

    def test_is_a_served_kind(self) -> None:
        """By its base class, its capabilities, and a configuration that says who may ask."""
        assert issubclass(self.kind, ServedPort)
        assert self.kind.capabilities.served
        assert not self.kind.capabilities.hands_out_files
        assert issubclass(self.kind.Config, ServedConfig)
        assert self.kind.Config.model_fields["auth"].is_required()

    def test_paths_of_different_ports_differ(self, stand: Stand) -> None:
        """By product and by major version; each begins with a slash and ends without."""
        config = self.kind.Config.model_validate({"auth": "none", **self.sample.options})
        context = OutputContext(
            product_id="shop",
            product_root=stand.folder,
            major=1,
            port_name="served",
            dataset="people",
            contract=CONTRACT,
            description="",
            settings=stand.settings,
            key=("id",),
        )
        others = [replace(context, product_id="other"), replace(context, major=2, is_current=False)]
        paths = [self.kind().path(config, one) for one in (context, *others)]
        assert len(set(paths)) == len(paths)
        for path in paths:
            assert path.startswith("/")
            assert not path.endswith("/")

    # -- who may see what ------------------------------------------------------------------------------------

    def test_each_consumer_sees_what_it_may(self, stand: Stand, client: Client, consumer: Consumer) -> None:
        """The rows and columns of the table, masks applied; and who may see nothing is told only that."""
        reply = stand.ask(client, consumer.name, Question(consumer.columns or ALL))
        if not consumer.columns:
            assert (reply.status, reply.rows) == (403, None)
            assert "example.com" not in str(reply.refused)
            return
        assert reply.rows is not None, reply
        assert sorted(reply.rows, key=lambda row: row["id"]) == [
            consumer.shown({**ROWS[number], "amount": ROWS[number]["amount"] + 2}) for number in consumer.rows
        ]

    def test_counts_are_those_of_the_rows_it_sees(
        self, stand: Stand, client: Client, consumer: Consumer
    ) -> None:
        """Also with a filter, on a column that it sees."""
        if not consumer.columns:
            assert stand.ask(client, consumer.name, Question((), count=True)).status == 403
            return
        assert stand.ask(client, consumer.name, Question((), count=True)).count == len(consumer.rows)
        few = stand.ask(client, consumer.name, Question((), ("id", "lt", 4), count=True))
        assert few.count == len([number for number in consumer.rows if number < 4])

    def test_rows_by_key(self, stand: Stand, client: Client, consumer: Consumer) -> None:
        """A row that is hidden is, in every word, like one that is not there."""
        if not consumer.columns:
            assert stand.ask(client, consumer.name, Question(ALL, key=1)).status == 403
            return
        hidden = [row["id"] for row in ROWS if row["id"] not in consumer.rows]
        for number in consumer.rows:
            reply = stand.ask(client, consumer.name, Question(("id",), key=number))
            assert reply.rows == ({"id": number},)
        absent = stand.ask(client, consumer.name, Question(("id",), key=99))
        assert absent.rows == ()
        for number in hidden:
            assert stand.ask(client, consumer.name, Question(("id",), key=number)) == absent

    def test_a_masked_column_tells_nothing(self, stand: Stand, client: Client, consumer: Consumer) -> None:
        """It can be neither filtered, sorted nor counted by; whatever the value, the answer is the same."""
        for column in consumer.masked:
            replies = set()
            for value in (ROWS[1][column], ROWS[2][column], "nobody has this"):
                for count in (False, True):
                    where: tuple[str, Operator, Any] = (column, "eq", value)
                    reply = stand.ask(client, consumer.name, Question(("id",), where, count=count))
                    assert (reply.rows, reply.count) == (None, None)
                    assert column in str(reply.refused)
                    assert value not in str(reply.refused)
                    replies.add((reply.status, reply.refused))
            assert len(replies) == 1
            reply = stand.ask(client, consumer.name, Question(("id",), sort=column))
            assert reply.rows is None
            assert column in str(reply.refused)

    def test_a_column_that_is_not_granted_is_like_one_that_is_not_there(
        self, stand: Stand, client: Client, consumer: Consumer
    ) -> None:
        """Selected, filtered or sorted by."""
        absent = "nothing"
        for column in set(ALL) - set(consumer.columns) if consumer.columns else ():
            questions: list[Callable[[str], Question]] = [
                lambda name: Question((name,)),
                lambda name: Question(("id",), (name, "eq", "x")),
                lambda name: Question(("id",), sort=name),
            ]
            for question in questions:
                withheld = stand.ask(client, consumer.name, question(column))
                unknown = stand.ask(client, consumer.name, question(absent))
                assert withheld.rows is None
                assert withheld.status == unknown.status
                assert str(withheld.refused).replace(column, absent) == unknown.refused

    # -- which version -----------------------------------------------------------------------------------------

    def test_the_version_is_said_and_older_ones_stay(self, stand: Stand, client: Client) -> None:
        """``as_of`` reads what was on show before."""
        newest = stand.ask(client, "steward", Question(("id", "amount"), ("id", "eq", 3)))
        older = stand.ask(client, "steward", Question(("id", "amount"), ("id", "eq", 3), as_of=0))
        assert (newest.version, newest.rows) == (1, ({"id": 3, "amount": 32},))
        assert (older.version, older.rows) == (0, ({"id": 3, "amount": 31},))

    def test_a_version_that_never_was(self, stand: Stand, client: Client) -> None:
        """Is told so, with how to go on."""
        reply = stand.ask(client, "steward", Question(("id",), as_of=77))
        assert reply.rows is None
        assert reply.status < 500
        assert reply.refused

    def test_before_the_first_version(self, stand: Stand, client: Client) -> None:
        """There is nothing to answer with: a matter of time, and nobody's fault."""
        reply = stand.ask(client, "steward", Question(("id",)), "empty")
        assert (reply.status, reply.rows) == (503, None)

    def test_a_new_version_is_shown_without_a_restart(self, tmp_path: Path) -> None:
        """And no question on the way stays without an answer."""
        import time

        stand = Stand(tmp_path, self.kind, self.sample)
        stand.add("shop")
        stand.publish("shop", 1)
        with Client(stand.serve()) as client:
            question = Question(("id", "amount"), ("id", "eq", 3))
            assert stand.ask(client, "steward", question).version == 0
            stand.publish("shop", 2)
            deadline = time.monotonic() + 30
            versions: list[int] = []
            while not versions or versions[-1] != 1:
                reply = stand.ask(client, "steward", question)
                assert reply.rows is not None, reply
                assert reply.version is not None
                assert reply.rows == ({"id": 3, "amount": 31 + reply.version},)
                versions.append(reply.version)
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert sorted(versions) == versions

    def test_a_port_whose_store_is_broken_degrades_alone(self, tmp_path: Path) -> None:
        """The other product's port answers as before; and the consumer learns nothing of the store."""
        import shutil

        stand = Stand(tmp_path, self.kind, self.sample)
        for product_id in ("shop", "broken"):
            stand.add(product_id)
            stand.publish(product_id, 1)
        shutil.rmtree(tmp_path / "data" / "broken" / "v1")
        with Client(stand.serve()) as client:
            reply = stand.ask(client, "steward", Question(("id",)), "broken")
            assert (reply.status, reply.rows) == (503, None)
            assert str(tmp_path) not in str(reply.refused)
            assert "v1" not in str(reply.refused).replace(stand.path("broken"), "")
            fine = stand.ask(client, "steward", Question(("id",)))
            assert fine.rows is not None
            assert len(fine.rows) == len(ROWS)

    # -- what must not be ---------------------------------------------------------------------------------------

    def test_no_value_is_taken_for_anything_else(self, stand: Stand, client: Client) -> None:
        """Filters hold values, whatever they look like."""
        for value in _ODD_VALUES:
            for operator in ("eq", "contains", "in"):
                given: Any = (value,) if operator == "in" else value
                reply = stand.ask(client, "steward", Question(("id",), ("region", operator, given)))
                assert reply.status < 500, reply
                if reply.rows is not None:
                    every = operator == "contains" and value == ""
                    assert len(reply.rows) == (len(ROWS) if every else 0), value
        assert stand.ask(client, "steward", Question((), count=True)).count == len(ROWS)

    def test_no_name_is_taken_for_anything_else(self, stand: Stand, client: Client) -> None:
        """Columns are columns of the dataset, or are refused."""
        for name in (*_ODD_VALUES[1:], "rowid", "id; --", '"id"', "id::text", "*", "count(*)"):
            for question in (
                Question(("id",), (name, "eq", "x")),
                Question(("id",), sort=name),
                Question((name,)),
            ):
                reply = stand.ask(client, "steward", question)
                assert reply.rows is None, (name, question)
                assert reply.status < 500, (name, question)

    def test_every_answer_is_written_down(self, stand: Stand, client: Client) -> None:
        """Who asked, which version was read, how many rows and which columns were given."""
        for question, rows, columns in (
            (Question(("id", "amount"), ("region", "eq", "EU")), 4, {"id", "amount", "region"}),
            (Question(("id", "name"), key=5), 1, {"id", "name"}),
        ):
            stand.served.clear()
            assert stand.ask(client, "steward", question).rows is not None
            exchange = stand.served[-1].exchange
            assert exchange is not None
            assert exchange.identity.subject == "steward"
            assert (exchange.version, exchange.rows) == (1, rows)
            assert columns <= set(exchange.columns)


def _class_of(kind: Any) -> type[Any]:
    found: type[Any] = kind.implementation
    return found


def read_published(
    kind: type[ServedPort[Any]],
    sample: ServedSample,
    project_root: Path,
    address: str,
    metadata: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """The rows of :func:`~dp_dagster.testing.published.publish_version` as a consumer of a served port sees them.

    What :class:`~dp_dagster.testing.output_ports.OutputSample` wants for ``read``, once the first three arguments are
    given. ``metadata`` must hold the port's ``path``.
    """
    from dp_dagster.access.view import ANONYMOUS, DatasetView
    from dp_dagster.ports.served import EXCHANGE, Exchange
    from dp_dagster.serving.hosts import Host
    from dp_dagster.storage.manifest import read_manifest

    settings = Settings(project_root=project_root)
    path: str = metadata["path"]
    product_id, major = _place(path)
    manifest = read_manifest(settings.storage, product_id)
    assert manifest is not None
    entries = manifest.ports[f"v{major}"]
    host = Host(
        address,
        _shelf(settings, product_id, major),
        lambda _: max(entry.version for entry in entries.values()),
        lambda *_: None,
    )
    host.follow(manifest)
    context = OutputContext(
        product_id, project_root, major, "sample_port", DATASET, CONTRACT, "", settings, key=CONTRACT.key
    )
    config = kind.Config.model_validate({"auth": "none", **sample.options})
    application = kind().application(config, context, host)
    names = tuple(column.name for column in CONTRACT.columns)
    exchange = Exchange(ANONYMOUS, DatasetView(DATASET, names))

    async def shell(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        scope[EXCHANGE] = exchange
        await application(scope, receive, send)

    with Client(shell) as client:
        reply = sample.ask(client, path, Question(names))
    assert reply.rows is not None, reply
    return [tuple(row[name] for name in names) for row in reply.rows]


@lru_cache(maxsize=4)
def _shelf(settings: Settings, product_id: str, major: int) -> Shelf:
    """The dataset's versions, as a server has them."""
    from concurrent.futures import ThreadPoolExecutor

    from dp_dagster.access.masks import Masks
    from dp_dagster.rows.builder import StoreBuilder
    from dp_dagster.rows.export import Exports
    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.shelf import Desk, Kept, Shelf
    from dp_dagster.rows.version import Limits
    from dp_dagster.storage import dataset_table

    folder = settings.state_directory
    engine = FilesEngine(memory="256MB", spill=folder / "spill")
    desk = Desk(
        state_directory=folder,
        engine=engine,
        exports=Exports(engine, folder / "exports", room=1 << 20, largest=1 << 30, seconds=60.0),
        builder=StoreBuilder(retention=0),
        workers=ThreadPoolExecutor(1),
        limits=Limits(),
        masks=Masks(None),
    )
    return Shelf(
        desk, dataset_table(settings.storage, product_id, major, DATASET), Kept(CONTRACT, CONTRACT.key)
    )


def _place(path: str) -> tuple[str, int]:
    """Product and major version of ``/product/v1/…``."""
    _, product_id, major, *_ = path.split("/")
    return product_id, int(major.removeprefix("v"))
