"""What sections are made of: names of metrics and scenarios, cells, tables, and the tables that several sections share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from metakg.evaluation.significance import MIN_USERS
from metakg.report.figures import Figure
from metakg.types import Json

METRIC_NAMES = {"recall": "Recall", "ndcg": "NDCG"}
SCENARIO_NAMES = {
    "user_cold": "new users",
    "item_cold": "new items",
    "user_item_cold": "new users and items",
    "warm": "known users and items",
}

PAPER = "the paper's MetaKG"
"""Its mark in every table and picture; never ranked with ours."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown; a quieter second line; whether it is the best of its column; a number to sort by."""

    text: str
    small: str = ""
    best: bool = False
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: of the columns; the first names the rows.
        rows: cells, the first a name.
        tags: scenario of each column, empty where a filter never hides it.
        foreign: rows that stand apart at the foot: figures of the paper.
        caption: what it shows.
        kind: "scores" for tables that filters apply to.
        row_tags: scenario of each row, where the rows are scenarios' own.
        groups: "floor", "learnt" or "ours" of each row, for the filter by kind of model.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    tags: Sequence[str] = ()
    foreign: Sequence[Sequence[Cell]] = ()
    caption: str = ""
    kind: str = ""
    row_tags: Sequence[str] = ()
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A section of the report."""

    name: str
    title: str
    lead: str
    blocks: Sequence[Table | Figure] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def scenario_names(rows: Sequence[Json]) -> list[str]:
    """Return the scenarios of some rows, in the order of the paper."""
    there = {row["scenario"] for row in rows}
    return [name for name in SCENARIO_NAMES if name in there]


def amount(value: float) -> str:
    """Return a number in three digits, or whole where it has more: 0.0195, 16.4, 1,108."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def paired_tests(tests: Sequence[Json], against: str | None) -> Table | None:
    """Return the paired tests of Recall as a table, or None if there are none."""
    rows, tags = [], []
    for t in tests:
        if t["metric"] != "recall":
            continue
        interval = t["remark"] if t["low"] is None else f"{t['low']:+.4f} to {t['high']:+.4f}"
        p_values = ["no test" if t[name] is None else _p(t[name]) for name in ("t_p", "wilcoxon_p")]
        effect = "" if t["effect"] is None else f"{t['effect']:+.2f}"
        words = [t["model"], SCENARIO_NAMES[t["scenario"]], f"{t['difference']:+.4f}", interval, *p_values, effect]
        rows.append([Cell(word) for word in (*words, f"{t['wins']:,} / {t['losses']:,}")])
        tags.append(t["scenario"])
    if not rows:
        return None
    header = ["model", "scenario", "gain", "95 % interval", "p (t)", "p (Wilcoxon)", "effect d", "better / worse"]
    caption = f"{METRIC_NAMES['recall']} against {against}, user by user, p corrected by Holm; no test below {MIN_USERS} users"
    return Table(header, rows, caption=caption, row_tags=tags)


def _p(value: float) -> str:
    return "< 1e-12" if value < 1e-12 else f"{value:.2g}"


def values_table(rows: Sequence[Json], name: str, caption: str, *, scenario: bool = True) -> Table:
    """Return means (over seeds) of each model in each scenario, a column for each value of the field `name`."""
    values = sorted({row[name] for row in rows})
    groups: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        key = (row["model"], row["scenario"] if scenario else "")
        groups.setdefault(key, {}).setdefault(row[name], []).append(row["mean"])
    ordered = sorted(groups, key=lambda key: list(SCENARIO_NAMES).index(key[1])) if scenario else list(groups)
    body, tags = [], []
    for model, where in ordered:
        found = groups[model, where]
        cells = [Cell(f"{np.mean(found[v]):.4f}" if v in found else "") for v in values]
        body.append([Cell(model), *([Cell(SCENARIO_NAMES[where])] if scenario else []), *cells])
        tags.append(where)
    header = ["model", *(["scenario"] if scenario else []), *(f"{v:g}" for v in values)]
    return Table(header, body, caption=caption, row_tags=tags if scenario else ())
