"""Clicks, refusals, forgetting and removing: what changes, for whom, and what comes back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metakg
from metakg.data import Support
from metakg.engine import Engine, fit
from metakg.errors import DataError
from metakg.testing import arriving, toy_view

PERSONAL = ("item-knn", "kg-knn", "walk", "blend", "metakg")
EVERYBODY = ("ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hal", "nobody")


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    from metakg.models.metakg import MetaKG, MetaKGConfig
    from metakg.rng import torch_generator

    view = toy_view()
    made = {name: fit(name, view) for name in (*PERSONAL[:4], "popularity")}
    config = MetaKGConfig(candidates=8, own_items=3, hidden=8, max_items=6)
    made["metakg"] = Engine(MetaKG(config, view, torch_generator(1, "init/metakg")).eval())
    return made


def lists(engine: Engine, users=EVERYBODY, **how) -> dict[str, list]:
    return {user: engine.recommend(user, k=12, **how) for user in users}


@pytest.mark.parametrize("model", [*PERSONAL, "popularity"])
def test_a_click_changes_one_user_and_nobody_else_to_the_bit(model: str, engines) -> None:
    engine = engines[model]
    before = lists(engine)
    adapted = engine.adapt("ben", ["i09"]).adapt("stranger", ["i00"], ["i01"])
    after = lists(adapted)
    assert {user for user in EVERYBODY if after[user] != before[user]} == {"ben"}
    assert lists(engine) == before, "the engine stayed as it was"
    assert "i09" not in {entry.item for entry in after["ben"]}
    assert adapted.recommender is engine.recommender, "no copy of the world"


@pytest.mark.parametrize("model", PERSONAL)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    clicks=st.permutations(["i00", "i03", "i04", "i09", "i11"]),
    cut=st.integers(0, 5),
    again=st.lists(st.sampled_from(["i00", "i09"])),
    user=st.sampled_from(["ann", "new"]),
)
def test_order_portions_and_repeats_do_not_matter_and_forgetting_undoes_all(model, engines, clicks, cut, again, user) -> None:
    engine = engines[model]
    adapted = engine.adapt(user, clicks[:cut]).adapt(user, clicks[cut:]).adapt(user, again)
    at_once = engine.adapt(user, sorted(clicks))
    assert adapted.recommend(user, k=12) == at_once.recommend(user, k=12)
    assert adapted.recommend(user, k=12) == engine.recommend(user, k=12, liked=clicks), "as if he had clicked"
    back = adapted.forget(user)
    assert lists(back, (user, "ben")) == lists(engine, (user, "ben"))
    assert back.adapted == engine.adapted == frozenset()
    assert back.counts == engine.counts


@pytest.mark.parametrize("model", PERSONAL)
def test_a_refusal_hides_the_item_and_lets_its_neighbours_fall(model: str, engines) -> None:
    engine = engines[model]
    liked = ["i03", "i07"]  # a space opera by Otto Lind, a ghost story by Pearl Okafor
    before = {entry.item: entry.score for entry in engine.recommend(None, k=12, liked=liked)}
    found = engine.recommend(None, k=12, liked=liked, disliked=["i04"])
    after = {entry.item: entry.score for entry in found}
    assert before.keys() - after.keys() == {"i04"}
    lost = {item: before[item] - score for item, score in after.items()}
    assert max(lost, key=lost.get) in ("i05", "i06"), "by the same author, from the same crowd as what was refused"
    assert min(lost.values()) == 0, "what has nothing to do with it loses nothing"
    shown = engine.recommend(None, k=12, liked=liked, disliked=["i04"], filter_seen=False)
    assert "i04" not in {entry.item for entry in shown}, "refused is refused"
    assert engine.adapt("zoe", liked, ["i04"]).recommend("zoe", k=12) == found
    assert {entry.way for entry in found} <= {"adapted", "popular"}


def test_a_refusal_without_likes_re_ranks_what_is_popular(engines) -> None:
    engine = engines["kg-knn"]
    assert engine.way("zoe") == "popular"
    plain = [entry.item for entry in engine.recommend("zoe", k=12)]
    refused = [entry.item for entry in engine.recommend("zoe", k=12, disliked=["i03"])]
    assert engine.way("zoe", disliked=["i03"]) == "adapted"
    assert plain.index("i05") < refused.index("i05")
    assert plain.index("i04") < refused.index("i04")
    assert "i03" not in refused


def test_a_liked_item_that_is_refused_later_is_no_reason_any_more(engines) -> None:
    engine = engines["kg-knn"].adapt("zoe", ["i03", "i07"]).adapt("zoe", [], ["i03"])
    starts = {path.start for item in ("i00", "i04") for path in engine.explain("zoe", item).paths}
    assert starts == {"i07"}
    engine = engines["kg-knn"].adapt("ben", [], ["i03"])  # clicked in training
    assert all(path.start != "i03" for path in engine.explain("ben", "i10", limit=50).paths)


def test_lists_can_be_limited_and_widened(engines) -> None:
    engine = engines["blend"]
    assert [entry.item for entry in engine.recommend("ann", k=12, allow=["i05", "i08", "unheard-of"])] != []
    assert {entry.item for entry in engine.recommend("ann", k=12, allow=["i05", "i08"])} == {"i05", "i08"}
    assert engine.recommend("ann", k=12, allow=[]) == []
    assert "i08" not in {entry.item for entry in engine.recommend("ann", k=12, deny=["i08", "unheard-of"])}
    assert {entry.item for entry in engine.recommend("ann", k=12, filter_seen=False)} >= {"i00", "i01", "i02", "i07"}
    last = [entry.item for entry in engine.recommend("ann", k=12, filter_seen=False)][-4:]
    assert set(last) == {"i00", "i01", "i02", "i07"}, "what he has seen comes last"
    assert engine.unknown(["i00", "unheard-of", "i05", "me-neither"]) == ["unheard-of", "me-neither"]
    assert engine.recommend("ann", liked=["unheard-of"], disliked=["me-neither"]) == engine.recommend("ann")


@pytest.mark.parametrize("model", PERSONAL)
def test_diversity_trades_score_for_variety(model: str, engines) -> None:
    engine = engines[model]
    liked = ["i00", "i03"]
    plain = engine.recommend(None, k=4, liked=liked)
    assert engine.recommend(None, k=4, liked=liked, diversity=0.0) == plain
    varied = engine.recommend(None, k=4, liked=liked, diversity=0.9)
    assert varied[0] == plain[0], "the best stays the best"
    assert {entry.item for entry in varied} != {entry.item for entry in plain}
    with pytest.raises(ValueError, match="between 0 and 1"):
        engine.recommend(None, diversity=1.5)


def test_an_item_that_is_unknown_counts_from_the_moment_it_arrives(engines) -> None:
    engine = engines["kg-knn"].adapt("zoe", ["i90"])
    assert engine.unknown(["i90"]) == ["i90"]
    assert engine.way("zoe") == "popular"
    news = arriving()
    facts = Support(pa.array([], pa.string()), pa.array([], pa.string()), news.arrivals, news.triples, labels=news.labels)
    later = engine.adapt(support=facts)
    assert later.way("zoe") == "adapted"
    assert later.recommend("zoe", k=1)[0].item in {"i00", "i01", "i02", "i07"}, "ghost stories, like i90"
    assert later.recommend("zoe", k=12)[0] == later.recommend(None, k=12, liked=["i90"])[0]
    assert later.adapted == {"zoe"}, "the overlay stays an overlay"


def test_a_new_item_comes_in_by_its_facts_alone(engines) -> None:
    facts = pa.table({"head": ["x1", "x1"], "relation": ["written_by", "genre"], "tail": ["e1", "e4"]})
    item = pa.table({"item": ["new-book"], "entity": ["x1"], "label": ["Tin Moon Eclipse"]})
    nobody = pa.array([], pa.string())
    for model in ("kg-knn", "walk", "blend", "metakg"):
        engine = engines[model].adapt(support=Support(nobody, nobody, item, facts))
        found = {entry.item: entry for entry in engine.recommend(None, k=12, liked=["i03"])}
        assert found["new-book"].way == "adapted", model
        path = engine.explain(None, "new-book", liked=["i03"]).paths[0]
        assert str(path).startswith("liked Tin Moon Rising -> written by Otto Lind -> Tin Moon Eclipse") or "genre" in str(path)
        assert {entry.id for entry in engine.reach("new-book", k=3)} & {"ben", "dan", "finn"}
        assert engine.similar("new-book", k=1)[0].way == "kg-only"


def test_a_new_entity_joins_what_it_is_told_of(engines) -> None:
    nobody = pa.array([], pa.string())
    facts = pa.table({"head": ["e:i06", "e:i09"], "relation": ["inspired_by"] * 2, "tail": ["e99"] * 2})
    labels = pa.table({"entity": ["e99"], "label": ["The Great Storm"]})
    engine = engines["kg-knn"].adapt(support=Support(nobody, nobody, triples=facts, labels=labels))
    assert str(engine.explain(None, "i09", liked=["i06"]).paths[0]) == (
        "liked Letters to Vesta -> inspired_by The Great Storm -> Salt and Lanterns"
    )
    assert [entry.label for entry in engine.search("storm", kind="entity")] == ["The Great Storm"]


@pytest.mark.parametrize("model", ["kg-knn", "blend", "metakg"])
def test_forgetting_undoes_clicks_of_a_support_too(model: str, engines) -> None:
    engine = engines[model]
    came = engine.adapt(support=Support(pa.array(["ann", "zoe"]), pa.array(["i09", "i03"])))
    assert came.adapted == {"ann", "zoe"}
    assert came.way("ann") == came.way("zoe") == "adapted"
    back = came.forget("ann").forget("zoe")
    assert back.adapted == frozenset()
    assert back.way("zoe") == "popular"
    assert lists(back) == lists(engine)
    assert back.recommender.view.interactions.users.tolist() == engine.recommender.view.interactions.users.tolist()


def test_what_training_had_before_is_not_forgotten_with_what_arrived(engines) -> None:
    engine = engines["item-knn"]
    clicked = [item for item in ("i00", "i01", "i02") if item not in {e.item for e in engine.recommend("ann", k=12)}]
    came = engine.adapt(support=Support(pa.array(["ann"] * 2), pa.array([clicked[0], "i09"])))
    again = came.adapt(support=Support(pa.array(["ann"]), pa.array(["i09"])))
    pairs = engine.recommender.view.interactions
    for changed in (came, again):
        back = changed.forget("ann")
        assert sorted(back.recommender.view.interactions.keys(12)) == sorted(pairs.keys(12))
        assert clicked[0] not in {entry.item for entry in back.recommend("ann", k=12)}
        assert "i09" in {entry.item for entry in back.recommend("ann", k=12)}
        assert back.counts == engine.counts
    same = engine.adapt(support=Support(pa.array(["ann"]), pa.array([clicked[0]])))
    assert same.adapted == frozenset()


@pytest.mark.parametrize("model", ["walk", "blend", "metakg"])
def test_forgetting_everywhere_leaves_no_trace(model: str, engines, tmp_path) -> None:
    engine = engines[model].adapt("ann", ["i09"])
    gone = engine.forget("ann", everywhere=True)
    assert gone.way("ann") == "popular"
    assert gone.recommend("ann", k=12) == gone.recommend("nobody", k=12)
    assert gone.found("ann", "user") is None
    assert gone.search("ann", kind="user") == []
    assert gone.search("forgotten", kind="user") == []
    assert gone.counts["users"] == engine.counts["users"] - 1
    view = gone.recommender.view
    assert not (view.interactions.users == 0).any()
    assert not (view.graph.user.heads == 0).any()
    gone.save(tmp_path / "bundle")
    names = pa.parquet.read_table(tmp_path / "bundle" / "data" / "users.parquet")
    assert "ann" not in names["id"].to_pylist()
    assert "Ann" not in names["label"].to_pylist()
    assert b"ann" not in (tmp_path / "bundle" / "clicks.parquet").read_bytes()
    again = metakg.load(tmp_path / "bundle")
    assert lists(again) == lists(gone)
    back = gone.adapt("ann", ["i00"])  # a new user by that name
    assert back.way("ann") == "adapted"
    assert engine.forget("nobody", everywhere=True) is engine
    assert engine.way("ann") == "adapted", "the old engine stays as it was"


@pytest.mark.parametrize("model", [*PERSONAL, "popularity"])
def test_a_removed_item_is_never_shown_or_used(model: str, engines, tmp_path) -> None:
    engine = engines[model].adapt("zoe", ["i07", "i08"])
    less = engine.remove_item("i07")
    for user in (*EVERYBODY, "zoe"):
        assert "i07" not in {entry.item for entry in less.recommend(user, k=12, filter_seen=False)}
        if less.explains:
            told = [node.id for path in less.explain(user, "i02", limit=50).paths for node in path.nodes]
            assert "i07" not in told
    assert "i07" not in {entry.item for entry in less.similar("i00", k=12)}
    assert less.search("clockmaker") == []
    assert less.found("i07") is None
    assert less.unknown(["i07"]) == ["i07"]
    assert less.counts["items"] == engine.counts["items"] - 1
    with pytest.raises(DataError, match="item 'i07': found an unknown id"):
        less.facts("i07")
    assert less.remove_item("i07") is less
    assert less.recommend("zoe", k=3, allow=["i07"]) == []
    less.save(tmp_path / "bundle")
    assert lists(metakg.load(tmp_path / "bundle")) == lists(less)
    back = less.adapt(support=Support(pa.array(["dan"]), pa.array(["i07"])))
    assert back.unknown(["i07"]) == []


def test_what_it_knows(engines) -> None:
    engine = engines["blend"].adapt("zoe", ["i00"]).adapt("ann", ["i05"])
    assert engine.counts == {"users": 9, "items": 12, "entities": 20, "relations": 7, "interactions": 26, "triples": 32}
    found = engine.search("tin m")
    assert [entry.label for entry in found] == ["Tin Moon Rising", "Tin Moon Waning", "Tin Moon Falling"]
    assert [entry.popularity for entry in found] == sorted((entry.popularity for entry in found), reverse=True)
    assert [entry.id for entry in engine.search("quiet", limit=1)] == ["i00"]
    assert [entry.label for entry in engine.search("otto", kind="entity")] == ["Otto Lind"]
    assert [entry.label for entry in engine.search("WRITTEN", kind="relation")] == ["written by"]
    assert [(entry.id, entry.popularity) for entry in engine.search("cle", kind="user")] == [("cleo", 4)]
    assert engine.found("zoe", "user").popularity == 1
    facts = [(fact.relation, fact.inverse, fact.entity_label, fact.is_item) for fact in engine.facts("i07")]
    assert facts == [
        ("written_by", False, "Pearl Okafor", False),
        ("genre", False, "Ghost story", False),
        ("set_in", False, "Lisbon", False),
    ]
    assert len(engine.facts("i07", limit=2)) == 2
    assert engine.facts("i11") == []


def test_facts_between_items_are_told_from_both_sides() -> None:
    nobody = pa.array([], pa.string())
    sequel = pa.table({"head": ["e:i01"], "relation": ["follows"], "tail": ["e:i00"]})
    engine = fit("kg-knn", toy_view()).adapt(support=Support(nobody, nobody, triples=sequel))
    last = engine.facts("i00")[-1]
    assert (last.relation, last.inverse, last.entity, last.is_item) == ("follows", True, "i01", True)


@pytest.mark.parametrize("model", PERSONAL)
def test_neighbours_and_reach(model: str, engines) -> None:
    engine = engines[model]
    near = engine.similar("i03", k=3)
    assert {entry.item for entry in near} & {"i04", "i05"}
    assert near[0].score == 1.0
    assert [entry.score for entry in near] == sorted((entry.score for entry in near), reverse=True)
    assert "i03" not in {entry.item for entry in near}
    reached = engine.adapt("zoe", ["i03", "i05"]).reach("i04", k=3)
    assert reached[0].score == 1.0
    assert {"ben"}.isdisjoint({entry.id for entry in reached}), "he has clicked it"
    assert "zoe" in {entry.id for entry in reached}, "so has nobody told her"
    with pytest.raises(DataError, match="unknown id"):
        engine.similar("unheard-of")
    with pytest.raises(DataError, match="unknown id"):
        engine.reach("unheard-of")


def test_popularity_has_no_neighbours(engines) -> None:
    assert engines["popularity"].similar("i03") == []
    assert engines["popularity"].reach("i03") == []


@pytest.mark.parametrize("model", [*PERSONAL, "popularity"])
def test_a_bundle_carries_the_overlay(model: str, engines, tmp_path) -> None:
    engine = (
        engines[model].adapt("zoe", ["i00", "i90"], ["i03"]).adapt("ann", ["i09"]).adapt(support=arriving()).remove_item("i08")
    )
    engine.save(tmp_path / "bundle")
    again = metakg.load(tmp_path / "bundle")
    users = (*EVERYBODY, "zoe", "iris", "joy")
    assert lists(again, users) == lists(engine, users)
    assert dict(again.overlay.items()) == dict(engine.overlay.items())
    assert (again.adapted, again.removed, again.counts) == (engine.adapted, engine.removed, engine.counts)
    if engine.explains:
        assert again.explain("zoe", "i02") == engine.explain("zoe", "i02")
    back, expected = again.forget("iris").forget("zoe"), engine.forget("iris").forget("zoe")
    assert lists(back, users) == lists(expected, users)


def test_arguments_that_make_no_sense_are_refused(engines) -> None:
    engine = engines["walk"]
    with pytest.raises(ValueError, match="either a user"):
        engine.adapt("ann", support=arriving())
    with pytest.raises(ValueError, match="names its own clicks"):
        engine.adapt(liked=["i00"], support=arriving())


def test_adapting_takes_time_for_this_users_clicks_only(engines) -> None:
    engine = engines["kg-knn"]
    for n in range(3000):
        engine = engine.adapt(f"u{n}", ["i00"])
    assert len(engine.overlay) == 3000
    largest = max(len(shard) for shard in engine.overlay._shards)
    assert largest < 40, "a change copies so many entries, not 3,000"
    assert engine.recommend("u7", k=3) == engines["kg-knn"].recommend(None, k=3, liked=["i00"])
    assert np.isfinite([entry.score for entry in engine.recommend("u7", k=12)]).all()


def test_facts_about_users_go_with_the_item_that_they_name(engines) -> None:
    told = Support(
        pa.array([], pa.string()),
        pa.array([], pa.string()),
        user_triples=pa.table({"head": ["hal"], "relation": ["owns"], "tail": [toy_view().vocabulary.entities.id(7)]}),
    )
    engine = engines["walk"].adapt(support=told)
    n = len(engine.recommender.view.graph.user)
    less = engine.remove_item("i07")
    assert len(less.recommender.view.graph.user) == n - 1
    back = less.adapt(support=Support(pa.array(["dan"]), pa.array(["i07"])))
    assert len(back.recommender.view.graph.user) == n - 1, "it comes back as a new item, with the facts told then"


def test_no_id_from_outside_is_taken_for_a_forgotten_user(engines) -> None:
    engine = engines["blend"].forget("ann", everywhere=True)
    n = engine.counts["users"]
    after = engine.adapt(support=Support(pa.array(["forgotten:boy"]), pa.array(["i00"])))
    assert "forgotten:boy" in after.users
    assert after.counts["users"] == n + 1
    assert [entry.id for entry in after.search("forgotten", kind="user")] == ["forgotten:boy"]
