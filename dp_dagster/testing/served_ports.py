"""The suite for served kinds: output ports that answer requests.

It publishes the dataset of :mod:`dp_dagster.testing.access`, serves it by the kind under test, in this process and with
everything that ``dp serve`` puts around it, and asks as each consumer of the table, with an API key of theirs. Every
served kind has to show each of them exactly what the table says. How a question is put is the sample's to say.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dp_dagster.access.view import ANONYMOUS
from dp_dagster.ports.base import OutputContext
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.settings import Settings
from dp_dagster.testing.access import ACCESS, COLUMNS, CONSUMERS, MASK_SECRET, ROWS, Keys
from dp_dagster.testing.access import CONTRACT as CONSUMERS_CONTRACT
from dp_dagster.testing.access import DATASET as PEOPLE
from dp_dagster.testing.asgi import Client
from dp_dagster.testing.published import CONTRACT, DATASET, publish_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from dp_dagster.predicates.model import Operator
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.rows.shelf import Shelf
    from dp_dagster.serving.shell import Served, Shell
    from dp_dagster.testing.access import Consumer

_PATIENCE_SECONDS = 60.0
_TEXT_OPERATORS: tuple[Operator, ...] = ("eq", "contains", "in")


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


PERSON = 3
"""A row that consumers ask for by its key."""
_ABSENT = 99
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


def people(number: int) -> pa.Table:
    """The first rows of the table of consumers, as they are published."""
    import pyarrow as pa

    types = (pa.int64(), pa.string(), pa.string(), pa.decimal128(10, 2), pa.string(), pa.date32())
    columns = list(zip(*ROWS[:number], strict=True))
    return pa.table(
        {name: pa.array(values, kind) for name, values, kind in zip(COLUMNS, columns, types, strict=True)}
    )


def as_json(consumer: Consumer, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row that a consumer sees, as JSON has it."""
    return {name: _plain(value) for name, value in zip(consumer.columns, row, strict=True)}


class Stand:
    """Products on disk, each with the dataset and a port of the kind under test, and a server of them in this process.

    Attributes:
        products: By id.
        keys: API keys of the consumers.
        served: What the access log was told, in order.
    """

    def __init__(self, folder: Path, kind: type[ServedPort[Any]], sample: ServedSample) -> None:
        from dp_dagster.access.authentication.api_keys import ApiKeys
        from dp_dagster.records import Records

        self.folder = folder
        self.kind = kind
        self.sample = sample
        # Without a wait for row stores: what is shown is the same.
        self.settings = Settings(project_root=folder, serve_patience=0.0)
        Path(self.settings.storage).mkdir()
        self.products: dict[str, ResolvedProduct] = {}
        self.keys = Keys(ApiKeys(Records(self.settings.resolved_records_url)))
        for consumer in CONSUMERS:
            # A server looks for new keys now and then only, so they are made before it begins.
            self.keys.headers(consumer)
        self.served: list[Served] = []

    def add(self, product_id: str) -> ResolvedProduct:
        """Another product."""
        from dp_dagster.registry import Registry
        from dp_dagster.resolve import resolve

        root = self.folder / "products" / product_id
        (root / "contracts").mkdir(parents=True)
        (root / "raw.csv").write_text("id\n1\n")
        (root / "contracts" / "people.py").write_text(CONSUMERS_CONTRACT)
        port = {"name": "served", "type": self.kind.kind, "auth": "api_key", **self.sample.options}
        descriptor = {
            "product_id": product_id,
            "version": "1.0.0",
            "input_ports": [{"name": "raw", "type": "FILES", "path": "raw.csv"}],
            "datasets": [{"name": PEOPLE, "from": "raw", "contract": "contracts/people.py:People"}],
            "output_ports": [port],
            "access": ACCESS,
        }
        (root / "product.yaml").write_text(json.dumps(descriptor))
        installed = Registry.load().find("input_ports", "FILES")
        assert installed is not None
        registry = Registry.of({"input_ports": [_class_of(installed)], "output_ports": [self.kind]})
        self.products[product_id] = made = resolve(root, self.settings, registry)
        return made

    def publish(self, product_id: str, rows: int) -> int:
        """Publish that many rows, have the port show them, and give the version's number."""
        from dp_dagster.pipeline import Session, project_port

        product = self.products[product_id]
        contract = product.dataset(PEOPLE).contract
        snapshot = publish_rows(self.settings, product_id, PEOPLE, contract, people(rows))
        project_port(Session(product, f"rows-{rows}"), "served")
        return snapshot.version

    def path(self, product_id: str) -> str:
        """Where a product's port is mounted."""
        from dp_dagster.pipeline import Session
        from dp_dagster.pipeline.projections import output_context

        product = self.products[product_id]
        port = product.port("served")
        return self.kind().path(port.config, output_context(Session(product, "tests"), port))

    def serve(self) -> Shell:
        """The server's application, which also tells us what it tells the access log."""
        from dp_dagster.serving.app import assemble

        shell = assemble(self.products.values(), self.settings)
        for product_id in self.products:
            route = shell.route_of(self.path(product_id))
            assert route is not None
            route.finished = self._listening(route.finished)
        return shell

    def ask(self, client: Client, consumer: Consumer, question: Question, product_id: str = "shop") -> Reply:
        """Put a question as a consumer."""
        client.headers = self.keys.headers(consumer)
        return self.sample.ask(client, self.path(product_id), question)

    def _listening(self, finished: Callable[[Served], None] | None) -> Callable[[Served], None]:
        def told(served: Served) -> None:
            self.served.append(served)
            if finished is not None:
                finished(served)

        return told


