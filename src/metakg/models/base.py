"""What a model is: a frozen config, a view of training data, scores, and a step that adapts without mutating anything."""

from __future__ import annotations

import copy
from typing import ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from metakg.data import Support, TrainView
from metakg.errors import CheckpointError
from metakg.models.space import Space


class ModelConfig(BaseModel):
    """Base of every model's settings: frozen, and an unknown key is an error (a misspelt one must not train silently).

    Each model's config fixes `kind` to its registry name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    space: ClassVar[Space] = {}
    """Where a search over these settings looks (see `metakg tune`)."""

    kind: str


class Recommender(nn.Module):
    """Base of every model. Built as `Model(config, view, rng)` from training data only.

    A model learns nothing in its constructor beyond closed forms; what is learnt by gradient comes through `forward`, which
    returns named loss terms to the one training loop. Scoring leaves no trace on the model.

    Users and items are rows of `self.view.vocabulary`.
    """

    deterministic: ClassVar[bool] = False
    """Whether every seed gives the same model, so that one run says all."""

    def __init__(self, config: ModelConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__()
        self.rng = rng
        self.config = config
        self.view = view

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item; higher is better: (B,) -> (B, I) float32. Allocates B * I floats, so callers chunk users."""
        raise NotImplementedError

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates: (B,), (B, C) -> (B, C). Equals `score_all` gathered; override where cheaper."""
        return torch.gather(self.score_all(users), 1, items.long())

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return user vectors (B, D) and item vectors (I, D) whose inner product is the score, or None.

        A model that has this form is ranked by one blocked product (see `metakg.evaluation.ranking`).
        """
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return what a bundle must keep beside the config and the view: by default the parameters and buffers."""
        return dict(self.state_dict())

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` of an equal model returned.

        Raises:
            CheckpointError: a tensor is missing, unexpected, or of another shape.
        """
        try:
            self.load_state_dict(tensors, strict=True)
        except RuntimeError as err:
            raise CheckpointError(
                f"tensors of {self.config.kind}", str(err), expected="those of an equal model", fix="Save the bundle again."
            ) from err

    @classmethod
    def from_tensors(cls, config: ModelConfig, view: TrainView, rng: torch.Generator, tensors: dict[str, Tensor]) -> Self:
        """Return the recommender of this config and view whose `tensors` these are.

        Raises:
            CheckpointError: a tensor is missing, unexpected, or of another shape.
        """
        model = cls(config, view, rng)
        model.load_tensors(tensors)
        return model

    def over(self, view: TrainView) -> Self:
        """Return this recommender over a view with the same rows from which clicks or facts were taken away.

        What was learnt by gradient stays as it was learnt; whatever is read from the view follows it. A wrapper's inner model
        follows inside a copy of the wrapper.
        """
        inner = {name: part.over(view) for name, part in self._modules.items() if isinstance(part, Recommender)}
        if not inner:
            unused = torch.Generator().manual_seed(0)  # what it draws is overwritten
            return type(self).from_tensors(self.config, view, unused, self.tensors()).train(self.training)
        other = copy.copy(self)
        other.view = view
        other._modules = self._modules | inner
        return other

    def adapt(self, support: Support) -> Self:
        """Return a new recommender that has learnt from what arrived; `self` stays as it was.

        The result's view is `self.view.extend(support)`: users, items and entities that were unknown have rows there.
        """
        raise NotImplementedError
