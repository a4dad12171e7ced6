"""The leaderboard: every model in every scenario, with its tests, and the users who gain or lose against the best floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metakg.evaluation.report import stars
from metakg.experiments.lab import OURS
from metakg.models.registry import FLOORS
from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import METRIC_NAMES, PAPER, SCENARIO_NAMES, Cell, Section, Table, paired_tests, scenario_names
from metakg.report.charts import Bar
from metakg.report.collect import Runs
from metakg.report.colours import Look, looks
from metakg.report.figures import Figure
from metakg.types import Json


def scores(runs: Runs) -> Section | None:
    """Return the section of all models' scores, or None if none was judged."""
    rows = runs.quality("table3")
    if not rows:
        return None
    floor, names = runs.best_floor(), scenario_names(rows)
    blocks: list[Table | Figure] = [_table(runs, rows, metric) for metric in METRIC_NAMES]
    models = list(dict.fromkeys(row["model"] for row in rows))
    legend = looks(models, FLOORS, OURS)
    for metric, title in METRIC_NAMES.items():
        panels = []
        for scenario in names:
            entries = []
            for row in rows:
                if (row["scenario"], row["metric"]) == (scenario, metric):
                    low, high = runs.intervals.get((row["model"], scenario, metric), (None, None))
                    entries.append(Bar(row["model"], row["mean"], low, high, legend[row["model"]]))
            entries.sort(key=lambda e: -e.value)
            if runs.reference and scenario in runs.reference:
                entries.append(Bar(PAPER, runs.reference[scenario][metric], look=Look("--ink"), foreign=True))
            panels.append(charts.bars(SCENARIO_NAMES[scenario], entries, Axis(f"{title}@{runs.k}"), dots=True, tag=scenario))
        blocks.append(Figure(f"table3-{metric}", panels, {}, f"{title}@{runs.k} with 95 % intervals over users (bootstrap)."))
    tests = paired_tests(runs.tests.get("table3", []), floor)
    blocks += [tests] if tests else []
    stars = (
        "No floor was judged, so nothing is tested against one. "
        if floor is None
        else f"*, **, ***: differs from the best floor, {floor}, with p < 0.05, 0.01, 0.001 in the paired t-test and in "
        "Wilcoxon's test, corrected for all comparisons of a metric (Holm). "
    )
    lead = (
        f"Mean over seeds of the users' {METRIC_NAMES['recall']}@{runs.k} and {METRIC_NAMES['ndcg']}@{runs.k}, ± the deviation "
        f"between seeds; below it the 95 % interval over users. {stars}Floors need no training. {_protocol_words(runs)}"
    )
    notes = []
    if runs.reference:
        notes.append(
            "The paper's row is context, not truth: by file identity its released code started from vectors that had seen 71 "
            "to 74 % of the answers, and stopped on the test score. It is marked ◇ and never ranked."
        )
    return Section("table3", "Leaderboard", lead, blocks, notes)


def _table(runs: Runs, rows: Sequence[Json], metric: str) -> Table:
    names = scenario_names(rows)
    cells = {(r["model"], r["scenario"]): r for r in rows if r["metric"] == metric}
    models = list(dict.fromkeys(row["model"] for row in rows))
    best = {s: max(cells[m, s]["mean"] for m in models if (m, s) in cells) for s in names}
    baselines, floors = (_best(cells, group, names) for group in ([m for m in models if m not in (*FLOORS, *OURS)], FLOORS))
    marks = {(t["model"], t["scenario"]): stars(t) for t in runs.tests.get("table3", []) if t["metric"] == metric}
    body = []
    for model in models:
        line = [Cell(model)]
        for scenario in names:
            row = cells.get((model, scenario))
            if row is None:
                line.append(Cell(""))
                continue
            low_high = runs.intervals.get((model, scenario, metric))
            small = [] if low_high is None else [f"{low_high[0]:.4f} to {low_high[1]:.4f}"]
            if model not in FLOORS and floors[scenario]:
                small.append(f"{row['mean'] / floors[scenario] - 1:+.1%} on the best floor")
            if model in OURS and baselines[scenario]:
                small.append(f"{row['mean'] / baselines[scenario] - 1:+.1%} on the best baseline")
            text = f"{row['mean']:.4f}" + ("" if row["std"] is None else f" ± {row['std']:.4f}")
            text += marks.get((model, scenario), "")
            line.append(Cell(text, "\n".join(small), 0 < row["mean"] == best[scenario], row["mean"]))
        body.append(line)
    foreign = []
    if runs.reference:
        figures = [runs.reference.get(s, {}).get(metric) for s in names]
        foreign.append([Cell(f"◇ {PAPER}"), *(Cell("" if v is None else f"{v:.4f}", "as printed", value=v) for v in figures)])
    users = {s: next(r["n_users"] for r in rows if r["scenario"] == s) for s in names}
    header = ["model", *(f"{SCENARIO_NAMES[s]} ({users[s]:,})" for s in names)]
    groups = ["floor" if m in FLOORS else "ours" if m in OURS else "learnt" for m in models]
    caption = f"{METRIC_NAMES[metric]}@{runs.k}; in brackets the number of users"
    return Table(header, body, ["", *names], foreign, caption, "scores", groups=groups)


def _best(cells: Mapping[tuple[str, str], Json], models: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return by scenario the best mean of some models, 0 where none was judged."""
    return {s: max((cells[m, s]["mean"] for m in models if (m, s) in cells), default=0.0) for s in names}


def _protocol_words(runs: Runs) -> str:
    row = runs.rows("table3", "quality")[0]
    words = "the paper's published rule" if row["protocol"] == "paper" else "new ids do not exist before they arrive"
    return f"Protocol {row['protocol']} ({words}), {row['candidates']} items ranked, mask {row['mask']}."


def gains(runs: Runs) -> Section | None:
    """Return the section of who gains and who loses, or None where no users were compared."""
    if not runs.gains:
        return None
    against, panels = runs.gains[0]["against"], []
    learnt = [g for g in runs.gains if g["model"] not in FLOORS] or list(runs.gains)
    for scenario in dict.fromkeys(g["scenario"] for g in learnt):
        entries = [(g["model"], g["worse"], g["equal"], g["better"]) for g in learnt if g["scenario"] == scenario]
        panels.append(charts.diverging(SCENARIO_NAMES[scenario], entries, tag=scenario))
    rows = [
        [
            Cell(g["model"]),
            Cell(SCENARIO_NAMES[g["scenario"]]),
            Cell(f"{g['better']:,}", f"on average {g['mean_gain']:+.3f}"),
            Cell(f"{g['equal']:,}"),
            Cell(f"{g['worse']:,}", f"on average {g['mean_loss']:+.3f}"),
        ]
        for g in learnt
    ]
    tags = [g["scenario"] for g in learnt]
    table = Table(["model", "scenario", "gain", "the same", "lose"], rows, caption="Users by what they get", row_tags=tags)
    lead = f"How many users get a better or a worse list than from the best floor, {against} (Recall, mean over seeds)."
    return Section("gains", "Who gains, who loses", lead, [Figure("gains", panels), table])
