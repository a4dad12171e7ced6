"""The default model against two passes by hand, finite differences, its own definitions, and the contract of all models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import metakg
from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, TrainView, Triples, Vocabulary
from metakg.engine import fit
from metakg.errors import CheckpointError
from metakg.models.base import Recommender
from metakg.models.evidence import Evidence
from metakg.models.metakg import EvidenceTasks, MetaKG, MetaKGConfig, as_tasks
from metakg.models.reasons import reasons_of
from metakg.models.walk import Walk, WalkConfig
from metakg.rng import torch_generator
from metakg.testing import ModelContract, arriving, planted_split, toy_view
from metakg.train.loop import LoopConfig
from metakg.train.practice import PracticeConfig, practise

TINY = {"hidden": 8, "candidates": 6, "own_items": 3}
QUICK = PracticeConfig(worlds=2, tasks_each=60, tasks=32, loop=LoopConfig(learning_rate=2e-3, epochs=4, patience=4))


def model_of(view: TrainView | None = None, *, seed: int = 1, **settings: Any) -> MetaKG:
    """A small model whose weights are large enough for every nonlinearity to count."""
    config = MetaKGConfig(**{**TINY, **settings})
    model = MetaKG(config, toy_view() if view is None else view, torch_generator(seed, "init/metakg"))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        model.omega.copy_(0.3 * torch.randn(model.omega.shape, generator=generator))
        model.b1.copy_(0.3 * torch.randn(model.b1.shape, generator=generator))
    return model.eval()


def tasks(model: MetaKG, n: int = 5, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> EvidenceTasks:
    """Random tasks: 6 candidates of which one or two are answers, 3 own items of which some are missing; the last has none."""
    g = torch.Generator().manual_seed(seed)
    f = model.evidence.n_features
    hits = torch.zeros(n, 6, dtype=torch.bool)
    hits[:, 1] = True
    hits[::2, 4] = True
    mask = torch.rand(n, 3, generator=g) < 0.7
    mask[:, 0] = True
    mask[-1] = False
    draw = (torch.rand(n, 6, f, generator=g, dtype=dtype), torch.rand(n, 3, f, generator=g, dtype=dtype))
    return EvidenceTasks(draw[0], hits, draw[1], mask)


def everybody(view: TrainView) -> Tensor:
    return torch.arange(view.n_users)


def parameters(model: MetaKG) -> tuple[Tensor, ...]:
    return model.omega, model.w1, model.b1, model.w2


# -- definitions, one task at a time -----------------------------------------------------------------------------------------


def slow_score(features: Tensor, omega: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
    return torch.stack([sum(w2 * (w1 @ (x * omega.exp()) + b1).clamp(min=0)) for x in features])


def slow_support(batch: EvidenceTasks, m: int, *weights: Tensor) -> Tensor:
    """Mean over the own items that are there of -log (e^own / (e^own + sum e^candidates))."""
    others = slow_score(batch.features[m], *weights).exp().sum()
    own = [s.exp() for s, there in zip(slow_score(batch.own[m], *weights), batch.own_mask[m], strict=True) if there]
    return -sum((torch.log(s / (s + others)) for s in own), 0 * others) / max(1, len(own))


def slow_query(batch: EvidenceTasks, m: int, *weights: Tensor) -> Tensor:
    p = torch.softmax(slow_score(batch.features[m], *weights), 0)
    return -torch.log(p[batch.hits[m]]).mean()


def test_scores_and_losses_are_what_they_are_defined_to_be() -> None:
    model = model_of()
    batch = tasks(model)
    with torch.no_grad():
        gamma = model.gamma(len(batch))
        scores, support, query = model.score(batch.features, gamma), *_both(model, batch)
        for m in range(len(batch)):
            assert scores[m] == pytest.approx(slow_score(batch.features[m], *parameters(model)), abs=1e-5)
            assert float(support[m]) == pytest.approx(float(slow_support(batch, m, *parameters(model))), abs=1e-5)
            assert float(query[m]) == pytest.approx(float(slow_query(batch, m, *parameters(model))), abs=1e-5)
    assert support[-1] == 0, "a user without own items has nothing to learn from"


def _both(model: MetaKG, batch: EvidenceTasks) -> tuple[Tensor, Tensor]:
    gamma = model.gamma(len(batch))
    return model.support_losses(batch, gamma), model.task_losses(batch, gamma)


def test_a_task_without_answers_among_its_candidates_costs_nothing() -> None:
    model = model_of()
    batch = tasks(model)
    batch.hits[2] = False
    losses = model.task_losses(batch, model.gamma(5))
    assert losses[2] == 0
    assert (losses[[0, 1, 3, 4]] > 0).all()


# -- the inner step ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_inner_step_is_one_step_down_the_support_loss(order: str) -> None:
    model = model_of(inner_lr=0.05, order=order)
    batch = tasks(model)
    adapted = model.adapt_gamma(batch)
    for m in range(len(batch)):
        weights = [w.detach().clone().requires_grad_() for w in parameters(model)]
        steps = torch.autograd.grad(slow_support(batch, m, *weights), weights[1:], allow_unused=True)
        for w, step, found in zip(weights[1:], steps, adapted, strict=True):
            expected = w if step is None else w - 0.05 * step
            assert torch.allclose(found[m], expected, atol=1e-6)
    before, after = model.support_losses(batch, model.gamma(5)), model.support_losses(batch, adapted)
    assert (after[:-1] < before[:-1]).all(), "the support loss falls for every task that has own items"
    assert after[-1] == before[-1] == 0


def test_more_inner_steps_go_on_from_the_last() -> None:
    batch = tasks(model_of())
    two = model_of(inner_lr=0.05, inner_steps=2)
    once = model_of(inner_lr=0.05)
    middle = once.adapt_gamma(batch)
    start = tuple(w.detach().requires_grad_() for w in middle)
    steps = torch.autograd.grad(once.support_losses(batch, start).sum(), start)
    for found, w, step in zip(two.adapt_gamma(batch), middle, steps, strict=True):
        assert torch.allclose(found, w - 0.05 * step, atol=1e-6)
    support = [once.support_losses(batch, g)[0] for g in (once.gamma(5), middle, two.adapt_gamma(batch))]
    assert support[0] > support[1] > support[2]


@pytest.mark.parametrize("settings", [{"inner_lr": 0.0}, {"inner_steps": 0}])
def test_without_the_inner_step_it_is_the_plain_score(settings: dict[str, Any]) -> None:
    model = model_of(**settings)
    batch = tasks(model)
    for found, w in zip(model.adapt_gamma(batch), model.gamma(5), strict=True):
        assert torch.equal(found, w)
    plain_loss = model.task_losses(batch, model.gamma(5)).mean().detach()
    assert float(model(batch)["query"].detach()) == pytest.approx(float(plain_loss))
    found = model.gather(np.arange(8, dtype=np.int32), model.profiles(np.arange(8, dtype=np.int32)))
    plain = model.score(as_tasks(found).features, model.gamma(8))
    scores = model.score_all(torch.arange(8))
    for user in range(7):
        candidate = found.prior[user, found.items[user]] > 0
        assert torch.allclose(scores[user, found.items[user][candidate]], plain[user][torch.from_numpy(candidate)], atol=1e-5)


def test_permuted_tasks_have_permuted_weights_and_do_not_see_each_other() -> None:
    model = model_of(inner_lr=0.5)
    batch, order = tasks(model), torch.tensor([3, 0, 4, 2, 1])
    together, permuted = model.adapt_gamma(batch), model.adapt_gamma(batch.select(order))
    alone = model.adapt_gamma(batch.select(torch.tensor([2])))
    for one, other, single in zip(together, permuted, alone, strict=True):
        assert torch.allclose(one[order], other, atol=1e-6)
        assert torch.allclose(one[2], single[0], atol=1e-6)


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_inner_step_changes_no_parameter_and_leaves_no_gradient(order: str) -> None:
    model = model_of(order=order)
    before = [w.detach().clone() for w in parameters(model)]
    model.adapt_gamma(tasks(model))
    model.score_all(everybody(model.view))
    for w, kept in zip(parameters(model), before, strict=True):
        assert torch.equal(w, kept)
        assert w.grad is None


# -- the outer gradient --------------------------------------------------------------------------------------------------------


def outer(model: MetaKG, batch: EvidenceTasks) -> list[Tensor]:
    for w in parameters(model):
        w.grad = None
    model(batch)["query"].backward()
    found = [w.grad for w in parameters(model)]
    assert all(g is not None for g in found)
    return [g.clone() for g in found if g is not None]


def test_the_first_order_gradient_equals_two_passes_by_hand() -> None:
    model = model_of(inner_lr=0.3)
    batch = tasks(model)
    expected = [torch.zeros_like(w) for w in parameters(model)]
    for m in range(len(batch)):
        omega, *gamma = (w.detach().clone().requires_grad_() for w in parameters(model))
        steps = torch.autograd.grad(slow_support(batch, m, omega, *gamma), gamma, allow_unused=True)
        there = [w if s is None else w - 0.3 * s for w, s in zip(gamma, steps, strict=True)]
        weights = [omega, *(w.detach().requires_grad_() for w in there)]  # first order: the step is a constant
        for total, g in zip(expected, torch.autograd.grad(slow_query(batch, m, *weights), weights), strict=True):
            total += g / len(batch)
    for found, hand in zip(outer(model, batch), expected, strict=True):
        assert torch.allclose(found, hand, atol=1e-6)


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_the_second_order_gradient_equals_finite_differences(inner_steps: int) -> None:
    model = model_of(hidden=3, inner_lr=0.5, order="second", inner_steps=inner_steps).double()
    batch = tasks(model, 4, dtype=torch.float64)
    first = model_of(hidden=3, inner_lr=0.5, inner_steps=inner_steps).double()
    differ = False
    for w, found, plain in zip(parameters(model), outer(model, batch), outer(first, batch), strict=True):
        flat = w.detach().view(-1)
        for k in range(len(flat)):
            kept, values = float(flat[k]), []
            for step in (1e-6, -1e-6):
                flat[k] = kept + step
                values.append(float(model(batch)["query"].detach()))
            flat[k] = kept
            assert float(found.view(-1)[k]) == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-7)
        differ = differ or not torch.allclose(found, plain, atol=1e-4)
    assert differ, "the inner step's own derivative counts"


def test_dropout_draws_from_the_models_generator_alone() -> None:
    def losses(elsewhere: int) -> list[float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(elsewhere)
            model = model_of(message_dropout=0.5).train()
            return [float(model(tasks(model))["query"].detach()) for _ in range(3)]

    assert losses(1) == losses(2)
    assert len(set(losses(1))) == 3, "it does drop"


def test_an_adapted_model_does_not_drop_what_the_model_in_use_does_not() -> None:
    model = model_of(message_dropout=0.5)
    adapted = model.adapt(Support.clicks("hal", ["i00"]))
    assert not adapted.training
    assert torch.equal(adapted.score_all(everybody(model.view)), adapted.score_all(everybody(model.view)))


# -- ranking -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [3, 50])
def test_candidates_lie_above_the_rest_and_seen_items_last(candidates: int) -> None:
    model = model_of(candidates=candidates)
    users = np.arange(7, dtype=np.int32)  # hal, the eighth, has no click
    found, scores = model.gather(users, model.profiles(users)), model.score_all(torch.arange(7)).numpy()
    for user in users:
        prior = found.prior[user]
        ordered = found.items[user][prior[found.items[user]] > 0]
        seen = np.flatnonzero(prior < 0)
        rest = np.setdiff1d(np.arange(12), np.concatenate([ordered, seen]))
        assert set(seen) == set(model.view.history[[user]].indices)
        assert scores[user, ordered].min() > scores[user, rest].max(initial=scores[user, seen].max())
        assert scores[user, rest].min(initial=scores[user, ordered].min()) > scores[user, seen].max()
        by_prior = rest[np.argsort(-prior[rest], kind="stable")]
        assert (np.diff(scores[user, by_prior]) <= 0).all(), "what f does not order follows by the plain sum"
        if candidates == 3:
            assert (prior[rest] > 0).any()


def test_scores_are_the_same_in_inference_mode() -> None:
    model = model_of(inner_lr=0.5)
    outside = model.score_all(everybody(model.view))
    with torch.inference_mode():
        users = everybody(model.view)
        inside = model.score_all(users)
    with torch.no_grad():
        without = model.score_all(everybody(model.view))
    assert torch.equal(inside, outside)
    assert torch.equal(without, outside)
    assert not outside.requires_grad


def test_more_users_than_a_block_are_scored_alike() -> None:
    model = model_of()
    many = torch.arange(8).repeat(20)
    assert torch.allclose(model.score_all(many), model.score_all(torch.arange(8)).repeat(20, 1), atol=1e-6)


def test_a_user_without_clicks_is_led_by_his_facts_or_by_popularity() -> None:
    model = model_of()
    walk = Walk(WalkConfig(), model.view, torch.Generator())
    hal = torch.tensor([7])
    assert torch.equal(model.score_all(hal), walk.score_all(hal))
    assert model.reasons(7, 0) == []
    view = toy_view()
    nameless = model_of(TrainView(view.vocabulary, view.interactions, KnowledgeGraph(view.graph.entity, Triples.empty())))
    popularity = view.popularity / view.popularity.max()
    assert nameless.score_all(hal)[0].numpy() == pytest.approx(popularity)
    both = model.score_all(torch.tensor([0, 7]))
    assert torch.equal(both[1], model.score_all(hal)[0])


def test_a_user_whose_clicks_say_nothing_gets_finite_scores() -> None:
    # "b" has no fact, and nobody else clicked it
    vocabulary = Vocabulary(IdMap(["u", "v"]), IdMap(["a", "b", "c"]), IdMap(["a", "b", "c", "x"]), IdMap(["r"]))
    graph = KnowledgeGraph(Triples(*np.array([[0, 2], [0, 0], [3, 3]], np.int32)), Triples.empty())
    view = TrainView(vocabulary, Interactions(np.array([0, 1], np.int32), np.array([1, 0], np.int32)), graph)
    model = model_of(view)
    lonely, other = model.score_all(torch.tensor([0, 1]))
    assert torch.isfinite(lonely).all()
    assert lonely[1] < lonely[0] == lonely[2]
    assert other[2] > other[1] > other[0]
    assert model.reasons(0, 2) == []


# -- reasons -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [3, 50])
def test_reasons_have_shares_that_add_up_to_one_at_most(candidates: int) -> None:
    model = model_of(candidates=candidates)
    found = 0
    for user in range(7):
        prior = model.gather(np.array([user], np.int32), model.profiles(np.array([user], np.int32))).prior[0]
        for item in range(12):
            reasons = model.reasons(user, item, limit=100)
            shares = [reason.share for reason in reasons]
            assert all(0 < share <= 1 + 1e-6 for share in shares)
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) <= 1 + 1e-5
            assert model.reasons(user, item, limit=2) == reasons[:2]
            assert len({(r.start, r.steps) for r in reasons}) == len(reasons), "a path of two channels stands once"
            for reason in reasons:
                assert model.view.history[[user], [reason.start]].item() > 0
                assert reason.start != item
                assert reason.steps[-1].entity == item
            if prior[item] > 0:
                assert sum(shares) == pytest.approx(1.0, abs=1e-5), "nothing is left out"
                found += 1
            if prior[item] == 0:
                assert reasons == []
    assert found > 30


@pytest.mark.parametrize("candidates", [1, 3])
def test_reasons_of_what_f_does_not_order_are_the_plain_sum_taken_apart(candidates: int) -> None:
    """Each channel is measured by its best unseen item there, as in the score: a loud one is not the whole reason."""
    model, checked = model_of(candidates=candidates), 0
    factors, weights = model.evidence.factors, model.evidence.weights
    for user in range(7):
        profile = model.profiles(np.array([user], np.int32))
        found = model.gather(np.array([user], np.int32), profile)
        person = model.person(user)
        for item in np.flatnonzero(found.prior[0] > 0).tolist():
            parts = model.evidence.parts_of(profile, item, person.seen)
            assert parts.sum() == pytest.approx(found.prior[0, item], rel=1e-5)
            terms = factors.terms(profile, item)
            raw = np.bincount(terms.channels, terms.amounts, minlength=len(weights)) * weights
            if item in found.items[0] or not (parts / parts.sum() - raw / raw.sum()).any():
                continue
            shares = {r.steps: r.share for r in model.reasons_for(person, item, limit=100)}
            expected = {r.steps: r.share for r in reasons_of(model.view, terms, item, 100, parts, in_all=True)}
            assert shares == pytest.approx(expected)
            checked += 1
    assert checked > 5


# -- what is kept --------------------------------------------------------------------------------------------------------------


def test_kept_tensors_of_another_shape_are_refused() -> None:
    model = model_of()
    tensors = model.tensors()
    for name, wrong in (
        ("omega", tensors["omega"][:-1]),
        ("w1", tensors["w1"].T.contiguous()),
        ("trained_clicks", torch.ones(13, dtype=torch.int64)),
        ("trained_clicks", torch.ones(2, 2, dtype=torch.int64)),
        ("kinds", torch.tensor([[99, 0]], dtype=torch.int32)),
        ("kinds", torch.tensor([[-1, 0]], dtype=torch.int32)),
        ("kinds", tensors["kinds"][:-1]),
        ("recent", torch.tensor([[99, 0]], dtype=torch.int32)),
        ("more", torch.zeros(1)),
    ):
        again = model_of(seed=2)
        scores = again.score_all(everybody(again.view))
        with pytest.raises(CheckpointError, match="tensors of metakg"):
            again.load_tensors({**tensors, name: wrong})
        assert torch.equal(again.score_all(everybody(again.view)), scores), f"half of it was taken over: {name}"
    for name in tensors:
        with pytest.raises(CheckpointError, match="tensors of metakg"):
            model_of(seed=2).load_tensors({key: value for key, value in tensors.items() if key != name})


def test_adapting_keeps_what_training_knew() -> None:
    model = model_of()
    adapted = model.adapt(arriving()).adapt(Support.clicks("lou", ["i90", "i00"]))
    assert (adapted.trained_clicks == model.view.popularity).all()
    assert adapted.evidence.kinds == model.evidence.kinds
    assert adapted.evidence.n_features == model.evidence.n_features
    for one, other in zip(parameters(adapted), parameters(model), strict=True):
        assert torch.equal(one, other)
    found = adapted.gather(np.array([0], np.int32), adapted.profiles(np.array([0], np.int32)))
    new = set(found.items[0][found.features[0, :, -3] == 1].tolist())
    fresh = {adapted.view.vocabulary.items.row(name) for name in ("i90", "i91", "i92", "i10")}
    assert new <= fresh


@pytest.fixture(scope="module")
def fitted() -> metakg.Engine:
    settings = {"hidden": 16, "candidates": 40, "own_items": 10}
    return fit("metakg", planted_split().train, seed=3, training=QUICK.model_dump(), **settings)


def test_a_bundle_gives_the_same_answers_adapts_and_explains(fitted: metakg.Engine, tmp_path: Path) -> None:
    split = planted_split()
    v = split.train.vocabulary
    liked = v.items.ids(np.array([3, 14, 15], np.int32))
    known = v.users.id(0)
    adapted = fitted.adapt("somebody new", liked)
    for number, engine in enumerate((fitted, adapted)):
        engine.save(tmp_path / f"bundle-{number}")
        again = metakg.load(tmp_path / f"bundle-{number}")
        assert again.settings == engine.settings
        assert again.model == "metakg"
        users = everybody(engine.recommender.view)
        assert torch.equal(again.recommender.score_all(users), engine.recommender.score_all(users))
        later, direct = (one.adapt(known, liked[:1]).recommend(known, 5) for one in (again, engine))
        assert later == direct
    again = metakg.load(tmp_path / "bundle-1")
    assert again.way("somebody new") == "adapted"
    best = again.recommend("somebody new", 3)
    assert not {entry.item for entry in best} & set(liked)
    for entry in best:
        told = again.explain("somebody new", entry.item)
        assert told == adapted.explain("somebody new", entry.item)
        assert told.paths
        assert {path.start for path in told.paths} <= set(liked)
        assert sum(path.share for path in told.paths) <= 1 + 1e-5
    assert "somebody new" not in fitted.recommender.view.vocabulary.users


def test_the_resolved_settings_are_kept(fitted: metakg.Engine) -> None:
    assert fitted.settings["model"]["hidden"] == 16
    assert fitted.settings["model"]["inner_lr"] == MetaKGConfig().inner_lr
    assert fitted.settings["training"] == QUICK.model_dump(mode="json")
    assert fitted.settings["seed"] == 3
    assert not fitted.recommender.training


class TestContract(ModelContract):
    """All rules apply: the model learns through `practise`, the way `fit` teaches it."""

    config = MetaKGConfig(hidden=16, candidates=40, own_items=10)

    def batches(self, model: Recommender, view: TrainView, seed: int) -> Iterable[Any]:
        """Users are asked for some of their own clicks, which are taken out of what they are judged by."""
        assert isinstance(model, MetaKG)
        asked = np.zeros(len(view.interactions), np.bool_)
        asked[np.random.default_rng(seed).permutation(len(asked))[: len(asked) // 4]] = True
        query = view.interactions.select(asked)
        shown = replace(view, interactions=view.interactions.select(~asked), tasks=None)
        users = np.unique(query.users)
        seen_by = MetaKG(model.config, shown, torch_generator(seed, "init/metakg"))
        config = model.config
        seen_by.evidence = Evidence(shown, shown.popularity, model.evidence.kinds, config.max_items, config.vector_dim)
        found = seen_by.gather(users, seen_by.profiles(users))
        truth = query.csr(view.n_users, view.n_items)[users].toarray() > 0
        return [as_tasks(found, np.take_along_axis(truth, found.items.astype(np.int64), axis=1))]

    def train(self, model: Recommender, view: TrainView, seed: int) -> Recommender:
        assert isinstance(model, MetaKG)
        practise(model, QUICK, seed)
        return model.eval()


class TestContractWithVectors(TestContract):
    """The same with an inner product among the evidence."""

    config = MetaKGConfig(hidden=16, candidates=40, own_items=10, vector_dim=8)


def test_a_silent_channel_is_silent_in_the_plain_sum_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    person = model.person(0)
    found = model.gather_person(person)
    item = int(found.items[0][0])
    asked: list[torch.Tensor] = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda features, gamma: asked.append(features.detach()) or score(features, gamma))
    model._silenced(person, item)
    rows, c = asked[-1][0], len(model.evidence.channels)
    units = rows[-1, :c].square()
    assert (units > 0).sum() > 2
    for silent in range(c):
        assert rows[silent, silent] == rows[silent, silent + c] == 0
        others = sum(float(model.evidence.weights[o] * units[o]) for o in range(c) if o != silent)
        assert float(rows[silent, -1]) == pytest.approx(others, abs=1e-5)
    assert float(rows[-1, -1]) == pytest.approx(float(found.prior[0, item]), abs=1e-5)
