"""The contract itself: an honest model and the floors keep it, and every way of breaking it that we know of is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, PositiveInt
from scipy import sparse
from torch import Tensor, nn

from metakg.data import Support, TrainView
from metakg.data.view import origin
from metakg.models.base import ModelConfig, Recommender
from metakg.models.popularity import Popularity, PopularityConfig
from metakg.models.registry import MODELS, config_for
from metakg.testing import ModelContract, arriving, planted_split


class TinyConfig(ModelConfig):
    kind: Literal["tiny"] = "tiny"
    dim: PositiveInt = 16


class Tiny(Recommender):
    """A user is the mean of what he clicked; an item is its own vector plus the mean of its facts'."""

    config: TinyConfig

    def __init__(self, config: TinyConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        self.clicked = nn.Parameter(self.draw(view.n_items))
        self.item = nn.Parameter(self.draw(view.n_items))
        self.entity = nn.Parameter(self.draw(view.n_entities))

    def draw(self, n: int) -> Tensor:
        return 0.1 * torch.randn(n, self.config.dim, generator=self.rng)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """(U, D) users and (I, D) items."""
        view, facts = self.view, self.view.graph.entity
        about = facts.heads < view.n_items
        shape = (view.n_items, view.n_entities)
        listed = sparse.csr_array((np.ones(about.sum()), (facts.heads[about], facts.tails[about])), shape=shape)
        return mean_rows(view.history) @ self.clicked, self.item + mean_rows(listed) @ self.entity

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        users, positives, negatives = batch
        left, right = self.vectors()
        margin = (left[users] * (right[positives] - right[negatives])).sum(1)
        lengths = left.square().sum() + right.square().sum()
        return {"rank": nn.functional.softplus(-margin).mean(), "l2": 1e-4 * lengths}

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.vectors()
        return left[users.long()], right

    def score_all(self, users: Tensor) -> Tensor:
        left, right = self.factors(users)
        return left @ right.T

    def extended(self, support: Support) -> Self:
        view = self.view.extend(support)
        new = type(self)(self.config, view, torch.Generator().manual_seed(0))
        came = torch.from_numpy(origin(self.view.vocabulary, view.vocabulary).astype(np.int64))
        with torch.no_grad():
            for name in ("clicked", "item", "entity"):
                table, old = getattr(new, name), getattr(self, name)
                rows = came[: len(table)]
                table.zero_()
                table[rows >= 0] = old[rows[rows >= 0]]
        return new

    def adapt(self, support: Support) -> Self:
        return self.extended(support)


def mean_rows(matrix: sparse.csr_array) -> Tensor:
    count = np.maximum(np.asarray(matrix.sum(axis=1)), 1.0)
    return torch.from_numpy((matrix.toarray() / count[:, None]).astype(np.float32))


class TinyContract(ModelContract):
    config: ClassVar[ModelConfig] = TinyConfig()
    model: ClassVar[type[Recommender]] = Tiny

    def batches(self, model: Recommender, view: TrainView, seed: int) -> Iterable[Any]:
        rng = np.random.default_rng(seed)
        chosen = rng.integers(0, len(view.interactions), 256)
        negatives = rng.integers(0, view.n_items, 256)
        columns = (view.interactions.users[chosen], view.interactions.items[chosen], negatives)
        return [tuple(torch.from_numpy(column.astype(np.int64)) for column in columns)]


class TestTiny(TinyContract):
    """An honest model that learns by gradient keeps every promise."""


class TestPopularity(ModelContract):
    config = PopularityConfig()
    beats_popularity = False


class TestItemKnn(ModelContract):
    config = config_for("item-knn")


class TestKgKnn(ModelContract):
    config = config_for("kg-knn")


class TestWalk(ModelContract):
    config = config_for("walk")


class TestBlend(ModelContract):
    config = config_for("blend")


def test_every_registered_floor_is_tried_here() -> None:
    tried = {cls.config.kind for cls in (TestPopularity, TestItemKnn, TestKgKnn, TestWalk, TestBlend)}
    assert tried == {"popularity", "item-knn", "kg-knn", "walk", "blend"} <= set(MODELS)


# --- broken in one way each ---------------------------------------------------------------------------------------------------


class LooseConfig(TinyConfig):
    model_config = ConfigDict(frozen=False, extra="ignore")


class ForgetfulConfig(TinyConfig):
    def model_dump_json(self, **_: Any) -> str:
        return '{"dim": 3}'


class VectorLoss(Tiny):
    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {"rank": super().forward(batch)["rank"].repeat(2)}


class NamelessLoss(Tiny):
    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {"": super().forward(batch)["rank"]}


class InfiniteLoss(Tiny):
    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {"rank": super().forward(batch)["rank"].log() - torch.inf}


class Detached(Tiny):
    def vectors(self) -> tuple[Tensor, Tensor]:
        held, self.entity = self.entity, nn.Parameter(self.entity.detach().clone())
        result = super().vectors()
        self.entity = held
        return result


class OtherPairs(Tiny):
    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return super().score_pairs(users, items) + 0.01


class OtherFactors(Tiny):
    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.vectors()
        return left[users.long()], 1.01 * right

    def score_all(self, users: Tensor) -> Tensor:
        left, right = self.vectors()
        return left[users.long()] @ right.T


class BatchDependent(Tiny):
    def score_all(self, users: Tensor) -> Tensor:
        scores = super().score_all(users)
        return scores - scores.mean(dim=0, keepdim=True) if len(users) else scores


class ByPosition(Tiny):
    def score_all(self, users: Tensor) -> Tensor:
        return super().score_all(users) + 0.001 * torch.arange(len(users))[:, None]


class Caching(Tiny):
    cache: Tensor | None = None

    def score_all(self, users: Tensor) -> Tensor:
        self.cache = super().score_all(users)
        return self.cache


class Drawing(Tiny):
    def score_all(self, users: Tensor) -> Tensor:
        torch.rand(1, generator=self.rng)
        return super().score_all(users)


class Noisy(Tiny):
    def score_all(self, users: Tensor) -> Tensor:
        return super().score_all(users) + 1e-3 * torch.rand(1)


class GlobalChance(Tiny):
    def draw(self, n: int) -> Tensor:
        return torch.from_numpy(0.1 * np.random.randn(n, self.config.dim).astype(np.float32))  # noqa: NPY002


class FixedChance(Tiny):
    def draw(self, n: int) -> Tensor:
        return 0.1 * torch.randn(n, self.config.dim, generator=torch.Generator().manual_seed(0))


class Double(Tiny):
    def score_all(self, users: Tensor) -> Tensor:
        return super().score_all(users).double()


class NoNumberForStrangers(Tiny):
    def vectors(self) -> tuple[Tensor, Tensor]:
        users, items = super().vectors()
        strangers = torch.from_numpy(np.diff(self.view.history.indptr) == 0)
        return torch.where(strangers[:, None], torch.nan, users), items


class KeepsTooLittle(Tiny):
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in super().tensors().items() if name != "entity"}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.load_state_dict(tensors, strict=False)


