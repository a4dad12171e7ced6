"""Losses against their definitions."""

from __future__ import annotations

import torch

from metakg import losses


def test_the_length_of_what_was_read_counts_each_reading() -> None:
    rows = torch.arange(12.0).view(4, 3)
    table, reads = rows.clone().requires_grad_(), torch.tensor([2, 0, 1, 3])
    read = rows.clone().requires_grad_()
    length = losses.squared_norm_of_reads(table, reads, batch=5)
    expected = losses.squared_norm(read[torch.tensor([0, 0, 2, 3, 3, 3])], batch=5)
    torch.testing.assert_close(length, expected)
    (3 * length).backward()
    (3 * expected).backward()
    torch.testing.assert_close(table.grad, read.grad)
    assert torch.equal(table.grad[1], torch.zeros(3)), "nobody read it"


def test_a_length_is_that_of_all_tensors_together_and_twice_differentiable() -> None:
    x, y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64, requires_grad=True)
    expected = (x.square().sum() + y.square().sum()) / 14
    torch.testing.assert_close(losses.squared_norm(x, y, batch=7), expected)
    assert torch.autograd.gradcheck(lambda *rows: losses.squared_norm(*rows, batch=7), (x, y))
    assert torch.autograd.gradgradcheck(lambda *rows: losses.squared_norm(*rows, batch=7), (x, y))
