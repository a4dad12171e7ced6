"""RippleNet: values by plain loops, the ranking of all items against single pairs, and who is described by what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from metakg.data import Interactions, TrainView
from metakg.errors import DataError
from metakg.models.nn.facts import compact, fact_edges, user_seeds
from metakg.models.ripplenet import RippleNet, RippleNetConfig
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract, toy_view

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestRippleNet(LearntContract):
    config = RippleNetConfig(dim=16, memory=8)


class TestRippleNetAsTheAuthorsWroteIt(LearntContract):
    config = RippleNetConfig(dim=16, memory=16, resample=False, inverse="same", cap=None)


def build(view: TrainView, **settings: object) -> RippleNet:
    model = RippleNet(RippleNetConfig(**{"dim": 3, "memory": 3, **settings}), view, torch.Generator().manual_seed(3))
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=noise))
    return model


def facts_of(model: RippleNet, edges: list[int]) -> list[tuple[int, int, int]]:
    """Edge numbers -> (head, type, tail), from the columns."""
    graph = model.sets.graph
    return [(int(graph.heads[e]), int(graph.relations[e]), int(graph.tails[e])) for e in edges]


def slow_score(model: RippleNet, edges: list[list[int]], item: int, hidden: tuple[int, ...] = ()) -> float:
    config, e = model.config, model.entity.tolist()
    matrices = model._matrices().tolist()
    d = range(config.dim)
    v, total = e[item], [0.0] * config.dim
    for hop, numbers in enumerate(edges):
        facts = facts_of(model, numbers)
        powers = []
        for m, (h, r, _) in enumerate(facts):
            asked = [sum(matrices[r][a][b] * e[h][b] for b in d) for a in d]
            powers.append(0.0 if hop == 0 and m in hidden else math.exp(sum(v[a] * asked[a] for a in d)))
        answer = [sum(p / sum(powers) * e[t][a] for p, (_, _, t) in zip(powers, facts, strict=True)) for a in d]
        v = [v[a] + answer[a] for a in d] if config.update.startswith("plus") else answer
        if config.update.endswith("transform"):
            v = [sum(float(model.transform[a, b]) * v[b] for b in d) for a in d]
        total = [total[a] + answer[a] for a in d] if config.answer == "all" else answer
    return sum(v[a] * total[a] for a in d)


@pytest.mark.parametrize("update", ["plus_transform", "plus", "replace_transform", "replace"])
@pytest.mark.parametrize(("answer", "hops"), [("all", 1), ("all", 2), ("last", 2), ("all", 3)])
def test_both_ways_to_a_score_equal_the_definition(toy: TrainView, update: str, answer: str, hops: int) -> None:
    model = build(toy, update=update, answer=answer, hops=hops)
    with torch.no_grad():
        model.entity.mul_(0.7)  # cubes of large numbers hide small errors
    users = [5, 0, 3, 1, 2]  # more than are ranked at once; user 5 is described by everybody's clicks
    sets = model.sets.of(torch.tensor(users), training=False).tolist()
    expected = torch.tensor([[slow_score(model, edges, item) for item in range(8)] for edges in sets])
    pairs = model.score_pairs(torch.tensor(users), torch.arange(8).expand(5, -1))
    torch.testing.assert_close(pairs, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.score_all(torch.tensor(users)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exclude", [False, True])
def test_the_losses_by_hand(toy: TrainView, exclude: bool) -> None:
    model = build(toy, exclude_target=exclude, kge_weight=0.3, weight_decay=0.5, memory=6)
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    terms = model(batch)
    rank = reward = length = 0.0
    e, matrices, hid = model.entity, model._matrices(), 0
    for u, i, j in ((0, 0, 6), (1, 2, 7), (0, 1, 7)):
        edges = model.sets.drawn[u].tolist()
        hidden = tuple(m for m, (h, _, _) in enumerate(facts_of(model, edges[0])) if exclude and h == i)
        hid += len(hidden)
        rank += math.log1p(math.exp(-slow_score(model, edges, i, hidden))) + math.log1p(math.exp(slow_score(model, edges, j)))
        length += float(e[[i, j]].square().sum())
        for numbers in edges:
            facts = facts_of(model, numbers)
            reward += sum(1 / (1 + math.exp(-float(e[h] @ matrices[r] @ e[t]))) for h, r, t in facts) / len(facts)
            length += sum(float(e[h].square().sum() + e[t].square().sum()) for h, _, t in facts)
    assert float(terms["rank"]) == pytest.approx(rank / 6, rel=1e-4)
    assert float(terms["kge"]) == pytest.approx(-0.3 * reward / 3, rel=1e-4)
    assert float(terms["l2"]) == pytest.approx(0.5 * length / 2 / 3, rel=1e-4)
    assert (hid > 0) == exclude


def test_sets_start_at_the_clicks_and_go_on_from_what_they_reach(toy: TrainView) -> None:
    model = build(toy, memory=200, cap=None)
    edges = model.sets.of(torch.tensor([4]), training=False)[0].tolist()  # clicked items 1, 5 and 6
    first, second = (set(facts_of(model, numbers)) for numbers in edges)
    assert first == {(1, 0, 8), (5, 0, 10), (6, 4, 6)}, "types: 0, 1 facts; 2, 3 inverses; 4 itself"
    around = {(8, 2, 0), (8, 3, 0), (8, 2, 1), (8, 2, 7), (10, 0, 11), (10, 2, 4), (10, 2, 5), (6, 4, 6)}
    assert second == around


def test_a_new_epoch_has_new_sets_and_ranking_keeps_its_own(toy: TrainView) -> None:
    model = build(toy)
    fixed, scores = model.sets.fixed.clone(), model.score_all(torch.arange(6))
    torch.testing.assert_close(model.sets.drawn, fixed)
    model.on_epoch_start()
    assert not torch.equal(model.sets.drawn, fixed)
    assert torch.equal(model.sets.fixed, fixed)
    assert torch.equal(model.score_all(torch.arange(6)), scores)
    still = build(toy, resample=False)
    still.on_epoch_start()
    assert torch.equal(still.sets.drawn, still.sets.fixed)


def test_who_is_described_by_what() -> None:
    view = toy_view()
    no_clicks_of_finn = view.interactions.users != 5
    seeds, whose = user_seeds(view, view.interactions.select(no_clicks_of_finn))

    def of(user: int) -> list[int]:
        row = int(whose[user])
        return seeds.cols[seeds.rowptr[row] : seeds.rowptr[row + 1]].tolist()

    assert of(0) == [0, 1, 2, 7], "ann's clicks"
    assert of(7) == [19, 18], "hal has none; he is 25 to 34 and at home in Lisbon"
    assert int(whose[5]) == view.n_users, "nothing is known of finn"
    assert np.bincount(of(5), minlength=12).tolist() == np.bincount(view.interactions.items[no_clicks_of_finn]).tolist()
    with pytest.raises(DataError, match="no click"):
        user_seeds(view, Interactions.empty())


def test_facts_as_edges(toy: TrainView) -> None:
    sizes = {"own": (5, 18 + 2), "same": (3, 18 + 2), "none": (3, 9 + 5)}
    for inverse, (types, n_edges) in sizes.items():
        edges = fact_edges(toy, inverse)
        assert len(edges) == n_edges, "nine facts (one stands twice); entities without an edge read themselves"
        assert int(edges.relations.max()) == types - 1
        assert int(edges.edges.degrees.min()) == 1


def test_compact_numbers() -> None:
    used, place = compact(torch.tensor([[7, 2], [2, 5]]), 9)
    assert used.tolist() == [2, 5, 7]
    assert place.tolist() == [[2, 0], [0, 1]]
