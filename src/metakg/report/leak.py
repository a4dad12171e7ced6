"""What start vectors that saw answers are worth, told apart from every result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import PAPER, SCENARIO_NAMES, Cell, Section, Table, paired_tests, scenario_names
from metakg.report.charts import Bar
from metakg.report.collect import Runs
from metakg.report.colours import Look
from metakg.report.figures import Figure
from metakg.types import Json


def section(runs: Runs) -> Section | None:
    """Return the section of what a leak is worth, or None if it was not run."""
    rows = runs.rows("leak", "quality")
    if not rows:
        return None
    order = ("nothing", "as released", "everything")
    colours = {"nothing": "--c0", "as released": "--bad", "everything": "--c4"}
    legend = {f"saw {saw}": Look(colours[saw]) for saw in order if any(r["saw"] == saw for r in rows)}
    blocks: list[Table | Figure] = []
    for carrier in dict.fromkeys(r["carrier"] for r in rows):
        theirs = [r for r in rows if r["carrier"] == carrier and r["metric"] == "recall"]
        last = max(r["epochs"] for r in theirs)
        panels = []
        for scenario in scenario_names(theirs):
            entries = []
            for saw in order:
                found = [r["mean"] for r in theirs if (r["scenario"], r["saw"], r["epochs"]) == (scenario, saw, last)]
                if found:
                    entries.append(Bar(f"saw {saw}", float(np.mean(found)), look=Look(colours[saw])))
            if runs.reference and scenario in runs.reference:
                entries.append(Bar(PAPER, runs.reference[scenario]["recall"], look=Look("--ink"), foreign=True))
            panels.append(charts.bars(SCENARIO_NAMES[scenario], entries, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(f"leak-{carrier}", panels, {}, f"Carrier {carrier}, vectors after {last} passes."))
        if carrier == "bpr":
            panels = []
            for scenario in scenario_names(theirs):
                series: dict[str, list[charts.Point]] = {}
                for saw in order:
                    points = charts.mean_points(
                        (r["epochs"], r["mean"]) for r in theirs if (r["scenario"], r["saw"]) == (scenario, saw)
                    )
                    series |= {f"saw {saw}": points} if points else {}
                ticks = sorted({p[0] for points in series.values() for p in points})
                x, y = Axis("passes over the pairs", log=True, ticks=ticks), Axis(f"Recall@{runs.k}", zero=True)
                panels.append(charts.lines(SCENARIO_NAMES[scenario], series, legend, x, y, tag=scenario))
            words = "The vectors themselves, judged after so many passes; whiskers are the range of the seeds."
            blocks.append(Figure("leak-passes", panels, legend, words))
        blocks.append(_table(runs, theirs, carrier, last))
    tests = paired_tests(runs.tests.get("leak", []), "the same vectors without answers")
    blocks += [tests] if tests else []
    lead = (
        "The same vectors (BPR matrix factorisation) fitted by the same code with the same draws: on what may be known "
        "(training pairs and the scenario's support), and on these and a share of the answers; then judged on all answers of "
        "the scenario. As released: the share of Last-FM's query pairs that lie in the training file of KGAT. That the "
        "release's vectors saw them is inferred from file identity and KGAT's description, not from the files themselves. "
        "Nothing here is a result of a model: what saw answers is labelled so, and stands in no leaderboard."
    )
    return Section("leak", "What a leak is worth", lead, blocks)


def _table(runs: Runs, rows: Sequence[Json], carrier: str, epochs: int) -> Table:
    body = []
    for scenario in scenario_names(rows):
        means = {}
        for saw in ("nothing", "as released", "everything"):
            found = [r["mean"] for r in rows if (r["scenario"], r["saw"], r["epochs"]) == (scenario, saw, epochs)]
            means[saw] = float(np.mean(found)) if found else None
        share = next((r["share"] for r in rows if r["scenario"] == scenario and r["saw"] == "as released"), None)
        cells = [Cell("" if v is None else f"{v:.4f}", value=v) for v in means.values()]
        without, leaked = means["nothing"], means["as released"]
        gap = "" if without is None or leaked is None else f"{leaked - without:+.4f}"
        times = f"{leaked / without:.1f} times" if without and leaked else ""
        body.append([Cell(SCENARIO_NAMES[scenario]), *cells, Cell(gap, times), Cell("" if share is None else f"{share:.1%}")])
    header = ["scenario", "saw nothing", "saw as released", "saw everything", "the leak", "share of answers"]
    return Table(header, body, caption=f"Recall@{runs.k}, carrier {carrier}", row_tags=scenario_names(rows))
