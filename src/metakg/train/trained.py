"""`Trained`: a trained model that answers as it is; how it adapts is said by what inherits from this."""

from __future__ import annotations

from torch import Tensor

from metakg.models.base import Recommender


class Trained(Recommender):
    """Base of the recommenders that evaluation and serving see where a model learns by gradient.

    Args:
        model: the trained model.

    Attributes:
        model: the same.
    """

    def __init__(self, model: Recommender) -> None:
        super().__init__(model.config, model.view, model.rng)
        self.model = model

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the model's factors, if it has that form."""
        return self.model.factors(users)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        return self.model.score_all(users)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates: (B,), (B, C) -> (B, C)."""
        return self.model.score_pairs(users, items)

    def tensors(self) -> dict[str, Tensor]:
        """Return the model's tensors."""
        return self.model.tensors()
