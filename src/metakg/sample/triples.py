"""Facts with a corrupted tail: uniform over the edges of a graph, filtered against what is known to be true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metakg.errors import DataError
from metakg.sample.keys import Ints, KeySet, contains
from metakg.types import Json

_ROUNDS = 16
"""Redraws of a rejected tail before its free tails are listed one by one; at half-full rows that happens once in 65,536."""


@dataclass(frozen=True)
class TripleBatch:
    """T facts, sorted by relation, each with one tail that makes it false.

    Attributes:
        heads, relations, tails, corrupted: (T,) int64.
        each: so many rows in a row are one fact, each with another false tail.
    """

    heads: Tensor
    relations: Tensor
    tails: Tensor
    corrupted: Tensor
    each: int = 1

    def __len__(self) -> int:
        return self.heads.shape[0]

    def rows(self) -> Tensor:
        """Return every node that the batch reads: (3T,) heads, tails, corrupted tails."""
        return torch.cat([self.heads, self.tails, self.corrupted])

    def to(self, device: torch.device | str) -> TripleBatch:
        """Return the same batch on another device."""
        heads, relations, tails, corrupted = (t.to(device) for t in (self.heads, self.relations, self.tails, self.corrupted))
        return TripleBatch(heads, relations, tails, corrupted, self.each)


class TripleSampler:
    """Draws batches of facts; every tail is replaced by one of its own kind.

    Args:
        heads, relations, tails: (E,) all true facts, as node numbers.
        kinds: (K + 1,) ascending bounds of the node numbers that may stand in for each other: a tail in
            [kinds[i], kinds[i + 1]) is replaced from that range (users, items ...).
        wide: (R,) bool, relations whose tails may be replaced from their own range and all later ones (an item that is the
            tail of a fact may be replaced by any entity, the tail of a click only by an item).
        seen: replace the tails of the other relations only by nodes that are such a tail somewhere. A node that never is one
            would always be the false tail and never the true one, and so be pushed away for nothing but being new.
        rng: the source of all draws.

    Raises:
        DataError: there are no facts.
    """

    def __init__(
        self,
        heads: Ints,
        relations: Ints,
        tails: Ints,
        *,
        kinds: tuple[int, ...],
        wide: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        seen: bool = False,
    ) -> None:
        if not len(heads):
            raise DataError("the graph", "no facts", expected="at least one to learn from", fix="Check the input files.")
        self.heads, self.relations, self.tails = heads, relations, tails
        self.n_nodes, self.n_relations = kinds[-1], len(wide)
        bounds = np.asarray(kinds, np.int64)
        kind = np.searchsorted(bounds, tails, side="right") - 1
        is_wide = wide[relations] & (kind > 0)
        self.low = np.where(is_wide, bounds[1], bounds[kind])
        self.high = np.where(is_wide, bounds[-1], bounds[kind + 1])
        self.pool: Ints = np.empty(0, np.int64)
        if seen:  # numbers from n_nodes on are places in the pool
            narrow = ~is_wide
            self.pool = np.unique(tails[narrow]).astype(np.int64)
            places = self.n_nodes + np.searchsorted(self.pool, bounds)
            self.low[narrow], self.high[narrow] = places[kind[narrow]], places[kind[narrow] + 1]
        self.known = KeySet(self._keys(heads, relations, tails))
        self.rng = rng
        self._leave_out_what_nothing_makes_false()

    def draw(self, size: int) -> TripleBatch:
        """Draw `size` facts uniformly, with replacement."""
        return self.corrupt(self.rng.integers(len(self.heads), size=size))

    def corrupt(self, picked: Ints, each: int = 1) -> TripleBatch:
        """Return these facts (edge numbers), each with a false tail, or with several."""
        picked = picked if each == 1 else np.repeat(picked, each)
        heads, relations = self.heads[picked], self.relations[picked]
        low, high = self.low[picked], self.high[picked]
        false = self._node(self.rng.integers(low, high))
        bad = np.flatnonzero(self._is_known(heads, relations, false))
        for _ in range(_ROUNDS):
            if not len(bad):
                break
            false[bad] = self._node(self.rng.integers(low[bad], high[bad]))
            bad = bad[self._is_known(heads[bad], relations[bad], false[bad])]
        for row in bad:  # nearly every tail is true: look at each that is left
            false[row] = self.rng.choice(self._free(heads[row], relations[row], low[row], high[row]))
        order = np.argsort(relations, kind="stable")
        columns = (heads, relations, self.tails[picked], false)
        heads_, relations_, tails_, corrupted = (torch.from_numpy(c[order]) for c in columns)
        return TripleBatch(heads_, relations_, tails_, corrupted, each)

    def state_dict(self) -> Json:
        """Return where the draws stand."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the draws stood."""
        self.rng.bit_generator.state = state["rng"]

    def _leave_out_what_nothing_makes_false(self) -> None:
        """Keep the facts of which some other tail is false; of a head to which all nodes of a kind are linked there is none.

        Raises:
            DataError: nothing is left.
        """
        keys = self.known.keys // self.n_nodes  # head and relation, sorted
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        groups, sizes = keys[first], np.diff(np.append(first, len(keys)))
        large = sizes >= int((self.high - self.low).min())
        if not large.any():
            return
        mine = self.heads * self.n_relations + self.relations
        some = np.flatnonzero(contains(groups[large], mine))
        some = some[sizes[np.searchsorted(groups, mine[some])] >= (self.high - self.low)[some]]
        kept = np.ones(len(self.heads), np.bool_)
        # All facts of a head and a relation are judged once: an entity may stand in tens of thousands.
        _, one, back = np.unique(np.stack([mine[some], self.low[some]]), axis=1, return_index=True, return_inverse=True)
        free = [len(self._free(self.heads[n], self.relations[n], self.low[n], self.high[n])) > 0 for n in some[one]]
        kept[some] = np.array(free, np.bool_)[back.ravel()]
        if not kept.any():
            raise DataError(
                "the graph",
                "facts that no other tail makes false",
                expected="at least one node of each kind that is not linked",
                fix="Add entities, or choose a model (or an ablation) that learns from clicks alone.",
            )
        self.heads, self.relations, self.tails = self.heads[kept], self.relations[kept], self.tails[kept]
        self.low, self.high = self.low[kept], self.high[kept]

    def _free(self, head: int, relation: int, low: int, high: int) -> Ints:
        """Return the tails that make a fact false."""
        nodes = self._node(np.arange(low, high))
        return nodes[~self._is_known(np.full(len(nodes), head), np.full(len(nodes), relation), nodes)]

    def _node(self, drawn: Ints) -> Ints:
        if not len(self.pool):
            return drawn
        return np.where(drawn < self.n_nodes, drawn, self.pool[np.maximum(drawn - self.n_nodes, 0)])

    def _keys(self, heads: Ints, relations: Ints, tails: Ints) -> Ints:
        return (heads * self.n_relations + relations) * self.n_nodes + tails

    def _is_known(self, heads: Ints, relations: Ints, tails: Ints) -> npt.NDArray[np.bool_]:
        return self.known.has(self._keys(heads, relations, tails))
