"""The knowledge graph seen from its entities: every fact both ways, and no entity without an edge.

Nodes are entity rows (items first). Edge types: 0..R-1 the facts' relations from head to tail; then, if inverses have types of
their own, R..2R-1 from tail to head; the last type is "itself", the only edge of an entity that no fact mentions, so that it is
described by its own vector and never by zeros.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metakg.data import Interactions, TrainView
from metakg.errors import DataError
from metakg.models.nn.ckg import EdgeSet, edge_keys
from metakg.sample.keys import Ints, sorted_set
from metakg.sample.neighbours import Edges
from metakg.sample.ripples import neighbourhoods, offsets, ripples

Inverse = Literal["own", "same", "none"]
"""Types of the edges from tail to head: types of their own, those of the facts, or no such edges."""

_EVERYBODY = 64
"""Items that stand for the taste of a user of whom nothing is known."""


def n_edge_types(n_relations: int, inverse: Inverse) -> int:
    """Return the number of edge types, "itself" included."""
    return (2 if inverse == "own" else 1) * n_relations + 1


def fact_edges(view: TrainView, inverse: Inverse) -> EdgeSet:
    """Return the facts as edges, each once, sorted by head, relation and tail."""
    facts, n, types = view.graph.entity, view.n_entities, n_edge_types(view.n_relations, inverse)
    heads, relations, tails = (column.astype(np.int64) for column in (facts.heads, facts.relations, facts.tails))
    if inverse != "none":
        shift = view.n_relations if inverse == "own" else 0
        heads, tails = np.concatenate([heads, tails]), np.concatenate([tails, heads])
        relations = np.concatenate([relations, relations + shift])
    alone = np.setdiff1d(np.arange(n), heads)
    heads, tails = np.concatenate([heads, alone]), np.concatenate([tails, alone])
    relations = np.concatenate([relations, np.full(len(alone), types - 1)])
    keys = sorted_set(edge_keys(heads, relations, tails, n, types))
    heads, rest = np.divmod(keys, n * types)
    return EdgeSet(heads, rest // n, rest % n, n)


def user_seeds(view: TrainView, pairs: Interactions) -> tuple[Edges, Tensor]:
    """Return the entities from which each user is described, never none.

    These are the items clicked; for a user without clicks the entities that facts about him name. All of whom nothing is
    known share one row more: items as everybody clicks them (drawn evenly from all clicks, so popular ones stand several
    times).

    Returns:
        for each of U + 1 rows its entities, the last being everybody's (a silent user's own row holds everybody's first
        item, and is not read); the row of each user (U,).

    Raises:
        DataError: there is no click at all.
    """
    if not len(pairs):
        raise DataError("the training pairs", "no click", expected="at least one", fix="Give training interactions.")
    users, items = np.divmod(sorted_set(pairs.keys(view.n_items)), view.n_items)
    silent = np.ones(view.n_users, np.bool_)
    silent[users] = False
    about = view.graph.user
    told = silent[about.heads]
    by_facts, named = about.heads[told].astype(np.int64), about.tails[told].astype(np.int64)
    silent[by_facts] = False
    nobody = np.flatnonzero(silent)
    size = min(_EVERYBODY, len(items))
    even = np.sort(items)[((np.arange(size) + 0.5) * len(items) / size).astype(np.int64)]
    rows = np.concatenate([users, by_facts, nobody, np.full(size, view.n_users)])
    seeds = np.concatenate([items, named, np.full(len(nobody), even[0]), even])
    whose = np.where(silent, view.n_users, np.arange(view.n_users))
    return by_row(rows, seeds, view.n_users + 1), torch.from_numpy(whose)


def item_seeds(view: TrainView, pairs: Interactions, size: int) -> Edges:
    """Return the items from which each item is described: `size` that were clicked by those who clicked it, or itself.

    Every user of an item is as likely as any other, and so is every item of a user; the draw is the same each time.
    """
    users, items = np.divmod(sorted_set(pairs.keys(view.n_items)), view.n_items)
    clicked, likers = by_row(users, items, view.n_users), by_row(items, users, view.n_items)
    some = torch.nonzero(likers.degrees > 0).squeeze(1)  # items with a click
    rows = Edges(torch.cat([likers.rowptr[:1], likers.rowptr[some + 1]]), likers.cols)
    found = clicked.cols[ripples(clicked, rows, size, [offsets(0, "co-clicks", view.n_items)[some]], cap=1)[:, 0]]
    counts = torch.ones(view.n_items, dtype=torch.int64)
    counts[some] = size
    rowptr = _ends(counts)
    cols = torch.empty(int(rowptr[-1]), dtype=torch.int64)
    alone = likers.degrees == 0
    cols[rowptr[:-1][alone]] = torch.nonzero(alone).squeeze(1)
    cols[torch.repeat_interleave(~alone, counts)] = found.flatten()
    return Edges(rowptr, cols)


def by_row(rows: Ints, cols: Ints, n_rows: int) -> Edges:
    """Sort (row, column) pairs by row; columns of a row keep their order."""
    order = np.argsort(rows, kind="stable")
    rowptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=rowptr[1:])
    return Edges(torch.from_numpy(rowptr), torch.from_numpy(cols[order]))


def compact(numbers: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the numbers that occur, ascending, and where each one stands among them: any shape of 0..n-1 -> (m,), same shape.

    Marking costs n; sorting, as `torch.unique` does, would cost more.
    """
    flat = numbers.flatten()
    found = torch.nonzero(flat.new_zeros(n, dtype=torch.bool).index_fill_(0, flat, True)).squeeze(1)
    place = flat.new_empty(n).index_copy_(0, found, torch.arange(len(found), device=flat.device))  # only where something is
    return found, place.index_select(0, flat).view_as(numbers)


