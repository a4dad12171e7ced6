"""`ckan`: users and items are both seen through what they were clicked with and the facts around it.

Wang, Lin, Tan, Chen, Liu: "CKAN: Collaborative Knowledge-aware Attentive Network for Recommender Systems", SIGIR 2020. A user
starts from the items clicked, an item from the items that its users clicked; around these seeds M sampled facts (h, r, t) are
read in each of L layers, and weighed by what they begin with:

    w_m = softmax over the M facts of att([h_m; r_m]),    o_l = sum w_m t_m
    user: [mean of the seeds; o_1; ..; o_L],    item: [e_i; o_1; ..; o_L],    y(u, i) = v_u . v_i

Loss: binary cross-entropy. Users and items are worked out apart from each other, so two passes over tables and one product rank
everything; `att` is asked once for each (head, relation) pair that occurs, not once for each fact.

Differs from the paper: facts are read in both directions (`inverse`); an item's seeds are M of its co-clicks, since a popular
item has a hundred thousand; an item nobody has clicked starts from itself; sets are drawn anew for every epoch (`resample`),
and once for all for ranking; a node offers at most `cap` facts; an entity without facts reads itself, by a relation of its
own; a user without clicks starts from the facts about him, one of whom nothing is known from what everybody clicks. Differs
from the authors' code: the first part of a user is the mean of all seeds, not of the heads of the sampled facts
(`origin = "heads"`); entities that a batch reads through its facts are regularised, and not those that only stand in a mean of
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from metakg import losses
from metakg.data import Interactions, TrainView
from metakg.models.learnt import Kind, Learnt, LearntConfig, embedding
from metakg.models.nn.facts import Inverse, RippleSets, compact, fact_edges, item_seeds, user_seeds
from metakg.models.nn.rows import compare_rows
from metakg.models.nn.sparse import spmm
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space
from metakg.sample.neighbours import Edges, pick, places_of
from metakg.sample.pairs import PairBatch

_ROWS = 8192
"""Users or items worked out at once."""


class CkanConfig(LearntConfig):
    """Settings of `ckan`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "layers": Choice((1, 2)),
        "user_memory": Choice((8, 16, 64)),
        "item_memory": Choice((16, 64)),
        "squeeze": Choice((True, False)),
        "mask_self": Choice((False, True)),
    }

    kind: Literal["ckan"] = "ckan"
    layers: PositiveInt = 2
    """Layers L of facts."""
    user_memory: PositiveInt = 16
    """Facts M that a user reads in each layer."""
    item_memory: PositiveInt = 64
    """Facts M that an item reads in each layer, and co-clicks it starts from."""
    aggregate: Literal["concat", "sum", "pool"] = "concat"
    """Final vectors: parts end to end, added up, or the largest of each number; for the latter two an item also has the mean
    of its seeds."""
    squeeze: bool = True
    """Put attention scores through a sigmoid before the softmax (paper), which keeps the weights nearly equal."""
    origin: Literal["seeds", "heads"] = "seeds"
    """What the first part is the mean of: the seeds (paper), or the heads of the facts of layer 1 (authors' code)."""
    inverse: Inverse = "own"
    """Read facts from tail to head too, as relations of their own or as the same; or not at all."""
    cap: PositiveInt | None = 64
    """Facts that one node may offer; None offers all of a hub's."""
    mask_self: bool = False
    """In training, hide from a clicked item's first layer the facts about what else the user has clicked, which he himself
    brought there; for ranking a new item has no such facts. Otherwise a pair can be told by them (authors' code)."""
    resample: bool = True
    """Draw the sets anew for every epoch; else train on those that rank (authors' code)."""


