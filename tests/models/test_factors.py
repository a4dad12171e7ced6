"""Doing without edges, against factors from which the edges were deleted; and one profile against many."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy import sparse

from metakg.data import Support
from metakg.models.evidence import Evidence
from metakg.models.factors import Factors
from metakg.models.joint_factors import JointFactors
from metakg.models.metakg import MetaKG
from metakg.models.profile import ProfileRecommender
from metakg.models.reasons import ENTITY, Cut
from metakg.models.registry import FLOORS, build, config_for
from metakg.testing import toy_view

MODELS = {
    **{name: {} for name in FLOORS},
    "kg-knn, two hops": {"hops": 2},
    "walk, one step": {"steps": 1},
    "walk, three steps": {"steps": 3},
    "metakg": {"candidates": 6, "own_items": 3, "hidden": 8, "max_items": 6},
}


def made(name: str) -> ProfileRecommender:
    model = build(config_for(name.partition(",")[0], MODELS[name]), toy_view(), seed=1).eval()
    assert isinstance(model, ProfileRecommender)
    return model


def without(factors: Factors, cut: Cut) -> Factors:
    """Factors from which the edges were deleted, entry by entry."""
    less = copy.copy(factors)
    left, right, back = (matrix.tocoo(copy=True) for matrix in (factors.left, factors.right, factors.back))

    def cut_of(items: np.ndarray, columns: np.ndarray) -> np.ndarray:
        pairs = zip(items.tolist(), factors.nodes[columns].tolist(), strict=True)
        return np.array([bool(cut.has(item, np.array([node]))[0]) for item, node in pairs], np.bool_)

    for name, matrix, lost in (
        ("left", left, cut_of(left.row, left.col)),
        ("right", right, cut_of(right.col % factors.n_items, right.row)),
        ("back", back, cut_of(back.row, back.col)),
    ):
        kept = sparse.csr_array((matrix.data[~lost], (matrix.row[~lost], matrix.col[~lost])), shape=matrix.shape)
        setattr(less, name, kept)
    less.itself = np.stack(
        [
            np.asarray(less.left[:, a:b].multiply(less.back[:, a:b]).sum(axis=1), np.float32).ravel()
            for a, b in zip(less.starts, less.starts[1:], strict=False)
        ]
    )
    return less


def bereft(model: ProfileRecommender, cut: Cut) -> ProfileRecommender:
    """The model over evidence without the edges."""
    less = copy.copy(model)
    less.__dict__ = dict(model.__dict__)
    less._modules = dict(model._modules)
    if hasattr(less, "parts"):
        less.parts = tuple(bereft(part, cut) for part in model.parts)
    if isinstance(model, MetaKG):
        evidence = copy.copy(model.evidence)
        parts = [without(part, cut) for part in evidence.factors.parts]
        evidence.of_clicks, evidence.factors = parts[0], JointFactors(*parts)
        less.evidence = evidence
    elif hasattr(less, "evidence"):
        less.evidence = without(model.evidence, cut)
    return less


@pytest.mark.parametrize("name", [name for name in MODELS if name != "walk, three steps"])
def test_doing_without_edges_is_scoring_without_them(name: str) -> None:
    model = made(name)
    tried = 0
    for user, item in [(0, 9), (1, 10), (2, 1), (3, 6), (4, 0), (6, 2)]:
        person = model.person(user)
        reasons = model.reasons_for(person, item, limit=2)
        cut = Cut(edge for reason in reasons for edge in reason.edges)
        scores, speaks = model.score_person(person, cut)
        expected, spoke = bereft(model, cut).score_person(model.person(user))
        assert scores == pytest.approx(expected, abs=1e-5)
        assert (speaks == spoke).all()
        if len(cut):
            tried += 1
            if name != "metakg":  # untrained as it is here, f may like an item better without evidence
                assert scores[item] < model.score_person(person)[0][item]
    assert tried >= 4 or name in ("popularity", "walk, one step"), "no fact joins two books directly"


def test_a_long_walk_without_edges_is_a_walk_on_a_graph_without_them() -> None:
    model = made("walk, three steps")
    view = model.view
    # ann clicked 0, 1, 2, 7. Without her click on 7 and the fact 7 - Pearl: these entries go, all others stay as they are
    cut = Cut([(7, 0), (7, ENTITY + 14)])
    person = model.person(0)
    scores, _ = model.score_person(person, cut)
    moves = model.transition.toarray()
    book, ann, pearl = view.n_users + 7, 0, view.n_users + 14
    for one, other in ((book, ann), (book, pearl)):
        assert moves[one, other] > 0
        moves[one, other] = moves[other, one] = 0
    place, visits = np.zeros(len(moves)), np.zeros(len(moves))
    place[view.n_users + person.profile.indices] = person.profile.data
    for step in range(1, 4):
        place = place @ moves
        visits += 0.5**step * place
    expected = visits[view.n_users : view.n_users + view.n_items]
    free = np.setdiff1d(np.arange(view.n_items), person.seen)
    assert scores[free] == pytest.approx(expected[free], abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_of_nothing_and_of_edges_that_are_not_there_changes_nothing(name: str) -> None:
    model = made(name)
    for cut in (Cut([]), Cut([(11, 5), (3, ENTITY + 19)])):
        for user in range(8):
            assert model.score_person(model.person(user), cut)[0] == pytest.approx(
                model.score_person(model.person(user))[0], abs=1e-6
            )


@pytest.mark.parametrize("name", MODELS)
def test_one_person_is_answered_as_in_a_batch_bit_for_bit(name: str) -> None:
    model = made(name)
    together = model.score_all(torch.arange(model.view.n_users)).numpy()
    for user in range(model.view.n_users):
        assert (model.score_person(model.person(user))[0] == together[user]).all(), user


@pytest.mark.parametrize("name", MODELS)
def test_somebody_without_a_row_is_answered_like_his_twin_with_one(name: str) -> None:
    model = made(name)
    # "ben" as the view knows him, and a stranger who clicked the same; only `metakg` and the crowd know ben himself
    twin = model.person(None, model.view.history[[1]].indices.astype(np.int32))
    known = model.person(1)
    assert (twin.profile != known.profile).nnz == 0
    assert (twin.seen == known.seen).all()
    if name != "metakg":  # its inner step judges ben's items without ben
        assert (model.score_person(twin)[0] == model.score_person(known)[0]).all()


@pytest.mark.parametrize("name", FLOORS)
def test_the_profile_of_a_person_is_that_of_the_adapted_user(name: str) -> None:
    model = made(name)
    for liked in (["i05"], ["i00", "i03", "i09"], ["i00"]):
        rows = model.view.vocabulary.items.rows(liked)
        adapted = model.adapt(Support.clicks("ann", liked))
        expected = adapted.profiles(np.array([0], np.int32))
        found = model.person(0, rows).profile
        assert found.toarray() == pytest.approx(expected.toarray(), abs=1e-7)
        left_out = model.person(0, rows, rows[:1]).profile
        assert left_out[0, rows[0]] == 0
        assert float(left_out.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("crowded", [0, 1, 10**9])
def test_one_profile_is_told_what_many_are(monkeypatch, crowded) -> None:
    """Densely or not, to the same bits; an empty profile is told nothing."""
    monkeypatch.setattr("metakg.models.factors._CROWDED", crowded)
    view = toy_view()
    factors = Evidence(view, view.popularity, None, 6).factors
    drawn = np.random.default_rng(0).random((3, 12)).astype(np.float32)
    drawn[1, 2:] = drawn[2] = 0.0
    between = factors.between(sparse.csr_array(drawn))
    expected = np.zeros((3, factors.n_channels, 12), np.float32)
    rows, channels, items, values = factors.told(between)
    expected[rows, channels, items] = values
    for row in range(3):
        for c, said in enumerate(factors.told_to_one([part[[row]] for part in between])):
            found = np.zeros(12, np.float32)
            if said.items is None:
                found[:] = said.values
            else:
                assert len(np.unique(said.items)) == len(said.items)
                found[said.items] = said.values
            assert (found == expected[row, c]).all()


def test_factors_side_by_side_are_their_channels() -> None:
    view = toy_view()
    evidence = Evidence(view, view.popularity, None, 6)
    profiles = sparse.csr_array(np.random.default_rng(0).random((3, 12)).astype(np.float32))
    together = np.concatenate([part.product(profiles) for part in evidence.factors.parts], axis=1)
    rows, channels, items, values = evidence.factors.told(evidence.factors.between(profiles))
    dense = np.zeros_like(together)
    dense[rows, channels, items] = values
    assert (np.diff(channels) >= 0).all()
    for c in range(evidence.factors.n_channels):
        left, right = evidence.factors.channel(c)
        assert (together[:, c] == ((profiles @ left) @ right).toarray()).all()
        assert (dense[:, c] == together[:, c]).all()
    assert [part.n_channels for part in evidence.factors.parts] == [3, evidence.factors.n_channels - 3]
    for part in evidence.factors.parts:
        for c in range(part.n_channels):
            back = part.back[:, part.starts[c] : part.starts[c + 1]].toarray()
            assert back == pytest.approx(part.channel(c)[1].toarray().T)
