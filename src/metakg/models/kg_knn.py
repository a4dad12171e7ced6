"""`kg-knn`: things that share rare facts with what you clicked.

Every item is described by the typed facts around it: (relation, direction, entity). Two items are close if they share
facts; a fact shared by few items counts more, and so does a fact of a relation whose sharing goes with co-clicks in the
training data. With F the (I, M) incidence of items and facts, c_m the number of items of fact m, r(m) its relation,
and n_i the number of facts of item i that count, the score of item j for profile p is

    sum_i p_i  n_i^-q  sum_m F_im  w_r(m) c_m^-s  F_jm  n_j^-q,      s = rarity, q = fact_exponent.

With two hops a second set of facts is added in the same way: (entity reached over one entity in between), damped by
`second_hop_weight`. Facts of more than `max_items` items ("is a recording") say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor

from metakg.data import TrainView
from metakg.errors import CheckpointError
from metakg.models.base import ModelConfig
from metakg.models.factors import Channel, Factors
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender, power
from metakg.models.reasons import ENTITY, REACHED, Cut, Reason
from metakg.types import Floats, Rows


class KgKnnConfig(ProfileConfig):
    """Settings of `kg-knn`; the defaults were chosen on validation scenarios (benchmarks/floors.py)."""

    kind: Literal["kg-knn"] = "kg-knn"
    history_weight: NonNegativeFloat = 0.2
    """Weight of a click from training beside one that has just arrived (1)."""
    rarity: NonNegativeFloat = 1.0
    """Exponent s: how much more a rare fact counts."""
    fact_exponent: float = Field(0.5, ge=0.0, le=1.0)
    """Exponent q: how strongly items with many facts are damped; 0.5 is the cosine."""
    relation_exponent: NonNegativeFloat = 0.5
    """How strongly relations differ: w_r = lift_r to this power; 0 treats all relations alike."""
    max_items: PositiveInt = 5000
    """Facts shared by more items than this are left out."""
    hops: Literal[1, 2] = 1
    """1: shared entities. 2: also entities shared over one entity in between."""
    second_hop_weight: NonNegativeFloat = 0.1
    """Weight of the second hop beside the first (with `hops` = 2)."""
    max_links: PositiveInt = 100
    """The second hop crosses no entity with more links than this."""


@dataclass(frozen=True, eq=False)
class Facts:
    """The typed facts of all items.

    Attributes:
        incidence: (I, M) float32, one where item i has fact m.
        relations: (M,) relation of each fact.
        inverse: (M,) whether the item is the tail.
        entities: (M,) entity at the other end.
    """

    incidence: sparse.csr_array
    relations: Rows
    inverse: npt.NDArray[np.bool_]
    entities: Rows

    @staticmethod
    def of(view: TrainView) -> Facts:
        """Collect the facts of every item of a view, in both directions."""
        triples, n_items, n_entities = view.graph.entity, view.n_items, view.n_entities
        forward, backward = triples.heads < n_items, triples.tails < n_items
        items = np.concatenate([triples.heads[forward], triples.tails[backward]])
        ends = np.concatenate([triples.tails[forward], triples.heads[backward]]).astype(np.int64)
        typed = np.concatenate([triples.relations[forward] * 2, triples.relations[backward] * 2 + 1])
        keys, columns = np.unique(typed.astype(np.int64) * n_entities + ends, return_inverse=True)
        shape = (n_items, len(keys))
        incidence = sparse.csr_array((np.ones(len(items), np.float32), (items, columns)), shape=shape)
        incidence.data[:] = 1.0
        kinds, entities = np.divmod(keys, n_entities)
        return Facts(incidence, (kinds // 2).astype(np.int32), kinds % 2 == 1, entities.astype(np.int32))


def relation_lift(view: TrainView, facts: Facts, rarity: Floats) -> Floats:
    """Return for each relation how much likelier two items that share one of its facts are to be clicked by one user.

    (R,) ratio to a random pair of clicked items; 1 where a relation has no evidence. Pairs are weighted by `rarity` (M,).
    Smoothed by one expected pair, so that a rare relation stays near 1. Computed from training pairs only.
    """
    clicks = view.history
    per_user = np.diff(clicks.indptr).astype(np.float64)
    clicked = sparse.diags_array((view.popularity > 0).astype(np.float32))
    n_clicked = float((view.popularity > 0).sum())
    base = float((per_user * (per_user - 1)).sum()) / max(1.0, n_clicked * (n_clicked - 1))
    shared = sparse.csr_array(clicks @ facts.incidence)  # (U, M) how many of a user's items have a fact
    together = np.bincount(shared.indices, shared.data * (shared.data - 1.0), minlength=len(facts.relations))
    size = np.asarray((clicked @ facts.incidence).sum(axis=0)).ravel()
    possible = size * (size - 1.0)
    n = view.n_relations
    seen = np.bincount(facts.relations, together * rarity, minlength=n)
    expected = np.bincount(facts.relations, possible * rarity, minlength=n) * base
    return np.asarray((seen + 1.0) / (expected + 1.0), np.float32)


class KgKnn(ProfileRecommender):
    """Item neighbours from the knowledge graph."""

    config: KgKnnConfig
    facts: Facts
    lift: Floats
    evidence: Factors
    learns = ("lift",)

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build the facts and their weights; they depend on clicks only through the relation weights of the first fit."""
        config = self.config
        if previous is not None and previous.view.graph is self.view.graph:
            self.facts, self.lift, self.evidence = previous.facts, previous.lift, previous.evidence
            return
        self.facts = Facts.of(self.view)
        incidence = self.facts.incidence
        size = np.bincount(incidence.indices, minlength=incidence.shape[1])
        rarity = power(size, -config.rarity) * ((size > 1) & (size <= config.max_items))
        if learnt is not None:
            self.lift = learnt["lift"].numpy()
        elif previous is None:
            self.lift = relation_lift(self.view, self.facts, rarity)
        else:  # relation rows never move; a relation that has just arrived counts like a random pair
            self.lift = np.ones(self.view.n_relations, np.float32)
            self.lift[: len(previous.lift)] = previous.lift
        scale = self.lift / max(float(self.lift.max(initial=1.0)), 1e-12)
        weights = rarity * power(scale, config.relation_exponent)[self.facts.relations]
        kept = sparse.csr_array(incidence @ sparse.diags_array((weights > 0).astype(np.float32)))
        kept.eliminate_zeros()
        damp = sparse.diags_array(power(np.diff(kept.indptr), -config.fact_exponent))
        damped = sparse.csr_array(damp @ kept, dtype=np.float32)
        left = sparse.csr_array(damped @ sparse.diags_array(weights.astype(np.float32)), dtype=np.float32)  # (I, M)
        nodes = ENTITY + self.facts.entities.astype(np.int64)
        kinds = self.facts.relations * np.int64(2) + self.facts.inverse
        channels = [Channel(left, sparse.csr_array(damped.T), nodes, kinds)]
        if config.hops == 2:
            channels.append(
                Channel(*second_hop(links_of(self.view), self.view.n_items, config), REACHED + np.arange(self.view.n_entities))
            )
        self.evidence = Factors(channels)

    def tensors(self) -> dict[str, Tensor]:
        """Return the recent pairs and the relation weights, which come from training clicks alone."""
        return {**super().tensors(), "lift": torch.from_numpy(self.lift)}

    @classmethod
    def check_learnt(cls, config: ModelConfig, view: TrainView, learnt: Mapping[str, Tensor]) -> None:
        """Check the relation weights."""
        check_lift(config, view, learnt["lift"])

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Score every item for each profile: (B, I) -> (B, I)."""
        told = self.evidence.product(profiles, cut)
        scores: Floats = told[:, 0]
        return scores if told.shape[1] == 1 else scores + self.config.second_hop_weight * told[:, 1]

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the shared facts that carry most of the score, and the entities shared over another."""
        weights = np.array([1.0, self.config.second_hop_weight])[: self.evidence.n_channels]
        return self.evidence.reasons(self.view, person.profile, item, limit, weights)


