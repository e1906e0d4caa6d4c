"""What the README says can be done, is done: its commands, its example product, its links."""

from __future__ import annotations

import contextlib
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
def test_every_command_works(environment: dict[str, str]) -> None:
    """In the order of the README: what the demo publishes is what the later commands show."""
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
    commands = re.findall(r"^\$ (dp .*)$", README, re.MULTILINE)
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
