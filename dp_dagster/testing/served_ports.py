"""The suite for served kinds: output ports that answer requests.

It publishes the dataset of :mod:`dp_dagster.testing.access`, serves it by the kind under test, in this process and with
everything that ``dp serve`` puts around it, and asks as each consumer of the table, with an API key of theirs. Every
served kind has to show each of them exactly what the table says. How a question is put is the sample's to say.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dp_dagster.access.view import ANONYMOUS
from dp_dagster.ports.base import OutputContext
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.testing.access import COLUMNS, CONSUMERS, MASK_SECRET, ROWS
from dp_dagster.testing.asgi import Client
from dp_dagster.testing.published import CONTRACT
from dp_dagster.testing.served_stand import Question, Stand, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp_dagster.predicates.model import Operator
    from dp_dagster.testing.access import Consumer
    from dp_dagster.testing.served_stand import ServedSample

_PATIENCE_SECONDS = 60.0
_TEXT_OPERATORS: tuple[Operator, ...] = ("eq", "contains", "in")
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
