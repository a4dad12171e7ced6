"""What stands in the report: sections of words, tables and figures, made from rows. Only what was run has a section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from metakg.evaluation.significance import MIN_USERS
from metakg.experiments.lab import OURS
from metakg.experiments.scalability import end_of_machine, exponent
from metakg.experiments.suite import EXPERIMENTS
from metakg.models.registry import FLOORS, MODELS
from metakg.report import charts
from metakg.report.charts import Axis, Bar, Figure, Look
from metakg.report.collect import Runs
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


def sections(runs: Runs) -> list[Section]:
    """Return the sections that the rows of a run folder can fill, in reading order."""
    makers = (_scores, _gains, _cost, _ablation, _leak, _shots, _sensitivity, _efficiency, _scalability, _curves, _parameters)
    return [section for make in makers if (section := make(runs)) is not None]


def missing(runs: Runs) -> list[str]:
    """Return what was not run, and the command that runs it."""
    lacking = [f"{name}: not run (metakg experiment {name} DIR --resume)" for name in EXPERIMENTS if name not in runs.records]
    there = {row["model"] for row in runs.rows("table3", "quality")}
    models = [name for name in MODELS if name not in there]
    return [*lacking, *([f"models without a row in the leaderboard: {', '.join(models)}"] if there and models else [])]


# -- the leaderboard -------------------------------------------------------------------------------------------------------


def _scores(runs: Runs) -> Section | None:
    rows = runs.quality("table3")
    if not rows:
        return None
    floor, names = runs.best_floor(), scenario_names(rows)
    blocks: list[Table | Figure] = [_leaderboard(runs, rows, metric) for metric in METRIC_NAMES]
    models = list(dict.fromkeys(row["model"] for row in rows))
    legend = charts.looks(models, FLOORS, OURS)
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
            panels.append(charts.bars(_title(scenario), entries, Axis(f"{title}@{runs.k}"), dots=True, tag=scenario))
        blocks.append(Figure(f"table3-{metric}", panels, {}, f"{title}@{runs.k} with 95 % intervals over users (bootstrap)."))
    tests = _tests_table(runs.tests.get("table3", []), floor)
    blocks += [tests] if tests else []
    lead = (
        f"Mean over seeds of the users' {METRIC_NAMES['recall']}@{runs.k} and {METRIC_NAMES['ndcg']}@{runs.k}, ± the deviation "
        f"between seeds; below it the 95 % interval over users. *, **, ***: differs from the best floor, {floor}, with "
        "p < 0.05, 0.01, 0.001 in the paired t-test and in Wilcoxon's test, corrected for all comparisons of a metric (Holm). "
        f"Floors need no training. {_protocol_words(runs)}"
    )
    notes = []
    if runs.reference:
        notes.append(
            "The paper's row is context, not truth: by file identity its released code started from vectors that had seen 71 "
            "to 74 % of the answers, and stopped on the test score. It is marked ◇ and never ranked."
        )
    return Section("table3", "Leaderboard", lead, blocks, notes)


def _leaderboard(runs: Runs, rows: Sequence[Json], metric: str) -> Table:
    names = scenario_names(rows)
    cells = {(r["model"], r["scenario"]): r for r in rows if r["metric"] == metric}
    models = list(dict.fromkeys(row["model"] for row in rows))
    best = {s: max(cells[m, s]["mean"] for m in models if (m, s) in cells) for s in names}
    baselines, floors = (_best(cells, group, names) for group in ([m for m in models if m not in (*FLOORS, *OURS)], FLOORS))
    marks = {(t["model"], t["scenario"]): mark(t) for t in runs.tests.get("table3", []) if t["metric"] == metric}
    body = []
    for model in models:
        line = [Cell(model)]
        for scenario in names:
            row = cells.get((model, scenario))
            if row is None:
                line.append(Cell(""))
                continue
            low_high = runs.intervals.get((model, scenario, metric))
            small = "" if low_high is None else f"{low_high[0]:.4f} to {low_high[1]:.4f}"
            if model not in FLOORS and floors[scenario]:
                small += f"\n{row['mean'] / floors[scenario] - 1:+.1%} on the best floor"
            if model in OURS and baselines[scenario]:
                small += f"\n{row['mean'] / baselines[scenario] - 1:+.1%} on the best baseline"
            text = f"{row['mean']:.4f}" + ("" if row["std"] is None else f" ± {row['std']:.4f}")
            text += marks.get((model, scenario), "")
            line.append(Cell(text, small, 0 < row["mean"] == best[scenario], row["mean"]))
        body.append(line)
    foreign = []
    if runs.reference:
        figures = [runs.reference.get(s, {}).get(metric) for s in names]
        foreign.append([Cell(f"◇ {PAPER}"), *(Cell("" if v is None else f"{v:.4f}", "as printed", value=v) for v in figures)])
    users = {s: next(r["n_users"] for r in rows if r["scenario"] == s) for s in names}
    header = ["model", *(f"{_title(s)} ({users[s]:,})" for s in names)]
    groups = ["floor" if m in FLOORS else "ours" if m in OURS else "learnt" for m in models]
    caption = f"{METRIC_NAMES[metric]}@{runs.k}; in brackets the number of users"
    return Table(header, body, ["", *names], foreign, caption, "scores", groups=groups)


def _best(cells: Mapping[tuple[str, str], Json], models: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return by scenario the best mean of some models, 0 where none was judged."""
    return {s: max((cells[m, s]["mean"] for m in models if (m, s) in cells), default=0.0) for s in names}


