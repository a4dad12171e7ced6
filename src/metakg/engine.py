"""`Engine`: the side of a fitted recommender that faces people and services. External ids in, external ids out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from metakg.data import Support, TrainView
from metakg.errors import ConfigError, DataError
from metakg.explain import Explanation, explain
from metakg.models.base import Recommender
from metakg.models.profile import ProfileRecommender
from metakg.train import fit as training
from metakg.types import Json

Way = Literal["trained", "adapted", "kg-only", "popular"]
"""How an answer was made: from training clicks, from clicks that arrived later, from facts about the user alone, or, for
somebody nothing is known of, from popularity."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item: external id.
        label: readable name.
        score: the model's score; comparable within one list only.
        way: how it was made.
    """

    item: str
    label: str
    score: float
    way: Way


class Engine:
    """A fitted recommender over external ids. Immutable: `adapt` returns a new engine."""

    def __init__(self, recommender: Recommender, settings: Json | None = None, adapted: frozenset[str] = frozenset()) -> None:
        self.recommender = recommender
        self.adapted = adapted
        """Users who have clicked since training, by external id."""
        self.settings: Json = settings or {"model": recommender.config.model_dump(mode="json"), "training": None, "seed": 0}
        """Resolved settings of the model and its training, and the seed; kept with every bundle."""

    @property
    def model(self) -> str:
        """The registry name of the model."""
        return self.recommender.config.kind

    @property
    def explains(self) -> bool:
        """Whether the model can take its scores apart into paths."""
        return isinstance(self.recommender, ProfileRecommender)

    def recommend(self, user: str, k: int = 20, *, filter_seen: bool = True) -> list[Recommendation]:
        """Return the best k items for a user, best first. An unknown user is normal input: the answer says so in `way`.

        Args:
            user: external id.
            k: how many items at most; fewer only if fewer are left.
            filter_seen: leave out what the user has already clicked.
        """
        if k < 1:
            raise ValueError(f"k is a positive number of items, not {k}")
        v, view = self.recommender.view.vocabulary, self.recommender.view
        row = v.users.row(user)
        way = self.way(user)
        if row is None:
            scores = view.popularity_share
        else:
            with torch.inference_mode():
                scores = self.recommender.score_all(torch.tensor([row]))[0].numpy()
        allowed = np.ones(v.n_items, np.bool_)
        if filter_seen and row is not None:
            allowed[view.history[[row]].indices] = False
        items = np.flatnonzero(allowed)
        order = np.lexsort((items, -scores[items]))[:k]
        return [Recommendation(v.items.id(i), v.items.label(i), float(scores[i]), way) for i in items[order].tolist()]

    def way(self, user: str) -> Way:
        """Return how answers for a user are made."""
        view = self.recommender.view
        row = view.vocabulary.users.row(user)
        if row is None:
            return "popular"
        if user in self.adapted:
            return "adapted"
        if view.history.indptr[row + 1] > view.history.indptr[row]:
            return "trained"
        return "kg-only" if (view.graph.user.heads == row).any() else "popular"

    def explain(self, user: str, item: str, limit: int = 3) -> Explanation:
        """Return the paths that carry most of an item's score for a user.

        Raises:
            DataError: the item is unknown (an unknown user simply has no path).
            ConfigError: the model cannot take its scores apart (see `explains`).
        """
        v = self.recommender.view.vocabulary
        item_row, user_row = v.items.row(item), v.users.row(user)
        if item_row is None:
            raise DataError(f"item {item!r}", "an unknown id", expected="an item of this recommender", fix="Adapt to it first.")
        if user_row is None:
            return Explanation(user, item, v.items.label(item_row), ())
        if not isinstance(self.recommender, ProfileRecommender):
            models = "the floors and metakg"
            raise ConfigError(f"model {self.model}", "no explanations", expected=f"one of {models}", fix="Ask one of them.")
        return explain(self.recommender, user_row, item_row, limit)

    def adapt(self, user: str | None = None, liked: Sequence[str] = (), *, support: Support | None = None) -> Engine:
        """Return an engine that has learnt from what arrived; this one stays as it was.

        Args:
            user: external id, known or new.
            liked: external ids of items that the user clicked, known or new.
            support: instead of the two above: clicks of many users, new items and new facts.
        """
        if (user is None) == (support is None):
            raise ValueError("give either a user with what he liked, or a support")
        if support is None:
            assert user is not None
            support = Support.clicks(user, liked)
        clicked = frozenset(str(name) for name in support.users.unique().to_pylist())
        return Engine(self.recommender.adapt(support), self.settings, self.adapted | clicked)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write everything needed to recommend, adapt and explain as a bundle folder (see `metakg.load`)."""
        from metakg import bundle

        bundle.save(self.recommender, {**self.settings, "adapted": sorted(self.adapted)}, Path(folder), overwrite=overwrite)


def fit(
    model: str,
    train: TrainView,
    *,
    seed: int = 1,
    folder: Path | str | None = None,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    **settings: Any,
) -> Engine:
    """Fit a model by its registry name and return it ready to recommend.

    Args:
        model: registry name, such as "metakg" or "blend".
        train: training data: `split.train`, or `TrainView` of a whole data set.
        seed: the one number all randomness comes from.
        folder: where a learnt model keeps its log and checkpoints; None keeps nothing.
        resume: go on from the checkpoint in `folder`.
        report: called with a few words at each new step of the work.
        settings: the model's own settings, and those of its training under `training`; unknown ones are errors.

    Raises:
        ConfigError: the model or a setting is unknown, or a value is not allowed.
        DataError: the data cannot be learnt from.
        TrainingError: a training run cannot go on.
    """
    config, how = training.settings_for(model, settings)
    place = None if folder is None else Path(folder)
    fitted = training.fit(config, how, train, seed, folder=place, resume=resume, report=report)
    resolved: Json = {
        "model": config.model_dump(mode="json"),
        "training": None if how is None else how.model_dump(mode="json"),
        "seed": seed,
    }
    return Engine(fitted, resolved)


def load(folder: Path | str) -> Engine:
    """Open a bundle folder. Nothing in it is executed.

    Raises:
        CheckpointError: the bundle is damaged, of another version, or no bundle.
    """
    from metakg import bundle

    recommender, settings = bundle.load(Path(folder))
    return Engine(recommender, settings, frozenset(settings.pop("adapted")))
