"""The world before the first click: everything that clicks follow from, and none of the clicks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from metakg import rng as random
from metakg.data import KnowledgeGraph, Vocabulary
from metakg.generator import audience, facts, labels, structure
from metakg.generator.audience import Audience, Topics
from metakg.generator.config import PlantedConfig
from metakg.generator.plan import Plan, plan
from metakg.generator.quotas import Counts, Reals
from metakg.generator.sampling import cumulated, weighted_position
from metakg.types import Json, Rows

DAY_S = 86_400
FRESH = 0.55
"""Share of picks that go to what has come out lately, where anything has."""
LATELY = 0.06
"""Part of the whole time that counts as lately."""
BLOCK = 500_000
"""Interactions generated at a time."""


@dataclass(frozen=True)
class Shelves:
    """Items by topic in order of release, and one last shelf with all items: where picks are made.

    Attributes:
        items: (n,) item rows, shelf after shelf.
        starts: (k + 2,) where each shelf starts; shelf k holds all items.
        released: (n,) int64 keys shelf * 2^40 + seconds of release, ascending.
        total: (n + 1,) running sums of the items' popularity.
        pairs: (n,) int64 keys shelf * I + item, ascending.
        places: (n,) position in `items` of each of `pairs`.
        n_items: number of items I.
    """

    items: Rows
    starts: Counts
    released: Counts
    total: Reals
    pairs: Counts
    places: Counts
    n_items: int

    @property
    def everything(self) -> int:
        """The number of the shelf with all items."""
        return len(self.starts) - 2

    def pick(self, shelf: npt.NDArray[np.integer], at: Counts, lately: int, rng: np.random.Generator) -> Rows:
        """Pick an item out on each shelf at a time, by popularity and with a liking for what is new: (n,), (n,) -> (n,).

        Args:
            shelf: where to look.
            at: seconds since the first release; an item that came out later cannot be picked.
            lately: how many seconds back an item counts as new.
            rng: source of chance.

        Returns:
            Item rows, -1 where nothing was out.
        """
        first = self.starts[shelf]
        base = shelf.astype(np.int64) << 40
        end = np.searchsorted(self.released, base + at, side="right")
        new = np.searchsorted(self.released, base + np.maximum(at - lately, 0), side="right")
        fresh = (new < end) & (rng.random(len(shelf)) < FRESH)
        first = np.where(fresh, np.maximum(new, first), first)
        position = weighted_position(self.total, first, end, rng)
        return np.where(end > first, self.items[position], np.int32(-1))

    def find(self, shelf: npt.NDArray[np.integer], items: Rows) -> Counts:
        """Return the position of an item on a shelf, -1 where it is not there: (n,), (n,) -> (n,)."""
        keys = shelf.astype(np.int64) * self.n_items + items
        at = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
        return np.where((self.pairs[at] == keys) & (shelf >= 0), self.places[at], -1)


@dataclass(frozen=True)
class World:
    """All that is settled before the first click.

    Times are seconds since `origin_s`, when the oldest item came out.

    Attributes:
        plan: exact numbers.
        seed: the one number all of it comes from.
        vocabulary: ids and names.
        graph: facts.
        topics: what one can have a taste for.
        audience: the users and their tastes.
        shelves: where picks are made.
        binge: (I,) topic whose items are taken one after another with this item, -1 for none.
        released: (I,) when each item comes out.
        arrived: (U,) when each user comes.
        origin_s: UTC seconds of time 0.
        opening: when clicks start.
        closing: when they end.
    """

    plan: Plan
    seed: int
    vocabulary: Vocabulary
    graph: KnowledgeGraph
    topics: Topics
    audience: Audience
    shelves: Shelves
    binge: Rows
    released: Counts
    arrived: Counts
    origin_s: int
    opening: int
    closing: int

    @property
    def config(self) -> PlantedConfig:
        """What was asked for."""
        return self.plan.config

    @property
    def lately(self) -> int:
        """Seconds for which an item counts as new."""
        return int(LATELY * (self.closing - self.opening))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of users (first, end) with about `BLOCK` interactions each."""
        block = np.cumsum(self.audience.clicks) // BLOCK
        edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), self.config.users]
        yield from pairwise(edges)

    def manifest(self) -> Json:
        """Return what the manifest of the data set says about its origin."""
        config = self.config.model_dump(mode="json", exclude_none=True)
        return {"source": [{"format": "generated", "domain": self.config.domain}], "options": config | {"seed": self.seed}}


def build(config: PlantedConfig, seed: int) -> World:
    """Build a world.

    Raises:
        ConfigError: the numbers do not agree.
    """
    exact = plan(config)
    skeleton = structure.build(exact, seed)
    triples = facts.build(exact, skeleton, seed)
    topics = audience.topics(exact, skeleton, triples)
    users = audience.build(exact, skeleton, topics, seed)
    span = config.days * DAY_S
    first_s = int(np.datetime64(config.first_day, "s").astype(np.int64))
    released = np.rint((skeleton.release[: config.items] + 1) * (span - 1)).astype(np.int64)
    arrived = span + np.rint(users.arrival * (span - 1)).astype(np.int64)
    return World(
        exact,
        seed,
        labels.build(exact, skeleton, seed),
        KnowledgeGraph(triples, users.facts),
        topics,
        users,
        _shelves(topics, released, _popularity(exact, skeleton, seed)),
        _binge(exact, topics, skeleton),
        released,
        arrived,
        first_s - span,
        span,
        2 * span,
    )


def _popularity(exact: Plan, skeleton: structure.Structure, seed: int) -> Reals:
    """Return the appeal of each item: its own, and some of its creator's fame."""
    own = random.generator(seed, "items/appeal").lognormal(0.0, 1.4, exact.config.items)
    return own * skeleton.fame[skeleton.creator[: exact.config.items]] ** 0.5


def _shelves(topics: Topics, released: Counts, popularity: Reals) -> Shelves:
    n_items, n_topics = len(released), len(topics)
    items = np.concatenate([topics.items, np.argsort(released, kind="stable").astype(np.int32)])
    shelf = np.concatenate([np.repeat(np.arange(n_topics), np.diff(topics.starts)), np.full(n_items, n_topics)])
    starts = np.concatenate([topics.starts, [len(items)]])
    pairs = shelf * np.int64(n_items) + items
    order = np.argsort(pairs)
    keys = (shelf.astype(np.int64) << 40) + released[items]
    return Shelves(items, starts, keys, cumulated(popularity[items]), pairs[order], order, n_items)


def _binge(exact: Plan, topics: Topics, skeleton: structure.Structure) -> Rows:
    """Return the topic that an item is taken along with: its creator's or its collection's."""
    domain, layout = exact.domain, facts.Layout.of(exact)
    kind, number = domain.creator, skeleton.creator
    if domain.binge == "collection":
        kind, number = domain.collection, skeleton.collection
    relation = next(at for at, r in enumerate(exact.relations) if r.role == domain.binge)
    number = number[: exact.config.items]
    topic_of = np.full(exact.counts[kind], -1, np.int32)
    here = np.flatnonzero(topics.relations == relation)
    topic_of[topics.entities[here] - layout.first[kind]] = here
    return np.where(number >= 0, topic_of[number], np.int32(-1))
