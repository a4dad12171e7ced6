"""Decision layers of many learners at once: M tasks, each with P variants of a small network that scores items.

    y(c) = out . ReLU(W_2 ReLU(W_c c + b_1) + b_2),     b_1 already holds what the user adds

The items of a task are the same for its variants, so their first layers are one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metakg import losses
from metakg.models.nn.dense import product
from metakg.sample.episodes import Episodes

_ITEMS = 1024
"""Items ranked at a time."""
_CELLS = 1 << 21
"""Numbers in a hidden layer while ranking: 8 MB, which stays near the cache."""


class Decision(NamedTuple):
    """The layers: W_c (M, P, H, W), b_1 (M, P, H), W_2 (M, P, H, H), b_2 (M, P, H), out (M, P, H)."""

    item: Tensor
    first: Tensor
    second: Tensor
    bias: Tensor
    out: Tensor


def decide(theta: Sequence[Tensor], user: Tensor) -> Decision:
    """Return networks over [c_i; x_u] as networks over c_i: what the user's part adds is the same for all items.

    Args:
        theta: W_1 (M, P, H, W + D), b_1 (M, P, H), W_2 (M, P, H, H), b_2 (M, P, H), out (M, P, H).
        user: (M, P, D).
    """
    first, bias, *rest = theta
    width = first.shape[-1] - user.shape[-1]
    return Decision(first[..., :width], bias + (first[..., width:] @ user.unsqueeze(-1)).squeeze(-1), *rest)


@dataclass(frozen=True)
class Comparisons:
    """Pairs of items that each task compares, padded to the longest task.

    Attributes:
        positives, negatives: (M, S) places of items.
        share: (M, S) weight of each comparison in its task's mean; 0 in the padding.
    """

    positives: Tensor
    negatives: Tensor
    share: Tensor

    @staticmethod
    def of(episodes: Episodes, positives: Tensor, negatives: Tensor) -> Comparisons:
        """Pad the pairs of episodes, whose items stand at these places: (P,), (P,)."""
        m, tasks = episodes.n_tasks, episodes.tasks
        counts = torch.bincount(tasks, minlength=m)
        width = int(counts.max()) if len(tasks) else 0
        cells = tasks * width + torch.arange(len(tasks), device=tasks.device) - (counts.cumsum(0) - counts)[tasks]
        left, right = (places.new_zeros(m * width).index_copy(0, cells, places) for places in (positives, negatives))
        share = torch.zeros(m * width, device=tasks.device).index_copy(0, cells, 1.0 / counts[tasks])
        return Comparisons(*(part.view(m, width) for part in (left, right, share)))

    def listed(self) -> list[tuple[int, int]]:
        """Return the comparisons of a single task as pairs of places, for a reference that goes one by one."""
        return list(zip(self.positives[0].tolist(), self.negatives[0].tolist(), strict=True))


def scores(content: Tensor, d: Decision) -> Tensor:
    """Score the items of every task by each of its variants: (M, S, W) -> (M, P, S)."""
    hidden = content @ d.item.flatten(1, 2).mT  # (M, S, P * H)
    hidden = hidden.view(*content.shape[:2], *d.first.shape[1:]).transpose(1, 2)  # (M, P, S, H)
    hidden = torch.relu(hidden + d.first.unsqueeze(2))
    hidden = torch.relu(hidden @ d.second.mT + d.bias.unsqueeze(2))
    return (hidden @ d.out.unsqueeze(-1)).squeeze(-1)


def task_losses(content: Tensor, comparisons: Comparisons, d: Decision) -> Tensor:
    """Return the mean BPR loss of every variant of every task: rows of items (n, W) -> (M, P). A task without pairs has 0."""
    positive, negative = (scores(content[places], d) for places in (comparisons.positives, comparisons.negatives))
    return (losses.bpr(positive - negative) * comparisons.share.unsqueeze(1)).sum(-1)


def rank(content: Tensor, d: Decision) -> Tensor:
    """Score all items by the single variant of every task: (I, W) -> (M, I)."""
    item, first, second, bias, out = (part[:, 0] for part in d)
    m, h, _ = item.shape
    result = content.new_empty(m, len(content))
    step = max(1, _CELLS // (h * _ITEMS))
    for begin in range(0, m, step):
        some = slice(begin, begin + step)
        stacked = item[some].flatten(0, 1)  # (b * H, W): one product for all users
        for start in range(0, len(content), _ITEMS):
            rows = content[start : start + _ITEMS]
            hidden = product(stacked, rows).view(-1, h, len(rows)).add_(first[some].unsqueeze(-1)).relu_()
            hidden = torch.baddbmm(bias[some].unsqueeze(-1), second[some], hidden).relu_()
            result[some, start : start + _ITEMS] = torch.bmm(out[some].unsqueeze(1), hidden).squeeze(1)
    return result
