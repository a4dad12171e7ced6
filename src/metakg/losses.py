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


def squared_norm(*rows: Tensor, batch: int) -> Tensor:
    """Half the squared length of the vectors that a batch uses, for each example: any shapes -> scalar."""
    squares: Tensor = _Squares.apply(*rows)  # type: ignore[no-untyped-call]
    return squares / (2 * batch)


class _Squares(torch.autograd.Function):
    """sum x^2 over some tensors, with one pass over each there and one back, and without joining or squaring any."""

    @staticmethod
    def forward(ctx: Any, *rows: Tensor) -> Tensor:
        ctx.save_for_backward(*rows)
        return torch.stack([torch.linalg.vector_norm(x) for x in rows]).square_().sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(x * (2 * gradient) for x in ctx.saved_tensors)


def squared_norm_of_reads(table: Tensor, reads: Tensor, *, batch: int) -> Tensor:
    """The same, where each row of a table was read so many times: (E, D), (E,) -> scalar."""
    squares: Tensor = _Reads.apply(table, reads.to(table.dtype))  # type: ignore[no-untyped-call]
    return squares / (2 * batch)


class _Reads(torch.autograd.Function):
    """sum_e reads_e |table_e|^2, without a second table on the way there and with one on the way back."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, reads: Tensor) -> Tensor:
        ctx.save_for_backward(table, reads)
        lengths: Tensor = torch.linalg.vector_norm(table, dim=1)
        return reads @ lengths.square_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        table, reads = ctx.saved_tensors
        return table * (2 * gradient * reads).unsqueeze(1), None


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
