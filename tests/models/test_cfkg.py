"""CFKG: distances, losses and edges by loops; bounds; where a translation puts a new user."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metakg.data import Interactions, KnowledgeGraph, Support, TrainView
from metakg.models.cfkg import CFKG, CfkgConfig
from metakg.models.nn.bound import bound_lengths
from metakg.sample.pairs import PairBatch, PairsAndFacts
from metakg.sample.triples import TripleBatch
from metakg.testing import LearntContract, arriving, toy_view
from metakg.train.baseline import AdaptRule, BaselineConfig, train_baseline
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
LOSSES = ["margin_l2", "margin_l1", "inner"]


class TestCfkg(LearntContract):
    config = CfkgConfig(dim=8)


class TestCfkgInABall(LearntContract):
    config = CfkgConfig(dim=8, unit_ball=True, cold="mean")
    by_heart = CfkgConfig(dim=16, unit_ball=True)  # eight dimensions have too little room in the ball


class TestCfkgL1(LearntContract):
    config = CfkgConfig(dim=8, loss="margin_l1", margin=2.0)
    training = BaselineConfig(
        batch_size=512,
        facts=512,
        loop=LoopConfig(learning_rate=0.02, epochs=40),
        adapt=AdaptRule(learning_rate=0.03, epochs=30),
    )
    overfit = BaselineConfig(
        start="xavier", batch_size=32, facts=32, loop=LoopConfig(learning_rate=0.02, epochs=300, log_every=1000)
    )


class TestCfkgInner(LearntContract):
    config = CfkgConfig(dim=8, loss="inner")


def build(view: TrainView, **settings: object) -> CFKG:
    return CFKG(CfkgConfig(**{"dim": 4, "cold": "transe", **settings}), view, torch.Generator().manual_seed(3))


def closeness(model: CFKG, h: int, r: int, t: int) -> torch.Tensor:
    moved, tail = model.node[h] + model.relation[r], model.node[t]
    if model.config.loss == "inner":
        return sum(a * b for a, b in zip(moved, tail, strict=True))
    return -sum((a - b) ** 2 if model.config.loss == "margin_l2" else abs(a - b) for a, b in zip(moved, tail, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_scores_equal_the_definition_worked_out_by_loops(toy: TrainView, loss: str) -> None:
    model = build(toy, loss=loss, margin=0.3, weight_decay=0.5)
    pairs = PairBatch(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([6, 7]))
    facts = TripleBatch(*(torch.tensor(c) for c in ([6, 14, 7], [1, 3, 5], [14, 6, 0], [18, 9, 5])))
    terms = model(PairsAndFacts(pairs, facts))
    edges = {"clicks": [(0, 0, 6, 12), (1, 0, 8, 13)], "facts": [(6, 1, 14, 18), (14, 3, 6, 9), (7, 5, 0, 5)]}
    for name, rows in edges.items():
        each = []
        for h, r, t, c in rows:
            near, far = closeness(model, h, r, t), closeness(model, h, r, c)
            if loss == "inner":
                each.append(-torch.log(torch.sigmoid(near)) - torch.log(1 - torch.sigmoid(far)))
            else:
                each.append(torch.relu(0.3 - near + far))
        assert float(terms[name]) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)
    used = [n for rows in edges.values() for h, _, t, c in rows for n in (h, t, c)]
    assert float(terms["l2"]) == pytest.approx(0.5 * float(model.node[used].square().sum()) / 2 / 5, rel=1e-5)
    scores = model.score_all(torch.arange(6))
    for user in range(6):
        own = float((model.node[user] + model.relation[0]).square().sum()) if loss == "margin_l2" else 0.0
        for item in range(8):
            assert float(scores[user, item]) == pytest.approx(float(closeness(model, user, 0, 6 + item)) + own, abs=1e-5)


def test_facts_are_all_edges_but_the_clicks_that_pairs_give(toy: TrainView) -> None:
    sampler = build(toy).facts(np.random.default_rng(0))
    found = set(zip(sampler.heads.tolist(), sampler.relations.tolist(), sampler.tails.tolist(), strict=True))
    kg, v = toy.graph.entity, toy.interactions
    known = {(6 + h, r + 1, 6 + t) for h, r, t in zip(kg.heads.tolist(), kg.relations.tolist(), kg.tails.tolist(), strict=True)}
    expected = known | {(t, r + 2, h) for h, r, t in known}
    expected |= {(6 + i, 5, u) for u, i in zip(v.users.tolist(), v.items.tolist(), strict=True)}
    assert found == expected
    batch = sampler.draw(500)
    for r, tail in zip(batch.relations.tolist(), batch.corrupted.tolist(), strict=True):
        assert (tail < 6) == (r == 5), "a user stands in for a user, and for nothing else"


def test_facts_about_users_are_edges_too() -> None:
    view = toy_view()
    sampler = build(view).facts(np.random.default_rng(0))
    edges = set(zip(sampler.heads.tolist(), sampler.relations.tolist(), sampler.tails.tolist(), strict=True))
    assert {(7, 6, 27), (27, 13, 7)} <= edges, "hal (7) is aged (6) 25 to 34 (entity 19)"


def test_vectors_stay_in_the_ball_and_the_bound_cuts_nothing_else() -> None:
    table = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 2.0], [0.0, 5.0]])
    bound_lengths(table, torch.tensor([0, 1, 0, 2]))
    torch.testing.assert_close(table, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 1.0], [0.0, 5.0]]))
    bound_lengths(table)
    torch.testing.assert_close(table[3], torch.tensor([0.0, 1.0]))
    again = table.clone()
    bound_lengths(again)
    assert torch.equal(again, table), "what was cut is left alone"
    config = BaselineConfig(batch_size=8, facts=8, loop=LoopConfig(learning_rate=0.3, epochs=5))
    for ball, inside in ((True, True), (False, False)):
        model = build(toy_view(), unit_ball=ball)
        train_baseline(model, config, 1)
        assert bool((model.node.detach().norm(dim=1) <= 1.0001).all()) == inside


def test_a_translation_puts_a_new_user_where_the_clicks_lead_back_to() -> None:
    model = build(toy_view())
    new = model.extend(arriving())
    v, n = new.view.vocabulary, new.view.n_users
    iris = [new.node[n + v.items.row(name)] - new.relation[0] for name in ("i00", "i07", "i90")]
    torch.testing.assert_close(new.node[v.users.row("iris")], torch.stack(iris).mean(0))
    known = model.node[:8].mean(0)  # hal has facts, so all are trained
    torch.testing.assert_close(new.node[v.users.row("joy")], known)
    other = build(toy_view(), cold="mean").extend(arriving())
    torch.testing.assert_close(other.node[v.users.row("iris")], known)


def test_a_translation_is_a_rule_for_users_and_leaves_new_items_to_their_neighbours() -> None:
    by_users, by_content = (build(toy_view(), cold=cold).extend(arriving()) for cold in ("transe", "content"))
    n = by_users.view.n_users
    torch.testing.assert_close(by_users.node[n:], by_content.node[n:])
    mean, item = build(toy_view(), cold="mean").extend(arriving()), by_users.view.vocabulary.items.row("i90")
    assert not torch.allclose(by_users.node[n + item], mean.node[n + item])


def test_before_any_step_the_translation_ranks_what_was_clicked_high(toy: TrainView) -> None:
    model = build(toy)
    new = model.adapt(Support.clicks("new", ["i3"])).eval()
    assert int(new.score_all(torch.tensor([6]))[0].argmax()) == 3


def test_a_graph_of_clicks_alone_is_learnt(toy: TrainView) -> None:
    view = TrainView(toy.vocabulary, toy.interactions, KnowledgeGraph.empty())
    sampler = build(view).facts(np.random.default_rng(0))
    assert set(sampler.relations.tolist()) == {5}
    assert len(Interactions(sampler.tails.astype(np.int32), sampler.heads.astype(np.int32))) == 16
