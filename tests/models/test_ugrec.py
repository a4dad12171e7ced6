"""UGRec: distances in the three spaces by loops, the hardest negative, co-clicks, bounds, and both ways to rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from metakg.data import Interactions, KnowledgeGraph, TrainView, Triples
from metakg.errors import DataError
from metakg.models import ugrec
from metakg.models.nn.co_clicks import CoClicks
from metakg.models.ugrec import UGRec, UgrecConfig
from metakg.sample.pairs import PairBatch, PairsAndFacts
from metakg.sample.triples import TripleBatch
from metakg.testing import LearntContract, toy_view
from metakg.train.baseline import AdaptRule, UgrecTraining
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestUgrec(LearntContract):
    config = UgrecConfig(dim=8)
    needs_facts = True
    training = UgrecTraining(
        batch_size=512,
        facts=256,
        negatives=5,
        loop=LoopConfig(learning_rate=0.1, epochs=25, optimizer="adagrad", clip_norm=1.0),
        adapt=AdaptRule(learning_rate=0.1, epochs=25),
    )
    by_heart = UgrecConfig(dim=16, co_clicks=0, dropout=0.0)  # neighbours by random clicks have nothing in common
    overfit = UgrecTraining(
        batch_size=64,
        facts=8,
        negatives=8,
        loop=LoopConfig(learning_rate=0.1, epochs=200, optimizer="adagrad", log_every=1000),
    )


def build(view: TrainView, **settings: object) -> UGRec:
    model = UGRec(UgrecConfig(**{"dim": 4, "dropout": 0.0, **settings}), view, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.linspace(-0.4, 0.6, p.numel()).view_as(p)) if "bias" in name else p.mul_(1.5)
    return model.eval()


def unit(x: Tensor) -> Tensor:
    return x / x.norm()


def directed(model: UGRec, h: int, t: int, r: int | None) -> Tensor:
    """D of one pair, from the equations."""
    part = (
        (lambda name: getattr(model, f"click{name}")[0]) if r is None else (lambda name: getattr(model, f"relation{name}")[r])
    )
    vector, turn, matrix, bias = (part(name) for name in ("", "_turn", "_attention", "_bias"))
    head, tail = (unit(model.place[n] + (model.place[n] @ model.turn[n]) * turn) for n in (h, t))
    powers = torch.exp(torch.relu(matrix @ torch.cat([head, tail]) + bias))
    a = powers / powers.sum()
    scale = 1 if model.config.attention_scale == "one" else model.config.dim
    return sum((x + r * scale * w - y) ** 2 for x, r, w, y in zip(head, vector, a, tail, strict=True))


def undirected(model: UGRec, i: int, j: int) -> Tensor:
    one, other = unit(model.place[i]), unit(model.place[j])
    powers = torch.exp(torch.relu(model.pair_attention[0] @ torch.cat([one, other]) + model.pair_bias[0]))
    n = model.pair[0] * powers / powers.sum()
    shadows = [unit(x - (x @ n) / (n @ n) * n) for x in (one, other)]
    return (shadows[0] - shadows[1]).square().sum()


@pytest.mark.parametrize("scale", ["one", "dim"])
def test_scores_equal_the_definition_worked_out_by_loops(toy: TrainView, scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(toy, attention_scale=scale)
    fast = model.score_all(torch.arange(6))
    pairwise = model.score_pairs(torch.arange(6), torch.arange(8).expand(6, -1))
    monkeypatch.setattr(ugrec, "_SAFE", -1.0)  # logits too large for a product of exponentials
    safe = model.score_all(torch.arange(6))
    for user in range(6):
        for item in range(8):
            expected = -float(directed(model, user, 6 + item, None))
            for found in (fast, pairwise, safe):
                assert float(found[user, item]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("largest", [19, 22, 35, 60, 300])
def test_large_logits_do_not_overflow(toy: TrainView, largest: float) -> None:
    model = build(toy)
    nodes = torch.arange(14)
    with torch.no_grad():
        model.click_bias.zero_()
        vectors = model._into(model._clicks(), nodes[:, None], (model.place, model.turn))[:, 0]
        logits = torch.cat([vectors[:6] @ model.click_attention[0, :, :4].T, vectors[6:] @ model.click_attention[0, :, 4:].T])
        model.click_attention.mul_(largest / logits.max())
    pairwise = model.score_pairs(torch.arange(6), torch.arange(8).expand(6, -1))
    torch.testing.assert_close(model.score_all(torch.arange(6)), pairwise)
    assert torch.isfinite(pairwise).all()


@pytest.mark.parametrize("relations", ["each", "together"])
def test_the_loss_is_a_hinge_against_the_hardest_negative(toy: TrainView, relations: str) -> None:
    model = build(toy, margin=0.4, weight_decay=0.0, co_clicks=0, relations=relations)
    pairs = PairBatch(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 2, 2]), torch.tensor([6, 7, 7, 5]), 2)
    columns = ([0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 1, 1], [8, 8, 9, 9, 8, 8], [9, 10, 8, 12, 11, 9])
    facts = TripleBatch(*(torch.tensor(c) for c in columns), each=2)
    terms = model(PairsAndFacts(pairs, facts))
    clicks = [(0, 0, (6, 7)), (1, 2, (7, 5))]
    each = [
        torch.relu(0.4 + directed(model, u, 6 + i, None) - min(directed(model, u, 6 + j, None) for j in false))
        for u, i, false in clicks
    ]
    assert float(terms["clicks"]) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)
    about = [(0, 0, 8, (9, 10)), (2, 0, 9, (8, 12)), (0, 1, 8, (11, 9))]
    each = [
        torch.relu(0.4 + directed(model, 6 + h, 6 + t, r) - min(directed(model, 6 + h, 6 + c, r) for c in false))
        for h, r, t, false in about
    ]
    expected = torch.stack(each).mean() if relations == "together" else torch.stack(each[:2]).mean() + each[2]
    assert float(terms["facts"]) == pytest.approx(float(expected), rel=1e-5)
    assert set(terms) == {"clicks", "facts", "l2"}


def test_neighbours_are_compared_in_the_plane_across_their_relation(toy: TrainView) -> None:
    model = build(toy)
    heads, tails = torch.tensor([6, 8]), torch.tensor([[7, 9], [13, 6]])
    found = model._distances(model._pairs(), heads, tails, (model.place, model.turn), drop=False)
    for p, i in enumerate(heads.tolist()):
        for k, j in enumerate(tails[p].tolist()):
            assert float(found[p, k]) == pytest.approx(float(undirected(model, i, j)), abs=1e-5)
    pairs = PairBatch(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([6, 7]))
    facts = TripleBatch(*(torch.tensor(c) for c in ([0, 2], [0, 0], [8, 9], [9, 10])))
    assert set(model(PairsAndFacts(pairs, facts))) == {"clicks", "facts", "pairs", "l2"}


def test_places_and_turns_start_about_as_long_as_they_may_be() -> None:
    model = UGRec(UgrecConfig(dim=64), toy_view(), torch.Generator().manual_seed(3))
    for table in (model.place, model.turn):
        lengths = table.detach().norm(dim=1)
        assert float(lengths.max()) <= 1.0001
        assert float(lengths.min()) > 0.6


def test_vectors_are_cut_after_a_step_and_at_every_epoch(toy: TrainView) -> None:
    model = build(toy)
    with torch.no_grad():
        model.place.mul_(50)
        model.turn.mul_(50)
    model.after_step(None)  # type: ignore[arg-type]  # all rows are looked at
    assert float(model.place.norm(dim=1).max()) <= 1.0001
    assert float(model.turn.norm(dim=1).max()) <= 1.0001


# -- co-clicks ---------------------------------------------------------------------------------------------------------------


def test_neighbours_are_the_nearest_by_cosine_with_two_people_in_common(monkeypatch) -> None:
    clicks = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 1), (2, 2), (3, 3), (3, 0)]
    users, items = np.array(clicks, np.int32).T.copy()
    # together: 0-1 twice, 1-2 twice, 0-2 once, 0-3 once; cosines: 2 / sqrt(3 * 3) and 2 / sqrt(3 * 2)
    both = CoClicks(Interactions(users, items), 4, 5, top=10)
    assert list(zip(both.one.tolist(), both.other.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    nearest = CoClicks(Interactions(users, items), 4, 5, top=1)  # 1 is nearest to 2; 0 and 2 both name 1
    assert list(zip(nearest.one.tolist(), nearest.other.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert len(CoClicks(Interactions(users, items), 4, 5, top=0)) == 0
    monkeypatch.setattr("metakg.models.nn.co_clicks._BLOCK", 3)
    in_blocks = CoClicks(Interactions(users, items), 4, 5, top=1)
    assert torch.equal(in_blocks.keys, nearest.keys)
    assert len(CoClicks(Interactions.empty(), 4, 5, top=3)) == 0


def test_false_neighbours_are_clicked_items_that_are_none() -> None:
    view = toy_view()
    found = CoClicks(view.interactions, 8, 12, top=10)
    known = set(zip(found.one.tolist(), found.other.tolist(), strict=True))
    one, other, false = found.draw(200, 5, torch.Generator().manual_seed(1))
    assert set(zip(one.tolist(), other.tolist(), strict=True)) <= known
    for i, row in zip(one.tolist(), false.tolist(), strict=True):
        for j in row:
            assert (i, j) not in known
            assert j != i
            assert j != 10, "an item that nobody has clicked"
    few = CoClicks(Interactions(*np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.int32).T.copy()), 2, 2, top=1)
    one, other, false = few.draw(6, 2, torch.Generator().manual_seed(1))
    assert torch.equal(false, other[:, None].expand(-1, 2)), "nothing is false here, so nothing is taught"


# -- facts -------------------------------------------------------------------------------------------------------------------


def test_facts_of_items_alone_or_of_all(toy: TrainView) -> None:
    heads = {
        name: set(build(toy, triples=name).facts(np.random.default_rng(0)).heads.tolist()) for name in ("item_head", "all")
    }
    assert heads["all"] - heads["item_head"] == {10}
    only = TrainView(
        toy.vocabulary, toy.interactions, KnowledgeGraph(toy.graph.entity.select(toy.graph.entity.heads == 10), Triples.empty())
    )
    with pytest.raises(DataError, match='triples = "all"'):
        build(only).facts(np.random.default_rng(0))
