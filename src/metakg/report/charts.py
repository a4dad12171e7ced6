"""The kinds of panels, as SVG drawn by hand: lines, bars or dots, a scatter of names, and bars to both sides.

Each takes what it shows as numbers and returns a panel; what is worth showing is decided by the sections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from metakg.report import marks
from metakg.report.axes import BOTTOM, LEFT, RIGHT, TOP, Axis, frame, number, scale
from metakg.report.colours import PLAIN, Look
from metakg.report.figures import HEIGHT, WIDTH, Panel

_ROW = 19
"""Height of a line of labelled bars."""

Point = tuple[float, float, float | None, float | None]
"""x, y, and the ends of the interval of y where there is one."""


def mean_points(pairs: Iterable[tuple[float, float]]) -> list[Point]:
    """Return points by x, means where an x occurs several times (seeds), with the range of what was averaged."""
    by_x: dict[float, list[float]] = {}
    for x, y in pairs:
        by_x.setdefault(float(x), []).append(float(y))
    several = {x: len(ys) > 1 for x, ys in by_x.items()}
    return [
        (x, float(np.mean(ys)), min(ys) if several[x] else None, max(ys) if several[x] else None)
        for x, ys in sorted(by_x.items())
    ]


def lines(
    title: str, series: Mapping[str, Sequence[Point]], legend: Mapping[str, Look], x: Axis, y: Axis, *, tag: str = ""
) -> Panel:
    """Draw a line for each series."""
    points = [p for found in series.values() for p in found]
    to_x = scale([p[0] for p in points], x, LEFT + 6, WIDTH - RIGHT - 6)
    ys = [v for p in points for v in p[1:] if v is not None]
    to_y = scale(ys, y, HEIGHT - BOTTOM, TOP + 4)
    parts = [frame(title, x, y, to_x, to_y)]
    for name, found in series.items():
        look = legend[name]
        path = " ".join(f"{to_x(px):.1f},{to_y(py):.1f}" for px, py, _, _ in found)
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="var({look.colour})" stroke-width="1.8"{dash}/>')
        for px, py, low, high in found:
            if low is not None and high is not None:
                parts.append(marks.line(to_x(px), to_y(low), to_x(px), to_y(high), look.colour, 1))
            label = f"{name}: {number(py)} at {number(px)}"
            parts.append(marks.dot(to_x(px), to_y(py), look.colour, label))
    return Panel(title, "".join(parts), tag=tag)


@dataclass(frozen=True)
class Bar:
    """A bar or a dot of a list: label, value, interval, look, and whether it is the paper's (a hollow diamond)."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    look: Look = PLAIN
    foreign: bool = False


def bars(title: str, entries: Sequence[Bar], x: Axis, *, dots: bool = False, tag: str = "") -> Panel:
    """Draw labelled bars (or dots) below each other, with intervals as whiskers; values of the paper are hollow diamonds."""
    left = min(130, 12 + round(6.1 * max(len(e.label) for e in entries)))
    top = TOP - 12
    height = top + _ROW * len(entries) + BOTTOM - 8
    ends = [v for e in entries for v in (e.value, e.low, e.high) if v is not None]
    axis = Axis(x.label, x.log, x.ticks, zero=x.zero or not dots)
    to_x = scale(ends, axis, left, WIDTH - RIGHT - 40)
    parts = [marks.text(0, 14, title, size=12, weight=600)]
    bottom = top + _ROW * len(entries)
    for tick in to_x.ticks:
        parts.append(marks.line(to_x(tick), top - 4, to_x(tick), bottom, "--line", 1))
        parts.append(marks.text(to_x(tick), bottom + 13, number(tick), size=10, anchor="middle", colour="--faint"))
    parts.append(marks.text((left + WIDTH - 52) / 2, bottom + 27, x.label, size=10, anchor="middle", colour="--faint"))
    start, score = to_x(to_x.low), not x.log and max(ends) <= 1
    for place, e in enumerate(entries):
        middle = top + _ROW * place + _ROW / 2
        parts.append(marks.text(left - 6, middle + 4, e.label, size=11, anchor="end"))
        about = f"{e.label}: {number(e.value)}"
        about += f" ({number(e.low)} to {number(e.high)})" if e.low is not None and e.high is not None else ""
        where = to_x(e.value)
        if e.foreign:
            parts.append(
                f'<path d="M{where - 5:.1f} {middle} l5 -5 l5 5 l-5 5 z" fill="none" stroke="var(--ink)" stroke-width="1.4">'
                f"<title>{escape(about)}</title></path>"
            )
        elif dots:
            parts.append(marks.dot(where, middle, e.look.colour, about, 4))
        else:
            parts.append(
                f'<rect x="{start:.1f}" y="{middle - 6}" width="{max(where - start, 0.5):.1f}" height="12" rx="2" '
                f'fill="var({e.look.colour})"><title>{escape(about)}</title></rect>'
            )
        if e.low is not None and e.high is not None:
            colour = e.look.colour if dots else "--ink"
            parts.append(marks.line(to_x(e.low), middle, to_x(e.high), middle, colour, 1.4))
        shown = f"{e.value:.4f}" if score else number(e.value)
        parts.append(marks.text(WIDTH, middle + 4, shown, size=10, anchor="end", colour="--faint"))
    return Panel(title, "".join(parts), height, tag)


