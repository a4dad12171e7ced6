"""The per-user step: exact where it claims to be, bounded, repeatable, and nobody else's business."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from metakg.data import Support
from metakg.errors import DataError
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.train.adapt import AdaptConfig, CoAdapting
from metakg.train.online import OnlineConfig, adapt_user, offered
from metakg.train.online import _propagate as propagate


def recommender(world, **settings: object) -> MetaKG:
    config = MetaKGConfig(**{"dim": 8, "dims": (8, 4), **settings})
    return MetaKG(config, world.view, torch.Generator().manual_seed(1)).eval().ready()


@pytest.mark.parametrize(
    "settings", [{}, {"readout": "concat0"}, {"readout": "concat0", "normalise": "readout0"}, {"normalise": "everywhere"}]
)
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


def test_a_stranger_starts_at_his_items_where_the_settings_say_so(world) -> None:
    """As co-adaptation places him (`cold_users`): what is measured is what is served."""
    model = recommender(world, cold_users="neighbours", readout="concat0")
    liked = ["items-0", "items-3"]
    moved = adapt_user(model, "stranger", liked, OnlineConfig(steps=0))
    assert moved.vectors is not None
    assert moved.vectors.vectors is not None
    assert model.vectors is not None
    expected = model.vectors.layers[0][[30, 33]].mean(0)  # 30 users stand before the items
    torch.testing.assert_close(moved.vectors.vectors[0, :8], expected)
    mean = adapt_user(recommender(world, readout="concat0"), "stranger", liked, OnlineConfig(steps=0))
    assert mean.vectors is not None
    assert mean.vectors.vectors is not None
    torch.testing.assert_close(mean.vectors.vectors[0, :8], model.vectors.newcomer)


def test_a_step_is_bounded(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steep the loss, gamma moves no further than step size times the longest gradient allowed."""
    model, seen = recommender(world, normalise="none"), []
    monkeypatch.setattr(
        "metakg.train.online._propagate",
        lambda m, start, messages, gamma: seen.append(gamma) or propagate(m, start, messages, gamma),
    )
    assert model.vectors is not None
    steep = copy.copy(model)
    steep.vectors = replace(model.vectors, final=1000 * model.vectors.final)
    for rate, clip in ((0.01, 1.0), (0.5, 0.2)):
        seen.clear()
        adapt_user(steep, "stranger", ["items-0"], OnlineConfig(steps=1, learning_rate=rate, clip_norm=clip))
        before, after = seen[0], seen[-1]
        moved = torch.stack([(a - b).detach().norm() for a, b in zip(after, before, strict=True)]).norm()
        assert float(moved) == pytest.approx(rate * clip, rel=1e-3)


@pytest.mark.parametrize("settings", [{"gate_empty": "literal"}, {"attention_level": "per_layer"}])
def test_where_the_network_reads_the_paper_otherwise_the_step_is_not_offered(world, settings: dict) -> None:
    model = recommender(world, **settings)
    with pytest.raises(ValueError, match="the online step is for"):
        adapt_user(model, "users-1", ["items-0"], OnlineConfig())
    wrapped = CoAdapting(model, AdaptConfig(epochs=1, facts=16), seed=0, online=OnlineConfig())
    assert wrapped.adapt(Support.clicks("users-1", ["items-50"])).model.graph is not model.graph, "it is co-adapted"


def test_each_user_of_a_scenario_may_step_once_more(world) -> None:
    model = recommender(world)
    clicks = ["users-1", "stranger", "stranger"], ["items-50", "items-3", "items-9"]
    support = Support(*(pa.array(column, pa.string()) for column in clicks))
    plain, stepped = (
        CoAdapting(model, AdaptConfig(epochs=1, facts=16, each_user=each), seed=0, online=OnlineConfig()).adapt(support)
        for each in (False, True)
    )
    before, after = plain.score_all(torch.arange(31)), stepped.score_all(torch.arange(31))
    moved = (before != after).any(1)
    assert torch.nonzero(moved).flatten().tolist() == [1, 30], "nobody but those who clicked"
    row = plain.view.vocabulary.users.row("stranger")
    clicks = [int(i) for i in plain.view.history[[row]].indices]
    again = adapt_user(
        plain.model, "stranger", plain.view.vocabulary.items.ids(np.array(clicks, np.int32)), OnlineConfig(), seed=0
    )
    torch.testing.assert_close(after[30], again.score_all(torch.tensor([30]))[0])


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


def test_vectors_of_users_who_moved_are_found_whoever_asks(world) -> None:
    model = recommender(world)
    vectors = model.vectors
    moved = replace(vectors, moved=(7, 2, 40), vectors=torch.arange(3.0).unsqueeze(1).expand(3, vectors.final.shape[1]))
    asked = torch.tensor([2, 3, 40, 7, 2, 0])
    found = moved.of_users(asked, model.graph.n_users)
    assert found[[0, 2, 3, 4], 0].tolist() == [1.0, 2.0, 0.0, 1.0]
    assert torch.equal(found[[1, 5]], vectors.final[[3, 0]])


def test_the_step_is_not_offered_where_old_clicks_are_no_edges() -> None:
    assert offered(MetaKGConfig())
    assert not offered(MetaKGConfig(adapt_graph="support"))
