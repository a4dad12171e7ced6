"""`Factors`: closeness between items as products of sparse factors, with what lies between two items in the middle.

Every training-free score here has the form profile @ left @ right: from the items of a profile to what lies between (users,
entities), and from there to other items. One or more kinds of closeness, *channels*, share one pair of matrices: those of the
left side by side, those of the right one below the other. Many profiles are sparse products, a single one is added up in rows
that fit a near cache; either way each sum is worked out in the same order, so that the bits are the same in any company.
`JointFactors` are several such pairs, one after the other: where the clicks change and the facts do not, one pair is made anew.

What lies between has a number, its *node*, and an entry of a factor is an *edge* (item, node); see `metakg.models.reasons`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.data import TrainView
from metakg.models.reasons import Cut, Keys, Reason, Terms, reasons_of
from metakg.types import Floats, Mask, Rows


@dataclass(frozen=True, eq=False)
class Said:
    """What one channel says to one profile.

    Attributes:
        items: (n,) item rows, each once; None stands for all items.
        values: how much: (n,), or (I,).
    """

    items: Rows | None
    values: Floats

    def sparse(self) -> tuple[Rows, Floats]:
        """Return the items of which anything is said, and how much: two (n,)."""
        if self.items is not None:
            return self.items, self.values
        items = np.flatnonzero(self.values).astype(np.int32)
        return items, self.values[items]


@dataclass(frozen=True, eq=False)
class Channel:
    """One kind of closeness.

    Attributes:
        left: (I, M) from an item to what lies between.
        right: (M, I) from there to the other item.
        nodes: (M,) what lies between; the other item itself where one step leads to it.
        kinds: (M,) relation row * 2 + direction where what lies between is reached by one kind of fact; -1 or None otherwise.
        back: (I, M) `right`, turned; worked out where it is not at hand.
    """

    left: sparse.csr_array
    right: sparse.csr_array
    nodes: Keys
    kinds: Keys | None = None
    back: sparse.csr_array | None = None


class Factors:
    """Channels (C of them) side by side.

    Args:
        channels: at least one.

    Attributes:
        left: (I, M) csr; the columns of channel c are `starts[c]` to `starts[c + 1]`.
        right: (M, I) csr; the rows of channel c are `starts[c]` to `starts[c + 1]`.
        back: (I, M) csr; `back[j, m]` is what leads from m to item j.
        itself: (C, I) closeness of an item to itself.
        nodes: (M,) what lies between.
        kinds: (M,) relation row * 2 + direction, or -1.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        n_items = channels[0].left.shape[0]
        self.n_items, self.n_channels = n_items, len(channels)
        self.starts = np.cumsum([0, *(channel.left.shape[1] for channel in channels)])
        self.left = sparse.csr_array(sparse.hstack([channel.left for channel in channels], format="csr"), dtype=np.float32)
        rights = [channel.right for channel in channels]
        self.right = sparse.csr_array(sparse.vstack(rights, format="csr"), dtype=np.float32)
        backs = [turned(channel.right) if channel.back is None else channel.back for channel in channels]
        self.back = sparse.csr_array(sparse.hstack(backs, format="csr"), dtype=np.float32)
        own = [channel.left.multiply(back).sum(axis=1) for channel, back in zip(channels, backs, strict=True)]
        self.itself = np.stack([np.asarray(part, np.float32).ravel() for part in own])
        self.nodes = np.concatenate([channel.nodes for channel in channels]).astype(np.int64)
        self._of_thread = threading.local()
        kinds = [np.full(len(c.nodes), -1) if c.kinds is None else c.kinds for c in channels]
        self.kinds = np.concatenate(kinds).astype(np.int64)

    @cached_property
    def terms_an_item(self) -> float:
        """Products that the mean item of a profile takes part in."""
        towards = np.bincount(self.left.indices, minlength=self.left.shape[1])
        return float(np.dot(towards, np.diff(self.right.indptr)) / max(1, self.n_items))

    def channel(self, c: int) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return both factors of one channel: (I, m), (m, I)."""
        return self.left[:, self.starts[c] : self.starts[c + 1]], self._right_of(c)

    def between(self, profiles: sparse.csr_array, cut: Cut | None = None) -> sparse.csr_array:
        """Return what a profile gives to all that lies between: (B, I) -> (B, M). With a cut, B is 1."""
        if cut is None:
            return profiles @ self.left
        own, columns, weights = self._edges_of(profiles)
        weights = np.where(cut.has(own, self.nodes[columns]), np.float32(0), weights)
        given = np.bincount(columns, weights, minlength=self.left.shape[1]).astype(np.float32)
        there = np.flatnonzero(given)
        return self._row_of(given[there], there)

    def product(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Return what a profile gives to every item in each channel: (B, I) -> (B, C, I). With a cut, B is 1."""
        between = self.between(profiles, cut)
        result = np.zeros((profiles.shape[0], self.n_channels, self.n_items), np.float32)
        if len(result) == 1 and cut is None:
            for c, said in enumerate(self.told_to_one(between)):
                result[0, c, slice(None) if said.items is None else said.items] = said.values
        else:
            row, channel, item, values = self.told(between, cut)
            result[row, channel, item] = values
        return result

    def told(self, between: sparse.csr_array, cut: Cut | None = None) -> tuple[Rows, Rows, Rows, Floats]:
        """Return what the channels say, channel by channel: row, channel, item, and how much; four (n,). With a cut, B is 1.

        Many rows take the channels one by one, so that their sums fit into a near cache.
        """
        if between.shape[0] == 1:
            told = [said.sparse() for said in self.told_to_one(between)]
            item, values = np.concatenate([items for items, _ in told]), np.concatenate([values for _, values in told])
            row, sizes = np.zeros(len(item), np.int32), [len(items) for items, _ in told]
        else:
            bounds = enumerate(itertools.pairwise(self.starts))
            products = [between[:, begin:end] @ self._right_of(c) for c, (begin, end) in bounds]
            sizes = [product.nnz for product in products]
            rows = np.arange(between.shape[0], dtype=np.int32)
            row = np.concatenate([np.repeat(rows, np.diff(product.indptr)) for product in products])
            item = np.concatenate([product.indices for product in products]).astype(np.int32)
            values = np.concatenate([product.data for product in products])
        channel = np.repeat(np.arange(self.n_channels, dtype=np.int32), sizes)
        if cut is not None:
            given = np.zeros(self.left.shape[1], np.float32)
            given[between.indices] = between.data
            for place in np.flatnonzero(np.isin(item, cut.items)).tolist():
                c, (columns, weights) = channel[place], _row(self.back, int(item[place]))
                there = (columns >= self.starts[c]) & (columns < self.starts[c + 1])
                there &= ~cut.has(int(item[place]), self.nodes[columns])
                values[place] = np.float32(given[columns[there]] @ weights[there])
        return row, channel, item, values

    def told_to_one(self, between: sparse.csr_array) -> list[Said]:
        """Return what each channel says to one profile: (1, M) -> C of them. The bits are those of `told`.

        A crowded channel, in which many sums meet, is added up in a dense row.
        """
        ends, nodes, given = self.right.indptr, between.indices, between.data
        channel = self._channel_of(nodes)
        terms = np.bincount(channel, ends[nodes + 1] - ends[nodes], minlength=self.n_channels)
        crowded = _CROWDED * terms > self.n_items
        told = self._told_by_few(nodes, given, channel, ~crowded)
        for c in np.flatnonzero(crowded).tolist():
            mine = channel == c
            told[c] = Said(None, given[mine] @ self.right[nodes[mine]])
        return told

    def _told_by_few(self, nodes: Rows, given: Floats, channel: Keys, quiet: Mask) -> list[Said]:
        """Return what those channels say that are `quiet`, as sums over few terms; the others say nothing here."""
        order = np.argsort(np.where(quiet[channel], channel, self.n_channels).astype(np.int16), kind="stable")
        order = order[: int(np.count_nonzero(quiet[channel]))]
        nodes, given = nodes[order], given[order]
        begin, size = self.right.indptr[nodes], self.right.indptr[nodes + 1] - self.right.indptr[nodes]
        n_terms = int(size.sum())
        number = np.arange(n_terms, dtype=np.int32)
        at = np.repeat(begin - (np.cumsum(size, dtype=np.int32) - size), size) + number
        items, values = self.right.indices[at], self.right.data[at] * np.repeat(given, size)
        columns = items + np.repeat(channel[order].astype(np.int32) * np.int32(self.n_items), size)
        # Terms of one column are added up at the place of the first of them, which a column finds in the scratch: no sorting,
        # and nothing to clear, since only what was written here is read.
        scratch = self._scratch()
        scratch[columns[::-1]] = number[::-1]
        place = scratch[columns]
        sums = np.zeros(n_terms, np.float32)
        np.add.at(sums, place, values)
        first = np.flatnonzero(place == number)
        items, sums = items[first], sums[first]
        ends = np.searchsorted(columns[first] // np.int32(max(1, self.n_items)), np.arange(self.n_channels + 1))
        return [Said(items[begin:end], sums[begin:end]) for begin, end in itertools.pairwise(ends)]

    def _scratch(self) -> Rows:
        """Return a row of numbers of this thread's own, one for each item of each channel, with anything in them."""
        found: Rows | None = getattr(self._of_thread, "scratch", None)
        if found is None:
            found = self._of_thread.scratch = np.zeros(self.n_channels * self.n_items, np.int32)
        return found

    def itself_without(self, item: int, cut: Cut) -> Floats:
        """Return the closeness of an item to itself in each channel without some edges: (C,)."""
        columns, weights = _row(self.back, item)
        given = np.zeros(self.left.shape[1], np.float32)
        own, values = _row(self.left, item)
        given[own] = values
        parts = np.where(cut.has(item, self.nodes[columns]), 0.0, given[columns] * weights)
        return np.bincount(self._channel_of(columns), parts, minlength=self.n_channels).astype(np.float32)

    def terms(self, profile: sparse.csr_array, item: int) -> Terms:
        """Take what the channels say of an item to one profile apart. An own item is no reason for itself."""
        own, columns, weights = self._edges_of(profile)
        towards = np.zeros(self.left.shape[1], np.float32)
        ends, values = _row(self.back, item)
        towards[ends] = values
        weights = weights * towards[columns]
        there = (weights > 0) & (own != item)
        own, columns, weights = own[there], columns[there], weights[there]
        return Terms(own, self.nodes[columns], self.kinds[columns], self._channel_of(columns), weights)

    def reasons(
        self,
        view: TrainView,
        profile: sparse.csr_array,
        item: int,
        limit: int,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> list[Reason]:
        """Return the paths that carry most of an item's score, heaviest first (see `reasons_of`).

        Args:
            view: the view that the factors were built from.
            profile: (1, I).
            item: item row.
            limit: at most this many paths.
            weights: (C,) weight of each channel; 1 by default.
        """
        return reasons_of(
            view, self.terms(profile, item), item, limit, np.ones(self.n_channels) if weights is None else weights
        )

    def _right_of(self, c: int) -> sparse.csr_array:
        begin, end = int(self.starts[c]), int(self.starts[c + 1])
        ends = self.right.indptr[begin : end + 1]
        some = slice(ends[0], ends[-1])
        return sparse.csr_array(
            (self.right.data[some], self.right.indices[some], ends - ends[0]), shape=(end - begin, self.n_items)
        )

    def _row_of(self, given: Floats, nodes: Rows | Keys) -> sparse.csr_array:
        """Return what is given to some of what lies between as a row: -> (1, M)."""
        ends = np.array([0, len(nodes)], np.int32)
        return sparse.csr_array((given, nodes.astype(np.int32), ends), shape=(1, self.left.shape[1]))

    def _edges_of(self, profile: sparse.csr_array) -> tuple[Rows, Rows, Floats]:
        """Return the edges from the items of one profile: item, column, weight in the profile's eyes; three (n,)."""
        rows = [_row(self.left, item) for item in profile.indices.tolist()]
        sizes = [len(columns) for columns, _ in rows]
        if not rows:
            return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
        columns = np.concatenate([columns for columns, _ in rows])
        weights = np.concatenate([values for _, values in rows]) * np.repeat(profile.data, sizes)
        return np.repeat(profile.indices.astype(np.int32), sizes), columns, weights

    def _channel_of(self, columns: Rows) -> npt.NDArray[np.int64]:
        return np.searchsorted(self.starts, columns, side="right") - 1


_CROWDED = 8
"""A channel with more terms than one for so many items is added up densely."""


def turned(right: sparse.csr_array) -> sparse.csr_array:
    """Return a matrix with rows and columns exchanged: (M, I) -> (I, M)."""
    return sparse.csr_array(right.T.tocsr())


def _row(matrix: sparse.csr_array, row: int) -> tuple[Rows, Floats]:
    part = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[part], matrix.data[part]
