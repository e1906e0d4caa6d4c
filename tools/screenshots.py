"""Make the pictures of the documents from the running UI and server: ``make screenshots``.

Starts ``dp dev`` with all three products materialised into a temporary folder and ``dp serve`` beside it, and opens
their pages in Debian's Chromium, so that the pictures show what a reader will see. A test takes the same pictures.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev_server import ROOT, DevServer, free_port, published
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(ROOT / "tests"))
import system_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

IMAGES = ROOT / "docs" / "images"
#: Bytes. Pictures are part of every clone.
LARGEST = 400 * 1024
PORT = "/assets/customer_360/v1/port/vw_customers"
FRESHNESS_TIMEOUT = 120.0
SERVE_TIMEOUT = 120.0
#: Milliseconds that a page may take on a busy machine.
PATIENCE = 60_000

CONTROL = {
    "auth": {"type": "api_key"},
    "roles": {part: ["*"] for part in ("catalog", "schemas", "sla", "metrics", "audit", "policies")},
}


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: Of the file, without its ending.
        address: Path of the page.
        texts: What it shows once it is complete.
        gone: What it shows until then.
        served: Whether ``dp serve`` answers it; Dagster's UI otherwise.
        click: A text to press on first.
        height: Of the window, in pixels.
    """

    name: str
    address: str
    texts: tuple[str, ...]
    gone: str = ""
    served: bool = False
    click: str = ""
    height: int = 1000


PICTURES = (
    Picture("port", PORT, ("favourite_product", "How to get access")),
    Picture(
        "port-events",
        f"{PORT}?view=events",
        ("last publications", "consumers", "lineage of columns"),
    ),
    Picture("column-lineage", f"{PORT}?view=events", ("made from",), click="[Show Markdown]"),
    Picture(
        "checks",
        "/assets/flights/v1/dataset/flights?view=checks&checkDetail=contract",
        ("Latest execution", "equal_plane_known"),
    ),
    Picture(
        "policies",
        f"{PORT}?view=checks&checkDetail=policies",
        ("Latest execution", "sla_declared"),
    ),
    Picture("lineage", "/asset-groups", ("route_punctuality",), gone="fetching statuses"),
    Picture("automation", "/automation", ("customer_360_alerts", "customer_360_sla")),
    Picture("service-levels", "/sla", ("vw_customers", "availability"), served=True),
    Picture("catalogue", "/control/catalog", ("Customer 360", "customers_api"), served=True),
    Picture("served-port", "/customer_360/v1/customers/docs", ("customer_id",), served=True),
)

#: Replaces a text wherever the page shows it.
RENAME = """([old, shown]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(old, shown);
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=system_packages.PACKAGES["chromium"].path(), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(server: DevServer) -> Iterator[tuple[str, str]]:
    """``dp serve`` of what a server has published; gives its address and a key to it."""
    port = free_port()
    program = str(Path(sys.executable).parent / "dp")
    environment = {**server.environment, "DP_CONTROL": json.dumps(CONTROL)}
    made = subprocess.run(
        [program, "keys", "create", "analyst@example.com", "--role", "analyst", "--json"],
        cwd=server.project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    log = server.log.with_name("serve.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", "--port", str(port)],
            cwd=server.project,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(address, process, log)
        yield address, json.loads(made.stdout)["key"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SERVE_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=10):  # noqa: S310 - this machine's
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"dp serve is not ready\n{log.read_text(errors='replace')}")


def wait_for_freshness(server: DevServer) -> None:
    """The daemon evaluates freshness every 30 seconds."""
    deadline = time.monotonic() + FRESHNESS_TIMEOUT
    while time.monotonic() < deadline:
        status = server.node(PORT.removeprefix("/assets/"))["freshnessStatusInfo"]
        if status and status["freshnessStatus"] == "HEALTHY":
            return
        time.sleep(1)
    raise TimeoutError("freshness was not evaluated")


def take(picture: Picture, page: Page, address: str, server: DevServer, folder: Path) -> Path:
    """Take one picture.

    Raises:
        playwright.sync_api.TimeoutError: the page does not show what it should.
        ValueError: the picture is too large to be part of every clone.
    """
    page.set_viewport_size({"width": 1440, "height": picture.height})
    page.goto(address + picture.address)
    if picture.click:
        page.get_by_text(picture.click).last.click()
    for text in picture.texts:
        page.get_by_text(text).first.wait_for(timeout=PATIENCE)
    page.wait_for_load_state("networkidle")
    if picture.gone:
        expect(page.get_by_text(picture.gone)).to_have_count(0, timeout=PATIENCE)
    # A reader's project has its storage elsewhere: show the path as it is inside a project.
    page.evaluate(RENAME, [str(server.storage), "data"])
    file = folder / f"{picture.name}.png"
    page.screenshot(path=file)
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {LARGEST}")
    return file


def take_all(server: DevServer, browser: Browser, folder: Path) -> list[Path]:
    """Take all pictures of a server in which all products have been materialised."""
    found = []
    with serving(server) as (address, key):
        ui = browser.new_page()
        served = browser.new_page(extra_http_headers={"x-api-key": key})
        for picture in PICTURES:
            page, where = (served, address) if picture.served else (ui, server.url)
            found.append(take(picture, page, where, server, folder))
    return found


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder)) as server, chromium() as browser:
        wait_for_freshness(server)
        for file in take_all(server, browser, IMAGES):
            print(f"  {file.relative_to(ROOT)}: {file.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
