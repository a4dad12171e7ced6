"""Learning from what arrives: co-adaptation to a scenario (paper, eq. 26).

The training graph gains the support's edges (and the former query pairs, which are training data now), new rows come from
their neighbours, and all parameters take ordinary steps on the ranking loss of the support pairs and the triple loss. The
released code does the first half of this; per-user steps for online use are in `metakg.train.online`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from metakg import rng as random
from metakg.data import Interactions, Support, TrainView
from metakg.errors import DataError
from metakg.models.metakg_paper import JointBatch, MetaKG
from metakg.models.nn.ckg import triple_sampler
from metakg.sample.negatives import comparable
from metakg.sample.pairs import PairSampler, ShuffledPairs
from metakg.train.loop import Loop, LoopConfig, Progress
from metakg.train.online import OnlineConfig, adapt_each, adapt_user, offered
from metakg.train.trained import Trained
from metakg.types import Json, Rows


class AdaptConfig(BaseModel):
    """Settings of co-adaptation; rate and epochs are to be chosen on the validation scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam, for all parameters."""
    epochs: NonNegativeInt = 5
    """Passes over the support pairs; 0 adds the edges and takes no step."""
    batch_size: PositiveInt = 4096
    """Support pairs of one step."""
    facts: PositiveInt = 2048
    """Triples of one step."""
    replay: float = Field(0.0, ge=0.0)
    """Training pairs mixed in for each support pair; above zero it prevents forgetting."""
    clip_norm: float = Field(5.0, ge=0.0)
    """Longest gradient allowed; 0 switches it off."""
    all_negatives: bool = True
    """Draw negatives, and the false tails of clicks, from all items; else only from those with a training or support pair."""
    kg_weight: NonNegativeFloat | None = None
    """Weight of the triple loss while adapting (the authors' code has none there: 0); None keeps that of training."""
    each_user: bool = False
    """Let every user of the support take the step of eq. 21 once more, after all have been adapted together (`online`)."""


def candidates(view: TrainView, config: AdaptConfig) -> Rows:
    """Return the items that may be negatives: (n,) rows, ascending."""
    return (np.arange(view.n_items) if config.all_negatives else np.flatnonzero(view.popularity)).astype(np.int32)


class PairBatches:
    """Hands out shuffled pairs and facts: plain BPR with the triple loss. Also the ablation `base` of meta-training.

    Args:
        model: the model that will be trained.
        pairs: the positives.
        config: settings.
        seed: of order, negatives and corrupted facts.
    """

    def __init__(self, model: MetaKG, pairs: Interactions, config: AdaptConfig, seed: int) -> None:
        view = model.view
        self.config, self.view, self.device = config, view, model.node.device
        pool = candidates(view, config)
        rng, known = random.generator(seed, "adapt/negatives"), view.interactions.pairs_only()

        def sampler(pairs: Interactions) -> PairSampler:
            return PairSampler(pairs, known, pool, view.n_items, rng)

        old = known.select(~np.isin(known.keys(view.n_items), pairs.keys(view.n_items)))
        replayed = sampler(old) if config.replay and len(old) else None
        self.pairs = ShuffledPairs(sampler(pairs), config.batch_size, replayed=replayed, replay=config.replay)
        self.facts = None
        if model.config.kg_weight:
            triples = random.generator(seed, "adapt/triples")
            clicks, seen = model.config.facts == "ckg", not config.all_negatives
            self.facts = triple_sampler(model.graph, triples, clicks=clicks, seen=seen)

    def __len__(self) -> int:
        return len(self.pairs)

    def next(self, model: MetaKG, step: int) -> JointBatch:
        """Return the pairs and facts of a step; the attention is refreshed every epoch."""
        place = step % len(self)
        if place == 0 or step % model.config.attention_every == 0:
            model.refresh()
        batch = self.pairs.draw(place, self.device)
        facts = self.facts.draw(self.config.facts).to(self.device) if self.facts is not None else None
        return JointBatch(batch, facts)

    def learn(self, model: MetaKG, batch: JointBatch) -> Json:
        """Nothing to note."""
        return {}

    def describe(self, batch: JointBatch) -> str:
        """Name some pairs of a batch."""
        return batch.pairs.describe(self.view.vocabulary)

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {"pairs": self.pairs.state_dict(), "facts": None if self.facts is None else self.facts.state_dict()}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.pairs.load_state_dict(state["pairs"])
        if self.facts is not None:
            self.facts.load_state_dict(state["facts"])


def co_adapt(
    model: MetaKG,
    support: Support,
    config: AdaptConfig,
    *,
    seed: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> MetaKG:
    """Return a recommender adapted to all that arrived (eq. 26); `model` stays as it was.

    Where whoever clicked is known to like all that could be a negative, edges are added and no step is taken.

    Raises:
        DataError: the support has no click, and steps were asked for.
        NonFiniteLoss: the learning rate is too high.
    """
    adapted = model.extend(support)
    if config.epochs:
        v = adapted.view.vocabulary
        pairs = Interactions(v.users.rows(support.users), v.items.rows(support.items))
        if not len(pairs):
            raise DataError(
                "the support of the scenario",
                "no click",
                expected="at least one pair to adapt on",
                fix="Reveal some support pairs (shots above 0), or adapt with epochs = 0.",
            )
        if not comparable(pairs, adapted.view.interactions.pairs_only(), candidates(adapted.view, config)).any():
            return adapted.eval().ready()  # they are known to like all there is
        adapted.use_generator(random.torch_generator(seed, "adapt/model", str(adapted.node.device)))
        loop = LoopConfig(learning_rate=config.learning_rate, epochs=config.epochs, clip_norm=config.clip_norm)
        trained = adapted.config
        if config.kg_weight is not None:
            adapted.config = trained.model_copy(update={"kg_weight": config.kg_weight})
        Loop(adapted, PairBatches(adapted, pairs, config, seed), loop, on_progress=on_progress).run()
        adapted.config = trained
        adapted.trained |= ~adapted.graph.isolated()
        adapted.refresh()
    return adapted.eval().ready()


class CoAdapting(Trained):
    """A trained MetaKG together with how it adapts: the recommender that evaluation and serving see.

    A model owns no optimiser, so `MetaKG.adapt` adds edges only; this adds the steps of eq. 26.
    """

    model: MetaKG

    def __init__(self, model: MetaKG, adapt: AdaptConfig, seed: int, online: OnlineConfig | None = None) -> None:
        super().__init__(model)
        self.settings, self.seed, self.online = adapt, seed, online

    def adapt(self, support: Support) -> Self:
        """Return a recommender adapted to what arrived.

        Clicks of one user on known items take the bounded step of `metakg.train.online`, if that is switched on and `offered`;
        everything else is co-adapted. A support without clicks only adds nodes and facts.
        """
        by_step = self.online is not None and offered(self.model.config)
        if by_step and self.online is not None and self.model.vectors is not None and _is_one_users(support, self.model):
            user, liked = str(support.users[0].as_py()), support.items.to_pylist()
            return type(self)(
                adapt_user(self.model, user, liked, self.online, seed=self.seed), self.settings, self.seed, self.online
            )
        settings = self.settings if len(support) else self.settings.model_copy(update={"epochs": 0})
        adapted = co_adapt(self.model, support, settings, seed=self.seed)
        if settings.each_user and by_step and self.online is not None:
            users = np.unique(adapted.view.vocabulary.users.rows(support.users))
            adapted = adapt_each(adapted, users.tolist(), self.online, seed=self.seed)
        return type(self)(adapted, self.settings, self.seed, self.online)


def _is_one_users(support: Support, model: MetaKG) -> bool:
    """Say whether a support holds nothing but one user's clicks on known items, and names nobody else."""
    if not len(support) or len(support.arrivals) or len(support.triples) or len(support.user_triples):
        return False
    if not set(support.newcomers.to_pylist()) <= set(support.users.to_pylist()):
        return False
    return len(support.users.unique()) == 1 and bool((model.view.vocabulary.items.rows(support.items) >= 0).all())
