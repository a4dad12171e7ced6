"""`blend`: item neighbours, graph neighbours and the walk, added up.

Each part's scores are divided by their largest value for the user, so that weights mean the same for everybody. Clicks know
taste, facts know what is new. No evidence is weak evidence against: an item that nobody has clicked yet gets from the parts
that live on clicks at least a share of what its facts say, and an item without facts gets from `kg-knn` what its clicks say.

Where items that nobody had clicked before arrive together, whoever clicks one of them is likely to click others: `newness`
multiplies an item's score by how much of the profile is as new (or as old) as the item. A learnt model that sees whether an
item is new finds this by itself, so a floor that may not use it would be a low one.

This is the floor that a learnt model has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, NonNegativeFloat
from scipy import sparse
from torch import Tensor

from metakg.data import TrainView
from metakg.models.base import ModelConfig
from metakg.models.item_knn import ItemKnn, ItemKnnConfig
from metakg.models.kg_knn import KgKnn, KgKnnConfig, check_lift
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender
from metakg.models.reasons import Cut, Reason, Step
from metakg.models.walk import Walk, WalkConfig
from metakg.types import Floats, Rows


class BlendConfig(ProfileConfig):
    """Settings of `blend`; the defaults were chosen on validation scenarios (benchmarks/floors.py; docs/floors.md)."""

    kind: Literal["blend"] = "blend"
    item_knn_weight: NonNegativeFloat = 0.5
    """Weight of `item-knn`."""
    kg_knn_weight: NonNegativeFloat = 0.5
    """Weight of `kg-knn`."""
    walk_weight: NonNegativeFloat = 1.0
    """Weight of `walk`."""
    trust_unclicked: float = Field(0.5, ge=0.0, le=1.0)
    """How much of what its facts say an item that nobody has clicked yet gets from the parts that live on clicks; 0 takes the
    missing clicks as evidence against it, 1 as none."""
    newness: float = Field(0.0, ge=0.0, le=1.0)
    """How much it counts whether an item is new (no click but those that have just arrived), as the items of the profile are: a
    score is multiplied by (1 - newness) + newness * the share of the profile that is as new. 0: not at all."""
    item_knn: ItemKnnConfig = ItemKnnConfig()
    """Settings of the part; its `history_weight` and `exclude_seen` are ruled by the blend's own."""
    kg_knn: KgKnnConfig = KgKnnConfig()
    """Settings of the part."""
    walk: WalkConfig = WalkConfig()
    """Settings of the part."""


