"""Planted data in memory: a data set together with the reasons it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.data import Dataset, Interactions
from metakg.errors import DataError
from metakg.generator import clicks, world
from metakg.generator.clicks import Clicks
from metakg.generator.config import PlantedConfig, preset
from metakg.generator.world import World
from metakg.types import Floats, Rows, Times


@dataclass(frozen=True)
class Taste:
    """One thing that a user likes: items that lead to `entity` by `relation`.

    Attributes:
        relation: relation id ("written_by").
        entity: entity id ("author-017").
        label: for people ("written by Ada Okafor").
        weight: share of the user's explained clicks that it is behind, as long as it has something new; 0..1.
    """

    relation: str
    entity: str
    label: str
    weight: float


@dataclass(frozen=True, eq=False)
class Truth:
    """Why every click happened. Tastes and reasons are in rows of the data set's vocabulary; the methods take ids.

    Attributes:
        taste_users: (n,) user row of each taste, ascending.
        taste_relations: (n,) relation row.
        taste_entities: (n,) entity row.
        taste_weights: (n,) float32 weights; they sum to 1 within a user.
        reason_relations: (N,) relation row of the taste behind each interaction, -1 for noise.
        reason_entities: (N,) its entity row, -1 for noise.
        released_s: (I,) UTC seconds at which each item came out.
        arrived_s: (U,) UTC seconds at which each user came.
    """

    taste_users: Rows
    taste_relations: Rows
    taste_entities: Rows
    taste_weights: Floats
    reason_relations: Rows
    reason_entities: Rows
    released_s: Times
    arrived_s: Times


@dataclass(frozen=True, eq=False)
class Planted:
    """A data set whose right answers are known.

    Attributes:
        dataset: what a model may be given (after a split).
        truth: what no model ever sees.
        config: what was asked for.
        seed: the one number all of it comes from.
    """

    dataset: Dataset
    truth: Truth
    config: PlantedConfig
    seed: int

    def tastes(self, user: str) -> list[Taste]:
        """Return what a user likes, the strongest first.

        Raises:
            DataError: the user is unknown.
        """
        truth = self.truth
        mine = np.flatnonzero(truth.taste_users == self._row("user", user))
        mine = mine[np.argsort(-truth.taste_weights[mine], kind="stable")]
        return [self._taste(truth.taste_relations[n], truth.taste_entities[n], truth.taste_weights[n]) for n in mine.tolist()]

    def reason(self, user: str, item: str) -> Taste | None:
        """Return the taste behind a click, None if it was noise.

        Raises:
            DataError: the user or the item is unknown, or there is no such click.
        """
        pairs, truth = self.dataset.interactions, self.truth
        at = np.flatnonzero((pairs.users == self._row("user", user)) & (pairs.items == self._row("item", item)))
        if not len(at):
            raise DataError(f"{user}, {item}", "no click", expected="an interaction of the data set", fix="Check both ids.")
        relation, entity = int(truth.reason_relations[at[0]]), int(truth.reason_entities[at[0]])
        if relation < 0:
            return None
        return next(
            self._taste(relation, entity, weight)
            for weight in truth.taste_weights[
                (truth.taste_users == pairs.users[at[0]])
                & (truth.taste_relations == relation)
                & (truth.taste_entities == entity)
            ].tolist()
        )

    def facts(self, item: str) -> list[tuple[str, str]]:
        """Return what the graph says about an item as (relation id, entity id), in the order of the graph.

        Raises:
            DataError: the item is unknown.
        """
        v, graph = self.dataset.vocabulary, self.dataset.graph.entity
        about = graph.select(graph.heads == self._row("item", item))
        return list(zip(v.relations.ids(about.relations), v.entities.ids(about.tails), strict=True))

    def oracle(self, users: Rows, clicks: npt.NDArray[np.integer] | None = None) -> Floats:
        """Return the scores of somebody who knows all tastes, but nothing of time: (B,) -> (B, I) float32.

        An item's score is the chance of the next click: over the user's tastes, the weight of the taste times the item's
        part in the popularity of what the taste covers; and by popularity alone for the noise. A model that comes near has
        found what was planted.

        Args:
            users: user rows.
            clicks: (I,) number of clicks of each item that the oracle may know of; by default all. Give those of the
                training data where it stands beside models.
        """
        truth = self.truth
        if clicks is None:
            clicks = np.bincount(self.dataset.interactions.items, minlength=self.dataset.vocabulary.n_items)
        items = self._topic_items(np.asarray(clicks + 1.0, np.float64))
        rows = sparse.csr_array(
            (truth.taste_weights, (truth.taste_users, self._topic_of_taste)),
            shape=(self.dataset.vocabulary.n_users, items.shape[0]),
        )
        noise = max(self.config.noise, 1e-3)
        explained = (rows[users] @ items).toarray()
        return np.asarray((1 - noise) * explained + noise * (clicks + 1.0) / (clicks + 1.0).sum(), np.float32)

    @cached_property
    def _topics(self) -> npt.NDArray[np.int64]:
        """The distinct (relation, entity) pairs of all tastes as keys, ascending."""
        return np.unique(self._key(self.truth.taste_relations, self.truth.taste_entities))

    @cached_property
    def _topic_of_taste(self) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._topics, self._key(self.truth.taste_relations, self.truth.taste_entities))

    def _topic_items(self, popularity: npt.NDArray[np.float64]) -> sparse.csr_array:
        """Return the (topics, I) matrix of each topic's items by popularity; rows sum to 1."""
        graph, n_items = self.dataset.graph.entity, self.dataset.vocabulary.n_items
        keys = self._key(graph.relations, graph.tails)
        at = np.minimum(np.searchsorted(self._topics, keys), len(self._topics) - 1)
        here = (self._topics[at] == keys) & (graph.heads < n_items)
        weight = popularity[graph.heads[here]]
        matrix = sparse.csr_array((weight, (at[here], graph.heads[here])), shape=(len(self._topics), n_items))
        total = np.bincount(at[here], weight, len(self._topics))
        return sparse.csr_array(sparse.diags_array(1 / total) @ matrix)

    def _key(self, relations: Rows, entities: Rows) -> npt.NDArray[np.int64]:
        return relations.astype(np.int64) * self.dataset.vocabulary.n_entities + entities

    def _taste(self, relation: int, entity: int, weight: float) -> Taste:
        v = self.dataset.vocabulary
        label = f"{v.relations.label(relation)} {v.entity_label(entity)}"
        return Taste(v.relations.id(relation), v.entities.id(entity), label, float(weight))

    def _row(self, kind: str, name: str) -> int:
        ids = self.dataset.vocabulary.users if kind == "user" else self.dataset.vocabulary.items
        row = ids.row(name)
        if row is None:
            raise DataError(
                f"{kind} {name!r}", "an unknown id", expected=f"a {kind} of the data set", fix="Check its spelling."
            )
        return row


