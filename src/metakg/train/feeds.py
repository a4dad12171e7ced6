"""Sources of batches for the models with learnt rows: pairs, pairs and facts together, each in passes of its own, or tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from metakg import rng as random
from metakg.data import Interactions
from metakg.models.learnt import Learnt
from metakg.sample.episodes import EpisodeSampler, TaskBatch
from metakg.sample.pairs import PairBatch, PairSampler, PairsAndFacts, ShuffledPairs
from metakg.sample.triples import TripleBatch
from metakg.train.initialise import FactBatches
from metakg.train.loop import Source
from metakg.types import Json, Rows


@dataclass(frozen=True)
class Ration:
    """What a feed hands out.

    Attributes:
        pairs: the positives; an epoch presents each once.
        known: pairs whose items are no negatives of their users.
        batch_size: positives of a step.
        facts: facts of a step.
        negatives: items drawn for each positive, and false tails for each fact.
        hardest: items drawn for each of these negatives, of which the one nearest to the user is kept (1: as drawn).
        pool: whether negatives come from items with a known pair, or from all.
        replay: pairs of which an equal number is mixed into every batch, or None.
        purpose: name of the random generators: "train" or "adapt".
    """

    pairs: Interactions
    known: Interactions
    batch_size: int
    facts: int
    negatives: int = 1
    pool: Literal["seen", "all"] = "seen"
    replay: Interactions | None = None
    purpose: str = "train"
    hardest: int = 1

    def candidates(self, n_items: int) -> Rows:
        """Return the items that may be negatives: (n,) rows, ascending."""
        return (np.arange(n_items) if self.pool == "all" else np.flatnonzero(np.bincount(self.known.items))).astype(np.int32)


class PairFeed:
    """Shuffled pairs with fresh negatives. With K negatives a pair stands K times in a row in its batch.

    Args:
        model: what will be trained.
        ration: what to hand out.
        seed: of order and negatives.

    Raises:
        DataError: there are no pairs.
    """

    def __init__(self, model: Learnt, ration: Ration, seed: int) -> None:
        view = model.view
        self.ration, self.view, self.device = ration, view, next(model.parameters()).device
        pool = ration.candidates(view.n_items)
        rng = random.generator(seed, f"{ration.purpose}/pairs")

        def sampler(pairs: Interactions) -> PairSampler:
            return PairSampler(pairs, ration.known, pool, view.n_items, rng)

        replayed = sampler(ration.replay) if ration.replay is not None and len(ration.replay) else None
        each, hardest = ration.negatives, ration.hardest
        self.pairs = ShuffledPairs(sampler(ration.pairs), ration.batch_size, each=each, hardest=hardest, replayed=replayed)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def presented(self) -> int:
        """How many pairs were handed out so far."""
        return self.pairs.presented

    def next(self, model: Learnt, step: int) -> Any:
        """Return the batch of a step."""
        return self.draw(model, step % len(self))

    def draw(self, model: Learnt, place: int) -> PairBatch:
        """Return the pairs that stand at a place of the epoch, and as many replayed ones; place 0 begins an epoch."""
        if place == 0:
            model.on_epoch_start()
        return self.pairs.draw(place, self.device, model.nearness)

    def learn(self, model: Learnt, batch: Any) -> Json:
        """Let the model restore its bounds, and note how many pairs were presented so far."""
        model.after_step(batch)
        return {"pairs": self.presented}

    def describe(self, batch: Any) -> str:
        """Name some pairs of a batch."""
        return (batch.pairs if isinstance(batch, PairsAndFacts) else batch).describe(self.view.vocabulary)

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return self.pairs.state_dict()

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.pairs.load_state_dict(state)


class JointFeed(PairFeed):
    """Pairs and, in the same step, facts drawn at random. With K negatives a fact stands K times in a row too.

    Raises:
        DataError: there are no pairs, or no facts.
    """

    def __init__(self, model: Learnt, ration: Ration, seed: int) -> None:
        super().__init__(model, ration, seed)
        self.facts = model.facts(random.generator(seed, f"{ration.purpose}/facts"))

    def next(self, model: Learnt, step: int) -> PairsAndFacts:
        """Return the pairs and facts of a step."""
        return PairsAndFacts(super().next(model, step), self.draw_facts())

    def draw_facts(self) -> TripleBatch:
        """Draw facts, each with `negatives` false tails."""
        picked = self.facts.rng.integers(len(self.facts.heads), size=self.ration.facts)
        return self.facts.corrupt(picked, self.ration.negatives).to(self.device)

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {**super().state_dict(), "facts": self.facts.state_dict()}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        super().load_state_dict(state)
        self.facts.load_state_dict(state["facts"])


class PassesFeed(JointFeed):
    """An epoch of all pairs, then all facts; while adapting, then as many batches of facts as there were of pairs.

    Raises:
        DataError: there are no pairs, or no facts.
    """

    def __init__(self, model: Learnt, ration: Ration, seed: int) -> None:
        super().__init__(model, ration, seed)
        self.passes = FactBatches(self.facts, ration.facts, self.device)
        self.n_pairs = super().__len__()
        self.n_facts = len(self.passes) if ration.purpose == "train" else min(self.n_pairs, len(self.passes))

    def __len__(self) -> int:
        return self.n_pairs + self.n_facts

    @property
    def parts(self) -> tuple[int, ...]:
        """Steps of pairs and steps of facts of an epoch, where there are both."""
        return tuple(n for n in (self.n_pairs, self.n_facts) if n)

    def next(self, model: Learnt, step: int) -> PairBatch | TripleBatch:  # type: ignore[override]  # one or the other
        """Return the pairs or the facts of a step."""
        place = step % len(self)
        if place < self.n_pairs:
            return self.draw(model, place)
        return self.passes.next(model, place - self.n_pairs)

    def describe(self, batch: Any) -> str:
        """Name some pairs or facts of a batch."""
        return self.passes.describe(batch) if isinstance(batch, TripleBatch) else super().describe(batch)

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {**super().state_dict(), "passes": self.passes.order}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        super().load_state_dict(state)
        self.passes.order = state["passes"]


class TaskFeed:
    """Shuffled meta-training tasks, each with all its support and query pairs and fresh negatives. An epoch is each task once.

    Args:
        model: what will be trained.
        ration: what to hand out; `batch_size` counts tasks, and the pairs are those of the view's tasks.
        seed: of order and negatives.

    Raises:
        DataError: the view has no tasks.
    """

    def __init__(self, model: Learnt, ration: Ration, seed: int) -> None:
        self.ration, self.view, self.device = ration, model.view, next(model.parameters()).device
        self.rng = random.generator(seed, f"{ration.purpose}/tasks")
        every = ration.pool == "all"
        self.episodes = EpisodeSampler(
            model.view, self.rng, all_items=every, negatives=ration.negatives, hardest=ration.hardest
        )
        self.order = np.arange(len(self.episodes))
        self.presented = 0

    def __len__(self) -> int:
        return -(-len(self.order) // self.ration.batch_size)

    def next(self, model: Learnt, step: int) -> TaskBatch:
        """Return the tasks of a step."""
        place, size = step % len(self), self.ration.batch_size
        if place == 0:
            self.order = self.rng.permutation(len(self.order))
            model.on_epoch_start()
        support, query = self.episodes.draw(np.sort(self.order[place * size : (place + 1) * size]))
        self.presented += (len(support.tasks) + len(query.tasks) // self.ration.hardest) // self.ration.negatives
        return TaskBatch(support.to(self.device), query.to(self.device), self.ration.hardest)

    def learn(self, model: Learnt, batch: TaskBatch) -> Json:
        """Let the model restore its bounds, and note how many pairs were presented so far."""
        model.after_step(batch)
        return {"pairs": self.presented}

    def describe(self, batch: TaskBatch) -> str:
        """Name some users of a batch."""
        users = batch.support.users.cpu().numpy().astype(np.int32)
        return f"{len(users)} tasks such as that of {', '.join(self.view.vocabulary.users.ids(users[:3]))}"

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {"order": self.order, "episodes": self.episodes.state_dict(), "presented": self.presented}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.order, self.presented = state["order"], state["presented"]
        self.episodes.load_state_dict(state["episodes"])  # order and negatives draw from one generator


FEEDS: dict[str, Callable[[Learnt, Ration, int], Source]] = {
    "pairs": PairFeed,
    "pairs+facts": JointFeed,
    "pairs, facts": PassesFeed,
    "tasks": TaskFeed,
}
"""The source for each `Learnt.feed`."""
