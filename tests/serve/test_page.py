"""The web page in a real browser, against a real `metakg serve` on a generated bookshop.

Only states that a healthy server does not show (overload, a key, a broken line) are played to the page at the network's edge.
Every test also fails on an error in the console, on a request that leaves the server, and on markup that came from a label.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason='the browser tests need playwright (pip install ".[test]")')
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the browser tests need axe-playwright-python")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path (Debian: apt-get install chromium)")

LIKED = "like=book-00371&like=book-00015&like=book-00361"
VIEWS = ("recommend", "new", "model")
QUIET_MS = 600
"""Longer than the page's own pauses before it asks."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bookshop with the figures of its evaluation."""
    from metakg import evaluate, fit
    from metakg.generator import planted
    from metakg.splits import split

    cut = split(planted("demo", seed=1).dataset, protocol="strict", seed=1)
    fitted = fit("kg-knn", cut.train, seed=1)
    folder = tmp_path_factory.mktemp("shop") / "bundle"
    fitted.with_figures(evaluate(fitted, cut, k=20).rows).save(folder)
    return folder


def ready(address: str) -> bool:
    try:
        build_opener(ProxyHandler({})).open(f"{address}/api/health/ready", timeout=10).close()  # whatever proxy is set
    except HTTPError as err:  # the bundle is still being loaded
        err.close()
        return False
    return True


@contextmanager
def served(bundle: Path, folder: Path, keys: str | None = None) -> Iterator[str]:
    """Run `metakg serve` and return its address; it must end well when it is told to."""
    command = [sys.executable, "-m", "metakg.cli.main", "serve", str(bundle), "--port", "0", "--log-level", "warning"]
    environment = {
        **os.environ,
        "METAKG_STORE": str(folder / "store.sqlite"),
        **({} if keys is None else {"METAKG_KEYS": keys}),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, (line, (folder / "log").read_text())
            address = found.group().rstrip("/")
            end = time.monotonic() + 60
            while not ready(address):
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.05)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(bundle, tmp_path_factory.mktemp("open")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with (
        playwright.sync_playwright() as driver,
        closing(driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])) as started,
    ):
        yield started


@dataclass
class Visit:
    """One visitor: a page of its own, and what it asked, said and loaded."""

    page: Any
    server: str
    routes: list[re.Pattern[str]]
    """The documented interface; the page may use nothing else."""
    asked: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    """Parts of console messages that a test provokes on purpose."""

    def go(self, view: str = "recommend", query: str = "") -> None:
        self.page.goto(f"{self.server}/#/{view}{query and '?' + query}")
        if view == "recommend" and "like=" in query:
            expect(self.page.locator("[data-item] .way").first).to_have_text("from your picks")

    def rows(self) -> Any:
        return self.page.locator("[data-item]")

    def items(self) -> list[str]:
        return self.rows().evaluate_all("rows => rows.map((row) => row.dataset.item)")

    def search(self, name: str) -> Any:
        return self.page.get_by_role("combobox", name=name)

    def choose(self, field_name: str, text: str, label: str) -> None:
        self.search(field_name).fill(text)
        self.page.get_by_role("option", name=label, exact=True).click()

    def wait_for_picture(self, inside: str) -> None:
        self.page.locator(f"{inside} [data-drawn]").first.wait_for()

    def check_tidy(self) -> None:
        """Assert what holds at all times, whatever the test was about."""
        grave = [text for text in self.errors if not any(part in text for part in self.excused)]
        assert grave == []
        foreign = [request.url for request in self.asked if not request.url.startswith((self.server, "data:", "blob:"))]
        assert foreign == []
        asked = {f"{r.method} {urlsplit(r.url).path}" for r in self.asked if urlsplit(r.url).path.startswith("/api/")}
        assert [request for request in asked if not any(route.fullmatch(request) for route in self.routes)] == []
        assert self.page.evaluate("globalThis.planted") is None


@pytest.fixture(scope="module")
def routes(browser: Any, server: str) -> list[re.Pattern[str]]:
    page = browser.new_page()
    paths = page.request.get(f"{server}/api/openapi.json").json()["paths"]
    page.close()
    shapes = [(method.upper(), re.sub(r"\{\w+\}", "[^/]+", path)) for path, methods in paths.items() for method in methods]
    return [re.compile(f"{method} {shape}") for method, shape in shapes]


