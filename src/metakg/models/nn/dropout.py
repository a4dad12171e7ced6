"""Dropout whose randomness comes from a named generator, so that a resumed run draws the same masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MIN, _LEVELS = -(2**63), 256


def dropout(x: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    """Zero a share of the numbers and scale up the rest: any shape -> the same shape.

    The rate is rounded to 1/256, and 255/256 at most: one random byte a number is seven times faster than one random float.
    """
    keep, scale = keep_mask(x.shape, rate, rng, x.device)
    return x if keep is None else x * keep.to(x.dtype).mul_(scale)


def keep_mask(
    shape: tuple[int, ...], rate: float, rng: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor | None, float]:
    """Draw which numbers stay, and by how much these grow: -> bool of this shape (None where all stay), factor."""
    threshold = min(round(rate * _LEVELS), _LEVELS - 1)
    if not threshold:
        return None, 1.0
    n = math.prod(shape)
    words = torch.empty((n + 7) // 8, dtype=torch.int64, device=device).random_(_MIN, None, generator=rng)
    return words.view(torch.uint8)[:n].view(shape) >= threshold, _LEVELS / (_LEVELS - threshold)
