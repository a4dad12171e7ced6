"""The page in a real browser: it fits, it filters, it sorts, and its numbers are the rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from metakg.evaluation.report import aggregate
from metakg.experiments.rows import read
from metakg.report import collect, write_page

playwright = pytest.importorskip("playwright.sync_api", reason='the browser tests need playwright (pip install ".[test]")')
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with (
        playwright.sync_playwright() as driver,
        closing(driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])) as started,
    ):
        yield started


@pytest.fixture
def visit(browser, runs, tmp_path):
    write_page(collect(runs), tmp_path / "report.html")
    opened = []

    def go(width: int = 1280, query: str = "", **context: Any) -> Any:
        place = browser.new_context(viewport={"width": width, "height": 900}, **context)
        page, problems = place.new_page(), []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(f"file://{tmp_path / 'report.html'}{query}")
        opened.append((place, problems))
        return page

    yield go
    for place, problems in opened:
        place.close()
        assert problems == []


def shown(page: Any, table: int = 0) -> dict[tuple[str, str], float]:
    """Return (model, scenario) -> number, of the cells that can be seen."""
    found = page.evaluate(
        """(n) => [...document.querySelectorAll("table.scores")[n].tBodies[0].rows].filter((r) => r.offsetParent).flatMap((r) =>
             [...r.cells].slice(1).filter((c) => c.offsetParent).map((c) =>
               [r.cells[0].textContent, c.dataset.scenario, parseFloat(c.querySelector("span").textContent)]))""",
        table,
    )
    return {(model, scenario): value for model, scenario, value in found}


def expected(runs, metric: str = "recall") -> dict[tuple[str, str], float]:
    rows = aggregate(r for r in read(runs / "table3.jsonl").rows if r["what"] == "quality")
    return {(r["model"], r["scenario"]): round(r["mean"], 4) for r in rows if r["metric"] == metric}


def test_numbers_are_the_rows_and_filters_filter(visit, runs) -> None:
    page = visit()
    everything = expected(runs)
    assert shown(page) == everything
    assert shown(page, 1) == expected(runs, "ndcg")
    page.click("button[data-filter=user_cold]")
    assert shown(page) == {key: value for key, value in everything.items() if key[1] == "user_cold"}
    assert page.locator("#fig-table3-recall .panel:visible").count() == 1
    page.click("button[data-group=floor]")
    assert set(shown(page)) == {("metakg", "user_cold")}
    page.click("button[data-filter='']")
    assert {model for model, _ in shown(page)} == {"metakg"}


def test_a_filter_is_in_the_address(visit, runs) -> None:
    page = visit(query="?scenario=warm")
    assert {scenario for _, scenario in shown(page)} == {"warm"}
    assert page.locator("button[data-filter=warm]").get_attribute("aria-pressed") == "true"


def test_columns_sort_by_click_and_by_key(visit) -> None:
    page = visit()
    column = "table.scores >> nth=0 >> th[data-scenario=user_cold] >> nth=0"
    page.click(column)
    down = [value for (_, scenario), value in shown(page).items() if scenario == "user_cold"]
    assert down == sorted(down, reverse=True)
    page.focus(column)
    page.keyboard.press("Enter")
    up = [value for (_, scenario), value in shown(page).items() if scenario == "user_cold"]
    assert up == sorted(up)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark"), (320, "light")])
def test_nothing_sticks_out(visit, width, scheme) -> None:
    page = visit(width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 31)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_it_works_without_script(visit, runs) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("table.scores").first.locator("tbody tr").count() == 3
    assert page.locator("figure svg").count() > 10


def test_paper_shows_everything(visit, runs) -> None:
    page = visit()
    page.click("button[data-filter=user_cold]")
    page.emulate_media(media="print")
    assert page.locator(".filters").is_hidden()
    assert shown(page) == expected(runs)