@pytest.fixture
def visitor(browser: Any, server: str, routes: list[re.Pattern[str]]) -> Iterator[Any]:
    """Return a function that opens a visit; all of them are checked at the end."""
    visits: list[Visit] = []

    def come(width: int = 1280, height: int = 900, server: str = server, **context: Any) -> Visit:
        page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(10_000)
        visit = Visit(page, server, routes)
        page.on("request", lambda request: visit.asked.append(request))
        page.on("console", lambda message: visit.errors.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visits.append(visit)
        return visit

    yield come
    for visit in visits:
        visit.check_tidy()
        visit.page.context.close()


@pytest.fixture
def visit(visitor: Any) -> Visit:
    return visitor()


def fail(
    visit: Visit, path: str, status: int, code: str = "x", message: str = "Words of the server.", times: int = 1, **error: Any
) -> None:
    """Let the next `times` requests to a path fail as the server would fail them; later ones reach it."""
    body = {"error": {"code": code, "message": message, "field": None, "retry_after_s": None, **error}}
    visit.page.route(
        f"**{path}",
        lambda route: route.fulfill(status=status, content_type="application/json", body=json.dumps(body)),
        times=times,
    )
    visit.excused.append(f"status of {status}")


# ------------------------------------------------------------------------------------------------ the journey


def test_from_the_first_click_to_the_reason(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(visit.rows()).to_have_count(10)
    expect(page.locator("[data-item] .way").first).to_have_text("popular")
    before = visit.items()

    visit.search("Search by name").press_sequentially("the pat", delay=20)
    expect(page.get_by_role("option").first).to_be_visible()
    page.get_by_role("option", name="The Patient Arboretum").click()
    expect(page.locator(".chip.like")).to_have_text("The Patient Arboretum")
    expect(page.locator("[data-item] .way").first).to_have_text("from your picks")
    expect(page.locator(".reason").first).to_contain_text("The Patient Arboretum")
    first = visit.items()
    assert first != before
    assert "book-00371" not in first

    # A heart in the list is a pick as well, and what is not liked goes away.
    second_row = visit.rows().nth(1)
    liked, unloved = first[1], first[0]
    second_row.get_by_role("button", name="Like").click()
    expect(page.locator(".chip.like")).to_have_count(2)
    page.locator(f"[data-item='{unloved}']").get_by_role("button", name="Not for me").click()
    expect(page.locator(".chip.dislike")).to_have_count(1)
    expect(page.locator(f"[data-item='{unloved}']")).to_have_count(0)
    expect(page.locator(f"[data-item='{liked}']")).to_have_count(0)
    expect(visit.rows()).to_have_count(10)

    # Why: the picture and the words say the same.
    row = visit.rows().first
    label = row.locator("h3").text_content()
    row.get_by_role("button", name="Why this?").click()
    visit.wait_for_picture(".why")
    paths = row.locator(".paths li")
    expect(paths.first).to_contain_text(re.compile(r"\d+% of what speaks for it"))
    expect(paths.first).to_contain_text(label)
    picked = page.locator(".chip.like").all_text_contents()
    assert all(text in picked for text in row.locator(".paths .own").all_text_contents())
    assert row.get_by_role("img").get_attribute("aria-label").startswith("The paths from your picks to")

    # The graph around the picks holds every liked thing, and its list says it in words.
    visit.wait_for_picture(".around")
    page.get_by_text("The same as a list").click()
    expect(page.locator(".around details h3")).to_have_count(2)

    # The address holds the picks: loading it again changes nothing.
    shown = visit.items()
    page.reload()
    expect(page.locator(".chip.like")).to_have_count(2)
    expect(page.locator(".chip.like").first).to_have_text("The Patient Arboretum")
    expect(page.locator("[data-item] .way").first).to_have_text("from your picks")
    assert visit.items() == shown

    page.get_by_role("button", name="Take back The Patient Arboretum").click()
    expect(page.locator(".chip.like")).to_have_count(1)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("[data-item] .way").first).to_have_text("popular")
    assert visit.items() == before


def test_the_words_agree_with_the_interface(visit: Visit) -> None:
    visit.go(query=LIKED)
    expect(visit.rows()).to_have_count(10)
    body = {"liked": ["book-00371", "book-00015", "book-00361"], "disliked": [], "n": 10, "explain": True}
    answer = visit.page.request.post(f"{visit.server}/api/session/recommend", data=body).json()
    assert visit.items() == [entry["item"] for entry in answer["items"]]
    assert visit.page.locator("[data-item] h3").all_text_contents() == [entry["label"] for entry in answer["items"]]
    visit.rows().first.get_by_role("button", name="Why this?").click()
    body = {"liked": body["liked"], "disliked": [], "item": answer["items"][0]["item"], "limit": 3}
    explained = visit.page.request.post(f"{visit.server}/api/session/explain", data=body).json()
    reasons, loss = explained["reasons"], explained["faithfulness"]
    shares = visit.page.locator(".paths .share strong")
    expect(shares).to_have_text([f"{reason['share']:.0%}" for reason in reasons])
    assert loss >= 0
    place = f"and stand at place {explained['rank_without']:,}"
    expect(visit.page.locator(".why")).to_contain_text(f"it would lose {loss:.0%} of what speaks for it {place}.")
    visit.wait_for_picture(".why")
    distinct = {(node["kind"], node["id"], node["label"]) for reason in reasons for node in reason["path"][::2]}
    expect(visit.page.locator(".why .graph")).to_have_attribute("data-drawn", str(len(distinct)))
    nodes = [part["label"] for part in reasons[0]["path"][::2]]
    assert visit.page.locator(".paths li").first.locator(".path b").all_text_contents() == nodes


def test_everything_can_be_done_with_the_keyboard(visit: Visit) -> None:
    page, keys = visit.page, visit.page.keyboard
    visit.go()
    expect(visit.rows()).to_have_count(10)
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    keys.press("Tab")
    field_ = visit.search("Search by name")
    expect(field_).to_be_focused()

    keys.type("the pat")
    expect(field_).to_have_attribute("aria-expanded", "true")
    keys.press("ArrowDown")
    options = page.get_by_role("option")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert field_.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    keys.press("ArrowUp")  # back to the text itself
    expect(options.first).to_have_attribute("aria-selected", "false")
    keys.press("ArrowUp")  # and round to the last
    expect(options.last).to_have_attribute("aria-selected", "true")
    keys.press("Escape")
    expect(field_).to_have_attribute("aria-expanded", "false")
    expect(field_).to_have_value("the pat")
    keys.press("Escape")
    expect(field_).to_have_value("")
    keys.type("the patient arb")
    expect(options).to_have_count(1)
    keys.press("Enter")
    expect(page.locator(".chip.like")).to_have_text("The Patient Arboretum")
    expect(field_).to_be_focused()
    expect(page.locator("[data-item] .way").first).to_have_text("from your picks")

    keys.press("Tab")  # the chip's own button
    expect(page.get_by_role("button", name="Take back The Patient Arboretum")).to_be_focused()
    keys.press("Tab")
    keys.press("Tab")
    why = visit.rows().first.get_by_role("button", name="Why this?")
    expect(why).to_be_focused()
    keys.press("Enter")
    expect(why).to_have_attribute("aria-expanded", "true")
    visit.wait_for_picture(".why")
    keys.press("Enter")
    expect(why).to_have_attribute("aria-expanded", "false")
    keys.press("Tab")
    keys.press("Space")  # the heart of the first row
    expect(page.locator(".chip.like")).to_have_count(2)
    # The row is gone; the focus stays in the list, on the heart that took its place.
    page.locator("[data-act=like]:focus").wait_for()
    expect(page.get_by_role("status")).to_contain_text("recommendations")

    page.get_by_role("button", name="Take back The Patient Arboretum").focus()
    keys.press("Enter")
    expect(page.locator(".chip.like")).to_have_count(1)
    expect(page.locator(".chip.like button")).to_be_focused()
    keys.press("Enter")
    expect(field_).to_be_focused()


def test_a_slow_old_answer_never_covers_a_newer_one(visit: Visit) -> None:
    page = visit.page
    visit.go()
    expect(visit.rows()).to_have_count(10)
    held: list[Any] = []
    page.route("**/api/session/recommend", lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Like The Patient Arboretum").click()
    page.wait_for_timeout(QUIET_MS)
    assert len(held) == 1
    visit.choose("Search by name", "the terraf", "The Terraformer's Elevator")
    expect(page.locator("[data-item] .way").first).to_have_text("from your picks")
    newest = visit.items()
    held[0].continue_()
    page.wait_for_timeout(QUIET_MS)
    assert visit.items() == newest
    sent = [r.post_data_json["liked"] for r in visit.asked if r.url.endswith("/session/recommend")]
    assert sent[-1] == ["book-00371", "book-00015"]


@pytest.mark.slow
def test_quick_clicks_make_one_question(visit: Visit) -> None:
    visit.go()
    expect(visit.rows()).to_have_count(10)
    hearts = visit.page.locator("[data-act=like]")
    hearts.evaluate_all("hearts => hearts.slice(0, 4).forEach((heart) => heart.click())")
    expect(visit.page.locator(".chip.like")).to_have_count(4)
    visit.page.wait_for_timeout(QUIET_MS)
    sent = [len(r.post_data_json["liked"]) for r in visit.asked if r.url.endswith("/session/recommend")]
    assert sent == [0, 4]


@pytest.mark.slow
def test_going_back_and_forth_keeps_the_picks(visit: Visit) -> None:
    visit.go(query=LIKED)
    expect(visit.page.locator(".chip.like")).to_have_count(3)
    visit.page.get_by_role("link", name="Model and health").click()
    expect(visit.page.get_by_role("heading", level=1)).to_be_focused()
    expect(visit.page.get_by_role("link", name="Model and health")).to_have_attribute("aria-current", "page")
    visit.page.go_back()
    expect(visit.page.locator(".chip.like")).to_have_count(3)
    expect(visit.page).to_have_title("Recommend · metakg")


@pytest.mark.slow
def test_ids_that_no_longer_exist_are_said_and_left_out(visit: Visit) -> None:
    visit.go(query="like=book-00371&like=gone-for-good")
    visit.excused.append("status of 404")
    expect(visit.page.locator(".notice")).to_contain_text("gone-for-good")
    expect(visit.page.locator(".chip.like")).to_have_text("The Patient Arboretum")
    expect(visit.rows()).to_have_count(10)


@pytest.mark.slow
def test_nothing_found_is_said(visit: Visit) -> None:
    visit.go()
    visit.search("Search by name").fill("qqqq")
    expect(visit.page.locator(".popup")).to_contain_text("Nothing here is called “qqqq”")
    expect(visit.page.get_by_role("status")).to_contain_text("Nothing found for qqqq")


def node(kind: str, label: str) -> dict[str, Any]:
    return {"kind": kind, "id": label, "label": label}


def edge(label: str, relation: str | None = "r", inverse: bool = False) -> dict[str, Any]:
    return {"relation": relation, "label": label, "inverse": inverse}


def test_a_path_in_one_line(visit: Visit) -> None:
    a, z, x = node("item", "A"), node("item", "Z"), node("entity", "X")
    expected = {
        "by X, like A": [a, edge("by"), x, edge("by", inverse=True), z],
        "3 other people picked this and A": [a, edge("clicked by", None), node("crowd", "3 other people"), edge("", None), z],
        # said of the item by the entity, so it cannot be said from the item's side
        "reached from A by way of X": [a, edge("by"), x, edge("shortlisted"), z],
        "reached from A by way of X and B": [a, edge("by"), x, edge("wrote"), node("item", "B"), edge("sequel"), z],
        "linked to A": [a, edge("sequel"), z],
    }
    others = [
        [a, edge("set in"), x, edge("printed in", "p", inverse=True), z],
        [a, edge("sequel of", inverse=True), x, edge("sequel of", inverse=True), z],
    ]
    visit.go()
    one_line = "async (paths) => paths.map((await import('/static/page/words.js')).oneLine)"
    assert visit.page.evaluate(one_line, list(expected.values())) == list(expected)
    assert visit.page.evaluate(one_line, others) == ["reached from A by way of X"] * 2, "it is not what both have in common"
    aloud = one_line.replace("oneLine", "aloud")
    assert visit.page.evaluate(aloud, list(expected.values())) == [
        "A by X; Z by X.",
        "3 other people picked A; and Z.",
        "A by X; X shortlisted Z.",
        "A by X; X wrote B; B sequel Z.",
        "A sequel Z.",
    ]


def test_numbers_and_ids_in_words(visit: Visit) -> None:
    visit.go()
    found = visit.page.evaluate(
        """async () => {
          const { duration, joined, many, slug } = await import('/static/page/words.js');
          return [duration(0.4), duration(59.6), duration(3700), duration(266400), many(1, 'path'), many(1200, 'path'),
                  slug("The Owl's  Nést!"), slug('…'),
                  joined({ kind: 'item' }, { relation: null, label: 'clicked by' }),
                  joined({ kind: 'crowd' }, { relation: null, label: 'clicked by' }),
                  joined({ kind: 'item' }, { relation: 'by', label: 'written by' })];
        }"""
    )
    assert found == [
        "0 s",
        "1 min",
        "1 h 1 min",
        "3 d 2 h",
        "1 path",
        "1,200 paths",
        "the-owls-nest",
        "",
        "clicked by",
        "who also clicked",
        "written by",
    ]


# ------------------------------------------------------------------------------------------------ a new item


def describe_a_new_book(visit: Visit, name: str) -> None:
    visit.go("new")
    visit.page.get_by_label("Name").fill(name)
    visit.choose("Relation", "is about", "is about")
    visit.choose("What or whom", "lighth", "lighthouses")
    visit.choose("Relation", "has the gen", "has the genre")
    visit.choose("What or whom", "alternate", "Alternate history")
    expect(visit.page.locator(".chip.fact")).to_have_count(2)


def test_a_new_item_shows_whom_it_would_reach(visit: Visit) -> None:
    visit.go("new")
    expect(visit.page.locator(".nothing-card")).to_be_visible()

    def whole(answer: Any) -> bool:
        return answer.url.endswith("/items/preview") and len(answer.request.post_data_json["facts"]) == 2

    with visit.page.expect_response(whole):
        describe_a_new_book(visit, "The Lighthouse Keeper's Moon")
    expect(visit.page.locator(".people li").first).to_be_visible()
    expect(visit.page.locator(".similar li").first).to_be_visible()
    body = [r.post_data_json for r in visit.asked if r.url.endswith("/items/preview")][-1]
    assert [fact["relation"] for fact in body["facts"]] == ["about", "genre"]
    answer = visit.page.request.post(f"{visit.server}/api/items/preview", data=body).json()
    expect(visit.page.locator(".people .name")).to_have_text([user["label"] for user in answer["users"]])
    expect(visit.page.locator(".similar li")).to_have_text([item["label"] for item in answer["similar"]])

    # Fewer facts, another answer; no facts, none.
    visit.page.get_by_role("button", name="Remove: has the genre Alternate history").click()
    expect(visit.page.locator(".chip.fact")).to_have_count(1)
    visit.page.get_by_role("button", name="Remove: is about lighthouses").click()
    expect(visit.page.locator(".people")).to_have_count(0)
    assert not [r for r in visit.asked if r.method == "PUT"]


def test_a_new_item_needs_no_name_to_be_thought_of(visit: Visit) -> None:
    visit.go("new")
    visit.choose("Relation", "is about", "is about")
    visit.choose("What or whom", "lighth", "lighthouses")
    expect(visit.page.locator(".people li").first).to_be_visible()
    expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_a_browser_that_keeps_nothing_is_served_all_the_same(visit: Visit) -> None:
    refuse = "{ get() { throw new DOMException('no', 'SecurityError'); } }"
    both = "for (const name of ['sessionStorage', 'localStorage'])"
    visit.page.add_init_script(f"{both} Object.defineProperty(globalThis, name, {refuse});")
    visit.go()
    expect(visit.rows()).to_have_count(10)
    visit.page.get_by_role("button", name="Key", exact=True).click()
    visit.page.get_by_role("textbox", name="Key").fill("a\u2011b")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("No key has such characters")
    visit.page.get_by_role("textbox", name="Key").fill("a-b")
    with visit.page.expect_request(lambda request: request.headers.get("x-api-key") == "a-b"):
        visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("button", name="Key (set)")).to_be_visible()


def test_names_that_could_not_be_had_at_once_come_later(visit: Visit) -> None:
    fail(visit, "/api/items/book-00371", 503, times=2, retry_after_s=1)
    visit.go(query="like=book-00371")
    chip = visit.page.locator(".chip.like")
    expect(chip).to_contain_text("book-00371")
    expect(chip).not_to_contain_text("book-00371")


def test_a_search_goes_on_however_many_are_picked_and_its_error_can_be_reached(visit: Visit) -> None:
    many = "&".join(f"like=book-{number:05}" for number in range(1, 46))
    visit.excused.append("status of 404")
    visit.go(query=many)
    fail(visit, "/api/search?**", 500)
    visit.page.get_by_role("combobox").first.fill("the")
    trouble = visit.page.locator(".popup").get_by_role("alert")
    expect(trouble).to_contain_text("The server made a mistake.")
    visit.page.keyboard.press("Tab")
    expect(trouble.get_by_role("button", name="Try again")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("option").first).to_be_visible()
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_role("option")).to_have_count(0)


