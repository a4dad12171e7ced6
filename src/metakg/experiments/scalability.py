"""How time and memory grow with the data (paper, Fig. 5), and where one machine ends.

Two series. *Shares*: the ranking of the split at hand, on 20 to 100 % of it: so many of its users, with their clicks and
queries, and so many of its facts; all items stay. *Sizes*: graphs without a story (`generator.random_world`) of 1 to 100
million edges: a training step, an epoch, a ranking, the peak of memory. Each size runs in a process of its own, so that its
memory is its own and a size that does not fit ends that process alone. Before a size runs, its memory is estimated from the
smaller ones; what would not fit is refused, and the row says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from metakg import rng as random
from metakg.data import KnowledgeGraph, Scenario, Split, Tasks
from metakg.engine import fit
from metakg.evaluation import evaluate
from metakg.evaluation.ranking import rank
from metakg.experiments.lab import Lab
from metakg.experiments.measure import ChildEnded, Limits, Stopwatch, in_child, room
from metakg.experiments.runner import Desk, Kind, OutOfBudget, Unit
from metakg.generator import random_world
from metakg.types import Json, Mask

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
MODELS_BY_SIZE = ("popularity", "kg-knn", "walk", "nfm", "cke", "kgat", "metahin", "metakg-paper", "metakg")
"""Models of the second series, those of the lab among them: the paper's Table 4, the floors' kinds, ours."""

_STEPS, _SECONDS, _USERS = 6, 30.0, 512


def units(lab: Lab) -> list[Unit]:
    """Return one unit for each model and share, and for each model and size."""
    found = []
    for share in SHARES:
        for model in lab.models:
            rule = lab.rule(model, 1, experiment="scalability", share=share)
            work = partial(_share, lab=lab, model=model, share=share)
            tier: Kind = "essential" if share in (SHARES[0], SHARES[-1]) else "sizes"
            name = f"{model} on {share:.0%} of the data"
            found.append(Unit("scalability", name, rule, work, tier, like=f"share/{model}", weight=share))
    for number, millions in enumerate(lab.told.get("millions", (1.0, 3.0, 10.0, 30.0, 100.0))):
        for model in MODELS_BY_SIZE:
            if model not in lab.models:
                continue
            rule = {
                part: value
                for part, value in lab.rule(model, 1, experiment="scalability", millions=millions).items()
                if part not in lab.identity
            }
            work = partial(_size, lab=lab, model=model, millions=millions)
            tier = "sizes" if number else "essential"
            name = f"{model} on {millions:g} million edges"
            found.append(Unit("scalability", name, rule, work, tier, like=f"size/{model}", weight=millions))
    return found


# -- shares of the data at hand --------------------------------------------------------------------------------------------


def part_of(cut: Split, share: float, seed: int) -> Split:
    """Return a share of a split: so many of all users, with everything that is theirs, and so many of the facts.

    Items and entities stay. Users and facts are drawn by one order each, so a larger share holds a smaller one.
    """
    v, graph = cut.dataset.vocabulary, cut.dataset.graph
    taken = _first_of(v.n_users, share, seed, "users")
    facts = graph.entity.select(_first_of(len(graph.entity), share, seed, "facts"))
    about = graph.user.select(taken[graph.user.heads])
    dataset = replace(cut.dataset, graph=KnowledgeGraph(facts, about))
    tasks = cut.tasks
    if tasks is not None:
        of = (tasks.support.select(taken[tasks.support.users]), tasks.query.select(taken[tasks.query.users]))
        tasks = Tasks(tasks.users[taken[tasks.users]], *of)

    def scenario(s: Scenario) -> Scenario:
        return replace(s, support=s.support.select(taken[s.support.users]), query=s.query.select(taken[s.query.users]))

    scenarios = {name: smaller for name, s in cut.scenarios.items() if len((smaller := scenario(s)).query)}
    pairs = cut.pairs.select(taken[cut.pairs.users])
    return replace(cut, dataset=dataset, pairs=pairs, tasks=tasks, scenarios=scenarios, validation=None)


def _first_of(n: int, share: float, seed: int, what: str) -> Mask:
    chosen = np.zeros(n, np.bool_)
    chosen[random.generator(seed, f"share of {what}").permutation(n)[: round(share * n)]] = True
    return chosen


def _share(desk: Desk, lab: Lab, model: str, share: float) -> list[Json]:
    smaller = part_of(lab.split, share, 1)
    with Stopwatch(2).looking():  # inference takes the same time however well a model was trained
        fitted = fit(model, smaller.train, seed=1, report=desk.tell, **lab.settings_of(model))
        desk.tell("ranking")
        busy = time.process_time()
        judged = evaluate(fitted, smaller, k=lab.k, metric_names=("recall",))
        busy = time.process_time() - busy
    return [
        {
            "what": "share",
            "model": model,
            "share": share,
            "users": sum(len(r.users) for r in judged.results),
            "clicks": len(smaller.pairs),
            "facts": len(smaller.dataset.graph.entity),
            "rank_s": round(sum(r.rank_s for r in judged.results), 4),
            "adapt_and_rank_cpu_s": round(busy, 4),
        }
    ]


# -- sizes -----------------------------------------------------------------------------------------------------------------


def _size(desk: Desk, lab: Lab, model: str, millions: float) -> list[Json]:
    who: Json = {"what": "size", "model": model, "millions": millions}
    free = room()
    smaller = [
        row
        for row in desk.journals["scalability"].record.rows
        if row["what"] == "size" and row["model"] == model and "peak_gb" in row and row["millions"] < millions
    ]
    needed = estimate_gb([(row["edges"] / 1e6, row["peak_gb"]) for row in smaller], millions)
    if needed is not None and free is not None and needed * 2**30 > free:
        return [{**who, "refused": "memory", "needs_gb": round(needed, 1), "free_gb": round(free / 2**30, 1)}]
    desk.tell("in a process of its own" + ("" if needed is None else f", about {needed:.1f} GB"))
    left = desk.seconds_left()
    try:
        found = in_child(measure_size, (model, lab.settings_of(model), millions, lab.k), Limits(left, free))
    except ChildEnded as err:
        if "(time)" in err.where:
            raise OutOfBudget from err
        if "(memory)" not in err.where:
            raise
        return [{**who, "refused": "memory", "found": err.found, "free_gb": None if free is None else round(free / 2**30, 1)}]
    about = {"estimated_gb": needed, "free_gb": None if free is None else free / 2**30}
    return [{**who, **found, **{name: None if gb is None else round(gb, 2) for name, gb in about.items()}}]


def estimate_gb(seen: Sequence[tuple[float, float]], millions: float) -> float | None:
    """Return the peak memory a size will need, on the line through the two largest sizes seen; None where there are not two.

    Args:
        seen: (millions of edges, peak in GB).
        millions: of edges that are asked for.
    """
    if len(seen) < 2:
        return None
    (x1, y1), (x2, y2) = sorted(seen)[-2:]
    slope = max((y2 - y1) / (x2 - x1), 0.0)
    return y2 + slope * (millions - x2)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Return b of seconds = a * size^b by least squares of the logarithms; None with fewer than three sizes."""
    if len(sizes) < 3 or min(seconds) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def end_of_machine(seen: Sequence[tuple[float, float]], free_gb: float) -> float | None:
    """Return the millions of edges at which memory is used up, on the line through the two largest sizes; None if unknown."""
    if len(seen) < 2:
        return None
    (x1, y1), (x2, y2) = sorted(seen)[-2:]
    slope = (y2 - y1) / (x2 - x1)
    return None if slope <= 0 else x2 + (free_gb - y2) / slope


