"""CKAN: values by plain loops, two passes over tables against single pairs, and where users and items start from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metakg.data import TrainView
from metakg.models.ckan import CKAN, CkanConfig, MeanOf
from metakg.models.nn.facts import RippleSets, item_seeds
from metakg.sample.neighbours import Edges
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestCkan(LearntContract):
    config = CkanConfig(dim=32, user_memory=8, item_memory=8)


class TestCkanAsTheAuthorsWroteIt(LearntContract):
    config = CkanConfig(dim=32, user_memory=8, item_memory=8, origin="heads", inverse="same", aggregate="pool", resample=False)


class TestCkanWithoutWhatTheUserBrought(LearntContract):
    config = CkanConfig(dim=32, user_memory=8, item_memory=8, mask_self=True)


def build(view: TrainView, **settings: object) -> CKAN:
    model = CKAN(
        CkanConfig(**{"dim": 3, "user_memory": 3, "item_memory": 4, **settings}), view, torch.Generator().manual_seed(3)
    )
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=noise))
    return model


def slow_layers(model: CKAN, edges: list[list[int]]) -> tuple[list[Tensor], Tensor]:
    """o_1..o_L, and the mean of the heads of the first layer."""
    graph, types, layers, heads = model.users.graph, model._types(), [], []
    for layer, numbers in enumerate(edges):
        powers, tails = [], []
        for e in numbers:
            head = model.entity[int(graph.heads[e])]
            x = torch.cat([head, types[int(graph.relations[e])]])
            for w in (model.att[0], model.att[1]):
                x = torch.relu(w @ x)
            a = float(model.att[2][0] @ x)
            powers.append(math.exp(1 / (1 + math.exp(-a)) if model.config.squeeze else a))
            tails.append(model.entity[int(graph.tails[e])])
            heads += [head] if layer == 0 else []
        layers.append(sum(p / sum(powers) * t for p, t in zip(powers, tails, strict=True)))
    return layers, torch.stack(heads).mean(0)


def slow_vector(model: CKAN, sets: RippleSets, row: int, seeds: list[int], *, item: int | None, training: bool) -> Tensor:
    layers, heads = slow_layers(model, (sets.drawn if training else sets.fixed)[row].tolist())
    first = model.entity[seeds].mean(0) if model.config.origin == "seeds" else heads
    how = model.config.aggregate
    parts = layers if item is None else [model.entity[item], *layers]
    if item is None or how != "concat":
        parts = [first, *parts]
    return torch.cat(parts) if how == "concat" else torch.stack(parts).sum(0) if how == "sum" else torch.stack(parts).amax(0)


def user_vector(model: CKAN, user: int, *, training: bool = False) -> Tensor:
    clicked = sorted(set(model.view.interactions.items[model.view.interactions.users == user].tolist()))
    return slow_vector(model, model.users, user, clicked, item=None, training=training)


def item_vector(model: CKAN, item: int, *, training: bool = False) -> Tensor:
    seeds = model.item_seeds
    own = seeds.cols[seeds.rowptr[item] : seeds.rowptr[item + 1]].tolist()
    return slow_vector(model, model.items, item, own, item=item, training=training)


@pytest.mark.parametrize("aggregate", ["concat", "sum", "pool"])
@pytest.mark.parametrize(("origin", "squeeze", "layers"), [("seeds", True, 2), ("heads", True, 1), ("seeds", False, 3)])
def test_both_ways_to_a_score_equal_the_definition(
    toy: TrainView, aggregate: str, origin: str, squeeze: bool, layers: int
) -> None:
    model = build(toy, aggregate=aggregate, origin=origin, squeeze=squeeze, layers=layers)
    users = torch.tensor([4, 0, 3])
    items = torch.stack([item_vector(model, i) for i in range(8)])
    expected = torch.stack([user_vector(model, int(u)) for u in users]) @ items.T
    torch.testing.assert_close(model.score_pairs(users, torch.arange(8).expand(3, -1)), expected)
    torch.testing.assert_close(model.score_all(users), expected)


def test_blocks_do_not_matter(toy: TrainView, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(toy)
    whole = model.score_all(torch.arange(6))
    monkeypatch.setattr("metakg.models.ckan._ROWS", 3)
    torch.testing.assert_close(model.score_all(torch.arange(6)), whole)


def test_the_losses_by_hand(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5)
    model.on_epoch_start()
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    terms, rank = model(batch), 0.0
    for u, i, j in ((0, 0, 6), (1, 2, 7), (0, 1, 7)):
        user, liked, other = user_vector(model, u, training=True), *(item_vector(model, x, training=True) for x in (i, j))
        rank += math.log1p(math.exp(-float(user @ liked))) + math.log1p(math.exp(float(user @ other)))
    assert float(terms["rank"]) == pytest.approx(rank / 6, rel=1e-4)
    edges = torch.cat([model.users.drawn[[0, 1]].flatten(), model.items.drawn[[0, 1, 2, 6, 7]].flatten()]).long()
    graph = model.users.graph
    read = torch.cat([graph.heads[edges], graph.tails[edges], torch.tensor([0, 1, 2, 6, 7])]).unique()
    assert float(terms["l2"]) == pytest.approx(0.5 * float(model.entity[read].square().sum()) / 2 / 3, rel=1e-4)


def test_what_the_user_brought_is_hidden_from_the_first_layer_of_a_clicked_item(toy: TrainView) -> None:
    model = build(toy, mask_self=True, item_memory=12)
    model.on_epoch_start()
    users, positives, negatives = [0, 1, 2, 4], [0, 2, 6, 6], [6, 7, 7, 0]
    hidden = 0
    rank = 0.0
    graph, types = model.users.graph, model._types()
    for u, i, j in zip(users, positives, negatives, strict=True):
        clicked = set(toy.interactions.items[toy.interactions.users == u].tolist())
        drawn = model.items.drawn[i].tolist()
        kept = [e for e in drawn[0] if int(graph.heads[e]) not in clicked - {i}] or drawn[0]
        hidden += len(drawn[0]) - len(kept)
        parts = [model.entity[i]]
        for numbers in (kept, *drawn[1:]):
            x = torch.stack([torch.cat([model.entity[graph.heads[e]], types[graph.relations[e]]]) for e in numbers])
            for w in (model.att[0], model.att[1]):
                x = torch.relu(x @ w.T)
            share = torch.softmax(torch.sigmoid(x @ model.att[2][0]), 0)
            parts.append(share @ model.entity[graph.tails[numbers].long()])
        user, liked, other = user_vector(model, u, training=True), torch.cat(parts), item_vector(model, j, training=True)
        rank += math.log1p(math.exp(-float(user @ liked))) + math.log1p(math.exp(float(user @ other)))
    batch = PairBatch(torch.tensor(users), torch.tensor(positives), torch.tensor(negatives))
    assert hidden > 0, "otherwise this shows nothing"
    assert float(model(batch)["rank"].detach()) == pytest.approx(rank / 8, rel=1e-4)


def test_an_item_starts_from_what_its_users_clicked(toy: TrainView) -> None:
    clicks = {u: set(toy.interactions.items[toy.interactions.users == u].tolist()) for u in range(6)}
    seeds = item_seeds(toy, toy.interactions, 40)
    for item in range(8):
        drawn = seeds.cols[seeds.rowptr[item] : seeds.rowptr[item + 1]].tolist()
        likers = [u for u in clicks if item in clicks[u]]
        if not likers:
            assert drawn == [item], "item 7 has no click"
            continue
        assert len(drawn) == 40
        assert set(drawn) == set().union(*(clicks[u] for u in likers))
    # Item 6: users 2 (items 4, 5, 6) and 4 (items 1, 5, 6), each as likely as the other.
    drawn = seeds.cols[seeds.rowptr[6] : seeds.rowptr[7]].tolist()
    assert abs(drawn.count(4) - 40 / 6) < 2
    assert abs(drawn.count(5) - 40 / 3) < 3


def test_means_of_seeds() -> None:
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
    mean = MeanOf(Edges(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])))
    assert mean.of(table, torch.tensor([1, 0, 1])).tolist() == [[3, 4], [3, 1], [3, 4]]
