"""The per-user step: exact where it claims to be, bounded, repeatable, and nobody else's business."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metakg.data import Support
from metakg.errors import DataError
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.train.adapt import AdaptConfig, CoAdapting
from metakg.train.online import OnlineConfig, adapt_user


def recommender(world, **settings: object) -> MetaKG:
    config = MetaKGConfig(**{"dim": 8, "dims": (8, 4), **settings})
    return MetaKG(config, world.view, torch.Generator().manual_seed(1)).eval().ready()


@pytest.mark.parametrize("settings", [{}, {"readout": "concat0"}, {"normalise": "everywhere"}])
def test_without_steps_a_known_users_vector_is_the_networks(world, settings: dict) -> None:
    """User 25 has background clicks only: all of them are edges, so repeating one changes nothing."""
    model = recommender(world, **settings)
    clicked = int(world.view.history[[25]].indices[0])
    again = adapt_user(model, "users-25", [f"items-{clicked}"], OnlineConfig(steps=0))
    torch.testing.assert_close(again.score_all(torch.tensor([25])), model.score_all(torch.tensor([25])))


def test_only_this_user_moves_and_more_steps_fit_his_clicks_better(world) -> None:
    model = recommender(world)
    liked, rows = ["items-46", "items-49"], [46, 49]
    before, fits = model.score_all(torch.arange(30)), []
    for steps in (0, 40):
        new = adapt_user(model, "users-3", liked, OnlineConfig(steps=steps, learning_rate=0.1, negatives=20), seed=1)
        after = new.score_all(torch.arange(30))
        others = torch.arange(30) != 3
        assert torch.equal(after[others], before[others])
        clicked = np.unique([*new.view.history[[3]].indices])
        assert set(rows) <= set(clicked.tolist())
        rest = np.setdiff1d(np.arange(60), clicked)
        gaps = after[3, clicked][:, None] - after[3, rest][None]
        fits.append(float(torch.nn.functional.softplus(-gaps).mean()))
    assert fits[1] < fits[0]
    assert torch.equal(model.score_all(torch.arange(30)), before)


def test_a_stranger_gets_a_row_and_keeps_it_when_others_come(world) -> None:
    model = recommender(world)
    one = adapt_user(model, "stranger", ["items-0", "items-3"], OnlineConfig())
    row = one.view.vocabulary.users.row("stranger")
    assert row == 30
    two = adapt_user(one, "second", ["items-1"], OnlineConfig())
    assert torch.equal(two.score_all(torch.tensor([30, 4])), one.score_all(torch.tensor([30, 4])))
    three = adapt_user(two, "stranger", ["items-6"], OnlineConfig())
    assert three.vectors is not None
    assert three.vectors.moved == (31, 30)
    assert not torch.equal(three.score_all(torch.tensor([30])), two.score_all(torch.tensor([30])))
    at_once = adapt_user(model, "stranger", ["items-6", "items-3", "items-0"], OnlineConfig())
    torch.testing.assert_close(at_once.score_all(torch.tensor([30])), three.score_all(torch.tensor([30])))


def test_a_step_is_bounded(world) -> None:
    """BPR's slope is at most one, so gamma moves at most learning rate * steps * longest derivative: halve it, halve that."""
    model = recommender(world, normalise="none")
    base = adapt_user(model, "stranger", ["items-0"], OnlineConfig(steps=0)).score_all(torch.tensor([30]))
    moves = []
    for rate in (1e-4, 2e-4):
        new = adapt_user(model, "stranger", ["items-0"], OnlineConfig(steps=1, learning_rate=rate))
        moves.append(float((new.score_all(torch.tensor([30])) - base).norm()))
    assert moves[1] == pytest.approx(2 * moves[0], rel=0.05)


def test_odd_clicks_are_refused(world) -> None:
    model = recommender(world)
    with pytest.raises(DataError, match="item 'nowhere', which is unknown"):
        adapt_user(model, "users-1", ["items-0", "nowhere"], OnlineConfig())
    with pytest.raises(DataError, match="none for 'stranger'"):
        adapt_user(model, "stranger", [], OnlineConfig())
    with pytest.raises(ValueError, match="ready"):
        adapt_user(MetaKG(model.config, world.view, torch.Generator().manual_seed(1)), "users-1", ["items-0"], OnlineConfig())


def test_the_wrapper_takes_the_short_way_for_one_user(world) -> None:
    model = recommender(world)
    wrapped = CoAdapting(model, AdaptConfig(epochs=1, facts=16), seed=0, online=OnlineConfig())
    short = wrapped.adapt(Support.clicks("users-1", ["items-50"]))
    assert short.model.graph is model.graph
    expected = adapt_user(model, "users-1", ["items-50"], OnlineConfig(), seed=0)
    assert torch.equal(short.score_all(torch.arange(30)), expected.score_all(torch.arange(30)))
    long = wrapped.adapt(Support.clicks("users-1", ["brand-new"]))
    assert long.model.graph is not model.graph
