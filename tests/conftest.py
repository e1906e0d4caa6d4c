"""What all tests share: an isolated environment, temporary projects, real processes that are always ended.

A test that needs something beyond PyPI says so with ``@pytest.mark.needs("chromium")`` (see
``system_packages.py``). Where that is missing the test is not run, and the last lines of the report name it with
the reason: nothing is skipped in silence.
"""

from __future__ import annotations

import os

# Before any of them is imported: no test reports to the makers of the tools it uses.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
# Snowflake's client asks for the region of the machine that it may run on in Amazon's cloud.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

import contextlib
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# The suites of dp_dagster.testing show the values of failed assertions. Before anything imports them.
pytest.register_assert_rewrite("dp_dagster.testing")

import distribution
import hypothesis
import system_packages
from support import Processes, TestProject, end_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdist.remote import Producer
    from xdist.scheduler import Scheduling


# How long an example takes says nothing on a machine that does other things, too.
hypothesis.settings.register_profile("dp_dagster", deadline=None)
hypothesis.settings.load_profile("dp_dagster")

# -- what the machine lacks ----------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test may only need what ``system_packages`` knows. Several processes take the long ones first."""
    for item in items:
        for marker in item.iter_markers("needs"):
            unknown = set(marker.args) - set(system_packages.PACKAGES)
            if unknown or not marker.args:
                known = ", ".join(sorted(system_packages.PACKAGES))
                raise pytest.UsageError(f"{item.nodeid}: needs({', '.join(unknown)}): known are {known}")
    if hasattr(config, "workerinput"):
        items[:] = distribution.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """``--dist loadfile``, as the Makefile says it, keeps the files that wait together; see ``distribution``."""
    return distribution.ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Do not run a test whose system package is missing; :func:`pytest_terminal_summary` names it."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if system_packages.PACKAGES[name].find() is None:
                pytest.skip(system_packages.why_missing(name))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """After everything else, name each test that did not run and why."""
    result = yield
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("tests that were not run", sep="=", yellow=True)
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(
                f"not run: {report.nodeid} because {reason.removeprefix('Skipped: ')}"
            )
    return result


# -- isolation ---------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test, and no test touches the developer's Dagster home."""
    for name in list(os.environ):
        if name.startswith("DP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "unused-dagster-home"))


@pytest.fixture
def free_port() -> int:
    """A TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- projects ----------------------------------------------------------------------------------------------


@pytest.fixture
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], TestProject]:
    """Makes empty projects; fill them with ``add_product`` or ``copy_product``."""

    def make() -> TestProject:
        root = tmp_path_factory.mktemp("project")
        (root / "dp_dagster.toml").write_text('products = ["products/*"]\nstorage = "data"\n')
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DP_")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        environment["DAGSTER_HOME"] = str(root / ".dp" / "dagster")
        return TestProject(root, environment)

    return make


@pytest.fixture
def project(make_project: Callable[[], TestProject]) -> TestProject:
    """A project with the small product ``shops``."""
    made = make_project()
    made.add_product()
    return made


# -- processes -----------------------------------------------------------------------------------------


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts programs that the test needs beside it, and ends them with all their children."""
    running = Processes(tmp_path_factory.mktemp("logs"))
    try:
        yield running
    finally:
        for process in running.started:
            end_group(process)


# -- counterparts --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Chromium's executable, for tests marked ``needs("chromium")``."""
    return system_packages.PACKAGES["chromium"].path()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a private PostgreSQL server on a free port, without a trailing database name."""
    import psycopg

    programs = system_packages.PACKAGES["postgresql"].path()
    # Not below pytest's own folder, which only its owner may enter: PostgreSQL refuses to run as root, so that
    # it runs as the user that its Debian package brings.
    folder = Path(tempfile.mkdtemp(prefix="dp-postgresql-"))
    data = folder / "cluster"
    data.mkdir()
    identity: dict[str, int] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        identity = {"user": account.pw_uid, "group": account.pw_gid}
        for path in (folder, data):
            os.chown(path, account.pw_uid, account.pw_gid)
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd="/",
        **identity,  # type: ignore[call-overload]  # the keys are those of Popen
    )
    # Everybody is let in, but for one login that has to prove who it is.
    rules = data / "pg_hba.conf"
    rules.write_text(f"host all needs_password 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **identity,  # type: ignore[call-overload]  # the keys are those of Popen
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            # It listens before it lets anybody in.
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(f"postgresql://tester@127.0.0.1:{port}/postgres"),
            ):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.05)
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}"
    finally:
        end_group(server)
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_url(postgresql_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own, for tests marked ``needs("postgresql")``."""
    import psycopg

    name = f"test_{abs(hash(request.node.nodeid))}"
    address = postgresql_server.replace("+psycopg", "")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
    yield f"{postgresql_server}/{name}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server on loopback: moto, which keeps the conditions of writes as Amazon's does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    # A process of its own: Delta's library asks it without letting other threads of ours run.
    server = subprocess.Popen(
        [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 server did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        end_group(server)


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of an empty bucket of the test's own; the environment says how to reach it."""
    import fsspec

    from dp_dagster.storage.bucket_client import client

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tester-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # for readers of Delta that are not ours
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # No configuration of the developer's.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    # What this machine keeps of buckets is the test's own, too.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # It keeps file systems for a process, and with them the server that another test had.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    made = f"test-{uuid.uuid4().hex}"
    client().create_bucket(Bucket=made)
    return made


@pytest.fixture(scope="session")
def snowflake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Arguments of ``snowflake.connector.connect`` for fakesnow on loopback, for tests marked ``needs("fakesnow")``.

    It reads Snowflake's SQL with sqlglot and runs it on DuckDB: types, functions and regular expressions are
    DuckDB's where the two differ.
    """
    interpreter = system_packages.PACKAGES["fakesnow"].path()
    running = Processes(tmp_path_factory.mktemp("fakesnow"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program = system_packages.FAKESNOW / "server.py"
    server, log = running.start([interpreter, "-W", "ignore", program, str(port)], cwd=program.parent)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"fakesnow did not start: {log.read_text()}")
            time.sleep(0.05)
        yield {
            "user": "tester",
            "password": "any",
            "account": "fakesnow",
            "host": "127.0.0.1",
            "port": port,
            "protocol": "http",
            "enable_server_session_keep_alive_auto_detection": False,
            "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False},
        }
    finally:
        end_group(server)


@pytest.fixture
def snowflake(snowflake_server: dict[str, object], request: pytest.FixtureRequest) -> dict[str, object]:
    """As :func:`snowflake_server`, with an empty database of the test's own and its schema ``PUBLIC``.

    fakesnow makes databases when somebody logs in to them, and drops none.
    """
    name = f"TEST_{abs(hash(request.node.nodeid))}"
    return snowflake_server | {"database": name, "schema": "PUBLIC"}
