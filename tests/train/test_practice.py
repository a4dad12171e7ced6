"""Practice repeats to the bit, resumes to the bit, keeps its exam apart, and says when there is nothing to learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from metakg.data import Interactions, TrainView
from metakg.errors import CheckpointError, DataError, TrainingError
from metakg.models.evidence import Evidence
from metakg.models.metakg import EvidenceTasks, MetaKG, MetaKGConfig
from metakg.models.profile import weigh
from metakg.rng import generator, torch_generator
from metakg.sample.worlds import WorldRules, draw_world
from metakg.testing import planted_split, toy_view
from metakg.train import practice
from metakg.train.loop import LoopConfig, Progress
from metakg.train.practice import PracticeBatches, PracticeConfig, practise, score_tasks
from metakg.train.scheduler import SchedulerConfig

LOOP = LoopConfig(learning_rate=5e-3, epochs=3, patience=9, log_every=1)
STALE, FRESH = SchedulerConfig(pool=48, stale=True), SchedulerConfig(pool=48)


def config_of(**settings: Any) -> PracticeConfig:
    return PracticeConfig(**{"worlds": 1, "tasks_each": 40, "tasks": 32, "scheduler": STALE, "loop": LOOP, **settings})


def model_of(view: TrainView | None = None, **settings: Any) -> MetaKG:
    config = MetaKGConfig(**{"hidden": 8, "candidates": 30, "own_items": 6, **settings})
    return MetaKG(config, planted_split().train if view is None else view, torch_generator(1, "init/metakg"))


def weights(model: MetaKG) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("scheduler", "message_dropout"), [(None, 0.5), (STALE, 0.0), (FRESH, 0.5)], ids=["none", "stale", "fresh"]
)
def test_the_same_seed_gives_the_same_bits_and_a_killed_run_resumes_to_them(
    tmp_path: Path, scheduler: SchedulerConfig | None, message_dropout: float
) -> None:
    config = config_of(scheduler=scheduler, tasks_each=24, loop=LOOP.model_copy(update={"checkpoint_minutes": 1e-9}))
    whole = model_of(message_dropout=message_dropout)
    untaught, outcome = weights(whole), practise(whole, config, 5).outcome
    assert not same(untaught, weights(whole))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = model_of(message_dropout=message_dropout)
        assert practise(again, config, 5).outcome.best_score == outcome.best_score
    assert same(weights(whole), weights(again))

    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    killed = model_of(message_dropout=message_dropout)
    with pytest.raises(KeyboardInterrupt):
        practise(killed, config, 5, folder=tmp_path, on_progress=lambda p: kill(p))
    resumed = model_of(message_dropout=message_dropout)
    first: list[int] = []
    result = practise(resumed, config, 5, folder=tmp_path, resume=True, on_progress=lambda p: first.append(p.step))
    assert 1 < first[0] <= 6, "it did go on, not begin again"
    assert same(weights(whole), weights(resumed))
    assert (result.outcome.best_score, result.outcome.best_step) == (outcome.best_score, outcome.best_step)


def test_as_many_threads_as_one_draw_the_same_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.models.evidence._BLOCK", 8)
    model, config = model_of(), config_of()
    before, drawn = torch.get_num_threads(), []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        lessons, exam = practice._worlds(model, config, 1, lambda _: None, examined=True)
        drawn.append([*lessons, exam])
    torch.set_num_threads(before)
    assert any(len(tasks) > 8 for tasks, _ in drawn[0][0].values()), "more than a block, or this says nothing"
    for one, other in zip(*drawn, strict=True):
        assert one.keys() == other.keys()
        for kind, (tasks, answers) in one.items():
            for name in ("features", "hits", "own", "own_mask"):
                assert torch.equal(getattr(tasks, name), getattr(other[kind][0], name)), name
            assert torch.equal(answers, other[kind][1])


def test_no_lesson_knows_an_answer_of_the_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config, worlds = model_of(), config_of(), []
    real = practice.draw_world

    def remember(view, rng, rules, without):
        worlds.append(real(view, rng, rules, without))
        return worlds[-1]

    monkeypatch.setattr(practice, "draw_world", remember)
    few = config.model_copy(update={"tasks_each": 6})
    lessons, exam = practice._worlds(model, few, 1, lambda _: None, examined=True)
    assert (len(worlds), len(lessons)) == (few.worlds + 1, few.worlds)
    n_items, asked = model.view.n_items, 0
    of_exam = {key for situation in worlds[0] for key in situation.query.keys(n_items).tolist()}
    for situations in worlds[1:]:
        for situation in situations:
            for pairs in (situation.clicks, situation.support, situation.query):
                asked += len(of_exam & set(pairs.keys(n_items).tolist()))
    drawn = sum(int(answers.sum()) for _, answers in exam.values())
    assert 0 < drawn < len(of_exam), "only some users are examined"
    assert asked > 0, "what is not asked for in the exam may occur"
    practised = {kind for world in lessons for kind in world}
    assert practised >= set(exam)
    worlds.clear()
    whole = config.model_copy(update={"tasks_each": 10_000, "unclicked": 1.0})
    practice._worlds(model, whole, 1, lambda _: None, examined=True)
    of_exam = {key for situation in worlds[0] for key in situation.query.keys(n_items).tolist()}
    for situations in worlds[1:]:
        for situation in situations:
            for pairs in (situation.clicks, situation.support, situation.query):
                assert of_exam.isdisjoint(pairs.keys(n_items).tolist())


@pytest.mark.parametrize("judged", [True, False])
def test_a_checkpoint_of_other_worlds_is_refused(tmp_path: Path, judged: bool) -> None:
    """A judge of one's own takes the place of a world, so that the others are drawn otherwise."""

    def judge(_: object) -> float:
        return 1.0

    config = config_of(loop=LOOP.model_copy(update={"epochs": 1}))
    practise(model_of(), config, 5, folder=tmp_path, validate=judge if judged else None)
    with pytest.raises(CheckpointError, match="judged by"):
        practise(model_of(), config, 5, folder=tmp_path, resume=True, validate=None if judged else judge)


