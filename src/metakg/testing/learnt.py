"""`LearntContract`: what every model with learnt rows promises beside the `ModelContract`.

    class TestJointMF(LearntContract):
        config = JointMFConfig(dim=8)
        needs_facts = True          # if it cannot learn without a knowledge graph

Batches come from the model's own feed, and planted data is learnt through `train_baseline`, as its users would.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, Tasks, TrainView, Triples, Vocabulary
from metakg.data.view import origin
from metakg.errors import DataError
from metakg.models.base import ModelConfig, Recommender
from metakg.models.learnt import Learnt
from metakg.models.registry import MODELS
from metakg.rng import torch_generator
from metakg.testing.checks import check_finite, everybody, refuses, score
from metakg.testing.contract import ModelContract
from metakg.testing.problem import planted_split
from metakg.testing.toy import arriving, toy_view
from metakg.train.baseline import Adapting, AdaptRule, BaselineConfig, train_baseline
from metakg.train.feeds import FEEDS, Ration
from metakg.train.loop import LoopConfig

Pair = tuple[str, str]


class LearntContract(ModelContract):
    """The promises of a model with learnt rows. Subclass it and give `config`."""

    training: ClassVar[BaselineConfig] = BaselineConfig(
        batch_size=512,
        facts=512,
        loop=LoopConfig(learning_rate=0.01, epochs=20),
        adapt=AdaptRule(learning_rate=0.02, epochs=20),
    )
    """How planted data is learnt."""
    overfit: ClassVar[BaselineConfig] = BaselineConfig(
        start="xavier", batch_size=32, facts=32, loop=LoopConfig(learning_rate=0.02, epochs=150, log_every=1000)
    )
    """How ten users are learnt by heart."""
    by_heart: ClassVar[ModelConfig | None] = None
    """Settings for that, where other terms of the loss would pull elsewhere; by default `config`."""
    known_by_heart: ClassVar[float] = 0.9
    """Share of their clicks that must stand first then."""
    needs_facts: ClassVar[bool] = False
    """Whether data without any fact must be refused; else the model must learn from clicks alone."""

    def batches(self, model: Recommender, view: TrainView, seed: int) -> Iterable[Any]:
        """Return the batches of an epoch of the model's own feed."""
        assert isinstance(model, Learnt)
        pairs, how = view.interactions.pairs_only(), self.training
        source = FEEDS[model.feed](model, Ration(pairs, pairs, how.batch_size, how.facts, how.negatives, how.pool), seed)
        return [source.next(model, step) for step in range(len(source))]

    def train(self, model: Recommender, view: TrainView, seed: int) -> Recommender:
        """Return the model trained as its users would do it."""
        assert isinstance(model, Learnt)
        return train_baseline(model, self.training, seed)[0]

    def test_prepare_gets_training_and_support_pairs_and_no_other(self) -> None:
        """No answer can be in a graph, a neighbour set or a count: all that follows from pairs is built from these.

        While a model learns from tasks, their query pairs are labels, and nothing is built from them either.
        """
        split, seen = planted_split(), list[set[Pair]]()
        kind = self.model or MODELS[self.config.kind]

        class Recording(kind):  # type: ignore[misc,valid-type]
            def prepare(self, pairs: Interactions) -> None:
                v = self.view.vocabulary
                seen.append(set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True)))
                super().prepare(pairs)

        model = Recording(self.config, split.train, torch_generator(1, "test"))
        assert seen, "the constructor does not call prepare"
        model.adapt(split.support("user_cold"))
        v, scenario = split.dataset.vocabulary, split.scenarios["user_cold"]

        def named(pairs: Interactions) -> set[Pair]:
            return set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))

        trained, revealed, asked = named(split.pairs), named(scenario.support), named(scenario.query)
        labels = named(split.tasks.query) if model.feed == "tasks" and split.tasks is not None else set()
        assert seen[0] == trained - labels, "the constructor prepares from other pairs than those of the view"
        assert seen[-1] == trained | revealed, "the extended model is prepared from other pairs than training and support"
        for pairs in seen:
            assert not pairs & asked, "a query pair was passed to prepare"

    def test_rows_have_the_sizes_they_claim(self) -> None:
        """Every table named in `rows` has a row for each of what it says."""
        view = toy_view()
        model = self.build(view)
        assert isinstance(model, Learnt)
        sizes = {"user": view.n_users, "item": view.n_items, "entity": view.n_entities, "node": view.n_users + view.n_entities}
        sizes |= {"relation": view.n_relations, "edge": 2 * view.n_relations + 2}
        for name, kind in model.rows.items():
            assert len(model.get_parameter(name)) == sizes[kind], f"{name} has not one row for each {kind}"

    def test_extension_keeps_trained_rows_bit_for_bit(self) -> None:
        """What was learnt of somebody stays, wherever his row goes; parameters without rows stay whole."""
        model = self.build(toy_view())
        assert isinstance(model, Learnt)
        new = model.extend(arriving())
        for name, parameter in model.named_parameters():
            before, after = parameter.detach(), new.get_parameter(name).detach()
            if name not in model.rows:
                assert torch.equal(before, after), f"extend changed {name}, which has no rows"
            elif model.rows[name] not in ("relation", "edge"):
                was, now = _places(model, new, name)
                assert torch.equal(before[was], after[now]), f"extend changed trained rows of {name}"

    def test_two_arrivals_are_worth_one(self) -> None:
        """Without steps, who clicked twice is known by both clicks, whether they came together or one after the other."""
        view = toy_view(tasks=True)
        model, v = self.train(self.build(view), view, 1), view.vocabulary
        assert isinstance(model, Adapting)
        none = Adapting(model.model, model.training_config.model_copy(update={"adapt": AdaptRule(mode="none")}), 1)
        clicks = [v.items.id(int(item)) for item in np.unique(view.interactions.items)[:4]]
        together = none.adapt(Support.clicks("new", clicks))
        parts = none.adapt(Support.clicks("new", clicks[:1])).adapt(Support.clicks("new", clicks[1:]))
        user = torch.tensor([together.view.vocabulary.users.row("new")])
        torch.testing.assert_close(parts.score_all(user), together.score_all(user), rtol=1e-4, atol=1e-5)

    def test_ten_users_are_learnt_by_heart(self) -> None:
        """A model that cannot even do that has a fault in its gradient or its score."""
        view, kind = ten_users(), self.model or MODELS[self.config.kind]
        config = (self.by_heart or self.config).model_copy(update={"cold": "mean"})  # unclicked items stand apart from clicked
        model = kind(config, view, torch_generator(1, "test"))
        assert isinstance(model, Learnt)
        fitted, _ = train_baseline(model, self.overfit, 1)
        scores, liked = score(fitted, everybody(view)), view.history.toarray() > 0
        top = scores.argsort(dim=1, descending=True).numpy()
        found = [liked[user, top[user, : liked[user].sum()]].mean() for user in range(view.n_users)]
        assert np.mean(found) >= self.known_by_heart, f"after overfitting, {np.mean(found):.0%} of the clicks stand first"

    def test_data_without_facts(self) -> None:
        """No fact at all, of relations that have names or not: refused with words, or learnt from clicks alone."""
        bare = toy_view(tasks=True)
        v, short = bare.vocabulary, self.training.model_copy(update={"loop": LoopConfig(epochs=1)})
        for what, relations in (("facts", v.relations), ("relations", IdMap([], kind="relations"))):
            named = Vocabulary(v.users, v.items, v.entities, relations)
            view = TrainView(named, bare.interactions, KnowledgeGraph.empty(), bare.tasks)

            def fitted(view: TrainView = view) -> Recommender:
                model = self.build(view)
                assert isinstance(model, Learnt)
                return train_baseline(model, short, 1)[0]

            if self.needs_facts:
                assert refuses(fitted, DataError), f"a graph without {what} is accepted, though `needs_facts` is on"
            else:
                check_finite(score(fitted(), everybody(view)), f"without {what}")

    def test_nobody_is_left_with_a_row_of_noise(self) -> None:
        """Two users who arrive with nothing are alike, and so are two items: cold rows follow a rule, not a draw."""
        if self.config.cold == "xavier":  # type: ignore[attr-defined]
            return
        model = self.build(toy_view())
        assert isinstance(model, Learnt)
        model.settle()
        names = pa.array(["one", "other"], pa.string())
        items = pa.table({"item": names, "entity": pa.nulls(2, pa.string()), "label": pa.nulls(2, pa.string())})
        none = pa.array([], pa.string())
        new = model.adapt(Support(none, none, arrivals=items, newcomers=names)).eval()
        scores, v = score(new, everybody(new.view)), new.view.vocabulary
        users, ours = v.users.rows(["one", "other"]), v.items.rows(["one", "other"])
        check = {"users": (scores[users[0]], scores[users[1]]), "items": (scores[:, ours[0]], scores[:, ours[1]])}
        for what, (one, other) in check.items():
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=f"two {what} without data have different scores")


