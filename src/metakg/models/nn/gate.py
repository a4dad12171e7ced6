"""The gate that balances what a node hears from users and from the knowledge graph (paper, eqs. 13-14)."""

from __future__ import annotations

import torch
from torch import Tensor

from metakg.models.nn.segments import Ptr, segment_mm


def fuse(from_users: Tensor, from_facts: Tensor, w_c: Tensor, w_k: Tensor, both: Tensor, ptr: Ptr = ()) -> Tensor:
    """Fuse two messages: (n, D), (n, D) -> (n, D), g * m_k + (1 - g) * m_c with g = sigmoid(W_c m_c + W_k m_k).

    A row that hears one side only takes it as it is: a gate has nothing to balance there and would merely shrink it (the
    paper is silent; `model_cards` P10, switch `gate_empty`). As an empty message is zero, that is the plain sum.

    Args:
        from_users: m_c, zero where a row has no user neighbour.
        from_facts: m_k, zero where a row has no entity neighbour.
        w_c: (S, D, D), one matrix for each run of `both`, or a stack of one.
        w_k: likewise.
        both: (b,) rows that hear both sides, ascending.
        ptr: where the runs of `both` start, if the stacks hold more than one.
    """
    total = from_users + from_facts
    if not both.shape[0]:
        return total
    m_c, m_k = from_users.index_select(0, both), from_facts.index_select(0, both)
    gate = torch.sigmoid(segment_mm(m_c, w_c, ptr) + segment_mm(m_k, w_k, ptr))
    return total.index_copy(0, both, torch.lerp(m_c, m_k, gate))
