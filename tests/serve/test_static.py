"""The files of the web page: complete, unchanged where they are somebody else's, and free of anything inline."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import metakg

STATIC = Path(metakg.__file__).parent / "serve" / "static"
VENDOR = STATIC / "vendor"
IMPORT = re.compile(r"""(?:^|[;}\s])(?:import|export)\s*(?:[\w*{][^"';]*?\bfrom\s*)?\(?["']([^"']+)["']""")


def vendored() -> list[tuple[str, str, str]]:
    """Return (file, hash as published, change) of every row of VENDORED.md."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (VENDOR / "VENDORED.md").read_text("utf-8").splitlines()
    ]
    return [(row[0].strip("`"), row[5], row[6]) for row in rows if row and row[0].startswith("`")]


@pytest.mark.parametrize(("name", "published", "change"), vendored(), ids=[row[0] for row in vendored()])
def test_a_vendored_file_is_what_its_author_published(name: str, published: str, change: str) -> None:
    data = (VENDOR / name).read_bytes()
    if change != "no":
        before, after = (part.encode() for part in re.findall(r"`([^`]+)`", change))
        assert data.count(after) == 1
        data = data.replace(after, before)
    assert hashlib.sha256(data).hexdigest() == published


def test_every_vendored_file_is_listed_with_its_licence() -> None:
    found = {p.relative_to(VENDOR).as_posix() for p in VENDOR.rglob("*") if p.suffix in {".mjs", ".js", ".css", ".woff2"}}
    assert found == {name for name, _, _ in vendored()}
    table = (VENDOR / "VENDORED.md").read_text("utf-8")
    linked = set(re.findall(r"\((licences/[^)]+)\)", table))
    assert linked == {p.relative_to(VENDOR).as_posix() for p in (VENDOR / "licences").iterdir()}
    assert all((VENDOR / name).stat().st_size > 500 for name in linked)


def test_every_import_is_a_file_of_ours() -> None:
    scripts = [*STATIC.rglob("*.js"), *(VENDOR / name for name, _, _ in vendored() if name.endswith(".mjs"))]
    reached = {STATIC / "app.js", STATIC / "theme.js"}
    for script in scripts:
        for name in IMPORT.findall(script.read_text("utf-8")):
            assert name.startswith("."), (
                f"{script.name} imports {name}: a bare name needs an import map, which is an inline script"
            )
            target = (script.parent / name).resolve()
            assert target.is_file(), f"{script.name} imports {name}"
            reached.add(target)
    assert reached == set(scripts), "a script that nothing imports"


class Inline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.linked: list[str] = []
        self.inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.found += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        self.linked += [value or "" for name, value in attrs if name == "src" or (name == "href" and tag == "link")]

    def handle_data(self, data: str) -> None:
        if self.inside in {"script", "style"} and data.strip():
            self.found.append(f"inline {self.inside}")


def test_the_page_holds_nothing_inline_and_nothing_foreign() -> None:
    page = Inline()
    page.feed((STATIC / "index.html").read_text("utf-8"))
    assert page.found == []
    assert page.linked
    for link in page.linked:
        assert (STATIC / link.removeprefix("static/")).is_file(), link
    sheet = (STATIC / "style.css").read_text("utf-8")
    assert all((STATIC / url).is_file() for url in re.findall(r'url\("([^"]+)"\)', sheet))


def test_nothing_puts_text_in_as_markup() -> None:
    for script in STATIC.rglob("*.js"):
        text = script.read_text("utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in text, f"{script.name} uses {way}"
