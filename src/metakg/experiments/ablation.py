"""What each part of MetaKG is worth (paper, Fig. 4): leave one out at a time, or all of them.

The paper's five: everything; without the task scheduler (ATS-), without the collaborative-aware learner (CF-, no inner step),
without the knowledge-aware learner (KG-, no triple loss), and the base model alone (BM, plain BPR on all pairs). `VARIANTS`
says which settings of each model these are; what a model has no switch for is not in its list.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from metakg.experiments.lab import Lab
from metakg.experiments.runner import Kind, Unit
from metakg.nesting import merged
from metakg.train.fit import settings_for
from metakg.train.practice import PracticeConfig
from metakg.types import Json

VARIANTS: Mapping[str, Mapping[str, Json]] = {
    "metakg-paper": {
        "full": {},
        "no-scheduler": {"training": {"ablation": "no-scheduler"}},
        "no-collaborative": {"training": {"ablation": "no-collaborative"}},
        "no-knowledge": {"training": {"ablation": "no-knowledge"}},
        "base": {"training": {"ablation": "base"}},
    },
    "metakg": {
        "full": {"training": {"scheduler": {"stale": True}}},
        "no-scheduler": {"training": {"scheduler": None}},
        "no-collaborative": {"inner_steps": 0, "training": {"scheduler": {"stale": True}}},
        "base": {"inner_steps": 0, "training": {"scheduler": None}},
    },
}
"""By model, the settings of each variant; a scheduler that is put in chooses from twice the tasks of a step.

`metakg` recommends `no-scheduler` (docs/results/metakg.md); its evidence is the knowledge graph itself, so there is no loss on
facts to leave out.
"""


def units(lab: Lab) -> list[Unit]:
    """Return one unit for each model, variant and seed."""
    found = []
    for number, seed in enumerate(lab.seeds):
        for model, variants in VARIANTS.items():
            if model not in lab.models:
                continue
            for variant, told in variants.items():
                changes = _with_pool(lab, model, told)
                rule = lab.rule(model, seed, changes, experiment="ablation", variant=variant)
                name = f"{model} {variant}"
                work = partial(lab.fit_and_judge, model=model, seed=seed, rule=rule, changes=changes, name=name)
                tier: Kind = "seeds" if number else "essential"
                found.append(Unit("ablation", f"{name}, seed {seed}", rule, work, tier, like=model))
    return found


def _with_pool(lab: Lab, model: str, changes: Json) -> Json:
    """Return changes in which a scheduler that they put in has something to choose from, whatever number of tasks is set."""
    if not changes.get("training", {}).get("scheduler"):
        return changes
    _, training = settings_for(model, lab.settings_of(model, {"training": {"scheduler": None}}))
    assert isinstance(training, PracticeConfig)
    return merged(changes, {"training": {"scheduler": {"pool": 2 * training.tasks}}})
