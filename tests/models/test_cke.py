"""CKE: energies and scores by loops, offsets of new items, facts that must be there."""

from __future__ import annotations

import pytest
import torch

from metakg.data import TrainView
from metakg.models.cke import CKE, CkeConfig
from metakg.sample.pairs import PairBatch, PairsAndFacts
from metakg.sample.triples import TripleBatch
from metakg.testing import LearntContract, arriving, toy_view

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestCke(LearntContract):
    config = CkeConfig(dim=8, relation_dim=4)
    needs_facts = True


class TestCkeAsThePaperHasIt(LearntContract):
    config = CkeConfig(dim=8, relation_dim=4, normalise=False, cold_offset="mean")
    needs_facts = True


def build(view: TrainView, **settings: object) -> CKE:
    return CKE(CkeConfig(**{"dim": 4, "relation_dim": 3, **settings}), view, torch.Generator().manual_seed(3))


def batch() -> PairsAndFacts:
    pairs = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    facts = TripleBatch(*(torch.tensor(c) for c in ([0, 10, 0], [0, 0, 1], [8, 11, 8], [9, 12, 10])))
    return PairsAndFacts(pairs, facts)


@pytest.mark.parametrize("normalise", [True, False])
def test_losses_equal_the_definition_worked_out_by_loops(toy: TrainView, normalise: bool) -> None:
    model, b = build(toy, normalise=normalise, kg_weight=2.0, weight_decay=0.5), batch()

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm() if normalise else x

    def energy(h: int, r: int, t: int) -> torch.Tensor:
        m = model.project[r]
        return (unit(m @ model.entity[h]) + unit(model.relation[r]) - unit(m @ model.entity[t])).square().sum()

    f = b.facts
    kg = [
        torch.nn.functional.softplus(energy(h, r, t) - energy(h, r, c))
        for h, r, t, c in zip(f.heads.tolist(), f.relations.tolist(), f.tails.tolist(), f.corrupted.tolist(), strict=True)
    ]

    def vector(i: int) -> torch.Tensor:
        return model.item[i] + model.entity[i]

    triples = [(0, 0, 6), (1, 2, 7), (0, 1, 7)]
    rank = [-torch.log(torch.sigmoid(model.user[u] @ (vector(i) - vector(j)))) for u, i, j in triples]
    length = sum(model.user[u].square().sum() + vector(i).square().sum() + vector(j).square().sum() for u, i, j in triples)
    about = sum(model.entity[e].square().sum() for e in [0, 10, 0, 8, 11, 8, 9, 12, 10])
    terms = model(b)
    assert float(terms["kg"]) == pytest.approx(2 * float(torch.stack(kg).mean()), rel=1e-5)
    assert float(terms["rank"]) == pytest.approx(float(torch.stack(rank).mean()), rel=1e-5)
    assert float(terms["l2"]) == pytest.approx(0.5 * float(length + about) / 2 / 3, rel=1e-5)


def test_a_score_is_the_user_times_offset_and_place(toy: TrainView) -> None:
    model = build(toy)
    scores = model.score_all(torch.arange(6))
    for user in range(6):
        for item in range(8):
            expected = float(model.user[user] @ model.item[item] + model.user[user] @ model.entity[item])
            assert float(scores[user, item]) == pytest.approx(expected, abs=1e-6)


def test_a_new_item_has_no_offset_and_keeps_its_place_in_the_graph() -> None:
    view = toy_view()  # i10 has facts and no click
    for rule, offset in (("zero", torch.zeros(4)), ("mean", None)):
        model = build(view, cold_offset=rule)
        clicked = [i for i in range(12) if i != 10]
        wanted = model.item[clicked].mean(0) if offset is None else offset
        new = model.extend(arriving())
        row = new.view.vocabulary.items.row("i90")
        torch.testing.assert_close(new.item[[10, row]], torch.stack([wanted, wanted]))
        assert torch.equal(new.entity[10], model.entity[10]), "facts have moved it"


def test_start_vectors_are_split_into_what_neighbours_say_and_an_offset() -> None:
    view = toy_view()  # i10 has facts and no click, i11 clicks and no fact
    model = build(view)
    users, items = (torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (8, 12))
    model.start_from(users, items)
    clicked = [i for i in range(12) if i != 10]
    torch.testing.assert_close((model.item + model.entity[:12])[clicked], items[clicked])
    facts = view.graph.entity
    around = torch.tensor([int(t) for h, t in zip(facts.heads, facts.tails, strict=True) if h == 10])
    torch.testing.assert_close(model.entity[10], model.entity[around].mean(0))
    assert not model.item[10].any()
    torch.testing.assert_close(model.entity[11], items[11])
    assert torch.equal(model.user, users)
