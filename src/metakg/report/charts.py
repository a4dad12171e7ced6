"""Small pictures as SVG, drawn by hand: a panel is 300 wide, so that a phone shows it at its own size and a desk four abreast.

Colours are CSS variables of the page (`--c0` ...), so that one picture serves light and dark; a picture that stands alone
brings them along. Every mark has a `<title>`, which browsers show on hover and screen readers read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 300, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 38, 38
_ROW = 19

LIGHT = {
    "--ink": "#1c2430", "--faint": "#68727f", "--line": "#d5dae1", "--paper": "#ffffff",
    "--good": "#1b7f4d", "--bad": "#b3402f",
    "--c0": "#2457c5", "--c1": "#c2410c", "--c2": "#0f7d70", "--c3": "#8b3fc0", "--c4": "#a16207", "--c5": "#be185d",
    "--c6": "#3f6212", "--c7": "#0369a1", "--c8": "#7c5c46", "--c9": "#4b5563", "--floor": "#8a94a3",
    "--f0": "#9aa1ab", "--f1": "#a08a72", "--f2": "#7d9a86", "--f3": "#7f93ad", "--f4": "#9a86a6",
}  # fmt: skip
DARK = {
    "--ink": "#e6eaf0", "--faint": "#9aa5b4", "--line": "#39424f", "--paper": "#14181f",
    "--good": "#4cc38a", "--bad": "#f0806c",
    "--c0": "#7aa5ff", "--c1": "#fb923c", "--c2": "#3fd0bd", "--c3": "#c79bf2", "--c4": "#e0b341", "--c5": "#f47fb4",
    "--c6": "#a3c957", "--c7": "#5cc4f5", "--c8": "#c9a88f", "--c9": "#aab4c2", "--floor": "#7d8796",
    "--f0": "#808894", "--f1": "#a58f77", "--f2": "#7c9b87", "--f3": "#8199b8", "--f4": "#a08bad",
}  # fmt: skip
"""Colours by name; text has a contrast of at least 4.5 to the paper in both."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn.

    Attributes:
        colour: a CSS variable.
        dash: SVG dash pattern; empty for a full line.
    """

    colour: str
    dash: str = ""


def looks(names: Sequence[str], floors: Iterable[str] = (), ours: Sequence[str] = ()) -> dict[str, Look]:
    """Give each series a look: ours the first colours, floors muted and dashed, the others what is left."""
    dashes = ("2 3", "6 3", "1 3", "8 3 2 3", "4 2")
    found: dict[str, Look] = {}
    muted, rest = list(floors), [f"--c{n}" for n in range(10)]
    for name in [n for n in ours if n in names]:
        found[name] = Look(rest.pop(0))
    for place, name in enumerate(muted):
        if name in names:
            found[name] = Look(f"--f{place % 5}", dashes[place % 5])
    others = [n for n in names if n not in found]
    for place, name in enumerate(others):
        found[name] = Look(rest[place % len(rest)], "" if place < len(rest) else dashes[(place // len(rest)) % len(dashes)])
    return {name: found[name] for name in names}


@dataclass(frozen=True)
class Panel:
    """One picture: its inner SVG and its height; the width is always `WIDTH`."""

    title: str
    body: str
    height: int = HEIGHT
    tag: str = ""
    """What a filter may hide it by: a scenario."""

    def svg(self) -> str:
        """Return the picture as an element for a page that has the colours."""
        label = escape(self.title, {'"': "&quot;"})
        return f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{label}">{self.body}</svg>'


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, and what their looks mean.

    Attributes:
        name: of a file, if it is written as one.
        panels: in reading order.
        legend: label -> look; empty where the panels name everything themselves.
        caption: what to see.
    """

    name: str
    panels: Sequence[Panel]
    legend: Mapping[str, Look] = field(default_factory=dict)
    caption: str = ""

    def svg(self, columns: int = 2) -> str:
        """Return all panels as one SVG file that stands alone."""
        columns = max(1, min(columns, len(self.panels)))
        rows = [self.panels[i : i + columns] for i in range(0, len(self.panels), columns)]
        parts, y = [], 0
        for row in rows:
            for column, panel in enumerate(row):
                parts.append(f'<g transform="translate({column * (WIDTH + 16)} {y})">{panel.body}</g>')
            y += max(panel.height for panel in row) + 12
        width = columns * (WIDTH + 16) - 16
        x, y = 0, y + 12
        for label, look in self.legend.items():
            size = 40 + 6.6 * len(label)
            if x and x + size > width:
                x, y = 0, y + 18
            parts.append(f'<g transform="translate({x} {y})">{_swatch(look)}{_text(28, 0, label, size=11)}</g>')
            x += round(size)
        y += 12 if self.legend else 0
        style = (
            f":root{{{_variables(LIGHT)}}}@media(prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
            "text{font-family:system-ui,sans-serif}"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -4 {width + 16} {y + 8}" width="{width + 16}" '
            f'height="{y + 8}"><style>{style}</style><rect x="-8" y="-4" width="{width + 16}" height="{y + 8}" '
            f'fill="var(--paper)"/>{"".join(parts)}</svg>\n'
        )


