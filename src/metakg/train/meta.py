"""The stream of meta-training steps: which tasks, which facts, and the task scheduler's part (paper, Algorithm 1)."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator
from torch import Tensor

from metakg import rng as random
from metakg.data import TrainView
from metakg.errors import DataError
from metakg.models.metakg_paper import MetaBatch, MetaKG, TaskScores
from metakg.models.nn.ckg import triple_sampler
from metakg.models.nn.network import Tables
from metakg.sample.episodes import Episodes, EpisodeSampler
from metakg.train.scheduler import SchedulerConfig, TaskScheduler, need_a_choice
from metakg.types import Json


class MetaConfig(BaseModel):
    """Settings of meta-training beside the loop's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    tasks: PositiveInt = 16
    """Tasks of one outer step."""
    facts: PositiveInt = 2048
    """Triples of one outer step."""
    scheduler: SchedulerConfig | None = SchedulerConfig()
    """The task scheduler; None takes tasks in random order (ablation `no-scheduler`)."""
    at_once: PositiveInt = 24
    """Candidates scored together; fewer need less memory, with the same result."""
    all_negatives: bool = False
    """Draw negatives, and the false tails of clicks, from all items, not only from those seen in training (authors' code)."""
    support_size: PositiveInt | None = None
    """Draw so many support pairs with replacement, anew in each step; None takes each once. (The authors' code draws 10 once
    and for all.)"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        need_a_choice(self.scheduler, self.tasks)
        return self


class TaskBatches:
    """Hands out `MetaBatch`es; one epoch makes every task a candidate once.

    Args:
        model: the model that will be trained (its graph holds the facts).
        view: training data with tasks.
        config: settings.
        seed: of order, negatives, corrupted facts and scheduler.

    Raises:
        DataError: the view has no tasks, or none beside those held out to reward the scheduler.
    """

    def __init__(self, model: MetaKG, view: TrainView, config: MetaConfig, seed: int) -> None:
        self.config, self.view = config, view
        self.device = model.node.device
        rng = random.generator(seed, "meta/negatives")
        self.episodes = EpisodeSampler(view, rng, all_items=config.all_negatives, support_size=config.support_size)
        self.order_rng = random.generator(seed, "meta/tasks")
        self.facts = None
        if model.config.kg_weight:
            triples = random.generator(seed, "meta/triples")
            clicks, seen = model.config.facts == "ckg", not config.all_negatives
            self.facts = triple_sampler(model.graph, triples, clicks=clicks, seen=seen)
        n = len(self.episodes)
        self.scheduler = None
        self.held_out = np.empty(0, np.int64)
        if config.scheduler is not None:
            self.scheduler = TaskScheduler(config.scheduler, n, seed, self.device)
            if config.scheduler.reward == "held_out":
                self.held_out = np.sort(self.order_rng.permutation(n)[: max(1, n // 20)])
        self.candidates = np.setdiff1d(np.arange(n), self.held_out)
        self.size = config.tasks if config.scheduler is None else max(config.scheduler.pool, config.tasks)
        if not len(self.candidates):
            raise DataError(
                "meta-training tasks",
                f"{n} in all, held out to reward the scheduler",
                expected="more of them",
                fix='Leave out the scheduler, or its reward "held_out"; or give more users with clicks.',
            )
        self.order = self.candidates
        self._chosen: tuple[Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return -(-len(self.candidates) // self.size)

    def next(self, model: MetaKG, step: int) -> MetaBatch:
        """Return the tasks and facts of a step."""
        if step % model.config.attention_every == 0:
            model.refresh()
        place = step % len(self)
        if place == 0:
            self.order = self.order_rng.permutation(self.candidates)
        pool = np.sort(self.order[place * self.size : (place + 1) * self.size])
        facts = self.facts.draw(self.config.facts).to(self.device) if self.facts is not None else None
        if self.scheduler is None or self.config.scheduler is None:
            support, query = self._draw(pool)
            return MetaBatch(support, query, facts)
        tasks = torch.from_numpy(pool).to(self.device)
        if self.config.scheduler.stale:
            chosen = self.scheduler.choose(tasks, self.config.tasks)
            support, query = self._draw(pool[chosen.cpu().numpy()])
            scores, shared = self._score(model, support, query)
            self.scheduler.record(tasks[chosen], scores.loss, scores.similarity)
            picked = torch.arange(len(chosen), device=self.device)
        else:
            support, query = self._draw(pool)
            scores, shared = self._score(model, support, query)
            self.scheduler.record(tasks, scores.loss, scores.similarity)
            chosen = picked = self.scheduler.choose(tasks, self.config.tasks)
        self._chosen = (tasks, chosen, scores.loss[picked])
        adapted = None
        if model.config.order == "first":
            flat = zip(scores.adapted.flat(), model.adapts(), strict=True)
            adapted = scores.adapted.of(tuple(t[picked] if f else t for t, f in flat))
        return MetaBatch(support.select(picked), query.select(picked), facts, adapted, shared)

    def learn(self, model: MetaKG, batch: MetaBatch) -> Json:
        """Teach the scheduler what came of its choice."""
        if self.scheduler is None or self._chosen is None or self.config.scheduler is None:
            return {}
        tasks, chosen, costs = self._chosen
        if self.config.scheduler.reward == "held_out":
            drawn = self.order_rng.choice(self.held_out, size=min(self.config.scheduler.held_out, len(self.held_out)))
            scores, _ = self._score(model, *self._draw(np.sort(drawn)))
            costs = scores.loss.mean().expand(len(chosen))
        return {"scheduler": self.scheduler.learn(tasks, chosen, costs)}

    def describe(self, batch: MetaBatch) -> str:
        """Name the users of a batch."""
        users = self.view.vocabulary.users.ids(batch.query.users.cpu().numpy().astype(np.int32))
        return f"tasks of users {', '.join(users[:8])}{' ...' if len(users) > 8 else ''}"

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {
            "order": self.order,
            "order_rng": self.order_rng.bit_generator.state,
            "episodes": self.episodes.state_dict(),
            "facts": None if self.facts is None else self.facts.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.position(),
        }

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.order = state["order"]
        self.order_rng.bit_generator.state = state["order_rng"]
        self.episodes.load_state_dict(state["episodes"])
        if self.facts is not None:
            self.facts.load_state_dict(state["facts"])
        if self.scheduler is not None:
            self.scheduler.restore(state["scheduler"])

    def _draw(self, tasks: np.ndarray) -> tuple[Episodes, Episodes]:
        support, query = self.episodes.draw(tasks)
        return support.to(self.device), query.to(self.device)

    def _score(self, model: MetaKG, support: Episodes, query: Episodes) -> tuple[TaskScores, Tables]:
        """Score tasks a few at a time."""
        whole = self.config.scheduler is not None and self.config.scheduler.similarity == "dot"
        with torch.no_grad():
            tables = model.tables(tracked=False)
            parts = []
            for start in range(0, support.n_tasks, self.config.at_once):
                few = torch.arange(start, min(start + self.config.at_once, support.n_tasks), device=self.device)
                parts.append(model.score_tasks(tables, support.select(few), query.select(few), whole=whole))
        return _joined(parts, model.adapts()), tables


def _joined(parts: list[TaskScores], adapts: list[bool]) -> TaskScores:
    stacks = zip(*(p.adapted.flat() for p in parts), strict=True)
    flat = tuple(torch.cat(stack) if f else stack[0] for stack, f in zip(stacks, adapts, strict=True))
    return TaskScores(torch.cat([p.loss for p in parts]), torch.cat([p.similarity for p in parts]), parts[0].adapted.of(flat))