def measure_size(model: str, settings: Json, millions: float, k: int) -> Json:
    """Fit a model for some steps on a random graph of so many million edges, rank 512 users, and say what it took."""
    start = time.perf_counter()
    view = random_world(int(millions * 1e6))
    drawn_s = time.perf_counter() - start
    start, busy = time.perf_counter(), time.process_time()
    with Stopwatch(_STEPS, _SECONDS).looking() as watch:
        fitted = fit(model, view, seed=1, **settings).recommender
    fit_s, fit_cpu_s = time.perf_counter() - start, time.process_time() - busy
    timed = sum(phase.seen_s for phase in watch.phases)
    start, busy = time.perf_counter(), time.process_time()
    rank(fitted, np.arange(min(_USERS, view.n_users), dtype=np.int32), k)
    main = watch.phases[-1] if watch.phases else None
    return {
        "edges": 2 * (len(view.interactions) + len(view.graph.entity)),
        "drawn_s": round(drawn_s, 2),
        "ready_s": round(max(fit_s - timed, 0.0), 3),
        "fit_cpu_s": round(fit_cpu_s, 3),
        "step_s": None if main is None else round(main.epoch_s / main.steps, 5),
        "steps_an_epoch": None if main is None else main.steps,
        "epoch_s": None if main is None else round(main.epoch_s, 3),
        "epoch_cpu_s": None if main is None else round(main.epoch_cpu_s, 3),
        "rank_s": round(time.perf_counter() - start, 4),
        "rank_cpu_s": round(time.process_time() - busy, 4),
        "users": min(_USERS, view.n_users),
    }
