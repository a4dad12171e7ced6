"""How time and memory grow with the data, and where one machine ends."""

from __future__ import annotations

from collections.abc import Sequence

from metakg.experiments.lab import OURS, block_of
from metakg.experiments.scalability import end_of_machine, exponent
from metakg.models.registry import FLOORS
from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import Cell, Section, Table, amount, values_table
from metakg.report.collect import Runs
from metakg.report.colours import looks
from metakg.report.figures import Figure
from metakg.types import Json

_SIZES = (
    "Graphs of any size, without a story. To make ready is all that comes before the epochs of training: building the model, "
    "start vectors, and for metakg drawing the worlds it practises in. A larger graph gives it no more tasks, and fewer with "
    "an answer among their candidates, so its epochs become shorter."
)


def section(runs: Runs) -> Section | None:
    """Return the section of how it grows, or None if it was not run."""
    shares, sizes = runs.rows("scalability", "share"), runs.rows("scalability", "size")
    blocks: list[Table | Figure] = []
    if shares:
        models = sorted(dict.fromkeys(r["model"] for r in shares), key=block_of)
        legend = looks(models, FLOORS, OURS)
        series = {m: charts.mean_points((100 * r["share"], r["rank_s"]) for r in shares if r["model"] == m) for m in models}
        x, y = Axis("share of users and facts, %", ticks=[20, 40, 60, 80, 100]), Axis("seconds to rank", log=True)
        panel = charts.lines("Inference by share of the data", series, legend, x, y)
        blocks.append(Figure("scalability-shares", [panel], legend, "Seconds to rank all items for the share's users."))
        timed = [{**r, "mean": r["rank_s"], "percent": round(100 * r["share"])} for r in shares]
        blocks.append(values_table(timed, "percent", "Seconds to rank, by share of the data in %", scenario=False))
    done = [r for r in sizes if "edges" in r]
    if done:
        models = sorted(dict.fromkeys(r["model"] for r in sizes), key=block_of)
        legend, panels = looks(models, FLOORS, OURS), []
        for name, title in (
            ("ready_s", "seconds to make ready"),
            ("epoch_s", "seconds an epoch"),
            ("rank_s", "seconds to rank 512 users"),
            ("peak_gb", "peak memory, GB"),
        ):
            series = {m: charts.mean_points((r["edges"], r[name]) for r in done if r["model"] == m and r[name]) for m in models}
            series = {m: points for m, points in series.items() if points}
            if series:
                panels.append(charts.lines(title, series, legend, Axis("edges", log=True), Axis(title, log=True)))
        blocks.append(Figure("scalability-sizes", panels, legend, _SIZES))
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
                epoch = "no training" if row["epoch_s"] is None else f"{amount(row['epoch_s'])} s an epoch"
                line.append(
                    Cell(epoch, f"ready in {amount(row['ready_s'])} s, rank {amount(row['rank_s'])} s, {row['peak_gb']:.2f} GB")
                )
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
