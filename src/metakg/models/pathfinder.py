"""The search behind AutoMetaPath (see `metakg.models.metapaths`): factors of paths, statistics of clicks, the choice.

Every path is a product of two sparse factors: item i leads to item j as often as (left @ right.T)[i, j] says. The I x I
matrix itself is formed in blocks, and only to keep the best neighbours of each item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg import rng as random
from metakg.data import Interactions, TrainView, Vocabulary
from metakg.models.metapaths import CHOSEN, LOWER, SAME, USERS, Candidate, Found, Link, MetaPath, MetaPathConfig
from metakg.models.nn.blocks import by_work
from metakg.sample.keys import Ints, contains, sorted_set
from metakg.types import Mask

Doubles = npt.NDArray[np.float64]

_PRIOR = 5.0
"""Expected shared clicks that are added to both sides of a lift, so that a path with three pairs cannot win by luck."""
_DISTINCT = 8
"""One-hop paths that are compared with all better ones; those behind them are never taken."""
_BLOCK = 4_000_000
"""Path instances that are counted at a time."""
_DENSE = 40_000_000
"""A two-hop path with more half-way instances than this is not tried."""


@dataclass(frozen=True)
class Example:
    """One instance of a path.

    Attributes:
        start, end: item rows.
        between: the entity rows that it goes over; none on the path over users.
        users: how many users clicked both items.
    """

    start: int
    between: tuple[int, ...]
    end: int
    users: int

    def text(self, path: MetaPath, v: Vocabulary) -> str:
        """Return the instance for people."""
        start, end = (v.entity_label(row) for row in (self.start, self.end))
        if not path.links:
            return f"{start} <-clicked- {self.users} users -clicked-> {end}"
        arrows = [link.text(v) for link in path.links[: len(self.between)]] + [path.links[-1].text(v, back=True)]
        nodes = [start, *(v.entity_label(row) for row in self.between), end]
        return nodes[0] + "".join(f" {arrow} {node}" for arrow, node in zip(arrows, nodes[1:], strict=True))


class PathFinder:
    """Meta-paths over one view and the pairs that may be edges.

    Args:
        view: training data; of its clicks only `pairs` are read.
        pairs: the clicks.
        config: settings.
    """

    def __init__(self, view: TrainView, pairs: Interactions, config: MetaPathConfig) -> None:
        self.view, self.config = view, config
        self.clicks = pairs.csr(view.n_users, view.n_items)
        self.hub = max(config.hub_items, int(config.hub_share * view.n_items))
        self._items: dict[Link, sparse.csr_array] = {}
        self._draws: dict[MetaPath, tuple[Ints, Ints, Ints]] = {}

    # -- factors ---------------------------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """Return every typed relation that an item has, in either direction."""
        facts, n = self.view.graph.entity, self.view.n_items
        heads, tails = (np.unique(facts.relations[rows < n]) for rows in (facts.heads, facts.tails))
        return [Link(int(r), False) for r in heads] + [Link(int(r), True) for r in tails]

    def entities(self, link: Link) -> sparse.csr_array:
        """Return the (E, E) matrix of a typed relation, a one for each fact; `inverse` transposes it."""
        facts, n = self.view.graph.entity, self.view.n_entities
        own = facts.relations == link.relation
        ends = (facts.tails[own], facts.heads[own]) if link.inverse else (facts.heads[own], facts.tails[own])
        matrix = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
        matrix.data[:] = 1.0  # the same fact given twice was summed
        return matrix

    def items(self, link: Link) -> sparse.csr_array:
        """Return the (I, E) matrix of a typed relation of items, without hubs."""
        if link not in self._items:
            rows = sparse.csr_array(self.entities(link)[: self.view.n_items])
            self._items[link] = _without(rows, np.bincount(rows.indices, minlength=rows.shape[1]) > self.hub)
        return self._items[link]

    def factors(self, path: MetaPath) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return left and right, both (I, X): i leads to j as often as (left @ right.T)[i, j] says, j = i included."""
        if not path.links:
            audience = sparse.csr_array(self.clicks.T)
            return audience, audience
        first = self.items(path.links[0])
        if len(path.links) == 1:
            return first, first
        return sparse.csr_array(first @ self.step(path.links[1])), self.items(path.links[2])

    def step(self, link: Link) -> sparse.csr_array:
        """Return the (E, E) matrix of a typed relation between entities, without what leads to too many."""
        matrix = self.entities(link)
        wide = np.diff(matrix.indptr) > self.hub
        return sparse.csr_array(sparse.diags_array((~wide).astype(np.float32)) @ matrix) if wide.any() else matrix

    def neighbours(self, path: MetaPath, k: int) -> sparse.csr_array:
        """Return the k items that each item leads to best: (I, I) float32, by count / log(1 + degree of the item reached).

        The degree is the number of instances that end there, so an item that everything leads to is not everybody's neighbour.
        """
        left, right = self.factors(path)
        into = right @ np.asarray(left.sum(axis=0)).ravel()  # (I,) instances that end in each item
        damp = (1.0 / np.log(2.0 + into)).astype(np.float32)
        turned = sparse.csr_array(right.T)
        blocks = [
            _best(sparse.csr_array(left[part] @ turned), part.start, damp, k)
            for part in by_work(left @ np.diff(turned.indptr), _BLOCK)
        ]
        return sparse.csr_array(sparse.vstack(blocks, format="csr")) if blocks else sparse.csr_array((0, 0), dtype=np.float32)

    # -- which of them ---------------------------------------------------------------------------------------------------

    def find(self) -> Found:
        """Measure all candidates and choose."""
        config = self.config
        one = sorted((self._measure(MetaPath((link,))) for link in self.links()), key=_order)
        two = sorted((self._measure(path) for path in self._two_hops()), key=_order) if config.two_hop else []
        distinct: list[MetaPath] = []
        one = self._choose(one, config.one_hop, distinct)
        two = self._choose(two, config.two_hop, distinct)
        short = config.two_hop - sum(c.fate == CHOSEN for c in two)
        for at in [at for at, c in enumerate(one) if c.fate == LOWER][:short]:
            one[at] = replace(one[at], fate=CHOSEN)
        return Found((replace(self._measure(USERS), fate=CHOSEN), *one, *two), config)

    def examples(self, path: MetaPath, n: int = 3) -> list[Example]:
        """Return some instances, those whose items most users clicked both of first, no item twice."""
        starts, middle, ends = self._draw(path)
        shared, _ = self._shared_clicks(path, starts, ends)
        found: list[Example] = []
        used: set[int] = set()
        for at in np.lexsort((ends, starts, -shared)).tolist():
            i, x, j = int(starts[at]), int(middle[at]), int(ends[at])
            if used & {i, j}:
                continue
            used |= {i, j}
            between: tuple[int, ...] = (x,) if path.links else ()
            if len(path.links) == 3:
                over = self.items(path.links[0])[[i]].indices
                into = self.step(path.links[1])[over][:, [x]].toarray().ravel()
                between = (int(over[into > 0][0]), x)
            found.append(Example(i, between, j, int(shared[at]) + (0 if path.links else 1)))
            if len(found) == n:
                break
        return found

    def _choose(self, candidates: list[Candidate], n: int, distinct: list[MetaPath]) -> list[Candidate]:
        """Choose the first n that differ from what is before them; `distinct` grows by those that were looked at."""
        judged, left, last = [], n, len(distinct) + _DISTINCT
        for c in candidates:
            if not c.fate:
                fate = LOWER if len(distinct) >= last else self._same(c.path, distinct)
                if fate is None:
                    distinct.append(c.path)
                    fate, left = (CHOSEN, left - 1) if left else (LOWER, 0)
                c = replace(c, fate=fate)
            judged.append(c)
        return judged

    def _same(self, path: MetaPath, others: list[MetaPath]) -> str | None:
        other = next((o for o in others if self._overlap(path, o) > self.config.max_overlap), None)
        return None if other is None else f"{SAME} {other.text(self.view.vocabulary)}"

    def _measure(self, path: MetaPath) -> Candidate:
        left, right = self.factors(path)
        # From i some other item is reached if the instances that start at i do not all end at i.
        degree = np.bincount(right.indices, minlength=right.shape[1]).astype(np.float32)
        reached = left @ degree - np.asarray(left.multiply(right).sum(axis=1)).ravel()
        coverage = float((reached > 0.5).mean()) if len(reached) else 0.0
        if path.links and coverage < self.config.min_coverage:
            least = self.config.min_coverage
            return Candidate(path, coverage, fate=f"leads on from {coverage:.1%} of the items, wanted are {least:.0%}")
        starts, _, ends = self._draw(path)
        shared, expected = self._shared_clicks(path, starts, ends)
        return Candidate(path, coverage, (shared.sum() + _PRIOR) / (expected.sum() + _PRIOR), len(starts))

    def _two_hops(self) -> list[MetaPath]:
        """Return the two-hop paths with the highest possible coverage, without forming their products."""
        ends = [link for link in self.links() if self._reach(self.items(link)) >= self.config.min_coverage]
        if not ends:
            return []
        at = np.stack([np.bincount(self.items(link).indices, minlength=self.view.n_entities) for link in ends], axis=1)
        at = at.astype(np.float32)  # (E, ends) items at each entity
        there = (at > 0).astype(np.float32)
        found: list[tuple[float, MetaPath]] = []
        relations = np.unique(self.view.graph.entity.relations)
        for middle in (Link(int(r), inverse) for r in relations for inverse in (False, True)):
            matrix = self.step(middle)
            opens = ((matrix @ there) > 0).astype(np.float32)  # (E, ends) whether e leads to an e' that items have
            possible = np.minimum(at.T @ opens / self.view.n_items, 1.0)  # (first, last)
            half = at.T @ np.diff(matrix.indptr)
            for a, b in np.argwhere((possible >= self.config.min_coverage) & (half <= _DENSE)[:, None]):
                found.append((float(possible[a, b]), MetaPath((ends[a], middle, ends[b]))))
        found.sort(key=lambda pair: (-pair[0], pair[1].codes()))
        return [path for _, path in found[: self.config.two_hop_tried]]

    def _reach(self, items: sparse.csr_array) -> float:
        """Return the share of the items that have any entity here."""
        return float((np.diff(items.indptr) > 0).mean()) if items.shape[0] else 0.0

    def _overlap(self, first: MetaPath, second: MetaPath) -> float:
        """Return the Jaccard index of the item pairs of two paths, from the draws of both."""
        shares = []
        for one, other in ((first, second), (second, first)):
            starts, _, ends = self._draw(one)
            if not len(starts):
                return 0.0
            left, right = self.factors(other)
            both = (
                left[starts].multiply(right[ends]).sum(axis=1) if len(other.links) < 3 else _joined(left, right, starts, ends)
            )
            shares.append(float((np.asarray(both).ravel() > 0).mean()))
        return 0.0 if min(shares) == 0.0 else 1.0 / (1.0 / shares[0] + 1.0 / shares[1] - 1.0)

    # -- statistics of clicks --------------------------------------------------------------------------------------------

    @cached_property
    def _audience(self) -> sparse.csr_array:
        """(I, U) who clicked each item."""
        audience = sparse.csr_array(self.clicks.T)
        audience.sort_indices()
        return audience

    @cached_property
    def _keys(self) -> Ints:
        pairs = self.clicks.tocoo()
        return sorted_set(pairs.row.astype(np.int64) * self.view.n_items + pairs.col)

    def _draw(self, path: MetaPath) -> tuple[Ints, Ints, Ints]:
        """Return different pairs of clicked items that a path joins, by drawing instances: start, node before the end, end.

        Three (n,) rows; the node before the end is a user on the path over users, else an entity.
        """
        if path not in self._draws:
            self._draws[path] = self._draw_anew(path)
        return self._draws[path]

    def _draw_anew(self, path: MetaPath) -> tuple[Ints, Ints, Ints]:
        clicked = (np.diff(self._audience.indptr) > 0).astype(np.float32)
        left, right = (sparse.csc_array(sparse.diags_array(clicked) @ factor) for factor in self.factors(path))
        left.eliminate_zeros()
        right.eliminate_zeros()
        sizes = np.diff(left.indptr).astype(np.int64), np.diff(right.indptr).astype(np.int64)
        total = np.cumsum(sizes[0] * sizes[1])
        if not len(total) or not total[-1]:
            return (np.empty(0, np.int64),) * 3
        rng = random.generator(self.config.seed, f"metapaths/{path.codes()}")  # the same draws whoever asks, and when
        middle = np.searchsorted(total, rng.integers(total[-1], size=self.config.samples), side="right")
        starts = left.indices[left.indptr[middle] + rng.integers(sizes[0][middle])].astype(np.int64)
        ends = right.indices[right.indptr[middle] + rng.integers(sizes[1][middle])].astype(np.int64)
        _, first = np.unique(starts * self.view.n_items + ends, return_index=True)
        kept = first[starts[first] != ends[first]]
        return starts[kept], middle[kept], ends[kept]

    def _shared_clicks(self, path: MetaPath, starts: Ints, ends: Ints) -> tuple[Doubles, Doubles]:
        """Return how many users clicked both items of pairs, and how many would if clicks were independent: two (n,).

        On the path over users the user in the middle is left out: he clicked both by construction.
        """
        audience, own = self._audience, 0 if path.links else 1
        size = np.diff(audience.indptr).astype(np.int64)  # of popular items, products of two do not fit into 32 bits
        swap = size[starts] > size[ends]
        fewer, other = np.where(swap, ends, starts), np.where(swap, starts, ends)
        counts = size[fewer]
        pair = np.repeat(np.arange(len(starts)), counts)
        place = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + audience.indptr[fewer][pair]
        users = audience.indices[place].astype(np.int64)
        found = contains(self._keys, users * self.view.n_items + other[pair])
        shared = np.bincount(pair[found], minlength=len(starts)) - own
        active = max(1, int((np.diff(self.clicks.indptr) > 0).sum()))
        return shared.astype(np.float64), (size[starts] - own) * (size[ends] - own) / active