class CKAN(Learnt):
    """The network over the sets of all users and items of a view."""

    rows: ClassVar[Mapping[str, Kind]] = {"entity": "entity", "relation": "relation"}

    config: CkanConfig
    clicked: Tensor

    def __init__(self, config: CkanConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        d = config.dim
        self.entity = embedding(view.n_entities, d, rng)  # (E, D), items first
        self.relation = nn.Parameter(xavier(view.n_relations, d, rng=rng))  # (R, D)
        if config.inverse == "own":
            self.rows = {**type(self).rows, "inverse": "relation"}  # type: ignore[misc]
            self.inverse = nn.Parameter(xavier(view.n_relations, d, rng=rng))  # (R, D)
        self.itself = nn.Parameter(xavier(1, d, rng=rng))  # of a node without facts to itself
        self.att = nn.ParameterList([xavier(d, 2 * d, rng=rng), xavier(d, d, rng=rng), xavier(1, d, rng=rng)])
        self.prepare(view.interactions.pairs_only())

    def prepare(self, pairs: Interactions) -> None:
        """Find the seeds and draw the sets."""
        config, view = self.config, self.view
        graph = fact_edges(view, config.inverse)
        seeds, whose = user_seeds(view, pairs)
        self.user_seeds = MeanOf(seeds)
        clicked = np.unique(pairs.keys(view.n_items))
        self.register_buffer("clicked", torch.from_numpy(clicked), persistent=False)
        self.users = RippleSets("sets/users", graph, seeds, whose, config.layers, config.user_memory, config.cap)
        seeds = item_seeds(view, pairs, config.item_memory)
        self.item_seeds = MeanOf(seeds)
        every = torch.arange(view.n_items)
        self.items = RippleSets("sets/items", graph, seeds, every, config.layers, config.item_memory, config.cap)
        self.to(self.entity.device)

    @torch.no_grad()
    def on_epoch_start(self) -> None:
        """Draw the sets of the next epoch."""
        if self.config.resample:
            self.users.redraw(self.rng)
            self.items.redraw(self.rng)

    # -- vectors of users and of items -----------------------------------------------------------------------------------

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        items = torch.cat([batch.positives, batch.negatives])
        place = torch.arange(len(items), device=items.device)
        if not self.config.mask_self:  # an item looks the same to everybody
            items, place = torch.unique(items, return_inverse=True)
        sets = self.users.of(batch.users, training=True), self.items.of(items, training=True)
        graph = self.users.graph
        used, where = compact(torch.cat([pick(graph.pair, s).flatten() for s in sets]), len(graph.pair_head))
        logits = self._logits(used).index_select(0, where)
        cut = sets[0].numel()
        users = self._users(batch.users, sets[0], logits[:cut].view(sets[0].shape))
        of_items = logits[cut:].view(sets[1].shape)
        if self.config.mask_self:
            hidden = self._brought(batch.users, batch.positives, sets[1][: len(batch)])
            of_items[: len(batch), 0] = of_items[: len(batch), 0].masked_fill(hidden, -torch.inf)
        of_items = self._items(items, sets[1], of_items)
        positive, negative = torch.split(of_items.index_select(0, place), len(batch))
        heads, tails = graph.pair_head.index_select(0, used), [pick(graph.tails, s).flatten() for s in sets]
        read, _ = compact(torch.cat([items, heads, *tails]), graph.n_nodes)
        l2 = losses.squared_norm(self.entity.index_select(0, read), batch=len(batch), weight=self.config.weight_decay)
        rank = losses.binary((users * positive).sum(-1), (users * negative).sum(-1))
        return {"rank": rank, "l2": l2}

    def _brought(self, users: Tensor, items: Tensor, edges: Tensor) -> Tensor:
        """Say which facts of an item's first layer begin with something else the user clicked: (B,), (B,), (B, L, M) -> (B, M).

        Where all do, none is hidden.
        """
        graph, n_items = self.users.graph, self.view.n_items
        heads = pick(graph.pair_head, pick(graph.pair, edges[:, 0]))
        keys = users.unsqueeze(1) * n_items + heads
        at = torch.searchsorted(self.clicked, keys).clamp_(max=len(self.clicked) - 1)
        hidden = (self.clicked[at] == keys) & (heads < n_items) & (heads != items.unsqueeze(1))
        return hidden & ~hidden.all(1, keepdim=True)

    @torch.no_grad()
    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users and of all items: (B,) -> (B, F), (I, F)."""
        return self._vectors(users.long(), torch.arange(self.view.n_items, device=users.device), training=False)

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates from the sets of the epoch: (B,), (B, H) -> (B, H)."""
        asked, place = torch.unique(users, return_inverse=True)
        shown, places = compact(items, self.view.n_items)
        left, right = self._vectors(asked, shown, training=True)
        return compare_rows(left.index_select(0, place), right, places)

    def _vectors(self, users: Tensor, items: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users and some items, from the sets of the epoch or those that rank: (n, F), (m, F)."""
        graph, kinds = self.users.graph, ((users, self.users, self._users), (items, self.items, self._items))
        edges = [sets.of(rows, training=training) for rows, sets, _ in kinds]
        used, where = compact(torch.cat([pick(graph.pair, some).flatten() for some in edges]), len(graph.pair_head))
        logits, found = self._logits(used), []
        for (rows, _, vectors), some, at in zip(kinds, edges, torch.split(where, [e.numel() for e in edges]), strict=True):
            parts = zip(*(torch.split(all_of, _ROWS) for all_of in (rows, some, at.view(some.shape))), strict=True)
            found.append(torch.cat([vectors(who, facts, pick(logits, place)) for who, facts, place in parts]))
        return found[0], found[1]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates, every fact by itself: (B,), (B, C) -> (B, C)."""
        scores = self.entity.new_empty(items.shape)
        for b, user in enumerate(torch.split(users.long(), 1)):
            edges = self.users.of(user, training=False)
            left = self._users(user, edges, self._attend(edges))
            edges = self.items.of(items[b], training=False)
            scores[b] = self._items(items[b].long(), edges, self._attend(edges)) @ left[0]
        return scores

    def _users(self, users: Tensor, edges: Tensor, logits: Tensor) -> Tensor:
        """Return final vectors: (n,), two (n, L, M) -> (n, F)."""
        rows = self.users.whose[users]
        return self._aggregate([self._first(self.user_seeds, rows, edges), *self._layers(edges, logits)])

    def _items(self, items: Tensor, edges: Tensor, logits: Tensor) -> Tensor:
        """Return final vectors: (n,), two (n, L, M) -> (n, F)."""
        parts = [self.entity.index_select(0, items), *self._layers(edges, logits)]
        if self.config.aggregate != "concat":
            parts.append(self._first(self.item_seeds, items, edges))
        return self._aggregate(parts)

    def _first(self, seeds: MeanOf, rows: Tensor, edges: Tensor) -> Tensor:
        if self.config.origin == "seeds":
            return seeds.of(self.entity, rows)
        graph = self.users.graph
        heads = pick(graph.pair_head, pick(graph.pair, edges[:, 0]))
        return pick(self.entity, heads).mean(1)

    def _layers(self, edges: Tensor, logits: Tensor) -> list[Tensor]:
        """Return o_1..o_L: two (n, L, M) -> L times (n, D)."""
        n, n_layers, size = edges.shape
        rowptr = torch.arange(0, edges.numel() + 1, size, device=edges.device)
        tails = self.users.graph.tails.index_select(0, edges.flatten())
        sums = spmm(Edges(rowptr, tails), torch.softmax(logits, -1).flatten(), self.entity)
        return list(sums.view(n, n_layers, self.config.dim).unbind(1))

    def _aggregate(self, parts: list[Tensor]) -> Tensor:
        if self.config.aggregate == "concat":
            return torch.cat(parts, -1)
        stacked = torch.stack(parts)
        return stacked.sum(0) if self.config.aggregate == "sum" else stacked.amax(0)

    # -- attention -------------------------------------------------------------------------------------------------------

    def _logits(self, pairs: Tensor) -> Tensor:
        """Return the scores of some (head, relation) pairs of the graph: (P,) -> (P,). att's first map is taken apart."""
        graph, d = self.users.graph, self.config.dim
        heads = self.entity.index_select(0, graph.pair_head.index_select(0, pairs)) @ self.att[0][:, :d].T
        relations = self._types() @ self.att[0][:, d:].T
        return self._upper(heads + relations.index_select(0, graph.pair_relation.index_select(0, pairs)))

    def _attend(self, edges: Tensor) -> Tensor:
        """Return the scores of facts, each from its own head and relation: (n, L, M) -> (n, L, M)."""
        graph = self.users.graph
        pair = pick(graph.pair, edges)
        heads, relations = pick(self.entity, pick(graph.pair_head, pair)), pick(self._types(), pick(graph.pair_relation, pair))
        both = torch.cat([heads, relations], -1)
        return self._upper(both @ self.att[0].T)

    def _upper(self, h: Tensor) -> Tensor:
        h = torch.relu(torch.relu(h) @ self.att[1].T) @ self.att[2][0]
        return torch.sigmoid(h) if self.config.squeeze else h

    def _types(self) -> Tensor:
        """Return the vectors of all edge types, as `fact_edges` numbers them."""
        both = [self.relation, self.inverse] if self.config.inverse == "own" else [self.relation]
        return torch.cat([*both, self.itself])


class MeanOf(nn.Module):
    """Means of the vectors of seeds."""

    rowptr: Tensor
    cols: Tensor

    def __init__(self, seeds: Edges) -> None:
        super().__init__()
        self.register_buffer("rowptr", seeds.rowptr, persistent=False)
        self.register_buffer("cols", seeds.cols, persistent=False)

    def of(self, table: Tensor, rows: Tensor) -> Tensor:
        """Return the mean for each row: (E, D), (n,) -> (n, D)."""
        rowptr, places = places_of(self.rowptr, rows)
        counts = rowptr.diff()
        weights = torch.repeat_interleave(1 / counts.to(table.dtype), counts)
        return spmm(Edges(rowptr, self.cols.index_select(0, places)), weights, table)
