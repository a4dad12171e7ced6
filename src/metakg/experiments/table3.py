"""All models, all scenarios, all seeds (paper, Table 3). Every model of the registry takes part."""

from __future__ import annotations

from functools import partial

from metakg.experiments.lab import Lab, block_of
from metakg.experiments.runner import Unit


def units(lab: Lab) -> list[Unit]:
    """Return one unit for each model and seed: floors first, then ours, so that a short budget has these two to compare."""
    found = []
    models = sorted(lab.models, key=lambda name: (0, 2, 1)[block_of(name)])
    for number, seed in enumerate(lab.seeds):
        for model in models:
            if seed not in lab.seeds_of(model):
                continue
            rule = lab.rule(model, seed, experiment="table3")
            name = model if rule["seed"] is None else f"{model}, seed {seed}"
            work = partial(lab.fit_and_judge, model=model, seed=seed, rule=rule)
            found.append(Unit("table3", name, rule, work, "essential" if not number else "seeds", like=model))
    return found