def legend_html(legend: Mapping[str, Look]) -> str:
    """Return a legend for a page."""
    if not legend:
        return ""
    box = 'viewBox="0 -10 24 12" width="24" height="12" aria-hidden="true"'
    parts = [f"<span><svg {box}>{_swatch(look)}</svg>{escape(label)}</span>" for label, look in legend.items()]
    return f'<p class="legend">{"".join(parts)}</p>'


def fixed(svg: str, colours: Mapping[str, str] = LIGHT) -> str:
    """Return an SVG with the colours written in, for renderers that know no CSS variables."""
    for name, colour in sorted(colours.items(), key=lambda item: -len(item[0])):
        svg = svg.replace(f"var({name})", colour)
    return svg


# -- panels ----------------------------------------------------------------------------------------------------------------


Point = tuple[float, float, float | None, float | None]
"""x, y, and the ends of the interval of y where there is one."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether it is logarithmic, and ticks of its own."""

    label: str
    log: bool = False
    ticks: Sequence[float] | None = None
    zero: bool = False
    """Whether 0 must be in sight."""


def lines(
    title: str, series: Mapping[str, Sequence[Point]], legend: Mapping[str, Look], x: Axis, y: Axis, *, tag: str = ""
) -> Panel:
    """Draw a line for each series."""
    points = [p for found in series.values() for p in found]
    to_x = _scale([p[0] for p in points], x, _LEFT + 6, WIDTH - _RIGHT - 6)
    ys = [v for p in points for v in p[1:] if v is not None]
    to_y = _scale(ys, y, HEIGHT - _BOTTOM, _TOP + 4)
    parts = [_frame(title, x, y, to_x, to_y)]
    for name, found in series.items():
        look = legend[name]
        path = " ".join(f"{to_x(px):.1f},{to_y(py):.1f}" for px, py, _, _ in found)
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="var({look.colour})" stroke-width="1.8"{dash}/>')
        for px, py, low, high in found:
            if low is not None and high is not None:
                parts.append(_line(to_x(px), to_y(low), to_x(px), to_y(high), look.colour, 1))
            label = f"{name}: {_number(py)} at {_number(px)}"
            parts.append(_dot(to_x(px), to_y(py), look.colour, label))
    return Panel(title, "".join(parts), tag=tag)


