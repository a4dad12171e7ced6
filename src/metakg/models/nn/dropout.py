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
    threshold = _threshold(rate)
    if not threshold:
        return x
    return x * _factors(x, threshold, rng)


def drop_(x: Tensor, rate: float, rng: torch.Generator) -> float:
    """Do the same in place, without a way back; return by how much the rest grew."""
    threshold = _threshold(rate)
    if threshold:
        x.mul_(_factors(x, threshold, rng))
    return _scale(threshold)


def keep_mask(
    shape: tuple[int, ...], rate: float, rng: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor | None, float]:
    """Draw which numbers stay, and by how much these grow: -> bool of this shape (None where all stay), factor."""
    threshold = _threshold(rate)
    if not threshold:
        return None, 1.0
    drawn = _bytes(shape, rng, device)
    return drawn.ge_(threshold).view(torch.bool), _scale(threshold)  # in bytes: torch takes many at a time, of bools one


def _threshold(rate: float) -> int:
    return min(round(rate * _LEVELS), _LEVELS - 1)


def _scale(threshold: int) -> float:
    return _LEVELS / (_LEVELS - threshold)


def _factors(x: Tensor, threshold: int, rng: torch.Generator) -> Tensor:
    """Draw zeros, and what the rest is multiplied with: of the shape of x."""
    kept = torch.empty_like(x, requires_grad=False)  # compared into: a bool between would take as long as drawing
    torch.ge(_bytes(x.shape, rng, x.device), threshold, out=kept)
    return kept.mul_(_scale(threshold))


def _bytes(shape: tuple[int, ...], rng: torch.Generator, device: torch.device | str) -> Tensor:
    """Draw one random byte for each number: -> uint8 of this shape."""
    n = math.prod(shape)
    words = torch.empty((n + 7) // 8, dtype=torch.int64, device=device).random_(_MIN, None, generator=rng)
    return words.view(torch.uint8)[:n].view(shape)
