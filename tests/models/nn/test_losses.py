"""Losses against their definitions."""

from __future__ import annotations

import torch

from metakg import losses


def test_the_length_of_what_was_read_counts_each_reading() -> None:
    rows, biases = torch.arange(12.0).view(4, 3), torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    tables, read = [[t.clone().requires_grad_() for t in (rows, biases)] for _ in range(2)]
    reads, each = torch.tensor([2, 0, 1, 3]), torch.tensor([0, 0, 2, 3, 3, 3])
    length = losses.squared_norm(*tables, reads=reads, batch=5, weight=0.3)
    expected = losses.squared_norm(*(t[each] for t in read), batch=5, weight=0.3)
    torch.testing.assert_close(length, expected)
    torch.testing.assert_close(expected, 0.03 * sum(t[each].square().sum() for t in (rows, biases)))
    (3 * length).backward()
    (3 * expected).backward()
    for table, other in zip(tables, read, strict=True):
        torch.testing.assert_close(table.grad, other.grad)
        assert torch.equal(table.grad[1], torch.zeros_like(table[1])), "nobody read it"


def test_a_length_is_that_of_all_tensors_together_and_twice_differentiable() -> None:
    x, y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64, requires_grad=True)
    expected = (x.square().sum() + y.square().sum()) / 14
    torch.testing.assert_close(losses.squared_norm(x, y, batch=7), expected)
    torch.testing.assert_close(losses.squared_norm(x, y, batch=7, weight=0.1), 0.1 * expected)
    z, reads = torch.randn(5, 2, dtype=torch.float64, requires_grad=True), torch.tensor([1, 0, 2, 5, 1])

    def once(*rows: torch.Tensor) -> torch.Tensor:
        return losses.squared_norm(*rows, batch=7, weight=0.1)

    def often(*rows: torch.Tensor) -> torch.Tensor:
        return losses.squared_norm(*rows, batch=7, weight=0.1, reads=reads)

    for length, rows in ((once, (x, y)), (often, (z, z.detach().clone().requires_grad_()))):
        assert torch.autograd.gradcheck(length, rows)
        assert torch.autograd.gradgradcheck(length, rows)


def test_a_length_that_weighs_nothing_is_not_worked_out() -> None:
    x = torch.full((2, 3), torch.nan, requires_grad=True)
    for reads in (None, torch.ones(2)):
        length = losses.squared_norm(x, batch=7, weight=0.0, reads=reads)
        assert float(length) == 0.0
        assert not length.requires_grad