class RippleSets(nn.Module):
    """Ripple sets of n rows: those that rank, the same for every seed of a model, and those of the present epoch.

    Buffers:
        fixed, drawn: (n, H, M) int32 edge numbers; `drawn` is saved, so that a resumed epoch goes on with it.
        whose: (m,) the row that describes each user or item.

    Args:
        name: of the random numbers.
        graph: the facts.
        seeds: (n rows) the entities each row starts from.
        whose: see above.
        hops: H.
        size: M.
        cap: see `metakg.sample.ripples.ripples`.
    """

    fixed: Tensor
    drawn: Tensor
    whose: Tensor
    seed_ptr: Tensor
    seed_cols: Tensor

    def __init__(self, name: str, graph: EdgeSet, seeds: Edges, whose: Tensor, hops: int, size: int, cap: int | None) -> None:
        super().__init__()
        self.graph, self.hops, self.size, self.cap = graph, hops, size, cap
        fixed = ripples(
            graph.edges, seeds, size, [offsets(0, f"{name}/hop{hop}", seeds.n_rows) for hop in range(hops)], cap=cap
        )
        derived = {"fixed": fixed.int(), "whose": whose, "seed_ptr": seeds.rowptr, "seed_cols": seeds.cols}
        for key, value in derived.items():
            self.register_buffer(key, value, persistent=False)
        self.register_buffer("drawn", self.fixed.clone())

    def redraw(self, rng: torch.Generator) -> None:
        """Draw the sets of a new epoch."""
        n, device = len(self.fixed), self.fixed.device
        draws = [torch.rand(n, generator=rng, dtype=torch.float64, device=device) for _ in range(self.hops)]
        self.drawn = ripples(self.graph.edges, Edges(self.seed_ptr, self.seed_cols), self.size, draws, cap=self.cap).int()

    def of(self, rows: Tensor, *, training: bool) -> Tensor:
        """Return the sets of some users or items: (B,) -> (B, H, M) edge numbers."""
        return (self.drawn if training else self.fixed).index_select(0, self.whose[rows.long()]).long()


class Neighbourhoods(nn.Module):
    """K sampled facts of every entity, the same for all users, and what ranking all items makes of them (see `kgcn`).

    Buffers (not saved, they follow from the view):
        tails, relations: (E, K) the sample; facts in both directions, a fact stands several times if there are fewer than K.
        rowptr (E + 1,), cols, counts, codes: each different fact of the sample once, with how often it stands.
        sum_rowptr: (S + 1,) the same facts by (entity, relation), a sum for each.
        first_rowptr (E + 1,), first_cols, first_codes: for each entity itself (column = entity), then its sums (E + sum).
        patterns: (P, R + 1) how often each relation stands in a sample; P different ones. A code is
            pattern * (R + 1) + relation; the code of an entity itself is P * (R + 1).
    """

    tails: Tensor
    relations: Tensor
    rowptr: Tensor
    cols: Tensor
    counts: Tensor
    codes: Tensor
    sum_rowptr: Tensor
    first_rowptr: Tensor
    first_cols: Tensor
    first_codes: Tensor
    patterns: Tensor

    def __init__(self, view: TrainView, size: int) -> None:
        super().__init__()
        facts, n, types = fact_edges(view, "same"), view.n_entities, n_edge_types(view.n_relations, "same")
        draws = offsets(0, "neighbourhoods", view.n_items, n - view.n_items)  # the same for every seed of a model
        sample = neighbourhoods(facts.edges, size, draws)  # (E, K) ascending: by relation, then tail
        tails, relations = facts.tails[sample], facts.relations[sample]
        counts = torch.zeros(n, types).scatter_add_(1, relations, torch.ones(sample.shape))
        patterns, pattern = np.unique(counts.numpy(), axis=0, return_inverse=True)
        code = torch.from_numpy(pattern.reshape(-1, 1)) * types + relations  # (E, K)

        new_fact, new_sum = torch.ones(sample.shape, dtype=torch.bool), torch.ones(sample.shape, dtype=torch.bool)
        new_fact[:, 1:] = sample[:, 1:] != sample[:, :-1]
        new_sum[:, 1:] = relations[:, 1:] != relations[:, :-1]
        place = torch.nonzero(new_fact.flatten()).squeeze(1)
        often = torch.diff(place, append=torch.tensor([sample.numel()]))
        summed = torch.nonzero(new_sum.flatten()[place]).squeeze(1)
        n_sums = new_sum.sum(1)
        first_rowptr = _ends(n_sums + 1)
        is_self = torch.zeros(n + len(summed), dtype=torch.bool)
        is_self[first_rowptr[:-1]] = True
        first_cols, first_codes = torch.empty(len(is_self), dtype=torch.int64), torch.full((len(is_self),), patterns.size)
        first_cols[is_self], first_cols[~is_self] = torch.arange(n), n + torch.arange(len(summed))
        first_codes[~is_self] = code.flatten()[place][summed]
        buffers = {
            "tails": tails,
            "relations": relations,
            "rowptr": _ends(new_fact.sum(1)),
            "cols": tails.flatten()[place],
            "counts": often.to(torch.float32),
            "codes": code.flatten()[place],
            "sum_rowptr": torch.cat([summed, torch.tensor([len(place)])]),
            "first_rowptr": first_rowptr,
            "first_cols": first_cols,
            "first_codes": first_codes,
            "patterns": torch.from_numpy(patterns),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)


def _ends(counts: Tensor) -> Tensor:
    """Return where runs start, and the end: (n,) lengths -> (n + 1,)."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
