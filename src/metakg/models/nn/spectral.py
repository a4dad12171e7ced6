"""Leading eigenvectors of a graph: where nodes lie if those that are joined lie together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from metakg import rng as random
from metakg.data import TrainView
from metakg.types import Floats


@torch.no_grad()
def leading(multiply: Callable[[Tensor], Tensor], block: Tensor, rounds: int) -> Tensor:
    """Return the leading eigenvectors of a symmetric matrix, each scaled by the root of its eigenvalue's size.

    By products of the matrix with a random block (Halko, Martinsson, Tropp 2011, algorithm 4.4).

    Args:
        multiply: the matrix times a block: (N, D) -> (N, D).
        block: (N, D) random numbers.
        rounds: products taken; more are more exact.
    """
    for _ in range(rounds):
        block, _ = torch.linalg.qr(multiply(block))
    values, turn = torch.linalg.eigh(block.T @ multiply(block))
    scaled: Tensor = (block @ turn) * values.abs().sqrt()
    return scaled


def item_vectors(view: TrainView, dim: int, rounds: int = 8) -> Floats:
    """Return where the items of a view lie in its joined graph of clicks and facts: (I, dim), of mean length 1.

    The same view has the same vectors: the random block has a seed of its own.
    """
    n_users, n = view.n_users, view.n_users + view.n_entities
    facts, about, pairs = view.graph.entity, view.graph.user, view.interactions.pairs_only()
    heads = np.concatenate([pairs.users, facts.heads + n_users, about.heads]).astype(np.int64)
    tails = np.concatenate([pairs.items + n_users, facts.tails + n_users, about.tails + n_users]).astype(np.int64)
    ends = np.concatenate([heads, tails]), np.concatenate([tails, heads])
    graph = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
    root = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1) ** -0.5
    graph = sparse.csr_array(sparse.diags_array(root) @ graph @ sparse.diags_array(root), dtype=np.float32)
    block = torch.randn(n, min(dim, n), generator=random.torch_generator(0, "graph/vectors"))
    found = leading(lambda some: torch.from_numpy(graph @ some.numpy()), block, rounds).numpy()
    items = np.zeros((view.n_items, dim), np.float32)
    items[:, : found.shape[1]] = found[n_users : n_users + view.n_items]
    return items / max(float(np.linalg.norm(items, axis=1).mean()), 1e-12)
