"""Seconds an epoch and seconds to rank, for every model (paper, Table 4).

On the split at hand and on generated data of the sizes of Amazon-book and Yelp2018. An epoch is what `measure.epoch_is` says of
a model; it is timed on some of its steps (`steps` in all, `seen_steps` timed) and scaled up, for every loop of a training:
start vectors, training, adaptation. Inference is one ranking of all items for all users of all scenarios; at the generated
sizes it is timed for 2,048 users of each scenario, drawn at random, and scaled up: what a model does once for all of them is
scaled too, so that the figure is an upper bound. What is adapted, and on what, is always the whole support.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from metakg import rng as random
from metakg.data import Dataset, Scenario, Split
from metakg.engine import fit
from metakg.evaluation import evaluate
from metakg.experiments.lab import Lab
from metakg.experiments.measure import Stopwatch, epoch_is
from metakg.experiments.runner import Desk, Kind, Unit
from metakg.generator import PRESETS, generate
from metakg.splits import split
from metakg.train.fit import TRAINING
from metakg.types import Json

SIZES = ("amazon-book", "yelp2018")
"""Presets of the generator with the numbers of the paper's Table 2."""

PLACES = ("here", *SIZES)

_STEPS, _SECONDS, _SEED, _ASKED = 24, 20.0, 1, 2_048


def units(lab: Lab) -> list[Unit]:
    """Return one unit for each model and data set."""
    found = []
    for place in lab.told.get("places", PLACES):
        for model in lab.models:
            about: Json = {"place": place}
            if place != "here":
                about |= {"preset": PRESETS[place].model_dump(mode="json"), "users": _ASKED}
            rule = lab.rule(model, 1, experiment="efficiency", steps=_STEPS, **about)
            work = partial(_measure, lab=lab, model=model, place=place)
            tier: Kind = "essential" if place == "here" else "sizes"
            weight = 1.0 if place == "here" else 20.0
            name = f"{model}, {'this split' if place == 'here' else f'size of {place}, {_ASKED:,} users'}"
            found.append(Unit("efficiency", name, rule, work, tier, like=f"efficiency/{model}", weight=weight))
    return found


def _measure(desk: Desk, lab: Lab, model: str, place: str) -> list[Json]:
    desk.tell("opening the data")
    cut = lab.split if place == "here" else generated(lab.folder / "generated" / place, place, lab.split.protocol)
    view = cut.train
    who: Json = {"model": model, "place": place, "interactions": len(view.interactions), "facts": len(view.graph.entity)}
    start, busy = time.perf_counter(), time.process_time()
    with Stopwatch(_STEPS, _SECONDS).looking() as training:
        fitted = fit(model, view, seed=_SEED, report=desk.tell, **lab.settings_of(model))
    fit_s, fit_cpu_s = time.perf_counter() - start, time.process_time() - busy
    timed = sum(phase.seen_s for phase in training.phases)
    rows: list[Json] = []
    for number, phase in enumerate(training.phases):
        last = number == len(training.phases) - 1
        says = epoch_is(fitted.recommender) if last else "one pass of what comes before the training itself"
        rows.append({"what": "epoch", **who, "stage": "training" if last else "start", "epoch_is": says, **phase.row})
    desk.tell("ranking")
    asked = cut if place == "here" else asking(cut, _ASKED)
    with Stopwatch(_STEPS, _SECONDS).looking() as adapting:
        judged = evaluate(fitted, asked, k=lab.k, metric_names=("recall",))
    users = {name: len(np.unique(scenario.query.users)) for name, scenario in cut.scenarios.items()}
    rows += [
        {"what": "epoch", **who, "stage": "adaptation", "epoch_is": "every support pair once", **phase.row}
        for phase in {phase.source: phase for phase in adapting.phases}.values()
    ]
    rows.append(
        {
            "what": "inference",
            **who,
            "users": sum(users.values()),
            "asked_users": sum(len(r.users) for r in judged.results),
            "items": cut.dataset.vocabulary.n_items,
            "rank_s": round(sum(r.rank_s * users[r.scenario] / len(r.users) for r in judged.results), 4),
            "ready_s": round(fit_s - timed, 3),
            "ready_cpu_s": round(fit_cpu_s, 3),
            "trains": model in TRAINING,
        }
    )
    return rows


def asking(cut: Split, n: int) -> Split:
    """Return a split whose scenarios ask for n users each at most, drawn at random; what they reveal stays whole."""

    def fewer(name: str, scenario: Scenario) -> Scenario:
        users = np.unique(scenario.query.users)
        drawn = random.generator(_SEED, f"users asked for, {name}").permutation(users)[:n]
        return replace(scenario, query=scenario.query.select(np.isin(scenario.query.users, drawn)))

    return replace(cut, scenarios={name: fewer(name, scenario) for name, scenario in cut.scenarios.items()})


def generated(folder: Path, preset: str, protocol: str) -> Split:
    """Return a split of generated data of a preset's size; made once, then read from `folder`."""
    if not (folder / "manifest.json").exists():
        generate(folder, preset, _SEED)
    return _cut(folder, protocol)


@cache
def _cut(folder: Path, protocol: str) -> Split:
    return split(Dataset.load(folder), protocol, seed=_SEED, validation=False)
