"""KGCN: values by plain loops, the ranking of all items against trees of single pairs, and what is sampled."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metakg.data import TrainView
from metakg.models.kgcn import KGCN, KgcnConfig
from metakg.models.nn.facts import Neighbourhoods
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract
from metakg.train.baseline import BaselineConfig
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


BY_HEART = BaselineConfig(
    start="xavier", batch_size=32, negatives=8, loop=LoopConfig(learning_rate=0.02, epochs=150, log_every=1000)
)
"""Items that share their neighbours are hard to tell apart by a few negatives."""


class TestKgcn(LearntContract):
    config = KgcnConfig(dim=32, neighbours=2)
    overfit = BY_HEART


class TestKgcnOfOneHopAsTheAuthorsWroteIt(LearntContract):
    config = KgcnConfig(dim=16, neighbours=4, hops=1, aggregator="concat", reduce="mean")
    overfit = BY_HEART


def build(view: TrainView, **settings: object) -> KGCN:
    model = KGCN(KgcnConfig(**{"dim": 3, "neighbours": 4, **settings}), view, torch.Generator().manual_seed(3))
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=noise))
    return model


def slow_vector(model: KGCN, user: int, node: int, hops: int) -> Tensor:
    """e_node^hops for a user, by recursion."""
    if hops == 0:
        return model.entity[node]
    config, step = model.config, hops - 1
    powers, message = [], torch.zeros(config.dim)
    for r in model.sample.relations[node].tolist():
        ask = float(model.user[user] @ model.relation[r]) if r < len(model.relation) else 0.0
        powers.append(math.exp(ask / config.dim if config.reduce == "mean" else ask))
    for power, tail in zip(powers, model.sample.tails[node].tolist(), strict=True):
        message = message + power / sum(powers) * slow_vector(model, user, tail, hops - 1)
    if config.reduce == "mean":
        message = message / config.neighbours
    e = slow_vector(model, user, node, hops - 1)
    x = {"sum": e + message, "neighbour": message}.get(config.aggregator, torch.cat([e, message]))
    h = model.w[step] @ x + model.b[step]
    return torch.tanh(h) if hops == config.hops else torch.relu(h)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("aggregator", ["sum", "concat", "neighbour"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_both_ways_to_a_score_equal_the_definition(toy: TrainView, hops: int, aggregator: str, reduce: str) -> None:
    model = build(toy, hops=hops, aggregator=aggregator, reduce=reduce)
    users = torch.tensor([5, 0, 3])
    expected = torch.stack([torch.stack([model.user[u] @ slow_vector(model, u, i, hops) for i in range(8)]) for u in (5, 0, 3)])
    torch.testing.assert_close(model.score_pairs(users, torch.arange(8).expand(3, -1)), expected)
    torch.testing.assert_close(model.score_all(users), expected)


def test_blocks_of_items_do_not_matter(toy: TrainView, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(toy)
    whole = model.score_all(torch.arange(6))
    monkeypatch.setattr("metakg.models.kgcn._ROWS", 3)
    torch.testing.assert_close(model.score_all(torch.arange(6)), whole)


def test_scores_that_differ_by_hundreds_stay_exact(toy: TrainView) -> None:
    model = build(toy)
    with torch.no_grad():
        model.user.mul_(200)
        model.w[1].mul_(1e-2)
    users, items = torch.arange(6), torch.arange(8).expand(6, -1)
    assert torch.isfinite(model.score_all(users)).all()
    torch.testing.assert_close(model.score_all(users), model.score_pairs(users, items), rtol=1e-4, atol=1e-3)


def test_the_loss_is_the_cross_entropy_of_the_scores(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5, hops=1)
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    terms, scores = model(batch), model.score_all(torch.arange(6)).tolist()
    pairs = [(0, 0, 6), (1, 2, 7), (0, 1, 7)]
    logs = [math.log1p(math.exp(-scores[u][i])) + math.log1p(math.exp(scores[u][j])) for u, i, j in pairs]
    assert float(terms["rank"]) == pytest.approx(sum(logs) / 6, rel=1e-5)
    length = 0.0
    for user, *items in pairs:
        length += float(model.user[user].square().sum())
        for item in items:
            read = [item, *model.sample.tails[item].tolist()]
            length += float(model.entity[read].square().sum())
    assert float(terms["l2"]) == pytest.approx(0.5 * length / 2 / 3, rel=1e-5)


def test_a_small_batch_reads_a_table_of_its_own_and_learns_the_same(toy: TrainView, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(toy, weight_decay=0.5, hops=2, neighbours=1)
    batch = PairBatch(torch.tensor([1]), torch.tensor([2]), torch.tensor([7]))

    def learnt() -> dict[str, torch.Tensor]:
        model.zero_grad()
        sum(model(batch).values()).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    tables = []
    read = model._read
    monkeypatch.setattr(model, "_read", lambda nodes: tables.append(read(nodes)[0]) or read(nodes))
    small = learnt()
    assert len(tables[0]) < len(model.entity), "two trees of three nodes, among thirteen entities"
    monkeypatch.setattr(model, "_read", lambda nodes: (model.entity, nodes))
    whole = learnt()
    for name, gradient in whole.items():
        torch.testing.assert_close(small[name], gradient)


def test_a_neighbourhood_is_sampled_evenly_in_both_directions(toy: TrainView) -> None:
    sample = Neighbourhoods(toy, 4)
    around = {
        0: {(0, 8), (1, 8)}, 1: {(0, 8)}, 2: {(0, 9)}, 3: {(0, 9)}, 4: {(0, 10)}, 5: {(0, 10)}, 6: {(2, 6)}, 7: {(0, 8)},
        8: {(0, 0), (1, 0), (0, 1), (0, 7)}, 9: {(0, 2), (0, 3)}, 10: {(0, 4), (0, 5), (0, 11)}, 11: {(0, 10)}, 12: {(2, 12)},
    }  # fmt: skip
    for node, facts in around.items():
        drawn = list(zip(sample.relations[node].tolist(), sample.tails[node].tolist(), strict=True))
        assert set(drawn) == facts, "four draws see all of four facts or fewer"
        assert max(drawn.count(fact) for fact in facts) - min(drawn.count(fact) for fact in facts) <= 1
    few = Neighbourhoods(toy, 2)
    assert all(len(set(few.tails[8].tolist())) == 2 or few.tails[8].tolist() == [0, 0] for _ in range(1))
