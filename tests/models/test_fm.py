"""The factorisation machine: values by hand, the closed form against feature pairs, and what an item is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metakg.data import TrainView
from metakg.models.fm import FM, FmConfig
from metakg.models.nn.features import ItemFeatures
from metakg.sample.pairs import PairBatch
from metakg.testing import LearntContract

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestFm(LearntContract):
    config = FmConfig(dim=8)


class TestFmOfIdsAlone(LearntContract):
    config = FmConfig(dim=8, features="ui")


def build(view: TrainView, **settings: object) -> FM:
    model = FM(FmConfig(**{"dim": 3, **settings}), view, torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 1, len(model.weight))[:, None])
    return model


# Items of the small graph (tests/models/conftest.py) and the tails of their facts, each once whatever the relation.
TAILS = {0: [8], 1: [8], 2: [9], 3: [9], 4: [10], 5: [10], 6: [], 7: [8]}


@pytest.mark.parametrize("norm", ["sum", "mean", "idf"])
def test_scores_equal_the_definition_worked_out_by_loops(toy: TrainView, norm: str) -> None:
    model = build(toy, tail_norm=norm)
    scores = model.score_all(torch.arange(6))
    pairwise = model.score_pairs(torch.arange(6), torch.arange(8).expand(6, -1))
    for user in range(6):
        for item, tails in TAILS.items():
            vectors = [model.user[user], model.entity[item], *(model.entity[t] for t in tails)]  # one tail has all the weight
            expected = model.weight[item, 0] + sum(model.weight[t, 0] for t in tails)
            for f in range(len(vectors)):
                for g in range(f + 1, len(vectors)):
                    expected = expected + vectors[f] @ vectors[g]
            assert float(scores[user, item]) == pytest.approx(float(expected), abs=1e-5)
            assert float(pairwise[user, item]) == pytest.approx(float(expected), abs=1e-5)


def test_weights_of_tails() -> None:
    from metakg.testing import toy_view

    view = toy_view()
    item = 3  # written by Otto (5 items), space opera (6), Tin Moon (3)
    weights = {norm: ItemFeatures(view, facts=True, norm=norm).of(item) for norm in ("sum", "mean", "idf")}
    for cols, _ in weights.values():
        assert cols.tolist() == [3, 13, 16, 17]
    assert weights["sum"][1].tolist() == [1, 1, 1, 1]
    assert weights["mean"][1].tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    rarity = np.log1p(12 / np.array([5, 6, 3]))
    assert weights["idf"][1].tolist() == pytest.approx([1, *(rarity / rarity.sum())])
    assert ItemFeatures(view, facts=False, norm="mean").of(item)[0].tolist() == [3]
    assert ItemFeatures(view, facts=True, norm="mean").of(11)[0].tolist() == [11], "no fact: the item alone"


def test_the_loss_is_bpr_of_the_scores_and_the_length_of_distinct_rows(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5)
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    terms = model(batch)
    scores = model.score_all(torch.arange(6))
    margins = [scores[0, 0] - scores[0, 6], scores[1, 2] - scores[1, 7], scores[0, 1] - scores[0, 7]]
    expected = -torch.stack([torch.log(torch.sigmoid(m)) for m in margins]).mean()
    assert float(terms["rank"]) == pytest.approx(float(expected), abs=1e-6)
    rows = [0, 1, 2, 6, 7, 8, 9]  # items of the batch and their tails, each once
    length = sum(model.user[u].square().sum() for u in (0, 1, 0)) + model.entity[rows].square().sum()
    length = length + model.weight[rows].square().sum()
    assert float(terms["l2"]) == pytest.approx(float(0.5 * length / 2 / 3), rel=1e-5)


def test_what_a_batch_sums_is_what_all_items_sum(toy: TrainView) -> None:
    model = build(toy, tail_norm="idf")
    every = model.features.sums(model.entity, model.weight)
    some = model.features.sums(model.entity, model.weight, torch.tensor([7, 0, 6, 0]))
    for name in ("vectors", "squares", "linear"):
        torch.testing.assert_close(getattr(some, name), getattr(every, name)[[7, 0, 6, 0]])
    assert len(some.used) == 4, "items 0, 6 and 7, and entity 8"
    plain = model.features.sums(model.entity, model.weight, torch.tensor([7, 0, 6, 0]), gathered=False)
    for name in ("vectors", "squares", "linear"):
        torch.testing.assert_close(getattr(plain, name), getattr(some, name))


def test_a_batch_that_reads_more_rows_than_there_are_costs_and_teaches_the_same(toy: TrainView) -> None:
    model, n_items = build(toy, features="ui"), toy.n_items
    users, positives = torch.tensor([0, 1, 0, 3, 4, 2]), torch.tensor([0, 2, 0, 5, 6, 1])
    negatives = torch.tensor([6, 1, 4, 0, 0, 0])
    assert 2 * len(users) >= n_items, "from the table itself"
    terms = model(PairBatch(users, positives, negatives))
    sum(terms.values()).backward()
    read = sorted({*positives.tolist(), *negatives.tolist()})
    assert len(read) < n_items, "a row that nobody reads"
    vectors, weights, other = (t.detach().clone().requires_grad_() for t in (model.entity, model.weight, model.user))
    margins = (other[users] * (vectors[positives] - vectors[negatives])).sum(-1) + (weights[positives] - weights[negatives])[
        :, 0
    ]
    rank = -torch.log(torch.sigmoid(margins)).mean()
    squares = other[users].square().sum() + vectors[read].square().sum() + weights[read].square().sum()
    l2 = model.config.weight_decay * squares / (2 * len(users))
    torch.testing.assert_close(terms["rank"], rank)
    torch.testing.assert_close(terms["l2"], l2)
    (rank + l2).backward()
    torch.testing.assert_close(model.entity.grad, vectors.grad)
    torch.testing.assert_close(model.weight.grad, weights.grad)
    torch.testing.assert_close(model.user.grad, other.grad)
