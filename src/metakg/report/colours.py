"""Colours of pictures and page, and which series gets which.

Colours are CSS variables of the page (`--c0` ...), so that one picture serves light and dark; a picture that stands alone
brings them along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


PLAIN = Look("--c0")
"""The look of what need not be told from anything else."""


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


def variables(*, dark: bool) -> str:
    """Return the colours as CSS declarations."""
    return ";".join(f"{name}:{value}" for name, value in (DARK if dark else LIGHT).items())


def fixed(svg: str, colours: Mapping[str, str] = LIGHT) -> str:
    """Return an SVG with the colours written in, for renderers that know no CSS variables."""
    for name, colour in sorted(colours.items(), key=lambda item: -len(item[0])):
        svg = svg.replace(f"var({name})", colour)
    return svg
