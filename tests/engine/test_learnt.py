"""Models that are adapted by their own steps: the same promises as the overlay of profiles, whatever the model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

import metakg
from metakg.data import Support, TrainView
from metakg.engine import Engine, fit
from metakg.engine.answers import LearntAnswers, diversify, refuse
from metakg.errors import ConfigError
from metakg.testing import arriving, toy_view

QUICK = {
    "fm": {"dim": 4, "training": {"loop": {"epochs": 2, "learning_rate": 0.01}, "batch_size": 16}},
    "kgat": {"dim": 4, "training": {"loop": {"epochs": 1, "learning_rate": 0.01}, "batch_size": 16}},
    "kgcn": {"dim": 4, "training": {"loop": {"epochs": 1, "learning_rate": 0.01}, "batch_size": 16}},
}
EVERYBODY = ("ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hal", "nobody")


@pytest.fixture(scope="module", params=QUICK)
def engine(request) -> Engine:
    return fit(request.param, toy_view(), seed=1, **QUICK[request.param])


def lists(engine: Engine) -> dict[str, list]:
    return {user: engine.recommend(user, k=12) for user in EVERYBODY}


def test_clicks_touch_nobody_else_and_are_undone(engine) -> None:
    before = lists(engine)
    adapted = engine.adapt("ben", ["i09", "i00"]).adapt("zoe", ["i07"])
    after = lists(adapted)
    assert {user for user in EVERYBODY if after[user] != before[user]} == {"ben"}
    assert adapted.recommender is engine.recommender
    assert adapted.recommend("ben", k=12) == engine.adapt("ben", ["i00"]).adapt("ben", ["i09", "i00"]).recommend("ben", k=12)
    assert adapted.recommend("zoe", k=12) == adapted.recommend("zoe", k=12)
    assert lists(adapted.forget("ben").forget("zoe")) == before


def test_every_answer_says_how_it_was_made(engine) -> None:
    assert [engine.way(user) for user in ("ann", "hal", "nobody", None)] == ["trained", "kg-only", "popular", "popular"]
    assert engine.way("nobody", liked=["i00"]) == engine.way(None, disliked=["i00"]) == "adapted"
    popular = [entry.item for entry in engine.recommend("nobody", k=12)]
    counts = engine.recommender.view.popularity
    assert [int(counts[engine.recommender.view.vocabulary.items.row(item)]) for item in popular] == sorted(counts, reverse=True)


def test_a_session_is_answered_like_a_user_with_these_clicks(engine) -> None:
    session = engine.recommend(None, k=12, liked=["i03", "i07"])
    assert {entry.way for entry in session} == {"adapted"}
    assert {"i03", "i07"}.isdisjoint({entry.item for entry in session})
    assert session == engine.recommend(None, k=12, liked=["i07", "i03"])


def test_refusals_neighbours_reach_and_diversity(engine) -> None:
    plain = {entry.item: entry.score for entry in engine.recommend("ann", k=12)}
    refused = {entry.item: entry.score for entry in engine.recommend("ann", k=12, disliked=["i03"])}
    assert plain.keys() - refused.keys() == {"i03"}
    assert min(plain[item] - refused[item] for item in refused) >= 0
    near = engine.similar("i03", k=3)
    assert near[0].score == 1.0
    closest = near[0].item
    if closest in refused:
        assert plain[closest] - refused[closest] == max(plain[item] - refused[item] for item in refused)
    assert engine.recommend("ann", k=3, diversity=1.0)[0].item == engine.recommend("ann", k=1)[0].item
    assert engine.reach("i03", k=2)[0].score == 1.0


def test_vectors_are_worked_out_once_however_many_are_answered(engine, monkeypatch) -> None:
    before, model, asked = lists(engine), engine.recommender, []
    inner = model.model
    real = type(inner).factors
    monkeypatch.setattr(type(inner), "factors", lambda self, users: asked.append(len(users)) or real(self, users))
    fresh = Engine(model)
    assert lists(fresh) == before
    fresh.recommend("ann", k=3, diversity=0.5)
    if inner.factors(torch.tensor([0])) is not None:
        assert asked[:-1] == [1, model.view.n_users], "one to see how large they are, then everybody's"
    monkeypatch.setattr("metakg.engine.answers._VECTORS", 0)
    assert lists(Engine(model)) == before, "too large to keep: the same, worked out each time"


def test_lists_of_many_are_what_each_alone_would_get_and_scored_together(engine, monkeypatch) -> None:
    later = engine.adapt("ben", ["i09"]).adapt("cleo", [], ["i03"]).adapt("zoe", ["i00"])
    names, model, asked = (*EVERYBODY, "zoe", "ann"), engine.recommender.model, []
    real = type(model).score_all
    monkeypatch.setattr(type(model), "score_all", lambda self, users: asked.append(len(users)) or real(self, users))
    for at_once, parts in ((1 << 23, [8]), (5 * model.view.n_items, [4, 3, 1]), (1, [1] * 8)):
        alone = [(user, later.recommend(user, k=12)) for user in names]
        asked.clear()
        monkeypatch.setattr("metakg.engine.answers._AT_ONCE", at_once)
        found = list(later.lists(iter(names), k=12))
        assert [(user, [entry.way for entry in one]) for user, one in found] == [
            (user, [entry.way for entry in one]) for user, one in alone
        ]
        for (_, one), (_, other) in zip(found, alone, strict=True):
            assert {e.item: e.score for e in one} == pytest.approx({e.item: e.score for e in other}, abs=1e-5)
        if model.factors(torch.tensor([0])) is None:
            assert asked == parts, "who has clicked since, or is unknown, is not among them"
    with pytest.raises(ValueError, match="k is a positive whole number"):
        next(later.lists(names, k=0))
    with pytest.raises(ValueError, match="diversity lies between"):
        next(later.lists(names, diversity=2.0))
    with pytest.raises(TypeError, match="users takes several ids"):
        next(later.lists("ann"))


def test_it_takes_nothing_apart(engine) -> None:
    assert not engine.explains
    with pytest.raises(ConfigError, match="no explanations"):
        engine.explain("ann", "i09")


def test_a_bundle_carries_what_came_since(engine, tmp_path) -> None:
    later = engine.adapt("zoe", ["i00"], ["i03"]).adapt(support=arriving()).remove_item("i08")
    later.save(tmp_path / "bundle")
    again = metakg.load(tmp_path / "bundle")
    for user in (*EVERYBODY, "zoe", "iris"):
        one, other = later.recommend(user, k=12), again.recommend(user, k=12)
        assert [entry.score for entry in one] == pytest.approx([entry.score for entry in other], abs=1e-4)
        assert [entry.way for entry in one] == [entry.way for entry in other]
    gone = again.forget("kim").forget("ann", everywhere=True)
    assert gone.way("kim") == gone.way("ann") == "popular"


def test_answers_are_kept_so_many_at_most(engine, monkeypatch) -> None:
    monkeypatch.setattr("metakg.engine.answers._KEPT", 2)
    answers = LearntAnswers(engine.recommender)
    calls = []
    adapt = type(engine.recommender).adapt
    monkeypatch.setattr(type(engine.recommender), "adapt", lambda self, support: calls.append(support) or adapt(self, support))
    one, two, three = (Support.clicks("u", [item]).items.to_pylist() for item in ("i00", "i01", "i02"))
    v = engine.recommender.view.vocabulary
    from metakg.engine.answers import Asked

    def ask(items: list[str]) -> np.ndarray:
        return answers.answer(Asked("u", None, v.items.rows(items), np.empty(0, np.int32))).scores

    first = ask(one)
    assert (ask(one) == first).all()
    assert len(calls) == 1
    ask(one)[:] = 0.0
    assert (ask(one) == first).all(), "nobody can spoil what is kept"
    ask(two)
    ask(three)
    ask(one)
    assert len(calls) == 4, "the oldest had made room"


def test_refuse_and_diversify_by_hand() -> None:
    scores = np.array([4.0, 3.0, 1.0, 1.0, 1.0], np.float32)
    closeness = np.array([1.0, 0.5, 0.0, 0.0, 0.0], np.float32)
    assert refuse(scores, closeness, 0.5).tolist() == [2.5, 2.25, 1.0, 1.0, 1.0], "the middle is 1, the best 4"
    close = np.eye(3, dtype=np.float32)
    close[0, 1] = close[1, 0] = 1.0
    ranked = np.array([1.0, 0.9, 0.0], np.float32)
    assert diversify(ranked, close.__getitem__, 3, 0.0).tolist() == [0, 1, 2]
    assert diversify(ranked, close.__getitem__, 3, 0.6).tolist() == [0, 2, 1], "1 is like 0"
    assert diversify(np.ones(3, np.float32), close.__getitem__, 2, 0.5).tolist() == [0, 2]


PAPER = {
    "dim": 8,
    "dims": [8],
    "training": {"start": "xavier", "loop": {"epochs": 1}, "meta": {"tasks": 2, "scheduler": None}, "adapt": {"epochs": 0}},
}


def test_the_papers_network_forgets_too(tmp_path) -> None:
    engine = fit("metakg-paper", toy_view(tasks=True), seed=1, **PAPER)

    def edges(of: Engine, user: str) -> list[int]:
        pairs, row = of.recommender.model.edges, of.recommender.view.vocabulary.users.row(user)
        return sorted(pairs.items[pairs.users == row].tolist())

    def scores(of: Engine, user: str) -> np.ndarray:
        row = of.recommender.view.vocabulary.users.row(user)
        return of.recommender.score_all(torch.tensor([row])).numpy()

    assert edges(engine, "ann")
    gone = engine.forget("ann", everywhere=True)
    assert not (gone.recommender.model.edges.users == 0).any()
    gone.save(tmp_path / "bundle")
    assert not (load_file(tmp_path / "bundle" / "weights.safetensors")["edge_users"] == 0).any()
    item = engine.recommender.view.vocabulary.items.row("i00")
    assert not (engine.remove_item("i00").recommender.model.edges.items == item).any()

    nobody = pa.array([], pa.string())
    before = engine.adapt(support=Support(nobody, nobody))
    came = engine.adapt(support=Support(pa.array(["ben", "zoe"]), pa.array(["i09", "i03"])))
    assert edges(came, "zoe")
    back = came.forget("ben").forget("zoe")
    assert edges(back, "ben") == edges(before, "ben")
    assert edges(back, "zoe") == []
    assert np.allclose(scores(back, "ben"), scores(before, "ben"), atol=1e-6)
    assert not np.allclose(scores(came, "ben"), scores(before, "ben"), atol=1e-6)


def test_a_vector_of_ones_own_is_forgotten_with_the_clicks_it_was_made_from() -> None:
    from metakg.train.online import OnlineConfig, adapt_user

    network = fit("metakg-paper", toy_view(tasks=True), seed=1, **PAPER).recommender.model
    before = network.view
    served = network
    for user, item in (("zoe", "i03"), ("ben", "i09"), ("ann", "i09")):
        served = adapt_user(served, user, [item], OnlineConfig())
    v = served.view.vocabulary
    ann, ben, zoe = (v.users.row(name) for name in ("ann", "ben", "zoe"))
    pairs = served.view.interactions
    lost = (pairs.users == zoe) | ((pairs.users == ben) & (pairs.items == v.items.row("i09")))
    less = served.over(TrainView(v, pairs.select(~lost), served.view.graph))
    assert less.vectors.moved == (zoe, ann), "ann's clicks are all there, and zoe has no row of her own"
    users = torch.tensor([ann, ben, zoe])
    found, served_scores, first = less.score_all(users), served.score_all(users), network.score_all(users[:2])
    assert torch.allclose(found[0], served_scores[0], atol=1e-6)
    assert torch.allclose(found[1], first[1], atol=1e-6)
    assert not torch.allclose(found[2], served_scores[2], atol=1e-6)
    assert before.vocabulary.users.row("zoe") is None


@pytest.mark.parametrize("ablation", ["no-knowledge", "no-collaborative", "base"])
def test_an_ablated_network_adapts_as_such_from_a_bundle_too(ablation: str, tmp_path) -> None:
    settings = {**PAPER, "training": {**PAPER["training"], "ablation": ablation, "adapt": {"epochs": 3, "learning_rate": 0.05}}}
    engine = fit("metakg-paper", toy_view(tasks=True), seed=1, **settings)
    engine.save(tmp_path / "bundle")
    again = metakg.load(tmp_path / "bundle")
    assert again.recommender.model.config == engine.recommender.model.config
    support = Support(pa.array(["zoe", "max"]), pa.array(["i00", "i03"]))
    users = torch.arange(10)
    one, other = (of.adapt(support=support).recommender.score_all(users) for of in (engine, again))
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_what_was_clicked_comes_last_if_it_is_shown(engine, diversity) -> None:
    adapted = engine.adapt("ben", ["i09"], ["i03"]).adapt("zoe", ["i07"])
    for user in ("ann", "ben", "zoe"):
        new = [entry.item for entry in adapted.recommend(user, k=12, diversity=diversity)]
        all_of_them = [entry.item for entry in adapted.recommend(user, k=12, filter_seen=False, diversity=diversity)]
        assert all_of_them[: len(new)] == new
        assert len(all_of_them) == 12 - (user == "ben"), "refused is refused"
    assert adapted.recommend("ann", k=3, filter_seen=False) == adapted.recommend("ann", k=3)
