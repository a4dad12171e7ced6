"""Rows for what a model has never trained: new users, items, entities and relations (model cards 0.5, `cold_init`).

A node that had no edge while training was never moved by anything, so it counts as new even if its id was known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from metakg import rng as random
from metakg.data import Triples
from metakg.models.nn.ckg import CollaborativeGraph
from metakg.models.nn.sparse import spmm
from metakg.types import Rows

_HOPS = 3
"""Rounds in which new entities may learn from new entities that have a vector already."""

_SIGNED_AT_ONCE = 1 << 14
"""Rows whose signatures are taken at a time."""
_AT_ONCE = 1 << 18
"""Numbers gathered at a time where rows are compared on a CPU: 1 MB."""
_AT_ONCE_ELSEWHERE = 1 << 26
"""The same on an accelerator, which wants few and large pieces: 256 MB."""


def carry_nodes(
    table: Tensor,
    trained: Tensor,
    old: CollaborativeGraph,
    new: CollaborativeGraph,
    entity_origin: Tensor,
    *,
    users_from_items: bool,
) -> tuple[Tensor, Tensor]:
    """Return the node table of a larger graph, and which of its rows are trained: (N_old, D) -> (N_new, D), (N_new,) bool.

    Trained rows stay bit for bit. A new entity is the mean of its neighbours in the knowledge graph, found hop by hop; one
    without any is the mean of the trained entities. A new user is the mean of the trained users or of the items clicked.

    Args:
        table: the rows.
        trained: (N_old,) bool, which of them training has moved.
        old: the graph they belong to.
        new: the graph with what arrived.
        entity_origin: (E_new,) old entity row of each new one, -1 where it is new.
        users_from_items: which rule new users follow.
    """
    origin = torch.full((new.n_nodes,), -1, dtype=torch.int64, device=table.device)
    origin[: old.n_users] = torch.arange(old.n_users, device=table.device)
    came = entity_origin.to(table.device, torch.int64)
    origin[new.n_users :] = torch.where(came >= 0, came + old.n_users, came)
    known = origin >= 0
    known[known.clone()] = trained[origin[known]]
    carried = known
    rows = table.new_zeros(new.n_nodes, table.shape[1])
    rows[known] = table[origin[known]]

    is_user = torch.arange(new.n_nodes, device=table.device) < new.n_users
    for _ in range(_HOPS):
        missing = ~known & ~is_user
        if not missing.any():
            break
        found, count = _mean_of_known(rows, known & ~is_user, new)
        fill = missing & (count > 0)
        rows[fill] = found[fill]
        known = known | fill
    if users_from_items:
        found, count = _mean_of_known(rows, known & ~is_user, new)
        fill = ~known & is_user & (count > 0)
        rows[fill] = found[fill]
        known = known | fill
    for kind, there in ((is_user, trained[: old.n_users]), (~is_user, trained[old.n_users :])):
        part = table[: old.n_users] if kind is is_user else table[old.n_users :]
        missing = ~known & kind
        if missing.any() and there.any():
            rows[missing] = part[there].mean(0)
    return rows, carried


def carry_relations(table: Tensor, n_old: int, n_new: int) -> Tensor:
    """Return the rows of all edge types when relations were added: (2R_old + 2, ...) -> (2R_new + 2, ...).

    A new relation takes the mean of the old ones of its direction (of the clicks' type, if there were none).
    """
    if n_old == n_new:
        return table
    click, forward, inverse, clicked = torch.split(table, [1, n_old, n_old, 1])
    parts = [click]
    for known, spare in ((forward, click), (inverse, clicked)):
        mean = known.mean(0, keepdim=True) if n_old else spare
        parts += [known, mean.expand(n_new - n_old, *table.shape[1:])]
    return torch.cat([*parts, clicked])


def named(rows: Rows, n: int, device: torch.device) -> Tensor:
    """Say which of n rows occur: (m,) row numbers -> (n,) bool."""
    found = torch.zeros(n, dtype=torch.bool, device=device)
    found[torch.from_numpy(np.unique(rows)).long()] = True
    return found


def mean_of_neighbours(rows: Tensor, known: Tensor, facts: Triples) -> tuple[Tensor, Tensor]:
    """Fill cold entity rows with the mean of their neighbours, hop by hop: (E, ...), (E,) bool -> the same, filled.

    Args:
        rows: a row for each entity.
        known: which of them have a vector.
        facts: the knowledge graph; read in both directions, and two facts between two entities count twice.
    """
    n, device = len(known), rows.device
    ends = np.concatenate([facts.heads, facts.tails]), np.concatenate([facts.tails, facts.heads])
    links = sparse.csr_array(sparse.coo_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n)))
    values = rows.detach().cpu().numpy().reshape(n, -1).copy()
    there = known.cpu().numpy().copy()
    for _ in range(_HOPS):
        cold = np.flatnonzero(~there)
        near = links[cold]
        count = near @ there.astype(np.float32)
        found = np.flatnonzero(count)
        if not len(found):
            break
        heard = np.where(there[:, None], values, 0.0).astype(values.dtype)
        values[cold[found]] = (near[found] @ heard) / count[found, None]
        there[cold[found]] = True
    filled = torch.from_numpy(values).to(device, rows.dtype).reshape(rows.shape)
    return filled, torch.from_numpy(there).to(device)


def signatures(table: Tensor) -> Tensor:
    """Return a number for each row that follows from all of its bits: (n, ...) float32 -> (n,) int64.

    Two rows of one number differ with a chance of 2^-32 at most, so equal numbers say that nothing has changed.
    """
    bits = table.detach().flatten(1).contiguous().view(torch.int32)
    odd = 2 * random.generator(0, "rows/signatures").integers(1 << 62, size=bits.shape[1]) + 1
    factors = torch.from_numpy(odd).to(bits.device)
    return torch.cat([(part * factors).sum(1) for part in torch.split(bits, _SIGNED_AT_ONCE)])  # wraps around


def _mean_of_known(rows: Tensor, known: Tensor, graph: CollaborativeGraph) -> tuple[Tensor, Tensor]:
    """Return the mean vector of each node's known entity neighbours, and their number."""
    edges = graph.knowledge.edges
    weights = known[edges.cols].to(rows.dtype)
    total = spmm(edges, weights, rows)
    count = spmm(edges, weights, rows.new_ones(rows.shape[0], 1)).squeeze(1)
    return total / count.clamp(min=1).unsqueeze(1), count


def compare_rows(
    left: Tensor, table: Tensor, rows: Tensor, compare: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Tensor:
    """Compare each vector with rows of a table of its own: (B, D), (n, D), (B, H) -> (B, H).

    In pieces that stay in the cache, which is several times faster than all rows at once.

    Args:
        left: vectors.
        table: where the rows are.
        rows: which they are.
        compare: (b, 1, D), (b, H, D) -> (b, H); by default the inner product.
    """
    found = torch.empty(rows.shape, device=left.device, dtype=left.dtype)
    at_once = _AT_ONCE if left.device.type == "cpu" else _AT_ONCE_ELSEWHERE
    step = max(1, at_once // max(1, rows.shape[1] * left.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        one = left[part, None]
        other = table.index_select(0, rows[part].flatten()).view(len(one), rows.shape[1], table.shape[1])
        found[part] = (one * other).sum(-1) if compare is None else compare(one, other)
    return found
