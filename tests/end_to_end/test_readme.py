"""What the README says can be done, is done: its commands, its example product, its links."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Processes, TestProject

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
#: Tested by itself below: it runs until it is stopped.
ENDLESS = "make dev"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The commands run in the repository, with storage and state elsewhere."""
    folder = tmp_path_factory.mktemp("readme")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DP_", "DAGSTER_HOME"))}
    return kept | {"DP_STORAGE": str(folder / "data"), "DP_STATE_DIRECTORY": str(folder / ".dp")}


def test_the_command_and_what_it_shows_come_first() -> None:
    first = README.splitlines()[:40]
    assert "make demo" in first
    assert any(line.startswith("![") for line in first)
    assert "```text" in first
    assert COMMANDS[0] == "make demo"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_command_works(environment: dict[str, str], free_port: int) -> None:
    """In the order of the README: what the demo publishes is what the later commands show, and what is served."""
    assert len(COMMANDS) > 5
    for command in COMMANDS:
        if command == ENDLESS:
            continue
        done = subprocess.run(
            # The README's reader publishes into the repository's data/, this test elsewhere.
            shlex.split(command.replace("'data/", f"'{environment['DP_STORAGE']}/")),
            check=False,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        assert done.stdout.strip(), f"{command} shows nothing"
        assert "Traceback" not in done.stdout
    _what_is_served(environment, free_port)


def _what_is_served(environment: dict[str, str], port: int) -> None:
    """The lines under "ask over HTTP", in one shell. Customers are simulated anew each time, so their values differ."""
    (block,) = (
        one
        for one in re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
        if "curl" in one
    )
    lines = block.splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    shown = [line for line in lines if not line.startswith("$ ")]
    ready = f"until curl -sf localhost:{port}/ready > /dev/null; do kill -0 $! && sleep 0.2 || exit; done"
    script = "\n".join(
        f"dp serve --port {port} &\n{ready}" if line == "dp serve &" else f"{line}; echo"
        for line in (command.replace("localhost:8700", f"localhost:{port}") for command in commands)
    )
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", f"set -u\ntrap 'kill $! && wait $!' EXIT\n{script}"],
        check=False,
        cwd=ROOT,
        env=environment | {"PATH": f"{bin_folder}{os.pathsep}{environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    expected = [json.loads(line) for line in shown]
    assert [one.keys() for one in answers] == [one.keys() for one in expected]
    *rows, problem, graph = answers
    assert [row["name"] for row in rows] == ["•••", "•••"]
    assert [row["name"] for row in expected[:-2]] == ["•••", "•••"]
    assert float(rows[0]["lifetime_value"]) >= float(rows[1]["lifetime_value"]) >= 1000
    assert {**problem, "request_id": ""} == {**expected[-2], "request_id": ""}
    (node,) = graph["data"]["customers"]["nodes"]
    assert node.keys() == expected[-1]["data"]["customers"]["nodes"][0].keys()
    assert node["name"] == "•••"


@pytest.mark.slow
def test_make_dev_answers_and_stops(
    environment: dict[str, str], processes: Processes, free_port: int
) -> None:
    """On a port of its own: the developer's may be running."""
    assert ENDLESS in COMMANDS
    address = f"http://127.0.0.1:{free_port}/server_info"
    process, log = processes.start(["make", "dev", f"ARGS=--port={free_port}"], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 240
    while True:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(address, timeout=5),
        ):
            break
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    # As Ctrl-C on a terminal does: the whole foreground group gets the signal.
    os.killpg(process.pid, signal.SIGINT)
    process.wait(90)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)


@pytest.mark.slow
def test_the_example_product_is_complete(project: TestProject) -> None:
    """The files and commands of "Write a product", word for word, in an empty project."""
    files = re.findall(r"^`(products/shops/[^`]+)`\n\n```\w+\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert {Path(name).name for name, _ in files} == {
        "product.yaml",
        "sales.csv",
        "totals.sql",
        "totals.py",
        "definitions.py",
    }
    (project.root / "products").rename(project.root / "unused")
    for name, text in files:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(text)
    section = README.partition("## Write a product")[2]
    commands = re.findall(r"^\$ (dp .*)$", section, re.MULTILINE)
    assert len(commands) == 3
    said = ""
    for command in commands:
        done = subprocess.run(
            [Path(sys.executable).parent / "dp", *shlex.split(command)[1:]],
            check=False,
            cwd=project.root,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = done.stdout
        assert done.returncode == 0, f"{command}\n{said}"
    assert re.search(r"north\W+15\b", said)
    assert re.search(r"south\W+7\b", said)
