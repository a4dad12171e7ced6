"""`ModelContract`: what every model promises, as tests that three lines inherit.

    class TestJointMF(ModelContract):
        config = JointMFConfig(dim=8)

        def batches(self, model, view, seed): ...   # only for models that learn by gradient

pytest collects the subclass, since its name starts with "Test", and not this class. Hooks to override: `model`, `build`,
`batches`, `train`, `adapt`, `margin`, `beats_popularity`, `without_gradient`. Nothing here is skipped or caught: a model that
cannot do one of these things is not a model yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from metakg.data import Split, Support, TrainView
from metakg.models.base import ModelConfig, Recommender
from metakg.models.popularity import Popularity, PopularityConfig
from metakg.models.registry import MODELS, config_for
from metakg.rng import torch_generator
from metakg.testing import checks
from metakg.testing.checks import Trace, check_close, check_finite, everybody, score
from metakg.testing.problem import planted_split, recall_at
from metakg.testing.toy import arriving, toy_view

STEPS, LEARNING_RATE = 300, 0.01
"""How the default `train` learns."""


class ModelContract:
    """The promises of a model. Subclass it and give `config`."""

    config: ClassVar[ModelConfig]
    """Settings small enough to test with."""
    model: ClassVar[type[Recommender] | None] = None
    """The class; by default the one that the registry has for `config.kind`."""
    beats_popularity: ClassVar[bool] = True
    """False for popularity itself and for nothing else."""
    margin: ClassVar[float] = 1.2
    """How many times popularity's recall the model must reach on planted data."""
    without_gradient: ClassVar[Mapping[str, str]] = {}
    """Parameters that no loss reaches -> why; that they get none is checked as well."""

    # --- hooks --------------------------------------------------------------------------------------------------------

    def build(self, view: TrainView, seed: int = 1) -> Recommender:
        """Build the model; all its randomness comes from `seed`."""
        model = self.model or MODELS[self.config.kind]
        return model(self.config, view, torch_generator(seed, f"init/{self.config.kind}"))

    def batches(self, model: Recommender, view: TrainView, seed: int) -> Iterable[Any]:
        """Return batches for `forward`, which together touch every parameter. For models that learn by gradient."""
        raise NotImplementedError(f"{type(model).__name__} has parameters: give batches(model, view, seed)")

    def train(self, model: Recommender, view: TrainView, seed: int) -> Recommender:
        """Return the model trained on `view`; by default Adam over `batches`, or the model itself if nothing is learnt."""
        learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not learnt:
            return model
        optimiser = torch.optim.Adam(learnt, LEARNING_RATE)
        model.train()
        step = 0
        while step < STEPS:
            for batch in self.batches(model, view, seed + step):
                optimiser.zero_grad()
                torch.autograd.backward(checks.total(model, batch))
                optimiser.step()
                step += 1
        return model.eval()

    def adapt(self, model: Recommender, support: Support) -> Recommender:
        """Return the model adapted to what arrived, as its users would do it."""
        return model.adapt(support)

    # --- settings -----------------------------------------------------------------------------------------------------

    def test_config_survives_json(self) -> None:
        """The settings that are saved with a run are the settings of the run."""
        again = type(self.config).model_validate_json(self.config.model_dump_json())
        assert again == self.config, f"{self.config!r} came back from JSON as {again!r}"
        if self.config.kind in MODELS:
            named = config_for(self.config.kind, self.config.model_dump(mode="json"))
            assert named == self.config, f"the registry reads {self.config!r} as {named!r}"

    def test_config_refuses_an_unknown_key(self) -> None:
        """A misspelt setting must not train silently with the default."""
        settings = {**self.config.model_dump(), "no_such_setting": 1}
        assert checks.refuses(lambda: type(self.config).model_validate(settings)), "an unknown setting is accepted"

    def test_config_is_frozen(self) -> None:
        """Settings cannot drift away from the model that was built from them."""
        assert checks.refuses(lambda: setattr(self.config, "kind", "other")), "the settings can be changed"

    # --- learning -----------------------------------------------------------------------------------------------------

    def test_losses_are_finite_named_scalars(self) -> None:
        """`forward` returns a loss by name for each thing that is learnt."""
        view = toy_view(tasks=True)
        model = self.build(view).train()
        if not self._learnt(model):
            return
        batches = list(self.batches(model, view, 1))
        assert batches, "batches() gave none"
        for batch in batches:
            terms = model(batch)
            assert isinstance(terms, dict), f"forward returned {type(terms).__name__}, not losses by name"
            assert terms, "forward returned no loss"
            for name, loss in terms.items():
                assert isinstance(name, str), f"the loss name {name!r} is not text"
                assert name, "a loss has an empty name"
                assert isinstance(loss, Tensor), f"loss {name} is a {type(loss).__name__}, not a tensor"
                assert loss.shape == (), f"loss {name} has shape {tuple(loss.shape)}, not a scalar"
                assert bool(torch.isfinite(loss)), f"loss {name} is {loss.item()}"

    def test_a_gradient_reaches_every_parameter(self) -> None:
        """A parameter that no loss reaches is dead weight, or a detached graph."""
        view = toy_view(tasks=True)
        model = self.build(view).train()
        learnt = self._learnt(model)
        unknown = sorted(set(self.without_gradient) - set(learnt))
        assert not unknown, f"`without_gradient` names {unknown[0]}, which is no parameter that learns"
        if not learnt:
            return
        for batch in self.batches(model, view, 1):
            torch.autograd.backward(checks.total(model, batch))
        for name, parameter in learnt.items():
            gradient = torch.zeros(()) if parameter.grad is None else parameter.grad
            assert bool(torch.isfinite(gradient).all()), f"the gradient of {name} is not finite"
            reached = bool((gradient != 0).any())
            if name in self.without_gradient:
                assert not reached, f"{name} does get a gradient; take it off `without_gradient`"
            else:
                assert reached, f"no gradient reaches {name}"

    # --- scores -------------------------------------------------------------------------------------------------------

    def test_scores_have_shape_and_type_and_are_finite(self) -> None:
        """A user without clicks, an item without clicks and an item without facts are among the toy data."""
        view = toy_view()
        model = self.build(view).eval()
        for users in (everybody(view), everybody(view).int(), torch.tensor([3]), torch.empty(0, dtype=torch.int64)):
            scores = score(model, users)
            expected = (len(users), view.n_items)
            assert scores.shape == expected, f"score_all gave {tuple(scores.shape)} for {len(users)} users, not {expected}"
            assert scores.dtype == torch.float32, f"scores are {scores.dtype}, not float32"
            check_finite(scores, "score_all")
        same = torch.equal(score(model, everybody(view)), score(model, everybody(view).int()))
        assert same, "the integer type of the user rows changes the scores"

    def test_score_all_gathered_equals_score_pairs(self) -> None:
        """Both ways to a score give one number; a candidate may stand twice."""
        view = toy_view()
        model = self.build(view).eval()
        users = torch.tensor([5, 0, 7, 5])
        items = torch.tensor([[0, 11, 3, 3, 10], [11, 10, 9, 8, 7], [1, 2, 3, 4, 5], [0, 11, 3, 3, 10]])
        with torch.inference_mode():
            pairs, every = model.score_pairs(users, items), model.score_all(users)
        assert pairs.shape == items.shape, f"score_pairs gave {tuple(pairs.shape)} for candidates {tuple(items.shape)}"
        check_close(pairs, torch.gather(every, 1, items), "score_pairs beside score_all")

    def test_factors_multiply_to_the_scores(self) -> None:
        """A model that offers vectors is ranked by their product, so the product must be the score."""
        view = toy_view()
        model = self.build(view).eval()
        with torch.inference_mode():
            factors = model.factors(everybody(view))
            if factors is None:
                return
            left, right = factors
            assert left.shape[0] == view.n_users, f"{left.shape[0]} user vectors for {view.n_users} users"
            assert right.shape[0] == view.n_items, f"{right.shape[0]} item vectors for {view.n_items} items"
            check_close(left @ right.T, model.score_all(everybody(view)), "the product of the factors beside score_all")

    def test_a_batch_of_one_equals_its_row(self) -> None:
        """Who else is in the batch does not matter."""
        view = toy_view()
        model = self.build(view).eval()
        together = score(model, everybody(view))
        for user in range(view.n_users):
            check_close(score(model, torch.tensor([user]))[0], together[user], f"user {user} alone beside all users")

    def test_order_and_repeats_of_users_do_not_matter(self) -> None:
        """A row of scores belongs to its user, wherever he stands."""
        view = toy_view()
        model = self.build(view).eval()
        users = torch.tensor([7, 2, 2, 0, 5, 7])
        check_close(score(model, users), score(model, everybody(view))[users], "users in another order")

    def test_scoring_leaves_no_trace(self) -> None:
        """Scoring twice agrees; no cache on the model, no buffer written, no random number drawn."""
        view = toy_view()
        model = self.build(view).eval()
        before, state = Trace.of(model), torch.get_rng_state()
        first, second = score(model, everybody(view)), score(model, everybody(view))
        with torch.inference_mode():
            model.score_pairs(everybody(view), everybody(view)[:, None])
            model.factors(everybody(view))
        assert torch.equal(first, second), "scoring twice gives different scores"
        before.check(model, "scoring")
        assert torch.equal(state, torch.get_rng_state()), "scoring drew from torch's global generator"

    def test_same_seed_same_scores(self) -> None:
        """All randomness comes from the seed, none from the global generators."""
        scores, losses = [], []
        for elsewhere in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(elsewhere)
                legacy = np.random.get_state()  # noqa: NPY002 - a model that draws from it is what we look for
                np.random.seed(elsewhere)  # noqa: NPY002
                view = toy_view(tasks=True)
                model = self.build(view, seed=4)
                scores.append(score(model.eval(), everybody(view)))
                if self._learnt(model):
                    model.train()
                    losses.append([checks.total(model, batch).item() for batch in self.batches(model, view, 4)])
                np.random.set_state(legacy)  # noqa: NPY002
        assert torch.equal(*scores), "the same seed gives different scores"
        assert losses[:1] == losses[1:], "the same seed gives different losses"

    def test_another_seed_gives_other_parameters(self) -> None:
        """The seed is used."""
        first, second = (dict(self.build(toy_view(), seed=seed).named_parameters()) for seed in (4, 5))
        differ = any(not torch.equal(parameter, second[name]) for name, parameter in first.items())
        assert differ or not first, "no parameter depends on the seed"

    def test_tensors_make_an_equal_model(self) -> None:
        """What a bundle keeps is enough: another model of these settings that takes it over gives the same scores."""
        model = self.build(toy_view(), seed=4).eval()
        for kept in (model, model.adapt(arriving()).eval()):
            tensors = {name: tensor.detach().clone() for name, tensor in kept.tensors().items()}
            bare = TrainView(kept.view.vocabulary, kept.view.interactions, kept.view.graph)  # as a bundle keeps it
            again = self.build(bare, seed=5)
            again.load_tensors(tensors)
            check_close(score(again.eval(), everybody(bare)), score(kept, everybody(bare)), "the model from kept tensors")

    # --- unknown users and items ----------------------------------------------------------------------------------------

    def test_adapting_gives_scores_for_what_arrived(self) -> None:
        """Unknown users, items, entities and relations are normal input; known ones keep their rows."""
        view = toy_view()
        model = self.build(view).eval()
        adapted = model.adapt(arriving())
        assert type(adapted) is type(model), f"adapt made a {type(adapted).__name__} of a {type(model).__name__}"
        old, new = view.vocabulary, adapted.view.vocabulary
        for name in ("users", "items"):
            before, after = getattr(old, name).array.to_pylist(), getattr(new, name).array.to_pylist()
            assert after[: len(before)] == before, f"adapt gave known {name} other rows"
        for ids, arrived in ((new.users, "iris joy kim"), (new.items, "i90 i91 i92"), (new.entities, "e90")):
            missing = [name for name in arrived.split() if name not in ids]
            assert not missing, f"after adapt, the {ids.kind} {missing[0]} is unknown"
        scores = score(adapted.eval(), everybody(adapted.view))
        assert scores.shape == (new.n_users, new.n_items), f"score_all gave {tuple(scores.shape)} after adapt"
        check_finite(scores, "after adapt")

    def test_adapting_mutates_nothing(self) -> None:
        """The model and its data are as they were; a service goes on answering from them."""
        view = toy_view(tasks=True)
        model = self.build(view).eval()
        before, scores, held = Trace.of(model), score(model, everybody(view)), checks.content(view)
        adapted = model.adapt(arriving())
        assert adapted is not model, "adapt returned the model itself"
        score(adapted.eval(), everybody(adapted.view))
        before.check(model, "adapting")
        assert held == checks.content(view), "adapting changed the training data"
        assert torch.equal(scores, score(model, everybody(view))), "adapting changed the scores of the model it began with"
        assert model.view is view, "adapting gave the model another view"

    def test_adapting_twice_from_one_model_agrees(self) -> None:
        """An answer does not depend on who asked before."""
        model = self.build(toy_view()).eval()
        first, second = model.adapt(arriving()).eval(), model.adapt(arriving()).eval()
        check_close(score(second, everybody(second.view)), score(first, everybody(first.view)), "the second adapt")

    def test_adapting_to_nothing_changes_nothing(self) -> None:
        """No news is no reason for another answer."""
        view = toy_view()
        model = self.build(view).eval()
        same = model.adapt(Support(pa.array([], pa.string()), pa.array([], pa.string()))).eval()
        check_close(score(same, everybody(view)), score(model, everybody(view)), "after adapting to nothing")

    def test_adapting_goes_on(self) -> None:
        """An adapted model can be adapted again and forgets nothing."""
        model = self.build(toy_view()).eval()
        later = (
            model.adapt(arriving()).adapt(Support.clicks("lou", ["i90", "i00"])).adapt(Support.clicks("lou", ["i93"])).eval()
        )
        users, items = later.view.vocabulary.users, later.view.vocabulary.items
        forgotten = [name for name in ("ann", "iris", "lou") if name not in users]
        assert not forgotten, f"a later adapt forgot the user {forgotten[0]}"
        clicked = set(items.ids(later.view.history[[users.row("lou")]].indices.astype(np.int32)))
        assert clicked == {"i90", "i00", "i93"}, f"after three adapts the clicks of lou are {sorted(clicked)}"
        check_finite(score(later, everybody(later.view)), "after three adapts")

    # --- planted data -------------------------------------------------------------------------------------------------

    def test_planted_data_beats_popularity(self) -> None:
        """Where the reasons of clicks are known to be in the data, a model finds them; and it never saw the answers."""
        split = planted_split()
        model = self.train(self.build(split.train), split.train, 1).eval()
        floor = Popularity(PopularityConfig(), split.train, torch_generator(1, "floor"))
        self._check_recall(model, floor, split, "warm")
        support = split.support("user_cold")
        adapted = self.adapt(model, support).eval()
        self._check_recall(adapted, floor.adapt(support), split, "user_cold")
        names = split.dataset.vocabulary.users.take(split.scenarios["user_cold"].users)
        new_users = torch.from_numpy(adapted.view.vocabulary.users.rows(names).astype(np.int64))
        if self.beats_popularity:
            assert not checks.same_order_for_all(adapted, new_users[:4]), "all new users get one ranking, whatever they clicked"

    def _check_recall(self, model: Recommender, floor: Recommender, split: Split, scenario: str) -> None:
        seen = checks.overlap(model, split, scenario)
        assert seen == 0, f"{seen} query pairs of {scenario} are among the interactions of the model"
        recall, popular = recall_at(model, split, scenario), recall_at(floor, split, scenario)
        assert recall < 0.999, f"recall@20 of {recall:.3f} in {scenario} is too good to be true: look for a leak"
        least = self.margin * popular if self.beats_popularity else popular
        enough = recall >= least if self.beats_popularity else recall == least
        assert enough, f"recall@20 of {recall:.3f} in {scenario}: popularity has {popular:.3f}, wanted is {least:.3f}"

    def _learnt(self, model: Recommender) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
