"""Models that are adapted by their own steps: the same promises as the overlay of profiles, whatever the model."""

from __future__ import annotations

import numpy as np
import pytest

import metakg
from metakg.data import Support
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