def ten_users() -> TrainView:
    """Return ten users with three or four clicks each on thirty items, and two facts an item: nothing to find, all to learn.

    Each is a task as well: his last click is the query.
    """
    rng = np.random.default_rng(3)
    pairs = [(user, item) for user in range(10) for item in rng.permutation(30)[: 3 + user % 2]]
    facts = [(item, int(r), 30 + int(t)) for item in range(30) for r, t in enumerate(rng.integers(8, size=2))]
    sizes = {"users": 10, "items": 30, "entities": 38, "relations": 2}
    ids = {kind: IdMap([f"{kind}-{n}" for n in range(size)], kind=kind) for kind, size in sizes.items()}
    clicks = Interactions(*np.array(pairs, np.int32).T.copy())
    last = np.append(clicks.users[1:] != clicks.users[:-1], True)
    return TrainView(
        Vocabulary(**ids),
        clicks,
        KnowledgeGraph(Triples(*np.array(facts, np.int32).T.copy()), Triples.empty()),
        Tasks(np.arange(10, dtype=np.int32), clicks.select(~last), clicks.select(last)),
    )


def _places(old: Learnt, new: Learnt, name: str) -> tuple[Tensor, Tensor]:
    """Return where the trained rows of a table stood, and where they stand now: two (n,)."""
    before, after, kind = old.view, new.view, old.rows[name]
    came: list[np.ndarray] = []
    if kind in ("user", "node"):
        came.append(np.where(np.arange(after.n_users) < before.n_users, np.arange(after.n_users), -1))
    if kind == "item":
        came.append(np.where(np.arange(after.n_items) < before.n_items, np.arange(after.n_items), -1))
    if kind in ("entity", "node"):
        rows = origin(before.vocabulary, after.vocabulary).astype(np.int64)
        came.append(np.where(rows >= 0, rows + (before.n_users if kind == "node" else 0), -1))
    was = np.concatenate(came)
    now = np.flatnonzero(was >= 0)
    now = now[old.trained_rows(name).cpu().numpy()[was[now]]]
    return torch.from_numpy(was[now]), torch.from_numpy(now)
