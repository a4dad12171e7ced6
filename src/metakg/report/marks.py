"""The marks that pictures are made of, as SVG: text, lines, dots, and the swatch of a legend.

What stands for a number has a `<title>`, which browsers show on hover and screen readers read.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from metakg.report.colours import Look


def text(
    x: float, y: float, words: str, *, size: int = 11, anchor: str = "start", colour: str = "--ink", weight: int = 400
) -> str:
    """Return words that start, end or have their middle at a place."""
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{side}{bold} fill="var({colour})">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    """Return a straight line."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="var({colour})" stroke-width="{width}"/>'


def dot(x: float, y: float, colour: str, title: str, radius: float = 2.6) -> str:
    """Return a dot that says what it is."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="var({colour})"><title>{escape(title)}</title></circle>'


def swatch(look: Look) -> str:
    """Return the short line that shows a look in a legend."""
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    return f'<line x1="0" y1="-4" x2="22" y2="-4" stroke="var({look.colour})" stroke-width="3"{dash}/>'
