"""What the training-free recommenders share: a user is the weighted list of what he clicked, his *profile*.

They learn nothing by gradient, so `adapt` only extends the data they read from: exact, quick, and idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeFloat
from scipy import sparse
from torch import Tensor

from metakg.data import Interactions, Support, TrainView
from metakg.errors import CheckpointError
from metakg.models.base import ModelConfig, Recommender
from metakg.models.reasons import Cut, Reason
from metakg.types import Floats, Mask, Rows


class ProfileConfig(ModelConfig):
    """Settings of every profile-based recommender."""

    history_weight: NonNegativeFloat = 0.05
    """Weight of a click from training beside one that has just arrived (1). It matters only where a user has both."""
    exclude_seen: bool = True
    """Rank what the user has already clicked behind everything else."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody to answer, whether or not he has a row.

    Attributes:
        row: user row, or None for somebody the view does not know.
        profile: (1, I) weighted clicks, summing to 1 (or empty).
        seen: (n,) item rows that he has clicked, ascending.
        notes: what a model has worked out of him already; an explanation asks several times about one person.
    """

    row: int | None
    profile: sparse.csr_array
    seen: Rows
    notes: dict[object, Any] = field(default_factory=dict)


class ProfileRecommender(Recommender):
    """Base: turns users into profiles, profiles into scores, and ranks seen items last.

    Subclasses implement `prepare` (build sparse structures from the view) and `score_profiles`.

    Args:
        config: settings.
        view: training data.
        rng: unused by closed forms; part of the common signature.
        recent: (U, I) pairs that arrived after training, or None.
        again: (U, I) those of them that training had already, or None.
        previous: the recommender this one was adapted from, whose unchanged structures may be shared.
        learnt: what the first fit learnt (the tensors named by `learns`), for one that is read from a bundle.
    """

    config: ProfileConfig
    deterministic = True
    learns: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors that neither the view nor the recent pairs tell."""

    def __init__(
        self,
        config: ProfileConfig,
        view: TrainView,
        rng: torch.Generator,
        *,
        recent: sparse.csr_array | None = None,
        again: sparse.csr_array | None = None,
        previous: Self | None = None,
        learnt: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(config, view, rng)
        self.recent, self.again = recent, again
        self.prepare(previous, learnt)

    def prepare(self, previous: Self | None, learnt: Mapping[str, Tensor] | None) -> None:
        """Build what scoring reads, from `self.view`; share with `previous` what did not change.

        At most one of both is given; without either, this is the first fit.
        """
        raise NotImplementedError

    def score_profiles(self, profiles: sparse.csr_array, cut: Cut | None = None) -> Floats:
        """Score every item for each profile; zero means "no evidence": (B, I) sparse -> (B, I) float32, not negative.

        With a cut, of one profile, do without some edges of the evidence; everything else stays as it is.
        """
        raise NotImplementedError

    def reasons(self, user: int, item: int, limit: int = 3) -> list[Reason]:
        """Return the paths that carry most of the item's score for a user of the view, heaviest first.

        Args:
            user: user row.
            item: item row.
            limit: at most this many paths.
        """
        return self.reasons_for(self.person(user), item, limit)

    def reasons_for(self, person: Person, item: int, limit: int = 3) -> list[Reason]:
        """Return the paths that carry most of the item's score for a person, heaviest first (see `reasons`)."""
        raise NotImplementedError

    def person(self, row: int | None, liked: Rows | None = None, without: Rows | None = None) -> Person:
        """Return somebody to answer: a user of the view, or a newcomer, with clicks that the view does not hold.

        Args:
            row: user row, or None.
            liked: item rows that he has clicked since; they count as clicks that have just arrived.
            without: item rows to leave out, although he has clicked them.
        """
        history, came = self.view.history, self.recent
        old = np.empty(0, np.int32) if row is None else _row_of(history, row)
        new = np.empty(0, np.int32) if row is None or came is None else _row_of(came, row)
        if liked is not None and len(liked):
            new = np.union1d(new, liked).astype(np.int32)
        seen = np.union1d(old, new).astype(np.int32)
        items = seen if without is None or not len(without) else np.setdiff1d(seen, without)
        items = items[::-1].copy()  # as `weigh` leaves them, so that sums come out in the same order, to the same bits
        fresh = np.isin(items, new)
        weights = np.where(fresh | (not fresh.any()), 1.0, self.config.history_weight)
        items, weights = items[weights > 0], weights[weights > 0]
        weights = (weights * (1.0 / max(float(weights.sum()), 1e-300))).astype(np.float32)
        profile = sparse.csr_array((weights, items, np.array([0, len(items)], np.int32)), shape=(1, self.view.n_items))
        return Person(row, profile, seen)

    def score_person(self, person: Person, cut: Cut | None = None) -> tuple[Floats, Mask]:
        """Score every item for one person, and say which of them anything about him speaks for: two (I,).

        The scores of a user of the view are those of `score_all`. With a cut, some edges of the evidence are not there.
        """
        if person.profile.nnz:
            scores = self.score_profiles(person.profile, cut)[0]
            speaks = scores > 0
        else:
            told = None if person.row is None else self.about(person.row)
            scores = self.view.popularity_share.copy() if told is None else told
            speaks = np.zeros(self.view.n_items, np.bool_) if told is None else told > 0
        if self.config.exclude_seen:
            scores[person.seen] = -1.0
        return scores, speaks

    def score_neighbours(self, profiles: sparse.csr_array) -> Floats:
        """Score how close every item is to the items of a profile, whoever asks: (B, I) -> (B, I), not negative."""
        return self.score_profiles(profiles)

    def bare_score(self, person: Person, item: int) -> float:
        """Return what an item's score would be if nothing about the person spoke for it."""
        return 0.0

    def about(self, row: int) -> Floats | None:
        """Score every item by facts about a user alone: (I,), or None where this model has none to go by."""
        return None

    def profiles(self, users: Rows) -> sparse.csr_array:
        """Return the weighted clicks of these users: (B,) -> (B, I), rows summing to 1 (or empty)."""
        recent = None if self.recent is None else self.recent[users]
        return weigh(self.view.history[users], recent, self.config.history_weight)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I). A user without any click gets the popularity of the items."""
        rows = users.cpu().numpy().astype(np.int32)
        profiles = self.profiles(rows)
        scores = self.score_profiles(profiles)
        empty = np.diff(profiles.indptr) == 0
        if empty.any():
            scores[empty] = self.score_without_clicks(rows[empty])
        if self.config.exclude_seen:
            seen = self.view.history[rows].tocoo()
            scores[seen.row, seen.col] = -1.0
        return torch.from_numpy(scores)

    def score_without_clicks(self, users: Rows) -> Floats:
        """Score every item for users who clicked nothing: (B,) -> (B, I). The default is popularity, scaled to 0..1."""
        return np.tile(self.view.popularity_share, (len(users), 1))

    def tensors(self) -> dict[str, Tensor]:
        """Return the recent pairs, and those that training had before, each (n, 2) int32; all else follows from the view."""
        found = {"recent": self.recent, "again": self.again}
        coordinates = {name: matrix.tocoo() for name, matrix in found.items() if matrix is not None}
        return {
            name: torch.from_numpy(np.stack([pairs.row, pairs.col], axis=1).astype(np.int32))
            for name, pairs in coordinates.items()
        }

    @classmethod
    def from_tensors(cls, config: ModelConfig, view: TrainView, rng: torch.Generator, tensors: dict[str, Tensor]) -> Self:
        """Return the recommender of this config and view whose `tensors` these are, built once.

        Raises:
            CheckpointError: a tensor is missing, unexpected, or of another shape.
        """
        learnt = {name: tensor for name, tensor in tensors.items() if name not in ("recent", "again")}
        if set(learnt) != set(cls.learns):
            names = ", ".join(sorted(tensors)) or "none"
            raise cls._unfit(config, names, f"{', '.join(cls.learns) or 'none'}, and at most 'recent' and 'again' beside")
        cls.check_learnt(config, view, learnt)
        shape, came = (view.n_users, view.n_items), {}
        for name in ("recent", "again"):
            pairs = tensors.get(name)
            if pairs is None:
                continue
            if pairs.ndim != 2 or pairs.shape[1] != 2 or bool(((pairs < 0) | (pairs >= torch.tensor(shape))).any()):
                raise cls._unfit(config, f"'{name}' of shape {tuple(pairs.shape)}", "pairs of user and item rows of the view")
            came[name] = _pairs(pairs[:, 0].numpy(), pairs[:, 1].numpy(), shape)
        return cls(config, view, rng, learnt=learnt, **came)  # type: ignore[arg-type]

    @classmethod
    def check_learnt(cls, config: ModelConfig, view: TrainView, learnt: Mapping[str, Tensor]) -> None:
        """Check the shapes and values of what was learnt.

        Raises:
            CheckpointError: they are not those of an equal model.
        """

    @staticmethod
    def _unfit(config: ModelConfig, found: str, expected: str) -> CheckpointError:
        return CheckpointError(f"tensors of {config.kind}", found, expected=expected, fix="Save the bundle again.")

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Become what `tensors` of an equal recommender returned; on an error, stay as it was.

        Raises:
            CheckpointError: a tensor is missing, unexpected, or of another shape.
        """
        other = type(self).from_tensors(self.config, self.view, self.rng, tensors)
        self.__dict__.update(other.__dict__)

    def over(self, view: TrainView) -> Self:
        """Return this recommender over a view with the same rows from which clicks or facts were taken away."""
        recent, again = (None if m is None else sparse.csr_array(m.multiply(view.history)) for m in (self.recent, self.again))
        return type(self)(self.config, view, self.rng, recent=recent, again=again, previous=self)

    def adapt(self, support: Support) -> Self:
        """Return a recommender over the extended view, in which what arrived counts fully and older clicks less."""
        view = self.view.extend(support)
        shape = (view.n_users, view.n_items)
        users, items = view.vocabulary.users.rows(support.users), view.vocabulary.items.rows(support.items)
        had, again = self.view.interactions.has(users, items), self.again
        if self.recent is not None:  # what came before, training need not have had
            came = self.recent.tocoo()
            had &= ~Interactions(came.row, came.col).has(users, items)
        if again is not None or had.any():
            again = _joined(_pairs(users[had], items[had], shape), again)
        recent = _joined(_pairs(users, items, shape), self.recent)
        return type(self)(self.config, view, self.rng, recent=recent, again=again, previous=self)


