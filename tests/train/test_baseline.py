"""Training and adapting the models with learnt rows: feeds, start vectors, cold rows, modes, resuming, bundles, validation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

import metakg
from metakg import rng as random
from metakg.data import Interactions, Support, TrainView
from metakg.engine import fit
from metakg.errors import CheckpointError, ConfigError, DataError, NonFiniteLoss
from metakg.models.base import Recommender
from metakg.models.fm import FM, FmConfig
from metakg.models.learnt import Kind, Learnt, LearntConfig, embedding
from metakg.models.registry import build
from metakg.sample.episodes import TaskBatch
from metakg.sample.pairs import PairBatch, PairSampler, PairsAndFacts
from metakg.sample.triples import TripleBatch
from metakg.testing import arriving, planted_split, toy_view
from metakg.train import baseline
from metakg.train import fit as training
from metakg.train.baseline import Adapting, AdaptRule, BaselineConfig, train_baseline
from metakg.train.feeds import FEEDS, JointFeed, PairFeed, PassesFeed, Ration, TaskFeed
from metakg.train.fit import TRAINING, scenario_mean, settings_for
from metakg.train.initialise import BprConfig, ClickBatches, Factors, fit_bpr
from metakg.train.loop import LoopConfig

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
LEARNT = sorted(name for name, kind in TRAINING.items() if issubclass(kind, BaselineConfig))
QUICK = {"batch_size": 4, "facts": 8, "loop": {"epochs": 2, "learning_rate": 0.01}, "adapt": {"epochs": 1, "batch_size": 4}}


class Plain(Learnt):
    """Inner products of users and entities, with the facts pulled together; counts what is done to it."""

    rows: ClassVar[Mapping[str, Kind]] = {"user": "user", "entity": "entity"}

    def __init__(self, config: LearntConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        self.user, self.entity = embedding(view.n_users, 3, rng), embedding(view.n_entities, 3, rng)
        self.epochs = self.steps = 0
        self.prepare(view.interactions.pairs_only())

    def forward(self, batch: Any) -> dict[str, Tensor]:
        losses = {}
        if not isinstance(batch, TripleBatch):
            pairs = batch.pairs if isinstance(batch, PairsAndFacts) else batch
            towards = self.entity[pairs.positives] - self.entity[pairs.negatives]
            losses["rank"] = torch.nn.functional.softplus(-(self.user[pairs.users] * towards).sum(-1)).mean()
        if not isinstance(batch, PairBatch):
            facts = batch.facts if isinstance(batch, PairsAndFacts) else batch
            losses["kg"] = (self.entity[facts.heads] - self.entity[facts.tails]).square().mean()
        return losses

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        return self.user[users.long()], self.entity[: self.view.n_items]

    def on_epoch_start(self) -> None:
        self.epochs += 1

    def after_step(self, batch: Any) -> None:
        self.steps += 1


def plain(view: TrainView, **settings: Any) -> Plain:
    return Plain(LearntConfig(kind="plain", dim=3, **settings), view, torch.Generator().manual_seed(5))


def fm(view: TrainView, **settings: Any) -> FM:
    return FM(FmConfig(dim=3, **settings), view, torch.Generator().manual_seed(5))


def ration(view: TrainView, **changes: Any) -> Ration:
    pairs = view.interactions.pairs_only()
    return Ration(**{"pairs": pairs, "known": pairs, "batch_size": 5, "facts": 4, **changes})


def strings(*names: str) -> pa.Array:
    return pa.array(list(names), pa.string())


def state(model: Recommender) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.tensors().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# -- feeds -------------------------------------------------------------------------------------------------------------------


def test_an_epoch_presents_every_pair_once_with_items_that_are_not_known() -> None:
    view = toy_view()
    model, known = plain(view), set(zip(view.interactions.users.tolist(), view.interactions.items.tolist(), strict=True))
    feed = PairFeed(model, ration(view), 1)
    for epoch in range(2):
        batches = [feed.next(model, epoch * len(feed) + step) for step in range(len(feed))]
        shown = [pair for b in batches for pair in zip(b.users.tolist(), b.positives.tolist(), strict=True)]
        assert sorted(shown) == sorted(known)
        assert not known & {pair for b in batches for pair in zip(b.users.tolist(), b.negatives.tolist(), strict=True)}
    assert (feed.presented, model.epochs) == (2 * len(known), 2)


def test_negatives_come_from_the_pool() -> None:
    view = toy_view()  # item 10 has no click
    model = plain(view)

    def drawn(pool: str) -> set[int]:
        feed = PairFeed(model, ration(view, pool=pool, negatives=20), 1)
        return {i for step in range(len(feed)) for i in feed.next(model, step).negatives.tolist()}

    assert 10 in drawn("all")
    assert drawn("seen") == set(range(12)) - {10}


def test_with_several_negatives_a_pair_stands_so_often_in_a_row() -> None:
    view = toy_view()
    feed = JointFeed(plain(view), ration(view, negatives=3), 1)
    batch = feed.next(plain(view), 0)
    assert len(batch.pairs) == 15
    for column in (batch.pairs.users, batch.pairs.positives, batch.facts.heads, batch.facts.relations, batch.facts.tails):
        rows = column.view(-1, 3)
        assert torch.equal(rows, rows[:, :1].expand(-1, 3))
    assert (len(batch.facts), batch.pairs.each, batch.facts.each) == (12, 3, 3)


def test_replay_adds_as_many_training_pairs() -> None:
    view = toy_view()
    few, rest = view.interactions.select(np.arange(6)), view.interactions.select(np.arange(6, 24))
    feed = PairFeed(plain(view), ration(view, pairs=few, replay=rest.pairs_only(), batch_size=4), 1)
    sizes, replayed = [], set()
    for step in range(len(feed)):
        batch = feed.next(plain(view), step)
        half = len(batch) // 2
        sizes.append(len(batch))
        replayed |= set(zip(batch.users[half:].tolist(), batch.positives[half:].tolist(), strict=True))
    assert sizes == [8, 4]
    assert replayed <= set(zip(rest.users.tolist(), rest.items.tolist(), strict=True))
    assert feed.presented == 12


def test_passes_are_all_pairs_then_all_facts() -> None:
    view = toy_view()
    model = plain(view)
    feed = PassesFeed(model, ration(view, batch_size=10, facts=10), 1)
    batches = [feed.next(model, step) for step in range(2 * len(feed))]
    assert [type(b) for b in batches] == 2 * (3 * [PairBatch] + 3 * [TripleBatch])
    facts = [t for b in batches[3:6] for t in zip(b.heads.tolist(), b.relations.tolist(), b.tails.tolist(), strict=True)]
    known = view.graph.entity
    assert sorted(facts) == sorted(zip(known.heads.tolist(), known.relations.tolist(), known.tails.tolist(), strict=True))
    assert "facts such as" in feed.describe(batches[3])
    assert "(ann, i" in feed.describe(batches[0]) or "pairs such as" in feed.describe(batches[0])
    short = PassesFeed(model, ration(view, batch_size=10, facts=4, purpose="adapt"), 1)
    assert len(short) == 6, "while adapting, as many batches of facts as of pairs"


@pytest.mark.parametrize("feed", sorted(FEEDS))
def test_a_feed_goes_on_where_it_stood(feed: str) -> None:
    view = toy_view(tasks=True)
    model = plain(view)

    def columns(batch: Any) -> list[list[int]]:
        parts = [batch.support, batch.query] if isinstance(batch, TaskBatch) else [batch]
        parts = [batch.pairs, batch.facts] if isinstance(batch, PairsAndFacts) else parts
        return [value.tolist() for part in parts for value in vars(part).values() if isinstance(value, Tensor)]

    first = FEEDS[feed](model, ration(view), 1)
    for step in range(2):
        first.next(model, step)
    kept = first.state_dict()
    expected = [columns(first.next(model, step)) for step in range(2, 2 * len(first))]
    other = FEEDS[feed](model, ration(view), 9)
    other.load_state_dict(kept)
    assert [columns(other.next(model, step)) for step in range(2, 2 * len(other))] == expected


def test_an_epoch_presents_every_task_once_with_all_its_pairs() -> None:
    view = toy_view(tasks=True)
    feed = TaskFeed(plain(view), ration(view, batch_size=3, negatives=2), 1)
    batches = [feed.next(plain(view), step) for step in range(len(feed))]
    assert [len(batch.support.users) for batch in batches] == [3, 3, 1]
    for side, expected in (("support", view.tasks.support), ("query", view.tasks.query)):
        episodes = [getattr(batch, side) for batch in batches]
        found = [pair for e in episodes for pair in zip(e.users[e.tasks].tolist(), e.positives.tolist(), strict=True)]
        assert sorted(found) == sorted(2 * list(zip(expected.users.tolist(), expected.items.tolist(), strict=True)))
    assert "tasks such as that of" in feed.describe(batches[0])
    assert feed.learn(plain(view), batches[0]) == {"pairs": len(view.interactions)}


def test_the_model_is_called_after_every_step_and_at_every_epoch() -> None:
    model = plain(toy_view())
    train_baseline(model, BaselineConfig(batch_size=10, loop=LoopConfig(epochs=4)), 1)
    assert (model.steps, model.epochs) == (12, 5), "and once more when training is over"


# -- start vectors -----------------------------------------------------------------------------------------------------------


def test_bpr_vectors_are_the_start_of_users_and_items() -> None:
    view = toy_view()
    model, how = plain(view, cold="mean"), BprConfig(epochs=3, batch_size=8)
    pairs = view.interactions.pairs_only()
    start = 0.1 * torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    found = fit_bpr(pairs, 8, 12, how, start.clone(), 7)
    assert not torch.equal(found, start)
    others = model.entity[12:].detach().clone()
    model.start_from(found[:8], found[8:])
    assert torch.equal(model.user, found[:8])
    assert torch.equal(model.entity, torch.cat([found[8:], others]))


def test_hard_negatives_of_the_bpr_start_are_the_best_of_those_drawn_and_never_known() -> None:
    view = toy_view()
    pairs, pool = view.interactions.pairs_only(), np.unique(view.interactions.items)
    factors = Factors(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), 8, 0.0)

    def batch(hardest: int) -> PairBatch:
        drawn = PairSampler(pairs, pairs, pool, 12, np.random.default_rng(5))
        return ClickBatches(drawn, 16, torch.device("cpu"), hardest).next(factors, 0)

    known = set(pairs.keys(12).tolist())
    one, hard = batch(1), batch(50)
    assert sorted(one.positives.tolist()) == sorted(hard.positives.tolist()), "each click stands there once"
    for user, negative in zip(hard.users.tolist(), hard.negatives.tolist(), strict=True):
        free = [item for item in pool.tolist() if user * 12 + item not in known]
        scores = factors.nearness(torch.tensor([user]), torch.tensor([free]))[0]
        assert negative == free[int(scores.argmax())], "of fifty that are drawn from so few, all are there"
    scored = [factors.nearness(b.users, b.negatives[:, None]).mean() for b in (one, hard)]
    assert scored[1] > scored[0]


@pytest.mark.parametrize("feed", ["pairs", "pairs+facts", "pairs, facts"])
def test_hard_negatives_are_the_nearest_of_those_drawn_for_new_and_for_replayed_pairs(feed: str) -> None:
    view = toy_view()
    model, pairs = plain(view), view.interactions.pairs_only()
    known, pool = set(pairs.keys(view.n_items).tolist()), np.unique(pairs.items)
    few = ration(view, pairs=pairs.select(np.arange(5)), replay=pairs, negatives=2, hardest=60)
    batch = FEEDS[feed](model, few, 3).next(model, 0)
    drawn = batch.pairs if isinstance(batch, PairsAndFacts) else batch
    assert isinstance(drawn, PairBatch)
    assert (len(drawn), drawn.each) == (2 * (5 + 5), 2)
    for user, negative in zip(drawn.users.tolist(), drawn.negatives.tolist(), strict=True):
        free = torch.tensor([item for item in pool.tolist() if user * view.n_items + item not in known])
        near = (model.user[user] * model.entity[free]).sum(-1)
        assert negative == free[near.argmax()], "of sixty that are drawn from so few, all are there"


@pytest.mark.parametrize("loss", ["margin_l2", "inner"])
def test_cfkg_finds_items_near_where_its_scores_do(loss: str) -> None:
    view = toy_view()
    config, _ = settings_for("cfkg", {"dim": 3, "loss": loss})
    model = build(config, view, 1)
    assert isinstance(model, Learnt)
    near = model.nearness(torch.tensor([2]), torch.arange(12)[None])[0]
    assert near.argsort().tolist() == model.score_all(torch.tensor([2]))[0].argsort().tolist()


@pytest.mark.parametrize("kind", LEARNT)
def test_every_model_trains_and_adapts_with_hard_negatives(kind: str) -> None:
    view = toy_view(tasks=True)
    learnt = {**QUICK, "bpr": {"epochs": 1}}
    one, hard = (fit(kind, view, seed=3, dim=6, training={**learnt, "hardest": hardest}) for hardest in (1, 3))
    support = arriving()
    scores = [engine.recommender.adapt(support).score_all(torch.arange(view.n_users)) for engine in (one, hard)]
    assert bool(torch.isfinite(scores[1]).all())
    assert not torch.equal(*scores), "other negatives teach something else"


def test_with_cold_content_what_nobody_clicked_starts_from_its_neighbours() -> None:
    view = toy_view()
    model = plain(view, cold="content")
    users, items = (0.1 * torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (8, 12))
    model.start_from(users, items)
    clicked = torch.from_numpy(np.unique(view.interactions.items)).long()
    assert len(clicked) < 12
    assert torch.equal(model.entity[clicked], items[clicked])
    facts, entity = view.graph.entity, 12 + int(np.argmax(np.bincount(view.graph.entity.tails)[12:]))
    around = [int(h) for h, t in zip(facts.heads, facts.tails, strict=True) if t == entity and h in clicked]
    around += [int(t) for h, t in zip(facts.heads, facts.tails, strict=True) if h == entity and t in clicked]
    torch.testing.assert_close(model.entity[entity], items[around].mean(0))


def test_a_start_changes_what_is_learnt_and_one_that_does_not_suit_is_refused() -> None:
    view = toy_view()
    short = LoopConfig(epochs=1, learning_rate=1e-6)
    found = {}
    for start in ("xavier", "bpr"):
        found[start] = fm(view)
        config = BaselineConfig(start=start, bpr=BprConfig(epochs=40, learning_rate=0.1, batch_size=8), loop=short)
        train_baseline(found[start], config, 1)
    scores = {start: model.score_all(torch.arange(8)) for start, model in found.items()}
    liked = torch.from_numpy(view.history.toarray() > 0)
    gap = {start: float(s[liked].mean() - s[~liked].mean()) for start, s in scores.items()}
    assert gap["bpr"] > gap["xavier"] + 1
    with pytest.raises(ConfigError, match=r"training\.start of fm: found 'transr'"):
        train_baseline(fm(view), BaselineConfig(start="transr"), 1)


# -- cold rows ---------------------------------------------------------------------------------------------------------------


def newcomers() -> Support:
    """A user and an item without anything, an item by Mira Voss (e0) and about Lisbon (e6), and a click on the latter."""
    return Support(
        strings("ann"),
        strings("new"),
        pa.table({"item": strings("bare", "new"), "entity": strings("e:bare", "e:new"), "label": strings("Bare", "New")}),
        pa.table({"head": strings("e:new", "e:new"), "relation": strings("written_by", "set_in"), "tail": strings("e0", "e6")}),
        newcomers=strings("zoe"),
    )


@pytest.mark.parametrize("cold", ["mean", "zero", "content", "xavier"])
def test_cold_rows_follow_the_rule(cold: str) -> None:
    view = toy_view()  # hal has no click; e:i10 has facts and no click; all entities have facts
    model = plain(view, cold=cold)
    new = model.extend(newcomers())
    v = new.view.vocabulary
    zoe, hal = new.user[v.users.row("zoe")], new.user[v.users.row("hal")]
    bare, fresh = (new.entity[v.items.row(name)] for name in ("bare", "new"))
    users, items = model.user[:7].mean(0), model.entity[:12].mean(0)
    neighbours = (model.entity[view.vocabulary.entities.row("e0")] + model.entity[view.vocabulary.entities.row("e6")]) / 2
    expected = {
        "mean": (users, users, items, items),
        "zero": (torch.zeros(3), torch.zeros(3), torch.zeros(3), torch.zeros(3)),
        "content": (users, users, (model.entity[:12].sum(0) + neighbours) / 13, neighbours),
    }
    if cold == "xavier":
        assert torch.equal(hal, model.user[7]), "a row that is there stays"
        rows = [zoe, bare, fresh]
        assert all(float(row.abs().min()) > 0 for row in rows)
        assert not torch.equal(bare, fresh)
        again = model.extend(newcomers())
        assert same(state(again), state(new)), "and the draws are repeatable"
    else:
        for found, wanted in zip((zoe, hal, bare, fresh), expected[cold], strict=True):
            torch.testing.assert_close(found, wanted)


def test_a_new_user_stands_where_his_clicks_are_as_far_out_as_trained_users_do() -> None:
    view = toy_view()
    model = plain(view, cold="content")
    clicks = torch.from_numpy(view.history.toarray().astype(np.float32))[:7]
    mean = clicks / clicks.sum(1, keepdim=True) @ model.entity[:12]
    with torch.no_grad():
        model.user[:7] = 3 * mean  # hal, the last, has no click
    ada = model.extend(Support(strings("ada", "ada"), strings("i00", "i05"), newcomers=strings("ada")))
    row = ada.view.vocabulary.users.row("ada")
    torch.testing.assert_close(ada.user[row], 1.5 * (ada.entity[0] + ada.entity[5]))
    torch.testing.assert_close(ada.user[:7], model.user[:7], msg="trained users stay")


def test_rows_that_training_did_not_move_are_settled_after_it() -> None:
    view = toy_view()
    model = plain(view, cold="mean")
    start = model.user[7].detach().clone()
    fitted, _ = train_baseline(model, BaselineConfig(loop=LoopConfig(epochs=1)), 1)
    assert isinstance(fitted.model, Plain)
    assert not torch.equal(fitted.model.user[7], start)
    torch.testing.assert_close(fitted.model.user[7], fitted.model.user[:7].mean(0))


def test_a_rule_of_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'cold = "transe" for fm, which has no .*; expected a rule of any model'):
        settings_for("fm", {"cold": "transe"})


# -- adapting ----------------------------------------------------------------------------------------------------------------


def adapting(mode: str, epochs: int = 3, **changes: Any) -> Adapting:
    rule = AdaptRule(mode=mode, epochs=epochs, batch_size=4, learning_rate=0.05)
    return train_baseline(fm(toy_view()), BaselineConfig(batch_size=8, adapt=rule, loop=LoopConfig(epochs=2), **changes), 1)[0]


def test_without_steps_adapting_is_extending() -> None:
    for fitted in (adapting("none"), adapting("finetune").model.adapt(arriving())):
        assert isinstance(fitted, Recommender)
    fitted = adapting("none")
    adapted = fitted.adapt(arriving())
    assert same(state(adapted), state(fitted.model.extend(arriving())))
    assert adapted.presented == 0
    tuned = adapting("finetune")
    empty = Support(strings(), strings(), newcomers=strings("zoe"))
    assert same(state(tuned.adapt(empty)), state(tuned.model.extend(empty))), "no click, no step"


def test_finetuning_presents_the_support_and_replay_as_much_again() -> None:
    support = arriving()  # seven clicks, one of them twice
    for mode, presented in (("finetune", 180), ("finetune_replay", 360)):
        fitted = adapting(mode, epochs=30)
        adapted = fitted.adapt(support)
        assert adapted.presented == presented
        assert not same(state(adapted), state(fitted.model.extend(support)))
        assert same(state(adapted), state(fitted.adapt(support))), "the same steps again"
        v, start = adapted.view.vocabulary, fitted.model.extend(support)
        kim, clicked = torch.tensor([v.users.row("kim")]), v.items.row("i92")
        lead = [float(m.score_all(kim)[0, clicked] - m.score_all(kim).mean()) for m in (start, adapted)]
        assert lead[1] > lead[0], "what kim clicked rises"


def test_joint_is_training_from_scratch_on_all_pairs() -> None:
    fitted = adapting("joint")
    adapted = fitted.adapt(arriving())
    view = fitted.view.extend(arriving())
    again = fit("fm", view, seed=1, dim=3, training=fitted.training_config.model_dump(mode="json"))
    assert same(state(adapted), state(again.recommender))
    assert adapted.presented == 2 * len(view.interactions)


def test_joint_is_no_way_to_choose_epochs() -> None:
    """Whatever the parameters are, it trains anew from scratch, and would be judged the same after every epoch."""
    config, how = settings_for("fm", {"dim": 4, "training": {"adapt": {"mode": "joint"}}})
    with pytest.raises(ConfigError, match=r"training\.adapt\.mode of fm: found 'joint' in a training that is judged"):
        training.fit(config, how, toy_view(), 1, validate=lambda _: 0.0)


@pytest.mark.parametrize("name", LEARNT)
def test_whoever_likes_everything_is_taken_in_without_a_step(name: str) -> None:
    view = toy_view(tasks=True)
    fitted = fit(name, view, seed=1, **quick(name)).recommender
    every = [view.vocabulary.items.id(row) for row in range(view.n_items)]
    for item in every:
        fitted = fitted.adapt(Support.clicks("zed", [item]))
    row = torch.tensor([fitted.view.vocabulary.users.row("zed")])
    assert np.diff(fitted.view.history.indptr)[int(row)] == view.n_items
    assert torch.isfinite(fitted.score_all(row)).all()
    together = fit(name, view, seed=1, **quick(name)).recommender.adapt(Support.clicks("zed", every))
    assert getattr(together, "presented", 0) == 0


def test_an_adaptation_leaves_the_fitted_model_alone_and_can_be_repeated_on_top() -> None:
    fitted = adapting("finetune_replay")
    before = state(fitted)
    later = fitted.adapt(arriving()).adapt(Support.clicks("lou", ["i90", "i00"]))
    assert same(before, state(fitted))
    assert later.view.vocabulary.users.row("lou") is not None
    assert torch.isfinite(later.score_all(torch.arange(later.view.n_users))).all()


# -- every model: resuming and bundles ---------------------------------------------------------------------------------------


def quick(name: str) -> dict[str, Any]:
    """Small settings for a model that exists already."""
    return {"dim": 6, "training": QUICK}


@pytest.mark.parametrize("name", LEARNT)
def test_a_killed_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    view = toy_view(tasks=True)
    whole = fit(name, view, seed=3, **quick(name))

    class Killed(Exception):  # noqa: N818
        pass

    said = 0

    def kill(words: str) -> None:
        nonlocal said
        said += words.startswith("training")
        if said == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(name, view, seed=3, folder=tmp_path, report=kill, **{**quick(name), "training": {**QUICK, "loop": _often()}})
    resumed = fit(name, view, seed=3, folder=tmp_path, resume=True, **{**quick(name), "training": {**QUICK, "loop": _often()}})
    assert same(state(whole.recommender), state(resumed.recommender))


def test_a_run_that_began_with_other_vectors_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rows a training moved is told by what it began with; with other bits there, all would count as moved."""
    view = toy_view(tasks=True)
    settings = {"dim": 6, "training": {**QUICK, "start": "bpr"}}
    fit("fm", view, seed=3, folder=tmp_path, **settings)
    shutil.rmtree(tmp_path / "bpr")
    fit("fm", view, seed=3, folder=tmp_path, resume=True, **settings)  # fitted again, to the same bits
    shutil.rmtree(tmp_path / "bpr")
    inner = baseline.fit_bpr

    def elsewhere(*arguments: Any, **how: Any) -> torch.Tensor:
        return inner(*arguments, **how) * (1 + 2**-20)

    monkeypatch.setattr(baseline, "fit_bpr", elsewhere)
    with pytest.raises(CheckpointError, match=r"start vectors: found '\w+'; expected '\w+'"):
        fit("fm", view, seed=3, folder=tmp_path, resume=True, **settings)


