"""TransR's energy (paper, eq. 22; Lin et al. 2015): a fact is likely where the head, moved by the relation, meets the tail."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metakg import losses
from metakg.models.nn.segments import run_ptr, segment_mm
from metakg.sample.triples import TripleBatch


def energies(vectors: Tensor, relations: Tensor, relation: Tensor, project: Tensor) -> tuple[Tensor, Tensor]:
    """Return ||W_r e_h + r - W_r e_t||^2 of the true and of the corrupted facts: two (T,); low means likely.

    Both projections are one, of the difference e_h - e_t, and facts of one relation share a matrix product.

    Args:
        vectors: (3T, D) vectors of the heads, the true tails and the false tails, as `TripleBatch.rows` orders them.
        relations: (T,) ascending relation rows.
        relation: (2R + 2, D') relation vectors r.
        project: (2R + 2, D', D) relation matrices W_r.
    """
    heads, tails, corrupted = torch.split(vectors, len(relations))
    ptr = run_ptr(relations, project.shape[0])
    moved = relation.index_select(0, relations)
    true, false = ((segment_mm(heads - other, project, ptr) + moved).square().sum(-1) for other in (tails, corrupted))
    return true, false


class TransR(nn.Module):
    """TransR alone, on the edges of a graph: the initialisation of the embedding layer (paper, eq. 9).

    Its parameters have the names and shapes of MetaKG's, so that they can be handed over.
    """

    def __init__(self, n_nodes: int, n_relations: int, dim: int, weight_decay: float, rng: torch.Generator) -> None:
        super().__init__()
        self.weight_decay = weight_decay
        self.node = nn.Parameter(xavier(n_nodes, dim, rng=rng))
        self.relation = nn.Parameter(xavier(n_relations, dim, rng=rng))
        self.project = nn.Parameter(xavier(n_relations, dim, dim, rng=rng))

    def forward(self, batch: TripleBatch) -> dict[str, Tensor]:
        """Return the loss of a batch of facts."""
        rows = self.node.index_select(0, batch.rows())
        true, false = energies(rows, batch.relations, self.relation, self.project)
        kg = losses.triple_ranking(true, false).mean()
        return {"kg": kg, "l2": losses.squared_norm(rows, batch=len(batch), weight=self.weight_decay)}


def xavier(*shape: int, rng: torch.Generator) -> Tensor:
    """Return a Xavier-uniform matrix (Glorot & Bengio 2010) or stack of matrices, from a named generator."""
    bound = math.sqrt(6.0 / (shape[-1] + shape[-2]))
    return (torch.rand(shape, generator=rng) * 2 - 1) * bound