def _order(candidate: Candidate) -> tuple[float, list[int]]:
    return -candidate.score, candidate.path.codes()


def _without(rows: sparse.csr_array, columns: Mask) -> sparse.csr_array:
    """Return the matrix with some columns emptied."""
    if not columns.any():
        return rows
    kept = sparse.csr_array(rows @ sparse.diags_array((~columns).astype(np.float32)))
    kept.eliminate_zeros()
    return kept


def _joined(left: sparse.csr_array, right: sparse.csr_array, starts: Ints, ends: Ints) -> npt.NDArray[np.float32]:
    """Return left[i] . right[j] for pairs, in blocks: a row of a two-hop factor may be long."""
    parts = [
        np.asarray(left[starts[at : at + 4096]].multiply(right[ends[at : at + 4096]]).sum(axis=1)).ravel()
        for at in range(0, len(starts), 4096)
    ]
    return np.concatenate(parts)


def _best(counts: sparse.csr_array, start: int, damp: npt.NDArray[np.float32], k: int) -> sparse.csr_array:
    """Keep the k heaviest columns of each row, itself left out; equal weights by ascending column."""
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    columns = counts.indices
    weights = (counts.data * damp[columns]).astype(np.float32)
    other = columns != rows + start
    rows, columns, weights = rows[other], columns[other], weights[other]
    return top_per_row(rows, columns, weights, counts.shape, k)


def top_per_row(
    rows: Ints, columns: npt.NDArray[np.integer], weights: npt.NDArray[np.float32], shape: tuple[int, int], k: int
) -> sparse.csr_array:
    """Return the k heaviest entries of each row as a matrix: three (n,), rows ascending; equal weights by ascending column."""
    order = np.lexsort((columns, -weights, rows)) if len(rows) else np.empty(0, np.int64)
    counts = np.bincount(rows, minlength=shape[0])
    rank = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    kept = order[rank < k]
    return sparse.csr_array((weights[kept], (rows[kept], columns[kept])), shape=shape, dtype=np.float32)