def test_a_start_goes_on_at_another_rate_as_one_that_explodes_advises(tmp_path: Path) -> None:
    def run(rate: float, report: Callable[[str], None] | None = None) -> None:
        how = {**QUICK, "start": "bpr", "bpr": {"learning_rate": rate, "epochs": 6}}
        fit("fm", toy_view(), seed=3, folder=tmp_path, resume=True, report=report, dim=6, training=how)

    def stop(words: str) -> None:
        if words.startswith("start vectors"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(1e-3, stop)
    with pytest.raises(NonFiniteLoss, match=r"Lower the learning rate and resume: the state of step \d+ is in .*bpr"):
        run(1e38)
    run(1e-4)
    with pytest.raises(CheckpointError, match=r"a run that is over, at a learning rate of 0\.0001"):
        run(1e-2)


def _often() -> dict[str, Any]:
    return {**QUICK["loop"], "checkpoint_minutes": 1e-9}


@pytest.mark.parametrize("name", LEARNT)
def test_a_bundle_gives_back_what_was_fitted_and_adapts_as_before(name: str, tmp_path: Path) -> None:
    engine = fit(name, toy_view(tasks=True), seed=3, **quick(name))
    engine.save(tmp_path / "bundle")
    again = metakg.load(tmp_path / "bundle")
    everyone = torch.arange(8)
    torch.testing.assert_close(again.recommender.score_all(everyone), engine.recommender.score_all(everyone))
    both = [e.adapt(support=arriving()).recommender for e in (engine, again)]
    everyone = torch.arange(both[0].view.n_users)
    torch.testing.assert_close(both[1].score_all(everyone), both[0].score_all(everyone), rtol=1e-4, atol=1e-5)


def test_draws_for_cold_rows_are_the_same_from_a_bundle_and_after_adapting(tmp_path: Path) -> None:
    engine = fit("fm", toy_view(), seed=3, cold="xavier", dim=4, training=QUICK)
    engine.save(tmp_path / "bundle")
    both = [e.adapt(support=arriving()).adapt(support=newcomers()) for e in (engine, metakg.load(tmp_path / "bundle"))]
    assert same(state(both[0].recommender), state(both[1].recommender))


# -- validation --------------------------------------------------------------------------------------------------------------


def test_validation_keeps_the_best_parameters() -> None:
    view, kept, scores = toy_view(), list[dict[str, Tensor]](), iter([1.0, 3.0, 2.0])

    def judge(recommender: Recommender) -> float:
        assert isinstance(recommender, Adapting)
        recommender.adapt(arriving())  # as a split would
        kept.append(state(recommender))
        return next(scores)

    config, how = settings_for("fm", {"dim": 4, "cold": "xavier", "training": {"batch_size": 8, "loop": {"epochs": 3}}})
    fitted = training.fit(config, how, view, 1, validate=judge)
    assert len(kept) == 3
    assert same(state(fitted), kept[1])
    assert not same(kept[1], kept[2])


def test_a_split_judges_by_recall_and_ndcg_after_adapting() -> None:
    split = planted_split()
    config, how = settings_for("fm", {"dim": 4, "training": {"batch_size": 512, "loop": {"epochs": 2, "learning_rate": 0.01}}})
    fitted = training.fit(config, how, split.train, 1, validate=split)
    found = metakg.evaluate(fitted, split, k=20).rows
    mean = np.mean([row["mean"] for row in found if row["metric"] in ("recall", "ndcg")])
    assert scenario_mean(fitted, split) == pytest.approx(mean)


def test_a_split_of_other_data_is_refused() -> None:
    config, how = settings_for("fm", {"training": QUICK})
    with pytest.raises(DataError, match=r"split\.train to be what is trained on"):
        training.fit(config, how, toy_view(), 1, validate=planted_split())


def test_too_little_data_is_said() -> None:
    bare = toy_view()
    nothing = TrainView(bare.vocabulary, Interactions.empty(), bare.graph)
    with pytest.raises(DataError, match=r"pool of negatives|pairs to learn from"):
        train_baseline(fm(nothing), BaselineConfig(), 1)


def test_random_generators_have_names() -> None:
    view = toy_view()
    feeds = [PairFeed(plain(view), ration(view, purpose=purpose), 1) for purpose in ("train", "adapt")]
    orders = [feed.pairs.pairs.order().tolist() for feed in feeds]
    assert orders[0] != orders[1]
    assert orders[0] == random.generator(1, "train/pairs").permutation(len(view.interactions)).tolist()