def test_a_new_item_can_be_kept_liked_and_taken_out(visit: Visit) -> None:
    page = visit.page
    describe_a_new_book(visit, "The Lighthouse Keeper's Moon")
    expect(page.get_by_label("Id in the catalogue")).to_have_value("the-lighthouse-keepers-moon")
    visit.excused.append("status of 404")  # the page first asks whether the id is free
    page.get_by_label("Id in the catalogue").fill("book-00371")
    page.get_by_role("button", name="Add it to the catalogue").click()
    expect(page.get_by_role("alert")).to_contain_text("That id is taken")
    page.get_by_label("Id in the catalogue").fill("page-test-1")
    page.get_by_role("button", name="Add it to the catalogue").click()
    expect(page.locator(".keep.done")).to_contain_text("page-test-1")
    page.get_by_role("button", name="Like it and see what follows").click()
    expect(page.locator(".chip.like")).to_have_text("The Lighthouse Keeper's Moon")
    visit.wait_for_picture(".around")
    expect(page.locator(".reason").first).to_contain_text("The Lighthouse Keeper's Moon")
    answer = page.request.delete(f"{visit.server}/api/items/page-test-1")
    assert answer.ok
    page.reload()
    expect(page.locator(".notice")).to_contain_text("page-test-1")


def test_a_name_that_is_markup_stays_a_name(visit: Visit) -> None:
    page = visit.page
    name = "<img src=x onerror='planted=1'><b>Bold</b> & \"quoted\""
    describe_a_new_book(visit, name)
    visit.excused.append("status of 404")
    page.get_by_label("Id in the catalogue").fill("page-test-2")
    page.get_by_role("button", name="Add it to the catalogue").click()
    page.get_by_role("button", name="Like it and see what follows").click()
    expect(page.locator(".chip.like")).to_have_text(name)
    visit.wait_for_picture(".around")
    visit.rows().first.get_by_role("button", name="Why this?").click()
    visit.wait_for_picture(".why")
    expect(page.locator(".paths")).to_contain_text(name)
    assert page.locator("main img").count() == 0
    page.get_by_role("button", name=f"Take back {name}").click()
    visit.search("Search by name").fill("<img")
    expect(page.locator(".popup")).to_contain_text("<img")
    assert page.request.delete(f"{visit.server}/api/items/page-test-2").ok


