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
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_WORTH = 1 << 20
"""Multiplications from which on oneDNN's longer way to the product is paid back."""

_VECTOR = 16
"""Numbers of a row from which on torch's softmax takes several at a time."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """Return x W^T + b, cut at zero if `relu` is set: (n, D), (O, D), (O,) -> (n, O). Once differentiable."""
    result: Tensor = _Linear.apply(x, weight, bias, relu)  # type: ignore[no-untyped-call]
    return result


def softmax(x: Tensor) -> Tensor:
    """Return the softmax over the last dimension: any shape -> the same shape.

    Rows of fewer than 16 numbers torch takes number by number, and so four times as long (`python benchmarks/dense.py`).
    """
    if x.shape[-1] >= _VECTOR:
        return torch.softmax(x, -1)
    grown = torch.exp(x - x.detach().amax(-1, keepdim=True))
    return grown / grown.sum(-1, keepdim=True)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        y = product(x, weight, bias, relu=relu)
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, y = ctx.saved_tensors
        g = gradient if y is None else torch.ops.aten.threshold_backward(gradient, y, 0)
        to_x, to_weight, to_bias, _ = ctx.needs_input_grad
        return (
            product(g, weight.T) if to_x else None,
            g.T @ x if to_weight else None,
            g.sum(0) if to_bias else None,
            None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """Return the same without a way back. The weight may be a view, such as another's transpose."""
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
