"""`popularity`: the same list for everybody, most clicked first. The floor below all floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from scipy import sparse
from torch import Tensor

from metakg.models.profile import Person, ProfileConfig, ProfileRecommender
from metakg.models.reasons import Cut, Reason
from metakg.types import Floats, Mask


class PopularityConfig(ProfileConfig):
    """Settings of `popularity`."""

    kind: Literal["popularity"] = "popularity"


class Popularity(ProfileRecommender):
    """Score of an item = number of users who clicked it, in training and what arrived, scaled to 0..1."""

    config: PopularityConfig

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Nothing to build: the view counts."""

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Return the same scores for every profile: (B, I) -> (B, I)."""
        return self.score_without_clicks(np.zeros(profiles.shape[0], np.int32))

    def score_person(self, person: Person, cut: Cut | None = None) -> tuple[Floats, Mask]:
        """Score every item for one person; nothing about him speaks for any of them."""
        scores, _ = super().score_person(person, cut)
        return scores, np.zeros(self.view.n_items, np.bool_)

    def score_neighbours(self, profiles: sparse.csr_array) -> Floats:
        """Return zeros: popularity knows no closeness."""
        return np.zeros((profiles.shape[0], self.view.n_items), np.float32)

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return no path: popularity has no personal reason."""
        return []