@dataclass(frozen=True)
class Bar:
    """A bar or a dot of a list: label, value, interval, look, and whether it is the paper's (a hollow diamond)."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    look: Look = Look("--c0")
    foreign: bool = False


def bars(title: str, entries: Sequence[Bar], x: Axis, *, dots: bool = False, tag: str = "") -> Panel:
    """Draw labelled bars (or dots) below each other, with intervals as whiskers; values of the paper are hollow diamonds."""
    left = min(130, 12 + round(6.1 * max(len(e.label) for e in entries)))
    top = _TOP - 12
    height = top + _ROW * len(entries) + _BOTTOM - 8
    ends = [v for e in entries for v in (e.value, e.low, e.high) if v is not None]
    axis = Axis(x.label, x.log, x.ticks, zero=x.zero or not dots)
    to_x = _scale(ends, axis, left, WIDTH - _RIGHT - 40)
    parts = [_text(0, 14, title, size=12, weight=600)]
    bottom = top + _ROW * len(entries)
    for tick in to_x.ticks:
        parts.append(_line(to_x(tick), top - 4, to_x(tick), bottom, "--line", 1))
        parts.append(_text(to_x(tick), bottom + 13, _number(tick), size=10, anchor="middle", colour="--faint"))
    parts.append(_text((left + WIDTH - 52) / 2, bottom + 27, x.label, size=10, anchor="middle", colour="--faint"))
    start, score = to_x(to_x.low), not x.log and max(ends) <= 1
    for place, e in enumerate(entries):
        middle = top + _ROW * place + _ROW / 2
        parts.append(_text(left - 6, middle + 4, e.label, size=11, anchor="end"))
        about = f"{e.label}: {_number(e.value)}"
        about += f" ({_number(e.low)} to {_number(e.high)})" if e.low is not None and e.high is not None else ""
        where = to_x(e.value)
        if e.foreign:
            parts.append(
                f'<path d="M{where - 5:.1f} {middle} l5 -5 l5 5 l-5 5 z" fill="none" stroke="var(--ink)" stroke-width="1.4">'
                f"<title>{escape(about)}</title></path>"
            )
        elif dots:
            parts.append(_dot(where, middle, e.look.colour, about, 4))
        else:
            parts.append(
                f'<rect x="{start:.1f}" y="{middle - 6}" width="{max(where - start, 0.5):.1f}" height="12" rx="2" '
                f'fill="var({e.look.colour})"><title>{escape(about)}</title></rect>'
            )
        if e.low is not None and e.high is not None:
            colour = e.look.colour if dots else "--ink"
            parts.append(_line(to_x(e.low), middle, to_x(e.high), middle, colour, 1.4))
        shown = f"{e.value:.4f}" if score else _number(e.value)
        parts.append(_text(WIDTH, middle + 4, shown, size=10, anchor="end", colour="--faint"))
    return Panel(title, "".join(parts), height, tag)


def scatter(title: str, points: Mapping[str, tuple[float, float]], legend: Mapping[str, Look], x: Axis, y: Axis) -> Panel:
    """Draw a named point for each entry; names step aside where they would cover each other."""
    to_x = _scale([p[0] for p in points.values()], x, _LEFT + 8, WIDTH - _RIGHT - 66)
    to_y = _scale([p[1] for p in points.values()], y, HEIGHT - _BOTTOM, _TOP + 8)
    parts = [_frame(title, x, y, to_x, to_y)]
    taken: list[tuple[float, float, str]] = []
    for name, (px, py) in sorted(points.items(), key=lambda item: -item[1][1]):
        cx, cy = to_x(px), to_y(py)
        parts.append(_dot(cx, cy, legend[name].colour, f"{name}: {_number(py)} after {_number(px)} s", 4))
        at = cy + 4
        while any(abs(at - other) < 11 and abs(cx - ox) < 6.2 * max(len(name), len(on)) + 8 for ox, other, on in taken):
            at += 4
        taken.append((cx, at, name))
        parts.append(_text(cx + 7, at, name, size=10, colour=legend[name].colour))
    return Panel(title, "".join(parts))


def diverging(title: str, entries: Sequence[tuple[str, int, int, int]], *, tag: str = "") -> Panel:
    """Draw for each (label, worse, equal, better) how many lose to the left and gain to the right."""
    left = min(130, 12 + round(6.1 * max(len(e[0]) for e in entries)))
    top = _TOP - 12
    height = top + _ROW * len(entries) + 22
    most = max(max(worse, better) for _, worse, _, better in entries) or 1
    middle_x = (left + WIDTH) / 2
    unit = ((WIDTH - left) / 2 - 34) / most
    parts = [_text(0, 14, title, size=12, weight=600)]
    for place, (label, worse, equal, better) in enumerate(entries):
        y = top + _ROW * place + _ROW / 2
        parts.append(_text(left - 6, y + 4, label, size=11, anchor="end"))
        for count, sign, colour, word in ((worse, -1, "--bad", "worse"), (better, 1, "--good", "better")):
            width = count * unit
            x = middle_x if sign > 0 else middle_x - width
            about = f"{label}: {count:,} users {word}, {equal:,} the same"
            parts.append(
                f'<rect x="{x:.1f}" y="{y - 6}" width="{width:.1f}" height="12" fill="var({colour})">'
                f"<title>{about}</title></rect>"
            )
            at, anchor = middle_x + sign * (width + 4), "start" if sign > 0 else "end"
            parts.append(_text(at, y + 4, f"{count:,}", size=10, anchor=anchor, colour="--faint"))
    bottom = top + _ROW * len(entries)
    parts.append(_line(middle_x, top - 4, middle_x, bottom, "--ink", 1))
    parts.append(_text(middle_x - 8, bottom + 13, "users who lose", size=10, anchor="end", colour="--faint"))
    parts.append(_text(middle_x + 8, bottom + 13, "users who gain", size=10, colour="--faint"))
    return Panel(title, "".join(parts), height, tag)


# -- parts -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[float]

    def __call__(self, value: float) -> float:
        low, high, v = (math.log10(max(n, 1e-12)) for n in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value)  # fmt: skip
        return self.start + (v - low) / ((high - low) or 1.0) * (self.end - self.start)


def _scale(values: Sequence[float], axis: Axis, start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    if axis.log:
        low, high = max(low, 1e-6), max(high, 1e-6)
        if high / low < 2:
            low, high = low / 1.5, high * 1.5
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1,) if high / low > 100 else (1, 2, 5)
        found = [m * 10.0**n for n in powers for m in steps]
        inside = [tick for tick in found if low * 0.999 <= tick <= high * 1.001]
        ticks = list(axis.ticks or (inside if len(inside) > 1 else [low, high]))
        return _Scale(min(low, *ticks), max(high, *ticks), start, end, True, ticks)
    if axis.zero:
        low = min(low, 0.0)
    if high == low:
        low, high = (0.0, 1.0) if high == 0 else (low - abs(low) * 0.1, high + abs(high) * 0.1)
    if axis.ticks is not None:
        return _Scale(min(low, *axis.ticks), max(high, *axis.ticks), start, end, False, axis.ticks)
    step = _step((high - low) / 3)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(n * step, 10) for n in range(first, last + 1)]
    return _Scale(ticks[0], ticks[-1], start, end, False, ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _frame(title: str, x: Axis, y: Axis, to_x: _Scale, to_y: _Scale) -> str:
    bottom = HEIGHT - _BOTTOM
    parts = [_text(0, 14, title, size=12, weight=600)]
    for tick in to_y.ticks:
        parts.append(_line(_LEFT, to_y(tick), WIDTH - _RIGHT, to_y(tick), "--line", 1))
        parts.append(_text(_LEFT - 5, to_y(tick) + 3.5, _number(tick), size=10, anchor="end", colour="--faint"))
    last = -100.0
    for tick in to_x.ticks:
        if to_x(tick) - last > 22:
            last = to_x(tick)
            parts.append(_line(last, bottom, last, bottom + 4, "--faint", 1))
            parts.append(_text(last, bottom + 15, _number(tick), size=10, anchor="middle", colour="--faint"))
    parts.append(_text((_LEFT + WIDTH) / 2, HEIGHT - 8, x.label, size=10, anchor="middle", colour="--faint"))
    parts.append(_text(_LEFT - 5, _TOP - 9, y.label, size=10, anchor="start", colour="--faint"))
    return "".join(parts)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if 0.001 <= abs(value) < 1 else f"{value:.3g}"


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = "--ink", weight: int = 400
) -> str:
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{side}{bold} fill="var({colour})">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="var({colour})" stroke-width="{width}"/>'


def _dot(x: float, y: float, colour: str, title: str, radius: float = 2.6) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="var({colour})"><title>{escape(title)}</title></circle>'


def _swatch(look: Look) -> str:
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    return f'<line x1="0" y1="-4" x2="22" y2="-4" stroke="var({look.colour})" stroke-width="3"{dash}/>'


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in colours.items())


def variables(*, dark: bool) -> str:
    """Return the colours as CSS declarations."""
    return _variables(DARK if dark else LIGHT)