# ------------------------------------------------------------------------------------------------ the model and its server


def test_the_figures_are_those_of_the_bundle(visit: Visit) -> None:
    page = visit.page
    visit.go("model")
    status = page.request.get(f"{visit.server}/api/status").json()
    rows = [row for row in status["cold_start"] if row["metric"] == "ndcg" and row["k"] == 20]
    assert len(rows) >= 3
    expect(page.locator(".chart .value")).to_have_text([f"{row['mean']:.4f}" for row in rows])
    expect(page.locator(".chart .name").first).to_have_text("New users")
    page.get_by_label("Measure").select_option("recall@20")
    recalls = [row["mean"] for row in status["cold_start"] if row["metric"] == "recall" and row["k"] == 20]
    expect(page.locator(".chart .value")).to_have_text([f"{mean:.4f}" for mean in recalls])
    expect(page.get_by_role("columnheader")).to_have_text(["Scenario", "Recall@20", "NDCG@20", "Judged users"])
    expect(page.locator("main")).to_contain_text(
        "Protocol: strict. Every item is ranked; what the user had picked is left out."
    )
    expect(page.locator(".lights .good")).to_have_count(2)
    expect(page.locator(".figures").first).to_contain_text(status["model"])
    expect(page.locator(".figures").first).to_contain_text(f"{status['counts']['interactions']:,}")
    expect(page.get_by_role("region", name="Health")).to_contain_text("events kept")
    expect(page.get_by_role("region", name="Health")).to_contain_text(re.compile(r"half within\d"))


