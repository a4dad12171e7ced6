"""Episodes: the small learning problems of a few users, ready for a model.

All pairs of all tasks lie end to end, each with the number of its task: tasks differ in size, and no padding is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metakg.data import Interactions, Tasks, TrainView
from metakg.errors import DataError
from metakg.sample.negatives import NegativeSampler, nothing_to_compare, without_negatives
from metakg.types import Json, Rows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """Ranking problems of M tasks: item `positives[i]` should rank above `negatives[i]` for the user of task `tasks[i]`.

    Attributes:
        users: (M,) user rows.
        tasks: (P,) task of each pair, ascending.
        positives: (P,) item rows.
        negatives: (P,) item rows.
    """

    users: Tensor
    tasks: Tensor
    positives: Tensor
    negatives: Tensor

    @property
    def n_tasks(self) -> int:
        """Number of tasks M."""
        return self.users.shape[0]

    def to(self, device: torch.device | str) -> Episodes:
        """Return the same episodes on another device."""
        return Episodes(*(t.to(device, non_blocking=True) for t in (self.users, self.tasks, self.positives, self.negatives)))

    def select(self, chosen: Tensor) -> Episodes:
        """Return some of the tasks, renumbered: (m,) ascending task numbers."""
        new = torch.full((self.n_tasks,), -1, dtype=torch.int64, device=self.tasks.device)
        new[chosen] = torch.arange(len(chosen), device=self.tasks.device)
        keep = new[self.tasks] >= 0
        return Episodes(self.users[chosen], new[self.tasks[keep]], self.positives[keep], self.negatives[keep])

    def rows(self, chosen: Tensor) -> Episodes:
        """Return the same tasks with some of their pairs: (p,) ascending places among the P."""
        parts = (part.index_select(0, chosen) for part in (self.tasks, self.positives, self.negatives))
        return Episodes(self.users, *parts)

    def seeds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what must be looked up: (M + 2P,) tasks, and (M,) user rows and (2P,) item rows in that order."""
        owners = torch.arange(self.n_tasks, device=self.users.device)
        tasks = torch.cat([owners, self.tasks, self.tasks])
        return tasks, self.users, torch.cat([self.positives, self.negatives])


class EpisodeSampler:
    """Turns meta-training tasks into episodes with fresh negatives.

    Args:
        view: training data with tasks.
        rng: the source of the negatives.
        all_items: draw negatives from all items; else only from items that occur in training pairs (an item that is new
            later would otherwise be learnt as a negative, and as nothing else).
        support_size: draw so many support pairs with replacement, as the authors' code does; None takes each once.
        negatives: items drawn for each pair; with several, a pair stands several times in a row.
        hardest: so many times as many are drawn for a query pair, for a model to choose among (see `TaskBatch.each`).

    Raises:
        DataError: the view has no tasks, or a task has no support or no query.
    """

    def __init__(
        self,
        view: TrainView,
        rng: np.random.Generator,
        *,
        all_items: bool = False,
        support_size: int | None = None,
        negatives: int = 1,
        hardest: int = 1,
    ) -> None:
        if view.tasks is None or not len(view.tasks):
            raise DataError(
                "the training view",
                "no meta-training tasks",
                expected="tasks with support and query pairs",
                fix="Split the data with meta-training tasks (metakg split), or lower its minimum number of items.",
            )
        pool = np.arange(view.n_items, dtype=np.int32) if all_items else np.flatnonzero(view.popularity).astype(np.int32)
        seen, query = view.interactions.pairs_only(), view.tasks.query.keys(view.n_items)
        tasks = _with_negatives(view.tasks, pool, seen, view.n_users)
        self.users = tasks.users.astype(np.int64)
        self.support_size, self.drawn = support_size, {"support": negatives, "query": negatives * hardest}
        self.rng = rng
        self._support = _by_task(tasks, tasks.support, view.n_users, "support")
        self._query = _by_task(tasks, tasks.query, view.n_users, "query")
        before = seen.select(~np.isin(seen.keys(view.n_items), query))
        # While a task adapts it does not know its query yet; when it is judged, all training pairs are known.
        self._negatives = {
            "support": NegativeSampler(pool, before, view.n_items, rng),
            "query": NegativeSampler(pool, seen, view.n_items, rng),
        }

    def __len__(self) -> int:
        return len(self.users)

    def draw(self, chosen: Ints) -> tuple[Episodes, Episodes]:
        """Return the support and the query episodes of some tasks: (M,) task numbers, in the given order."""
        return self._side(chosen, self._support, "support"), self._side(chosen, self._query, "query")

    def state_dict(self) -> Json:
        """Return where the draws stand."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the draws stood."""
        self.rng.bit_generator.state = state["rng"]

    def _side(self, chosen: Ints, table: tuple[Ints, Ints], side: str) -> Episodes:
        rowptr, items = table
        starts, counts = rowptr[chosen], rowptr[chosen + 1] - rowptr[chosen]
        if side == "support" and self.support_size is not None:
            tasks = np.repeat(np.arange(len(chosen)), self.support_size)
            picked = starts[tasks] + self.rng.integers(counts[tasks])
        else:
            tasks = np.repeat(np.arange(len(chosen)), counts)
            picked = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + starts[tasks]
        if self.drawn[side] > 1:
            tasks, picked = np.repeat(tasks, self.drawn[side]), np.repeat(picked, self.drawn[side])
        users = self.users[chosen]
        negatives = self._negatives[side].draw(users[tasks])
        return Episodes(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (users, tasks, items[picked], negatives)))


def _with_negatives(tasks: Tasks, pool: Rows, known: Interactions, n_users: int) -> Tasks:
    """Return the tasks of users who are not known to like every item of a pool.

    Raises:
        DataError: none is left.
    """
    sated = without_negatives(pool, known, n_users)
    if not sated[tasks.users].any():
        return tasks
    if sated[tasks.users].all():
        raise nothing_to_compare("meta-training tasks", pool)
    support, query = (pairs.select(~sated[pairs.users]) for pairs in (tasks.support, tasks.query))
    return Tasks(tasks.users[~sated[tasks.users]], support, query)


def _by_task(tasks: Tasks, pairs: Interactions, n_users: int, side: str) -> tuple[Ints, Ints]:
    """Return the items of each task as (rowptr, items), in the order of `tasks.users`."""
    number = np.full(n_users, -1, np.int64)
    number[tasks.users] = np.arange(len(tasks))
    owner = number[pairs.users]
    if len(owner) and owner.min() < 0:
        raise DataError(
            f"meta-training tasks, {side}",
            f"a pair of user row {pairs.users[owner.argmin()]}, who has no task",
            expected="pairs of the tasks' users only",
            fix="Split the data again.",
        )
    counts = np.bincount(owner, minlength=len(tasks))
    if (counts == 0).any():
        raise DataError(
            f"meta-training tasks, {side}",
            f"no pair for user row {tasks.users[counts.argmin()]}",
            expected="at least one pair in each task's support and query",
            fix="Split the data again with a higher minimum number of items.",
        )
    order = np.argsort(owner, kind="stable")
    return np.concatenate([[0], counts.cumsum()]), pairs.items[order].astype(np.int64)


@dataclass(frozen=True)
class TaskBatch:
    """One outer step of a model that learns to adapt: what each task may adapt on, and what it is then judged on.

    Attributes:
        support, query: the pairs.
        each: so many pairs of the query in a row are one comparison, each with another candidate for its negative.
    """

    support: Episodes
    query: Episodes
    each: int = 1
