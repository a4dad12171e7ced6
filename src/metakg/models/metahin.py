"""`metahin`: a decision network that adapts twice, to what each meta-path says of a user and to his clicks.

Lu, Fang, Shi: "Meta-learning on Heterogeneous Information Networks for Cold-start Recommendation", KDD 2020. The context C_p of
a user on meta-path p is what he clicked and what p leads to from there. With items c_j as in `melu`:

    x_p = LeakyReLU(W mean_{j in C_p} c_j + b)                              semantic context (eq. 4)
    phi_p = phi - a grad_phi L_S(x_p, theta),  phi = (W, b)                 semantic-wise adaptation (eq. 8)
    theta_p = theta * sigmoid(kappa(x_p)),  then theta_p - a grad L_S       task-wise adaptation (eqs. 9-10)
    x_u = sum_p w_p x_p,  theta_u = sum_p w_p theta_p,  w = softmax_p(-L_S) fusion (eq. 11)

and y(u, i) is a network with weights theta_u over [c_i; x_u]. A step on phi needs no copy of W: since x_p = LeakyReLU(z_p) with
z_p = W m_p + b, it moves z_p by -a (|m_p|^2 + 1) dL/dz_p, which is what is computed.

Differs from the paper: clicks and BPR instead of ratings; meta-paths and item relations are found in the data
(`metakg.models.metapaths`); each item leads to its best `neighbours` on a path, and a context keeps the `context_size` items
that most clicks lead to; who has an empty one gets the mean of what everybody clicks; one rate a for both adaptations, 1.0 by
default (the authors: 5e-3). Differs from the authors' code, which weighs the meta-paths by the labels of the *query* and puts
the query's items into the contexts while testing: only the support is read here, and one user vector serves all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, logsigmoid

from metakg.data import Interactions, TrainView
from metakg.models.nn.ckg import training_edges
from metakg.models.nn.decision import Decision, decide, task_losses
from metakg.models.nn.sparse import spmm
from metakg.models.nn.transr import xavier
from metakg.models.pathfinder import PathFinder, top_per_row
from metakg.models.personal import Chosen, Learners, Personal, PersonalConfig
from metakg.sample.neighbours import Edges


class MetaHinConfig(PersonalConfig):
    """Settings of `metahin`."""

    kind: Literal["metahin"] = "metahin"
    neighbours: PositiveInt = 50
    """Items that an item leads to on each path, the best by count and rarity."""
    context_size: PositiveInt = 100
    """Items that stand for a user on each path; his clicks come first."""


class MetaHin(Personal):
    """The model. See the module."""

    with_paths: ClassVar[bool] = True

    config: MetaHinConfig

    def __init__(self, config: MetaHinConfig, view: TrainView, rng: torch.Generator, *, chosen: Chosen | None = None) -> None:
        super().__init__(config, view, rng, chosen=chosen)
        self.embed = nn.Parameter(xavier(config.dim, self.content.width, rng=rng))  # W
        self.embed_bias = nn.Parameter(torch.zeros(config.dim))  # b
        size = sum(t.numel() for t in self.theta())
        self.kappa = nn.Parameter(xavier(size, config.dim, rng=rng))
        self.kappa_bias = nn.Parameter(torch.zeros(size))
        self.prepare(training_edges(view))

    def prepare(self, pairs: Interactions) -> None:
        """Build the histories, and what every item leads to on each meta-path."""
        super().prepare(pairs)
        finder = PathFinder(self.view, pairs, self.config.paths)
        self.leads = [finder.neighbours(path, self.config.neighbours) for path in self.chosen.paths]
        self.crowd = np.bincount(pairs.items, minlength=self.view.n_items).astype(np.float32)

    def context(self, clicks: sparse.csr_array) -> sparse.csr_array:
        """Return the context of each user on each path, his clicks alone as the first: (M, I) -> (M * P, I).

        Rows sum to 1; who clicked nothing has empty ones.
        """
        m, n = clicks.shape
        number = np.diff(clicks.indptr)
        own = np.repeat(np.arange(m), number)
        rows, cols, weights = [], [], []
        for p, leads in enumerate([None, *self.leads]):
            some = clicks
            if leads is not None:
                reached = sparse.csr_array(clicks @ leads)
                reached.data /= 1.0 + reached.data  # below 1, in the same order: a click comes before what it leads to
                reached = sparse.csr_array(reached + clicks)
                each = np.repeat(np.arange(m), np.diff(reached.indptr))
                some = top_per_row(each, reached.indices, reached.data, (m, n), self.config.context_size)
            row = own if leads is None else np.repeat(np.arange(m), np.diff(some.indptr))
            rows.append(row * (1 + len(self.leads)) + p)
            cols.append(some.indices)
            weights.append(1.0 / np.diff(some.indptr)[row])
        shape = (m * (1 + len(self.leads)), n)
        joined = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(cols)))
        return sparse.csr_array(sparse.coo_array(joined, shape=shape))

    def adapted(self, content: Tensor, learners: Learners) -> Decision:
        """Return each user's network: both adaptations on every path, and their fusion.

        As in `melu`, all users and paths share one backward, and in first order the steps are constants.
        """
        config, m, variants = self.config, len(learners.users), 1 + len(self.leads)
        second = config.order == "second" and torch.is_grad_enabled()
        mean = self._means(content, learners).view(m, variants, -1)  # (M, P, W)
        seen = content if second else content.detach()
        theta = self.theta()
        shared = [t.expand(m, variants, *t.shape) for t in theta]
        fixed = shared if second else [t.detach() for t in shared]
        z = mean @ self.embed.T + self.embed_bias  # (M, P, D)
        stretch = config.inner_lr * (mean.square().sum(-1, keepdim=True) + 1)
        if not second:
            stretch = stretch.detach()
        for _ in range(config.inner_steps):
            with torch.enable_grad():
                trial = z if second else z.detach().requires_grad_()
                loss = task_losses(seen, learners.comparisons, decide(fixed, leaky_relu(trial))).sum()
                (slope,) = torch.autograd.grad(loss, trial, create_graph=second)
            z = z - stretch * slope
        x = leaky_relu(z)
        gates = torch.split(torch.sigmoid(x @ self.kappa.T + self.kappa_bias), [t.numel() for t in theta], dim=-1)
        current = [t * gate.view(m, variants, *t.shape) for t, gate in zip(theta, gates, strict=True)]
        user = x if second else x.detach()
        for _ in range(config.inner_steps):
            with torch.enable_grad():
                tried = current if second else [t.detach().requires_grad_() for t in current]
                loss = task_losses(seen, learners.comparisons, decide(tried, user)).sum()
                steps = torch.autograd.grad(loss, tried, create_graph=second)
            current = [t - config.inner_lr * step for t, step in zip(current, steps, strict=True)]
        losses = task_losses(content, learners.comparisons, decide(current, x))  # (M, P), on the support
        share = torch.softmax(-losses, dim=1)
        fused = [torch.einsum("mp,mp...->m...", share, t).unsqueeze(1) for t in (*current, x)]
        return decide(fused[:-1], fused[-1])

    def _means(self, content: Tensor, learners: Learners) -> Tensor:
        """Return what the contexts are made of, on average, of everybody's clicks where one is empty: -> (M * P, W)."""
        context, device = learners.context, content.device
        assert context is not None
        places = context.indices if learners.places is None else learners.places[context.indices]
        rowptr, cols = (torch.from_numpy(a.astype(np.int64)).to(device) for a in (context.indptr, places))
        edges = Edges(rowptr, cols)
        means = spmm(edges, torch.from_numpy(context.data).to(content), content)
        nobody = edges.degrees == 0
        if bool(nobody.any()) and self.crowd.any():
            at = np.arange(len(self.crowd)) if learners.places is None else learners.places
            crowd = np.bincount(at, self.crowd, minlength=len(content)) / self.crowd.sum()
            means = torch.where(nobody.unsqueeze(1), torch.from_numpy(crowd).to(content) @ content, means)
        return means

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates, one user and one path after the other: (B,), (B, C) -> (B, C)."""
        with torch.inference_mode(False), torch.no_grad():
            result = torch.empty(items.shape, device=self.entity.device)
            for b, user in enumerate(users.tolist()):
                row = np.array([user])
                learner = self.learners(row, self.support_of(row))
                result[b] = self._score_alone(learner, items[b].tolist())
        return result

    def _score_alone(self, learner: Learners, items: list[int]) -> Tensor:
        rate, steps = self.config.inner_lr, self.config.inner_steps
        table = self.items(torch.arange(self.view.n_items, device=self.entity.device))
        pairs = learner.comparisons.listed()

        def score(c: Tensor, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
            first, b1, w2, b2, out = weights
            return out @ torch.relu(w2 @ torch.relu(first @ torch.cat([c, x]) + b1) + b2)

        def loss(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
            if not pairs:
                return x.sum() * 0
            margins = torch.stack([score(table[i], x, weights) - score(table[j], x, weights) for i, j in pairs])
            return -logsigmoid(margins).mean()

        means, found = self._means(table, learner), []
        for mean in means:
            w, b = self.embed.detach().clone(), self.embed_bias.detach().clone()
            for _ in range(steps if pairs else 0):
                with torch.enable_grad():
                    trial = w.requires_grad_(), b.requires_grad_()
                    slopes = torch.autograd.grad(loss(leaky_relu(trial[0] @ mean + trial[1]), self.theta()), trial)
                w, b = ((t - rate * slope).detach() for t, slope in zip(trial, slopes, strict=True))
            x = leaky_relu(w @ mean + b)
            gates = torch.split(torch.sigmoid(self.kappa @ x + self.kappa_bias), [t.numel() for t in self.theta()])
            weights = [(t * gate.view_as(t)).detach() for t, gate in zip(self.theta(), gates, strict=True)]
            for _ in range(steps if pairs else 0):
                with torch.enable_grad():
                    slopes = torch.autograd.grad(loss(x, [t.requires_grad_() for t in weights]), weights)
                weights = [(t - rate * slope).detach() for t, slope in zip(weights, slopes, strict=True)]
            found.append((loss(x, weights), x, weights))
        share = torch.softmax(-torch.stack([value for value, _, _ in found]), dim=0)
        user = sum(a * x for a, (_, x, _) in zip(share, found, strict=True))
        theta = [sum(a * w[n] for a, (_, _, w) in zip(share, found, strict=True)) for n in range(len(self.theta()))]
        return torch.stack([score(table[item], user, theta) for item in items])
