"""Instances of meta-paths between users and items, found without looking at all pairs.

An instance begins at a user, goes to one of his items m, along the meta-path to a node x (a user or an entity, possibly over a
second entity), and from x to an item: u, m, [e,] x, i. Each part is cut to its best by cosine of the nodes' features: a user
starts at `starts` of his items, an item leads on by `width` chains, a node x leads to at most `ends` items. So a user's
instances are a short list of chains, (u, m, [e,] x), joined with the items that read x; of each pair the best `keep` by mean
cosine of neighbouring nodes stay. An instance never goes over the click (u, i) itself: m is not i, and no user in between is u.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.models.metapaths import MetaPath
from metakg.models.pathfinder import PathFinder, top_per_row
from metakg.sample.keys import Ints, KeySet
from metakg.types import Floats

_BLOCK = 1 << 17
"""Edges whose cosine is computed at a time."""


@dataclass(frozen=True)
class Limits:
    """How far each part of an instance is followed; see the module."""

    starts: int
    width: int
    ends: int
    keep: int
    min_cosine: float


@dataclass(frozen=True)
class Chains:
    """The chains (u, m, [e,] x) of some users on one meta-path, sorted by user, then x.

    Attributes:
        row: (n,) position of the user among those asked for.
        item: (n,) m.
        via: (n,) e, or -1.
        end: (n,) x.
        near: (n,) sum of the cosines of neighbouring nodes.
    """

    row: Ints
    item: Ints
    via: Ints
    end: Ints
    near: Floats

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Instances:
    """The best instances of n pairs on one meta-path.

    Attributes:
        pair: (n,) which pair, ascending; pairs without an instance do not occur.
        chain: (n, keep) positions in the chains, best first; -1 where there are fewer.
    """

    pair: Ints
    chain: Ints


class PathIndex:
    """One meta-path, cut into halves: chains that leave an item, and items that read a node.

    Args:
        path: the meta-path.
        finder: the facts and clicks that it runs over.
        users: (U, D) features of users, of length 1.
        entities: (E, D) features of entities, of length 1.
        limits: how far each part is followed.
    """

    def __init__(self, path: MetaPath, finder: PathFinder, users: Floats, entities: Floats, limits: Limits) -> None:
        self.path, self.limits, self.over_users = path, limits, not path.links
        ends_of = users if self.over_users else entities
        self.n_ends = len(ends_of)
        if len(path.links) < 3:
            links = sparse.csr_array(finder.clicks.T) if self.over_users else finder.items(path.links[0])
            near = _cosines(links, entities, ends_of)
            first = _top(links, near, limits.width)
            item, end, weight = _edges(first)
            self.chain_via, self.chain_end, self.chain_near = np.full(len(end), -1, np.int64), end, weight
            reading = first if self.over_users else _valued(links, near)  # who is read by an item is among its best users
        else:
            first, middle = finder.items(path.links[0]), finder.step(path.links[1])
            first = _top(first, _cosines(first, entities, entities), limits.width)
            middle = _top(middle, _cosines(middle, entities, entities), limits.width)
            item, self.chain_via, self.chain_end, self.chain_near = _two_steps(first, middle, limits.width)
            last = finder.items(path.links[2])
            reading = _valued(last, _cosines(last, entities, entities))
        self.chain_ptr = np.searchsorted(item, np.arange(finder.view.n_items + 1))
        turned = sparse.csr_array(reading.T)
        self.ends = _top(turned, turned.data, limits.ends)  # (X, I)
        self.starts = sparse.csr_array(self.ends.T)  # (I, X): the same links by item

    def chains(self, users: Ints, own: sparse.csr_array) -> Chains:
        """Return the chains of some users: (B,) user rows, and the cosines of the items they start at, (B, I)."""
        row, item, near = _edges(own)
        place, at = _expand(self.chain_ptr, item)
        chains = Chains(row[at], item[at], self.chain_via[place], self.chain_end[place], near[at] + self.chain_near[place])
        if self.over_users:
            chains = _picked(chains, np.flatnonzero(chains.end != users[chains.row]))
        return _picked(chains, np.argsort(chains.row * self.n_ends + chains.end, kind="stable"))

    def of_pairs(self, chains: Chains, rows: Ints, items: Ints) -> Instances:
        """Return the instances of given pairs: (n,) positions of users, (n,) item rows. From the item's side."""
        place, pair = _expand(self.starts.indptr, items)
        key = rows[pair] * self.n_ends + self.starts.indices[place]
        found = chains.row * self.n_ends + chains.end
        met = np.flatnonzero(KeySet(found).has(key))  # few: of drawn items hardly one is near
        place, pair, key = place[met], pair[met], key[met]
        first, last = np.searchsorted(found, key), np.searchsorted(found, key, side="right")
        counts = last - first
        link = np.repeat(np.arange(len(key)), counts)
        chain = np.repeat(first - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        return self._best(pair[link], chain, chains, items[pair[link]], self.starts.data[place[link]])

    def of_users(self, chains: Chains) -> Instances:
        """Return the instances of all pairs that have one; pair = position of the user * I + item. From the user's side."""
        place, chain = _expand(self.ends.indptr, chains.end)
        items = self.ends.indices[place].astype(np.int64)
        pair = chains.row[chain] * self.ends.shape[1] + items
        return self._best(pair, chain, chains, items, self.ends.data[place])

    def listed(self, user: int, item: int, own: sparse.csr_array) -> list[tuple[int, int, int]]:
        """Return the best instances of one pair as (m, e or -1, x), found by walking: the slow form of the two above."""
        found = []
        for m, near in zip(own.indices.tolist(), own.data.tolist(), strict=True):
            for place in range(int(self.chain_ptr[m]), int(self.chain_ptr[m + 1])):
                via, end = int(self.chain_via[place]), int(self.chain_end[place])
                read = self.ends[[end]]
                if m == item or item not in read.indices or (self.over_users and end == user):
                    continue
                last = float(read.data[read.indices == item][0])
                score = (near + float(self.chain_near[place]) + last) / (self.path.length - 1)
                if score >= self.limits.min_cosine:
                    found.append((-score, (m, via, end)))
        return [nodes for _, nodes in sorted(found)[: self.limits.keep]]

    def _best(self, pair: Ints, chain: Ints, chains: Chains, items: Ints, near: Floats) -> Instances:
        score = ((chains.near[chain] + near) / (self.path.length - 1)).astype(np.float32)
        kept = np.flatnonzero((chains.item[chain] != items) & (score >= self.limits.min_cosine))
        pair, chain, score = pair[kept], chain[kept], score[kept]
        # Either way in, the chains of a pair come in their own order, which breaks ties.
        order = np.argsort((pair << 32) | _falling(score), kind="stable")
        pair, chain = pair[order], chain[order]
        new = np.ones(len(pair), np.bool_)
        new[1:] = pair[1:] != pair[:-1]
        start = np.flatnonzero(new)
        rank = np.arange(len(pair)) - np.repeat(start, np.diff(np.append(start, len(pair))))
        few = rank < self.limits.keep
        best = np.full((len(start), self.limits.keep), -1, np.int64)
        best[(np.cumsum(new) - 1)[few], rank[few]] = chain[few]
        return Instances(pair[start], best)


def start_items(clicks: sparse.csr_array, users: Floats, entities: Floats, limit: int) -> sparse.csr_array:
    """Return the clicked items that each user starts at, with their cosines: (U, I) -> (U, I)."""
    return _top(clicks, _cosines(clicks, users, entities), limit)


def _two_steps(first: sparse.csr_array, middle: sparse.csr_array, width: int) -> tuple[Ints, Ints, Ints, Floats]:
    """Join item-e with e-x and keep the best chains of each item: item, e, x, sum of cosines, four (n,), by item."""
    item, via, near = _edges(first)
    place, at = _expand(middle.indptr, via)
    total = near[at] + middle.data[place]
    item, via, end = item[at], via[at], middle.indices[place].astype(np.int64)
    order = np.lexsort((end, via, -total, item))
    counts = np.bincount(item, minlength=first.shape[0])
    rank = np.arange(len(item)) - np.repeat(counts.cumsum() - counts, counts)
    kept = order[rank < width]
    return item[kept], via[kept], end[kept], total[kept].astype(np.float32)


def _expand(rowptr: npt.NDArray[np.integer], rows: Ints) -> tuple[Ints, Ints]:
    """List the entries of some rows: their places in the matrix, and the position in `rows` each belongs to."""
    first = rowptr[rows].astype(np.int64)
    counts = rowptr[rows + 1].astype(np.int64) - first
    at = np.repeat(np.arange(len(rows)), counts)
    return np.repeat(first - (counts.cumsum() - counts), counts) + np.arange(counts.sum()), at


def _edges(matrix: sparse.csr_array) -> tuple[Ints, Ints, Floats]:
    """Return row, column and value of every stored entry, in order of rows."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows, matrix.indices.astype(np.int64), matrix.data.astype(np.float32)


def _cosines(links: sparse.csr_array, left: Floats, right: Floats) -> Floats:
    """Return the inner product of both ends of every link."""
    rows, cols, _ = _edges(links)
    parts = [
        np.einsum("nd,nd->n", left[rows[at : at + _BLOCK]], right[cols[at : at + _BLOCK]]) for at in range(0, len(rows), _BLOCK)
    ]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _valued(links: sparse.csr_array, values: Floats) -> sparse.csr_array:
    return sparse.csr_array((values, links.indices, links.indptr), shape=links.shape)


def _top(links: sparse.csr_array, values: Floats, k: int) -> sparse.csr_array:
    rows, cols, _ = _edges(links)
    return top_per_row(rows, cols, values, links.shape, k)


def _picked(chains: Chains, kept: Ints) -> Chains:
    return Chains(chains.row[kept], chains.item[kept], chains.via[kept], chains.end[kept], chains.near[kept])


def _falling(score: Floats) -> Ints:
    """Return non-negative 32-bit numbers that fall where the scores rise: (n,) float32 -> (n,) int64."""
    bits = score.view(np.int32).astype(np.int64)
    rising = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # order of floats
    return (1 << 31) - rising
