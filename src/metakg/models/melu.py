"""`melu`: a preference network whose decision layers take a step on each user's clicks.

Lee, Im, Jang, Cho, Chung: "MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation", KDD 2019
(arXiv:1908.00413). An item is made of the entities that its facts lead to, c_i = [mean e over relation 1; ...; relation F]
(Sec. 3.2: one embedding a content field), a user of p_u, and

    y(u, i) = out . ReLU(W_2 ReLU(W_1 [c_i; p_u] + b_1) + b_2)

Local update (Algorithm 1): theta_u = theta - a grad L_S(theta) on the user's support, with theta the layers above and the
embeddings left alone; global update: all parameters, by the query loss under theta_u.

Differs from the paper: clicks instead of ratings, so both losses are BPR against drawn items; the relations that describe an
item are found in the data (`metakg.models.metapaths`); users have no profile unless the graph has facts about them (`user`);
a step of 1.0 by default (the MetaKG paper: 1e-4), and when a user is scored each click is compared with `draws` items.
Differs from the authors' code, which puts the adapted weights into the module and takes them out again, so that its
gradient is neither that of MAML nor of its first-order form: here `order` says which of the two it is.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
from pydantic import NonNegativeInt
from scipy import sparse
from torch import Tensor

from metakg.data import Interactions, TrainView
from metakg.errors import DataError
from metakg.models.nn.ckg import training_edges
from metakg.models.nn.content import EntityMeans
from metakg.models.nn.decision import Decision, decide, task_losses
from metakg.models.personal import Chosen, Learners, Personal, PersonalConfig, vectors
from metakg.sample.keys import Ints

_COUNTS, _LIKED = 8, 16
"""Buckets of the number of clicks and of their mean popularity, each twice as wide as the one before."""


class MeluConfig(PersonalConfig):
    """Settings of `melu`."""

    kind: Literal["melu"] = "melu"
    inner_steps: NonNegativeInt = 5
    """Steps of the adaptation to a user; the paper takes one."""
    user: Literal["none", "activity", "facts"] = "none"
    """What a user is made of: one vector that all share, how much he clicked and how popular that is, or the entities
    that facts about him lead to (age, town)."""


class Melu(Personal):
    """The model. See the module."""

    config: MeluConfig

    def __init__(self, config: MeluConfig, view: TrainView, rng: torch.Generator, *, chosen: Chosen | None = None) -> None:
        if chosen is None and config.user == "facts" and not len(view.graph.user):
            asked, fix = 'at least one, as user = "facts" asks', 'Set user = "activity".'
            raise DataError("the facts about users", "none", expected=asked, fix=fix)
        super().__init__(config, view, rng, chosen=chosen)
        if config.user == "activity":
            self.count = vectors(_COUNTS, config.dim, rng)
            self.liked = vectors(_LIKED, config.dim, rng)
        else:
            self.user = vectors(1, config.dim, rng)
        self.prepare(training_edges(view))

    def _build(self, view: TrainView) -> None:
        super()._build(view)
        if self.config.user == "facts":
            facts = view.graph.user
            self.about = EntityMeans(facts.heads.astype(np.int64), facts.tails.astype(np.int64), view.n_users, view.n_entities)

    def prepare(self, pairs: Interactions) -> None:
        """Build the histories, and count the clicks of every item."""
        super().prepare(pairs)
        self.popularity = np.bincount(pairs.items, minlength=self.view.n_items).astype(np.float32)

    def used(self, users: Ints, items: Tensor) -> Tensor:
        """Return the entity rows that users and items are made of, each once."""
        of_items = super().used(users, items)
        if self.config.user != "facts":
            return of_items
        of_users = self.about.edges(torch.from_numpy(users).to(items)).cols
        return cast(Tensor, torch.unique(torch.cat([of_items, of_users])))

    def adapted(self, content: Tensor, learners: Learners) -> Decision:
        """Return each user's network after his steps.

        All users share one backward: the weights are laid out M times, and the sum of M losses has each user's gradient in
        his own copy. In first order the steps are constants, so that a gradient at theta_u is a gradient of theta.
        """
        m, user = len(learners.users), self.of_users(learners).unsqueeze(1)  # (M, 1, D)
        second = self.config.order == "second" and torch.is_grad_enabled()
        current = [t.expand(m, 1, *t.shape) for t in self.theta()]
        seen = (content, user) if second else (content.detach(), user.detach())
        for _ in range(self.config.inner_steps):
            with torch.enable_grad():
                trial = current if second else [t.detach().contiguous().requires_grad_() for t in current]
                loss = task_losses(seen[0], learners.comparisons, decide(trial, seen[1])).sum()
                steps = torch.autograd.grad(loss, trial, create_graph=second)
            current = [t - self.config.inner_lr * step for t, step in zip(current, steps, strict=True)]
        return decide(current, user)

    def of_users(self, learners: Learners) -> Tensor:
        """Return p_u: -> (M, D)."""
        m, device = len(learners.users), self.entity.device
        if self.config.user == "none":
            return self.user.expand(m, -1)
        if self.config.user == "facts":
            mean, there = self.about(self.entity, torch.from_numpy(learners.users).to(device))
            return torch.where(there.unsqueeze(1), mean, self.user)
        number = np.asarray(learners.clicks.sum(axis=1)).ravel()
        popular = (learners.clicks @ self.popularity) / np.maximum(number, 1)
        buckets = (
            torch.from_numpy(np.minimum(np.log2(1 + value).astype(np.int64), n - 1)).to(device)
            for value, n in ((number, _COUNTS), (popular, _LIKED))
        )
        return self.count[next(buckets)] + self.liked[next(buckets)]

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates, one user after the other: (B,), (B, C) -> (B, C)."""
        with torch.inference_mode(False), torch.no_grad():
            result = torch.empty(items.shape, device=self.entity.device)
            for b, user in enumerate(users.tolist()):
                row = np.array([user])
                clicks: sparse.csr_array = self.support_of(row)
                learner = self.learners(row, clicks)
                result[b] = self._score_alone(learner, items[b].tolist())
        return result

    def _score_alone(self, learner: Learners, items: list[int]) -> Tensor:
        p, pairs = self.of_users(learner)[0], learner.comparisons.listed()
        theta = [t.detach().clone() for t in self.theta()]

        def score(item: int, weights: list[Tensor]) -> Tensor:
            first, b1, w2, b2, out = weights
            c = self.items(torch.tensor([item], device=p.device))[0]
            return out @ torch.relu(w2 @ torch.relu(first @ torch.cat([c, p]) + b1) + b2)

        for _ in range(self.config.inner_steps if pairs else 0):
            with torch.enable_grad():
                trial = [t.requires_grad_() for t in theta]
                margins = torch.stack([score(i, trial) - score(j, trial) for i, j in pairs])
                steps = torch.autograd.grad(-torch.nn.functional.logsigmoid(margins).mean(), trial)
            theta = [(t - self.config.inner_lr * step).detach() for t, step in zip(trial, steps, strict=True)]
        return torch.stack([score(item, theta) for item in items])
