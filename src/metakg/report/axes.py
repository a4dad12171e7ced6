"""Axes: from a number to a place in the panel, which ticks to show, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metakg.report import marks
from metakg.report.figures import HEIGHT, WIDTH

LEFT, RIGHT, TOP, BOTTOM = 44, 10, 38, 38
"""Margins of a panel, where title, ticks and labels stand."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether it is logarithmic, and ticks of its own."""

    label: str
    log: bool = False
    ticks: Sequence[float] | None = None
    zero: bool = False
    """Whether 0 must be in sight."""


@dataclass(frozen=True)
class Scale:
    """Takes a number to its place in the panel: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[float]

    def __call__(self, value: float) -> float:
        """Return the place of a number."""
        low, high, v = (math.log10(max(n, 1e-12)) for n in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value)  # fmt: skip
        return self.start + (v - low) / ((high - low) or 1.0) * (self.end - self.start)


def scale(values: Sequence[float], axis: Axis, start: float, end: float) -> Scale:
    """Return a scale that holds all values, with the axis' own ticks or round ones."""
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
        return Scale(min(low, *ticks), max(high, *ticks), start, end, True, ticks)
    if axis.zero:
        low = min(low, 0.0)
    if high == low:
        low, high = (0.0, 1.0) if high == 0 else (low - abs(low) * 0.1, high + abs(high) * 0.1)
    if axis.ticks is not None:
        return Scale(min(low, *axis.ticks), max(high, *axis.ticks), start, end, False, axis.ticks)
    step = _step((high - low) / 3)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(n * step, 10) for n in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], start, end, False, ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def frame(title: str, x: Axis, y: Axis, to_x: Scale, to_y: Scale) -> str:
    """Return title, grid, ticks and labels of a panel with two axes."""
    bottom = HEIGHT - BOTTOM
    parts = [marks.text(0, 14, title, size=12, weight=600)]
    for tick in to_y.ticks:
        parts.append(marks.line(LEFT, to_y(tick), WIDTH - RIGHT, to_y(tick), "--line", 1))
        parts.append(marks.text(LEFT - 5, to_y(tick) + 3.5, number(tick), size=10, anchor="end", colour="--faint"))
    last = -100.0
    for tick in to_x.ticks:
        if to_x(tick) - last > 22:
            last = to_x(tick)
            parts.append(marks.line(last, bottom, last, bottom + 4, "--faint", 1))
            parts.append(marks.text(last, bottom + 15, number(tick), size=10, anchor="middle", colour="--faint"))
    parts.append(marks.text((LEFT + WIDTH) / 2, HEIGHT - 8, x.label, size=10, anchor="middle", colour="--faint"))
    parts.append(marks.text(LEFT - 5, TOP - 9, y.label, size=10, anchor="start", colour="--faint"))
    return "".join(parts)


def number(value: float | None) -> str:
    """Return a number as short as a tick or a tooltip needs it; nothing for None."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if 0.001 <= abs(value) < 1 else f"{value:.3g}"