def check_lift(config: ModelConfig, view: TrainView, lift: Tensor) -> None:
    """Check relation weights that were read: (R,).

    Raises:
        CheckpointError: there are more or fewer than relations, or one is no positive number.
    """
    if lift.shape != (view.n_relations,) or lift.dtype != torch.float32 or not bool((lift.isfinite() & (lift > 0)).all()):
        found = f"relation weights 'lift' of shape {tuple(lift.shape)}"
        expected = f"{view.n_relations} positive float32 numbers"
        raise CheckpointError(f"tensors of {config.kind}", found, expected=expected, fix="Save the bundle again.")


def links_of(view: TrainView) -> sparse.csr_array:
    """Return the (E, E) matrix with a one where any fact joins two entities, in both directions."""
    facts, n = view.graph.entity, view.n_entities
    ends = np.concatenate([facts.heads, facts.tails]), np.concatenate([facts.tails, facts.heads])
    links = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
    links.data[:] = 1.0
    return links


def second_hop(links: sparse.csr_array, n_items: int, config: KgKnnConfig) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return the factors of the second hop over (E, E) untyped links: (I, E) and (E, I).

    Item i reaches e' over e with weight (links of e)^-1/2; e' counts by its rarity among items. Neither e nor e' may have
    more than `max_links` links: what joins everything joins nothing, and costs the square of its links.
    """
    degree = np.diff(links.indptr)
    crossed = (degree > 1) & (degree <= config.max_links)
    first = links[:n_items] @ sparse.diags_array(power(degree, -0.5) * crossed)
    reach = sparse.coo_array(first @ links @ sparse.diags_array(crossed.astype(np.float32)))
    there = reach.row != reach.col  # an item is no fact about itself
    reach = sparse.csr_array((reach.data[there], (reach.row[there], reach.col[there])), shape=reach.shape, dtype=np.float32)
    size = np.bincount(reach.indices, minlength=links.shape[0])
    weights = power(size, -config.rarity) * ((size > 1) & (size <= config.max_items))
    damp = sparse.diags_array(power(np.diff(reach.indptr), -config.fact_exponent))
    damped = sparse.csr_array(damp @ reach, dtype=np.float32)
    return sparse.csr_array(damped @ sparse.diags_array(weights.astype(np.float32))), sparse.csr_array(damped.T)
