"""The adaptive task scheduler (paper, eq. 18; after Yao et al. 2021, arXiv:2110.14057): which tasks teach most now?

For every task it remembers the last few (query loss after the inner step, similarity of support and query gradients). Two
BiLSTMs read these histories, a small head turns them into a probability over a pool of candidates, and a policy gradient
teaches it: tasks that were chosen and turned out below the running mean loss become likelier. Whether that drifts towards easy
or hard tasks (the paper's text and its formula disagree) is measured and logged.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metakg import rng as random
from metakg.types import Json


class SchedulerConfig(BaseModel):
    """Settings of the task scheduler."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pool: PositiveInt = 48
    """Candidates looked at for one step; more than the step takes."""
    history: PositiveInt = 5
    """Remembered (loss, similarity) pairs of each task; 1 is what the authors' code amounts to."""
    hidden: PositiveInt = 10
    """Width of the BiLSTMs."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of the scheduler's own Adam."""
    entropy: NonNegativeFloat = 0.01
    """Weight of the entropy bonus, which keeps it from choosing the same tasks over and over."""
    baseline_decay: float = Field(0.9, ge=0.0, lt=1.0)
    """Memory of the running mean loss."""
    reward: Literal["query", "held_out"] = "query"
    """What a choice is judged by: the chosen tasks' own query loss (Algorithm 1, line 10), or the loss of held-out tasks
    after the step (as in the work the paper builds on)."""
    held_out: PositiveInt = 8
    """Held-out tasks drawn for each step where `reward` is "held_out"."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """How support and query gradient are compared: by their cosine in what the inner step adapts, or by their inner product
    in all weights of the layers, as eq. 18 may be read too (`metakg-paper` only)."""
    stale: bool = False
    """Choose by remembered numbers alone and compute only the chosen tasks: cheaper by pool / tasks, an approximation."""


def need_a_choice(scheduler: SchedulerConfig | None, tasks: int) -> None:
    """Refuse a pool that leaves nothing to choose.

    Raises:
        ValueError: it does.
    """
    if scheduler is not None and scheduler.pool <= tasks:
        raise ValueError(f"scheduler.pool = {scheduler.pool}; a pool above tasks = {tasks}, or there is nothing to choose")


class TaskScheduler(nn.Module):
    """Chooses tasks, and learns from what came of it.

    Args:
        config: settings.
        n_tasks: number of tasks there are.
        seed: of its initial weights and of its draws.
        device: where it runs.
    """

    memory: Tensor
    count: Tensor
    baseline: Tensor

    def __init__(self, config: SchedulerConfig, n_tasks: int, seed: int, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.config = config
        self.rng = random.torch_generator(seed, "scheduler/draws", str(device))
        init = random.torch_generator(seed, "scheduler/init")
        self.lstm = nn.ModuleList(nn.LSTM(1, config.hidden, bidirectional=True, batch_first=True) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(4 * config.hidden, 2 * config.hidden), nn.Tanh(), nn.Linear(2 * config.hidden, 1))
        with torch.no_grad():
            for p in self.parameters():
                bound = p.shape[-1] ** -0.5
                p.copy_((torch.rand(p.shape, generator=init) * 2 - 1) * bound)
        self.register_buffer("memory", torch.zeros(n_tasks, config.history, 2))
        self.register_buffer("count", torch.zeros(n_tasks, dtype=torch.int64))
        self.register_buffer("baseline", torch.full((), torch.nan))
        self._read: Tensor | None = None
        self.to(device)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=config.learning_rate)

    def record(self, tasks: Tensor, loss: Tensor, similarity: Tensor) -> None:
        """Remember what was seen of some tasks: (n,) task numbers, (n,), (n,); the newest stands last."""
        past = self.memory[tasks]
        newest = torch.stack([loss, similarity], dim=-1).unsqueeze(1).to(past.dtype)
        self.memory[tasks] = torch.cat([past[:, 1:], newest], dim=1)
        self.count[tasks] += 1

    def forward(self, tasks: Tensor, series: Tensor | None = None) -> Tensor:
        """Return the log-probability of each candidate: (n,) task numbers -> (n,).

        Args:
            tasks: the candidates.
            series: (n, H, 2) what is read of them; by default what is remembered now.
        """
        series = self._standardised(tasks) if series is None else series
        read = []
        for i, lstm in enumerate(self.lstm):
            _, (last, _) = lstm(series[..., i : i + 1])  # (2, n, hidden): the last output of either direction
            read.append(last.transpose(0, 1).flatten(1))
        logits: Tensor = self.head(torch.cat(read, dim=-1)).squeeze(-1)
        return torch.log_softmax(logits, 0)

    def choose(self, tasks: Tensor, n: int) -> Tensor:
        """Draw n candidates without replacement: (p,) task numbers -> (n,) ascending positions in them (Gumbel top-k).

        What was read is kept for `learn`: what a choice costs is often remembered before it is learnt from, and the gradient
        has to be that of the chances drawn from.
        """
        with torch.no_grad():
            self._read = self._standardised(tasks)
            noise = torch.rand(len(tasks), generator=self.rng, device=tasks.device).clamp_(min=1e-20)
            keys = self(tasks, self._read) - torch.log(-torch.log(noise))
        return torch.sort(torch.topk(keys, min(n, len(tasks))).indices).values

    def policy_loss(self, tasks: Tensor, chosen: Tensor, costs: Tensor, series: Tensor | None = None) -> Tensor:
        """Return sum (cost - baseline) log p / n - entropy bonus: a step down makes cheap choices likelier.

        Args:
            tasks: (p,) candidates.
            chosen: (n,) positions of those chosen.
            costs: (n,) what each choice cost; no gradient flows into it.
            series: what was read of the candidates (see `forward`).
        """
        log_p = self(tasks, series)
        baseline = costs.mean() if self.baseline.isnan() else self.baseline
        entropy = -(log_p.exp() * log_p).sum()
        loss: Tensor = ((costs.detach() - baseline) * log_p[chosen]).mean() - self.config.entropy * entropy
        return loss

    def learn(self, tasks: Tensor, chosen: Tensor, costs: Tensor) -> Json:
        """Take one step on the policy loss of the last choice; return what should be logged.

        `drift` is the correlation between the chance and the last loss of the candidates that have one: above zero it prefers
        hard tasks.
        """
        series, self._read = self._read, None
        with torch.enable_grad():
            loss = self.policy_loss(tasks, chosen, costs, series)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        mean = costs.detach().mean()
        decay = self.config.baseline_decay
        self.baseline.copy_(mean if self.baseline.isnan() else decay * self.baseline + (1 - decay) * mean)
        with torch.no_grad():
            log_p = self(tasks)
            p, known = log_p.exp(), self.count[tasks] > 0
            both = torch.stack([p[known], self.memory[tasks, -1, 0][known]])
            both = both - both.mean(dim=1, keepdim=True).nan_to_num()
            norms = both.norm(dim=1)
            drift = (both[0] @ both[1] / (norms[0] * norms[1]).clamp(min=1e-20)).item()
        return {"entropy": float(-(p * log_p).sum()), "drift": drift, "cost": float(mean)}

    def _standardised(self, tasks: Tensor) -> Tensor:
        """Return the histories with mean 0 and deviation 1 over the pool; what has not been seen yet is 0."""
        series = self.memory[tasks]
        ages = torch.arange(self.config.history, 0, -1, device=series.device)  # the last place is the newest
        seen = (ages <= self.count[tasks, None]).unsqueeze(-1).to(series.dtype)
        total = seen.sum((0, 1)).clamp(min=1)
        mean = (series * seen).sum((0, 1)) / total
        deviation = (((series - mean) * seen).square().sum((0, 1)) / total).sqrt()
        return (series - mean) / deviation.clamp(min=1e-6) * seen

    def position(self) -> Json:
        """Return everything that moves, for a checkpoint."""
        names = [name for name, _ in self.named_parameters()]
        moments = {
            name: {key: value.clone() for key, value in self.optimizer.state[p].items()}
            for name, p in zip(names, self.parameters(), strict=True)
            if p in self.optimizer.state
        }
        state = {name: value.clone() for name, value in self.state_dict().items()}
        return {"state": state, "moments": moments, "rng": self.rng.get_state()}

    def restore(self, position: Json) -> None:
        """Go back to where `position` was taken."""
        self.load_state_dict(position["state"])
        for name, p in self.named_parameters():
            if name in position["moments"]:
                self.optimizer.state[p] = {k: v.clone() for k, v in position["moments"][name].items()}
        self.rng.set_state(position["rng"])
