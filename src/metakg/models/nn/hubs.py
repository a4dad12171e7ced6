"""What a hub hears, worked out as a whole: the sum over its many neighbours of layer 1, for every task that reads it.

Layer 1 is linear between the kinks of LeakyReLU. With S_n the slope (1 or 0.01) of each number of neighbour n, one matrix

    K = sum_n a_n S_n (x) x_n      (O, D), for W_1 with x = e + m; likewise for W_2 with e * m

says all of it: the message is sum_n a_n LeakyReLU(W x_n) = rowsum(W * K), and its gradient in W, given the gradient g of the
message, is g[:, None] * K. So the neighbours are gone through once, in pieces that fit the cache, nothing is laid down in
memory for them, and while all tasks still share their weights (the inner step) that once serves all tasks. On Last-FM one
entity is next to half of all nodes, and every task reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from metakg.models.nn.aggregate import SLOPE, same
from metakg.sample.neighbours import Hub

_PIECE = 4096
"""Neighbours worked on at once: a handful of arrays of 4,096 x 64 floats."""


def hub_messages(added: Tensor, multiplied: Tensor, w1: Tensor, w2: Tensor, hubs: Sequence[Hub]) -> Tensor:
    """Return what each task hears from each hub that it reads: tables (N, D), stacks (S, O, D) -> (P, O), hub by hub.

    Once differentiable in the tables and in the stacks. The weights of the hubs' edges are constants.
    """
    return cast(Tensor, _HubMessages.apply(added, multiplied, w1, w2, tuple(hubs)))  # type: ignore[no-untyped-call]


class _HubMessages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, added: Tensor, multiplied: Tensor, w1: Tensor, w2: Tensor, hubs: tuple[Hub, ...]) -> Tensor:
        shared = same(w1) and same(w2)
        outer, messages = [], []
        for hub in hubs:
            few = (0,) if shared else hub.tasks
            for table, w in ((added, w1), (multiplied, w2)):
                rows = table.index_select(0, hub.cols)
                sums = torch.stack([_sum(rows, w[t], hub.weights) for t in few])  # (tasks or 1, O, D)
                outer.append(sums)
                messages.append((w[list(few)] * sums).sum(-1).expand(len(hub.tasks), -1))
        ctx.save_for_backward(added, multiplied, w1, w2, *outer)
        ctx.hubs = hubs
        return torch.cat([first + second for first, second in zip(messages[::2], messages[1::2], strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        added, multiplied, w1, w2, *outer = ctx.saved_tensors
        inputs = (added, multiplied, w1, w2)
        grads = [torch.zeros_like(t) if need else None for t, need in zip(inputs, ctx.needs_input_grad, strict=False)]
        begin = 0
        for h, hub in enumerate(ctx.hubs):
            g = grad[begin : begin + len(hub.tasks)]
            begin += len(hub.tasks)
            places = list(hub.tasks) if w1.shape[0] > 1 else [0] * len(hub.tasks)
            index = torch.tensor(places, device=grad.device)
            for side in (0, 1):
                to_table, to_w = grads[side], grads[2 + side]
                if to_w is not None:
                    to_w.index_add_(0, index, g.unsqueeze(-1) * outer[2 * h + side])
                if to_table is not None:
                    to_table.index_add_(0, hub.cols, _to_rows(inputs[side], inputs[2 + side], hub, places, g))
        return (*grads, None)


def _sum(rows: Tensor, w: Tensor, weights: Tensor) -> Tensor:
    """Return K: (d, D) neighbours, (O, D), (d,) -> (O, D)."""
    total = torch.zeros_like(w)
    for part in _pieces(len(rows)):
        x = rows[part]
        total.addmm_(_slopes(x, w, weights[part]).T, x)
    return total


def _to_rows(table: Tensor, w: Tensor, hub: Hub, places: list[int], grad: Tensor) -> Tensor:
    """Return the gradient of the neighbours' rows, over all tasks that read the hub: -> (d, D)."""
    rows = table.index_select(0, hub.cols)
    out = torch.zeros_like(rows)
    for part in _pieces(len(rows)):
        for place, g in zip(places, grad, strict=True):
            out[part].addmm_(_slopes(rows[part], w[place], hub.weights[part]).mul_(g), w[place])
    return out


def _slopes(x: Tensor, w: Tensor, weights: Tensor) -> Tensor:
    """Return a_n S_n of some neighbours: (p, D), (O, D), (p,) -> (p, O)."""
    product = torch.mm(x, w.T)
    return cast(Tensor, torch.ops.aten.leaky_relu_backward(weights.unsqueeze(1).expand_as(product), product, SLOPE, False))


def _pieces(n: int) -> Iterator[slice]:
    for low in range(0, n, _PIECE):
        yield slice(low, min(low + _PIECE, n))
