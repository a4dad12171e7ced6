"""The whole way from a view to a recommender: ablations, resume across phases, start vectors, memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metakg.data import Support
from metakg.errors import CheckpointError, TrainingError
from metakg.heap import available_bytes
from metakg.models.base import Recommender
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.train.adapt import AdaptConfig
from metakg.train.initialise import BprConfig, InitConfig, initialise_by_bpr, initialise_by_graph
from metakg.train.loop import LoopConfig, Progress
from metakg.train.memory import check_memory, estimate_bytes
from metakg.train.meta import MetaConfig
from metakg.train.recipe import Ablation, Recipe, train_metakg, view_fingerprint
from metakg.train.scheduler import SchedulerConfig

SMALL = MetaKGConfig(dim=8, dims=(8, 8), fan_out=3, attention_every=3)


def recipe(**settings: object) -> Recipe:
    return Recipe(
        **{
            "init": InitConfig(epochs=2, batch_size=256, learning_rate=0.01),
            "bpr": BprConfig(epochs=2, batch_size=64, learning_rate=0.01),
            "meta": MetaConfig(tasks=4, facts=64, scheduler=SchedulerConfig(pool=8)),
            "loop": LoopConfig(learning_rate=0.01, epochs=2, checkpoint_minutes=1e-9, log_every=1),
            "adapt": AdaptConfig(epochs=1, batch_size=8, facts=16, learning_rate=0.01),
            **settings,
        }
    )


@pytest.mark.parametrize("ablation", ["none", "no-scheduler", "no-collaborative", "no-knowledge", "base"])
def test_every_ablation_leaves_out_what_it_says(world, ablation: Ablation) -> None:
    losses: list[set[str]] = []

    def progress(phase: str, p: Progress) -> None:
        if phase == "training":
            losses.append(set(p.losses))

    trained, outcome = train_metakg(SMALL, recipe(ablation=ablation), world.view, seed=1, on_progress=progress)
    assert torch.isfinite(trained.score_all(torch.arange(30))).all()
    assert ("kg" in losses[0]) == (ablation not in ("no-knowledge", "base"))
    assert ("rank" in losses[0]) == (ablation == "base")
    assert trained.model.config.inner_steps == (0 if ablation in ("no-collaborative", "base") else 1)
    assert outcome.steps == {"no-scheduler": 12, "base": 2 * 38}.get(ablation, 6)


@pytest.mark.parametrize("start", ["transr", "bpr", "graph", "xavier"])
@pytest.mark.parametrize("stop", [("start vectors", 2), ("training", 3)])
def test_a_run_resumes_in_every_phase(world, tmp_path: Path, start: str, stop: tuple[str, int]) -> None:
    def validate(recommender: Recommender) -> float:
        adapted = recommender.adapt(Support.clicks("users-1", ["items-50"]))
        return float(adapted.score_all(torch.arange(3)).std())

    def kill(phase: str, p: Progress) -> None:
        if (phase, p.step) == stop:
            raise KeyboardInterrupt

    settings = recipe(start=start)
    whole, expected = train_metakg(SMALL, settings, world.view, seed=1, validate=validate)
    if stop[0] == "training" or start in ("transr", "bpr"):
        with pytest.raises(KeyboardInterrupt):
            train_metakg(SMALL, settings, world.view, seed=1, validate=validate, folder=tmp_path, on_progress=kill)
    again, outcome = train_metakg(SMALL, settings, world.view, seed=1, validate=validate, folder=tmp_path, resume=True)
    assert (outcome.best_score, outcome.best_step) == (expected.best_score, expected.best_step)
    everyone = torch.arange(30)
    assert torch.equal(again.score_all(everyone), whole.score_all(everyone))
    with pytest.raises(CheckpointError, match="seed: found 1; expected 2"):
        train_metakg(SMALL, settings, world.view, seed=2, validate=validate, folder=tmp_path, resume=True)


def test_how_it_adapts_is_no_part_of_the_training_unless_it_is_judged_by_that(world, tmp_path: Path) -> None:
    other = recipe(adapt=AdaptConfig(epochs=3), online=None)
    first, _ = train_metakg(SMALL, recipe(), world.view, seed=1, folder=tmp_path)
    again, _ = train_metakg(SMALL, other, world.view, seed=1, folder=tmp_path, resume=True)
    assert torch.equal(again.score_all(torch.arange(30)), first.score_all(torch.arange(30)))
    assert (again.settings.epochs, again.online) == (3, None)
    with pytest.raises(CheckpointError, match="recipe"):
        train_metakg(SMALL, other, world.view, seed=1, folder=tmp_path, resume=True, validate=lambda _: 0.0)


def test_where_training_takes_adaptations_batches_it_is_part_of_the_training(world, tmp_path: Path) -> None:
    base = recipe(ablation="base")
    train_metakg(SMALL, base, world.view, seed=1, folder=tmp_path)
    other = recipe(ablation="base", adapt=base.adapt.model_copy(update={"batch_size": 4}))
    with pytest.raises(CheckpointError, match="recipe"):
        train_metakg(SMALL, other, world.view, seed=1, folder=tmp_path, resume=True)


@pytest.mark.parametrize(("ablation", "steps"), [("none", 1), ("no-scheduler", 1), ("no-collaborative", 0), ("base", 0)])
def test_without_the_inner_step_a_user_takes_none_online_either(world, ablation: Ablation, steps: int) -> None:
    trained, _ = train_metakg(SMALL, recipe(ablation=ablation), world.view, seed=1)
    assert trained.online is not None
    assert trained.online.steps == steps


def test_tasks_that_are_learnt_from_at_once_count_in_the_estimate(world, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def estimate(config: MetaKGConfig, nodes: int, edges: int, relations: int, at_once: int) -> dict[str, int]:
        asked.append(at_once)
        return {"graph": 1}

    monkeypatch.setattr("metakg.train.recipe.estimate_bytes", estimate)
    for meta in (MetaConfig(tasks=6, facts=8, scheduler=None), MetaConfig(tasks=6, facts=8, scheduler=SchedulerConfig(pool=9))):
        train_metakg(SMALL, recipe(meta=meta), world.view, seed=1)
    assert asked == [6, 24]


def test_the_start_from_the_graph_holds_its_leading_eigenvectors(world) -> None:
    model = MetaKG(MetaKGConfig(dim=4, dims=(4,)), world.view, torch.Generator().manual_seed(1))
    length = float(model.node.detach().norm(dim=1).mean())
    initialise_by_graph(model, seed=1, rounds=200)
    n = model.graph.n_nodes
    a = np.zeros((n, n))
    for edges in model.graph.sets:
        np.add.at(a, (edges.heads.numpy(), edges.tails.numpy()), 1)
    assert (a == a.T).all()
    root = np.sqrt(np.maximum(a.sum(1), 1))
    a /= np.outer(root, root)
    found = model.node.detach().double().numpy()
    sizes = (found**2).sum(0)
    values = np.diag(found.T @ a @ found) / sizes
    np.testing.assert_allclose(a @ found, found * values, atol=0.02 * np.sqrt(sizes.max()))
    np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(np.linalg.eigvalsh(a)))[-4:], atol=0.01)
    np.testing.assert_allclose(sizes / sizes.max(), np.abs(values) / np.abs(values).max(), atol=0.01)
    assert float(model.node.detach().norm(dim=1).mean()) == pytest.approx(length, rel=1e-4)


def test_other_data_has_another_fingerprint(world) -> None:
    view = world.view
    mixed = replace(view, interactions=view.interactions.select(np.arange(len(view.interactions))[::-1]))
    fewer = replace(view, tasks=None)
    assert len({view_fingerprint(v) for v in (view, mixed, fewer)}) == 3
    assert view_fingerprint(view) == view_fingerprint(replace(view))


@pytest.mark.parametrize("content", [False, True])
def test_bpr_start_ranks_clicks_high_and_the_rest_follows_or_stays(world, content: bool) -> None:
    model = MetaKG(SMALL, world.view, torch.Generator().manual_seed(1))
    before = model.node.detach().clone()
    initialise_by_bpr(model, BprConfig(epochs=30, batch_size=64, learning_rate=0.02), seed=1, content=content)
    after = model.node.detach()
    facts, entity = world.view.graph.entity, 60  # the first that is no item
    ends = [*zip(facts.heads, facts.tails, strict=True), *zip(facts.tails, facts.heads, strict=True)]
    clicked = set(model.edges.items.tolist())
    around = [int(h) for h, t in ends if t == entity and int(h) in clicked]
    assert around, "items that somebody clicked"
    if content:
        torch.testing.assert_close(after[90], after[[30 + h for h in around]].mean(0))
    else:
        assert torch.equal(after[90:], before[90:])
    scores = after[:30] @ after[30:90].T
    edges = model.edges
    assert float(scores[edges.users, edges.items].mean()) > float(scores.mean()) + 0.5


def test_memory_is_estimated_and_refused_with_the_setting_to_change() -> None:
    last_fm = {"n_nodes": 129_955, "n_edges": 1_528_964, "n_relations": 20}
    sampled = sum(estimate_bytes(MetaKGConfig(), **last_fm, at_once=24).values())
    exact = sum(estimate_bytes(MetaKGConfig(fan_out=None), **last_fm, at_once=8).values())
    assert 0.3e9 < sampled < 2e9
    assert 0.8e9 < exact < 4e9
    parts = estimate_bytes(MetaKGConfig(fan_out=None), **last_fm, at_once=800)
    with pytest.raises(
        TrainingError, match=r"about \d+\.\d GB needed, the most for rows of the tasks .* Lower training.meta.tasks"
    ):
        check_memory(parts, 2**30)
    check_memory(parts, None)
    check_memory(parts, 2**50)
    found = available_bytes()
    assert found is None or found > 2**20
