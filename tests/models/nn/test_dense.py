"""Dense layers against their definition, by both libraries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metakg.experiments.measure import Operations
from metakg.models.nn import dense
from metakg.models.nn.dropout import dropout


@pytest.fixture(params=[False, True])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let products be made by either library, however small they are."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(dense, "_onednn", lambda: request.param)
    monkeypatch.setattr(dense, "_WORTH", 0)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize(("n", "wide", "out"), [(3, 4, 2), (1, 64, 64), (700, 64, 32), (513, 200, 48)])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_is_what_it_says(n: int, wide: int, out: int, biased: bool, relu: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(s, generator=rng) for s in ((n, wide), (out, wide), (out,)))
    expected = x.double() @ weight.double().T + (bias.double() if biased else 0.0)
    expected = expected.relu() if relu else expected
    result = dense.product(x, weight, bias if biased else None, relu=relu)
    torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("widths", [(4, 2), (64, 64, 64, 64), (64, 32, 48)])
def test_a_tower_and_its_gradients_are_those_of_its_layers_one_by_one(widths: tuple[int, ...], rate: float) -> None:
    rng = torch.Generator().manual_seed(1)
    n, shapes = 300, list(zip(widths[1:], widths[:-1], strict=True))
    x, top, g = (torch.randn(s, generator=rng) for s in ((n, widths[0]), (widths[-1],), (n,)))
    layers = [torch.randn(shape, generator=rng) / 8 for shape in shapes]
    biases = [torch.randn(shape[0], generator=rng) / 8 for shape in shapes]
    given = [t.requires_grad_() for t in (x, top, *layers, *biases)]
    plain = [t.detach().double().requires_grad_() for t in given]

    ours, theirs = (torch.Generator().manual_seed(2) for _ in range(2))
    result = dense.tower(x, layers, biases, top, rate=rate, rng=ours)
    z = plain[0]
    for layer, bias in zip(plain[2 : 2 + len(shapes)], plain[2 + len(shapes) :], strict=True):
        z = dropout((z @ layer.T + bias).relu(), rate, theirs)
    expected = z @ plain[1]
    torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(ours.get_state(), theirs.get_state())

    result.backward(g)
    expected.backward(g.double())
    for found, wanted in zip(given, plain, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        torch.testing.assert_close(found.grad.double(), wanted.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("learns", ["x", "top", "layers", "biases"])
def test_a_tower_works_out_only_the_gradients_that_are_wanted(learns: str) -> None:
    rng = torch.Generator().manual_seed(1)
    parts = {"x": [torch.randn(7, 4, generator=rng)], "top": [torch.randn(2, generator=rng)]}
    parts |= {"layers": [torch.randn(3, 4, generator=rng), torch.randn(2, 3, generator=rng)]}
    parts |= {"biases": [torch.randn(3, generator=rng), torch.randn(2, generator=rng)]}
    flat = [t for part in parts.values() for t in part]

    def run() -> Tensor:
        return dense.tower(parts["x"][0], parts["layers"], parts["biases"], parts["top"][0]).sum()

    for t in flat:
        t.requires_grad_()
    everything = torch.autograd.grad(run(), flat)
    alone = dict(zip(map(id, flat), everything, strict=True))
    for t in flat:
        t.requires_grad_(any(t is each for each in parts[learns]))
    with Operations() as counted:
        found = torch.autograd.grad(run(), parts[learns])
    assert all(torch.equal(f, alone[id(t)]) for f, t in zip(found, parts[learns], strict=True))
    there, back = 2 * 7 * (4 * 3 + 3 * 2 + 2), {"top": 2 * 7 * 2, "x": 2 * 7 * (2 * 3 + 3 * 4)}
    back |= {"biases": 2 * 7 * 2 * 3, "layers": 2 * 7 * (2 * 3 + 2 * 3 + 3 * 4)}
    assert counted.total == there + back[learns]


def test_a_layer_reads_views_and_other_formats_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_onednn", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(dense, "_WORTH", 0)
    x, weight = torch.randn(128, 600).T, torch.randn(128, 64).T  # both transposed
    torch.testing.assert_close(dense.product(x[::2], weight), x[::2] @ weight.T, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(dense.product(x.double(), weight.double()), x.double() @ weight.double().T)


def test_a_tower_is_differentiated_once_or_refuses() -> None:
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    score = dense.tower(x, [weight], [torch.ones(2)], torch.ones(2)).square().sum()
    (slope,) = torch.autograd.grad(score, x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()


@pytest.mark.usefixtures("onednn")
def test_a_layer_counts_as_many_operations_by_either_library() -> None:
    with Operations() as counted:
        dense.product(torch.randn(6, 4), torch.randn(3, 4), torch.zeros(3), relu=True)
    assert counted.total == 2 * 6 * 4 * 3


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
