"""Practice for `metakg`: tasks from worlds in which some users and items are still new, chosen by the task scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor

from metakg import rng as random
from metakg.data import Interactions, TrainView
from metakg.errors import DataError
from metakg.heap import available_bytes, kept
from metakg.models.evidence import Evidence
from metakg.models.metakg import EvidenceTasks, MetaKG, as_tasks
from metakg.models.profile import weigh
from metakg.models.space import Choice, Space, Span
from metakg.sample.worlds import Situation, WorldRules, draw_world
from metakg.train.checkpoint import view_fingerprint
from metakg.train.log import Sink
from metakg.train.loop import Loop, LoopConfig, Outcome, Progress
from metakg.train.memory import check_memory, estimate_practice_bytes
from metakg.train.scheduler import SchedulerConfig, TaskScheduler, need_a_choice
from metakg.types import Json, Rows

Report = Callable[[str], None]


class PracticeConfig(BaseModel):
    """How `metakg` practises."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    space: ClassVar[Space] = {
        "loop.learning_rate": Span(1e-4, 1e-2, log=True),
        "unclicked": Choice((0.0, 0.5, 1.0)),
        "tasks": Choice((32, 64, 128)),
    }

    worlds: PositiveInt = 5
    """Worlds to practise in; one more is drawn to stop by, whose answers occur in none of them."""
    tasks_each: PositiveInt = 1000
    """Tasks of each situation in each world, at most."""
    unclicked: float = Field(0.5, ge=0.0, le=1.0)
    """Share of `tasks_each` for situations in which nobody has clicked the new items yet. More of them makes such items rank
    higher against items that people have clicked; 0 leaves them out."""
    tasks: PositiveInt = 64
    """Tasks in a step."""
    scheduler: SchedulerConfig | None = None
    """Settings of the task scheduler of eq. 18; None draws tasks uniformly, which is better on validation
    (docs/results/metakg.md)."""
    loop: LoopConfig = LoopConfig(learning_rate=2e-3, epochs=30, patience=4)
    """Settings of the training loop."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scheduler is not None and self.scheduler.reward != "query":
            raise ValueError(f'practice judges a choice by reward = "query", not "{self.scheduler.reward}"')
        if self.scheduler is not None and self.scheduler.similarity != "cosine":
            raise ValueError(f'practice compares gradients by similarity = "cosine", not "{self.scheduler.similarity}"')
        need_a_choice(self.scheduler, self.tasks)
        return self


@dataclass(frozen=True)
class Practised:
    """How practice went.

    Attributes:
        outcome: of the loop; its score is the mean NDCG@20 over the situations of the held-out world.
        tasks: number of tasks practised on, by situation.
    """

    outcome: Outcome
    tasks: dict[str, int]


def practise(
    model: MetaKG,
    config: PracticeConfig,
    seed: int,
    *,
    folder: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
    validate: Callable[[MetaKG], float] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    sinks: Sequence[Sink] = (),
) -> Practised:
    """Teach a model, in place, on worlds drawn from its own training view.

    Args:
        model: as built from the view.
        config: settings.
        seed: of the worlds, the order of tasks, and the scheduler.
        folder: where log and checkpoints go; None keeps nothing.
        resume: go on from the checkpoint in `folder`.
        report: called with one line for each world that is drawn.
        validate: judges the model, higher is better; by default a world of its own does.
        on_progress: called after every step of the loop.
        sinks: further places to log to.

    Raises:
        TrainingError: the tasks would not fit into memory, or the numbers exploded.
        DataError: no world has a task, so there is nothing to learn from; or that to stop by has none.
        CheckpointError: `resume` found another run's checkpoint.
    """
    kinds, n_worlds = 4 + 2 * (config.unclicked > 0), config.worlds + (validate is None)
    check_memory(estimate_practice_bytes(model, config.tasks_each, n_worlds, kinds), available_bytes())
    lessons, exam = _worlds(model, config, seed, report or (lambda _: None), examined=validate is None)
    source = PracticeBatches([tasks for world in lessons for tasks, _ in world.values()], config, seed)
    counts: Counter[str] = Counter()
    for world in lessons:
        counts.update({kind: len(tasks) for kind, (tasks, _) in world.items()})
    del lessons, world  # the source has them
    identity: Json = {
        "data": view_fingerprint(model.view),
        "model": model.config.model_dump(mode="json"),
        "practice": config.model_dump(mode="json"),
        "worlds": "that to stop by first",  # what a seed draws, of which the checkpoint holds places
        "seed": seed,
    }
    if validate is not None:  # no world to stop by is drawn then, so that the others are drawn otherwise
        identity["judged by"] = "a judge that was given"
    loop = Loop(
        model,
        source,
        config.loop,
        folder=folder,
        identity=identity,
        validate=validate or (lambda judged: _examine(judged, exam)),  # type: ignore[arg-type]
        on_progress=on_progress,
        sinks=sinks,
    )
    return Practised(loop.run(resume=resume), dict(counts))


def _useful(sets: Sequence[EvidenceTasks]) -> EvidenceTasks:
    """Join the tasks that have an answer among their candidates, in half precision.

    Set by set into one table, so that no more than twice what the tasks hold is there at a time.

    Raises:
        DataError: there is none.
    """
    kept = [tasks.hits.any(1) for tasks in sets]
    size = sum(int(which.sum()) for which in kept)
    if not size:
        raise _too_few_clicks()

    def joined(name: str) -> Tensor:
        parts = [getattr(tasks, name) for tasks in sets]
        whole = torch.empty(size, *parts[0].shape[1:], dtype=torch.half if parts[0].is_floating_point() else parts[0].dtype)
        end = 0
        for part, which in zip(parts, kept, strict=True):
            begin, end = end, end + int(which.sum())
            whole[begin:end] = part[which]
        return whole

    return EvidenceTasks(*(joined(name) for name in ("features", "hits", "own", "own_mask")))


class PracticeBatches:
    """Hands out tasks; one epoch makes every task a candidate once.

    Raises:
        DataError: there is no task.
    """

    def __init__(self, sets: list[EvidenceTasks], config: PracticeConfig, seed: int) -> None:
        self.all = _useful(sets)
        self.config = config
        self.rng = random.generator(seed, "practice/order")
        self.order: np.ndarray = np.arange(len(self.all))
        self.scheduler = None if config.scheduler is None else TaskScheduler(config.scheduler, len(self.all), seed)
        self.size = config.tasks if config.scheduler is None else max(config.scheduler.pool, config.tasks)
        self._chosen: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return -(-len(self.all) // self.size)

    def next(self, model: MetaKG, step: int) -> EvidenceTasks:
        """Return the tasks of a step."""
        place = step % len(self)
        if place == 0:
            self.order = self.rng.permutation(len(self.all))
        pool = torch.from_numpy(np.sort(self.order[place * self.size : (place + 1) * self.size]))
        if self.scheduler is None or self.config.scheduler is None:
            return self.all.select(pool)
        if self.config.scheduler.stale:
            chosen = self.scheduler.choose(pool, self.config.tasks)
            batch = self.all.select(pool[chosen])
            loss, similarity = score_tasks(model, batch)
            self.scheduler.record(pool[chosen], loss, similarity)
        else:
            batch = self.all.select(pool)
            loss, similarity = score_tasks(model, batch)
            self.scheduler.record(pool, loss, similarity)
            chosen = self.scheduler.choose(pool, self.config.tasks)
            loss, batch = loss[chosen], self.all.select(pool[chosen])
        self._chosen = (pool, chosen, loss)
        return batch

    def learn(self, model: MetaKG, batch: EvidenceTasks) -> Json:
        """Teach the scheduler what came of its choice."""
        if self.scheduler is None or self._chosen is None:
            return {}
        return {"scheduler": self.scheduler.learn(*self._chosen)}

    def describe(self, batch: EvidenceTasks) -> str:
        """Say how many tasks a batch has."""
        return f"{len(batch)} practice tasks"

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        scheduler = None if self.scheduler is None else self.scheduler.position()
        return {"order": self.order, "rng": self.rng.bit_generator.state, "scheduler": scheduler}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.order, self.rng.bit_generator.state = state["order"], state["rng"]
        if self.scheduler is not None:
            self.scheduler.restore(state["scheduler"])


def _too_few_clicks() -> DataError:
    return DataError(
        "training data",
        "no user with enough clicks to practise on",
        expected="users with at least four clicks on old or on new items",
        fix='Use more data, or a floor such as "blend" that needs no training.',
    )


def score_tasks(model: MetaKG, batch: EvidenceTasks) -> tuple[Tensor, Tensor]:
    """Return what the scheduler reads of each task (eq. 18): query loss after the inner step, cosine of both gradients."""
    shared = tuple(w.detach().clone().requires_grad_() for w in model.gamma(len(batch)))
    support = torch.autograd.grad(model.support_losses(batch, shared).sum(), shared)
    adapted = tuple(w.detach().requires_grad_() for w in model.adapt_gamma(batch))
    losses = model.task_losses(batch, adapted)
    query = torch.autograd.grad(losses.sum(), adapted)
    one, other = (torch.cat([g.flatten(1) for g in grads], dim=1) for grads in (support, query))
    return losses.detach(), torch.cosine_similarity(one, other, dim=1)


World = dict[str, tuple[EvidenceTasks, Tensor]]
"""The tasks of each situation of a world, and the number of answers of each task."""


@kept()
def _worlds(model: MetaKG, config: PracticeConfig, seed: int, report: Report, *, examined: bool) -> tuple[list[World], World]:
    """Draw worlds to practise in and, first of all, one to stop by, whose answers occur in none of the others.

    Raises:
        DataError: the one to stop by has no task.
    """
    rng, n_worlds = random.generator(seed, "practice/worlds"), config.worlds + examined

    def draw(number: int, without: Interactions | None) -> tuple[World, list[Situation]]:
        report(f"drawing world {number} of {n_worlds}")
        found = draw_world(model.view, rng, WorldRules(), without)
        asked = [(s, config.tasks_each if not s.unclicked else round(config.unclicked * config.tasks_each)) for s in found]
        situations = [situation.of_some(limit, rng) for situation, limit in asked if limit]
        return {situation.kind: _gather(model, situation) for situation in situations}, situations

    exam, situations = draw(1, None) if examined else ({}, [])
    if examined and not exam:
        raise _too_few_clicks()
    answers = reduce(Interactions.concat, (situation.query for situation in situations)) if examined else None
    return [draw(number, answers)[0] for number in range(1 + examined, n_worlds + 1)], exam


def _gather(model: MetaKG, situation: Situation) -> tuple[EvidenceTasks, Tensor]:
    """Return the tasks of a situation, evidence in half precision, and the number of answers of each."""
    base = TrainView(model.view.vocabulary, situation.clicks, model.view.graph)
    pairs = situation.clicks if not len(situation.support) else Interactions.concat(situation.clicks, situation.support)
    view = replace(base, interactions=pairs)
    config = model.config
    evidence = Evidence(view, base.popularity, model.evidence.kinds, config.max_items, config.vector_dim, model.evidence)
    shape = (view.n_users, view.n_items)
    recent = situation.support.csr(*shape) if len(situation.support) else None
    query = situation.query.csr(*shape)
    users: Rows = np.unique(situation.query.users)

    def gather(rows: Rows) -> tuple[EvidenceTasks, Tensor]:
        profiles = weigh(view.history[rows], None if recent is None else recent[rows], config.history_weight)
        found = evidence.gather(rows, profiles, config.candidates, config.own_items)
        truth = query[rows].toarray() > 0
        batch = as_tasks(found, np.take_along_axis(truth, found.items.astype(np.int64), axis=1))
        return replace(batch, features=batch.features.half(), own=batch.own.half()), torch.from_numpy(truth.sum(1))

    parts, answers = zip(*evidence.by_blocks(users, gather), strict=True)
    names = ("features", "hits", "own", "own_mask")
    return EvidenceTasks(*(torch.cat([getattr(part, name) for part in parts]) for name in names)), torch.cat(answers)


@torch.no_grad()
def _examine(model: MetaKG, exam: dict[str, tuple[EvidenceTasks, Tensor]], k: int = 20) -> float:
    """Return the mean over situations of NDCG@k among the candidates of a held-out world."""
    discounts = torch.arange(2, k + 2).log2().reciprocal()
    means = []
    for tasks, answers in exam.values():
        gains = []
        for part in torch.split(torch.arange(len(tasks)), 256):
            batch = tasks.select(part)
            scores = model.score(batch.features, model.adapt_gamma(batch))
            best = scores.topk(min(k, scores.shape[1]), dim=1).indices
            hits = batch.hits.gather(1, best).float()
            ideal = discounts.cumsum(0)[answers[part].clamp(1, k) - 1]
            gains.append((hits * discounts[: hits.shape[1]]).sum(1) / ideal)
        means.append(torch.cat(gains).mean())
    return float(torch.stack(means).mean())
