"""KGAT: its attention, energy, layers and losses against plain loops, and its two ways to a vector against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from metakg.data import TrainView
from metakg.models.kgat import KGAT, KgatConfig
from metakg.models.nn.dropout import keep_mask
from metakg.models.nn.propagate import Adjacency, graph_layer
from metakg.models.nn.sparse import transpose
from metakg.sample.neighbours import Edges, reach
from metakg.sample.pairs import PairBatch
from metakg.sample.triples import TripleBatch
from metakg.testing import LearntContract, toy_view
from metakg.train.baseline import BaselineConfig, train_baseline
from metakg.train.initialise import InitConfig, fit_transr
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")


class TestKgat(LearntContract):
    config = KgatConfig(dim=16, dims=(16, 8))


class TestKgatOfOneLayerWithoutAttention(LearntContract):
    config = KgatConfig(dim=16, dims=(16,), attention="uniform", message_dropout=0.0)


def build(view: TrainView, **settings: object) -> KGAT:
    model = KGAT(KgatConfig(**{"dim": 4, "dims": (4, 3, 2), **settings}), view, torch.Generator().manual_seed(3))
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():  # Xavier numbers are tiny and biases zero; larger ones make every nonlinearity count
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=noise))
    model = model.double().eval()
    model.on_epoch_start()
    return model


# -- slow, from the equations ---------------------------------------------------------------------------------------------


def triples_of(view: TrainView) -> set[tuple[int, int, int]]:
    """All edges both ways: clicks are type 0 and 2R + 1, facts 1..R and R + 1..2R."""
    n, r_all, found = view.n_users, view.n_relations, set()
    for u, i in zip(view.interactions.users.tolist(), view.interactions.items.tolist(), strict=True):
        found |= {(u, 0, n + i), (n + i, 2 * r_all + 1, u)}
    kg = view.graph.entity
    for h, r, t in zip(kg.heads.tolist(), kg.relations.tolist(), kg.tails.tolist(), strict=True):
        found |= {(n + h, r + 1, n + t), (n + t, r + 1 + r_all, n + h)}
    return found


def slow_attention(model: KGAT, h: int) -> dict[tuple[int, int], float]:
    logits = {}
    d = model.config.dim
    for _, r, t in (edge for edge in sorted(triples_of(model.view)) if edge[0] == h):
        w = model.project[r].tolist()
        head, tail = model.node[h].tolist(), model.node[t].tolist()
        total = 0.0
        for row in range(d):
            heads = sum(w[row][k] * head[k] for k in range(d)) + float(model.relation[r, row])
            total += sum(w[row][k] * tail[k] for k in range(d)) * math.tanh(heads)
        logits[r, t] = total
    powers = {edge: math.exp(x) for edge, x in logits.items()}
    return {edge: p / sum(powers.values()) for edge, p in powers.items()}


def slow_vectors(model: KGAT) -> list[Tensor]:
    """Final vectors of all nodes."""
    layers = [list(model.node)]
    n_nodes = len(model.node)
    shares = [slow_attention(model, h) for h in range(n_nodes)]
    for w1, b1, w2, b2 in zip(model.w1, model.b1, model.w2, model.b2, strict=True):
        below, above = layers[-1], []
        for h in range(n_nodes):
            m = sum((a * below[t] for (_, t), a in shares[h].items()), torch.zeros_like(below[h]))
            above.append(leaky_relu(w1 @ (below[h] + m) + b1, 0.01) + leaky_relu(w2 @ (below[h] * m) + b2, 0.01))
        layers.append(above)
    return [torch.cat([layers[0][h], *(e[h] / e[h].norm() for e in layers[1:])]) for h in range(n_nodes)]


# -- the model is the equations --------------------------------------------------------------------------------------------


def test_attention_is_a_softmax_over_all_edges_of_a_node(toy: TrainView) -> None:
    model = build(toy)
    graph = model.graph.edges
    named = zip(graph.heads.tolist(), graph.relations.tolist(), graph.tails.tolist(), strict=True)
    edges = dict(zip(named, model.attention_weights.tolist(), strict=True))
    assert edges.keys() == triples_of(toy)
    for h in range(len(model.node)):
        for (r, t), share in slow_attention(model, h).items():
            assert edges[h, r, t] == pytest.approx(share)
    uniform = build(toy, attention="uniform").attention_weights
    assert uniform[:4].tolist() == [1 / 4] * 4, "user 0 has clicked four items"


@pytest.mark.parametrize("dims", [(4, 3, 2), (3,), (5, 2)])
def test_scores_equal_the_equations(toy: TrainView, dims: tuple[int, ...]) -> None:
    model = build(toy, dims=dims)
    slow = torch.stack(slow_vectors(model))
    users = torch.tensor([5, 0, 3])
    expected = slow[users] @ slow[6:14].T
    torch.testing.assert_close(model.score_all(users), expected)
    torch.testing.assert_close(model.score_pairs(users, torch.arange(8).expand(3, -1)), expected)


def test_the_pair_loss_and_its_gradients_equal_the_equations(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5, message_dropout=0.0).train()
    batch = PairBatch(torch.tensor([0, 1, 0]), torch.tensor([0, 2, 1]), torch.tensor([6, 7, 7]))
    terms = model(batch)
    slow = slow_vectors(model)
    margins, length = [], torch.zeros((), dtype=torch.float64)
    for u, i, j in ((0, 0, 6), (1, 2, 7), (0, 1, 7)):
        margins.append(slow[u] @ slow[6 + i] - slow[u] @ slow[6 + j])
        length = length + sum(slow[node].square().sum() for node in (u, 6 + i, 6 + j))
    rank = -torch.stack([torch.log(torch.sigmoid(m)) for m in margins]).mean()
    torch.testing.assert_close(terms["rank"], rank)
    torch.testing.assert_close(terms["l2"], 0.5 * length / 2 / 3)
    learnt = [model.node, *model.w1, *model.b1, *model.w2, *model.b2]
    fast = torch.autograd.grad(terms["rank"] + terms["l2"], learnt)
    for a, b in zip(fast, torch.autograd.grad(rank + 0.5 * length / 2 / 3, learnt), strict=True):
        torch.testing.assert_close(a, b)


def test_the_fact_loss_is_a_difference_of_transr_energies(toy: TrainView) -> None:
    model = build(toy, weight_decay=0.5)
    facts = [(0, 0, 6, 13), (6, 1, 14, 18), (14, 3, 7, 12)]  # head, type, true tail, false tail; sorted by type
    terms = model(TripleBatch(*(torch.tensor(c) for c in zip(*facts, strict=True))))
    total = length = 0.0
    for h, r, t, false in facts:
        energy = []
        for tail in (t, false):
            gap = model.project[r] @ model.node[h] + model.relation[r] - model.project[r] @ model.node[tail]
            energy.append(float(gap @ gap))
        total += math.log1p(math.exp(energy[0] - energy[1]))
        length += sum(float(model.node[n] @ model.node[n]) for n in (h, t, false))
    assert float(terms["kg"]) == pytest.approx(total / 3)
    assert float(terms["l2_kg"]) == pytest.approx(0.5 * length / 2 / 3)


def test_facts_are_all_edges_clicks_among_them(toy: TrainView) -> None:
    sampler = build(toy).facts(np.random.default_rng(0))
    assert set(zip(sampler.heads.tolist(), sampler.relations.tolist(), sampler.tails.tolist(), strict=True)) == triples_of(toy)


def test_attention_follows_the_vectors_only_at_the_start_of_an_epoch(toy: TrainView) -> None:
    model = build(toy)
    before = model.attention_weights.clone()
    with torch.no_grad():
        model.project.mul_(2)
    assert torch.equal(model.attention_weights, before)
    model.on_epoch_start()
    assert not torch.equal(model.attention_weights, before)
    assert not model.attention_weights.requires_grad
    torch.testing.assert_close(model.t_weights, model.attention_weights[model.graph.edges.t_order])


# -- the fast layer is the layer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("piece", [2, 4096])
def test_a_layer_equals_its_differentiable_parts(some: bool, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.models.nn.propagate._PIECE", piece)
    draw = torch.Generator().manual_seed(0)
    edges = Edges(torch.tensor([0, 2, 2, 5, 6, 7]), torch.tensor([1, 3, 0, 1, 4, 2, 0]))  # node 1 reads nothing
    weights = torch.rand(7, generator=draw, dtype=torch.float64)
    turned = transpose(edges, 5)
    adjacency = Adjacency(edges, weights, turned, weights[turned.order])
    shapes = ((5, 3), (2, 3), (2,), (2, 3), (2,))
    inputs = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    rows, read = (torch.tensor([4, 0, 2]), torch.tensor([1, 1, 3])) if some else (None, None)
    keep, scale = keep_mask((3 if some else 5, 2), 0.5, draw)

    def fast(*x: Tensor) -> tuple[Tensor, Tensor]:
        return graph_layer(*x, adjacency, rows=rows, read=read, keep=keep, scale=scale)

    def plain(e: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        dense = torch.zeros(5, 5, dtype=torch.float64)
        dense[[0, 0, 2, 2, 2, 3, 4], edges.cols] = weights
        m = dense @ e
        out = leaky_relu((e + m) @ w1.T + b1, 0.01) + leaky_relu((e * m) @ w2.T + b2, 0.01)
        return (out if rows is None else out[rows]) * keep * scale, e[:0] if read is None else e[read]

    for a, b in zip(fast(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(a, b)
    loss = [sum((x.square() * torch.arange(1, x.shape[1] + 1)).sum() for x in f(*inputs)) for f in (fast, plain)]
    for a, b in zip(torch.autograd.grad(loss[0], inputs), torch.autograd.grad(loss[1], inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_reach_lists_the_nodes_themselves_and_their_neighbours() -> None:
    edges = Edges(torch.tensor([0, 2, 2, 5, 6, 7]), torch.tensor([1, 3, 0, 1, 4, 2, 0]))
    below, itself, few, chosen = reach(edges, torch.tensor([1, 3]))
    assert below.tolist() == [1, 2, 3]
    assert itself.tolist() == [0, 2]
    assert few.rowptr.tolist() == [0, 0, 1]
    assert few.cols.tolist() == [1], "node 3 reads node 2, which stands second"
    assert chosen.tolist() == [5]


def test_vectors_may_start_from_transr_on_the_same_edges() -> None:
    model = KGAT(KgatConfig(dim=4, dims=(4,), cold="xavier"), toy_view(), torch.Generator().manual_seed(3))
    init = InitConfig(epochs=2, batch_size=16)
    start = fit_transr(model.graph, init, 4, 5, torch.device("cpu"))
    still = LoopConfig(epochs=1, learning_rate=1e-12)
    train_baseline(model, BaselineConfig(start="transr", transr=init, loop=still), 5)
    for name in ("node", "relation", "project"):
        torch.testing.assert_close(model.get_parameter(name), start.get_parameter(name))
