"""The features of an item for factorisation machines: the item itself and, with weights, the entities its facts lead to.

A feature is an entity row (an item is one too), so that an item nobody has clicked is still made of what others taught its
entities. Relations are dropped, and only facts whose head is the item count, as in the code that introduced this
(github.com/xiangwang1223/knowledge_graph_attention_network).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metakg.data import TrainView
from metakg.models.nn.sparse import Transposed, spmm
from metakg.sample.keys import sorted_set
from metakg.sample.neighbours import Edges, edge_rows, places_of

TailNorm = Literal["mean", "sum", "idf"]


@dataclass(frozen=True)
class Sums:
    """Sums over the features f of n items, each feature with weight x_f.

    Attributes:
        vectors: (n, D) sum of x_f V_f.
        squares: (n, D) sum of (x_f V_f)^2 by coordinate, or (n, 1) over all coordinates; None where every item is its only
            feature, so that the square of the sum is the sum of the squares.
        linear: (n,) sum of x_f w_f.
        used: (m, D) the distinct rows of V that were read, or those among which `there` says which were.
        weights: (m, 1) the same rows of w.
        there: (m,) 1 for the rows that were read, else 0; None where all were.
    """

    vectors: Tensor
    squares: Tensor | None
    linear: Tensor
    used: Tensor
    weights: Tensor
    there: Tensor | None = None

    def among(self) -> Tensor | None:
        """Return what an item's features make among themselves by coordinate, (q^2 - squares) / 2: (n, D); None: nothing."""
        return None if self.squares is None else (self.vectors.square() - self.squares) / 2


class ItemFeatures(nn.Module):
    """The feature lists of all items.

    Args:
        view: training data; only its facts are read.
        facts: whether the tails of an item's facts are features.
        norm: weights of the tails: "sum" gives each 1, "mean" shares 1 equally, "idf" shares 1 by rarity, log(1 + I / items
            that have it). The item itself has weight 1.
    """

    rowptr: Tensor
    cols: Tensor
    x: Tensor

    def __init__(self, view: TrainView, *, facts: bool, norm: TailNorm) -> None:
        super().__init__()
        self.facts = facts
        n_items, n_entities = view.n_items, view.n_entities
        own = np.arange(n_items, dtype=np.int64)
        keys = np.empty(0, np.int64)
        if facts:
            known = view.graph.entity
            of_items = known.heads < n_items
            heads, tails = known.heads[of_items].astype(np.int64), known.tails[of_items].astype(np.int64)
            keys = sorted_set((heads * n_entities + tails)[heads != tails])
        heads, tails = np.divmod(keys, max(1, n_entities))
        x = _weights(heads, tails, n_items, n_entities, norm)
        rows, cols = np.concatenate([own, heads]), np.concatenate([own, tails])
        order = np.argsort(rows, kind="stable")  # the item itself stands first
        rowptr = np.concatenate([[0], np.bincount(rows, minlength=n_items).cumsum()])
        buffers = {"rowptr": rowptr, "cols": cols[order], "x": np.concatenate([np.ones(n_items), x])[order].astype(np.float32)}
        for name, value in buffers.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def of(self, item: int) -> tuple[Tensor, Tensor]:
        """Return the features of one item, itself first, and their weights: (f,), (f,)."""
        part = slice(int(self.rowptr[item]), int(self.rowptr[item + 1]))
        return self.cols[part], self.x[part]

    def sums(
        self,
        table: Tensor,
        weight: Tensor,
        items: Tensor | None = None,
        *,
        by_coordinate: bool = True,
        gathered: bool = True,
    ) -> Sums:
        """Sum over the features of some items, or of all: (E, D), (E, 1) -> n items.

        With `gathered`, each row of the tables that these items read is gathered once, however many of them share the entity,
        which a way back wants. Else `used` and `weights` are the tables.
        """
        if not self.facts:
            used, weights = (table, weight) if items is None else (table.index_select(0, items), weight.index_select(0, items))
            return Sums(used, None, weights.squeeze(1), used, weights)
        rowptr, cols, x, used, weights, turned = self.rowptr, self.cols, self.x, table, weight, None
        if items is not None:
            rowptr, places = places_of(rowptr, items)
            cols, x = cols.index_select(0, places), x.index_select(0, places)
        edges = Edges(rowptr, cols)
        if items is not None and gathered:
            rows, edges, turned = _compacted(rowptr, cols)
            used, weights = table.index_select(0, rows), weight.index_select(0, rows)
        squares = spmm(edges, x.square(), _squares(used, by_coordinate), turned)
        return Sums(spmm(edges, x, used, turned), squares, spmm(edges, x, weights, turned).squeeze(1), used, weights)


def _compacted(rowptr: Tensor, cols: Tensor) -> tuple[Tensor, Edges, Transposed]:
    """Return the rows that are read, (m,) ascending, the edges to them, and these turned round: (n + 1,), (E,).

    One sort gives all three.
    """
    ordered, order = torch.sort(cols.int(), stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=new[1:])
    starts = new.nonzero()[:, 0]
    place = torch.empty_like(cols).index_copy_(0, order, new.cumsum(0) - 1)
    ends = torch.cat([starts, starts.new_full((1,), len(cols))])
    turned = Transposed(ends, edge_rows(rowptr).index_select(0, order), order)
    return ordered.index_select(0, starts).long(), Edges(rowptr, place), turned


def _squares(rows: Tensor, by_coordinate: bool) -> Tensor:
    return rows.square() if by_coordinate else rows.square().sum(1, keepdim=True)


def _weights(heads: np.ndarray, tails: np.ndarray, n_items: int, n_entities: int, norm: TailNorm) -> np.ndarray:
    """Return the weight of each tail: (T,), (T,) -> (T,)."""
    if norm == "sum":
        return np.ones(len(heads))
    rarity = np.ones(len(heads))
    if norm == "idf":
        rarity = np.log1p(n_items / np.bincount(tails, minlength=n_entities)[tails])
    return np.asarray(rarity / np.bincount(heads, rarity, n_items)[heads])
