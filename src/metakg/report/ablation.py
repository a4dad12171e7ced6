"""What each part of MetaKG is worth: pictures and a table of its variants, for each model that has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import SCENARIO_NAMES, Cell, Section, Table, paired_tests, scenario_names
from metakg.report.charts import Bar
from metakg.report.collect import Runs
from metakg.report.colours import Look
from metakg.report.figures import Figure
from metakg.types import Json


def section(runs: Runs) -> Section | None:
    """Return the section of what each part is worth, or None if it was not run."""
    rows = runs.quality("ablation")
    if not rows:
        return None
    blocks: list[Table | Figure] = []
    by_model: dict[str, list[Json]] = {}
    for row in rows:
        by_model.setdefault(row["model"].rpartition(" ")[0], []).append(row)
    for model, theirs in by_model.items():
        panels = []
        for scenario in scenario_names(theirs):
            entries = []
            for r in theirs:
                if (r["scenario"], r["metric"]) == (scenario, "recall"):
                    variant = r["model"].rpartition(" ")[2]
                    std = r["std"]
                    low, high = (None, None) if std is None else (max(r["mean"] - std, 0.0), r["mean"] + std)
                    entries.append(Bar(variant, r["mean"], low, high, Look("--c0" if variant == "full" else "--floor")))
            panels.append(charts.bars(SCENARIO_NAMES[scenario], entries, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(f"ablation-{model}", panels, {}, f"{model}; whiskers are the deviation between seeds."))
        blocks.append(_table(theirs, f"{model}, Recall@{runs.k}"))
    tests = paired_tests(runs.tests.get("ablation", []), "the full model")
    blocks += [tests] if tests else []
    lead = (
        "One part left out at a time (paper, Fig. 4): the task scheduler, the collaborative-aware learner (no inner step), the "
        "knowledge-aware learner (no triple loss); base is plain ranking loss on all pairs."
    )
    return Section("ablation", "What each part is worth", lead, blocks)


def _table(rows: Sequence[Json], caption: str) -> Table:
    names, models = scenario_names(rows), list(dict.fromkeys(r["model"] for r in rows))
    cells: Mapping[tuple[str, str], Json] = {(r["model"], r["scenario"]): r for r in rows if r["metric"] == "recall"}
    best = {s: max(cells[m, s]["mean"] for m in models if (m, s) in cells) for s in names}
    body = []
    for model in models:
        line = [Cell(model.rpartition(" ")[2])]
        for scenario in names:
            row = cells.get((model, scenario))
            if row is None:
                line.append(Cell(""))
                continue
            text = f"{row['mean']:.4f}" + ("" if row["std"] is None else f" ± {row['std']:.4f}")
            line.append(Cell(text, best=0 < row["mean"] == best[scenario], value=row["mean"]))
        body.append(line)
    return Table(["variant", *(SCENARIO_NAMES[s] for s in names)], body, ["", *names], caption=caption)
