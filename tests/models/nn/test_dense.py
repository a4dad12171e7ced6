"""Dense layers against their definition, by both libraries."""

from __future__ import annotations

import pytest
import torch

from metakg.experiments.measure import Operations
from metakg.models.nn import dense


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize(("n", "wide", "out"), [(3, 4, 2), (1, 64, 64), (700, 64, 32), (513, 200, 48)])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_is_what_it_says(
    n: int, wide: int, out: int, biased: bool, relu: bool, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(dense, "_onednn", lambda: onednn)
    monkeypatch.setattr(dense, "_WORTH", 0)
    rng = torch.Generator().manual_seed(1)
    x, weight, bias, g = (torch.randn(s, generator=rng) for s in ((n, wide), (out, wide), (out,), (n, out)))
    given = [t.requires_grad_() for t in (x, weight, *([bias] if biased else []))]
    plain = [t.detach().double().requires_grad_() for t in given]
    result = dense.linear(*given, relu=relu)
    expected = plain[0] @ plain[1].T + (plain[2] if biased else 0.0)
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=1e-5)
    result.backward(g)
    expected.backward(g.double())
    for ours, theirs in zip(given, plain, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-3, rtol=1e-4)


def test_a_layer_reads_views_and_other_formats_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_onednn", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(dense, "_WORTH", 0)
    x, weight = torch.randn(128, 600).T, torch.randn(128, 64).T  # both transposed
    torch.testing.assert_close(dense.product(x[::2], weight), x[::2] @ weight.T, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(dense.product(x.double(), weight.double()), x.double() @ weight.double().T)


def test_a_layer_is_differentiated_once_or_refuses() -> None:
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(dense.linear(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()


def test_a_layer_counts_as_many_operations_by_either_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_WORTH", 0)
    for onednn in {False, hasattr(torch.ops.mkldnn, "_linear_pointwise")}:
        monkeypatch.setattr(dense, "_onednn", lambda onednn=onednn: onednn)
        with Operations() as counted:
            x, weight = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
            dense.linear(x, weight, torch.zeros(3), relu=True).sum().backward()
        assert counted.total == 3 * 2 * 6 * 4 * 3, "there, towards the input, towards the weights"


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4), (3, 1), (0, 4), (3, 16)])
def test_a_softmax_is_one_however_few_numbers_a_row_has(shape: tuple[int, ...]) -> None:
    x = 50 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    g = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    found, expected = dense.softmax(ours), torch.softmax(theirs, -1)
    torch.testing.assert_close(found, expected)
    for result in (found, expected):
        result.backward(g)
    torch.testing.assert_close(ours.grad, theirs.grad)
