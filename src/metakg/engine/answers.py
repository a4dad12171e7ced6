"""How one person is answered: from his profile where the model has profiles, else by the model's own adaptation.

Both ways leave every other user alone. A profile model scores the weighted clicks of one person and needs no new view. A learnt
model is adapted to this person's clicks and asked for his row; the last answers are kept, since that step may be slow.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from metakg.data import Support
from metakg.explain import Way
from metakg.models.base import Recommender
from metakg.models.blend import Blend, BlendConfig
from metakg.models.profile import Person, ProfileRecommender
from metakg.types import Floats, Mask, Rows

ANONYMOUS = "\x00anonymous"
"""The id under which somebody without an account is shown to a learnt model."""

_KEPT = 64
"""Answers of learnt models that are kept: a vector of scores each."""

_AT_ONCE = 1 << 23
"""Scores that a learnt model is asked for at a time, where many people are answered: 32 MB."""

_VECTORS = 1 << 28
"""Numbers of all vectors of a learnt model that are kept beside it, at most: 1 GB."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Who asks, in rows.

    Attributes:
        user: external id, or None for somebody without an account.
        row: user row, or None for somebody the view does not know.
        liked: item rows clicked since training.
        disliked: item rows refused.
    """

    user: str | None
    row: int | None
    liked: Rows
    disliked: Rows


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says to one person.

    Attributes:
        scores: (I,) float32.
        speaks: (I,) which items anything about him speaks for; the others stand where they stand for want of better.
        seen: item rows that he has clicked.
        way: how the answer was made.
    """

    scores: Floats
    speaks: Mask
    seen: Rows
    way: Way


class ProfileAnswers:
    """Answers of a model that scores profiles."""

    def __init__(self, recommender: ProfileRecommender) -> None:
        self.recommender = recommender

    def person(self, asked: Asked) -> Person:
        """Return who asks as the model sees him; what he refused is not among his clicks."""
        return self.recommender.person(asked.row, asked.liked, asked.disliked)

    def answer(self, asked: Asked, person: Person | None = None) -> Answer:
        """Score every item for one person."""
        model, person = self.recommender, person or self.person(asked)
        scores, speaks = model.score_person(person)
        return Answer(scores, speaks, person.seen, self._way(asked, person, speaks))

    def answers(self, many: Iterable[Asked]) -> Iterator[tuple[Asked, Answer]]:
        """Yield each of many people with his answer."""
        return ((asked, self.answer(asked)) for asked in many)

    def _way(self, asked: Asked, person: Person, speaks: Mask) -> Way:
        recent = self.recommender.recent
        came = asked.row is not None and recent is not None and recent.indptr[asked.row + 1] > recent.indptr[asked.row]
        if len(asked.liked) or len(asked.disliked) or came:
            return "adapted"
        if person.profile.nnz:
            return "trained"
        return "kg-only" if speaks.any() else "popular"

    def closeness(self, items: Rows) -> Floats:
        """Return how close every item is to some items taken together, the closest of the others 1: (n,) -> (I,)."""
        ends = np.array([0, len(items)], np.int32)
        weights = np.full(len(items), 1.0 / max(1, len(items)), np.float32)
        profile = sparse.csr_array((weights, np.sort(items), ends), shape=(1, self.recommender.view.n_items))
        return _to_unit(self.recommender.score_neighbours(profile)[0].copy(), items)


