"""Panels, and the figures that they make up: with a legend, for a page or as a file that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from metakg.report import marks
from metakg.report.colours import Look, variables

WIDTH, HEIGHT = 300, 230
"""Of a panel: a phone shows it at its own size, a desk four abreast."""


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
            parts.append(f'<g transform="translate({x} {y})">{marks.swatch(look)}{marks.text(28, 0, label, size=11)}</g>')
            x += round(size)
        y += 12 if self.legend else 0
        style = (
            f":root{{{variables(dark=False)}}}@media(prefers-color-scheme:dark){{:root{{{variables(dark=True)}}}}}"
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
    parts = [f"<span><svg {box}>{marks.swatch(look)}</svg>{escape(label)}</span>" for label, look in legend.items()]
    return f'<p class="legend">{"".join(parts)}</p>'
