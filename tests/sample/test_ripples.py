"""Ripple sets: which facts are drawn around a row, how often, and how evenly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metakg.sample.neighbours import Edges
from metakg.sample.ripples import neighbourhoods, offsets, ripples


def edges_of(lists: list[list[int]]) -> Edges:
    degrees = torch.tensor([len(row) for row in lists])
    return Edges(torch.cat([degrees.new_zeros(1), degrees.cumsum(0)]), torch.tensor([c for row in lists for c in row]))


def drawn(edges: Edges, seeds: list[int], size: int, *at: float, cap: int | None = None) -> list[list[int]]:
    offset = [torch.tensor([x], dtype=torch.float64) for x in at]
    return ripples(edges, edges_of([seeds]), size, offset, cap=cap)[0].tolist()


def graph(rng: np.random.Generator, n: int) -> Edges:
    """Every node with one to a dozen edges to any."""
    return edges_of([rng.integers(n, size=rng.integers(1, 13)).tolist() for _ in range(n)])


@pytest.mark.parametrize("seed", range(5))
def test_every_fact_is_as_likely_as_the_nodes_that_lead_to_it(seed) -> None:
    rng = np.random.default_rng(seed)
    edges, size, steps = graph(rng, 9), 6, 4000
    seeds = rng.integers(9, size=7).tolist()  # some several times
    expected = np.zeros(len(edges.cols))
    for node in seeds:
        expected[edges.rowptr[node] : edges.rowptr[node + 1]] += 1
    offset = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    many = Edges(torch.arange(0, 7 * steps + 1, 7), torch.tensor(seeds * steps))
    found = np.bincount(ripples(edges, many, size, [offset]).flatten().numpy(), minlength=len(expected))
    np.testing.assert_allclose(found / steps, size * expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize("at", [0.0, 0.3, 0.999])
def test_nodes_reached_several_times_are_one_list(at) -> None:
    hub = edges_of([[1] * 100, [0] * 8])
    assert len(set(drawn(hub, [0] * 8, 8, at)[0])) == 8
    assert sorted(drawn(hub, [1] * 8, 8, at)[0]) == list(range(100, 108))
    lists = edges_of([[8] for _ in range(8)] + [list(range(8)) * 5])  # eight items of one genre
    _, second = drawn(lists, list(range(8)), 8, at, at)
    assert len(set(second)) == 8


@pytest.mark.parametrize("at", [0.0, 0.3, 0.999])
def test_lists_of_equal_length_are_not_read_at_one_place(at) -> None:
    lists = edges_of([list(range(5)) for _ in range(20)])  # five facts each, in the order of relations
    (found,) = drawn(lists, list(range(20)), 20, at)
    assert np.bincount(np.array(found) % 5, minlength=5).tolist() == pytest.approx([4] * 5, abs=1)
    assert [fact // 5 for fact in found] == list(range(20))


def test_none_comes_twice_while_there_are_enough_and_all_equally_often_where_there_are_not() -> None:
    rng = np.random.default_rng(1)
    edges = graph(rng, 30)
    for _ in range(200):
        seeds = rng.choice(30, size=rng.integers(1, 10), replace=False).tolist()
        there = sum(int(edges.degrees[node]) for node in seeds)
        size = int(rng.integers(1, there + 1))
        assert len(set(drawn(edges, seeds, size, rng.random())[0])) == size
        (thrice,) = drawn(edges, seeds, 3 * there, rng.random())
        assert set(np.unique(thrice, return_counts=True)[1]) == {3}


def test_a_cap_keeps_a_hub_from_crowding_out_the_others() -> None:
    edges = edges_of([[0] * 1000, [0] * 2, [0] * 2])
    for at in (0.0, 0.5, 0.99):
        capped = np.array(drawn(edges, [0, 1, 2], 8, at, cap=4)[0])
        assert (capped >= 1000).sum() == 4
        assert (capped < 1000).sum() == len(set(capped[capped < 1000])) == 4
        assert (np.array(drawn(edges, [0, 1, 2], 8, at)[0]) < 1000).sum() >= 7


def test_a_row_hangs_on_its_own_offset_and_nodes_alone() -> None:
    rng = np.random.default_rng(2)
    edges, rows = graph(rng, 40), [rng.integers(40, size=rng.integers(1, 9)).tolist() for _ in range(12)]
    at = [torch.from_numpy(rng.random(12)) for _ in range(2)]
    together = ripples(edges, edges_of(rows), 5, at, cap=3)
    for n, row in enumerate(rows):
        alone = ripples(edges, edges_of([row[::-1]]), 5, [offset[n : n + 1] for offset in at], cap=3)
        assert torch.equal(alone[0], together[n])
    hops = edges.cols[together[:, 0]]
    for n in range(12):
        reached = {fact for node in hops[n].tolist() for fact in range(edges.rowptr[node], edges.rowptr[node + 1])}
        assert set(together[n, 1].tolist()) <= reached


def test_neighbourhoods_take_equal_steps_through_each_list() -> None:
    edges = edges_of([[0] * 3, [0] * 10])
    assert neighbourhoods(edges, 5, torch.tensor([0.5, 0.5], dtype=torch.float64)).tolist() == [
        [0, 0, 1, 2, 2],
        [4, 6, 8, 10, 12],
    ]


def test_offsets_of_a_part_stay_when_another_grows() -> None:
    assert torch.equal(offsets(1, "x", 3, 2), torch.cat([offsets(1, "x", 3), offsets(1, "x", 5, 2)[5:]]))
