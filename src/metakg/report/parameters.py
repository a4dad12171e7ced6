"""How many numbers a model learns, and how many operations it takes."""

from __future__ import annotations

from metakg.report.blocks import Cell, Section, Table
from metakg.report.collect import Runs


def section(runs: Runs) -> Section | None:
    """Return the section of parameters and operations, or None if they were not counted."""
    rows = runs.rows("parameters", "count")
    if not rows:
        return None
    body = [
        [
            Cell(r["model"]),
            *(Cell(f"{r[name]:,}", value=r[name]) for name in ("parameters", "vectors", "weights")),
            *(
                Cell("" if r[name] is None else _short(r[name]), value=r[name])
                for name in ("step_operations", "steps_an_epoch", "rank_operations")
            ),
        ]
        for r in rows
    ]
    header = ["model", "parameters", "vectors", "weights", "operations a step", "steps an epoch", "operations to rank a user"]
    caption = "Vectors have a row for each user, item, entity or node; weights do not grow with the data"
    notes = []
    for r in rows:
        if "propagation" in r:
            counts = " and ".join(f"{n:,} with widths {widths}" for widths, n in r["propagation"].items())
            notes.append(
                f"The propagation layers of {r['model']} (W1 and W2 of eq. 15) have {counts}; the paper counts about "
                f"{r['propagation_paper']:,}, so it may have used the tapered widths."
            )
    notes.append("Counted are dense products and the bags of sparse products in torch; products in scipy are not.")
    lead = "Numbers that are learnt, and operations (a multiplication or an addition each) of a step and of ranking a user."
    return Section("parameters", "Parameters and operations", lead, [Table(header, body, caption=caption)], notes)


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"
