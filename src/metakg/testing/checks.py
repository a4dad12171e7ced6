"""What the model contract looks at: scores, traces, contents, overlaps."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from metakg.data import Interactions, Split, TrainView
from metakg.models.base import Recommender


def everybody(view: TrainView) -> Tensor:
    """Return all user rows: (U,)."""
    return torch.arange(view.n_users)


def score(model: Recommender, users: Tensor) -> Tensor:
    """Return all scores of some users, as a copy: (B,) -> (B, I)."""
    with torch.inference_mode():
        return model.score_all(users).detach().clone()


def check_close(found: Tensor, expected: Tensor, what: str) -> None:
    """Check that two tensors hold the same numbers, computed in another order perhaps."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda difference: f"{what}: {difference}")


def check_finite(scores: Tensor, what: str) -> None:
    """Check that no score is infinite or no number."""
    bad = (~torch.isfinite(scores)).nonzero()
    assert not len(bad), f"{what}: the score of user {bad[0][0]}, item {bad[0][1]} is {scores[tuple(bad[0])]}"


def total(model: Recommender, batch: Any) -> Tensor:
    """Return the sum of the named losses of a batch."""
    return sum(model(batch).values(), torch.zeros(()))


def refuses(action: Callable[[], object], error: type[Exception] = ValidationError) -> bool:
    """Return whether `action` is refused, by default by pydantic."""
    try:
        action()
    except error:
        return True
    return False


@dataclass(frozen=True)
class Trace:
    """What scoring and adapting must leave alone: attributes, tensors, the model's generator, and its mode."""

    attributes: dict[str, int]
    tensors: dict[str, Tensor]
    generator: Tensor
    training: bool

    @staticmethod
    def of(model: Recommender) -> Trace:
        """Take the trace of a model."""
        tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        attributes = {name: id(value) for name, value in vars(model).items()}
        return Trace(attributes, tensors, model.rng.get_state().clone(), model.training)

    def check(self, model: Recommender, what: str) -> None:
        """Check that the model is as it was."""
        now = Trace.of(model)
        assert self.training == now.training, f"{what} switched the model between training and evaluation"
        names = self.attributes.keys() | now.attributes.keys()
        changed = sorted(name for name in names if self.attributes.get(name) != now.attributes.get(name))
        assert not changed, f"{what} changed the attribute {changed[0]} of the model"
        assert self.tensors.keys() == now.tensors.keys(), f"{what} changed which tensors the model has"
        for name, tensor in self.tensors.items():
            assert torch.equal(tensor, now.tensors[name]), f"{what} changed {name}"
        assert torch.equal(self.generator, now.generator), f"{what} drew from the generator of the model"


def content(view: TrainView) -> list[Hashable]:
    """Return all that a view holds, to be compared."""
    graph, tasks, v = view.graph, view.tasks, view.vocabulary
    columns = [view.interactions.users, view.interactions.items]
    for triples in (graph.entity, graph.user):
        columns += [triples.heads, triples.relations, triples.tails]
    if tasks is not None:
        columns += [tasks.users, tasks.support.users, tasks.support.items, tasks.query.users, tasks.query.items]
    derived = [view.history.indptr, view.history.indices, view.history.data, view.popularity]
    names = [tuple(ids.array.to_pylist()) for ids in (v.users, v.items, v.entities, v.relations)]
    return [*(column.tobytes() for column in [*columns, *derived]), *names]


def overlap(model: Recommender, split: Split, scenario: str) -> int:
    """Return how many query pairs of a scenario are among the interactions of a model, compared by ids."""
    names, view, query = split.dataset.vocabulary, model.view, split.scenarios[scenario].query
    users = view.vocabulary.users.rows(names.users.take(query.users))
    items = view.vocabulary.items.rows(names.items.take(query.items))
    known = (users >= 0) & (items >= 0)
    asked = Interactions(users[known], items[known]).keys(view.n_items)
    return int(np.isin(asked, view.interactions.keys(view.n_items)).sum())


def same_order_for_all(model: Recommender, users: Tensor) -> bool:
    """Return whether all of some users get one ranking of the items that none of them has clicked."""
    clicked = np.asarray(model.view.history[users.numpy()].sum(axis=0)).ravel() > 0
    scores = score(model, users)[:, torch.from_numpy(~clicked)]
    orders = scores.argsort(dim=1, stable=True)
    return bool((orders == orders[0]).all())
