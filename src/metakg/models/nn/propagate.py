"""One layer of KGAT (Wang et al. 2019, eqs. 6-8) over a whole graph, for rows that are read.

    e' = LeakyReLU(W_1 (e + m) + b_1) + LeakyReLU(W_2 (e * m) + b_2),    m = A e

The same is easily composed of differentiable parts, and a test holds both equal, values and gradients. This one is three times
as fast on a CPU: rows are worked through in pieces that fit the cache, so that memory sees each row once; nothing is kept but
inputs and signs; and the layer below gets its gradient as one table, however many readers it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from metakg.models.nn.aggregate import SLOPE
from metakg.models.nn.sparse import Transposed, weighted_sums
from metakg.sample.neighbours import Edges

_PIECE = 1024
"""Rows worked on at once: the dozen arrays of 1,024 x 64 floats that a piece takes stay near a core's second-level cache."""


@dataclass(frozen=True)
class Adjacency:
    """A weighted graph over N nodes, both ways.

    Attributes:
        edges: by the node that reads.
        weights: (E,) in that order.
        transposed: by the node that is read.
        t_weights: (E,) in that order.
    """

    edges: Edges
    weights: Tensor
    transposed: Transposed
    t_weights: Tensor


def graph_layer(
    e: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    adjacency: Adjacency,
    *,
    rows: Tensor | None = None,
    read: Tensor | None = None,
    keep: Tensor | None = None,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Propagate once.

    Args:
        e: (N, D) vectors of all nodes.
        w1: (O, D).
        b1: (O,).
        w2: (O, D).
        b2: (O,).
        adjacency: who reads whom; constant.
        rows: (n,) the nodes to work out, each once; None for all.
        read: (k,) nodes whose own e is wanted as well, repeats allowed.
        keep: (n, O) numbers of the result to keep, the others become zero (dropout); None keeps all.
        scale: factor of the numbers that are kept.

    Returns:
        e' of the rows (n, O), and e of `read` (k, D).
    """
    return cast(tuple[Tensor, Tensor], _Layer.apply(e, w1, b1, w2, b2, adjacency, rows, read, keep, scale))  # type: ignore[no-untyped-call]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        e: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        adjacency: Adjacency,
        rows: Tensor | None,
        read: Tensor | None,
        keep: Tensor | None,
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        m = weighted_sums(e, adjacency.edges.cols, adjacency.edges.rowptr, adjacency.weights)
        n = e.shape[0] if rows is None else rows.shape[0]
        out = e.new_empty(n, w1.shape[0])
        signs = [torch.empty(out.shape, dtype=torch.bfloat16, device=e.device) for _ in range(2)]  # the sign is all that counts
        for part in _pieces(n, e):
            x, y = _read(e, rows, part), _read(m, rows, part)
            total: Tensor | None = None
            for z, w, b, sign in ((x + y, w1, b1, signs[0][part]), (x * y, w2, b2, signs[1][part])):
                h = torch.addmm(b, z, w.T)
                sign.copy_(h)
                leaky_relu_(h, SLOPE)
                total = h if total is None else total.add_(h)
            assert total is not None
            if keep is not None:
                total.mul_(_numbers(keep[part], total)).mul_(scale)
            out[part] = total
        ctx.save_for_backward(e, m, w1, w2, rows, read, keep, *signs)
        ctx.adjacency, ctx.scale = adjacency, scale
        return out, e[:0] if read is None else e.index_select(0, read)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_read: Tensor) -> tuple[Tensor | None, ...]:
        e, m, w1, w2, rows, read, keep, *signs = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        n, d = grad.shape[0], e.shape[1]
        to_w = [torch.zeros_like(w1), torch.zeros_like(w2)]
        to_b = [w1.new_zeros(w1.shape[0]) for _ in range(2)]
        to_e, to_m = e.new_empty(n, d), torch.zeros_like(e) if rows is not None else torch.empty_like(e)
        for part in _pieces(n, e):
            x, y = _read(e, rows, part), _read(m, rows, part)
            g = grad[part]
            if keep is not None:
                g = _numbers(keep[part], g).mul_(g).mul_(ctx.scale)
            back = []
            for i, (z, w) in enumerate(((x + y, w1), (x * y, w2))):
                h = torch.ops.aten.leaky_relu_backward(g, signs[i][part].to(g.dtype), SLOPE, False)
                to_w[i].addmm_(h.T, z)
                to_b[i] += h.sum(0)
                back.append(h @ w)
            torch.addcmul(back[0], back[1], y, out=to_e[part])
            if rows is None:
                torch.addcmul(back[0], back[1], x, out=to_m[part])
            else:
                to_m[rows[part]] = torch.addcmul(back[0], back[1], x)
        turned = adjacency.transposed
        total = weighted_sums(to_m, turned.rows, turned.rowptr, adjacency.t_weights)
        if rows is None:
            total += to_e
        else:
            total.index_add_(0, rows, to_e)
        if read is not None:
            total.index_add_(0, read, grad_read)
        return total, to_w[0], to_b[0], to_w[1], to_b[1], None, None, None, None, None


def _pieces(n: int, like: Tensor) -> Iterator[slice]:
    size = _PIECE if not like.is_cuda else max(n, 1)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _numbers(flags: Tensor, like: Tensor) -> Tensor:
    """Return flags as 0 and 1, by way of bytes: kernels that mix numbers and flags are many times slower."""
    return flags.view(torch.uint8).to(like.dtype)


def _read(table: Tensor, rows: Tensor | None, part: slice) -> Tensor:
    return table[part] if rows is None else table.index_select(0, rows[part])
