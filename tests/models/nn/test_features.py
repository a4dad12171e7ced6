"""The features of items: which rows a batch reads, and the edges to them both ways."""

from __future__ import annotations

import pytest
import torch

from metakg.models.nn.features import _compacted
from metakg.models.nn.sparse import spmm, transpose


@pytest.mark.parametrize("counts", [[3, 0, 2, 4], [1], [0, 0], []])
def test_a_sort_gives_the_rows_and_the_edges_both_ways(counts: list[int]) -> None:
    rng = torch.Generator().manual_seed(len(counts))
    rowptr = torch.tensor([0, *torch.tensor(counts, dtype=torch.int64).cumsum(0).tolist()])
    cols = torch.randint(5, (sum(counts),), generator=rng)
    rows, edges, turned = _compacted(rowptr, cols)
    known, place = torch.unique(cols, return_inverse=True)
    assert torch.equal(rows, known)
    assert torch.equal(edges.cols, place)
    assert torch.equal(edges.rowptr, rowptr)
    wanted = transpose(edges, len(rows))
    assert all(torch.equal(getattr(turned, name), getattr(wanted, name)) for name in ("rowptr", "rows", "order"))


def test_the_gradient_over_turned_edges_is_that_of_the_edges() -> None:
    rng = torch.Generator().manual_seed(3)
    rowptr, cols = torch.tensor([0, 3, 3, 5, 9]), torch.randint(50, (9,), generator=rng)
    rows, edges, turned = _compacted(rowptr, cols)
    weights, table = torch.rand(9, generator=rng), torch.randn(50, 4, generator=rng)
    gradients = []
    for back in (turned, None):
        used = table.index_select(0, rows).requires_grad_()
        spmm(edges, weights, used, back).square().sum().backward()
        gradients.append(used.grad)
    torch.testing.assert_close(*gradients)
