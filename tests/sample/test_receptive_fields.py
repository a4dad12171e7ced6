"""Receptive fields: exact ones hold all that is read, sampled ones keep the expectation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.sample.neighbours import Edges, Messages, receptive_field


def messages(degrees: list[int], n: int, seed: int) -> Messages:
    rng = np.random.default_rng(seed)
    rowptr = torch.tensor(np.concatenate([[0], np.cumsum(degrees)]))
    cols = torch.from_numpy(rng.integers(n, size=int(rowptr[-1])))
    raw = [rng.random(d) + 0.01 for d in degrees]
    weights = np.concatenate([r / r.sum() for r in raw if len(r)]) if sum(degrees) else np.empty(0)
    return Messages(Edges(rowptr, cols), torch.from_numpy(weights))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=8), st.integers(0, 99))
def test_an_exact_field_reads_every_neighbour(degrees: list[tuple[int, int]], seed: int) -> None:
    n = len(degrees)
    kinds = [messages([d[k] for d in degrees], n, seed + k) for k in range(2)]
    rng = np.random.default_rng(seed)
    tasks, nodes = torch.from_numpy(np.sort(rng.integers(3, size=5))), torch.from_numpy(rng.integers(n, size=5))
    field = receptive_field([kinds], tasks, nodes, n_tasks=3, n_nodes=n)
    assert torch.equal(field.tasks[1][field.seeds], tasks)
    assert torch.equal(field.nodes[1][field.seeds], nodes)
    hop, (below, top) = field.hops[0], field.nodes
    assert torch.equal(below[hop.itself], top)
    dense = torch.zeros(3 * hop.n, n, dtype=torch.float64)
    edges = hop.read.edges
    for row in range(3 * hop.n):
        part = slice(int(edges.rowptr[row]), int(edges.rowptr[row + 1]))
        dense[row].index_add_(0, below[edges.cols[part]], hop.read.weights[part])
        owner = field.tasks[1][row % hop.n]
        assert (field.tasks[0][edges.cols[part]] == owner).all(), "a task reads rows of its own only"
    for k, kind in enumerate(kinds):
        for row, node in enumerate(top.tolist()):
            part = slice(int(kind.edges.rowptr[node]), int(kind.edges.rowptr[node + 1]))
            expected = torch.zeros(n, dtype=torch.float64).index_add_(0, kind.edges.cols[part], kind.weights[part])
            torch.testing.assert_close(dense[(1 + k) * hop.n + row], expected)
    for task, node in ((t, x) for t, x in zip(field.tasks, field.nodes, strict=True)):
        keys = task * n + node
        assert (keys.diff() > 0).all(), "rows are sorted by task and occur once"


def test_sampling_keeps_the_expected_message() -> None:
    kind = messages([6, 3, 1], 6, seed=4)
    other = messages([0, 0, 0], 6, seed=4)
    total, rounds = torch.zeros(3, 6, dtype=torch.float64), 1500
    rng = torch.Generator().manual_seed(1)
    for _ in range(rounds):
        field = receptive_field(
            [[kind, other]], torch.zeros(3, dtype=torch.int64), torch.arange(3), n_tasks=1, n_nodes=6, fan_out=3, rng=rng
        )
        hop, below = field.hops[0], field.nodes[0]
        degrees = hop.degrees(0)
        assert degrees.tolist() == [3, 3, 1]
        for row in range(3):
            start = int(hop.read.edges.rowptr[hop.n + row])
            part = slice(start, start + int(degrees[row]))
            total[row].index_add_(0, below[hop.read.edges.cols[part]], hop.read.weights[part])
            assert float(hop.read.weights[part].sum()) == pytest.approx(1.0)
    exact = torch.zeros(3, 6, dtype=torch.float64)
    for row in range(3):
        part = slice(int(kind.edges.rowptr[row]), int(kind.edges.rowptr[row + 1]))
        exact[row].index_add_(0, kind.edges.cols[part], kind.weights[part])
    torch.testing.assert_close(total[1:] / rounds, exact[1:])  # few neighbours: exact every time
    torch.testing.assert_close(total[0] / rounds, exact[0], atol=0.02, rtol=0)


def test_a_fan_out_is_shared_by_the_sets_a_node_has() -> None:
    kinds = [messages([5, 5], 2, 0), messages([5, 0], 2, 1)]
    rng = torch.Generator().manual_seed(0)
    field = receptive_field(
        [kinds], torch.zeros(2, dtype=torch.int64), torch.arange(2), n_tasks=1, n_nodes=2, fan_out=4, rng=rng
    )
    hop = field.hops[0]
    assert hop.degrees(0).tolist() == [2, 4]
    assert hop.degrees(1).tolist() == [2, 0]
    with pytest.raises(ValueError, match="needs a generator"):
        receptive_field(
            [kinds], torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), n_tasks=1, n_nodes=2, fan_out=4
        )


def test_a_hub_is_left_out_of_the_lowest_hop_alone() -> None:
    """Node 0 reads four nodes, node 1 reads one; tasks 0 and 2 want both nodes, task 1 wants node 1."""
    kind, other = messages([4, 1, 0, 0], 4, seed=2), messages([0, 0, 0, 0], 4, seed=2)
    tasks, nodes = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 1])
    sizes = {"n_tasks": 3, "n_nodes": 4}
    field = receptive_field([[kind, other]], tasks, nodes, **sizes, hub_from=4)
    (hub,), (hop,) = field.hubs, field.hops
    assert torch.equal(hub.cols, kind.edges.cols[:4])
    assert torch.equal(hub.weights, kind.weights[:4])
    assert hub.tasks == (0, 2)
    assert hub.places.tolist() == [hop.n, hop.n + 3], "the first set's rows follow those that read themselves"
    for place, top in zip(hub.places.tolist(), (0, 3), strict=True):
        edge = int(hop.read.edges.rowptr[place])
        assert hop.degrees(0)[top] == 1
        assert hop.read.edges.cols[edge] == hop.itself[top]
        assert hop.read.weights[edge] == 0
    plain = receptive_field([[kind, other]], tasks, nodes, **sizes)
    assert not plain.hubs
    assert len(plain.nodes[0]) > len(field.nodes[0])
    two = receptive_field([[kind, other], [kind, other]], tasks, nodes, **sizes, hub_from=4)
    assert torch.equal(
        two.hops[1].read.edges.cols, receptive_field([[kind, other]] * 2, tasks, nodes, **sizes).hops[1].read.edges.cols
    )