def test_another_seed_practises_otherwise() -> None:
    one, other = model_of(), model_of()
    assert same(weights(one), weights(other))
    practise(one, config_of(), 1)
    practise(other, config_of(), 2)
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize("change", ["data", "model", "practice", "seed"])
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, change: str) -> None:
    practise(model_of(), config_of(loop=LOOP.model_copy(update={"epochs": 1})), 5, folder=tmp_path)
    view = planted_split().train
    fewer = TrainView(view.vocabulary, view.interactions.select(np.arange(1, len(view.interactions))), view.graph)
    model = model_of(fewer if change == "data" else view, inner_lr=0.2 if change == "model" else 0.1)
    config = config_of(tasks_each=39 if change == "practice" else 40, loop=LOOP.model_copy(update={"epochs": 1}))
    with pytest.raises(CheckpointError, match=change):
        practise(model, config, 6 if change == "seed" else 5, folder=tmp_path, resume=True)


@pytest.mark.parametrize("scheduler", [None, STALE, FRESH], ids=["none", "stale", "fresh"])
def test_practice_lowers_the_loss_and_logs_what_it_does(tmp_path: Path, scheduler: SchedulerConfig | None) -> None:
    model, seen = model_of(), []
    config = config_of(scheduler=scheduler, loop=LOOP.model_copy(update={"epochs": 8, "learning_rate": 0.02}))
    done = practise(model, config, 1, folder=tmp_path, on_progress=lambda p: seen.append(p.losses["query"]))
    assert np.mean(seen[-4:]) < np.mean(seen[:4]) - 0.1
    assert done.outcome.best_score is not None
    assert 0 < done.outcome.best_score <= 1
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == len(seen) == done.outcome.steps
    assert all(("scheduler" in event) == (scheduler is not None) for event in steps)


def test_unclicked_says_how_many_such_tasks_there_are() -> None:
    half, none = (practise(model_of(), config_of(unclicked=share), 1).tasks for share in (0.5, 0.0))
    assert set(half) == {*none, "item_cold_unclicked", "user_item_cold_unclicked"}
    assert half["item_cold"] == none["item_cold"] <= 40
    assert 0 < half["item_cold_unclicked"] <= 20
    assert not any(kind.endswith("_unclicked") for kind in none)


