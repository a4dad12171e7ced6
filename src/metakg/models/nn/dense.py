"""Dense layers by the faster of the two libraries that torch carries.

torch multiplies float32 matrices with MKL, which on processors of other makers than Intel's uses half of their vector width.
oneDNN, which torch ships as well and hands such products to only where it compiles a model, uses all of it, and adds the bias
and cuts at zero while the product is still in the cache. On an AMD processor with AVX-512 a layer of 4,096 x 64 x 64 takes
half the time on the way there, half towards its input, and the same towards its weights, which stay with MKL
(`python benchmarks/dense.py`). Both add up in float32, and up to a width of 192 to the same bits.

For shapes that come again and again: oneDNN writes machine code for each one that it meets.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metakg.models.nn.dropout import drop_

_WORTH = 1 << 20
"""Multiplications from which on oneDNN's longer way to the product is paid back."""

_VECTOR = 16
"""Numbers of a row from which on torch's softmax takes several at a time."""


def tower(
    x: Tensor,
    layers: Sequence[Tensor],
    biases: Sequence[Tensor],
    top: Tensor,
    *,
    rate: float = 0.0,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Return h . z_K of z_0 = x, z_k = drop(ReLU(W_k z_{k-1} + b_k)): (n, D_0) -> (n,). Once differentiable.

    One node of the graph, which knows that nobody else reads its gradients: they are cut in place, where those of a layer by
    itself would be copied.

    Args:
        x: (n, D_0).
        layers: W_k, (D_k, D_{k-1}) each.
        biases: b_k, (D_k,) each.
        top: h, (D_K,).
        rate: share of a layer's numbers that are dropped.
        rng: what draws them; only needed for a rate above 0.
    """
    result: Tensor = _Tower.apply(x, top, rate, rng, *layers, *biases)  # type: ignore[no-untyped-call]
    return result


def softmax(x: Tensor) -> Tensor:
    """Return the softmax over the last dimension: any shape -> the same shape.

    Rows of fewer than 16 numbers torch takes number by number, and so four times as long (`python benchmarks/dense.py`).
    """
    if x.shape[-1] >= _VECTOR:
        return torch.softmax(x, -1)
    grown = torch.exp(x - x.detach().amax(-1, keepdim=True))
    return grown / grown.sum(-1, keepdim=True)


class _Tower(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: Tensor, rate: float, rng: torch.Generator | None, *weights: Tensor) -> Tensor:
        depth, states, ctx.grown = len(weights) // 2, [x], 1.0
        for layer, bias in zip(weights[:depth], weights[depth:], strict=True):
            states.append(product(states[-1], layer, bias, relu=True))
            if rate:
                assert rng is not None, "dropping needs a generator"
                ctx.grown = drop_(states[-1], rate, rng)
        ctx.save_for_backward(top, *weights[:depth], *states)
        return states[-1] @ top

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        top, *others = ctx.saved_tensors
        depth = len(others) // 2
        layers, states = others[:depth], others[depth:]
        to_x, to_top, _, _, *wanted = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * (2 * depth)
        g = gradient[:, None] * top
        for k in reversed(range(depth)):
            if not (to_x or any(wanted[: k + 1]) or any(wanted[depth : depth + k + 1])):
                break
            torch.ops.aten.threshold_backward.grad_input(g, states[k + 1], 0, grad_input=g)  # what was dropped is zero, too
            if ctx.grown != 1.0:
                g.mul_(ctx.grown)
            if wanted[k]:
                found[k] = g.T @ states[k]
            if wanted[depth + k]:
                found[depth + k] = g.sum(0)
            if k or to_x:
                g = product(g, layers[k].T)
        return g if to_x else None, gradient @ states[-1] if to_top else None, None, None, *found


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """Return x W^T + b, cut at zero if `relu` is set: (n, D), (O, D), (O,) -> (n, O). Without a way back.

    The weight may be a view, such as another's transpose.
    """
    if _onednn() and x.numel() * len(weight) >= _WORTH and x.dtype == torch.float32 and x.device.type == "cpu":
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
        return result
    result = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
    return result.relu_() if relu else result


@cache
def _onednn() -> bool:
    """Say whether oneDNN is the faster one here: there, on a processor with AVX-512 that is not Intel's."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
    return there and torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in _maker()


def _maker() -> str:
    """Return what the system says about the processor."""
    known = Path("/proc/cpuinfo")
    return known.read_text(encoding="utf-8", errors="replace")[:1000] if known.exists() else platform.processor()
