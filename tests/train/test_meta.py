"""Meta-training and adaptation as a whole, on a planted world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metakg.data import KnowledgeGraph, Support, TrainView, Triples
from metakg.data.view import Tasks
from metakg.errors import DataError, NonFiniteLoss
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.train.adapt import AdaptConfig, CoAdapting, co_adapt
from metakg.train.initialise import InitConfig, initialise
from metakg.train.loop import Loop, LoopConfig
from metakg.train.meta import MetaConfig, TaskBatches
from metakg.train.online import OnlineConfig
from metakg.train.scheduler import SchedulerConfig


def trained(world, *, epochs: int = 10, scheduler: SchedulerConfig | None = None, **settings: object) -> MetaKG:
    model = MetaKG(
        MetaKGConfig(**{"dim": 16, "dims": (16, 16), "attention_every": 10, **settings}),
        world.view,
        torch.Generator().manual_seed(1),
    )
    initialise(model, InitConfig(epochs=20, learning_rate=0.01, batch_size=256), seed=1)
    meta = MetaConfig(tasks=6, facts=256, scheduler=scheduler)
    source = TaskBatches(model, world.view, meta, seed=1)
    Loop(model, source, LoopConfig(learning_rate=0.01, epochs=epochs)).run()
    return model.eval()


def cold_auc(world, scores: np.ndarray, users: np.ndarray) -> float:
    """Chance that a cold item of the user's genre stands above a cold item of another one."""
    found = []
    for row, user in zip(scores, users, strict=True):
        mine = world.item_genre[world.cold] == world.user_genre[user]
        good, bad = row[world.cold][mine], row[world.cold][~mine]
        found.append((good[:, None] > bad[None]).mean())
    return float(np.mean(found))


@pytest.fixture(scope="module")
def model(world) -> MetaKG:
    return trained(world, scheduler=SchedulerConfig(pool=12))


def test_cold_items_are_found_through_the_graph(world, model: MetaKG) -> None:
    users = np.arange(30)
    adapted = model.adapt(Support.clicks("users-0", ["items-0"]))
    assert cold_auc(world, adapted.score_all(torch.from_numpy(users)).numpy(), users) > 0.95


def test_where_the_graph_misplaces_cold_items_they_are_not_found(world) -> None:
    """The control of the test above: the same world, but cold items have each other's facts."""
    facts, cold = world.view.graph.entity, world.cold
    place = np.arange(world.view.n_entities)
    place[cold] = np.roll(cold, 1)  # the next item is of another genre
    misled = Triples(place[facts.heads].astype(np.int32), facts.relations, facts.tails)
    other = replace(world, view=replace(world.view, graph=KnowledgeGraph(misled, Triples.empty())))
    users = np.arange(30)
    scores = trained(other, epochs=3).score_all(torch.from_numpy(users)).numpy()
    assert cold_auc(world, scores, users) < 0.5


def test_adaptation_may_leave_the_facts_out(world, model: MetaKG) -> None:
    support, seen = Support.clicks("users-1", ["items-0", "items-3"]), []
    for weight in (None, 0.0, 2.0):
        settings = AdaptConfig(epochs=1, facts=64, kg_weight=weight)
        adapted = co_adapt(model, support, settings, seed=1, on_progress=lambda p: seen.append(p.losses.get("kg")))
        assert adapted.config == model.config, "it is a setting of the adaptation alone"
    assert seen[1] is None
    assert seen[2] == pytest.approx(2 * seen[0], rel=1e-4)


