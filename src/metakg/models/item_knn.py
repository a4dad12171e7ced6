"""`item-knn`: people who clicked this also clicked that.

Cosine between item columns (Sarwar et al., WWW 2001) with two exponents (cf. Deshpande & Karypis, TOIS 2004): the popularity
of the items, and the activity of the users who connect them. With X the (U, I) click matrix, n_i the clicks of item i
and d_u those of user u, the score of item j for profile p is

    sum_i p_i  n_i^-a  (X^T D^-b X)_ij  n_j^-a,      a = item_exponent, b = user_exponent, self-similarity left out.

All neighbours count (K = I), so nothing is truncated, and because the sum is a product of two sparse factors the I x I
matrix is never formed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse
from torch import Tensor

from metakg.models.factors import Channel, Factors
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender, power
from metakg.models.reasons import Cut, Reason
from metakg.types import Floats


class ItemKnnConfig(ProfileConfig):
    """Settings of `item-knn`; the defaults were chosen on validation scenarios (benchmarks/floors.py)."""

    kind: Literal["item-knn"] = "item-knn"
    item_exponent: float = Field(0.4, ge=0.0, le=1.0)
    """How strongly popular items are damped; 0.5 is the cosine."""
    user_exponent: float = Field(0.5, ge=0.0, le=1.0)
    """How strongly active users are damped; 0 is the plain cosine."""


class ItemKnn(ProfileRecommender):
    """Item neighbours from clicks alone."""

    config: ItemKnnConfig

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build both factors from the clicks of the view."""
        clicks = self.view.history
        damp_items = sparse.diags_array(power(self.view.popularity, -self.config.item_exponent))
        damp_users = sparse.diags_array(power(np.diff(clicks.indptr), -self.config.user_exponent))
        weighted = sparse.csr_array(damp_users @ clicks @ damp_items, dtype=np.float32)  # (U, I)
        towards = sparse.csr_array((clicks @ damp_items).T, dtype=np.float32)  # (I, U)
        self.evidence = Factors([Channel(towards, weighted, np.arange(self.view.n_users))])

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Score every item for each profile: (B, I) -> (B, I)."""
        itself = self.evidence.itself[0]
        if cut is not None:
            itself = itself.copy()
            for item in cut.items.tolist():
                itself[item] = self.evidence.itself_without(item, cut)[0]
        scores = self.evidence.product(profiles, cut)[:, 0]
        own = profiles.tocoo()
        scores[own.row, own.col] -= own.data * itself[own.col]
        return np.asarray(np.maximum(scores, 0.0), np.float32)  # rounding may leave -1e-9 where only the self-similarity was

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the own items whose audience overlaps most with the item's."""
        return self.evidence.reasons(self.view, person.profile, item, limit)
