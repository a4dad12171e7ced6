"""Matrix products over runs of rows: each run (a task, a relation) has its own matrix.

Rows come sorted by run, `ptr` says where each run starts (S + 1 numbers), and the matrices are stacked (S, O, D). A stack of
one serves all rows. On a CPU a run is one BLAS call; on a GPU the runs are padded into one batched product.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

Ptr = Sequence[int]


def segment_mm(x: Tensor, w: Tensor, ptr: Ptr) -> Tensor:
    """Multiply each run by its matrix: rows (n, D), stack (S, O, D) -> (n, O), row @ w[s].T. Twice differentiable."""
    if w.shape[0] == 1:
        return x @ w[0].T
    if w.shape[0] != len(ptr) - 1 or ptr[-1] != x.shape[0]:
        raise ValueError(f"{w.shape[0]} matrices and {x.shape[0]} rows do not fit runs {ptr[0]}..{ptr[-1]} of {len(ptr) - 1}")
    return cast(Tensor, _SegmentMM.apply(x, w, tuple(ptr)))  # type: ignore[no-untyped-call]


def segment_outer(y: Tensor, x: Tensor, ptr: Ptr) -> Tensor:
    """Sum outer products over each run: (n, O), (n, D) -> (S, O, D), the gradient of `segment_mm` in its matrices."""
    return cast(Tensor, _SegmentOuter.apply(y, x, tuple(ptr)))  # type: ignore[no-untyped-call]


def run_ptr(runs: Tensor, n_runs: int) -> list[int]:
    """Return where each run starts: sorted run numbers (n,) -> n_runs + 1 positions."""
    bounds = torch.searchsorted(runs, torch.arange(n_runs + 1, device=runs.device, dtype=runs.dtype))
    return cast(list[int], bounds.tolist())


class _SegmentMM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, ptr: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.ptr = ptr
        return padded_mm(x, w, ptr) if x.is_cuda and _even(ptr) else looped_mm(x, w, ptr)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, w = ctx.saved_tensors
        grad_x = _SegmentMM.apply(grad, w.transpose(1, 2), ctx.ptr) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grad_w = segment_outer(grad, x, ctx.ptr) if ctx.needs_input_grad[1] else None
        return grad_x, grad_w, None


class _SegmentOuter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, ptr: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(y, x)
        ctx.ptr = ptr
        return padded_outer(y, x, ptr) if x.is_cuda and _even(ptr) else looped_outer(y, x, ptr)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, x = ctx.saved_tensors
        grad_y = _SegmentMM.apply(x, grad, ctx.ptr) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grad_x = _SegmentMM.apply(y, grad.transpose(1, 2), ctx.ptr) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return grad_y, grad_x, None


def looped_mm(x: Tensor, w: Tensor, ptr: Ptr) -> Tensor:
    """One product for each run."""
    out = x.new_empty(x.shape[0], w.shape[1])
    for s, (start, stop) in enumerate(pairwise(ptr)):
        torch.mm(x[start:stop], w[s].T, out=out[start:stop])
    return out


def looped_outer(y: Tensor, x: Tensor, ptr: Ptr) -> Tensor:
    """One sum of outer products for each run."""
    out = x.new_empty(len(ptr) - 1, y.shape[1], x.shape[1])
    for s, (start, stop) in enumerate(pairwise(ptr)):
        torch.mm(y[start:stop].T, x[start:stop], out=out[s])
    return out


def padded_mm(x: Tensor, w: Tensor, ptr: Ptr) -> Tensor:
    """All runs in one batched product, padded to the longest."""
    rows, valid = _padding(ptr, x.device)
    return torch.bmm(x[rows], w.transpose(1, 2))[valid]


def padded_outer(y: Tensor, x: Tensor, ptr: Ptr) -> Tensor:
    """All sums of outer products in one batched product, padded to the longest."""
    rows, valid = _padding(ptr, x.device)
    return torch.bmm((y[rows] * valid.unsqueeze(-1)).transpose(1, 2), x[rows])


def _even(ptr: Ptr) -> bool:
    """Say whether padding at most quadruples the rows; a few long runs are better off one by one."""
    longest = max(stop - start for start, stop in pairwise(ptr))
    return longest * (len(ptr) - 1) <= 4 * ptr[-1]


def _padding(ptr: Ptr, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows (S, longest) that pad every run to the longest, clamped to the last row, and which of them are real."""
    bounds = torch.tensor(ptr, device=device)
    longest = max(stop - start for start, stop in pairwise(ptr))
    rows = bounds[:-1, None] + torch.arange(longest, device=device)
    valid = rows < bounds[1:, None]
    return rows.clamp_(max=max(ptr[-1] - 1, 0)), valid
