"""A bound on the length of vectors, kept by cutting them back after a step."""

from __future__ import annotations

import torch
from torch import Tensor

_SLACK = 1e-5
"""A vector that was cut may be longer than one by rounding; cutting it again would change its bits for nothing."""


@torch.no_grad()
def bound_lengths(table: Tensor, rows: Tensor | None = None) -> None:
    """Cut rows longer than one back to length one, in place: (n, D); of the given rows (m,), which may repeat, or of all."""
    chosen = torch.arange(len(table), device=table.device) if rows is None else rows
    vectors = table if rows is None else table.index_select(0, rows)
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    long = lengths > 1 + _SLACK
    if long.any():
        table[chosen[long]] = vectors[long] / lengths[long, None]
