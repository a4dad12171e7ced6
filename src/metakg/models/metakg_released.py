"""The released code's network (github.com/ZJU-DBL/MetaKG, commit d372acb), for a like-for-like check of its numbers.

It is another model than the paper's: no attention, no aggregation matrices, no TransR. A message is the mean over the
neighbours of e_t * r; items balance what they hear from facts and from users by a gate; a user is the sum of the fused vectors
of his items in the same layer; every layer is scaled to length one, and layers 0..L are added. The inner step adapts the
gates. The energy of a fact is ||e_t * r - e_h||^2.

Differs from the released code, because the check would be worthless otherwise: start vectors never come from its `mf.npz`
(fitted on pairs that hold most answers), and facts are read as head, relation, tail (its training swaps two columns and looks
relations up in the entity table). Slow on purpose: it propagates the whole graph for every task, as the original does.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from metakg.data import Interactions, TrainView
from metakg.models.metakg_paper import MetaKG, NodeVectors
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.nn.gate import fuse
from metakg.models.nn.network import LayerWeights, Tables
from metakg.models.nn.segments import run_ptr
from metakg.models.nn.sparse import spmm, transpose
from metakg.sample.neighbours import Edges, Field, receptive_field
from metakg.sample.triples import TripleBatch


def network_of(config: MetaKGConfig) -> type[MetaKG]:
    """Return the class that `arch` names."""
    return MetaKGReleased if config.arch == "code" else MetaKG


class MetaKGReleased(MetaKG):
    """The released network under this package's protocol and training loop.

    Args:
        config: settings with `arch = "code"` (`settings/released.toml` has those of the release).
        view: training data.
        rng: the source of the initial parameters, then of dropout.
        edges: pairs that are edges; None takes all that may be.
        attend: ignored; there is no attention.
    """

    def __init__(
        self,
        config: MetaKGConfig,
        view: TrainView,
        rng: torch.Generator,
        edges: Interactions | None = None,
        *,
        attend: bool = True,
    ) -> None:
        if config.arch != "code":
            raise ValueError(f'MetaKGReleased needs arch = "code", not {config.arch!r}')
        super().__init__(config, view, rng, edges, attend=False)
        self.network.w1, self.network.w2 = nn.ParameterList(), nn.ParameterList()
        self.project.requires_grad_(False)
        self.bias.requires_grad_(False)  # that of eq. 9 stays zero: the release has none

    def refresh(self) -> None:
        """Nothing to refresh: every neighbour counts alike."""

    def tables(self, *, tracked: bool, meet: bool = True) -> Tables:
        """Return the node vectors; nothing else is shared between passes, as each draws its own edges."""
        with torch.set_grad_enabled(tracked and torch.is_grad_enabled()):
            vectors = self.node_vectors()
        empty = vectors.new_empty(0)
        return Tables(vectors, empty, empty, None, None, ())

    @torch.no_grad()
    def encode(self) -> NodeVectors:
        """Propagate over the whole graph: all edges, no dropout."""
        was = self.training
        self.eval()
        layers = self._layers(self.node_vectors(), self.network.weights(), 0)
        self.train(was)
        newcomer = layers[0][: self.graph.n_users].mean(0)
        return NodeVectors(tuple(layers), torch.stack(layers).sum(0), newcomer)

    def _field(self, tables: Tables, tasks: Tensor, nodes: Tensor, n_tasks: int) -> Field:
        """Return the seeds alone."""
        return receptive_field([], tasks, nodes, n_tasks=n_tasks, n_nodes=self.graph.n_nodes)

    def _final(self, tables: Tables, field: Field, weights: LayerWeights) -> Tensor:
        stacked = weights.w_c[0].shape[0] > 1
        vectors, relation = tables.vectors, self.relation if tables.vectors.requires_grad else self.relation.detach()
        found = []
        for task, (start, stop) in enumerate(pairwise(run_ptr(field.tasks[-1], field.n_tasks))):
            layers = self._layers(vectors, weights, task if stacked else 0, relation)
            found.append(torch.stack(layers).sum(0).index_select(0, field.nodes[-1][start:stop]))
        return torch.cat(found)

    def _layers(self, e: Tensor, w: LayerWeights, task: int, relation: Tensor | None = None) -> list[Tensor]:
        """Return layers 0..L of all nodes under one task's gates."""
        graph, relation = self.graph, self.relation if relation is None else relation
        n_users, clicked = graph.n_users, graph.n_relations - 1
        known, heard = graph.knowledge, graph.collaborative
        kg = (known.relations > 0) & (known.relations < clicked) & (known.heads >= n_users)
        kept, facts = self._some(kg)
        users = _edges(heard.heads, heard.tails, heard.relations == clicked, graph.n_nodes)
        items = _edges(known.heads, known.tails, known.relations == 0, graph.n_nodes)
        both = torch.nonzero((facts.degrees > 0) & (users.degrees > 0)).squeeze(1)
        typed, pairs = self._by_pair(kept)
        layers = [e]
        for w_c, w_k in zip(w.w_c, w.w_k, strict=True):
            per_pair = _sum(typed, e) * relation.index_select(0, pairs[1])  # (P, D): sums over one head's one relation
            from_facts = torch.zeros_like(e).index_add(0, pairs[0], per_pair) / facts.degrees.clamp(min=1).unsqueeze(1)
            from_users = _sum(users, e) * relation[0] / users.degrees.clamp(min=1).unsqueeze(1)
            fused = fuse(from_users, from_facts, w_c[[task]], w_k[[task]], both)
            above = torch.cat([_sum(items, fused)[:n_users], fused[n_users:]])
            e = normalize(self.network.drop(above), dim=-1)
            layers.append(e)
        return layers

    def _some(self, kg: Tensor) -> tuple[Tensor, Edges]:
        """Return the positions of the facts that this pass reads, in training a random part, and them as edges."""
        known = self.graph.knowledge
        if self.training and self.config.edge_dropout:
            draws = torch.rand(len(kg), generator=self.rng, device=kg.device)
            kg = kg & (draws >= self.config.edge_dropout)
        return torch.nonzero(kg).squeeze(1), _edges(known.heads, known.tails, kg, self.graph.n_nodes)

    def _by_pair(self, kept: Tensor) -> tuple[Edges, tuple[Tensor, Tensor]]:
        """Group facts by (head, relation): edges from pairs to tails, and each pair's head and relation."""
        known = self.graph.knowledge
        owners, place = torch.unique(known.pair.index_select(0, kept), return_inverse=True)
        order = torch.argsort(place, stable=True)
        counts = torch.bincount(place, minlength=len(owners))
        rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        edges = Edges(rowptr, known.tails.index_select(0, kept.index_select(0, order)))
        return edges, (known.pair_head.index_select(0, owners), known.pair_relation.index_select(0, owners))

    def _energies(self, vectors: Tensor, facts: TripleBatch) -> tuple[Tensor, Tensor]:
        heads, tails, corrupted = torch.split(vectors, len(facts))
        relation = self.relation.index_select(0, facts.relations)
        return (tails * relation - heads).square().sum(-1), (corrupted * relation - heads).square().sum(-1)


def _edges(heads: Tensor, tails: Tensor, keep: Tensor, n_nodes: int) -> Edges:
    """Return some of the edges, still sorted by head."""
    counts = torch.bincount(heads[keep], minlength=n_nodes)
    return Edges(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), tails[keep])


def _sum(edges: Edges, e: Tensor) -> Tensor:
    """Add up what each row reads."""
    return spmm(edges, e.new_ones(len(edges.cols)), e, transpose(edges, e.shape[0]) if e.requires_grad else None)
