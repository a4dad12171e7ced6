"""The collaborative knowledge graph: facts and clicks in one graph, both ways, every edge with its type.

Nodes are users 0..U-1, then entities U..U+E-1 (items first). Edge types, as the paper counts them: 0 "interact" (user to
item), 1..R the facts' relations, R+1..2R their inverses, 2R+1 the inverse of "interact". Two relations between one pair of
nodes are two edges; the same fact given twice is one.

An edge (h, r, t) means that h reads t. The edges of a node fall into two sets (paper, eq. 10): N^c(h), whose tail is a user,
and N^k(h), whose tail is an entity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metakg.data import Interactions, TrainView
from metakg.errors import DataError
from metakg.models.nn.sparse import Transposed, transpose
from metakg.sample.keys import Ints, sorted_set
from metakg.sample.neighbours import Edges, edge_rows
from metakg.sample.triples import TripleSampler


class EdgeSet(nn.Module):
    """One neighbour set of every node: edges sorted by head, then relation, then tail (as given); and their transpose.

    Buffers (not saved; they follow the model to its device):
        rowptr (N + 1,), tails (E,), relations (E,); pair (E,): which (relation, head) pair an edge belongs to;
        pair_head, pair_relation: those pairs, sorted by relation.
    """

    rowptr: Tensor
    tails: Tensor
    relations: Tensor
    pair: Tensor
    pair_head: Tensor
    pair_relation: Tensor
    t_rowptr: Tensor
    t_rows: Tensor
    t_order: Tensor

    def __init__(self, heads: Ints, relations: Ints, tails: Ints, n_nodes: int) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        rowptr = np.zeros(n_nodes + 1, np.int64)
        np.cumsum(np.bincount(heads, minlength=n_nodes), out=rowptr[1:])
        first = np.ones(len(heads), np.bool_)  # where a new (head, relation) pair begins
        first[1:] = (heads[1:] != heads[:-1]) | (relations[1:] != relations[:-1])
        by_relation = np.argsort(relations[first], kind="stable")
        place = np.empty(len(by_relation), np.int64)
        place[by_relation] = np.arange(len(by_relation))
        edges = Edges(torch.from_numpy(rowptr), torch.from_numpy(tails))
        turned = transpose(edges, n_nodes)
        buffers = {
            "rowptr": edges.rowptr,
            "tails": edges.cols,
            "relations": torch.from_numpy(relations),
            "pair": torch.from_numpy(place[np.cumsum(first) - 1]),
            "pair_head": torch.from_numpy(heads[first][by_relation]),
            "pair_relation": torch.from_numpy(relations[first][by_relation]),
            "t_rowptr": turned.rowptr,
            "t_rows": turned.rows,
            "t_order": turned.order,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def __len__(self) -> int:
        return self.tails.shape[0]

    @property
    def edges(self) -> Edges:
        """The edges, by head."""
        return Edges(self.rowptr, self.tails)

    @property
    def transposed(self) -> Transposed:
        """The edges, by tail."""
        return Transposed(self.t_rowptr, self.t_rows, self.t_order)

    @property
    def heads(self) -> Tensor:
        """(E,) the head of each edge; made on each call."""
        return edge_rows(self.rowptr)


class _Graph(nn.Module):
    """Sizes of the collaborative knowledge graph of a view."""

    def __init__(self, view: TrainView) -> None:
        super().__init__()
        self.n_users, self.n_items, self.n_entities = view.n_users, view.n_items, view.n_entities
        self.n_facts = view.n_relations

    @property
    def n_nodes(self) -> int:
        """Number of nodes N = U + E."""
        return self.n_users + self.n_entities

    @property
    def n_relations(self) -> int:
        """Number of edge types, 2R + 2."""
        return 2 * self.n_facts + 2


class UnifiedGraph(_Graph):
    """The graph with one neighbour set for each node, users and entities together.

    Attributes:
        edges: all edges.
    """

    def __init__(self, view: TrainView, pairs: Interactions) -> None:
        super().__init__(view)
        self.edges = EdgeSet(*edge_columns(view, pairs), self.n_nodes)

    @property
    def sets(self) -> tuple[EdgeSet, ...]:
        """The one set."""
        return (self.edges,)


class CollaborativeGraph(_Graph):
    """The graph of a view and of the pairs that may be edges.

    Attributes:
        collaborative: N^c, edges to users.
        knowledge: N^k, edges to entities.
        both: (n,) nodes that have both kinds of neighbours, the only ones that a gate can balance.
    """

    both: Tensor

    def __init__(self, view: TrainView, pairs: Interactions) -> None:
        super().__init__(view)
        heads, relations, tails = edge_columns(view, pairs)
        to_user = tails < self.n_users
        self.collaborative = EdgeSet(heads[to_user], relations[to_user], tails[to_user], self.n_nodes)
        self.knowledge = EdgeSet(heads[~to_user], relations[~to_user], tails[~to_user], self.n_nodes)
        both = (self.collaborative.edges.degrees > 0) & (self.knowledge.edges.degrees > 0)
        self.register_buffer("both", torch.nonzero(both).squeeze(1), persistent=False)

    @property
    def n_edges(self) -> int:
        """Number of edges, both directions."""
        return len(self.collaborative) + len(self.knowledge)

    @property
    def sets(self) -> tuple[EdgeSet, EdgeSet]:
        """N^c and N^k."""
        return self.collaborative, self.knowledge

    def isolated(self) -> Tensor:
        """(N,) bool: nodes without any edge."""
        return (self.collaborative.edges.degrees + self.knowledge.edges.degrees) == 0


def training_edges(view: TrainView) -> Interactions:
    """Return the pairs that may be edges while meta-training: all but the tasks' query pairs, which are labels.

    Raises:
        DataError: nothing is left.
    """
    pairs = view.interactions.pairs_only()
    if view.tasks is not None:
        query = view.tasks.query.keys(view.n_items)
        pairs = pairs.select(~np.isin(pairs.keys(view.n_items), query))
    if not len(pairs):
        raise DataError(
            "the training pairs",
            "no pair that may be an edge",
            expected="support or background pairs beside the query pairs",
            fix="Split the data so that the tasks keep a support set.",
        )
    return pairs


def triple_sampler(
    graph: CollaborativeGraph | UnifiedGraph, rng: np.random.Generator, *, clicks: bool, seen: bool = True
) -> TripleSampler:
    """Return a sampler over the edges of a graph, both directions; without `clicks` over its facts alone."""
    parts = [[s.heads for s in graph.sets], [s.relations for s in graph.sets], [s.tails for s in graph.sets]]
    columns = [np.concatenate([part.cpu().numpy() for part in column]) for column in parts]
    if not clicks:
        keep = (columns[1] != 0) & (columns[1] != graph.n_relations - 1)
        columns = [column[keep] for column in columns]
    kinds = (0, graph.n_users, graph.n_users + graph.n_items, graph.n_nodes)
    return edge_sampler(columns, kinds, graph.n_relations, rng, seen=seen)


def edge_sampler(
    columns: Sequence[Ints], kinds: tuple[int, ...], n_relations: int, rng: np.random.Generator, *, seen: bool = True
) -> TripleSampler:
    """Return a sampler over edges: a click is corrupted by an item (or, the other way, a user), a fact by any entity.

    Args:
        columns: heads, relations, tails.
        kinds: where users, items and other entities begin, and the number of nodes.
        n_relations: number of edge types, 2R + 2.
        rng: the source of all draws.
        seen: corrupt clicks by items (or users) that have one; else by any.
    """
    wide = np.ones(n_relations, np.bool_)
    wide[[0, n_relations - 1]] = False
    heads, relations, tails = columns
    return TripleSampler(heads, relations, tails, kinds=kinds, wide=wide, rng=rng, seen=seen)


def edge_columns(view: TrainView, pairs: Interactions) -> tuple[Ints, Ints, Ints]:
    """Return all edges of the graph, both ways, each once, sorted by head, relation and tail: three (E,) columns."""
    n_users, n_facts = view.n_users, view.n_relations
    facts, about = view.graph.entity, view.graph.user
    users, items = pairs.users.astype(np.int64), pairs.items.astype(np.int64) + n_users
    forward_h = [users, facts.heads.astype(np.int64) + n_users, about.heads.astype(np.int64)]
    forward_t = [items, facts.tails.astype(np.int64) + n_users, about.tails.astype(np.int64) + n_users]
    forward_r = [np.zeros(len(users), np.int64), facts.relations.astype(np.int64) + 1, about.relations.astype(np.int64) + 1]
    h, r, t = (np.concatenate(parts) for parts in (forward_h, forward_r, forward_t))
    inverse = np.where(r == 0, 2 * n_facts + 1, r + n_facts)
    heads, relations, tails = np.concatenate([h, t]), np.concatenate([r, inverse]), np.concatenate([t, h])
    keys = edge_keys(heads, relations, tails, n_users + view.n_entities, 2 * n_facts + 2)
    keys = sorted_set(keys)
    n_nodes, n_relations = n_users + view.n_entities, 2 * n_facts + 2
    heads, rest = np.divmod(keys, n_nodes * n_relations)
    return heads, rest // n_nodes, rest % n_nodes


def edge_keys(heads: Ints, relations: Ints, tails: Ints, n_nodes: int, n_relations: int) -> Ints:
    """Return one int64 for each edge, ascending by head, relation and tail; enough for 300 million nodes and 100 relations.

    Raises:
        DataError: the numbers would not fit.
    """
    if float(n_nodes) ** 2 * n_relations >= 2**63:
        raise DataError(
            "the graph",
            f"{n_nodes} nodes and {n_relations} relations",
            expected="nodes * nodes * relations below 2^63",
            fix="Cut the graph into parts, or drop entities that no item reaches.",
        )
    return (heads * n_relations + relations) * n_nodes + tails