def mark(test: Json) -> str:
    """Return the stars of a paired test."""
    if test["t_p"] is None or test["wilcoxon_p"] is None:
        return ""
    p = float(max(test["t_p"], test["wilcoxon_p"]))
    return "*" * sum(p < level for level in (0.05, 0.01, 0.001))


def _tests_table(tests: Sequence[Json], against: str | None, metric: str = "recall") -> Table | None:
    rows, tags = [], []
    for t in tests:
        if t["metric"] != metric:
            continue
        interval = t["remark"] if t["low"] is None else f"{t['low']:+.4f} to {t['high']:+.4f}"
        p_values = ["no test" if t[name] is None else _p(t[name]) for name in ("t_p", "wilcoxon_p")]
        effect = "" if t["effect"] is None else f"{t['effect']:+.2f}"
        words = [t["model"], _title(t["scenario"]), f"{t['difference']:+.4f}", interval, *p_values, effect]
        rows.append([Cell(word) for word in (*words, f"{t['wins']:,} / {t['losses']:,}")])
        tags.append(t["scenario"])
    if not rows:
        return None
    header = ["model", "scenario", "gain", "95 % interval", "p (t)", "p (Wilcoxon)", "effect d", "better / worse"]
    caption = f"{METRIC_NAMES[metric]} against {against}, user by user, p corrected by Holm; no test below {MIN_USERS} users"
    return Table(header, rows, caption=caption, row_tags=tags)


def _p(value: float) -> str:
    return "< 1e-12" if value < 1e-12 else f"{value:.2g}"


