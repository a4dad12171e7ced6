"""What hangs on the first clicks and on a setting: both are studies of the experiment `sensitivity`."""

from __future__ import annotations

from collections.abc import Sequence

from metakg.experiments.lab import OURS
from metakg.experiments.rows import Done
from metakg.experiments.sensitivity import STUDIES
from metakg.models.registry import FLOORS
from metakg.nesting import flat
from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import SCENARIO_NAMES, Section, Table, scenario_names, values_table
from metakg.report.collect import Runs
from metakg.report.colours import looks
from metakg.report.figures import Figure
from metakg.types import Json


def shots(runs: Runs) -> Section | None:
    """Return the section of the first clicks, or None if it was not run."""
    rows = [r for r in runs.quality("sensitivity", study="shots") if r["metric"] == "recall" and r["shots"] is not None]
    if not rows:
        return None
    models = list(dict.fromkeys(r["model"] for r in rows))
    legend = looks(models, FLOORS, OURS)
    figures = []
    parts = (("k-shot", "From the first clicks on", 0, 10), ("support-size", "Size of the support", 5, 80))
    for name, title, first, last in parts:
        panels = []
        for scenario in scenario_names(rows):
            series: dict[str, list[charts.Point]] = {}
            for model in models:
                theirs = [r for r in rows if (r["model"], r["scenario"]) == (model, scenario) and first <= r["shots"] <= last]
                points = [_with_std(r, r["shots"]) for r in sorted(theirs, key=lambda r: r["shots"])]
                series |= {model: points} if points else {}
            ticks = sorted({p[0] for points in series.values() for p in points})
            x = Axis("revealed pairs", log=name == "support-size", ticks=ticks)
            panels.append(
                charts.lines(SCENARIO_NAMES[scenario], series, legend, x, Axis(f"Recall@{runs.k}", zero=True), tag=scenario)
            )
        words = f"{title} (same query for every number of revealed pairs); whiskers are the deviation between seeds."
        figures.append(Figure(name, panels, legend, words))
    table = values_table(rows, "shots", f"Recall@{runs.k} by revealed pairs of each user (of each item where items are cold)")
    lead = "How much a few clicks change (paper, Fig. 7): 0 to 10 revealed pairs, and supports of 5 to 80."
    return Section("shots", "From the first click", lead, [*figures, table])


def _with_std(row: Json, x: float) -> charts.Point:
    std = row["std"]
    return (x, row["mean"], None, None) if std is None else (x, row["mean"], row["mean"] - std, row["mean"] + std)


def settings(runs: Runs) -> Section | None:
    """Return the section of what hangs on a setting, or None if no such study was run."""
    blocks: list[Table | Figure] = []
    for study in ("local updates", "embedding size"):
        found = runs.rows("sensitivity", "quality")
        rows = [r for r in found if r.get("study") == study and r["metric"] == "recall"]
        if not rows:
            continue
        models = list(dict.fromkeys(r["model"] for r in rows))
        legend, panels = looks(models, FLOORS, OURS), []
        for scenario in scenario_names(rows):
            series: dict[str, list[charts.Point]] = {}
            for model in models:
                theirs = [(r["value"], r["mean"]) for r in rows if (r["model"], r["scenario"]) == (model, scenario)]
                series |= {model: charts.mean_points(theirs)} if theirs else {}
            ticks = sorted({p[0] for points in series.values() for p in points})
            x = Axis(study, log=study == "embedding size", ticks=ticks)
            panels.append(charts.lines(SCENARIO_NAMES[scenario], series, legend, x, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(study.replace(" ", "-"), panels, legend, f"{study.capitalize()}."))
        blocks.append(values_table(rows, "value", f"Recall@{runs.k} by {study}"))
    if not blocks:
        return None
    others = _otherwise_set(runs)
    else_at = "All else at the settings of the leaderboard. "
    if others:
        else_at = f"Beside what is studied, {', '.join(others)} had other settings than in the leaderboard. "
    lead = (
        "Number of inner updates (paper, Fig. 6) and width of the vectors (Fig. 8; for metakg, which has none, the width of "
        f"its network). {else_at}Whiskers are the range of the seeds. Shown on the queries, chosen on none of them."
    )
    return Section("sensitivity", "What hangs on a setting", lead, blocks)


def _otherwise_set(runs: Runs) -> list[str]:
    """Return the models whose studies stand on other settings than their rows in the leaderboard, but for what is studied."""
    board = {row["model"]: unit for unit in _units(runs, "table3") for row in unit.rows if row["what"] == "quality"}
    found: dict[str, None] = {}
    for unit in _units(runs, "sensitivity"):
        for model in {row["model"] for row in unit.rows if row.get("study") in STUDIES and row["model"] in board}:
            studied = {name for study in STUDIES.values() if model in study for name in study[model][1](0)}
            theirs, of_board = (
                {name: value for name, value in _fitted(one).items() if name.split(".")[1] not in studied}
                for one in (unit, board[model])
            )
            if theirs != of_board:
                found[model] = None
    return list(found)


def _units(runs: Runs, experiment: str) -> Sequence[Done]:
    """Return the units of an experiment whose rules say what was fitted."""
    record = runs.records.get(experiment)
    return [unit for unit in (record.units if record else ()) if "model" in unit.rule]


def _fitted(unit: Done) -> dict[str, object]:
    """Return the settings that a unit's model was fitted with, by dotted name."""
    return flat({"model": unit.rule["model"], "training": unit.rule["training"] or {"none": None}})