def test_the_exam_is_no_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, taught, examined = [], [], []
    gather, examine = practice._gather, practice._examine

    def spy_gather(*args: Any) -> Any:
        drawn.append(gather(*args))
        return drawn[-1]

    def spy_examine(model: MetaKG, exam: dict[str, Any]) -> float:
        examined.append(exam)
        return examine(model, exam)

    class SpyBatches(PracticeBatches):
        def __init__(self, sets: list[EvidenceTasks], *args: Any) -> None:
            taught.extend(sets)
            super().__init__(sets, *args)

    monkeypatch.setattr(practice, "_gather", spy_gather)
    monkeypatch.setattr(practice, "_examine", spy_examine)
    monkeypatch.setattr(practice, "PracticeBatches", SpyBatches)
    said: list[str] = []
    practise(model_of(), config_of(worlds=2, loop=LOOP.model_copy(update={"epochs": 1})), 1, report=said.append)
    assert said == [f"drawing world {n} of 3" for n in (1, 2, 3)]
    asked = {id(tasks) for exam in examined for tasks, _ in exam.values()}
    assert asked
    assert not asked & {id(tasks) for tasks in taught}
    assert asked | {id(tasks) for tasks in taught} == {id(tasks) for tasks, _ in drawn}
    of_exam = [tasks.features for tasks, _ in drawn if id(tasks) in asked]
    assert not any(torch.equal(tasks.features, other) for tasks in taught for other in of_exam)


def test_a_task_holds_the_evidence_of_its_world_alone() -> None:
    model, rng = model_of(), generator(1, "test")
    for situation in draw_world(model.view, np.random.default_rng(3), WorldRules()):
        situation = situation.of_some(7, rng)
        tasks, answers = practice._gather(model, situation)
        assert len(tasks) == len(answers) <= 7
        visible = Interactions.concat(situation.clicks, situation.support)
        evidence = Evidence(
            TrainView(model.view.vocabulary, visible, model.view.graph),
            np.bincount(situation.clicks.items, minlength=model.view.n_items),
            model.evidence.kinds,
            model.config.max_items,
        )
        users = np.unique(situation.query.users)
        recent = situation.support.csr(model.view.n_users, model.view.n_items)[users]
        profiles = weigh(evidence.view.history[users], recent, model.config.history_weight)
        found = evidence.gather(users, profiles, model.config.candidates, model.config.own_items)
        query = situation.query.csr(model.view.n_users, model.view.n_items)[users].toarray() > 0
        truth = np.take_along_axis(query, found.items.astype(np.int64), axis=1)
        expected = {features.astype(np.float16).tobytes(): k for k, features in enumerate(found.features)}
        for features, hits, n in zip(tasks.features.numpy(), tasks.hits.numpy(), answers.tolist(), strict=True):
            k = expected[features.tobytes()]
            assert (hits == truth[k]).all()
            assert n == query[k].sum() >= hits.sum()


@pytest.mark.parametrize("scheduler", [None, STALE, FRESH], ids=["none", "stale", "fresh"])
def test_an_epoch_makes_every_task_a_candidate_once(scheduler: SchedulerConfig | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config, f = model_of(), config_of(scheduler=scheduler), model_of().evidence.n_features
    g = torch.Generator().manual_seed(0)
    hits = torch.zeros(103, 30, dtype=torch.bool)
    hits[:100, 0] = True  # the answers of the last three are no candidates: nothing to learn
    everything = EvidenceTasks(
        torch.rand(103, 30, f, generator=g), hits, torch.rand(103, 6, f, generator=g), torch.ones(103, 6, dtype=torch.bool)
    )
    source = PracticeBatches([everything.select(torch.arange(60)), everything.select(torch.arange(60, 103))], config, 1)
    assert len(source.all) == 100
    pools: list[int] = []
    if source.scheduler is not None:
        choose = source.scheduler.choose

        def spy(pool: Tensor, n: int) -> Tensor:
            pools.extend(pool.tolist())
            return choose(pool, n)

        monkeypatch.setattr(source.scheduler, "choose", spy)
    for epoch in range(2):
        sizes = []
        for step in range(len(source)):
            batch = source.next(model, epoch * len(source) + step)
            sizes.append(len(batch))
            assert batch.features.dtype == torch.float32
            assert bool(batch.hits.any(1).all())
            assert source.describe(batch) == f"{len(batch)} practice tasks"
            assert ("scheduler" in source.learn(model, batch)) == (scheduler is not None)
        assert sizes == ([32, 32, 32, 4] if scheduler is None else [32, 32, 4])
        if scheduler is not None:
            assert sorted(pools) == list(range(100))
            pools.clear()


def test_what_the_scheduler_reads_is_loss_and_cosine_of_each_task() -> None:
    model, f = model_of(), model_of().evidence.n_features
    g = torch.Generator().manual_seed(0)
    hits = torch.zeros(4, 30, dtype=torch.bool)
    hits[:, 3] = True
    rand = (torch.rand(4, 30, f, generator=g), torch.rand(4, 6, f, generator=g))
    batch = EvidenceTasks(rand[0], hits, rand[1], torch.ones(4, 6, dtype=torch.bool))
    loss, similarity = score_tasks(model, batch)
    for m in range(4):
        alone = batch.select(torch.tensor([m]))
        gamma = [w.detach().requires_grad_() for w in model.gamma(1)]
        support = torch.autograd.grad(model.support_losses(alone, tuple(gamma)).sum(), gamma)
        moved = [(w - model.config.inner_lr * s).detach().requires_grad_() for w, s in zip(gamma, support, strict=True)]
        cost = model.task_losses(alone, tuple(moved)).sum()
        query = torch.autograd.grad(cost, moved)
        one, other = (torch.cat([part.flatten() for part in parts]) for parts in (support, query))
        assert float(loss[m]) == pytest.approx(float(cost.detach()), abs=1e-5)
        assert float(similarity[m]) == pytest.approx(float(one @ other / one.norm() / other.norm()), abs=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_the_exam_is_ndcg_by_hand() -> None:
    model = model_of(inner_lr=0.0)
    with torch.no_grad():  # score = the first feature
        model.w1.zero_()
        model.w1[0, 0] = 1.0
        model.b1.zero_()
        model.omega.zero_()
        model.w2.zero_()
        model.w2[0] = 1.0
    f = model.evidence.n_features
    features = torch.zeros(2, 30, f)
    features[:, :, 0] = torch.arange(30, 0, -1)  # candidates stand in order of their scores
    hits = torch.zeros(2, 30, dtype=torch.bool)
    hits[0, [0, 2]] = True
    hits[1, 25] = True  # below the cut
    tasks = EvidenceTasks(features.half(), hits, torch.zeros(2, 6, f), torch.zeros(2, 6, dtype=torch.bool))
    one = (tasks.select(torch.tensor([0])), torch.tensor([3]))  # a third answer was never a candidate
    both = (tasks, torch.tensor([3, 1]))
    gain = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3) + 1 / np.log2(4))
    assert practice._examine(model, {"known": one}) == pytest.approx(gain, abs=1e-5)
    assert practice._examine(model, {"known": one, "user_cold": both}) == pytest.approx((gain + gain / 2) / 2, abs=1e-5)


