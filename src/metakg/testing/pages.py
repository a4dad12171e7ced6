"""Figures into a page, between two markers, so that what a command printed is what stands there."""

from __future__ import annotations

from pathlib import Path

from metakg import files
from metakg.errors import DataError


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what lies between the markers of a page.

    Raises:
        DataError: the page lacks a marker.
    """
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, second, after = rest.partition(end)
    if not first or not second:
        expected = f"the lines {begin} and {end}"
        raise DataError(str(page), "a page without markers", expected=expected, fix="Add both lines.")
    with files.atomic_file(page) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
