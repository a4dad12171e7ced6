"""The parts of the network, each against a loop, a closed form or its numerical derivative."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metakg.models.nn.aggregate import bi_interaction
from metakg.models.nn.attention import segment_softmax
from metakg.models.nn.dropout import dropout, keep_mask
from metakg.models.nn.gate import fuse
from metakg.models.nn.segments import looped_mm, looped_outer, padded_mm, padded_outer, run_ptr, segment_mm, segment_outer
from metakg.models.nn.sparse import spmm, transpose
from metakg.models.nn.transr import energies
from metakg.sample.neighbours import Edges


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


EDGES = Edges(torch.tensor([0, 2, 2, 5]), torch.tensor([1, 3, 0, 1, 1]))  # row 1 reads nothing, row 2 reads source 1 twice


@pytest.mark.parametrize("sorted_once", [False, True])
def test_sparse_product_equals_dense_and_has_both_derivatives(sorted_once: bool) -> None:
    x, weights = random(4, 3), random(5, seed=1)
    turned = transpose(EDGES, 4) if sorted_once else None
    dense = torch.zeros(3, 4, dtype=torch.float64)
    for row, (start, stop) in enumerate(((0, 2), (2, 2), (2, 5))):
        for e in range(start, stop):
            dense[row, EDGES.cols[e]] += weights.detach()[e]
    torch.testing.assert_close(spmm(EDGES, weights, x, turned), dense @ x)

    def f(x: Tensor, weights: Tensor) -> Tensor:
        return spmm(EDGES, weights, x, turned)

    assert torch.autograd.gradcheck(f, (x, weights))
    assert torch.autograd.gradgradcheck(f, (x, weights))


def test_many_edges_are_sorted_in_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(4, 3)
    weights = random(5, seed=1).detach()
    (few,) = torch.autograd.grad(spmm(EDGES, weights, x).square().sum(), x)
    monkeypatch.setattr("metakg.models.nn.sparse._SORT_FROM", 1)
    (many,) = torch.autograd.grad(spmm(EDGES, weights, x).square().sum(), x)
    torch.testing.assert_close(few, many)


def test_runs_have_their_own_matrices() -> None:
    x, w, ptr = random(5, 3), random(3, 2, 3, seed=1), [0, 2, 2, 5]  # the middle run is empty
    expected = torch.cat([x[:2] @ w[0].T, x[2:] @ w[2].T])
    torch.testing.assert_close(segment_mm(x, w, ptr), expected)
    assert torch.autograd.gradcheck(lambda x, w: segment_mm(x, w, ptr), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: segment_mm(x, w, ptr), (x, w))
    y = random(5, 2, seed=2)
    torch.testing.assert_close(segment_outer(y, x, ptr)[1], torch.zeros(2, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda y, x: segment_outer(y, x, ptr), (y, x))
    with pytest.raises(ValueError, match="do not fit"):
        segment_mm(x, w, [0, 2, 5])


@pytest.mark.parametrize("ptr", [[0, 2, 2, 5], [0, 0, 0, 5], [0, 1, 4, 5], [0, 5, 5, 5]])
def test_padded_runs_equal_runs_one_by_one(ptr: list[int]) -> None:
    """What a GPU does, checked without one."""
    x, w, y = random(5, 3), random(3, 2, 3, seed=1), random(5, 2, seed=2)
    torch.testing.assert_close(padded_mm(x, w, ptr), looped_mm(x.detach(), w.detach(), ptr), check_stride=False)
    torch.testing.assert_close(padded_outer(y, x, ptr), looped_outer(y.detach(), x.detach(), ptr))


def test_runs_start_where_their_number_starts() -> None:
    assert run_ptr(torch.tensor([0, 0, 2, 2, 2]), 4) == [0, 2, 2, 5, 5]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("by_rows", [False, True])
def test_aggregation_in_pieces_equals_the_composed_form(stacked: bool, by_rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.models.nn.aggregate._PIECE", 2)
    a, m = random(7, 3), random(7, 3, seed=1)
    w1, w2 = random(3 if stacked else 1, 4, 3, seed=2), random(3 if stacked else 1, 4, 3, seed=3)
    rows = torch.tensor([6, 0, 0, 2, 5, 3]) if by_rows else None
    ptr = [0, 3, 3, 6] if by_rows else [0, 5, 5, 7]
    outs, grads = [], []
    for twice in (False, True):
        out = bi_interaction(a, m, w1, w2, ptr, rows=rows, twice=twice)
        outs.append(out)
        grads.append(torch.autograd.grad((out * random(*out.shape, seed=4).detach()).sum(), (a, m, w1, w2)))
    torch.testing.assert_close(*outs)
    for fast, composed in zip(*grads, strict=True):
        torch.testing.assert_close(fast, composed)


def test_nodes_that_all_tasks_agree_on_are_worked_out_once() -> None:
    a, m = random(3, 3), random(3, 3, seed=1)
    w1, w2 = (random(1, 4, 3, seed=s).detach().repeat(2, 1, 1).requires_grad_() for s in (2, 3))
    rows, ptr = torch.tensor([0, 1, 2, 2, 0, 1, 1, 2]), [0, 3, 8]
    outs = [bi_interaction(a, m, w1, w2, ptr, rows=rows, twice=twice) for twice in (False, True)]
    torch.testing.assert_close(*outs)
    weights = random(8, 4, seed=4).detach()
    for fast, composed in zip(*(torch.autograd.grad((o * weights).sum(), (a, m, w1, w2)) for o in outs), strict=True):
        torch.testing.assert_close(fast, composed)


def test_aggregation_by_hand() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    e, m = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[-5.0]], dtype=torch.float64)
    out = bi_interaction(e + m, e * m, one, -one, [0, 1])
    assert float(out) == pytest.approx(0.01 * -2.0 + 15.0)  # LeakyReLU(3 - 5) + LeakyReLU(-(3 * -5))


def test_softmax_sums_to_one_in_every_row_and_ignores_a_shift() -> None:
    logits, rowptr = random(5), torch.tensor([0, 2, 2, 5])
    shares = segment_softmax(logits, rowptr)
    torch.testing.assert_close(shares[:2], torch.softmax(logits[:2], 0))
    torch.testing.assert_close(shares[2:], torch.softmax(logits[2:], 0))
    torch.testing.assert_close(segment_softmax(logits + 1000, rowptr), shares)
    assert torch.autograd.gradcheck(lambda x: segment_softmax(x, rowptr), logits)


def test_a_gate_balances_two_messages_and_passes_one() -> None:
    m_c = torch.tensor([[1.0], [2.0], [0.0]])
    m_k = torch.tensor([[3.0], [0.0], [5.0]])
    w = torch.tensor([[[0.5]]])
    g = torch.sigmoid(torch.tensor(0.5 * 1 + 0.5 * 3))
    fused = fuse(m_c, m_k, w, w, torch.tensor([0]))
    torch.testing.assert_close(fused, torch.tensor([[float(g * 3 + (1 - g) * 1)], [2.0], [5.0]]))


def test_energy_by_hand() -> None:
    nodes = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # head, tail, corrupted tail
    project = torch.stack([torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])])
    relation = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    true, false = energies(nodes, torch.tensor([1]), relation, project)
    assert float(true) == (2 * 1 + 1) ** 2 + (-2 - 1) ** 2
    assert float(false) == 1**2 + (-1 - 1) ** 2


@pytest.mark.parametrize("size", [1, 7, 8, 1000])
def test_dropout_keeps_the_mean_and_repeats_with_its_generator(size: int) -> None:
    x = torch.ones(size, 3)
    rng = torch.Generator().manual_seed(1)
    state = rng.get_state()
    first = dropout(x, 0.25, rng)
    rng.set_state(state)
    assert torch.equal(first, dropout(x, 0.25, rng))
    assert set(first.unique().tolist()) <= {0.0, torch.tensor(1 / 0.75).item()}
    if size == 1000:
        assert float(first.mean()) == pytest.approx(1.0, abs=0.05)
    assert dropout(x, 0.0, rng) is x
    rng.set_state(state)
    keep, scale = keep_mask((size, 3), 0.25, rng)
    assert keep is not None
    assert keep.dtype == torch.bool
    assert torch.equal(first, keep * scale), "the mask is drawn alike where it is wanted by itself"
    assert keep_mask((size, 3), 0.0, rng) == (None, 1.0)