def planted(config: PlantedConfig | str = "demo", seed: int = 1) -> Planted:
    """Plant a data set in memory; for sizes that do not fit there, see `generate`.

    Args:
        config: settings, or the name of a preset.
        seed: the one number all of it comes from; the same seed gives the same bytes.

    Raises:
        ConfigError: there is no such preset, or the numbers do not agree.
    """
    settings = preset(config) if isinstance(config, str) else config
    made = world.build(settings, seed)
    fans = clicks.first_fans(made)
    all_clicks = Clicks.concat([clicks.of_users(made, fans, first, end) for first, end in made.blocks()])
    pairs = Interactions(all_clicks.users, all_clicks.items, times_s=all_clicks.times + made.origin_s)
    dataset = Dataset(made.vocabulary, pairs, made.graph, made.manifest())
    return Planted(dataset, truth_of(made, all_clicks), settings, seed)


def truth_of(made: World, all_clicks: Clicks) -> Truth:
    """Return tastes and reasons in rows of the vocabulary."""
    users, topics = made.audience, made.topics
    owner = np.repeat(np.arange(made.config.users, dtype=np.int32), np.diff(users.starts))
    return Truth(
        owner,
        topics.relations[users.topics],
        topics.entities[users.topics],
        users.weights.astype(np.float32),
        *reasons(made, all_clicks),
        made.released + made.origin_s,
        made.arrived + made.origin_s,
    )


def reasons(made: World, some: Clicks) -> tuple[Rows, Rows]:
    """Return relation and entity row behind each click, -1 for noise: (n,), (n,)."""
    explained = some.topics >= 0
    topic = np.maximum(some.topics, 0)
    noise = np.int32(-1)
    return np.where(explained, made.topics.relations[topic], noise), np.where(explained, made.topics.entities[topic], noise)
