"""Learning curves of the leaderboard's runs."""

from __future__ import annotations

from itertools import groupby

from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import Section
from metakg.report.collect import Runs
from metakg.report.colours import Look
from metakg.report.figures import Figure
from metakg.types import Json


def section(runs: Runs) -> Section | None:
    """Return the section of learning curves, or None if no run logged any."""
    found = [r for r in runs.rows("table3", "curve") if len(r["steps"]) > 1]
    if not found:
        return None
    panels = []
    for (model, phase), curves in groupby(sorted(found, key=_model_and_phase), key=_model_and_phase):
        theirs = list(curves)
        seeds = [f"seed {c['seed']}" for c in theirs]
        legend = {name: Look(f"--c{n % 10}") for n, name in enumerate(seeds)}
        series = {
            name: charts.mean_points(zip(c["steps"], c["loss"], strict=True)) for name, c in zip(seeds, theirs, strict=True)
        }
        panels.append(charts.lines(f"{model}, {phase}: loss", series, legend, Axis("step"), Axis("sum of the losses")))
        if any(len(c["score"]) > 1 for c in theirs):
            judged = [(name, c) for name, c in zip(seeds, theirs, strict=True) if c["score"]]
            series = {name: charts.mean_points(zip(c["at"], c["score"], strict=True)) for name, c in judged}
            panels.append(charts.lines(f"{model}, {phase}: validation", series, legend, Axis("step"), Axis("score")))
    lead = "From the training logs of the leaderboard's runs, thinned; a line for each seed."
    return Section("curves", "Learning curves", lead, [Figure("curves", panels)])


def _model_and_phase(row: Json) -> tuple[str, str]:
    return row["model"], row["phase"]
