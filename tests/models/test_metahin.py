"""MetaHIN: contexts by hand, the step without a copy of W, second order against finite differences, and what is not read."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import leaky_relu, softplus

from metakg.data import KnowledgeGraph, Support, TrainView
from metakg.errors import DataError
from metakg.models import metahin
from metakg.models.metahin import MetaHin, MetaHinConfig
from metakg.models.metapaths import USERS, Link, MetaPath
from metakg.models.personal import Chosen
from metakg.sample.episodes import Episodes, TaskBatch
from metakg.testing import LearntContract, toy_view
from metakg.train.baseline import TaskConfig
from metakg.train.loop import LoopConfig

BY_AUTHOR = MetaPath((Link(0, False),))


class TestMetaHin(LearntContract):
    config = MetaHinConfig(dim=16, hidden=32, features="kg+id", inner_steps=6, inner_lr=1.0, order="second")
    needs_facts = True
    training = TaskConfig(loop=LoopConfig(learning_rate=0.01, epochs=8))
    by_heart = MetaHinConfig(dim=16, hidden=32, features="kg+id", inner_steps=3, inner_lr=1.0, order="second")
    overfit = TaskConfig(batch_size=10, loop=LoopConfig(learning_rate=0.003, epochs=500, log_every=1000))
    known_by_heart = 0.75  # what ten users can share of one adapted network depends on its start: 0.78 to 0.95 over seeds


def build(view: TrainView, **settings: object) -> MetaHin:
    config = MetaHinConfig.model_validate({"dim": 3, "hidden": 4, **settings})
    chosen = Chosen((Link(1, False), Link(0, False)), (USERS, BY_AUTHOR), 7)
    return MetaHin(config, view, torch.Generator().manual_seed(3), chosen=chosen)


def clicks_of(*items: int) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(items), np.float32), (np.zeros(len(items), int), items)), shape=(1, 12))


def batch() -> TaskBatch:
    """Two tasks of ann and ben, of two and one support pairs."""
    support = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 0, 1], [0, 1, 3], [4, 9, 7])))
    query = Episodes(*(torch.tensor(t) for t in ([0, 1], [0, 1, 1], [2, 4, 5], [8, 0, 10])))
    return TaskBatch(support, query)


def test_contexts_by_hand() -> None:
    """From item 9: gus (9, 0, 11) and cleo (0, 2, 7, 9) clicked it; Pearl wrote it, and 7 and 8."""
    model = build(toy_view())
    contexts = model.context(clicks_of(9)).toarray()
    assert [np.flatnonzero(row).tolist() for row in contexts] == [[9], [0, 2, 7, 9, 11], [7, 8, 9]]
    np.testing.assert_allclose(contexts.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(contexts[2, [7, 8, 9]], 1 / 3, rtol=1e-6)


def test_a_context_keeps_clicks_first_then_what_most_clicks_lead_to() -> None:
    model = build(toy_view(), context_size=3)
    # 0 and 1 lead to 2 and to each other, by author; 7 leads to 8 and 9. Three places: the clicks.
    by_author = model.context(clicks_of(0, 1, 7)).toarray()[2]
    assert np.flatnonzero(by_author).tolist() == [0, 1, 7]
    model = build(toy_view(), context_size=4)
    assert np.flatnonzero(model.context(clicks_of(0, 1, 7)).toarray()[2]).tolist() == [0, 1, 2, 7]


def test_an_empty_context_is_that_of_everybody() -> None:
    model = build(toy_view())
    content = model.items(torch.arange(12)).detach()
    hal = np.array([7])
    means = model._means(content, model.learners(hal, model.support_of(hal)))
    share = torch.from_numpy(model.view.popularity / model.view.popularity.sum()).float()
    torch.testing.assert_close(means, (share @ content).expand(3, -1))


def test_a_step_on_the_context_equals_a_step_on_copies_of_w() -> None:
    """phi - a grad_phi L gives the same x_p as moving z_p by -a (|m|^2 + 1) dL/dz."""
    rng = torch.Generator().manual_seed(0)
    w, b, m, v = (torch.randn(shape, generator=rng) for shape in ((3, 5), (3,), (5,), (3,)))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return softplus(-(v * x).sum()) + x.square().sum()

    moved = w.clone(), b.clone()
    z = w @ m + b
    for _ in range(3):
        trial = [t.requires_grad_() for t in moved]
        slopes = torch.autograd.grad(loss(leaky_relu(trial[0] @ m + trial[1])), trial)
        moved = tuple((t - 0.3 * s).detach() for t, s in zip(trial, slopes, strict=True))
        point = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaky_relu(point)), point)
        z = z - 0.3 * (m.square().sum() + 1) * slope
    torch.testing.assert_close(z, moved[0] @ m + moved[1])


def by_hand(model: MetaHin, tasks: TaskBatch) -> float:
    """The query loss of some tasks by eqs. 4 and 8-11: user by user, path by path, with a copy of W for each."""
    theta, rate = [t.detach() for t in model.theta()], model.config.inner_lr
    content = model.items(torch.arange(12)).detach()
    contexts = model.context(clicks_of_tasks(tasks.support))
    n_paths, losses = 1 + len(model.chosen.paths), []

    def score(item: int, x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
        first, b1, second, b2, out = weights
        return out @ torch.relu(second @ torch.relu(first @ torch.cat([content[item], x]) + b1) + b2)

    def loss(episodes: Episodes, task: int, x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
        pairs = [
            (int(i), int(j))
            for at, i, j in zip(episodes.tasks, episodes.positives, episodes.negatives, strict=True)
            if int(at) == task
        ]
        return torch.stack([softplus(score(j, x, weights) - score(i, x, weights)) for i, j in pairs]).mean()

    for task in range(tasks.support.n_tasks):
        on_paths = []
        for path in range(n_paths):
            row = contexts[[task * n_paths + path]]
            mean = content[torch.from_numpy(row.indices.astype(np.int64))].mean(0)
            phi = [model.embed.detach().clone(), model.embed_bias.detach().clone()]
            for _ in range(model.config.inner_steps):
                trial = [t.requires_grad_() for t in phi]
                x = leaky_relu(trial[0] @ mean + trial[1])
                slopes = torch.autograd.grad(loss(tasks.support, task, x, theta), trial)
                phi = [(t - rate * slope).detach() for t, slope in zip(trial, slopes, strict=True)]
            x = leaky_relu(phi[0] @ mean + phi[1])
            gate, begin, weights = torch.sigmoid(model.kappa.detach() @ x + model.kappa_bias.detach()), 0, []
            for t in theta:
                weights.append(t * gate[begin : begin + t.numel()].view(t.shape))
                begin += t.numel()
            for _ in range(model.config.inner_steps):
                trial = [t.requires_grad_() for t in weights]
                slopes = torch.autograd.grad(loss(tasks.support, task, x, trial), trial)
                weights = [(t - rate * slope).detach() for t, slope in zip(trial, slopes, strict=True)]
            on_paths.append((x, weights, torch.exp(-loss(tasks.support, task, x, weights))))
        total = sum(share for _, _, share in on_paths)
        user = sum(share / total * x for x, _, share in on_paths)
        fused = [sum(share / total * weights[n] for _, weights, share in on_paths) for n in range(len(theta))]
        losses.append(float(loss(tasks.query, task, user, fused)))
    return sum(losses) / len(losses)


def clicks_of_tasks(support: Episodes) -> sparse.csr_array:
    rows, cols = support.tasks.numpy(), support.positives.numpy()
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, cols)), shape=(support.n_tasks, 12))


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("order", ["first", "second"])
def test_both_adaptations_gates_and_fusion_are_those_of_the_paper(order: str, steps: int) -> None:
    model, tasks = build(toy_view(tasks=True), order=order, inner_steps=steps, inner_lr=0.6), batch()
    assert model(tasks)["query"].item() == pytest.approx(by_hand(model, tasks), rel=1e-5)


def test_the_query_changes_neither_the_network_nor_its_fusion() -> None:
    """Other query labels, the same support: the decision of every task stays, so nothing of the query is in it."""
    model, seen = build(toy_view(tasks=True)), []
    adapted = model.adapted
    model.adapted = lambda content, learners: seen.append(adapted(content, learners)) or seen[-1]
    one = batch()
    other = Episodes(one.query.users, one.query.tasks, torch.tensor([3, 9, 10]), torch.tensor([5, 1, 2]))
    model(one)
    model(TaskBatch(one.support, other))
    for before, after in zip(*seen, strict=True):
        torch.testing.assert_close(before, after)
    assert "query" not in inspect.getsource(metahin.MetaHin.adapted)


def test_paths_over_users_come_from_support_edges_and_later_from_all() -> None:
    """While training, ann's last click (item 7) joins nothing; once the tasks are history, it does."""
    view = toy_view(tasks=True)
    model = build(view)
    assert model.leads[0][[0]].toarray()[0, 7] == 0.0 or 7 in model.history[[2]].indices
    later = model.extend(Support.clicks("zoe", ["i00"]))
    assert later.leads[0].nnz > model.leads[0].nnz
    assert later.chosen == model.chosen


def test_no_meta_path_or_no_relation_is_refused_with_what_to_do() -> None:
    bare = TrainView(toy_view().vocabulary, toy_view().interactions, KnowledgeGraph.empty())
    rng = torch.Generator().manual_seed(1)
    with pytest.raises(DataError, match="item features of metahin"):
        MetaHin(MetaHinConfig(dim=3), bare, rng)
    with pytest.raises(DataError, match=r"meta-paths of metahin: found no relation.*paths.one_hop = 0"):
        MetaHin(MetaHinConfig(dim=3, features="id"), bare, rng)
    alone = MetaHinConfig.model_validate({"dim": 3, "features": "id", "paths": {"one_hop": 0, "two_hop": 0}})
    model = MetaHin(alone, bare, rng)
    assert model.chosen.paths == (USERS,)
    assert torch.isfinite(model.eval().score_all(torch.arange(8))).all()
