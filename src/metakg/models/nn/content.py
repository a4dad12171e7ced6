"""Rows made of entity vectors: an item as the means of what its facts lead to, one for each of a few relations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from metakg import rng as random
from metakg.data import TrainView
from metakg.models.metapaths import Link
from metakg.models.nn.sparse import spmm
from metakg.sample.keys import Ints, sorted_set
from metakg.sample.neighbours import Edges, places_of


class EntityMeans(nn.Module):
    """The mean of some entities for each of n rows. Its buffers follow the model to its device and are not saved.

    Args:
        rows: (e,) row of each link.
        entities: (e,) entity it leads to; the same link twice counts once.
        n_rows: n.
        n_entities: E.
    """

    rowptr: Tensor
    cols: Tensor

    def __init__(self, rows: Ints, entities: Ints, n_rows: int, n_entities: int) -> None:
        super().__init__()
        self.n_rows = n_rows
        links = sorted_set(rows.astype(np.int64) * n_entities + entities)
        rowptr = np.searchsorted(links, np.arange(n_rows + 1, dtype=np.int64) * n_entities)
        self.register_buffer("rowptr", torch.from_numpy(rowptr), persistent=False)
        self.register_buffer("cols", torch.from_numpy(links % n_entities), persistent=False)

    def forward(self, entity: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of some rows, and which of them have any entity: (E, D), (n,) -> (n, D), (n,) bool."""
        edges = self.edges(rows)
        degrees = edges.degrees
        weights = torch.repeat_interleave(1.0 / degrees.clamp(min=1).to(entity.dtype), degrees)
        return spmm(edges, weights, entity), degrees > 0

    def edges(self, rows: Tensor) -> Edges:
        """Return the links of some rows: (n,) rows."""
        rowptr, places = places_of(self.rowptr, rows)
        return Edges(rowptr, self.cols.index_select(0, places))


class ItemContent(nn.Module):
    """What items are made of: F means of entity vectors, one for each typed relation, and possibly the item's own vector.

    Args:
        view: whose facts are read; all ends count, hubs too.
        fields: the F relations.
        own: whether the item's own row is appended.
        dim: D.
    """

    def __init__(self, view: TrainView, fields: Sequence[Link], *, own: bool, dim: int) -> None:
        super().__init__()
        self.n_items, self.n_fields, self.own = view.n_items, len(fields), own
        self.width = (self.n_fields + int(own)) * dim
        """Width W of an item."""
        facts, rows, ends = view.graph.entity, [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number, link in enumerate(fields):
            items, others = (facts.tails, facts.heads) if link.inverse else (facts.heads, facts.tails)
            mine = (facts.relations == link.relation) & (items < view.n_items)
            rows.append(items[mine].astype(np.int64) * self.n_fields + number)
            ends.append(others[mine].astype(np.int64))
        self.means = EntityMeans(np.concatenate(rows), np.concatenate(ends), view.n_items * self.n_fields, view.n_entities)
        first, kinds = (np.arange(self.n_items), np.arange(self.n_items)) if own else self._kinds(view.n_entities)
        self.first: Ints = first
        """(G,) an item of each kind: items of one kind are made of the same, as the tracks of an album may be."""
        self.kind: Ints = kinds
        """(I,) the kind of each item."""

    def _kinds(self, n_entities: int) -> tuple[Ints, Ints]:
        """Return an item of each kind, and the kind of each item: (G,), (I,)."""
        signs = random.generator(0, "content/kinds").integers(1 << 62, size=(self.n_fields, n_entities))
        rows = np.arange(self.n_items * self.n_fields)
        links = self.means.edges(torch.from_numpy(rows))
        owner = np.repeat(rows, links.degrees.numpy())
        sign = np.zeros(self.n_items, np.int64)
        np.add.at(sign, owner // self.n_fields, signs[owner % self.n_fields, links.cols.numpy()])  # wraps around: a hash
        _, first, kind = np.unique(sign, return_index=True, return_inverse=True)
        same = self.means.edges(self._rows(torch.from_numpy(first[kind])))
        if torch.equal(links.rowptr, same.rowptr) and torch.equal(links.cols, same.cols):
            return first.astype(np.int64), kind.astype(np.int64)
        return np.arange(self.n_items), np.arange(self.n_items)  # two kinds of one sign: tell all apart

    def forward(self, entity: Tensor, null: Tensor | None, items: Tensor) -> Tensor:
        """Return what some items are made of: (E, D), (F, D) in place of a missing relation, (n,) -> (n, W)."""
        parts = []
        if self.n_fields and null is not None:
            found, there = self.by_field(entity, items)
            parts.append(torch.where(there.unsqueeze(-1), found, null).flatten(1))
        if self.own:
            parts.append(entity.index_select(0, items))
        return torch.cat(parts, 1)

    def by_field(self, entity: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of some items, and which of them are of anything: (E, D), (n,) -> (n, F, D), (n, F) bool."""
        found, there = self.means(entity, self._rows(items))
        shape = (len(items), self.n_fields)
        return found.view(*shape, -1), there.view(shape)

    def used(self, items: Tensor) -> Tensor:
        """Return the entity rows that these items are made of, each once."""
        parts = [self.means.edges(self._rows(items)).cols] if self.n_fields else []
        return cast(Tensor, torch.unique(torch.cat([*parts, items] if self.own else parts)))

    def _rows(self, items: Tensor) -> Tensor:
        return (items.unsqueeze(1) * self.n_fields + torch.arange(self.n_fields, device=items.device)).flatten()
