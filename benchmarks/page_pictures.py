"""Take the pictures of docs/page.md from a running server, with Chromium.

    make serve &
    python benchmarks/page_pictures.py http://127.0.0.1:8000 docs/pictures

The pictures are of the demo's bookshop: the picks below are the first clicks of the reader that `metakg demo` introduces.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import sync_playwright

PICKS = "like=book-00371&like=book-00015&like=book-00361"
FACTS = (
    ("Relation", "is about"),
    ("What or whom", "lighthouses"),
    ("Relation", "has the genre"),
    ("What or whom", "Alternate history"),
)


def why(page: Any, server: str) -> None:
    """Show the reason behind the first recommendation."""
    page.goto(f"{server}/#/recommend?{PICKS}")
    page.locator(".way.adapted").first.wait_for()
    page.get_by_role("button", name="Why this?").first.click()
    page.locator(".why [data-drawn]").wait_for()
    page.locator(".around [data-drawn]").wait_for()


def new_item(page: Any, server: str) -> None:
    """Describe a book that does not exist, and show whom it would reach."""
    page.goto(f"{server}/#/new")
    page.get_by_label("Name").fill("The Lighthouse Keeper's Moon")
    for field, label in FACTS:
        page.get_by_role("combobox", name=field).fill(label)
        page.get_by_role("option", name=label, exact=True).click()
    page.locator(".people li").first.wait_for()


def main() -> None:
    """Write why.png (light), new-item.png (dark) and phone.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="address of a running `metakg serve`")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no chromium on the path")
    server = arguments.server.rstrip("/")
    shots: tuple[tuple[str, Callable[..., None], int, int, Literal["light", "dark"]], ...] = (
        ("why", why, 1220, 690, "light"),
        ("new-item", new_item, 1100, 820, "dark"),
        ("phone", why, 390, 860, "light"),
    )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, show, width, height, scheme in shots:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
            show(page, server)
            if name == "phone":
                page.locator(".results").scroll_into_view_if_needed()
                page.evaluate("scrollTo(0, document.querySelector('.results').offsetTop - 12)")
            page.wait_for_timeout(500)  # pictures fade in
            target = arguments.out / f"{name}.png"
            page.screenshot(path=target)
            print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