def test_latency_is_read_from_the_buckets(visit: Visit) -> None:
    text = "\n".join(
        f'metakg_request_seconds_bucket{{le="{le}",route="{route}"}} {count}'
        for route, counts in {
            "/api/search": (40.0, 60.0, 98.0, 100.0),
            "/api/items/{item}": (0.0, 20.0, 100.0, 100.0),
            "/api/health/live": (9000.0, 9000.0, 9000.0, 9000.0),
            "/static/x": (9000.0, 9000.0, 9000.0, 9000.0),
        }.items()
        for le, count in zip(("0.001", "0.005", "0.25", "+Inf"), counts, strict=True)
    )
    visit.go()
    latency = "async (text) => (await import('/static/page/model.js')).latency(text)"
    # 200 answers: 40 within 1 ms, 80 within 5 ms, 198 within 250 ms
    assert visit.page.evaluate(latency, text) == {"answers": 200, "half_within": "250 ms", "99%_within": "250 ms"}
    slower = text.replace("98.0", "97.0")
    assert visit.page.evaluate(latency, slower)["99%_within"] == "more than 250 ms"
    assert visit.page.evaluate(latency, "# nothing yet\n") == {}


@pytest.mark.slow
def test_a_bundle_without_figures_says_so(visit: Visit) -> None:
    def without(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "cold_start": []})

    visit.page.route("**/api/status", without)
    visit.go("model")
    expect(visit.page.locator("main")).to_contain_text("The bundle carries no figures")