class LearntAnswers:
    """Answers of a model that is adapted by its own steps, to one person at a time."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self._kept: OrderedDict[tuple[str | None, tuple[str, ...]], Floats] = OrderedDict()
        self._lock, self._vectors_lock = Lock(), Lock()
        self._keeps: bool | None = None  # whether vectors are kept; None: nobody has asked yet
        self._vectors: tuple[Tensor, Tensor] | None = None
        self._floor: ProfileAnswers | None = None

    def answer(self, asked: Asked) -> Answer:
        """Score every item for one person."""
        return next(self.answers([asked]))[1]

    def answers(self, many: Iterable[Asked]) -> Iterator[tuple[Asked, Answer]]:
        """Yield each of many people with his answer; those to whom the model speaks as it stands are scored some at a time."""
        left, size = iter(many), max(1, _AT_ONCE // max(1, self.recommender.view.n_items))
        while some := list(islice(left, size)):
            rows = [self._row_as_it_stands(asked) for asked in some]
            known = [row for row in rows if row is not None]
            scores = iter(self._scores(known) if known else ())
            for asked, row in zip(some, rows, strict=True):
                yield asked, self._answer(asked, None if row is None else next(scores))

    def _row_as_it_stands(self, asked: Asked) -> int | None:
        """Return the row of somebody the model knows something of and who has clicked nothing since, else None."""
        if asked.row is None or len(asked.liked):
            return None
        view = self.recommender.view
        clicks = view.history.indptr[asked.row + 1] - view.history.indptr[asked.row]
        return asked.row if clicks > 0 or len(view.graph.user.of_head(asked.row)) > 0 else None

    def _answer(self, asked: Asked, scores: Floats | None) -> Answer:
        """Answer one person: by what the model says to him as it stands, or None where it has nothing to say."""
        view = self.recommender.view
        trained = np.empty(0, np.int32)
        if asked.row is not None:
            trained = view.history.indices[view.history.indptr[asked.row] : view.history.indptr[asked.row + 1]]
        seen = np.union1d(trained, asked.liked).astype(np.int32)
        everything = np.ones(view.n_items, np.bool_)
        if len(asked.liked):
            return Answer(self._adapted(asked), everything, seen, "adapted")
        if scores is None:
            way: Way = "adapted" if len(asked.disliked) else "popular"
            return Answer(view.popularity_share.copy(), ~everything, seen, way)
        return Answer(scores, everything, seen, "adapted" if len(asked.disliked) else "trained" if len(trained) else "kg-only")

    def closeness(self, items: Rows) -> Floats:
        """Return how close every item is to some items taken together, the closest of the others 1: (n,) -> (I,).

        By the model's own item vectors where it has them, else by its data (the neighbours of `blend`).
        """
        pair = self._factors([0]) if self.recommender.view.n_users else None
        if pair is None:
            return self._neighbours().closeness(items)
        vectors = torch.nn.functional.normalize(pair[1].float(), dim=1)
        close = (vectors @ vectors[torch.from_numpy(items.astype(np.int64))].mean(0)).cpu().numpy()
        return _to_unit(np.maximum(close, 0.0), items)

    def _scores(self, rows: Sequence[int]) -> list[Floats]:
        """Return what the model as it stands says to some users: (n) -> n of (I,), each an array of its own."""
        pair = self._factors(rows)
        with torch.inference_mode():
            scores = self.recommender.score_all(torch.tensor(rows)) if pair is None else pair[0] @ pair[1].T
        return [row.copy() for row in scores.numpy()]

    def _factors(self, rows: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Return the vectors that the scores are products of, some users' and all items': (n, F), (I, F); None: there are none.

        A graph network works them out of its whole graph, so all of them are kept, unless they are too large. They stay true:
        an engine's recommender never changes.
        """
        if self._keeps is None:
            with self._vectors_lock, torch.inference_mode():
                if self._keeps is None:
                    one, n_users = self.recommender.factors(torch.tensor(rows[:1])), self.recommender.view.n_users
                    keeps = one is not None and (n_users + len(one[1])) * one[1].shape[1] <= _VECTORS
                    self._vectors = self.recommender.factors(torch.arange(n_users)) if keeps else None
                    self._keeps = keeps
        if self._vectors is not None:
            return self._vectors[0][rows], self._vectors[1]
        with torch.inference_mode():
            return self.recommender.factors(torch.tensor(rows))

    def _neighbours(self) -> ProfileAnswers:
        if self._floor is None:
            self._floor = ProfileAnswers(Blend(BlendConfig(), self.recommender.view, torch.Generator()))
        return self._floor

    def _adapted(self, asked: Asked) -> Floats:
        v = self.recommender.view.vocabulary
        liked = v.items.ids(np.sort(asked.liked))
        key = (asked.user, tuple(liked))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key].copy()
        name = ANONYMOUS if asked.user is None else asked.user
        adapted = self.recommender.adapt(Support.clicks(name, liked)).eval()
        row = adapted.view.vocabulary.users.row(name)
        with torch.inference_mode():
            scores = adapted.score_all(torch.tensor([row]))[0].numpy().copy()
        with self._lock:
            self._kept[key] = scores
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return scores.copy()


def answers_of(recommender: Recommender) -> ProfileAnswers | LearntAnswers:
    """Return how a recommender answers one person."""
    return ProfileAnswers(recommender) if isinstance(recommender, ProfileRecommender) else LearntAnswers(recommender)


def refuse(scores: Floats, closeness: Floats, weight: float) -> Floats:
    """Return scores in which what is close to something refused falls: (I,), (I,) -> (I,).

    The closest neighbour of a refused item loses `weight` of the distance from the middle of all scores to the best. The
    scale is the list's own, so the same weight means the same for every model.
    """
    spread = float(scores.max(initial=0.0) - np.median(scores)) if len(scores) else 0.0
    return np.asarray(scores - np.float32(weight * spread) * closeness, np.float32)


def diversify(scores: Floats, close: Callable[[int], Floats], k: int, diversity: float) -> Rows:
    """Return k places of a list, best first, each weighed against those before it: maximal marginal relevance.

    Carbonell & Goldstein, SIGIR 1998: the next is the one with the largest (1 - diversity) * score - diversity * (closeness
    to the closest that is already chosen), with scores scaled to 0..1 over the list.

    Args:
        scores: (n,) of the items, best first.
        close: the closeness of every item to the one at a place: place -> (n,), 1 at the place itself. Asked k - 1 times at
            most, once for each that is chosen and not last: nothing else is ever compared with.
        k: how many.
        diversity: 0..1.
    """
    low, high = float(scores.min()), float(scores.max())
    relevance = (scores - low) / (high - low) if high > low else np.zeros(len(scores))
    taken: list[int] = []
    nearest = np.zeros(len(scores))
    free = np.ones(len(scores), np.bool_)
    wanted = min(k, len(scores))
    while len(taken) < wanted:
        value = np.where(free, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(value.argmax())
        taken.append(best)
        free[best] = False
        if len(taken) < wanted:
            nearest = np.maximum(nearest, close(best))
    return np.array(taken, np.int32)


def _to_unit(close: Floats, items: Sequence[int] | Rows) -> Floats:
    """Scale so that the closest of the others has 1, and the items themselves too."""
    own = np.asarray(items, np.int32)
    close[own] = 0.0
    top = float(close.max(initial=0.0))
    if top > 0:
        close /= top
    close[own] = 1.0
    return close
