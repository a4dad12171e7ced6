"""Comparing vectors with rows of a table, in pieces."""

from __future__ import annotations

import pytest
import torch

from metakg.models.nn import rows
from metakg.models.nn.rows import compare_rows


@pytest.mark.parametrize(("n", "each"), [(0, 3), (1, 1), (7, 1), (23, 5), (23, 0)])
@pytest.mark.parametrize("at_once", [1, 40, 1 << 18])
def test_pieces_are_the_whole(n: int, each: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_AT_ONCE", at_once)
    rng = torch.Generator().manual_seed(1)
    left, table = torch.randn(n, 4, generator=rng), torch.randn(9, 4, generator=rng)
    asked = torch.randint(9, (n, each), generator=rng)
    found = compare_rows(left, table, asked)
    assert found.shape == (n, each)
    torch.testing.assert_close(found, (left[:, None] * table[asked]).sum(-1))
    far = compare_rows(left, table, asked, lambda one, other: (one - other).abs().sum(-1))
    torch.testing.assert_close(far, (left[:, None] - table[asked]).abs().sum(-1))