@pytest.mark.slow
def test_a_server_that_is_not_ready_is_shown_until_it_is(visit: Visit) -> None:
    fail(visit, "/api/health/ready", 503, times=2)
    visit.go("model")
    expect(visit.page.locator(".lights li").first).to_contain_text("answers")
    expect(visit.page.locator(".lights li").nth(1)).to_contain_text("not ready")
    expect(visit.page.locator(".light.bad")).to_have_count(1)
    expect(visit.page.locator(".lights li").nth(1)).to_contain_text("takes requests")


@pytest.mark.slow
def test_the_figures_of_the_server_go_on_by_themselves(visit: Visit) -> None:
    visit.page.clock.install()
    visit.go("model")
    total = visit.page.locator("dt", has_text="in all").locator("+ dd")
    before = int(total.text_content().replace(",", ""))
    visit.page.clock.run_for(6_000)
    expect(total).not_to_have_text(f"{before:,}")
    assert int(total.text_content().replace(",", "")) > before
    assert len([request for request in visit.asked if request.url.endswith("/api/status")]) == 2


# ------------------------------------------------------------------------------------------------ when things go wrong


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "The server is not ready yet."),
        pytest.param(429, "Too many requests for the moment.", marks=pytest.mark.slow),
        pytest.param(504, "The server took too long.", marks=pytest.mark.slow),
    ],
)
def test_what_passes_is_tried_again(visit: Visit, status: int, said: str) -> None:
    fail(visit, "/api/session/recommend", status, times=1, retry_after_s=1.5)
    visit.go()
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text(said)
    expect(alert).to_contain_text("Words of the server.")
    expect(alert).to_contain_text("Trying again in")
    expect(visit.rows()).to_have_count(10)
    expect(alert).to_have_count(0)