def test_a_new_user_gets_cold_items_from_a_few_clicks(world, model: MetaKG) -> None:
    liked = [f"items-{i}" for i in np.flatnonzero(world.item_genre == 2)[:4]]
    settings = AdaptConfig(learning_rate=0.01, epochs=3, batch_size=2, facts=64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = co_adapt(model, Support.clicks("stranger", liked), settings, seed=1)
    row = adapted.view.vocabulary.users.row("stranger")
    scores = adapted.score_all(torch.tensor([row])).numpy()
    assert cold_auc(world, scores, np.array([2])) > 0.95
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the trained model moved"


def test_co_adaptation_repeats_and_lowers_its_loss(world, model: MetaKG) -> None:
    support = Support.clicks("users-1", [f"items-{i}" for i in (46, 49, 52, 55)])
    settings = AdaptConfig(learning_rate=0.02, epochs=8, batch_size=4, facts=64)
    losses: list[float] = []
    first = co_adapt(model, support, settings, seed=3, on_progress=lambda p: losses.append(p.losses["rank"]))
    second = co_adapt(model, support, settings, seed=3)
    assert torch.equal(first.vectors.final, second.vectors.final)
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_without_steps_co_adaptation_is_the_models_own_adaptation(world, model: MetaKG) -> None:
    support = Support.clicks("users-1", ["items-50"])
    by_edges = model.adapt(support).score_all(torch.arange(30))
    assert torch.equal(co_adapt(model, support, AdaptConfig(epochs=0), seed=1).score_all(torch.arange(30)), by_edges)
    wrapped = CoAdapting(model, AdaptConfig(), seed=1)
    nobody = Support.clicks("users-1", [])
    assert torch.equal(wrapped.adapt(nobody).score_all(torch.arange(30)), model.adapt(nobody).score_all(torch.arange(30)))


@pytest.mark.parametrize("each_user", [False, True])
def test_whoever_likes_everything_is_taken_in_without_a_step(model: MetaKG, each_user: bool) -> None:
    every = model.view.vocabulary.items.ids(np.arange(model.view.n_items, dtype=np.int32))
    support, settings = Support.clicks("stranger", every), AdaptConfig(each_user=each_user)
    adapted = CoAdapting(model, settings, 1, OnlineConfig()).adapt(support)
    row = torch.tensor([adapted.view.vocabulary.users.row("stranger")])
    assert torch.isfinite(adapted.score_all(row)).all()
    assert torch.equal(co_adapt(model, support, settings, seed=1).score_all(row), model.adapt(support).score_all(row))


def test_the_wrapper_scores_as_its_model(world, model: MetaKG) -> None:
    wrapped = CoAdapting(model, AdaptConfig(learning_rate=0.01, epochs=1, facts=64), seed=1)
    users, items = torch.tensor([3, 4]), torch.tensor([[0, 59], [7, 7]])
    assert torch.equal(wrapped.score_all(users), model.score_all(users))
    assert torch.equal(wrapped.score_pairs(users, items), model.score_pairs(users, items))
    adapted = wrapped.adapt(Support.clicks("users-1", ["items-50"]))
    assert isinstance(adapted, CoAdapting)
    assert adapted.view.history[1, 50] == 1


@pytest.mark.parametrize("settings", [{"order": "second"}, {"inner_steps": 0}, {"outer": "joint"}, {"kg_weight": 0.0}])
def test_ablations_and_variants_train(world, settings: dict) -> None:
    model = trained(world, epochs=2, scheduler=SchedulerConfig(pool=12, reward="held_out", held_out=2), **settings)
    assert torch.isfinite(model.score_all(torch.arange(30))).all()


def test_every_task_is_a_candidate_once_in_an_epoch(world) -> None:
    model = MetaKG(MetaKGConfig(dim=8, dims=(8,)), world.view, torch.Generator().manual_seed(1))
    for scheduler in (None, SchedulerConfig(pool=10), SchedulerConfig(pool=10, stale=True)):
        source = TaskBatches(model, world.view, MetaConfig(tasks=5, facts=8, scheduler=scheduler, at_once=4), seed=1)
        assert len(source) == (5 if scheduler is None else 3)
        seen: list[int] = []
        for step in range(len(source)):
            batch = source.next(model, step)
            seen += batch.query.users.tolist()
            assert batch.support.users.tolist() == batch.query.users.tolist()
        if scheduler is None:
            assert sorted(seen) == list(range(24))
        elif not scheduler.stale:
            assert source.scheduler is not None
            assert source.scheduler.count.tolist() == [1] * 24
            assert len(seen) == 5 + 5 + 4


def test_scoring_a_pool_in_parts_changes_nothing(world) -> None:
    model = MetaKG(
        MetaKGConfig(dim=8, dims=(8, 8), fan_out=None, message_dropout=0.0), world.view, torch.Generator().manual_seed(1)
    )
    found = []
    for at_once in (3, 24):
        config = MetaConfig(tasks=4, facts=8, scheduler=SchedulerConfig(pool=10), at_once=at_once)
        source = TaskBatches(model, world.view, config, seed=1)
        batch = source.next(model, 0)
        found.append((source.scheduler.memory.clone(), batch.adapted.w1[0], batch.query.users))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert torch.equal(found[0][2], found[1][2])


def test_an_empty_support_and_a_wild_rate_are_named(world, model: MetaKG) -> None:
    with pytest.raises(DataError, match="the support of the scenario: found no click"):
        co_adapt(model, Support.clicks("users-1", []), AdaptConfig(), seed=1)
    wild = AdaptConfig(learning_rate=1e30, epochs=4, facts=64)
    with pytest.raises(NonFiniteLoss, match=r"1 pairs such as \(users-1, items-50\)"):
        co_adapt(model, Support.clicks("users-1", ["items-50"]), wild, seed=1)


def test_nothing_left_beside_the_tasks_that_reward_the_scheduler_is_said(world) -> None:
    view = world.view
    model = MetaKG(MetaKGConfig(dim=8, dims=(8,)), view, torch.Generator().manual_seed(1))
    support, query = view.tasks.support, view.tasks.query
    first = int(support.users[0])
    one = Tasks(np.array([first], np.int32), support.select(support.users == first), query.select(query.users == first))
    few = TrainView(view.vocabulary, view.interactions, view.graph, one)
    config = MetaConfig(tasks=2, scheduler=SchedulerConfig(pool=4, reward="held_out"))
    with pytest.raises(DataError, match="meta-training tasks: found 1 in all, held out to reward the scheduler"):
        TaskBatches(model, few, config, seed=1)
