"""`mcrec`: the score of a user and an item, and of the meta-path instances that join them.

Hu, Shi, Zhao, Yu: "Leveraging Meta-path based Context for Top-N Recommendation with a Neural Co-Attention Model", KDD 2018.
With frozen features f of nodes, learnt vectors x_u and y_i, and on each meta-path the best instances of the pair:

    h = ReLU(sum_k F_k f_{node k} + b)                     a convolution as long as the path (eqs. 3-4)
    c_p = max over instances of h, 0 where there is none   (eq. 5)
    c = sum_p a_p c_p,   a = softmax_p ReLU(w . ReLU(W [x; y; c_p] + b) + b')          (eqs. 6-9)
    x' = ReLU(W_u [x; c] + b_u) * x,   y' = ReLU(W_i [y; c] + b_i) * y                 (eqs. 10-13)
    y(u, i) = MLP([x'; c; y'])                                                         (eq. 14)

learnt by cross-entropy against drawn items. Instances are built by sparse joins (`models.nn.instances`), and ranking all items
visits a user's instances from his side: items without any share c = 0, so that their first layer is a sum of a user's part
and an item's part, and only the few that a path leads to cost more.

Differs from the paper: meta-paths are found in the data (`metakg.models.metapaths`); features are those of BPR on training
pairs (`training.start = "bpr"`), an entity's the mean of the items it describes; the instances of a path are the best of
sparse joins that are cut (see `InstancedConfig`), not sampled walks; matrices are not regularised. Differs from the authors'
code, where the attention of users and items ends in a softmax over coordinates (`coordinate_softmax`), the attention over
paths is commented out, and features and neighbours come from data that include the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import softplus

from metakg import losses
from metakg.data import TrainView
from metakg.models.instanced import Instanced, InstancedConfig
from metakg.models.learnt import Kind, LearntConfig
from metakg.models.metapaths import MetaPath
from metakg.models.nn.facts import compact
from metakg.models.nn.instances import Chains, Instances
from metakg.models.nn.rows import compare_rows
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space
from metakg.sample.neighbours import pick
from metakg.sample.pairs import PairBatch

_USERS = 16
"""Users whose instances are encoded at a time."""
_CELLS = 1 << 21
"""Numbers in the first layer of the items without a path: 8 MB, which stays near the cache."""


class McrecConfig(InstancedConfig):
    """Settings of `mcrec`."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "dropout": Choice((0.0, 0.2, 0.5)),
        "loss": Choice(("bce", "bpr")),
        "instances": Choice((3, 5, 10)),
        "starts": Choice((5, 10, 20)),
    }

    kind: Literal["mcrec"] = "mcrec"
    tower: tuple[PositiveInt, ...] = (96, 32)
    """Widths of the hidden layers of the MLP."""
    dropout: float = Field(0.5, ge=0.0, lt=1.0)
    """Share of an instance's encoding that is dropped in training."""
    loss: Literal["bce", "bpr"] = "bce"
    """Cross-entropy of clicks and drawn items, or their ranking."""
    coordinate_softmax: bool = False
    """Whether the attention of users and items is a distribution over coordinates (authors' code)."""


@dataclass(frozen=True)
class Contexts:
    """What the paths say of n pairs.

    Attributes:
        users: (n,) user rows.
        items: (n,) item rows.
        paths: (n, M, D) c_p of each path.
    """

    users: Tensor
    items: Tensor
    paths: Tensor