@pytest.mark.parametrize("n_clicks", [0, 9])
def test_too_few_clicks_are_refused(n_clicks: int) -> None:
    view = toy_view()
    view = TrainView(view.vocabulary, view.interactions.select(np.arange(n_clicks)), view.graph)
    model = model_of(view)
    before = weights(model)
    with pytest.raises(DataError, match=r"training data: found no user with enough clicks to practise on.*blend"):
        practise(model, config_of(), 1)
    assert same(before, weights(model))


def test_a_world_to_stop_by_that_has_no_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = iter([[], draw_world(planted_split().train, np.random.default_rng(1), WorldRules())])
    monkeypatch.setattr(practice, "draw_world", lambda *_: next(worlds))
    with pytest.raises(DataError, match="training data: found no user with enough clicks"):
        practise(model_of(), config_of(), 1)


def test_who_is_judged_from_outside_needs_no_world_to_stop_by(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = iter([draw_world(planted_split().train, np.random.default_rng(1), WorldRules())])
    monkeypatch.setattr(practice, "draw_world", lambda *_: next(worlds))
    assert practise(model_of(), config_of(), 1, validate=lambda _: 0.5).outcome.best_score == 0.5


def test_a_setting_that_practice_would_not_follow_is_refused() -> None:
    with pytest.raises(ValidationError, match="held_out"):
        PracticeConfig(scheduler=SchedulerConfig(reward="held_out"))


def test_tasks_that_do_not_fit_are_refused_before_they_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "draw_world", lambda *_: pytest.fail("a world was drawn"))
    monkeypatch.setattr(practice, "available_bytes", lambda: 1000)
    with pytest.raises(TrainingError, match=r"the most for practice tasks .*Lower training\.tasks_each, training\.worlds or"):
        practise(model_of(), config_of(), 1)


def test_the_estimate_counts_every_number_of_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, int]] = []
    monkeypatch.setattr(practice, "check_memory", lambda parts, _: seen.append(parts))
    model, config = model_of(), config_of(unclicked=1.0)
    made = []
    monkeypatch.setattr(practice, "PracticeBatches", lambda sets, *rest: made.extend(sets) or PracticeBatches(sets, *rest))
    practise(model, config, 1)
    halves = 2 * sum(tasks.features.numel() + tasks.own.numel() for tasks in made)
    assert halves * 2 <= seen[0]["practice tasks"] <= halves * 8, "twice, with a world to stop by and users without a task"