def test_a_broken_line_is_said_and_mended(visit: Visit) -> None:
    visit.go(query=LIKED)
    expect(visit.rows()).to_have_count(10)
    shown = visit.items()
    visit.excused.append("ERR_INTERNET_DISCONNECTED")
    visit.page.context.set_offline(True)
    visit.rows().first.get_by_role("button", name="Like").click()
    expect(visit.page.locator(".results").get_by_role("alert")).to_contain_text("The server cannot be reached.")
    assert visit.items() == shown  # the last good answer stays in sight
    visit.page.context.set_offline(False)
    expect(visit.page.locator(".results").get_by_role("alert")).to_have_count(0)
    expect(visit.page.locator(f"[data-item='{shown[0]}']")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "said"),
    [(422, "The server did not accept that."), pytest.param(500, "The server made a mistake.", marks=pytest.mark.slow)],
)
def test_what_does_not_pass_waits_for_the_visitor(visit: Visit, status: int, said: str) -> None:
    fail(visit, "/api/session/recommend", status, times=1, field="body.liked.0")
    visit.go()
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text(said)
    expect(alert).to_contain_text("body.liked.0")
    visit.page.wait_for_timeout(1500)
    assert len([r for r in visit.asked if r.url.endswith("/session/recommend")]) == 1
    alert.get_by_role("button", name="Try again").click()
    expect(visit.rows()).to_have_count(10)


@pytest.mark.slow
def test_a_reason_that_cannot_be_had_leaves_the_rest_alone(visit: Visit) -> None:
    fail(visit, "/api/session/explain", 500)
    visit.go(query=LIKED)
    visit.rows().first.get_by_role("button", name="Why this?").click()
    expect(visit.rows().first.get_by_role("alert")).to_contain_text("The server made a mistake.")
    expect(visit.rows()).to_have_count(10)
    visit.rows().first.get_by_role("button", name="Try again").click()
    visit.wait_for_picture(".why")


@pytest.mark.slow
def test_a_model_without_paths_recommends_all_the_same(visitor: Any, tmp_path: Path) -> None:
    from metakg import fit
    from metakg.testing import toy_view

    plain = fit("fm", toy_view(), training={"loop": {"epochs": 1}})
    assert not plain.explains
    plain.save(tmp_path / "bundle")
    with served(tmp_path / "bundle", tmp_path) as address:
        visit = visitor(server=address)
        visit.excused.append("status of 422")
        visit.go()
        visit.rows().first.get_by_role("button", name="Like").click()
        expect(visit.page.locator(".way.adapted").first).to_be_visible()
        expect(visit.page.locator(".reason").first).to_have_text("fits your picks as a whole")
        visit.rows().first.get_by_role("button", name="Why this?").click()
        expect(visit.rows().first).to_contain_text("This model cannot take its answers apart")


def test_a_key_is_asked_for_used_and_kept_for_this_tab_only(visitor: Any, bundle: Path, tmp_path: Path) -> None:
    from metakg.serve.auth import new_key

    (reads, read_digest), (writes, write_digest) = new_key(), new_key()
    with served(bundle, tmp_path, f"read:a:{read_digest} write:b:{write_digest}") as locked:
        visit = visitor(server=locked)
        visit.excused += ["status of 401", "status of 403", "status of 404"]
        page = visit.page
        visit.go()
        expect(page.get_by_role("alert")).to_contain_text("This server asks for a key.")
        for word, rows in (("wrong", 0), (reads, 10)):
            page.locator(".trouble").get_by_role("button", name="Enter a key").click()
            expect(page.get_by_role("dialog")).to_be_visible()
            page.get_by_role("textbox", name="Key").fill(word)
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(visit.rows()).to_have_count(rows)
        kept = "[sessionStorage.getItem('metakg.key'), localStorage.length, document.cookie]"
        assert page.evaluate(kept) == [reads, 0, ""]
        assert not [request.url for request in visit.asked if reads in request.url]

        # A key that may only read is told what is missing; one that may write does it.
        describe_a_new_book(visit, "Locked In")
        page.get_by_role("button", name="Add it to the catalogue").click()
        trouble = page.locator(".keep").get_by_role("alert")
        expect(trouble).to_contain_text("needs a key with the role “write”")
        trouble.get_by_role("button", name="Enter a key").click()
        page.get_by_role("textbox", name="Key").fill(writes)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Add it to the catalogue").click()
        expect(page.locator(".keep.done")).to_contain_text("locked-in")
        page.get_by_role("button", name="Take it out again").click()
        expect(page.locator(".keep.done")).to_have_count(0)

        page.get_by_role("button", name="Key (set)").click()
        page.get_by_role("button", name="Forget the present key").click()
        visit.go()
        expect(page.locator(".results").get_by_role("alert")).to_contain_text("This server asks for a key.")
        assert page.evaluate("sessionStorage.length") == 0