class Mcrec(Instanced):
    """The model. See the module."""

    rows: ClassVar[Mapping[str, Kind]] = {"user": "user", "item": "item", "feature": "node"}

    config: McrecConfig

    def __init__(
        self, config: McrecConfig, view: TrainView, rng: torch.Generator, *, chosen: Sequence[MetaPath] | None = None
    ) -> None:
        super().__init__(config, view, rng, chosen)
        d, m = config.dim, len(self.chosen)
        unit = d**-0.5  # vectors of length 1, so that products of a vector and its attention are no smaller than a context
        self.user = nn.Parameter(torch.randn(view.n_users, d, generator=rng) * unit)  # x, (U, D)
        self.item = nn.Parameter(torch.randn(view.n_items, d, generator=rng) * unit)  # y, (I, D)
        self.feature = self.features(rng)  # f, (U + E, D)
        self.filter = nn.Parameter(xavier(5 * m, d, d, rng=rng).view(m, 5, d, d))  # F of u, m, e, x and i
        self.filter_bias = nn.Parameter(torch.zeros(m, d))
        self.path_hidden, self.path_bias = nn.Parameter(xavier(d, 3 * d, rng=rng)), nn.Parameter(torch.zeros(d))
        self.path_out, self.path_out_bias = nn.Parameter(xavier(1, d, rng=rng)[0]), nn.Parameter(torch.full((1,), 0.1))
        self.of_user, self.of_user_bias = nn.Parameter(xavier(d, 2 * d, rng=rng)), nn.Parameter(torch.ones(d))
        self.of_item, self.of_item_bias = nn.Parameter(xavier(d, 2 * d, rng=rng)), nn.Parameter(torch.ones(d))
        widths = [3 * d, *config.tower, 1]
        self.tower = nn.ParameterList([nn.Parameter(xavier(b, a, rng=rng)) for a, b in pairwise(widths)])
        self.tower_bias = nn.ParameterList([nn.Parameter(torch.zeros(b)) for b in widths[1:]])
        self.prepare(view.interactions.pairs_only())

    # -- the network -----------------------------------------------------------------------------------------------------

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        n = self.view.n_items
        both = torch.stack([batch.users * n + batch.positives, batch.users * n + batch.negatives])
        keys, places = torch.unique(both, return_inverse=True)
        contexts = self.contexts_of_pairs(keys // n, keys % n, drops=self.training)
        positive, negative = pick(self.logits(contexts), places)
        if self.config.loss == "bpr":
            rank = losses.bpr(positive - negative).mean()
        else:
            rank = (softplus(-positive).mean() + batch.each * softplus(negative).mean()) / (1 + batch.each)
        used = pick(self.user, torch.unique(contexts.users)), pick(self.item, torch.unique(contexts.items))
        return {"rank": rank, "l2": losses.squared_norm(*used, batch=len(batch), weight=self.config.weight_decay)}

    def logits(self, contexts: Contexts) -> Tensor:
        """Return y(u, i) of n pairs: -> (n,)."""
        x, y, c_p = pick(self.user, contexts.users), pick(self.item, contexts.items), contexts.paths
        d = self.config.dim
        of_pair = x @ self.path_hidden[:, :d].T + y @ self.path_hidden[:, d : 2 * d].T + self.path_bias
        hidden = torch.relu(of_pair.unsqueeze(1) + c_p @ self.path_hidden[:, 2 * d :].T)
        share = torch.softmax(torch.relu(hidden @ self.path_out + self.path_out_bias), dim=1)
        c = (share.unsqueeze(-1) * c_p).sum(1)
        hidden = torch.cat([self._attended(x, c, "user"), c, self._attended(y, c, "item")], 1)
        return self._tower(hidden @ self.tower[0].T + self.tower_bias[0])

    def _attended(self, vectors: Tensor, c: Tensor | None, side: Literal["user", "item"]) -> Tensor:
        """Return x' or y' (eqs. 10-13); without a context for c = 0."""
        weight, bias = getattr(self, f"of_{side}"), getattr(self, f"of_{side}_bias")
        before = vectors @ weight[:, : self.config.dim].T + bias
        attention = torch.relu(before if c is None else before + c @ weight[:, self.config.dim :].T)
        return vectors.mul(torch.softmax(attention, 1) if self.config.coordinate_softmax else attention)

    def _tower(self, hidden: Tensor) -> Tensor:
        """Return the rest of the MLP, from the first layer before its ReLU: (n, H) -> (n,)."""
        for weight, bias in zip(list(self.tower)[1:], list(self.tower_bias)[1:], strict=True):
            hidden = torch.relu(hidden) @ weight.T + bias
        return hidden[:, 0]

    # -- instances to contexts -------------------------------------------------------------------------------------------

    def contexts_of_pairs(self, users: Tensor, items: Tensor, *, drops: bool = False) -> Contexts:
        """Return what the paths say of given pairs, or what dropout leaves of it: (n,), (n,)."""
        known, rows = np.unique(users.cpu().numpy(), return_inverse=True)
        places = items.cpu().numpy()
        parts = []
        for p, half in enumerate(self.halves):
            chains = half.chains(known, self.own[known])
            found = half.of_pairs(chains, rows, places)
            at = torch.from_numpy(found.pair).to(items.device)
            parts.append((at, self._encode(p, chains, found, users[at], items[at], drops=drops)))
        return Contexts(users, items, self._stacked(len(items), parts))

    def _encode(self, p: int, chains: Chains, found: Instances, users: Tensor, items: Tensor, *, drops: bool = False) -> Tensor:
        """Return c_p of pairs that have an instance (eqs. 3-5): -> (n, D).

        Only chains that occur are encoded, and each once. The ReLU comes after the maximum, which is the same and cheaper,
        unless dropout has to come between.
        """
        n, filters = self.view.n_users, self.filter[p]
        used, place = np.unique(found.chain, return_inverse=True)  # -1 comes first where a pair has fewer instances
        missing = int(len(used) > 0 and used[0] < 0)
        used, place = used[missing:], place.reshape(found.chain.shape) - missing
        device = items.device
        ends = chains.end[used] + (0 if self.halves[p].over_users else n)
        over = [(1, chains.item[used] + n), (3, ends)]
        if len(self.chosen[p].links) == 3:
            over.append((2, chains.via[used] + n))
        features = ((k, pick(self.feature, torch.from_numpy(rows).long().to(device))) for k, rows in over)
        chain = sum((rows @ filters[k].T for k, rows in features), torch.zeros(()).to(device))
        pair = pick(self.feature, users) @ filters[0].T + pick(self.feature, items + n) @ filters[4].T + self.filter_bias[p]
        where = torch.from_numpy(place).to(device)
        of_chain = pick(chain, where.clamp(min=0))  # (n, K, D)
        absent = (where < 0).unsqueeze(-1)
        if drops and self.config.dropout:
            keep = 1 - self.config.dropout
            mask = torch.rand(of_chain.shape, generator=self.rng, device=device) < keep
            hidden = torch.relu(of_chain + pair.unsqueeze(1)) * mask / keep
            return hidden.masked_fill(absent, 0.0).amax(1)  # an instance's encoding is not negative
        return torch.relu(of_chain.masked_fill(absent, -torch.inf).amax(1) + pair)

    def _stacked(self, n: int, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return c_p of all paths, zero where a pair has no instance: -> (n, M, D)."""
        stacked = [c.new_zeros(n, self.config.dim).index_copy(0, at, c) for at, c in parts]
        return torch.stack(stacked, 1)

    # -- scores ----------------------------------------------------------------------------------------------------------

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        users = users.long()
        scores = self._without_paths(users)
        for start in range(0, len(users), _USERS):
            some = users[start : start + _USERS]
            contexts, cells = self._contexts_of_users(some)
            scores[start : start + _USERS].view(-1)[cells] = self.logits(contexts)
        return scores

    def _contexts_of_users(self, users: Tensor) -> tuple[Contexts, Tensor]:
        """Return what the paths say of all pairs with an instance, and the cells they fill: position of the user * I + item."""
        known, n_items = users.cpu().numpy(), self.view.n_items
        found = [(chains := half.chains(known, self.own[known]), half.of_users(chains)) for half in self.halves]
        return self._contexts(found, lambda pairs: (users[pairs // n_items], pairs % n_items))

    def _contexts(
        self, found: Sequence[tuple[Chains, Instances]], named: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Contexts, Tensor]:
        """Return what the paths say of those pairs that have an instance, and which these are.

        Args:
            found: the chains and instances of each path.
            named: the users and items of pairs: (n,) -> (n,), (n,).
        """
        device = self.user.device
        pairs = np.unique(np.concatenate([instances.pair for _, instances in found]))
        where, parts = torch.from_numpy(pairs).to(device), []
        users, items = named(where)
        for p, (chains, instances) in enumerate(found):
            at = torch.from_numpy(np.searchsorted(pairs, instances.pair)).to(device)
            parts.append((at, self._encode(p, chains, instances, users[at], items[at])))
        return Contexts(users, items, self._stacked(len(pairs), parts)), where

    def _without_paths(self, users: Tensor) -> Tensor:
        """Score every item as if no path led there: (B,) -> (B, I). The first layer is a sum of two parts."""
        left, right = self._sides(self.user[users], self.item)
        if len(self.tower) == 1:
            return left + right.T
        scores = left.new_empty(len(users), len(right))
        step = max(1, _CELLS // right[:1024].numel())
        for start in range(0, len(users), step):
            some = left[start : start + step].unsqueeze(1)
            for begin in range(0, len(right), 1024):
                hidden = some + right[begin : begin + 1024]  # (b, i, H)
                scores[start : start + step, begin : begin + 1024] = self._tower(hidden.flatten(0, 1)).view(hidden.shape[:2])
        return scores

    def _sides(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return what users and items add to the first layer where no path joins them: (n, D), (m, D) -> (n, H), (m, H)."""
        d, first = self.config.dim, self.tower[0]
        left = self._attended(users, None, "user") @ first[:, :d].T
        return left, self._attended(items, None, "item") @ first[:, 2 * d :].T + self.tower_bias[0]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates, walking from one node to the next: (B,), (B, C) -> (B, C)."""
        scores = torch.empty(items.shape, device=self.user.device)
        for b, user in enumerate(users.tolist()):
            for c, item in enumerate(items[b].tolist()):
                walked = torch.stack([self._walked(p, user, item) for p in range(len(self.halves))])
                pair = torch.tensor([[user], [item]], device=scores.device)
                scores[b, c] = self.logits(Contexts(pair[0], pair[1], walked.unsqueeze(0)))[0]
        return scores

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates: (B,), (B, H) -> (B, H). To most of them no path leads."""
        asked, rows = torch.unique(users, return_inverse=True)
        shown, columns = compact(items, self.view.n_items)
        left, right = self._sides(pick(self.user, asked), pick(self.item, shown))
        scores = compare_rows(
            pick(left, rows), right, columns, lambda one, other: self._tower((one + other).flatten(0, 1)).view(other.shape[:2])
        )
        known, each, flat = asked.cpu().numpy(), items.shape[1], items.flatten()
        of_pairs = rows.repeat_interleave(each).cpu().numpy(), flat.cpu().numpy()
        found = [(chains := half.chains(known, self.own[known]), half.of_pairs(chains, *of_pairs)) for half in self.halves]
        contexts, where = self._contexts(found, lambda pairs: (users[pairs // each], flat[pairs]))
        scores.view(-1)[where] = self.logits(contexts)
        return scores

    def _walked(self, p: int, user: int, item: int) -> Tensor:
        """Return c_p of one pair, instance by instance: -> (D,)."""
        half, n, filters = self.halves[p], self.view.n_users, self.filter[p]
        best = torch.zeros(self.config.dim, device=filters.device)
        for m, via, end in half.listed(user, item, self.own[[user]]):
            nodes = {0: user, 1: n + m, 3: end if half.over_users else n + end, 4: n + item}
            if via >= 0:
                nodes[2] = n + via
            h = self.filter_bias[p]
            for k, node in nodes.items():
                h = h + filters[k] @ self.feature[node]
            best = torch.maximum(best, h)  # above zero: the ReLU
        return best
