"""What quality costs: processor seconds against the leaderboard's means, and seconds of an epoch and of a ranking."""

from __future__ import annotations

import numpy as np

from metakg.experiments.lab import OURS, block_of
from metakg.models.registry import FLOORS
from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import Cell, Section, Table, amount
from metakg.report.charts import Bar
from metakg.report.collect import Runs
from metakg.report.colours import looks
from metakg.report.figures import Figure


def cost(runs: Runs) -> Section | None:
    """Return the section of quality against its cost, or None where the leaderboard or its costs are not there."""
    rows = [r for r in runs.quality("table3") if r["metric"] == "recall"]
    costs = runs.rows("table3", "cost")
    if not rows or not costs:
        return None
    elsewhere = {c["model"]: c["device"] for c in costs if "device" in c}  # a card's seconds are no match for a processor's
    told = {c["model"] for c in costs} - set(elsewhere)  # runs that were taken over may lack them
    judged = list(dict.fromkeys(r["model"] for r in rows))
    models = [m for m in judged if m in told]
    untold = [m for m in judged if m not in told and m not in elsewhere]
    if not models:
        return None  # all of it was made on cards
    legend = looks(models, FLOORS, OURS)
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
    seeds = {m: max(len(r["seeds"]) for r in rows if r["model"] == m) for m in models}
    kept = {m: len({c["seed"] for c in costs if c["model"] == m}) for m in models}
    partly = [f"{m} ({kept[m]} of {seeds[m]})" for m in models if kept[m] < seeds[m]]
    lead += f" Means over fewer seeds than judged: {', '.join(partly)}." if partly else ""
    for device in dict.fromkeys(elsewhere.values()):
        lead += f" Made on {device}, and so not here: {', '.join(m for m in judged if elsewhere.get(m) == device)}."
    return Section("cost", "What quality costs", lead, [Figure("cost", [panel]), table])


def epochs(runs: Runs) -> Section | None:
    """Return the section of seconds an epoch and a ranking, or None if they were not timed."""
    timed, ranked = runs.rows("efficiency", "epoch"), runs.rows("efficiency", "inference")
    if not ranked:
        return None
    blocks: list[Table | Figure] = []
    for place in dict.fromkeys(r["place"] for r in ranked):
        body, bars_of = [], []
        last = {r["model"]: r for r in ranked if r["place"] == place}  # where rules have changed since
        theirs = sorted(last.values(), key=lambda row: block_of(row["model"]))
        legend = looks([r["model"] for r in theirs], FLOORS, OURS)
        for row in theirs:
            mine = {e["stage"]: e for e in timed if (e["model"], e["place"]) == (row["model"], place)}
            main, adapting = mine.get("training"), mine.get("adaptation")
            trained = (
                Cell("no training")
                if main is None
                else Cell(
                    amount(main["epoch_s"]),
                    f"{amount(main['epoch_cpu_s'])} processor s; {main['seen_steps']} of {main['steps']} steps timed",
                    value=main["epoch_s"],
                )
            )
            adapted = Cell("") if adapting is None else Cell(amount(adapting["epoch_s"]), value=adapting["epoch_s"])
            asked = row.get("asked_users", row["users"])
            timed_users = "" if asked == row["users"] else f", {asked:,} of them timed"
            rank = Cell(amount(row["rank_s"]), f"{row['users']:,} users{timed_users}", value=row["rank_s"])
            words = "" if main is None else main["epoch_is"]
            body.append([Cell(row["model"]), trained, adapted, rank, Cell(amount(row["ready_s"])), Cell(words)])
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
        "Table 4). Epochs are timed on some of their steps and scaled up, as is, at generated sizes, a ranking on some of the "
        "users; what an epoch is stands beside it, and that of adaptation is the last scenario's. The paper reports 3.9 s an "
        "epoch for MetaKG on an A100 and about 0.3 s of inference; another machine, so no comparison is made."
    )
    return Section("efficiency", "Seconds an epoch", lead, blocks)