# ------------------------------------------------------------------------------------------------ for everybody


@pytest.mark.parametrize("width", [360, pytest.param(390, marks=pytest.mark.slow)])
def test_a_phone_never_scrolls_sideways(visitor: Any, width: int) -> None:
    visit = visitor(width, 800)
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    visit.go(query=LIKED)
    tabs = visit.page.locator("nav a").evaluate_all("tabs => tabs.map((tab) => tab.getClientRects()[0].height)")
    assert max(tabs) < 40  # each on one line
    visit.rows().first.get_by_role("button", name="Why this?").click()
    visit.wait_for_picture(".why")
    visit.wait_for_picture(".around")
    assert visit.page.evaluate(too_wide) <= 0
    describe_a_new_book(visit, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft")
    expect(visit.page.locator(".people li").first).to_be_visible()
    assert visit.page.evaluate(too_wide) <= 0
    visit.go("model")
    expect(visit.page.locator("table")).to_be_visible()
    assert visit.page.evaluate(too_wide) <= 0
    small = visit.page.locator("button:visible, nav a:visible").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect()).filter((b) => b.width < 24 || b.height < 24).length"
    )
    assert small == 0  # WCAG 2.2, target size


@pytest.mark.slow
def test_dark_follows_the_system_until_it_is_chosen(visitor: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = visitor(color_scheme="dark")
    dark.go()
    light = visitor(color_scheme="light")
    light.go()
    night, day = dark.page.evaluate(ground), light.page.evaluate(ground)
    assert night != day
    light.page.get_by_role("button", name="Use the dark theme").click()
    assert light.page.evaluate(ground) == night
    light.page.reload()
    assert light.page.evaluate(ground) == night
    light.page.get_by_role("button", name="Use the light theme").click()
    assert light.page.evaluate(ground) == day


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_view_breaks_the_accessibility_rules(visitor: Any, scheme: str) -> None:
    visit = visitor(color_scheme=scheme, reduced_motion="reduce")
    checker = axe.Axe()

    def check(about: str) -> None:
        found = checker.run(visit.page)
        rules = [f"{rule['id']}: {[node['html'] for node in rule['nodes']]}" for rule in found.response["violations"]]
        assert rules == [], f"{about}: {rules}"

    visit.go()
    expect(visit.rows()).to_have_count(10)
    check("start")
    visit.go(query=LIKED + "&dislike=book-00005")
    visit.rows().first.get_by_role("button", name="Why this?").click()
    visit.wait_for_picture(".why")
    visit.wait_for_picture(".around")
    check("why")
    visit.search("Search by name").fill("the")
    visit.page.get_by_role("option").first.wait_for()
    visit.page.keyboard.press("ArrowDown")
    check("search")
    describe_a_new_book(visit, "The Lighthouse Keeper's Moon")
    expect(visit.page.locator(".people li").first).to_be_visible()
    check("new item")
    visit.page.get_by_role("button", name="Key", exact=True).click()
    check("key")
    visit.page.keyboard.press("Escape")
    visit.go("model")
    expect(visit.page.locator("table")).to_be_visible()
    check("model")
    fail(visit, "/api/session/recommend", 500)
    visit.go()
    visit.page.get_by_role("alert").wait_for()
    check("trouble")


@pytest.mark.slow
def test_nothing_moves_for_those_who_mind(visitor: Any) -> None:
    visit = visitor(reduced_motion="reduce")
    visit.go()
    expect(visit.rows()).to_have_count(10)
    visit.page.evaluate("() => { Element.prototype.animate = () => { throw new Error('animated'); }; }")
    visit.rows().first.get_by_role("button", name="Like").click()
    expect(visit.page.locator("[data-item] .way").first).to_have_text("from your picks")
    assert visit.page.evaluate("document.getAnimations().length") == 0


@pytest.mark.slow
def test_the_layout_holds_still(visit: Visit) -> None:
    visit.page.add_init_script(
        "globalThis.moved = 0; new PerformanceObserver((list) => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) globalThis.moved += e.value; }).observe({type: 'layout-shift', buffered: true})"
    )
    for view in VIEWS:
        visit.go(view, LIKED)
        visit.page.wait_for_timeout(QUIET_MS)
    assert visit.page.evaluate("globalThis.moved") < 0.05  # "good" begins below 0.1


def test_the_policy_allows_nothing_but_our_own(visit: Visit) -> None:
    answer = visit.page.goto(visit.server)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "unsafe" not in policy
    kinds = {request.url: request for request in visit.asked}
    scripts = [r.response().headers["content-type"] for url, r in kinds.items() if url.endswith((".js", ".mjs"))]
    assert len(scripts) > 10
    assert all(kind.startswith("text/javascript") for kind in scripts)
