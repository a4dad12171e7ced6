"""The engine: external ids in, external ids out, and every answer says how it was made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import metakg
from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, TrainView, Triples, Vocabulary
from metakg.engine import Engine, fit
from metakg.errors import ConfigError, DataError
from metakg.models.registry import FLOORS, MODELS, config_for
from metakg.testing import toy_view


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@pytest.fixture
def view() -> TrainView:
    """Ann clicked a and b, Bob b and c, Cleo nothing (but lives where c is sold); a, b by x; c, d by y."""
    vocabulary = Vocabulary(
        IdMap(["ann", "bob", "cleo"]),
        IdMap(["a", "b", "c", "d"], ["Apple", "Berry", "Cherry", None]),
        IdMap(["a", "b", "c", "d", "x", "y"], [None, None, None, None, "Xavier", "Yves"]),
        IdMap(["by", "lives"], ["made by", "lives in"]),
    )
    graph = KnowledgeGraph(Triples(rows(0, 1, 2, 3), rows(0, 0, 0, 0), rows(4, 4, 5, 5)), Triples(rows(2), rows(1), rows(5)))
    return TrainView(vocabulary, Interactions(rows(0, 0, 1, 1), rows(0, 1, 1, 2)), graph)


@pytest.mark.parametrize("model", FLOORS)
def test_seen_items_are_filtered_unless_asked_for(model: str, view: TrainView) -> None:
    engine = fit(model, view)
    assert {entry.item for entry in engine.recommend("ann", k=4)} == {"c", "d"}
    assert len(engine.recommend("ann", k=4, filter_seen=False)) == 4


@pytest.mark.parametrize("model", FLOORS)
def test_scores_fall_and_of_equal_ones_the_popular_comes_first(model: str, view: TrainView) -> None:
    found = fit(model, view).recommend("bob", k=4)
    rows = [view.vocabulary.items.row(entry.item) for entry in found]
    keys = [(-entry.score, -view.popularity[row], row) for entry, row in zip(found, rows, strict=True)]
    assert keys == sorted(keys)


def test_every_answer_says_how_it_was_made(view: TrainView) -> None:
    engine = fit("blend", view)
    ways = {user: {entry.item: entry.way for entry in engine.recommend(user)} for user in ("ann", "cleo", "nobody")}
    assert ways["ann"] == {"c": "trained", "d": "popular"}, "nothing speaks for d: it fills the list"
    assert ways["cleo"] == {"c": "kg-only", "d": "kg-only", "b": "popular", "a": "popular"}
    assert set(ways["nobody"].values()) == {"popular"}
    assert engine.adapt("nobody", ["c"]).recommend("nobody", k=1)[0].way == "adapted"


def test_an_unknown_user_gets_the_popular_items(view: TrainView) -> None:
    assert fit("walk", view).recommend("nobody", k=1)[0].item == "b"


def test_adapting_follows_the_click_and_leaves_the_engine_as_it_was(view: TrainView) -> None:
    engine = fit("kg-knn", view)
    before = engine.recommend("ann", k=4)
    assert engine.adapt("new", ["c"]).recommend("new", k=1)[0].item == "d"  # c and d are both made by Yves
    assert engine.recommend("ann", k=4) == before
    assert engine.way("new") == "popular"


def test_a_new_item_is_found_through_its_facts_alone(view: TrainView) -> None:
    import pyarrow as pa

    arrived = Support(
        pa.array(["new"]),
        pa.array(["a"]),
        pa.table({"item": ["e"], "entity": ["e"], "label": ["Elderberry"]}),
        pa.table({"head": ["e"], "relation": ["by"], "tail": ["x"]}),
    )
    engine = fit("kg-knn", view).adapt(support=arrived)
    best = {entry.item: entry for entry in engine.recommend("new", k=2)}
    assert best.keys() == {"b", "e"}
    assert best["e"].label == "Elderberry"
    assert str(engine.explain("new", "e").paths[0]) == "liked Apple -> made by Xavier -> Elderberry"


def test_what_arrives_is_told_in_plain_values(view: TrainView) -> None:
    arrived = Support.of(
        clicks=[("new", "a")], items={"e": "Elderberry", "f": None}, facts=[("e", "by", "x"), ("x", "near", "f")]
    )
    engine = fit("kg-knn", view).adapt(support=arrived)
    best = {entry.item: entry for entry in engine.recommend("new", k=2)}
    assert best["e"].label == "Elderberry"
    assert str(engine.explain("new", "e").paths[0]) == "liked Apple -> made by Xavier -> Elderberry"
    assert [(fact.relation, fact.entity) for fact in engine.facts("f")] == [("near", "x")]
    nothing = Support.of()
    assert len(nothing) == 0
    assert fit("kg-knn", view).adapt(support=nothing).recommend("ann", k=3) == fit("kg-knn", view).recommend("ann", k=3)


def test_explanations_read_as_sentences_and_shares_stay_below_one(view: TrainView) -> None:
    engine = fit("blend", view)
    found = engine.explain("ann", "c")
    assert found.label == "Cherry"
    assert str(found.paths[0]) == "liked Berry -> also liked by 1 other person -> Cherry"
    assert 0 < sum(path.share for path in found.paths) <= 1.0 + 1e-6
    assert engine.explain("nobody", "c").paths == ()


def test_explaining_an_unknown_item_says_what_to_do(view: TrainView) -> None:
    with pytest.raises(DataError, match="item 'zzz': found an unknown id; expected an item of this recommender"):
        fit("blend", view).explain("ann", "zzz")


@pytest.mark.parametrize("model", ["blend", "walk", "popularity"])
def test_the_reasons_of_a_list_are_those_of_each_item(view: TrainView, model: str) -> None:
    engine = fit(model, view).adapt("zoe", ["a"], ["d"])
    shown = [entry.item for entry in engine.recommend("zoe", 4, liked=["c"])]
    apart = [engine.explain("zoe", item, 2, liked=["c"]).paths for item in shown]
    assert engine.reasons("zoe", shown, 2, liked=["c"]) == apart
    assert any(apart) == (model != "popularity")
    assert engine.reasons("zoe", []) == []
    with pytest.raises(DataError, match="item 'zzz'"):
        engine.reasons("zoe", [*shown, "zzz"])


@pytest.mark.parametrize("count", [0, -1, 2.5])
@pytest.mark.parametrize(
    ("ask", "about", "name"),
    [
        ("recommend", "ann", "k"),
        ("similar", "a", "k"),
        ("reach", "a", "k"),
        ("search", "a", "limit"),
        ("facts", "a", "limit"),
    ],
)
def test_what_is_no_number_of_answers_is_refused(view: TrainView, ask: str, about: str, name: str, count: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is a positive whole number, not {count}"):
        getattr(fit("blend", view), ask)(about, count)


def test_wrong_arguments_are_value_errors(view: TrainView) -> None:
    engine = fit("popularity", view)
    with pytest.raises(ValueError, match="either a user"):
        engine.adapt()


def test_unknown_models_and_settings_are_refused(view: TrainView) -> None:
    with pytest.raises(ConfigError, match="expected one of blend"):
        fit("blendd", view)
    with pytest.raises(ConfigError, match=r"setting stepps of walk.*doctor walk"):
        fit("walk", view, stepps=3)
    with pytest.raises(ConfigError, match=r"walk\.steps"):
        fit("blend", view, walk={"steps": 0})


@pytest.mark.parametrize("model", sorted(FLOORS))
def test_a_bundle_answers_as_the_engine_did(model: str, view: TrainView, tmp_path) -> None:
    engine = fit(model, view).adapt("new", ["c", "brand-new"])
    engine.save(tmp_path / "bundle")
    again = metakg.load(tmp_path / "bundle")
    for user in ("ann", "bob", "cleo", "new", "nobody"):
        assert again.recommend(user, k=5) == engine.recommend(user, k=5)
        assert again.way(user) == engine.way(user)
    assert again.explain("new", "d") == engine.explain("new", "d")
    assert isinstance(again, Engine)


def test_registry_and_settings_name_the_same_models() -> None:
    assert set(FLOORS) <= set(MODELS)
    for name in MODELS:
        assert config_for(name).kind == name


def test_withdrawing_a_click_leaves_the_others(view: TrainView) -> None:
    engine = fit("kg-knn", view).adapt("new", ["c", "a"], ["b"])
    less = engine.withdraw("new", ["a", "b", "zzz"])
    assert (less.overlay["new"].liked, less.overlay["new"].disliked) == (("c",), ())
    assert engine.overlay["new"].liked == ("a", "c")


def test_removed_facts_lead_nowhere_any_more(view: TrainView) -> None:
    engine = fit("kg-knn", view).adapt("new", ["c"])
    less = engine.remove_facts([("d", "by", "y"), ("no", "such", "fact")])
    assert engine.recommend("new", k=1)[0].item == "d"
    assert engine.recommend("new", k=1)[0].way == "adapted"
    assert {entry.way for entry in less.recommend("new", k=4)} == {"popular"}
    assert [fact.entity for fact in less.facts("d")] == []
    assert less.remove_facts([("d", "by", "y")]) is less
    every = [(head, "by", tail) for head in ("a", "b", "c", "d") for tail in ("x", "y")]
    assert not len(engine.remove_facts(every).recommender.view.graph.entity)
    assert engine.remove_facts([]) is engine


def test_new_labels_are_shown_and_found(view: TrainView) -> None:
    engine = fit("kg-knn", view)
    engine.search("xav", kind="entity")  # the index is there before the change
    named = engine.rename(items={"d": "Durian", "zzz": "Nothing"}, entities={"x": "Xaver"}, users={"ann": "Anna"})
    assert [found.label for found in named.search("duri")] == ["Durian"]
    assert [found.id for found in named.search("xaver", kind="entity")] == ["x"]
    assert [found.id for found in named.search("anna", kind="user")] == ["ann"]
    assert {fact.entity_label for fact in named.facts("a")} == {"Xaver"}
    assert [entry.label for entry in named.recommend("bob", k=4) if entry.item == "d"] == ["Durian"]
    assert engine.recommend("bob", k=4) == [
        replace(e, label="d" if e.item == "d" else e.label) for e in named.recommend("bob", k=4)
    ]
    assert named.rename(items={"d": "Durian"}) is named


def test_taking_many_away_at_once_is_taking_them_away_one_by_one(view: TrainView) -> None:
    engine = fit("blend", view).adapt("new", ["c"]).adapt("bob", ["d"])
    at_once = engine.without(users=["ann", "new", "nobody", "ann"], items=["b", "zzz"])
    one_by_one = engine.forget("ann", everywhere=True).forget("new", everywhere=True).remove_item("b")
    for user in ("ann", "bob", "cleo", "new"):
        assert at_once.recommend(user, k=4, filter_seen=False) == one_by_one.recommend(user, k=4, filter_seen=False)
    assert (at_once.counts, at_once.removed, at_once.adapted) == (one_by_one.counts, one_by_one.removed, one_by_one.adapted)
    assert engine.without(users=["nobody"], items=["zzz"]) is engine


@pytest.mark.parametrize("model", ["blend", "kg-knn", "popularity"])
def test_whom_an_item_reaches_is_what_asking_each_user_alone_says(model: str) -> None:
    """The slow way: one after the other, each by the mean closeness of his clicks, old and new."""
    engine = fit(model, toy_view()).adapt("ann", ["i09", "i00"]).adapt("zoe", ["i03", "nowhere"], ["i05"]).remove_item("i02")
    engine = engine.adapt("kim", ["i02"]).adapt("iris", [], ["i04"]).adapt("zac", ["i03"])
    view = engine.recommender.view
    v, removed = view.vocabulary, view.vocabulary.items.row("i02")
    for item in [name for name in v.items.array.to_pylist() if name != "i02"]:
        row = v.items.row(item)
        close = engine._base.answers.closeness(np.array([row], np.int32))
        close[[row, removed]] = 0.0
        wanted = {}
        for user in {*v.users.array.to_pylist(), *engine.overlay}:
            place, clicks = v.users.row(user), engine.overlay[user]
            trained = [] if place is None else view.history[[place]].tocoo().col.tolist()
            theirs = {*trained, *(v.items.row(name) for name in clicks.liked)} - {None, removed}
            if theirs and row not in theirs and item not in clicks.disliked:
                wanted[user] = float(np.mean([close[i] for i in theirs]))
        best = sorted(((user, mean) for user, mean in wanted.items() if mean > 0), key=lambda pair: -pair[1])
        for k in (1, 3, 20):
            found = engine.reach(item, k)
            assert [who.score * best[0][1] for who in found] == pytest.approx([mean for _, mean in best[:k]], rel=1e-5)
            assert [wanted[who.id] for who in found] == pytest.approx([mean for _, mean in best[:k]], rel=1e-5)


@pytest.mark.parametrize("model", ["blend", "kg-knn", "item-knn"])
def test_a_diverse_list_compares_only_with_what_is_chosen(model: str, monkeypatch) -> None:
    """The slow way, each two compared before anything is chosen, gives the same list."""
    engine = fit(model, toy_view())
    answers, asked = engine._base.answers, []
    closeness = answers.closeness
    for diversity in (0.2, 0.5, 0.9):
        plain = engine.recommend("ann", 12)
        rows = engine.recommender.view.vocabulary.items.rows([entry.item for entry in plain])
        close = np.stack([closeness(rows[[place]])[rows] for place in range(len(rows))])
        scores = np.array([entry.score for entry in plain])
        relevance = (scores - scores.min()) / (scores.max() - scores.min())
        chosen: list[int] = []
        for _ in range(4):
            nearest = close[chosen].max(axis=0) if chosen else np.zeros(len(rows))
            value = (1 - diversity) * relevance - diversity * nearest
            value[chosen] = -np.inf
            chosen.append(int(value.argmax()))
        monkeypatch.setattr(answers, "closeness", lambda items: asked.append(items) or closeness(items))
        assert engine.recommend("ann", 4, diversity=diversity) == [plain[place] for place in chosen]
        monkeypatch.undo()
    assert len(asked) == 3 * 3, "once for each that is chosen and not last"


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda e: e.recommend(5), "ids are text: give '5', not 5"),
        (lambda e: e.recommend("u", liked=[7]), "ids are text: give '7' in liked, not 7"),
        (lambda e: e.recommend("u", liked="i7"), r"liked takes several ids: give \['i7'\], not 'i7'"),
        (lambda e: e.recommend("u", disliked="i7"), "disliked takes several ids"),
        (lambda e: e.recommend("u", allow="i7"), "allow takes several ids"),
        (lambda e: e.recommend("u", deny=[7]), "ids are text: give '7', not 7"),
        (lambda e: e.adapt(5, ["i7"]), "ids are text: give '5' in user, not 5"),
        (lambda e: e.adapt("u", "i7"), "liked takes several ids"),
        (lambda e: e.adapt("u", disliked=[None]), "ids are text: give 'None' in disliked, not None"),
        (lambda e: e.forget(5), "ids are text"),
        (lambda e: e.withdraw("u", "i7"), "items takes several ids"),
        (lambda e: e.without(users="ab"), "users takes several ids"),
        (lambda e: e.without(items=[7]), "ids are text"),
        (lambda e: e.unknown("i7"), "ids takes several ids"),
        (lambda e: e.similar(7), "ids are text"),
        (lambda e: e.explain("u", 7), "ids are text"),
    ],
)
def test_numbers_and_one_text_for_several_are_no_ids(view: TrainView, ask, what: str) -> None:
    """They would be ids that nothing is known of, and the answer the popular items, without a word."""
    with pytest.raises(TypeError, match=what):
        ask(fit("kg-knn", view))