def _gains(runs: Runs) -> Section | None:
    if not runs.gains:
        return None
    against, panels = runs.gains[0]["against"], []
    learnt = [g for g in runs.gains if g["model"] not in FLOORS] or list(runs.gains)
    for scenario in dict.fromkeys(g["scenario"] for g in learnt):
        entries = [(g["model"], g["worse"], g["equal"], g["better"]) for g in learnt if g["scenario"] == scenario]
        panels.append(charts.diverging(_title(scenario), entries, tag=scenario))
    rows = [
        [
            Cell(g["model"]),
            Cell(_title(g["scenario"])),
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


# -- one section for each further question -------------------------------------------------------------------------------


def _cost(runs: Runs) -> Section | None:
    rows = [r for r in runs.quality("table3") if r["metric"] == "recall"]
    costs = runs.rows("table3", "cost")
    if not rows or not costs:
        return None
    told = {c["model"] for c in costs}  # runs that were taken over may lack them
    judged = list(dict.fromkeys(r["model"] for r in rows))
    models, untold = ([m for m in judged if (m in told) == there] for there in (True, False))
    legend = charts.looks(models, FLOORS, OURS)
    points, body = {}, []
    for model in models:
        theirs = [c for c in costs if c["model"] == model]
        mean = float(np.mean([r["mean"] for r in rows if r["model"] == model]))
        cpu, fit, adapt, rank = (float(np.mean([c[n] for c in theirs])) for n in ("cpu_s", "fit_s", "adapt_s", "rank_s"))
        points[model] = (max(cpu, 0.01), mean)
        cells = [Cell(f"{v:,.2f}", value=v) for v in (cpu, fit, adapt, rank)]
        body.append([Cell(model), Cell(f"{mean:.4f}", value=mean), *cells, Cell(f"{theirs[0]['parameters']:,}")])
    panel = charts.scatter(
        "Cost and quality", points, legend, Axis("processor seconds to fit", log=True), Axis(f"mean Recall@{runs.k}")
    )
    header = ["model", f"mean Recall@{runs.k}", "fit, processor s", "fit, s", "adapt, s", "rank, s", "parameters"]
    table = Table(header, body, caption="Means over seeds; adapting and ranking over all scenarios")
    lead = (
        "Processor seconds to fit against the mean over scenarios. Seconds on the wall are those of the machine in the footer "
        "as it was then; processor seconds are the fairer figure." + (f" Not kept for {', '.join(untold)}." if untold else "")
    )
    return Section("cost", "What quality costs", lead, [Figure("cost", [panel]), table])


def _ablation(runs: Runs) -> Section | None:
    rows = runs.quality("ablation")
    if not rows:
        return None
    blocks: list[Table | Figure] = []
    for model, found in groupby(rows, key=lambda r: r["model"].rpartition(" ")[0]):
        theirs, panels = list(found), []
        for scenario in scenario_names(theirs):
            entries = []
            for r in theirs:
                if (r["scenario"], r["metric"]) == (scenario, "recall"):
                    variant = r["model"].rpartition(" ")[2]
                    std = r["std"]
                    low, high = (None, None) if std is None else (max(r["mean"] - std, 0.0), r["mean"] + std)
                    entries.append(Bar(variant, r["mean"], low, high, Look("--c0" if variant == "full" else "--floor")))
            panels.append(charts.bars(_title(scenario), entries, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(f"ablation-{model}", panels, {}, f"{model}; whiskers are the deviation between seeds."))
        blocks.append(_by_scenario(runs, theirs, f"{model}, Recall@{runs.k}"))
    tests = _tests_table(runs.tests.get("ablation", []), "the full model")
    blocks += [tests] if tests else []
    lead = (
        "One part left out at a time (paper, Fig. 4): the task scheduler, the collaborative-aware learner (no inner step), the "
        "knowledge-aware learner (no triple loss); base is plain ranking loss on all pairs."
    )
    return Section("ablation", "What each part is worth", lead, blocks)


def _leak(runs: Runs) -> Section | None:
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
            panels.append(charts.bars(_title(scenario), entries, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(f"leak-{carrier}", panels, {}, f"Carrier {carrier}, vectors after {last} passes."))
        if carrier == "bpr":
            panels = []
            for scenario in scenario_names(theirs):
                series: dict[str, list[charts.Point]] = {}
                for saw in order:
                    points = _points((r["epochs"], r["mean"]) for r in theirs if (r["scenario"], r["saw"]) == (scenario, saw))
                    series |= {f"saw {saw}": points} if points else {}
                ticks = sorted({p[0] for points in series.values() for p in points})
                x, y = Axis("passes over the pairs", log=True, ticks=ticks), Axis(f"Recall@{runs.k}", zero=True)
                panels.append(charts.lines(_title(scenario), series, legend, x, y, tag=scenario))
            blocks.append(Figure("leak-passes", panels, legend, "The vectors themselves, judged after so many passes."))
        blocks.append(_leak_table(runs, theirs, carrier, last))
    tests = _tests_table(runs.tests.get("leak", []), "the same vectors without answers")
    blocks += [tests] if tests else []
    lead = (
        "The same vectors (BPR matrix factorisation) fitted by the same code with the same draws: on what may be known "
        "(training pairs and the scenario's support), and on these and a share of the answers; then judged on all answers of "
        "the scenario. As released: the share of Last-FM's query pairs that lie in the training file of KGAT. That the "
        "release's vectors saw them is inferred from file identity and KGAT's description, not from the files themselves. "
        "Nothing here is a result of a model: what saw answers is labelled so, and stands in no leaderboard."
    )
    return Section("leak", "What a leak is worth", lead, blocks)


def _leak_table(runs: Runs, rows: Sequence[Json], carrier: str, epochs: int) -> Table:
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
        body.append([Cell(_title(scenario)), *cells, Cell(gap, times), Cell("" if share is None else f"{share:.1%}")])
    header = ["scenario", "saw nothing", "saw as released", "saw everything", "the leak", "share of answers"]
    return Table(header, body, caption=f"Recall@{runs.k}, carrier {carrier}", row_tags=scenario_names(rows))


def _shots(runs: Runs) -> Section | None:
    rows = [r for r in runs.quality("sensitivity", study="shots") if r["metric"] == "recall" and r["shots"] is not None]
    if not rows:
        return None
    models = list(dict.fromkeys(r["model"] for r in rows))
    legend = charts.looks(models, FLOORS, OURS)
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
            panels.append(charts.lines(_title(scenario), series, legend, x, Axis(f"Recall@{runs.k}", zero=True), tag=scenario))
        figures.append(Figure(name, panels, legend, f"{title} (same query for every number of revealed pairs)."))
    table = _values_table(rows, "shots", f"Recall@{runs.k} by revealed pairs of each user (of each item where items are cold)")
    lead = "How much a few clicks change (paper, Fig. 7): 0 to 10 revealed pairs, and supports of 5 to 80."
    return Section("shots", "From the first click", lead, [*figures, table])


def _sensitivity(runs: Runs) -> Section | None:
    blocks: list[Table | Figure] = []
    for study in ("local updates", "embedding size"):
        found = runs.rows("sensitivity", "quality")
        rows = [r for r in found if r.get("study") == study and r["metric"] == "recall"]
        if not rows:
            continue
        models = list(dict.fromkeys(r["model"] for r in rows))
        legend, panels = charts.looks(models, FLOORS, OURS), []
        for scenario in scenario_names(rows):
            series: dict[str, list[charts.Point]] = {}
            for model in models:
                theirs = [(r["value"], r["mean"]) for r in rows if (r["model"], r["scenario"]) == (model, scenario)]
                series |= {model: _points(theirs)} if theirs else {}
            ticks = sorted({p[0] for points in series.values() for p in points})
            x = Axis(study, log=study == "embedding size", ticks=ticks)
            panels.append(charts.lines(_title(scenario), series, legend, x, Axis(f"Recall@{runs.k}"), tag=scenario))
        blocks.append(Figure(study.replace(" ", "-"), panels, legend, f"{study.capitalize()}."))
        blocks.append(_values_table(rows, "value", f"Recall@{runs.k} by {study}"))
    if not blocks:
        return None
    lead = (
        "Number of inner updates (paper, Fig. 6) and width of the vectors (Fig. 8; for metakg, which has none, the width of "
        "its network). All else at the settings of the leaderboard. Shown on the queries, chosen on none of them."
    )
    return Section("sensitivity", "What hangs on a setting", lead, blocks)


def _efficiency(runs: Runs) -> Section | None:
    epochs, ranked = runs.rows("efficiency", "epoch"), runs.rows("efficiency", "inference")
    if not ranked:
        return None
    blocks: list[Table | Figure] = []
    for place in dict.fromkeys(r["place"] for r in ranked):
        body, bars_of = [], []
        theirs = [r for r in ranked if r["place"] == place]
        legend = charts.looks([r["model"] for r in theirs], FLOORS, OURS)
        for row in theirs:
            mine = {e["stage"]: e for e in epochs if (e["model"], e["place"]) == (row["model"], place)}
            main, adapting = mine.get("training"), mine.get("adaptation")
            trained = (
                Cell("no training")
                if main is None
                else Cell(
                    f"{main['epoch_s']:,.3g}",
                    f"{main['epoch_cpu_s']:,.3g} processor s; {main['seen_steps']} of {main['steps']} steps timed",
                    value=main["epoch_s"],
                )
            )
            adapted = Cell("") if adapting is None else Cell(f"{adapting['epoch_s']:,.3g}", value=adapting["epoch_s"])
            rank = Cell(f"{row['rank_s']:,.3g}", f"{row['users']:,} users", value=row["rank_s"])
            words = "" if main is None else main["epoch_is"]
            body.append([Cell(row["model"]), trained, adapted, rank, Cell(f"{row['ready_s']:,.3g}"), Cell(words)])
            if main is not None:
                bars_of.append(Bar(row["model"], main["epoch_s"], look=legend[row["model"]]))
        named = "this data" if place == "here" else f"generated data of {place}'s size"
        first = theirs[0]
        size = f"{first['interactions']:,} training clicks, {first['facts']:,} facts, {first['items']:,} items"
        panels = [charts.bars("seconds an epoch", bars_of, Axis("seconds", log=True), dots=True)] if bars_of else []
        panels.append(
            charts.bars(
                "seconds to rank all users",
                [Bar(r["model"], max(r["rank_s"], 1e-4), look=legend[r["model"]]) for r in theirs],
                Axis("seconds", log=True),
                dots=True,
            )
        )
        blocks.append(Figure(f"efficiency-{place}", panels, {}, f"{named.capitalize()}: {size}."))
        header = ["model", "training epoch, s", "adaptation epoch, s", "ranking, s", "made ready in, s", "an epoch is"]
        blocks.append(Table(header, body))
    lead = (
        "Seconds an epoch of training and of adaptation, and to rank all items for all users of all scenarios (paper, "
        "Table 4). Epochs are timed on some of their steps and scaled up; what an epoch is stands beside it. The paper reports "
        "3.9 s an epoch for MetaKG on an A100 and about 0.3 s of inference; another machine, so no comparison is made."
    )
    return Section("efficiency", "Seconds an epoch", lead, blocks)


def _scalability(runs: Runs) -> Section | None:
    shares, sizes = runs.rows("scalability", "share"), runs.rows("scalability", "size")
    blocks: list[Table | Figure] = []
    if shares:
        models = list(dict.fromkeys(r["model"] for r in shares))
        legend = charts.looks(models, FLOORS, OURS)
        series = {m: _points((100 * r["share"], r["rank_s"]) for r in shares if r["model"] == m) for m in models}
        x, y = Axis("share of users and facts, %", ticks=[20, 40, 60, 80, 100]), Axis("seconds to rank", log=True)
        panel = charts.lines("Inference by share of the data", series, legend, x, y)
        blocks.append(Figure("scalability-shares", [panel], legend, "Seconds to rank all items for the share's users."))
        timed = [{**r, "mean": r["rank_s"], "percent": round(100 * r["share"])} for r in shares]
        blocks.append(_values_table(timed, "percent", "Seconds to rank, by share of the data in %", scenario=False))
    done = [r for r in sizes if "edges" in r]
    if done:
        models = list(dict.fromkeys(r["model"] for r in sizes))
        legend, panels = charts.looks(models, FLOORS, OURS), []
        for name, title in (
            ("epoch_s", "seconds an epoch"),
            ("rank_s", "seconds to rank 512 users"),
            ("peak_gb", "peak memory, GB"),
        ):
            series = {m: _points((r["edges"], r[name]) for r in done if r["model"] == m and r[name]) for m in models}
            series = {m: points for m, points in series.items() if points}
            if series:
                panels.append(charts.lines(title, series, legend, Axis("edges", log=True), Axis(title, log=True)))
        blocks.append(Figure("scalability-sizes", panels, legend, "Graphs of any size, without a story."))
        blocks.append(_sizes_table(models, sizes))
    if not blocks:
        return None
    lead = (
        "Inference against the share of the data (paper, Fig. 5), and beyond it: training and inference on random graphs up to "
        "where one machine ends. Every size ran in a process of its own; one that would not fit is refused beforehand."
    )
    return Section("scalability", "How it grows", lead, blocks)


def _sizes_table(models: Sequence[str], sizes: Sequence[Json]) -> Table:
    body = []
    millions = sorted({r["millions"] for r in sizes})
    for model in models:
        mine = [r for r in sizes if r["model"] == model]
        by = {r["millions"]: r for r in mine}
        line = [Cell(model)]
        for size in millions:
            row = by.get(size)
            if row is None:
                line.append(Cell("not run"))
            elif "edges" not in row:
                needs = f"about {row['needs_gb']} GB needed, {row['free_gb']} free" if "needs_gb" in row else row["found"]
                line.append(Cell("refused", needs))
            else:
                epoch = "no training" if row["epoch_s"] is None else f"{row['epoch_s']:,.3g} s an epoch"
                line.append(Cell(epoch, f"rank {row['rank_s']:,.3g} s, {row['peak_gb']:.2f} GB"))
        done = [r for r in mine if "edges" in r]
        for name in ("epoch_cpu_s", "rank_cpu_s"):
            timed = [r for r in done if r.get(name)]
            b = exponent([r["edges"] for r in timed], [r[name] for r in timed])
            line.append(Cell("" if b is None else f"{b:.2f}"))
        free = next((r["free_gb"] for r in mine if r.get("free_gb")), None)
        end = None if free is None else end_of_machine([(r["edges"] / 1e6, r["peak_gb"]) for r in done], free)
        where = "" if end is None else f"about {end:,.0f} M"
        line.append(Cell(where, "" if end is None else f"with {free:.0f} GB free, by the line of its memory"))
        body.append(line)
    header = [
        "model",
        *(f"{size:g} M edges" for size in millions),
        "exponent, epoch",
        "exponent, ranking",
        "one machine ends at",
    ]
    return Table(header, body, caption="Exponents: processor seconds = a x edges ^ exponent, fitted from three sizes on")


def _curves(runs: Runs) -> Section | None:
    found = [r for r in runs.rows("table3", "curve") if len(r["steps"]) > 1]
    if not found:
        return None
    panels = []
    for (model, phase), curves in groupby(sorted(found, key=_curve_key), key=_curve_key):
        theirs = list(curves)
        seeds = [f"seed {c['seed']}" for c in theirs]
        legend = {name: Look(f"--c{n % 10}") for n, name in enumerate(seeds)}
        series = {name: _points(zip(c["steps"], c["loss"], strict=True)) for name, c in zip(seeds, theirs, strict=True)}
        panels.append(charts.lines(f"{model}, {phase}: loss", series, legend, Axis("step"), Axis("sum of the losses")))
        if any(len(c["score"]) > 1 for c in theirs):
            judged = [(name, c) for name, c in zip(seeds, theirs, strict=True) if c["score"]]
            series = {name: _points(zip(c["at"], c["score"], strict=True)) for name, c in judged}
            panels.append(charts.lines(f"{model}, {phase}: validation", series, legend, Axis("step"), Axis("score")))
    lead = "From the training logs of the leaderboard's runs, thinned; a line for each seed."
    return Section("curves", "Learning curves", lead, [Figure("curves", panels)])


def _curve_key(row: Json) -> tuple[str, str]:
    return row["model"], row["phase"]


def _parameters(runs: Runs) -> Section | None:
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


# -- parts -----------------------------------------------------------------------------------------------------------------


def scenario_names(rows: Sequence[Json]) -> list[str]:
    """Return the scenarios of some rows, in the order of the paper."""
    there = {row["scenario"] for row in rows}
    return [name for name in SCENARIO_NAMES if name in there]


def _title(scenario: str) -> str:
    return SCENARIO_NAMES[scenario]


def _points(pairs: Iterable[tuple[float, float]]) -> list[charts.Point]:
    """Return points by x, means where an x occurs several times (seeds), with the range of what was averaged."""
    by_x: dict[float, list[float]] = {}
    for x, y in pairs:
        by_x.setdefault(float(x), []).append(float(y))
    several = {x: len(ys) > 1 for x, ys in by_x.items()}
    return [
        (x, float(np.mean(ys)), min(ys) if several[x] else None, max(ys) if several[x] else None)
        for x, ys in sorted(by_x.items())
    ]


def _with_std(row: Json, x: float) -> charts.Point:
    std = row["std"]
    return (x, row["mean"], None, None) if std is None else (x, row["mean"], row["mean"] - std, row["mean"] + std)


def _values_table(rows: Sequence[Json], name: str, caption: str, *, scenario: bool = True) -> Table:
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
        body.append([Cell(model), *([Cell(_title(where))] if scenario else []), *cells])
        tags.append(where)
    header = ["model", *(["scenario"] if scenario else []), *(f"{v:g}" for v in values)]
    return Table(header, body, caption=caption, row_tags=tags if scenario else ())


def _by_scenario(runs: Runs, rows: Sequence[Json], caption: str) -> Table:
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
    return Table(["variant", *map(_title, names)], body, ["", *names], caption=caption)


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def _protocol_words(runs: Runs) -> str:
    row = runs.rows("table3", "quality")[0]
    words = "the paper's published rule" if row["protocol"] == "paper" else "new ids do not exist before they arrive"
    return f"Protocol {row['protocol']} ({words}), {row['candidates']} items ranked, mask {row['mask']}."
