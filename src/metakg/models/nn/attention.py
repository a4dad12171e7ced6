"""Relation-aware attention over the two neighbour sets of every node (paper, eqs. 10-12; TransR space)."""

from __future__ import annotations

import torch
from torch import Tensor

from metakg.models.nn.ckg import EdgeSet
from metakg.models.nn.segments import run_ptr, segment_mm
from metakg.models.nn.sparse import edge_dot
from metakg.sample.neighbours import edge_rows


def attention(nodes: Tensor, relation: Tensor, project: Tensor, edges: EdgeSet) -> Tensor:
    """Weigh every edge (h, r, t) by softmax over its set of (W_r e_t) . tanh(W_r e_h + r): -> (E,), rows sum to one.

    The tail needs no projection of its own: (W_r e_t) . y = e_t . (W_r^T y). So only the (relation, head) pairs that occur
    are projected, there and back, and an edge costs one inner product.

    Args:
        nodes: (N, D) vectors of all nodes.
        relation: (2R + 2, D') relation vectors.
        project: (2R + 2, D', D) relation matrices W_r.
        edges: the neighbour set.
    """
    ptr = run_ptr(edges.pair_relation, project.shape[0])
    heads = segment_mm(nodes.index_select(0, edges.pair_head), project, ptr)  # (P, D')
    heads = torch.tanh(heads + relation.index_select(0, edges.pair_relation))
    asks = segment_mm(heads, project.transpose(1, 2), ptr)  # (P, D)
    logits = edge_dot(nodes, edges.tails, asks, edges.pair)
    return segment_softmax(logits, edges.rowptr)


def segment_softmax(logits: Tensor, rowptr: Tensor) -> Tensor:
    """Softmax over the edges of each row: (E,), (n + 1,) -> (E,). A row without edges has none."""
    rows = edge_rows(rowptr)
    n = rowptr.shape[0] - 1
    top = torch.full((n,), -torch.inf, dtype=logits.dtype, device=logits.device)
    top = top.scatter_reduce_(0, rows, logits.detach(), "amax")
    grown = torch.exp(logits - top.index_select(0, rows))
    total = torch.zeros(n, dtype=logits.dtype, device=logits.device).index_add(0, rows, grown)
    return grown / total.index_select(0, rows)
