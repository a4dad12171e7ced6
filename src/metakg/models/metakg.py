"""MetaKG with local evidence: the paper's two learners and its scheduler around what the joined graph says about a pair.

Du, Zhu, Chen, Fang, Gao: "MetaKG: Meta-learning on Knowledge Graph for Cold-start Recommendation", TKDE 2022
(arXiv:2202.03851). The scheme is the paper's: what is general is learnt once for all (omega), what is personal is one step
away from a learnt start (gamma), and tasks are chosen by a scheduler. What is scored differs:

    score(u, i) = f_gamma_u( exp(omega) * e(u, i) )          e: evidence by channel (`evidence`)
    gamma_u     = gamma - k grad_gamma L_S(u; gamma)         L_S: u's own items, each judged by the others (eqs. 19-21)
    L(u)        = - mean over the query of log softmax       over u's candidates, in place of eq. 17's pairs
    gamma, omega <- grad of the mean L(u) at gamma_u         first order by default (Algorithm 1, line 9)

f is a small network with one hidden layer. Tasks are drawn from worlds in which some users and items are still new
(`metakg.sample.worlds`), so the model practises exactly what cold start asks. Ranking is exact for the model as defined: the
candidates are the best `candidates` items by the plain sum of the channels, ordered by f; the rest follows by that sum.

Differs from the paper: no node vectors, unless `vector_dim` adds an inner product to the evidence. Three layers of propagation
over 64 numbers a node (`metakg-paper`) hold less about which tracks lie on one release than the graph itself does;
docs/results/last-fm.md has both side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from scipy import sparse
from torch import Tensor, nn

from metakg.data import TrainView
from metakg.models.base import ModelConfig
from metakg.models.evidence import PRIOR_LIMIT, Evidence, Gathered, n_features
from metakg.models.nn.dropout import dropout
from metakg.models.profile import Person, ProfileConfig, ProfileRecommender
from metakg.models.reasons import Cut, Reason, reasons_of
from metakg.models.space import Choice, Space, Span
from metakg.models.walk import Walk, WalkConfig
from metakg.types import Floats, Mask, Rows


class MetaKGConfig(ProfileConfig):
    """Settings of `metakg`; the defaults were chosen on validation scenarios (docs/results/metakg.md)."""

    space: ClassVar[Space] = {
        "hidden": Choice((32, 64, 128)),
        "candidates": Choice((150, 300, 600)),
        "own_items": Choice((10, 30)),
        "inner_lr": Span(0.01, 1.0, log=True),
        "message_dropout": Choice((0.0, 0.1, 0.3)),
    }

    kind: Literal["metakg"] = "metakg"
    hidden: PositiveInt = 64
    """Width of f's hidden layer."""
    candidates: PositiveInt = 300
    """Items of a user that f orders."""
    own_items: PositiveInt = 30
    """Own items that the inner step looks at, at most."""
    inner_lr: NonNegativeFloat = 0.1
    """Step size k of the inner update; 0 is the ablation without the collaborative-aware learner."""
    inner_steps: NonNegativeInt = 1
    """Number of inner updates."""
    order: Literal["first", "second"] = "first"
    """Whether the outer gradient looks through the inner step (eqs. 3-5) or not (Algorithm 1, line 9)."""
    max_items: PositiveInt = 5000
    """What joins more items than this joins nothing."""
    vector_dim: NonNegativeInt = 0
    """Width of item vectors whose inner product with the profile's is one more feature (the leading eigenvectors of the joined
    graph, which stay as they are where an explanation does without an edge); 0 goes without."""
    message_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the hidden layer zeroed in training."""

    @model_validator(mode="after")
    def _check_seen(self) -> Self:
        if not self.exclude_seen:
            others = "true, or blend, kg-knn, item-knn or walk"
            raise ValueError(f"exclude_seen = false, but f learns to order what a user has not clicked; {others}")
        return self


@dataclass(frozen=True)
class EvidenceTasks:
    """M tasks, ready to be learnt from.

    Attributes:
        features: (M, N, F) evidence of the candidates.
        hits: (M, N) which candidates are answers.
        own: (M, S, F) evidence of the user's own items, each judged by the others.
        own_mask: (M, S) which of these are there.
    """

    features: Tensor
    hits: Tensor
    own: Tensor
    own_mask: Tensor

    def select(self, chosen: Tensor) -> EvidenceTasks:
        """Return some of the tasks, in float32."""
        return EvidenceTasks(self.features[chosen].float(), self.hits[chosen], self.own[chosen].float(), self.own_mask[chosen])

    def __len__(self) -> int:
        return len(self.hits)


Gamma: TypeAlias = tuple[Tensor, ...]
"""Weights of f, one copy for each task: w1 (M, H, F), b1 (M, H), w2 (M, H)."""


class MetaKG(ProfileRecommender):
    """Evidence, weighed by what was learnt for everybody and adapted to each user's few clicks."""

    config: MetaKGConfig
    deterministic = False
    evidence: Evidence
    trained_clicks: npt.NDArray[np.int64]
    omega: nn.Parameter
    w1: nn.Parameter
    b1: nn.Parameter
    w2: nn.Parameter
    learns = ("omega", "w1", "b1", "w2", "kinds", "trained_clicks")

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build the evidence of the view; the weights are drawn, or taken from `previous` or `learnt`."""
        view, config = self.view, self.config
        self.trained_clicks, kinds = view.popularity, None
        if learnt is not None:
            self.trained_clicks = learnt["trained_clicks"].numpy()
            kinds = tuple((int(relation), bool(inverse)) for relation, inverse in learnt["kinds"].tolist())
        elif previous is not None:
            self.trained_clicks, kinds = previous.trained_clicks, previous.evidence.kinds
        if previous is not None and previous.evidence.is_of(view):
            self.evidence = previous.evidence
        else:
            like = None if previous is None else previous.evidence
            self.evidence = Evidence(view, self.trained_clicks, kinds, config.max_items, config.vector_dim, like)
        rule = {"history_weight": config.history_weight, "exclude_seen": config.exclude_seen}
        knows_users = len(view.graph.user) > 0
        self.walk = Walk(WalkConfig(**rule), view, self.rng, recent=self.recent) if knows_users else None
        if learnt is not None:
            self.omega, self.w1, self.b1, self.w2 = (nn.Parameter(learnt[name].float()) for name in self.learns[:4])
        elif previous is not None:
            self.omega, self.w1, self.b1, self.w2 = previous.omega, previous.w1, previous.b1, previous.w2
            self.train(previous.training)
        else:
            n_features = self.evidence.n_features
            self.omega = nn.Parameter(torch.zeros(n_features))
            self.w1 = nn.Parameter(_normal((config.hidden, n_features), n_features, self.rng))
            self.b1 = nn.Parameter(torch.zeros(config.hidden))
            self.w2 = nn.Parameter(_normal((config.hidden,), config.hidden, self.rng))

    def forward(self, batch: EvidenceTasks) -> dict[str, Tensor]:
        """Return the query loss of some tasks at their adapted weights, as the named loss `query`."""
        return {"query": self.task_losses(batch, self.adapt_gamma(batch)).mean()}

    def gamma(self, n_tasks: int) -> Gamma:
        """Return the shared weights, one copy for each task."""
        return (
            self.w1.expand(n_tasks, *self.w1.shape),
            self.b1.expand(n_tasks, *self.b1.shape),
            self.w2.expand(n_tasks, *self.w2.shape),
        )

    def adapt_gamma(self, batch: EvidenceTasks) -> Gamma:
        """Take the inner steps of all tasks at once (eq. 21), each with its own copy of gamma."""
        gamma = self.gamma(len(batch))
        second = self.config.order == "second" and torch.is_grad_enabled()
        drops = self.training and self.config.message_dropout > 0
        for _ in range(self.config.inner_steps if self.config.inner_lr else 0):
            if second or drops:
                with torch.enable_grad():
                    start = gamma if second else tuple(w.detach().requires_grad_() for w in gamma)
                    steps = torch.autograd.grad(self.support_losses(batch, start).sum(), start, create_graph=second)
            else:
                steps = self._support_gradients(batch, gamma)
            gamma = tuple(w - self.config.inner_lr * step for w, step in zip(gamma, steps, strict=True))
        return gamma

    @torch.no_grad()
    def _support_gradients(self, batch: EvidenceTasks, gamma: Gamma) -> Gamma:
        """Return the gradients of `support_losses` by hand: half the time of autograd for one user."""
        (w1, b1, w2), n = gamma, batch.features.shape[1]
        x = torch.cat([batch.features, batch.own], dim=1) * self.omega.exp()  # (M, N + S, F)
        hidden = torch.baddbmm(b1[:, None], x, w1.transpose(1, 2)).relu_()
        scores = torch.bmm(hidden, w2[:, :, None])[..., 0]
        others = torch.logsumexp(scores[:, :n], dim=1, keepdim=True)
        lost = torch.sigmoid(others - scores[:, n:]) * batch.own_mask  # the chance that an own item is not the one chosen
        lost = lost / batch.own_mask.sum(1, keepdim=True).clamp(min=1)
        of_scores = torch.cat([torch.softmax(scores[:, :n], dim=1) * lost.sum(1, keepdim=True), -lost], dim=1)
        of_hidden = of_scores[:, :, None] * w2[:, None] * (hidden > 0)
        return torch.bmm(of_hidden.transpose(1, 2), x), of_hidden.sum(1), torch.bmm(of_scores[:, None], hidden)[:, 0]

    def score(self, features: Tensor, gamma: Gamma) -> Tensor:
        """Return f of some candidates under each task's own weights: (M, N, F) -> (M, N)."""
        w1, b1, w2 = gamma
        hidden = torch.relu(torch.baddbmm(b1[:, None], features * self.omega.exp(), w1.transpose(1, 2)))  # (M, N, H)
        if self.training:
            hidden = dropout(hidden, self.config.message_dropout, self.rng)
        return torch.bmm(hidden, w2[:, :, None])[..., 0]

    def support_losses(self, batch: EvidenceTasks, gamma: Gamma) -> Tensor:
        """Return L_S of each task: every own item against all candidates: -> (M,)."""
        others = torch.logsumexp(self.score(batch.features, gamma), dim=1, keepdim=True)  # (M, 1)
        own = self.score(batch.own, gamma)  # (M, S)
        losses = (torch.logaddexp(own, others) - own) * batch.own_mask
        return losses.sum(1) / batch.own_mask.sum(1).clamp(min=1)

    def task_losses(self, batch: EvidenceTasks, gamma: Gamma) -> Tensor:
        """Return L_Q of each task; zero for a task none of whose answers is a candidate: -> (M,)."""
        log_p = torch.log_softmax(self.score(batch.features, gamma), dim=1)
        hits = batch.hits.to(log_p.dtype)
        return -(log_p * hits).sum(1) / hits.sum(1).clamp(min=1)

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Not offered: the inner step needs to know whose profile it is. Use `score_all`."""
        raise NotImplementedError("metakg scores users, not anonymous profiles")

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I). What f does not order lies below what it orders."""
        rows = users.cpu().numpy().astype(np.int32)
        with torch.inference_mode(False):  # the inner step needs gradients, whoever asks for the scores
            scores, done = torch.empty(len(rows), self.view.n_items), 0
            for block, profiles, found in self.evidence.by_blocks(rows, self._gather_block):
                scores[done : done + len(block)] = self._score_block(block, profiles, found)
                done += len(block)
        return scores

    def _gather_block(self, rows: Rows) -> tuple[Rows, sparse.csr_array, Gathered]:
        profiles = self.profiles(rows)
        return rows, profiles, self.gather(rows, profiles)

    def _score_block(self, rows: Rows, profiles: sparse.csr_array, found: Gathered) -> Tensor:
        scores = self._order(found)
        empty = np.diff(profiles.indptr) == 0
        if empty.any():
            scores[torch.from_numpy(empty)] = torch.from_numpy(self.score_without_clicks(rows[empty]))
        return scores

    def score_person(self, person: Person, cut: Cut | None = None) -> tuple[Floats, Mask]:
        """Score every item for one person, and say which of them anything about him speaks for: two (I,)."""
        if not person.profile.nnz:
            return super().score_person(person, cut)
        found = self.gather_person(person, cut)
        with torch.inference_mode(False):
            return self._order(found)[0].numpy(), found.prior[0] > 0

    def _order(self, found: Gathered) -> Tensor:
        """Return the scores that f and the plain sum give: -> (B, I)."""
        prior = torch.from_numpy(found.prior)
        top = prior.max(dim=1, keepdim=True).values.clamp(min=1e-12)
        with torch.no_grad():
            batch = as_tasks(found)
            ordered = self.score(batch.features, self.adapt_gamma(batch))  # (B, N)
            items = torch.from_numpy(found.items).long()
            real = prior.gather(1, items) > 0  # a candidate without evidence, or already seen, is not f's business
            lowest = torch.where(real, ordered, torch.inf).min(dim=1, keepdim=True).values
            lowest = torch.where(lowest.isinf(), 0.0, lowest)
            scores = prior.clamp(min=0.0).div_(top).add_(lowest - 2.0)
            scores.scatter_(1, items, torch.where(real, ordered, scores.gather(1, items)))
            return torch.where(prior < 0, lowest - 3.0, scores)  # what he has seen comes last

    def score_neighbours(self, profiles: sparse.csr_array) -> Floats:
        """Return the plain sum of the channels: (B, I) -> (B, I). What f learnt is about people, not about items."""
        return self.evidence.plain_sum(profiles)

    def gather(self, users: Rows, profiles: sparse.csr_array) -> Gathered:
        """Return the candidates of some users and their evidence (see `Evidence.gather`)."""
        return self.evidence.gather(users, profiles, self.config.candidates, self.config.own_items)

    def gather_person(self, person: Person, cut: Cut | None = None) -> Gathered:
        """Return the candidates of one person and their evidence, without some edges of it."""
        if cut is None and "gathered" in person.notes:
            return person.notes["gathered"]  # type: ignore[no-any-return]
        row = np.array([-1 if person.row is None else person.row], np.int32)
        shape, ends = person.profile.shape, np.array([0, len(person.seen)], np.int32)
        seen = sparse.csr_array((np.ones(len(person.seen), np.float32), person.seen, ends), shape=shape)
        found = self.evidence.gather(row, person.profile, self.config.candidates, self.config.own_items, seen, cut)
        if cut is None:
            person.notes["gathered"] = found
        return found

    def about(self, row: int) -> Floats | None:
        """Follow the walk from facts about the user, where there are any."""
        return None if self.walk is None else self.walk.about(row)

    def score_without_clicks(self, users: Rows) -> Floats:
        """Follow the walk from facts about the user where there are any, else popularity."""
        return super().score_without_clicks(users) if self.walk is None else self.walk.score_without_clicks(users)

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the paths that carry most of the score, heaviest first.

        A channel's part is what f loses when the channel falls silent for this item (negative parts count nothing); within
        a channel, a path's part is its part of the channel's sum.
        """
        if not person.profile.nnz:
            return []
        parts = np.zeros(len(self.evidence.channels))
        scores = self._silenced(person, item)
        if scores is not None:
            parts = np.maximum(scores[-1] - scores[:-2], 0.0)
        if parts.sum() <= 0:  # f does not order it, or no single channel carries it: the plain sum speaks
            parts = self.evidence.parts_of(person.profile, item, person.seen)
        return reasons_of(self.view, self.evidence.factors.terms(person.profile, item), item, limit, parts, in_all=True)

    def bare_score(self, person: Person, item: int) -> float:
        """Return what an item would score if nothing about the person spoke for it: f of it with all channels silent."""
        scores = self._silenced(person, item)
        if scores is not None:
            return float(scores[-2])
        found = self.gather_person(person)
        return float(self._order(found)[0].numpy()[found.prior[0] >= 0].min(initial=np.inf))

    def _silenced(self, person: Person, item: int) -> npt.NDArray[np.float32] | None:
        """Return f of an item with each channel silent, with all silent, and as it is: (C + 2,); None where f has no say."""
        if ("silenced", item) in person.notes:
            return person.notes["silenced", item]  # type: ignore[no-any-return]
        found = self.gather_person(person)
        place = np.flatnonzero(found.items[0] == item)
        if not len(place) or found.prior[0, item] <= 0:
            return None
        c = len(self.evidence.channels)
        with torch.inference_mode(False):
            batch = as_tasks(found)
            gamma = self.adapt_gamma(batch)
            rows = batch.features[:, place].expand(1, c + 2, -1).clone()
            silent = torch.arange(c)
            rows[0, silent, silent] = rows[0, silent, silent + c] = 0.0
            units = batch.features[0, place[0], :c].square()
            rest = float(found.prior[0, item]) - torch.from_numpy(self.evidence.weights) * units
            rows[0, silent, -1] = rest.clamp(0.0, PRIOR_LIMIT)  # the plain sum hears it no more either
            rows[0, c, : 2 * c] = rows[0, c, -1] = 0.0
            if self.evidence.vectors is not None:
                rows[0, c, -2] = 0.0
            person.notes["silenced", item] = scores = np.asarray(self.score(rows, gamma)[0].detach().numpy())
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, the clicks of each item in training, and the recent pairs."""
        weights = {name: getattr(self, name).detach() for name in ("omega", "w1", "b1", "w2")}
        kinds = torch.tensor(self.evidence.kinds, dtype=torch.int32).reshape(-1, 2)
        return {**super().tensors(), **weights, "kinds": kinds, "trained_clicks": torch.from_numpy(self.trained_clicks)}

    @classmethod
    def check_learnt(cls, config: ModelConfig, view: TrainView, learnt: Mapping[str, Tensor]) -> None:
        """Check shapes and ranges of the weights, the kinds of facts, and the clicks of training."""
        assert isinstance(config, MetaKGConfig)
        kinds, clicks, h = learnt["kinds"], learnt["trained_clicks"], config.hidden
        fits = kinds.ndim == 2 and kinds.shape[1] == 2 and clicks.ndim == 1 and len(clicks) <= view.n_items
        fits = fits and bool(((kinds >= 0) & (kinds < torch.tensor([view.n_relations, 2]))).all()) and bool((clicks >= 0).all())
        f = n_features(len(kinds), config.vector_dim > 0) if fits else 0
        shapes = [tuple(learnt[name].shape) for name in cls.learns[:4]]
        if not fits or shapes != [(f,), (h, f), (h,), (h,)]:
            found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(learnt.items()))
            raise cls._unfit(config, found, "those of an equal model")


def as_tasks(found: Gathered, hits: np.ndarray | None = None) -> EvidenceTasks:
    """Return gathered evidence as a batch; without `hits` there are no answers."""
    known = np.zeros(found.items.shape, np.bool_) if hits is None else hits
    arrays = (found.features, known, found.own, found.own_mask)
    return EvidenceTasks(*(torch.from_numpy(array) for array in arrays))


def _normal(shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> Tensor:
    drawn: Tensor = torch.randn(shape, generator=rng) * fan_in**-0.5
    return drawn
