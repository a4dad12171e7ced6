"""One seed, many independent generators, each with a name.

A run takes one seed. Every purpose ("split", "init", "negatives", "tasks", ...) derives its own generator from that seed
and its name, so that drawing one more negative never changes the split, and a result can be repeated to the digit.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, name: str) -> int:
    """Return the 63-bit seed that belongs to `name` under `seed`; the same on every machine and Python."""
    if seed < 0:
        raise ValueError(f"a seed is a non-negative integer, not {seed}")
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the numpy generator for one purpose."""
    return np.random.default_rng(derive(seed, name))


def torch_generator(seed: int, name: str, device: str = "cpu") -> torch.Generator:
    """Return the torch generator for one purpose."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, name))