def _pairs(users: Rows, items: Rows, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(users), np.float32), (users, items)), shape=shape)


def _joined(pairs: sparse.csr_array, earlier: sparse.csr_array | None) -> sparse.csr_array:
    """Return pairs and earlier ones, each 1 however often it is there."""
    if earlier is not None:
        earlier = earlier.copy()
        earlier.resize(pairs.shape)
        pairs = sparse.csr_array(pairs + earlier)
    pairs.data[:] = 1.0
    return pairs


def _row_of(matrix: sparse.csr_array, row: int) -> Rows:
    return np.sort(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]).astype(np.int32)


def weigh(history: sparse.csr_array, recent: sparse.csr_array | None, history_weight: float) -> sparse.csr_array:
    """Return profiles: all clicks and, among them, those that have just arrived: (B, I), (B, I) -> (B, I), rows summing to 1.

    A user without recent clicks is his history; a user without any click is an empty row.
    """
    weighted = history
    if recent is not None:
        alone = np.asarray(recent.sum(axis=1)).ravel() == 0
        old = history - history.multiply(recent)
        weighted = sparse.diags_array(np.where(alone, 1.0, history_weight)) @ old + recent
    total = np.asarray(weighted.sum(axis=1)).ravel()
    result = sparse.csr_array(sparse.diags_array(1.0 / np.where(total > 0, total, 1.0)) @ weighted, dtype=np.float32)
    result.eliminate_zeros()
    return result


def power(counts: npt.NDArray[np.int64] | Floats, exponent: float) -> Floats:
    """Return counts ** exponent as float32, with 0 where a count is 0 (for negative exponents too)."""
    numbers = np.asarray(counts, np.float64)
    return np.where(numbers > 0, np.maximum(numbers, 1e-12) ** exponent, 0.0).astype(np.float32)
