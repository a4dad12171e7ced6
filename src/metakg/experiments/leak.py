"""What a leak is worth: the same model from start vectors that saw answers, and from vectors that did not.

The released code of the paper starts from matrix-factorisation vectors. By the identity of the files and KGAT's description of
how they were made (an inference; the files themselves do not say), they were fitted on data that hold 71 to 74 % of the query
pairs. Nobody has published what that is worth. Here the same vectors are fitted by the same code with the same draws, once on
what a model may know (training pairs and the scenario's support), and once on these and a share of the answers; then the same
model starts from them, and is judged on the same queries. Two models carry the vectors:

    bpr            the vectors themselves: BPR-MF (Rendle et al. 2009), score = inner product
    metakg-paper   the network that the paper describes, its node vectors starting there, then trained and adapted as usual

**This file is the only door through which an answer can reach something that learns.** `split`, `fit` and `evaluate` refuse
leaks, and none of them is loosened: pairs of a query leave this module by no way, the models made here are not in the registry
and refuse to be saved, `evaluate` checks their views as it checks any other (a view without a query pair and vectors that saw
them is exactly how such a leak goes unnoticed), and every row carries `leaked`, which tables and reports of other experiments
refuse.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from metakg import rng as random
from metakg.data import Interactions, Split, Support, TrainView
from metakg.errors import ConfigError
from metakg.evaluation import evaluate
from metakg.experiments.lab import METRICS, Lab, quality, save
from metakg.experiments.rows import key_of
from metakg.experiments.runner import Desk, Unit
from metakg.models.base import ModelConfig, Recommender
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.metakg_released import network_of
from metakg.models.nn.transr import xavier
from metakg.sample.pairs import PairSampler
from metakg.train.adapt import CoAdapting
from metakg.train.fit import settings_for
from metakg.train.initialise import BprConfig, ClickBatches, Factors
from metakg.train.loop import Loop, LoopConfig
from metakg.train.meta import TaskBatches
from metakg.train.recipe import Recipe, ablated
from metakg.types import Json, Rows

RELEASED = {"user_cold": 0.734, "item_cold": 0.720, "user_item_cold": 0.712, "warm": 0.742}
"""Share of each scenario's query pairs of Last-FM that lie in the training file the release's vectors were fitted on."""

EPOCHS = (5, 10, 20, 40)
"""After so many passes the vectors are judged: no number of passes is chosen, all are shown."""

DIM = 64
_LEARNING_RATE = 5e-3
_CARRIED = 40
"""Passes after which the vectors are handed to the network."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A share of a scenario's query pairs, taken out on purpose. Empty where the share is 0.

    Attributes:
        pairs: in rows of the data set.
        share: of the query.
    """

    pairs: Interactions
    share: float


def take_answers(split: Split, scenario: str, share: float, seed: int) -> Answers:
    """Draw a share of a scenario's answers: the deliberate leak. For this experiment and nothing else."""
    query = split.scenarios[scenario].query.pairs_only()
    order = random.generator(seed, f"leak/{scenario}").permutation(len(query))
    return Answers(query.select(np.sort(order[: round(share * len(query))])), share)


class VectorsConfig(ModelConfig):
    """Settings of `Vectors`."""

    kind: Literal["bpr-vectors"] = "bpr-vectors"
    dim: int = DIM
    """Width of the vectors."""


class Vectors(Recommender):
    """Fixed vectors whose inner product is the score. For the leak experiment only: cannot be registered, adapted or saved.

    Args:
        view: what the model may know; it names the rows.
        users: (U, D) vectors.
        items: (I, D) vectors.
    """

    def __init__(self, view: TrainView, users: Tensor, items: Tensor) -> None:
        super().__init__(VectorsConfig(dim=users.shape[1]), view, torch.Generator())
        self.users, self.items = users, items

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users and of all items."""
        return self.users[users.long()], self.items

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        return self.users[users.long()] @ self.items.T

    def adapt(self, support: Support) -> Self:
        """Refuse: the vectors were fitted with the support already."""
        self._refuse()

    def tensors(self) -> dict[str, Tensor]:
        """Refuse: what saw answers must not become a bundle."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            "the leak experiment",
            "an attempt to use its vectors elsewhere",
            expected="them to be judged and thrown away",
            fix="Fit a model of the registry on `split.train`.",
        )


def units(lab: Lab) -> list[Unit]:
    """Return units for each scenario, model, share of answers and seed: no answers, the release's share, all of them."""
    found = []
    for number, seed in enumerate(lab.seeds):
        for scenario in lab.split.scenarios:
            for saw, share in (("nothing", 0.0), ("as released", RELEASED[scenario]), ("everything", 1.0)):
                tier: Literal["essential", "trials", "seeds"] = "seeds" if number else "trials" if share == 1.0 else "essential"
                label = f"{scenario}, saw {saw}, seed {seed}"
                rule: Json = {
                    "experiment": "leak",
                    "scenario": scenario,
                    "saw": saw,
                    "share": share,
                    "seed": seed,
                    "dim": DIM,
                    "learning_rate": _LEARNING_RATE,
                    "k": lab.k,
                    **lab.identity,
                }
                vectors = {**rule, "carrier": "bpr", "epochs": list(EPOCHS)}
                work = partial(_bpr, lab=lab, rule=vectors)
                found.append(Unit("leak", f"bpr, {label}", vectors, work, tier, like="leak/bpr"))
                if "metakg-paper" in lab.models and lab.split.train.tasks is not None:
                    model = lab.rule("metakg-paper", seed)
                    network = {**rule, "carrier": "metakg-paper", "epochs": _CARRIED, "graph": "with what is revealed"} | {
                        part: model[part] for part in ("model", "training")
                    }
                    work = partial(_network, lab=lab, rule=network)
                    first = scenario == next(iter(lab.split.scenarios))
                    main = tier if first or tier == "seeds" else "trials"
                    found.append(Unit("leak", f"metakg-paper, {label}", network, work, main, like="leak/metakg-paper"))
    return found


