"""Losses: pure functions on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus


def bpr(margin: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009, arXiv:1205.2618), for each pair: (n,) -> (n,).

    Args:
        margin: how much higher the positive item scores than the negative one. softplus(-margin) is -log sigmoid(margin),
            without its overflow.
    """
    return softplus(-margin)


def binary(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean binary cross-entropy of scores as logits, clicks being 1 and others 0: (n,), (m,) -> scalar."""
    return (softplus(-positive).sum() + softplus(negative).sum()) / (positive.numel() + negative.numel())


def triple_ranking(true: Tensor, false: Tensor) -> Tensor:
    """Pairwise loss of fact energies (MetaKG, eq. 23), for each fact: (T,), (T,) -> (T,). A true fact has low energy."""
    return softplus(true - false)


def squared_norm(*rows: Tensor, batch: int, weight: float = 1.0, reads: Tensor | None = None) -> Tensor:
    """Half the squared length of the vectors that a batch uses, for each example, times a weight: any shapes -> scalar.

    Args:
        rows: the vectors.
        batch: number of examples.
        weight: of the penalty; for 0 nothing is computed.
        reads: (n,) how often each row was read, where the rows are whole tables of n rows; None: once each.
    """
    if not weight:
        return rows[0].new_zeros(())
    scale = weight / (2 * batch)
    if reads is None:
        once: Tensor = _Squares.apply(scale, *rows)  # type: ignore[no-untyped-call]
        return once
    often: Tensor = _Reads.apply(scale, reads.to(rows[0].dtype), *rows)  # type: ignore[no-untyped-call]
    return often


class _Squares(torch.autograd.Function):
    """scale * sum x^2 over some tensors, with one pass over each there and one back, and without joining or squaring any."""

    @staticmethod
    def forward(ctx: Any, scale: float, *rows: Tensor) -> Tensor:
        ctx.save_for_backward(*rows)
        ctx.scale = scale
        lengths = torch.stack([torch.linalg.vector_norm(x) for x in rows])
        return lengths.dot(lengths).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        factor = gradient * (2 * ctx.scale)
        return None, *(x * factor for x in ctx.saved_tensors)


class _Reads(torch.autograd.Function):
    """scale * sum_e reads_e |table_e|^2 over some tables: no table more on the way there, one on the way back."""

    @staticmethod
    def forward(ctx: Any, scale: float, reads: Tensor, *tables: Tensor) -> Tensor:
        ctx.save_for_backward(reads, *tables)
        ctx.scale = scale
        return sum((reads @ torch.linalg.vector_norm(t, dim=1).square_() for t in tables), reads.new_zeros(())).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        reads, *tables = ctx.saved_tensors
        factor = (reads * (gradient * (2 * ctx.scale))).unsqueeze(1)
        return None, None, *(table * factor for table in tables)


def mean_by_group(values: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Mean of each group: (n,), (n,) -> (n_groups,); an empty group has mean zero."""
    total = torch.zeros(n_groups, dtype=values.dtype, device=values.device).index_add(0, groups, values)
    counts = torch.bincount(groups, minlength=n_groups).clamp(min=1)
    return total / counts


def mean_rows(rows: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Mean vector of each group: (n, D), (n,) -> (n_groups, D); an empty group has zeros."""
    total = rows.new_zeros(n_groups, rows.shape[1]).index_add(0, groups, rows)
    counts = torch.bincount(groups, minlength=n_groups).clamp(min=1)
    return total / counts[:, None]