def scatter(title: str, points: Mapping[str, tuple[float, float]], legend: Mapping[str, Look], x: Axis, y: Axis) -> Panel:
    """Draw a named point for each entry; names step up or down where they would cover each other."""
    to_x = scale([p[0] for p in points.values()], x, LEFT + 8, WIDTH - RIGHT - 66)
    to_y = scale([p[1] for p in points.values()], y, HEIGHT - BOTTOM, TOP + 8)
    parts = [frame(title, x, y, to_x, to_y)]
    taken: list[tuple[float, float, str]] = []
    for name, (px, py) in sorted(points.items(), key=lambda item: -item[1][1]):
        cx, cy = to_x(px), to_y(py)
        parts.append(marks.dot(cx, cy, legend[name].colour, f"{name}: {number(py)} after {number(px)} s", 4))
        rows = [cy + 4 + step for step in sorted(range(-HEIGHT, HEIGHT, 4), key=abs)]
        near = [(other, on) for ox, other, on in taken if abs(cx - ox) < 6.2 * max(len(name), len(on)) + 8]
        inside = [row for row in rows if TOP < row < HEIGHT - BOTTOM - 2]
        at = next((row for row in inside if all(abs(row - other) >= 11 for other, _ in near)), cy + 4)
        taken.append((cx, at, name))
        parts.append(marks.text(cx + 7, at, name, size=10, colour=legend[name].colour))
    return Panel(title, "".join(parts))


def diverging(title: str, entries: Sequence[tuple[str, int, int, int]], *, tag: str = "") -> Panel:
    """Draw for each (label, worse, equal, better) how many lose to the left and gain to the right."""
    left = min(130, 12 + round(6.1 * max(len(e[0]) for e in entries)))
    top = TOP - 12
    height = top + _ROW * len(entries) + 22
    most = max(max(worse, better) for _, worse, _, better in entries) or 1
    middle_x = (left + WIDTH) / 2
    unit = ((WIDTH - left) / 2 - 34) / most
    parts = [marks.text(0, 14, title, size=12, weight=600)]
    for place, (label, worse, equal, better) in enumerate(entries):
        y = top + _ROW * place + _ROW / 2
        parts.append(marks.text(left - 6, y + 4, label, size=11, anchor="end"))
        for count, sign, colour, word in ((worse, -1, "--bad", "worse"), (better, 1, "--good", "better")):
            width = count * unit
            x = middle_x if sign > 0 else middle_x - width
            about = f"{label}: {count:,} users {word}, {equal:,} the same"
            parts.append(
                f'<rect x="{x:.1f}" y="{y - 6}" width="{width:.1f}" height="12" fill="var({colour})">'
                f"<title>{about}</title></rect>"
            )
            at, anchor = middle_x + sign * (width + 4), "start" if sign > 0 else "end"
            parts.append(marks.text(at, y + 4, f"{count:,}", size=10, anchor=anchor, colour="--faint"))
    bottom = top + _ROW * len(entries)
    parts.append(marks.line(middle_x, top - 4, middle_x, bottom, "--ink", 1))
    parts.append(marks.text(middle_x - 8, bottom + 13, "users who lose", size=10, anchor="end", colour="--faint"))
    parts.append(marks.text(middle_x + 8, bottom + 13, "users who gain", size=10, colour="--faint"))
    return Panel(title, "".join(parts), height, tag)
