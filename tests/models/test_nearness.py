"""What a negative is near by: a model's own score, where the product of its rows would say something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metakg.models.learnt import Learnt
from metakg.models.nn.facts import RippleSets
from metakg.models.registry import build, config_for
from metakg.testing import toy_view

SCORED: dict[str, dict[str, Any]] = {
    "fm": {},
    "fm, ids alone": {"features": "ui"},
    "nfm": {},
    "nfm, ids alone": {"features": "ui"},
    "cke": {},
    "cfkg": {},
    "cfkg, plain distances": {"loss": "margin_l1"},
    "cfkg, inner": {"loss": "inner"},
    "ripplenet": {"resample": False},
    "kgcn": {"hops": 1},
    "kgcn, two hops": {"hops": 2},
    "mcrec": {},
    "ckan": {"resample": False},
    "kgat": {},
    "ugrec": {},
}


@pytest.mark.parametrize("name", ["ripplenet", "ckan"])
def test_negatives_are_near_by_the_sets_that_the_step_learns_from(name: str) -> None:
    """Not by those that rank, which no step of the epoch has read."""
    few = {"ripplenet": {"memory": 2}, "ckan": {"user_memory": 2}}[name]
    model = build(config_for(name, {"dim": 8, "cap": 2, **few}), toy_view(), 1)
    assert isinstance(model, Learnt)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    model.train().on_epoch_start()
    users, items = torch.arange(8), torch.arange(12).expand(8, -1)
    near = model.nearness(users, items)
    with torch.inference_mode():
        by_ranking = model.score_pairs(users, items)
        for sets in [module for module in model.modules() if isinstance(module, RippleSets)]:
            sets.fixed = sets.drawn
        by_step = model.score_pairs(users, items)
    torch.testing.assert_close(near, by_step, rtol=1e-4, atol=1e-5)
    assert (near - by_ranking).abs().max() > 1e-3


@pytest.mark.parametrize("name", SCORED)
def test_candidates_are_as_near_as_they_are_scored(name: str, monkeypatch) -> None:
    monkeypatch.setattr("metakg.models.kgcn._USERS", 3)
    monkeypatch.setattr("metakg.models.ripplenet._CANDIDATES", 3)
    view = toy_view()
    model = build(config_for(name.split(",")[0], {"dim": 8, **SCORED[name]}), view, 1)
    assert isinstance(model, Learnt)
    with torch.no_grad():
        for parameter in model.parameters():  # also what begins at zero
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    users = torch.tensor([5, 0, 7, 5, 2])
    items = torch.tensor([[0, 11, 3, 3], [11, 10, 9, 8], [1, 2, 3, 4], [4, 4, 2, 0], [9, 1, 5, 6]])
    drawn = model.rng.get_state()
    near = model.train().nearness(users, items)
    few = model.nearness(users[:2], items[:2])
    assert few.numel() < view.n_items, "or items would not be picked out"
    torch.testing.assert_close(few, near[:2])
    assert torch.equal(drawn, model.rng.get_state()), "nothing is dropped"
    assert not near.requires_grad
    with torch.inference_mode():
        scores = model.eval().score_pairs(users, items)
    assert scores.std(1).min() > 1e-3
    gap = (near - near[:, :1]) - (scores - scores[:, :1])  # a part of a score that is one for all items decides nothing
    assert gap.abs().max() < 1e-5 * max(1.0, float(scores.abs().max()))