class ServedPortSuite:
    """Tests of what every served kind must keep. Give ``kind`` and ``sample``."""

    kind: ClassVar[type[ServedPort[Any]]]
    sample: ClassVar[ServedSample]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _mask_secret(cls) -> Iterator[None]:
        """The table of consumers says what hashes look like."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DP_MASK_SECRET", MASK_SECRET)
            yield

    @pytest.fixture(autouse=True)
    def _mask_secret_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a project's own fixtures have cleared the environment of a test."""
        monkeypatch.setenv("DP_MASK_SECRET", MASK_SECRET)

    @pytest.fixture(scope="class")
    @classmethod
    def stand(cls, tmp_path_factory: pytest.TempPathFactory) -> Stand:
        """A product with two published versions, of two rows and of all, and one that has published nothing yet."""
        stand = Stand(tmp_path_factory.mktemp("served"), cls.kind, cls.sample)
        stand.add("shop")
        stand.add("empty")
        stand.publish("shop", 2)
        stand.publish("shop", len(ROWS))
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

    @pytest.fixture
    def steward(self) -> Consumer:
        """A consumer who sees everything."""
        return next(one for one in CONSUMERS if one.rows == ROWS)

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

    def test_each_consumer_sees_what_the_table_says(
        self, stand: Stand, client: Client, consumer: Consumer
    ) -> None:
        """Rows, columns and masked values; and who may see nothing is told only that."""
        reply = stand.ask(client, consumer, Question(consumer.columns or COLUMNS))
        if not consumer.sees_something:
            assert reply.status == (401 if consumer.identity == ANONYMOUS else 403)
            assert reply.rows is None
            assert "Ada" not in str(reply.refused)
            return
        assert reply.rows is not None, reply
        found = sorted(reply.rows, key=lambda row: int(row["id"]))
        assert found == [as_json(consumer, row) for row in consumer.rows]

    def test_counts_are_those_of_the_rows_it_sees(
        self, stand: Stand, client: Client, consumer: Consumer
    ) -> None:
        """Also with a filter, on a column that it sees."""
        every = stand.ask(client, consumer, Question((), count=True))
        few = stand.ask(client, consumer, Question((), ("id", "lt", PERSON), count=True))
        if not consumer.sees_something:
            assert (every.count, few.count) == (None, None)
            return
        assert every.count == len(consumer.rows)
        assert few.count == len([key for key in consumer.keys if key < PERSON])

    def test_rows_by_key(self, stand: Stand, client: Client, consumer: Consumer) -> None:
        """A row that is hidden is, in every word, like one that is not there."""
        absent = stand.ask(client, consumer, Question(("id",), key=_ABSENT))
        if not consumer.sees_something:
            assert absent.rows is None
            return
        assert absent.rows == ()
        for row in ROWS:
            reply = stand.ask(client, consumer, Question(("id",), key=row[0]))
            if row[0] in consumer.keys:
                assert reply.rows == ({"id": row[0]},)
            else:
                assert reply == absent

    @pytest.fixture
    def touched(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """How often the data was asked since: statements of either engine, exports."""
        from dp_dagster.rows.export import Exports
        from dp_dagster.rows.files import FilesEngine
        from dp_dagster.rows.store import StoreFile

        found: list[str] = []

        def watch(kind: type[Any], name: str) -> None:
            real = getattr(kind, name)

            def watched(*arguments: Any, **further: Any) -> Any:
                found.append(f"{kind.__name__}.{name}")
                return real(*arguments, **further)

            monkeypatch.setattr(kind, name, watched)

        for kind, names in (
            (StoreFile, ("find", "bound", "select", "batches")),
            (FilesEngine, ("cursor",)),
            (Exports, ("stream", "file")),
        ):
            for name in names:
                watch(kind, name)
        return found

    def test_what_is_hidden_is_refused_before_the_data_is_touched(
        self, stand: Stand, client: Client, consumer: Consumer, steward: Consumer, touched: list[str]
    ) -> None:
        """So the time of a refusal tells nothing: filters, orders and counts by what is masked or withheld."""
        for column in sorted({*consumer.masked, *consumer.hidden}) if consumer.sees_something else ():
            for question in (
                Question(("id",), (column, "eq", "Ada")),
                Question(("id",), (column, "eq", "Nobody")),
                Question((), (column, "eq", "Ada"), count=True),
                Question(("id",), sort=column),
            ):
                assert stand.ask(client, consumer, question).rows is None
        assert touched == []
        assert stand.ask(client, steward, Question(("id",))).rows
        assert touched, "what is watched is what the port reads through"

    def test_a_masked_column_tells_nothing(self, stand: Stand, client: Client, consumer: Consumer) -> None:
        """It can be neither filtered, sorted nor counted by; whatever the value, the answer is the same."""
        values: dict[str, tuple[Any, ...]] = {
            "name": ("Ada", "Nobody"),
            "email": ("ada@example.com", "nobody@example.com"),
            "salary": ("9000.00", "1.00"),
        }
        for column in sorted(consumer.masked):
            for count in (False, True):
                replies = [
                    stand.ask(client, consumer, Question(("id",), (column, "eq", value), count=count))
                    for value in values[column]
                ]
                for reply, value in zip(replies, values[column], strict=True):
                    assert (reply.rows, reply.count) == (None, None)
                    assert column in str(reply.refused)
                    assert value not in str(reply.refused)
                assert replies[0] == replies[1]
            reply = stand.ask(client, consumer, Question(("id",), sort=column))
            assert reply.rows is None
            assert column in str(reply.refused)

    def test_a_column_that_is_not_granted_is_like_one_that_is_not_there(
        self, stand: Stand, client: Client, consumer: Consumer
    ) -> None:
        """Selected, filtered or sorted by."""
        absent = "nothing"
        questions: list[Callable[[str], Question]] = [
            lambda name: Question((name,)),
            lambda name: Question(("id",), (name, "eq", "1")),
            lambda name: Question(("id",), sort=name),
        ]
        for column in consumer.hidden if consumer.sees_something else ():
            for question in questions:
                withheld = stand.ask(client, consumer, question(column))
                unknown = stand.ask(client, consumer, question(absent))
                assert withheld.rows is None
                assert withheld.status == unknown.status
                assert str(withheld.refused).replace(column, absent) == unknown.refused

    # -- which version -----------------------------------------------------------------------------------------

    def test_the_version_is_said_and_older_ones_stay(
        self, stand: Stand, client: Client, steward: Consumer
    ) -> None:
        """``as_of`` reads what was on show before."""
        newest = stand.ask(client, steward, Question(("id",), key=PERSON))
        older = stand.ask(client, steward, Question(("id",), as_of=0))
        assert (newest.version, newest.rows) == (1, ({"id": PERSON},))
        assert (older.version, older.rows) == (0, ({"id": 1}, {"id": 2}))

    def test_a_version_that_never_was(self, stand: Stand, client: Client, steward: Consumer) -> None:
        """Is told so, with how to go on."""
        reply = stand.ask(client, steward, Question(("id",), as_of=77))
        assert reply.rows is None
        assert reply.status < 500
        assert reply.refused

    def test_before_the_first_version(self, stand: Stand, client: Client, steward: Consumer) -> None:
        """There is nothing to answer with: a matter of time, and nobody's fault."""
        reply = stand.ask(client, steward, Question(("id",)), "empty")
        assert (reply.status, reply.rows) == (503, None)

    def test_a_new_version_is_shown_without_a_restart(self, tmp_path: Path, steward: Consumer) -> None:
        """And no question on the way stays without an answer."""
        stand = Stand(tmp_path, self.kind, self.sample)
        stand.add("shop")
        stand.publish("shop", 2)
        versions: list[int] = []
        with Client(stand.serve()) as client:
            question = Question((), count=True)
            assert stand.ask(client, steward, question).count == 2
            stand.publish("shop", 4)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not versions or versions[-1] != 4:
                reply = stand.ask(client, steward, question)
                assert reply.count is not None, reply
                versions.append(reply.count)
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert versions == sorted(versions)
        assert set(versions) <= {2, 4}

    def test_a_port_whose_store_is_broken_degrades_alone(self, tmp_path: Path, steward: Consumer) -> None:
        """The other product's port answers as before; and the consumer learns nothing of the store."""
        stand = Stand(tmp_path, self.kind, self.sample)
        for product_id in ("shop", "broken"):
            stand.add(product_id)
            stand.publish(product_id, 2)
        shutil.rmtree(Path(stand.settings.storage) / "broken" / "v1")
        with Client(stand.serve()) as client:
            reply = stand.ask(client, steward, Question(("id",)), "broken")
            assert (reply.status, reply.rows) == (503, None)
            assert str(tmp_path) not in str(reply.refused)
            fine = stand.ask(client, steward, Question(("id",)))
            assert fine.rows == ({"id": 1}, {"id": 2})

    # -- what must not be ---------------------------------------------------------------------------------------

    def test_no_value_is_taken_for_anything_else(
        self, stand: Stand, client: Client, steward: Consumer
    ) -> None:
        """Filters hold values, whatever they look like."""
        for value in _ODD_VALUES:
            for operator in _TEXT_OPERATORS:
                given: Any = (value,) if operator == "in" else value
                reply = stand.ask(client, steward, Question(("id",), ("region", operator, given)))
                assert reply.status < 500, reply
                if reply.rows is not None:
                    known = [row[4] for row in ROWS]
                    expected = [
                        one for one in known if (value in one if operator == "contains" else value == one)
                    ]
                    assert len(reply.rows) == len(expected), (operator, value)
        assert stand.ask(client, steward, Question((), count=True)).count == len(ROWS)

    def test_no_name_is_taken_for_anything_else(
        self, stand: Stand, client: Client, steward: Consumer
    ) -> None:
        """Columns are columns of the dataset, or are refused."""
        for name in (*_ODD_VALUES[1:], "rowid", "id; --", '"id"', "id::text", "*", "count(*)"):
            for question in (
                Question(("id",), (name, "eq", "x")),
                Question(("id",), sort=name),
                Question((name,)),
            ):
                reply = stand.ask(client, steward, question)
                assert reply.rows is None, (name, question)
                assert reply.status < 500, (name, question)

    def test_every_answer_is_written_down(self, stand: Stand, client: Client, steward: Consumer) -> None:
        """Who asked, which version was read, how many rows and which columns were given or asked about."""
        for question, rows, columns in (
            (Question(("id", "name"), ("region", "eq", "north")), 2, {"id", "name", "region"}),
            (Question(("id", "name"), key=PERSON), 1, {"id", "name"}),
        ):
            stand.served.clear()
            assert stand.ask(client, steward, question).rows is not None
            exchange = stand.served[-1].exchange
            assert exchange is not None
            assert exchange.identity.subject == steward.identity.subject
            assert (exchange.version, exchange.rows) == (1, rows)
            assert columns <= set(exchange.columns)

    def test_secrets_stay_secret(self, stand: Stand, client: Client, steward: Consumer) -> None:
        """Of a refusal, neither the key of who asks nor the place of the data."""
        key = stand.keys.headers(steward)["authorization"].removeprefix("Bearer ")
        for question in (
            Question(("nothing",)),
            Question(("id",), as_of=77),
            Question(("id",), ("id", "eq", key)),
        ):
            reply = stand.ask(client, steward, question)
            assert reply.rows is None
            assert str(stand.folder) not in str(reply.refused)
        denied = stand.ask(
            client, next(one for one in CONSUMERS if one.name == "stranger"), Question(("id",))
        )
        assert key not in str(denied.refused)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return value.isoformat() if isinstance(value, date) else value


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
        _shelf(project_root, product_id, major),
        lambda _: max(entry.version for entry in entries.values()),
        lambda *_: None,
    )
    host.follow(manifest)
    context = OutputContext(
        product_id,
        project_root,
        major,
        path.rpartition("/")[2],
        DATASET,
        CONTRACT,
        "",
        settings,
        key=CONTRACT.key,
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
def _shelf(project_root: Path, product_id: str, major: int) -> Shelf:
    """The dataset's versions, as a server has them."""
    from concurrent.futures import ThreadPoolExecutor

    from dp_dagster.access.masks import Masks
    from dp_dagster.rows.builder import StoreBuilder
    from dp_dagster.rows.export import Exports
    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.shelf import Desk, Kept, Shelf
    from dp_dagster.rows.version import Limits
    from dp_dagster.storage import dataset_table

    settings = Settings(project_root=project_root)
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