class Blend(ProfileRecommender):
    """Weighted sum of three neighbourhood scores."""

    config: BlendConfig
    parts: tuple[ProfileRecommender, ...]
    learns = ("lift",)

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build the parts over the same view and the same recent clicks."""
        config = self.config
        rule = {"history_weight": config.history_weight, "exclude_seen": config.exclude_seen}
        old = previous.parts if previous is not None else (None, None, None)
        kinds: tuple[tuple[type[ProfileRecommender], ProfileConfig, float], ...] = (
            (ItemKnn, config.item_knn, config.item_knn_weight),
            (KgKnn, config.kg_knn, config.kg_knn_weight),
            (Walk, config.walk, config.walk_weight),
        )
        facts = np.bincount(self.view.graph.entity.heads, minlength=self.view.n_entities)
        facts += np.bincount(self.view.graph.entity.tails, minlength=self.view.n_entities)
        self.unknown = np.flatnonzero(facts[: self.view.n_items] == 0)
        self.unclicked = np.flatnonzero((self.view.popularity == 0) & (facts[: self.view.n_items] > 0))
        came, had = (0 if m is None else np.asarray(m.sum(axis=0)).ravel() for m in (self.recent, self.again))
        self.new = np.asarray(self.view.popularity - (came - had) <= 0)  # (I,)
        self.weights = tuple(weight for _, _, weight in kinds)
        made: list[ProfileRecommender] = []
        for (kind, settings, _), before in zip(kinds, old, strict=True):
            told = learnt if kind.learns else None
            ruled = settings.model_copy(update=rule)
            made.append(kind(ruled, self.view, self.rng, recent=self.recent, previous=before, learnt=told))
        self.parts = tuple(made)

    def tensors(self) -> dict[str, Tensor]:
        """Return the recent pairs and the relation weights of `kg-knn`."""
        return {**super().tensors(), "lift": self.parts[1].tensors()["lift"]}

    @classmethod
    def check_learnt(cls, config: ModelConfig, view: TrainView, learnt: Mapping[str, Tensor]) -> None:
        """Check the relation weights."""
        check_lift(config, view, learnt["lift"])

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Score every item for each profile: (B, I) -> (B, I)."""
        scores = self.score_neighbours(profiles, cut)
        if self.config.newness:
            scores *= self._as_new(profiles)
        return scores

    def score_neighbours(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Return the sum of the parts: (B, I) -> (B, I). How new items are says something about people, not about items."""
        neighbours, facts, walk = (_to_unit(part.score_profiles(profiles, cut)) for part in self.parts)
        self._speak_alone(neighbours, facts, walk)
        parts = zip(self.weights, (neighbours, facts, walk), strict=True)
        return np.asarray(sum(weight * part for weight, part in parts), np.float32)

    def _as_new(self, profiles: sparse.csr_array) -> Floats:
        """Return the factor of every item for each profile: (B, I) -> (B, I)."""
        share = (profiles @ self.new.astype(np.float32))[:, None]  # profiles sum to 1
        weight = self.config.newness
        return np.asarray(np.where(self.new, 1 - weight + weight * share, 1 - weight * share), np.float32)

    def _speak_alone(self, neighbours: Floats, facts: Floats, walk: Floats) -> None:
        """Fill in, in place, what a part cannot know: three (B, I)."""
        told = self.config.trust_unclicked * facts[:, self.unclicked]
        for part in (neighbours, walk):
            part[:, self.unclicked] = np.maximum(part[:, self.unclicked], told)
        facts[:, self.unknown] = neighbours[:, self.unknown]

    def score_without_clicks(self, users: Rows) -> Floats:
        """Follow the walk, the only part that knows facts about users."""
        return self.parts[-1].score_without_clicks(users)

    def about(self, row: int) -> Floats | None:
        """Follow the walk, the only part that knows facts about users."""
        return self.parts[-1].about(row)

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the heaviest paths of all parts; a path that several parts walk is counted once, with the summed share."""
        profile = person.profile
        units = [_to_unit(part.score_profiles(profile)) for part in self.parts]
        heard = [unit.copy() for unit in units]
        self._speak_alone(*heard)
        amounts = [weight * float(unit[0, item]) for weight, unit in zip(self.weights, units, strict=True)]
        filled = [weight * float(unit[0, item]) for weight, unit in zip(self.weights, heard, strict=True)]
        total = sum(filled)
        speaker = 1 if item in self.unclicked else 0 if item in self.unknown else None
        if speaker is not None:  # what the other parts were told, this one said
            amounts[speaker] += total - sum(amounts)
        shares: dict[tuple[int, tuple[Step, ...]], float] = {}
        edges: dict[tuple[int, tuple[Step, ...]], frozenset[tuple[int, int]]] = {}
        for amount, part in zip(amounts, self.parts, strict=True):
            for reason in part.reasons_for(person, item, limit=10 * limit) if amount > 0 else []:
                key = (reason.start, reason.steps)
                shares[key] = shares.get(key, 0.0) + reason.share * amount / total
                edges[key] = edges.get(key, frozenset()) | frozenset(reason.edges)
        found = [Reason(*key, share, tuple(sorted(edges[key]))) for key, share in shares.items()]
        return sorted(found, key=lambda reason: -reason.share)[:limit]


def _to_unit(scores: Floats) -> Floats:
    """Divide each row by its maximum, so that the best item has 1: (B, I) -> (B, I)."""
    top = scores.max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(scores / np.where(top > 0, top, 1.0), np.float32)