class InPlace(Tiny):
    def adapt(self, support: Support) -> Self:
        with torch.no_grad():
            self.clicked.mul_(1.1)
        return self.extended(support)


class Itself(Tiny):
    def adapt(self, support: Support) -> Self:
        return self


class Deaf(Tiny):
    def adapt(self, support: Support) -> Self:
        return self.extended(Support.clicks("iris", ["i90"]))


class Restless(Tiny):
    def adapt(self, support: Support) -> Self:
        new = self.extended(support)
        with torch.no_grad():
            new.item.add_(0.1 * torch.randn(new.item.shape, generator=torch.Generator().manual_seed(len(support))))
        return new


class Moody(Tiny):
    def adapt(self, support: Support) -> Self:
        new = self.extended(support)
        with torch.no_grad():
            new.item.add_(torch.rand(new.item.shape))
        return new


class ShortMemory(Tiny):
    start: TrainView | None = None

    def adapt(self, support: Support) -> Self:
        fresh = Tiny.adapt(self, support)
        if self.start is None:
            fresh.start = self.view
            return fresh
        return type(self)(self.config, self.start.extend(support), torch.Generator().manual_seed(0))


class SpoilsTheData(Tiny):
    def adapt(self, support: Support) -> Self:
        self.view.graph.entity.tails[0] = 13
        return self.extended(support)


class OneForAll(Tiny):
    def vectors(self) -> tuple[Tensor, Tensor]:
        users, items = super().vectors()
        return users.mean(dim=0, keepdim=True).expand_as(users), items


