"""How many numbers a model learns, and how many operations a step and a ranking take (paper, Section 6).

Parameters are told apart by what they grow with: `vectors` have a row for each user, item, entity or node; `weights` do not
grow with the data. Operations are counted by torch on one training step and on the ranking of some users.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from metakg.engine import fit
from metakg.evaluation.ranking import rank
from metakg.experiments.lab import Lab
from metakg.experiments.measure import Operations, Stopwatch
from metakg.experiments.runner import Desk, Unit
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.registry import MODELS
from metakg.types import Json

PAPER_WEIGHTS = 15_000
"""What the paper counts for the propagation layers of MetaKG, roughly."""

WIDTHS = ((64, 64, 64), (64, 32, 16))
"""Two readings of the widths of its layers, which it does not give."""

_STEPS, _USERS = 3, 100


def units(lab: Lab) -> list[Unit]:
    """Return one unit for each learnt model."""
    found = []
    for model in lab.models:
        if MODELS[model].deterministic:
            continue  # nothing is learnt
        rule = lab.rule(model, 1, experiment="parameters", users=_USERS)
        found.append(Unit("parameters", model, rule, partial(_count, lab=lab, model=model), like=f"parameters/{model}"))
    return found


def _count(desk: Desk, lab: Lab, model: str) -> list[Json]:
    marks = [0]  # operations so far, after each step
    view = lab.split.train
    with Operations() as operations, Stopwatch(_STEPS, on_step=lambda: marks.append(operations.total)).looking() as watch:
        fitted = fit(model, view, seed=1, report=desk.tell, **lab.settings_of(model)).recommender
    desk.tell("ranking")
    users = np.arange(min(_USERS, view.n_users), dtype=np.int32)
    with Operations() as operations:
        rank(fitted, users, lab.k)
    rows_of = {view.n_users, view.n_items, view.n_entities, view.n_users + view.n_items, view.n_users + view.n_entities}
    vectors = sum(p.numel() for p in fitted.parameters() if p.dim() > 1 and p.shape[0] in rows_of)
    total = sum(p.numel() for p in fitted.parameters())
    last = watch.phases[-1] if watch.phases else None
    steps: Any = []
    if last is not None:  # of several kinds of steps, the first: pairs, not facts
        steps = np.diff(marks[-last.seen - 1 :])[: last.sums[0][0]]
    row: Json = {
        "what": "count",
        "model": model,
        "parameters": total,
        "vectors": vectors,
        "weights": total - vectors,
        "step_operations": int(np.median(steps)) if len(steps) else None,
        "steps_an_epoch": None if last is None else last.steps,
        "rank_operations": operations.total // len(users),
    }
    if model == "metakg-paper":
        row["propagation"] = {"x".join(map(str, widths)): propagation_weights(MetaKGConfig().dim, widths) for widths in WIDTHS}
        row["propagation_paper"] = PAPER_WEIGHTS
    return [row]


def propagation_weights(dim: int, widths: tuple[int, ...]) -> int:
    """Return the numbers in W_1 and W_2 of all layers (eq. 15): two matrices of out x in each."""
    return sum(2 * below * above for below, above in zip((dim, *widths[:-1]), widths, strict=True))
