"""Make the pictures of the documents from the running UI: ``make screenshots``.

Starts ``dp dev`` with all three products materialised into a temporary folder, and opens their pages in Debian's
Chromium, so that the pictures show what a reader will see.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dev_server import ROOT, DevServer, published
from playwright.sync_api import sync_playwright

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

#: Name of the picture: page, and a text that it shows once it is complete.
PAGES = {
    "port": (PORT, "favourite_product"),
    "checks": ("/assets/flights/v1/dataset/flights?view=checks&checkDetail=contract", "Latest execution"),
    "lineage": ("/asset-groups", "route_punctuality"),
}

#: Replaces a text wherever the page shows it.
RENAME = """([old, shown]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(old, shown);
}"""


def chromium(width: int = 1440, height: int = 1000) -> Iterator[Page]:
    """A page of a headless Chromium."""
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=system_packages.PACKAGES["chromium"].path(), args=["--no-sandbox"]
        )
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def wait_for_freshness(server: DevServer) -> None:
    """The daemon evaluates freshness every 30 seconds."""
    deadline = time.monotonic() + FRESHNESS_TIMEOUT
    while time.monotonic() < deadline:
        status = server.node(PORT.removeprefix("/assets/"))["freshnessStatusInfo"]
        if status and status["freshnessStatus"] == "HEALTHY":
            return
        time.sleep(1)
    raise TimeoutError("freshness was not evaluated")


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder)) as server:
        wait_for_freshness(server)
        for page in chromium():
            for name, (address, text) in PAGES.items():
                page.goto(server.url + address)
                page.get_by_text(text).first.wait_for(timeout=60_000)
                page.wait_for_load_state("networkidle")
                # A reader's project has its storage elsewhere: show the path as it is inside a project.
                page.evaluate(RENAME, [str(server.storage), "data"])
                file = IMAGES / f"{name}.png"
                page.screenshot(path=file)
                size = file.stat().st_size
                if size > LARGEST:
                    raise SystemExit(f"{file} has {size} bytes, more than {LARGEST}")
                print(f"  {file.relative_to(ROOT)}: {size // 1024} KiB")


if __name__ == "__main__":
    main()
