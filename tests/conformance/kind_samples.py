"""A working sample of every built-in kind."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import polars as pl
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from served_samples import SERVED_SAMPLES

from dp_dagster.ports.outputs.event_stream import EventStreamOutput
from dp_dagster.ports.outputs.graphql import GraphqlOutput
from dp_dagster.ports.outputs.rest import RestOutput
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.manifest import PortEntry, update_manifest
from dp_dagster.testing import Faulty, InputSample, OutputSample, Secret, TransformSample, publish_version
from dp_dagster.testing.published import CONTRACT, DATASET, ROWS
from dp_dagster.testing.served_alone import read_published

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_server import ApiShop

    from dp_dagster.testing import Workplace


# -- input ports ---------------------------------------------------------------------------------------------


def files_input(workplace: Workplace) -> InputSample:
    file = workplace.product_root / "rows.csv"
    file.write_text("name,at\nada,10:00:00\nben,11:30:00\n")
    secret = "http://ann:hunter2@localhost:1/rows.csv?token=hunter2"
    return InputSample(
        options={"path": "rows.csv"},
        change=lambda: file.write_text("name,at\nada,10:00:00\nben,11:30:00\ncy,12:00:00\n"),
        rows=2,
        rows_after_change=3,
        remove=file.unlink,
        faulty=(
            Faulty({"path": "../rows.csv"}, "path"),
            Faulty({"path": "/rows.csv"}, "path"),
            Faulty({"path": "file://rows.csv"}, "path"),
            Faulty({"path": "package:///rows.csv"}, "path"),
            Faulty({"path": "http://[rows.csv"}, "path"),
            Faulty({"path": "rows.unknown"}, "path"),
        ),
        secrets=(Secret({"path": secret}, "hunter2"), Secret({"path": f"zip://a.csv::{secret}"}, "hunter2")),
    )


def each_file_once(workplace: Workplace) -> InputSample:
    folder = workplace.product_root / "incoming"
    folder.mkdir()
    (folder / "1.csv").write_text("name\nada\nben\n")

    def remove() -> None:
        for file in folder.iterdir():
            file.unlink()

    options = {"path": "incoming/*.csv", "mode": "append"}
    return InputSample(
        options=options,
        change=lambda: (folder / "2.csv").write_text("name\ncy\n"),
        rows=2,
        rows_after_change=3,
        remove=remove,
        faulty=(
            Faulty({**options, "mode": "merge"}, "key"),
            Faulty({**options, "key": ["name"]}, "key"),
            Faulty({**options, "deleted": "gone"}, "deleted"),
            Faulty({**options, "credentials": {"key": "${KEY}"}}, "credentials"),
        ),
    )


def parquet_input(workplace: Workplace) -> InputSample:
    file = workplace.product_root / "rows.parquet"

    def write(count: int) -> None:
        pl.DataFrame({"number": list(range(count))}).write_parquet(file)

    write(2)
    return InputSample(
        options={"path": "rows.parquet"},
        change=lambda: write(3),
        rows=2,
        rows_after_change=3,
        remove=file.unlink,
    )


def product_input(workplace: Workplace) -> InputSample:
    settings, producer = workplace.settings, "producer"

    def publish(batch: int) -> None:
        snapshot = publish_version(settings, producer, batch)
        entry = PortEntry(
            kind="SQL",
            dataset=DATASET,
            area=snapshot.location.area,
            version=snapshot.version,
            published_at=snapshot.published_at.isoformat(),
            projected_at=snapshot.published_at.isoformat(),
            rows=snapshot.rows,
            columns=tuple(asdict(column) for column in CONTRACT.columns),
        )
        update_manifest(
            settings.storage, producer, lambda manifest: manifest.with_port(1, "vw_numbers", entry)
        )

    publish(1)
    return InputSample(
        options={"port": f"{producer}.vw_numbers@1"},
        change=lambda: publish(2),
        rows=ROWS,
        rows_after_change=ROWS,
        remove=(Path(settings.storage) / producer / "manifest.json").unlink,
    )


def sql_input(*, by_cursor: bool) -> Callable[[Workplace], InputSample]:
    """Over SQLite, which needs no server; a real PostgreSQL is read in tests/inputs."""

    def sample(workplace: Workplace) -> InputSample:
        file = workplace.product_root / "shop.db"
        options: dict[str, Any] = {"url": f"sqlite:///{file}", "table": "orders", "retries": 0}

        def run(*statements: str) -> None:
            with closing(sqlite3.connect(file)) as connection, connection:
                for statement in statements:
                    connection.execute(statement)

        run(
            "create table orders (id integer primary key, price numeric(10, 2), at datetime)",
            "insert into orders values (1, 1.5, '2026-01-01 10:00:00'), (2, 2.5, '2026-01-02 10:00:00')",
        )
        absent = "postgresql://localhost:1/shop"
        return InputSample(
            options={**options, **({"cursor": "at", "key": ["id"]} if by_cursor else {})},
            change=lambda: run("insert into orders values (3, 3.5, '2026-01-03 10:00:00')"),
            rows=2,
            rows_after_change=3,
            remove=lambda: run("drop table orders"),
            faulty=(
                Faulty({**options, "query": "select 1"}, "table"),
                Faulty({"url": absent}, "table"),
                Faulty({**options, "mode": "append"}, "mode"),
                Faulty({**options, "mode": "merge"}, "key"),
                Faulty({**options, "key": ["id"]}, "key"),
                Faulty({**options, "deleted": "gone"}, "deleted"),
                Faulty({**options, "overlap": 5}, "overlap"),
                Faulty({**options, "cursor": "id", "mode": "replace"}, "cursor"),
                Faulty({**options, "cursor": "id", "columns": ["price"]}, "columns"),
                Faulty({**options, "url": "postgresql://ann:hunter2@localhost/shop"}, "url"),
                Faulty({**options, "url": "shop"}, "url"),
            ),
            secrets=(
                Secret({**options, "url": "postgresql://ann:hunter2@localhost:1/shop"}, "hunter2"),
                Secret({**options, "url": "postgresql://localhost:1/shop?password=hunter2"}, "hunter2"),
                Secret({**options, "url": "postgresql://ann:hunter2@local host:x/shop"}, "hunter2"),
            ),
        )

    return sample


def http_input(*, by_cursor: bool) -> Callable[[Workplace, ApiShop], InputSample]:
    def sample(workplace: Workplace, api_shop: ApiShop) -> InputSample:
        options: dict[str, Any] = {
            "url": f"{api_shop.url}/link",
            "paging": {"by": "link_header"},
            "retries": 0,
        }
        cursor = {"cursor": "changed", "cursor_param": "since", "key": ["id"]} if by_cursor else {}
        absent = {"url": "http://localhost:1/x", "retries": 0}
        login = {"bearer": "${A}", "user": "${B}"}
        return InputSample(
            options={**options, **cursor},
            change=lambda: api_shop.records.append({"id": 3, "changed": "2026-01-03"}),
            rows=2,
            rows_after_change=3,
            remove=lambda: setattr(api_shop, "gone", True),
            faulty=(
                Faulty({"url": "ftp://host/x"}, "url"),
                Faulty({"url": "http://["}, "url"),
                Faulty({"url": "https://ann:hunter2@host/x"}, "url"),
                Faulty({"url": "https://host/x?access_token=hunter2"}, "url"),
                Faulty({**options, "watch": "nothing"}, "watch"),
                Faulty({**options, "cursor_param": "since"}, "cursor_param"),
                Faulty({**options, "start": 1}, "start"),
                Faulty({**options, "overlap": 1}, "overlap"),
                Faulty({**options, "body": {}}, "body"),
                Faulty({**options, "mode": "append"}, "mode"),
                Faulty({**options, "cursor": "id", "mode": "replace"}, "cursor"),
                Faulty({**options, "credentials": login}, "credentials"),
                Faulty({**options, "credentials": {}}, "credentials"),
                Faulty({**options, "credentials": {"token_url": "http://host"}}, "credentials"),
                Faulty({**options, "paging": {"by": "page", "path": "x"}}, "paging"),
                Faulty({**options, "paging": {"by": "page", "in_body": "x"}}, "paging"),
            ),
            secrets=(
                Secret({**absent, "url": "http://ann:hunter2@localhost:1/x"}, "hunter2"),
                Secret({**absent, "url": "http://localhost:1/x?token=hunter2"}, "hunter2"),
                Secret({**absent, "url": "http://ann:hunter2@local host:x/x"}, "hunter2"),
                Secret({**absent, "params": {"token": "hunter2"}}, "hunter2"),
            ),
        )

    return sample


def kafka_input(
    workplace: Workplace, kafka_topic: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> InputSample:
    servers, topic = kafka_topic
    options: dict[str, Any] = {"servers": servers, "topic": topic, "retries": 0, "timeout": 5}
    monkeypatch.setenv("SAMPLE_PASSWORD", "hunter2-and-more")
    login = {"user": "${SAMPLE_PASSWORD}", "password": "${SAMPLE_PASSWORD}"}

    def send() -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        producer.produce(topic, '{"id": 3}', partition=1)
        assert producer.flush(10) == 0

    def remove() -> None:
        # librdkafka's brokers delete no topics; whoever reads it meets an error of theirs instead.
        from dp_dagster.ports.inputs.kafka.topic import Topic

        monkeypatch.setattr(
            Topic, "_settings", lambda self: {**settings(self), "bootstrap.servers": "127.0.0.1:1"}
        )

    from dp_dagster.ports.inputs.kafka.topic import Topic

    settings = Topic._settings
    return InputSample(
        options=options,
        change=send,
        rows=2,
        rows_after_change=3,
        remove=remove,
        faulty=(
            Faulty({**options, "servers": "broker"}, "servers"),
            Faulty({**options, "servers": "ann:hunter2@broker:9092"}, "servers"),
            Faulty({**options, "mode": "replace"}, "mode"),
            Faulty({**options, "mode": "merge"}, "key"),
            Faulty({**options, "format": "text", "on_bad_message": "quarantine"}, "on_bad_message"),
        ),
        secrets=(Secret({**options, "timeout": 1, "credentials": login, "encrypted": False}, "hunter2"),),
    )


# -- output ports --------------------------------------------------------------------------------------------


def read_catalog(address: str, metadata: dict[str, Any]) -> list[tuple[Any, ...]]:
    with duckdb.connect(metadata["catalog"], read_only=True) as connection:
        return connection.sql(f"from {address}").fetchall()


def read_file(address: str, metadata: dict[str, Any]) -> list[tuple[Any, ...]]:
    readers: dict[str, Callable[..., pl.DataFrame]] = {
        "parquet": pl.read_parquet,
        "csv": pl.read_csv,
        "arrow": pl.read_ipc,
    }
    if metadata["format"] == "delta":
        return pl.read_delta(address).rows()
    if is_bucket(address):
        return readers[metadata["format"]](fsspec.filesystem("s3").cat_file(address)).rows()
    # Opened once, as the examples do: given a path, Polars opens it twice, and may meet two versions.
    with Path(address).open("rb") as file:
        return readers[metadata["format"]](file).rows()


def sql_output(workplace: Workplace) -> OutputSample:
    return OutputSample(
        options={},
        read=read_catalog,
        faulty=(
            Faulty({"endpoint": "oracle://host/db"}, "endpoint"),
            Faulty({"endpoint": "http://["}, "endpoint"),
        ),
        secrets=(Secret({"endpoint": "oracle://ann:hunter2@host/db"}, "hunter2"),),
    )


def read_postgresql(address: str, _: dict[str, Any]) -> list[tuple[Any, ...]]:
    host, database, schema, view = address.removeprefix("postgresql://").split("/")
    with psycopg.connect(f"postgresql://tester@{host}/{database}") as connection:
        return connection.execute(SQL("select * from {}").format(Identifier(schema, view))).fetchall()


@pytest.mark.slow
@pytest.mark.needs("postgresql")
def postgresql_output(
    workplace: Workplace, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> OutputSample:
    monkeypatch.setenv("SAMPLE_USER", "tester")
    place = f"postgresql://{postgresql_url.partition('@')[2]}"
    return OutputSample(
        options={"endpoint": f"{place}/numbers/sample_port", "credentials": "SAMPLE"},
        place=lambda context: {"endpoint": f"{place}/numbers_v{context.major}/{context.port_name}"}
        if (context.major, context.port_name) != (1, "sample_port")
        else {},
        read=read_postgresql,
        projections=10,
        faulty=tuple(
            Faulty({"endpoint": endpoint}, "endpoint")
            for endpoint in ("postgresql://host/db", "postgresql:///db/schema/view", "postgresql://host/db/schema/",
                             "postgresql://host/db/schema/view/more", "postgresql://host/db/schema/view?sslmode=disable",
                             "postgresql://ann:hunter2@host/db/schema/view", "postgresql://host:x/db/schema/view",
                             "postgresql://host/db/pg_catalog/view", f"postgresql://host/db/schema/{'x' * 64}",
                             "postgresql://host/db/sch%00ema/view")
        ),
        secrets=(Secret({"endpoint": "postgresql://ann:hunter2@host/db/schema/view"}, "hunter2"),),
    )  # fmt: skip


def read_snowflake(address: str, metadata: dict[str, Any]) -> list[tuple[Any, ...]]:
    import snowflake.connector

    database, schema, view = address.removeprefix("snowflake://").upper().split("/")
    server = {
        name.removeprefix("SAMPLE_").lower(): value for name, value in os.environ.items() if "SAMPLE_" in name
    }
    with snowflake.connector.connect(
        **server, database=database, enable_server_session_keep_alive_auto_detection=False,
        session_parameters={"CLIENT_TELEMETRY_ENABLED": False},
    ) as connection:  # fmt: skip
        return connection.cursor().execute(f'select * from "{database}"."{schema}"."{view}"').fetchall()


@pytest.mark.slow
@pytest.mark.needs("fakesnow")
def snowflake_output(
    workplace: Workplace, snowflake: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> OutputSample:
    for name in ("account", "user", "password", "host", "port", "protocol"):
        monkeypatch.setenv(f"SAMPLE_{name.upper()}", str(snowflake[name]))
    database = snowflake["database"]
    return OutputSample(
        options={"endpoint": f"snowflake://{database}/numbers/sample_port", "credentials": "SAMPLE"},
        place=lambda context: {
            "endpoint": f"snowflake://{database}/numbers_v{context.major}/{context.port_name}"
        }
        if (context.major, context.port_name) != (1, "sample_port")
        else {},
        read=read_snowflake,
        projections=4,
        faulty=tuple(
            Faulty({"endpoint": endpoint}, "endpoint")
            for endpoint in ("snowflake://db", "snowflake:///schema/view", "snowflake://db/schema/", "snowflake://db/a/b/c",
                             "snowflake://ann:hunter2@db/schema/view", "snowflake://db/schema/view?warehouse=x",
                             "snowflake://db/information_schema/view", f"snowflake://db/schema/{'x' * 256}")
        ),
        secrets=(Secret({"endpoint": "snowflake://ann:hunter2@db/schema/view"}, "hunter2"),),
    )  # fmt: skip


def files_output(file_format: str) -> Callable[[Workplace], OutputSample]:
    def sample(workplace: Workplace) -> OutputSample:
        return OutputSample(
            options={"format": file_format},
            read=read_file,
            faulty=tuple(
                Faulty({"format": file_format, "endpoint": endpoint}, "endpoint") for endpoint in WRONG_PLACES
            ),
            secrets=(
                Secret({"format": file_format, "endpoint": "s3://ann:hunter2@bucket/x/"}, "hunter2"),
                Secret({"format": file_format, "endpoint": "s3://bucket/x/?secret=hunter2"}, "hunter2"),
                Secret({"format": file_format, "endpoint": "sftp://ann:hunter2@host/x/"}, "hunter2"),
            ),
        )

    return sample


WRONG_PLACES = (
    "", "exports/", "../exports/", "/exports/../x/", "/", "s3://", "s3:///x/", "s3://B/x/", "s3://bucket//x/",
    "s3://bucket/../x/", "s3://bucket/a b/", "s3://bucket/x.txt/../", "http://host/x/", "http://[", "file://host/x/",
)  # fmt: skip


def files_elsewhere(file_format: str) -> Callable[[Workplace], OutputSample]:
    def sample(workplace: Workplace) -> OutputSample:
        folder = workplace.settings.project_root / "exports"
        return OutputSample(
            options={"format": file_format, "endpoint": f"{folder}/"}, read=read_file, projections=8
        )

    return sample


def files_in_a_bucket(file_format: str) -> Callable[[Workplace, str], OutputSample]:
    def sample(workplace: Workplace, bucket: str) -> OutputSample:
        return OutputSample(
            options={"format": file_format, "endpoint": f"s3://{bucket}/exports/"},
            read=read_file,
            projections=8,
        )

    return sample


def served_output(kind: type[Any]) -> Callable[[Workplace], OutputSample]:
    def sample(workplace: Workplace) -> OutputSample:
        return OutputSample(
            options={"auth": "none"},
            read=partial(read_published, kind, SERVED_SAMPLES[kind.kind], workplace.settings.project_root),
            faulty=tuple(
                Faulty({"auth": "none", "endpoint": endpoint}, "endpoint")
                for endpoint in ("ftp://host/x", "https://", "https://host", "https://host/", "https://host/x?y=1",
                                 "https://host/a b", "http://[", "https://ann:hunter2@host/x", "https://host/../x")
            ),
            secrets=(Secret({"auth": "none", "endpoint": "https://ann:hunter2@host/x"}, "hunter2"),),
        )  # fmt: skip

    return sample


# -- transforms ----------------------------------------------------------------------------------------------


def sql_transform(workplace: Workplace) -> TransformSample:
    for name, query in {
        "good.sql": "select number, 1::hugeint as one from numbers",
        "unbound.sql": "select nothing from numbers",
        "unparsed.sql": "select from where",
    }.items():
        (workplace.product_root / name).write_text(query)
    return TransformSample(
        options={"path": "good.sql"},
        rows=[(1, 1), (2, 1), (3, 1)],
        failing={name: {"path": name} for name in ("unbound.sql", "unparsed.sql", "absent.sql")},
        faulty=(Faulty({"path": "../good.sql"}, "path"), Faulty({"path": "absent.sql"}, "path")),
    )


def python_transform(workplace: Workplace) -> TransformSample:
    folder = workplace.product_root / "transforms"
    folder.mkdir()
    (folder / "helper.py").write_text("QUERY = 'select number, text from numbers'\n")
    (folder / "good.py").write_text(
        "from .helper import QUERY\n\n\ndef good(connection):\n    return connection.sql(QUERY).pl().lazy()\n"
    )
    (folder / "raising.py").write_text("def good(connection):\n    return {}['x']\n")
    (folder / "wrong.py").write_text("def good(connection):\n    return 5\n")
    (folder / "unparsed.py").write_text("def good(:\n")
    return TransformSample(
        options={"function": "transforms/good.py:good", "inputs": ["numbers"]},
        rows=[(1, "one"), (2, "it's"), (3, None)],
        failing={
            f"transforms/{name}.py": {"function": f"transforms/{name}.py:good"}
            for name in ("raising", "wrong", "unparsed")
        },
        faulty=(
            Faulty({"function": "transforms/good.py:absent"}, "function"),
            Faulty({"function": "transforms/absent.py:good"}, "function"),
            Faulty({"function": "../good.py:good"}, "function"),
            Faulty({"function": "transforms/unparsed.py:good"}, "function"),
        ),
    )


def dbt_transform(workplace: Workplace) -> TransformSample:
    project = workplace.settings.project_root / "dbt_project"
    for name, text in {
        "dbt_project.yml": "name: sample\n",
        "profiles.yml": "sample: {}\n",
        "models/shop/totals.sql": "select * from {{ source('input', 'numbers') }}\n",
        "models/shop/schema.yml": "version: 2\n",
        "macros/words.sql": "{% macro words() %}{% endmacro %}\n",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / "models/empty").mkdir()
    return TransformSample(
        options={"models": "shop"},
        rows=None,
        failing={},
        faulty=(Faulty({"models": "absent"}, "models"), Faulty({"models": "empty"}, "models")),
    )


#: Family and kind to its samples, by a name for each; a kind that is not here fails the suite. A sample is made from
#: the workplace and the fixtures that its other parameters name, and takes its marks along.
SAMPLES: dict[tuple[str, str], dict[str, Callable[..., Any]]] = {
    ("input_ports", "FILES"): {"landed": files_input, "in place": parquet_input, "each once": each_file_once},
    ("input_ports", "HTTP"): {"whole": http_input(by_cursor=False), "by cursor": http_input(by_cursor=True)},
    ("input_ports", "KAFKA"): {"": kafka_input},
    ("input_ports", "PRODUCT"): {"": product_input},
    ("output_ports", "SQL"): {
        "": sql_output,
        "postgresql": postgresql_output,
        "snowflake": snowflake_output,
    },
    ("input_ports", "SQL"): {"whole": sql_input(by_cursor=False), "by cursor": sql_input(by_cursor=True)},
    ("output_ports", "FILES"): {
        **{file_format: files_output(file_format) for file_format in ("parquet", "csv", "arrow", "delta")},
        "delta elsewhere": files_elsewhere("delta"),
        "parquet in a bucket": files_in_a_bucket("parquet"),
        "delta in a bucket": files_in_a_bucket("delta"),
    },
    ("output_ports", "REST_API"): {"": served_output(RestOutput)},
    ("output_ports", "EVENT_STREAM"): {"": served_output(EventStreamOutput)},
    ("output_ports", "GRAPHQL"): {"": served_output(GraphqlOutput)},
    ("transforms", "SQL"): {"": sql_transform},
    ("transforms", "PYTHON"): {"": python_transform},
    ("transforms", "DBT"): {"": dbt_transform},
}