BROKEN = [
    (ForgetfulConfig, Tiny, "config_survives_json", "came back from JSON"),
    (LooseConfig, Tiny, "config_refuses_an_unknown_key", "an unknown setting is accepted"),
    (LooseConfig, Tiny, "config_is_frozen", "the settings can be changed"),
    (TinyConfig, VectorLoss, "losses_are_finite_named_scalars", r"loss rank has shape \(2,\), not a scalar"),
    (TinyConfig, NamelessLoss, "losses_are_finite_named_scalars", "a loss has an empty name"),
    (TinyConfig, InfiniteLoss, "losses_are_finite_named_scalars", "loss rank is -inf"),
    (TinyConfig, Detached, "a_gradient_reaches_every_parameter", "no gradient reaches entity"),
    (TinyConfig, OtherPairs, "score_all_gathered_equals_score_pairs", "score_pairs beside score_all"),
    (TinyConfig, OtherFactors, "factors_multiply_to_the_scores", "the product of the factors beside score_all"),
    (TinyConfig, BatchDependent, "a_batch_of_one_equals_its_row", "user 0 alone beside all users"),
    (TinyConfig, ByPosition, "order_and_repeats_of_users_do_not_matter", "users in another order"),
    (TinyConfig, Caching, "scoring_leaves_no_trace", "scoring changed the attribute cache"),
    (TinyConfig, Drawing, "scoring_leaves_no_trace", "scoring drew from the generator of the model"),
    (TinyConfig, Noisy, "scoring_leaves_no_trace", "scoring twice gives different scores"),
    (TinyConfig, GlobalChance, "same_seed_same_scores", "the same seed gives different scores"),
    (TinyConfig, FixedChance, "another_seed_gives_other_parameters", "no parameter depends on the seed"),
    (TinyConfig, Double, "scores_have_shape_and_type_and_are_finite", "scores are torch.float64"),
    (TinyConfig, NoNumberForStrangers, "scores_have_shape_and_type_and_are_finite", "the score of user 7, item 0 is nan"),
    (TinyConfig, KeepsTooLittle, "tensors_make_an_equal_model", "the model from kept tensors"),
    (TinyConfig, InPlace, "adapting_mutates_nothing", "adapting changed clicked"),
    (TinyConfig, Itself, "adapting_mutates_nothing", "adapt returned the model itself"),
    (TinyConfig, Itself, "adapting_gives_scores_for_what_arrived", "after adapt, the user iris is unknown"),
    (TinyConfig, Deaf, "adapting_gives_scores_for_what_arrived", "after adapt, the user joy is unknown"),
    (TinyConfig, NoNumberForStrangers, "adapting_gives_scores_for_what_arrived", "after adapt: the score of user 7"),
    (TinyConfig, SpoilsTheData, "adapting_mutates_nothing", "adapting changed the training data"),
    (TinyConfig, Restless, "adapting_to_nothing_changes_nothing", "after adapting to nothing"),
    (TinyConfig, Moody, "adapting_twice_from_one_model_agrees", "the second adapt"),
    (TinyConfig, ShortMemory, "adapting_goes_on", "a later adapt forgot the user iris"),
    (TinyConfig, OneForAll, "planted_data_beats_popularity", "recall@20 of .* popularity has"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "broken", "promise", "message"), BROKEN, ids=[f"{b[1].__name__}-{b[2]}" for b in BROKEN])
def test_a_broken_promise_is_noticed(settings: type, broken: type, promise: str, message: str) -> None:
    class Broken(TinyContract):
        config = settings()
        model = broken

    with pytest.raises(AssertionError, match=message):
        getattr(Broken(), f"test_{promise}")()


def test_every_promise_has_been_broken_once() -> None:
    promises = {name.removeprefix("test_") for name in dir(ModelContract) if name.startswith("test_")}
    assert promises == {promise for _, _, promise, _ in BROKEN}


def test_an_untrained_model_does_not_beat_popularity() -> None:
    class Untrained(TinyContract):
        def train(self, model: Recommender, view: TrainView, seed: int) -> Recommender:
            return model

    with pytest.raises(AssertionError, match="in warm: popularity has"):
        Untrained().test_planted_data_beats_popularity()


def test_answers_among_the_interactions_are_noticed() -> None:
    class Leaky(TinyContract):
        def adapt(self, model: Recommender, support: Support) -> Recommender:
            split = planted_split()
            query, names = split.scenarios["user_cold"].query, split.dataset.vocabulary
            return super().adapt(model, support).adapt(Support(names.users.take(query.users), names.items.take(query.items)))

    with pytest.raises(AssertionError, match="1147 query pairs of user_cold are among the interactions"):
        Leaky().test_planted_data_beats_popularity()


def test_recall_that_is_too_good_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.testing.contract.recall_at", lambda *_: 1.0)
    with pytest.raises(AssertionError, match="too good to be true"):
        TestItemKnn().test_planted_data_beats_popularity()


def test_only_popularity_is_popularity() -> None:
    class Pretender(ModelContract):
        config = config_for("item-knn")
        beats_popularity = False

    with pytest.raises(AssertionError, match="popularity has"):
        Pretender().test_planted_data_beats_popularity()


def test_exemptions_from_gradients_are_checked() -> None:
    class Stale(TinyContract):
        without_gradient = {"item": "it is said to get none"}  # noqa: RUF012

    class Misnamed(TinyContract):
        without_gradient = {"items": "a parameter that is not there"}  # noqa: RUF012

    with pytest.raises(AssertionError, match="item does get a gradient; take it off"):
        Stale().test_a_gradient_reaches_every_parameter()
    with pytest.raises(AssertionError, match="`without_gradient` names items"):
        Misnamed().test_a_gradient_reaches_every_parameter()

    class Exempt(TinyContract):
        model = Detached
        without_gradient = {"entity": "detached on purpose"}  # noqa: RUF012

    Exempt().test_a_gradient_reaches_every_parameter()


def test_a_model_with_parameters_must_give_batches() -> None:
    class Silent(ModelContract):
        config = TinyConfig()
        model = Tiny

    with pytest.raises(NotImplementedError, match="Tiny has parameters: give batches"):
        Silent().test_losses_are_finite_named_scalars()


def test_what_arrives_is_news_in_every_way() -> None:
    names, support = planted_split().dataset.vocabulary, arriving()
    assert not set(support.users.to_pylist()) & set(names.users.array.to_pylist())
    assert set(support.arrivals["item"].to_pylist()) < set(support.items.to_pylist())
    assert len(set(zip(support.users.to_pylist(), support.items.to_pylist(), strict=True))) < len(support), "a repeated click"


def test_popularity_is_the_floor_it_is_compared_with() -> None:
    assert TestPopularity().build(planted_split().train).__class__ is Popularity
