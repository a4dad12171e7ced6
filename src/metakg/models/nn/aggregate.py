"""Bi-interaction aggregation (paper, eq. 15): a node meets its message as a sum and as a product.

    e' = LeakyReLU(W_1 (e + m)) + LeakyReLU(W_2 (e * m))

Rows come in runs, one for each task, and every run has its own W_1 and W_2. On a CPU a run is worked through in pieces that
fit the cache, forward and backward, so that memory sees each row once and nothing is kept for the backward but the inputs;
elsewhere, and where second derivatives are needed, the same is composed from differentiable parts. Tests hold them equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, leaky_relu_

from metakg.models.nn.segments import Ptr, segment_mm

SLOPE = 0.01
"""Slope of LeakyReLU below zero; the paper does not say, this is the common default."""

_PIECE = 4096
"""Rows worked on at once: a handful of arrays of 1,024 x 64 floats fit a core's second-level cache."""


def bi_interaction(
    added: Tensor, multiplied: Tensor, w1: Tensor, w2: Tensor, ptr: Ptr, *, rows: Tensor | None = None, twice: bool = False
) -> Tensor:
    """Aggregate: e + m and e * m (n, D), stacks (S, O, D) -> (n, O).

    Args:
        added: e + m, or a table of it if `rows` is given.
        multiplied: e * m, likewise.
        w1: a matrix for each run, or a stack of one for all.
        w2: likewise.
        ptr: where the runs start.
        rows: (n,) rows of the tables to read.
        twice: keep what second derivatives need.
    """
    if added.is_cuda or twice:
        if rows is not None:
            added, multiplied = added.index_select(0, rows), multiplied.index_select(0, rows)
        return leaky_relu(segment_mm(added, w1, ptr), SLOPE) + leaky_relu(segment_mm(multiplied, w2, ptr), SLOPE)
    return cast(Tensor, _BiInteraction.apply(added, multiplied, w1, w2, tuple(ptr), rows))  # type: ignore[no-untyped-call]


def _pieces(ptr: tuple[int, ...], n: int, stacked: bool) -> Iterator[tuple[int, slice]]:
    """Cut the runs into pieces: yields the matrix to use and the rows."""
    bounds = ptr if stacked else (0, n)
    for s, (start, stop) in enumerate(pairwise(bounds)):
        for low in range(start, stop, _PIECE):
            yield s, slice(low, min(low + _PIECE, stop))


class _BiInteraction(torch.autograd.Function):
    """The cache-sized version for a CPU; once differentiable."""

    @staticmethod
    def forward(
        ctx: Any, added: Tensor, multiplied: Tensor, w1: Tensor, w2: Tensor, ptr: tuple[int, ...], rows: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(added, multiplied, w1, w2, rows)
        ctx.ptr = ptr
        if rows is not None and rows.shape[0] > 2 * added.shape[0] and same(w1) and same(w2):
            # Before their first step all tasks agree: each node is worked out once, however many tasks read it.
            return _BiInteraction.once(added, multiplied, w1[0], w2[0]).index_select(0, rows)
        out = added.new_empty(added.shape[0] if rows is None else rows.shape[0], w1.shape[1])
        for s, part in _pieces(ptr, out.shape[0], w1.shape[0] > 1):
            x, y = _read(added, rows, part), _read(multiplied, rows, part)
            first, second = torch.mm(x, w1[s].T), torch.mm(y, w2[s].T)
            torch.add(leaky_relu_(first, SLOPE), leaky_relu_(second, SLOPE), out=out[part])
        return out

    @staticmethod
    def once(added: Tensor, multiplied: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        """Aggregate all rows under one pair of matrices."""
        out = added.new_empty(added.shape[0], w1.shape[0])
        for _, part in _pieces((), out.shape[0], False):
            first, second = torch.mm(added[part], w1.T), torch.mm(multiplied[part], w2.T)
            torch.add(leaky_relu_(first, SLOPE), leaky_relu_(second, SLOPE), out=out[part])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        added, multiplied, w1, w2, rows = ctx.saved_tensors
        grads: list[Tensor | None] = [
            torch.zeros_like(added) if ctx.needs_input_grad[0] else None,
            torch.zeros_like(multiplied) if ctx.needs_input_grad[1] else None,
            torch.zeros_like(w1) if ctx.needs_input_grad[2] else None,
            torch.zeros_like(w2) if ctx.needs_input_grad[3] else None,
        ]
        for s, part in _pieces(ctx.ptr, grad.shape[0], w1.shape[0] > 1):
            for table, w, to_rows, to_w in ((added, w1, grads[0], grads[2]), (multiplied, w2, grads[1], grads[3])):
                x = _read(table, rows, part)
                # The product is cheaper to repeat than to fetch: it is in the cache, its inputs are needed anyway.
                g = torch.ops.aten.leaky_relu_backward(grad[part], torch.mm(x, w[s].T), SLOPE, False)
                if to_w is not None:
                    to_w[s].addmm_(g.T, x)
                if to_rows is not None and rows is None:
                    torch.mm(g, w[s], out=to_rows[part])
                elif to_rows is not None:
                    to_rows.index_add_(0, rows[part], torch.mm(g, w[s]))
        return (*grads, None, None)


def same(stack: Tensor) -> bool:
    """Say whether all matrices of a stack are equal."""
    return torch.equal(stack, stack[:1].expand_as(stack))


def _read(table: Tensor, rows: Tensor | None, part: slice) -> Tensor:
    return table[part] if rows is None else table.index_select(0, rows[part])