def fit_vectors(
    view: TrainView, answers: Interactions, seed: int, stops: Sequence[int], dim: int = DIM
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Fit BPR-MF on a view's pairs and on answers; yield after so many passes: passes, users (U, D), items (I, D).

    Without answers the same draws give what the model would be without the leak.

    Args:
        view: what may be known, the scenario's support included.
        answers: query pairs in rows of the view; empty for the honest vectors.
        seed: of start, order and negatives.
        stops: numbers of passes, rising.
        dim: width D of the vectors.
    """
    pairs = Interactions.concat(view.interactions.pairs_only(), answers)
    start = xavier(view.n_users + view.n_items, dim, rng=random.torch_generator(seed, "leak/init"))
    factors = Factors(start, view.n_users, BprConfig().weight_decay)
    everything = np.arange(view.n_items, dtype=np.int32)
    sampler = PairSampler(pairs, pairs, everything, view.n_items, random.generator(seed, "leak/pairs"))
    source = ClickBatches(sampler, BprConfig().batch_size, torch.device("cpu"))
    loop = Loop(factors, source, LoopConfig(learning_rate=_LEARNING_RATE, epochs=stops[-1], log_every=500))
    for stop in stops:
        loop.total = stop * len(source)
        loop.run()
        rows = factors.rows.detach()
        yield stop, rows[: view.n_users].clone(), rows[view.n_users :].clone()


def knowing(lab: Lab, scenario: str) -> TrainView:
    """Return what may be known when a scenario is judged: training data and the scenario's support."""
    return lab.split.train.extend(lab.split.support(scenario))


def _in_rows_of(view: TrainView, answers: Answers, split: Split) -> Interactions:
    v = split.dataset.vocabulary
    users: Rows = view.vocabulary.users.rows(v.users.array)[answers.pairs.users]
    items: Rows = view.vocabulary.items.rows(v.items.array)[answers.pairs.items]
    return Interactions(users, items)


def _bpr(desk: Desk, lab: Lab, rule: Json) -> list[Json]:
    scenario, share, seed = rule["scenario"], rule["share"], rule["seed"]
    view = knowing(lab, scenario)
    answers = _in_rows_of(view, take_answers(lab.split, scenario, share, seed), lab.split)
    rows, start = [], time.perf_counter()
    for epochs, users, items in fit_vectors(view, answers, seed, rule["epochs"]):
        desk.tell(f"{epochs} passes")
        keep = key_of(rule) if epochs == rule["epochs"][-1] else None
        seconds = time.perf_counter() - start
        rows += _judge(lab, Vectors(view, users, items), rule, "bpr", seconds, keep, adapt=False, epochs=epochs)
    return rows


def _network(desk: Desk, lab: Lab, rule: Json) -> list[Json]:
    """Train the paper's network from the vectors, over a graph in which all that is revealed stands from the start."""
    scenario, share, seed = rule["scenario"], rule["share"], rule["seed"]
    larger = knowing(lab, scenario)
    answers = _in_rows_of(larger, take_answers(lab.split, scenario, share, seed), lab.split)
    start = time.perf_counter()
    desk.tell("vectors")
    config, recipe = settings_for("metakg-paper", lab.settings_of("metakg-paper"))
    assert isinstance(config, MetaKGConfig)
    assert isinstance(recipe, Recipe)
    config = ablated(config, recipe)
    ((_, users, items),) = fit_vectors(larger, answers, seed, [rule["epochs"]], config.dim)
    # What is revealed stands in the graph from the start: a user without an edge would count as never trained, and get a new
    # row in place of his vector when the model adapts. Rows stay when a view is extended, so tasks mean the same here.
    model = network_of(config)(config, larger, random.torch_generator(seed, "init/metakg-paper"))
    model.use_generator(random.torch_generator(seed, "model", "cpu"))
    with torch.no_grad():
        model.node[: len(users)] = users
        model.node[len(users) : len(users) + len(items)] = items
    model.refresh()
    desk.tell("training")
    Loop(model, TaskBatches(model, larger, recipe.meta, seed), recipe.loop).run()
    model.refresh()
    fitted = CoAdapting(model.eval().ready(), recipe.adapt_rule(), seed, None)
    desk.tell("judging")
    seconds = time.perf_counter() - start
    return _judge(lab, fitted, rule, "metakg-paper", seconds, key_of(rule), adapt=True, epochs=rule["epochs"])


def _judge(
    lab: Lab, fitted: Recommender, rule: Json, carrier: str, seconds: float, keep: str | None, *, adapt: bool, epochs: int
) -> list[Json]:
    name = f"{carrier}, saw {rule['saw']}"
    found = evaluate(
        fitted,
        lab.split,
        scenarios=[rule["scenario"]],
        k=lab.k,
        metric_names=METRICS,
        adapt=adapt,
        model=name,
        seed=rule["seed"],
    )
    if keep is not None:
        save(found, lab.folder / "kept" / keep)
    about = {"carrier": carrier, "saw": rule["saw"], "share": rule["share"], "leaked": rule["share"] > 0, "epochs": epochs}
    return [{**row, **about, "seconds": round(seconds, 1)} for row in quality(found)]
