"""The floors against values worked out by hand and against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, TrainView, Triples, Vocabulary
from metakg.models.kg_knn import Facts, relation_lift
from metakg.models.profile import ProfileRecommender
from metakg.models.reasons import ENTITY
from metakg.models.registry import FLOORS, build, config_for

# Three users, four items a b c d, entities x y behind them. d has facts but no click.
#   u0: a b     u1: a c     u2: b
#   a -by-> x   c -by-> x   d -by-> x   b -in-> y   d -in-> y


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@pytest.fixture
def view() -> TrainView:
    vocabulary = Vocabulary(
        IdMap(["u0", "u1", "u2"]), IdMap(["a", "b", "c", "d"]), IdMap(["ea", "eb", "ec", "ed", "x", "y"]), IdMap(["by", "in"])
    )
    graph = KnowledgeGraph(Triples(rows(0, 2, 3, 1, 3), rows(0, 0, 0, 1, 1), rows(4, 4, 4, 5, 5)), Triples.empty())
    return TrainView(vocabulary, Interactions(rows(0, 0, 1, 1, 2), rows(0, 1, 0, 2, 1)), graph)


def fitted(name: str, view: TrainView, **settings: object) -> ProfileRecommender:
    model = build(config_for(name, settings), view, seed=1)
    assert isinstance(model, ProfileRecommender)
    return model


def scores(model: ProfileRecommender, *users: int) -> np.ndarray:
    return model.score_all(torch.tensor(users)).numpy()


def test_popularity_counts_users_and_ranks_seen_items_last(view: TrainView) -> None:
    model = fitted("popularity", view)
    # clicks: a 2, b 2, c 1, d 0, divided by the largest; u2 has seen b
    assert scores(model, 2).tolist() == [[1.0, -1.0, 0.5, 0.0]]


def test_item_knn_is_the_cosine_by_hand(view: TrainView) -> None:
    model = fitted("item-knn", view, item_exponent=0.5, user_exponent=0.0, exclude_seen=False)
    # u2 clicked b alone (profile weight 1). b and a share u0: 1 / sqrt(2 * 2); b and c share nobody.
    assert scores(model, 2)[0] == pytest.approx([0.5, 0.0, 0.0, 0.0])


def test_item_knn_damps_active_users_by_hand(view: TrainView) -> None:
    model = fitted("item-knn", view, item_exponent=0.5, user_exponent=1.0, exclude_seen=False)
    # the same pair, but u0 who joins them has two clicks: 1/2 * 1 / sqrt(2 * 2)
    assert scores(model, 2)[0] == pytest.approx([0.25, 0.0, 0.0, 0.0])


def test_kg_knn_by_hand(view: TrainView) -> None:
    model = fitted("kg-knn", view, relation_exponent=0.0, fact_exponent=0.5, rarity=1.0, exclude_seen=False)
    # u2 clicked b: fact (in, y) shared with d (2 items), b has 1 fact, d has 2: 1/2 * 1 * 2^-1/2; with itself 1/2.
    assert scores(model, 2)[0] == pytest.approx([0.0, 0.5, 0.0, 0.5 / np.sqrt(2)])
    # u1 clicked a and c (weight 1/2 each): fact (by, x) has 3 items.
    assert scores(model, 1)[0] == pytest.approx([1 / 3, 0.0, 1 / 3, 1 / 3 / np.sqrt(2)])


def test_kg_knn_leaves_out_facts_of_too_many_items(view: TrainView) -> None:
    model = fitted("kg-knn", view, relation_exponent=0.0, max_items=2, exclude_seen=False)
    assert scores(model, 1)[0].tolist() == [0.0, 0.0, 0.0, 0.0]  # (by, x) has three items, and nothing else joins a and c
    assert scores(model, 2)[0, 3] > 0


def test_relation_lift_by_hand(view: TrainView) -> None:
    facts = Facts.of(view)
    lift = relation_lift(view, facts, np.ones(len(facts.relations), np.float32))
    # Ordered co-click pairs: u0 2, u1 2, u2 0; clicked items a b c: base = 4 / (3 * 2).
    # by: clicked items with x: a, c -> 2 possible ordered pairs, both seen (u1). in: b alone -> none possible.
    base = 4 / 6
    assert lift.tolist() == pytest.approx([(2 + 1) / (2 * base + 1), 1.0])


def test_second_hop_reaches_over_an_entity_between() -> None:
    # a -> p -> z <- q <- b: a and b share z two hops away, and nothing at one hop
    vocabulary = Vocabulary(IdMap(["u"]), IdMap(["a", "b", "c"]), IdMap(["a", "b", "c", "p", "q", "z"]), IdMap(["r"]))
    graph = KnowledgeGraph(Triples(rows(0, 3, 4, 1), rows(0, 0, 0, 0), rows(3, 5, 5, 4)), Triples.empty())
    view = TrainView(vocabulary, Interactions(rows(0), rows(0)), graph)
    assert scores(fitted("kg-knn", view), 0)[0, 1] == 0
    found = scores(fitted("kg-knn", view, hops=2), 0)[0]
    assert found[1] > 0
    assert found[2] == 0


def slow_walk(view: TrainView, start: dict[int, float], steps: int, decay: float, click_weight: float) -> np.ndarray:
    """Move probability edge by edge, node by node."""
    n_users = view.n_users
    edges: dict[int, list[tuple[int, float]]] = {node: [] for node in range(n_users + view.n_entities)}
    facts = view.graph.entity
    for one, other, weight in [
        *((u, i + n_users, click_weight) for u, i in zip(view.interactions.users, view.interactions.items, strict=True)),
        *((h + n_users, t + n_users, 1.0) for h, t in zip(facts.heads, facts.tails, strict=True)),
    ]:
        edges[int(one)].append((int(other), weight))
        edges[int(other)].append((int(one), weight))
    chance, visits = start, np.zeros(view.n_items)
    for step in range(1, steps + 1):
        after: dict[int, float] = {}
        for node, p in chance.items():
            for other, weight in edges[node]:
                after[other] = after.get(other, 0.0) + p * weight / sum(w for _, w in edges[node])
        chance = after
        for node, p in chance.items():
            if n_users <= node < n_users + view.n_items:
                visits[node - n_users] += decay**step * p
    return visits


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("click_weight", [1.0, 2.0])
def test_walk_equals_a_walk_edge_by_edge(view: TrainView, steps: int, click_weight: float) -> None:
    model = fitted("walk", view, steps=steps, click_weight=click_weight, exclude_seen=False)
    expected = slow_walk(view, {3: 0.5, 5: 0.5}, steps, 0.5, click_weight)  # u1 clicked a (node 3) and c (node 5)
    assert scores(model, 1)[0] == pytest.approx(expected, abs=1e-6)


def test_walk_without_clicks_starts_at_the_users_own_facts(view: TrainView) -> None:
    # u3 has no click but shares y with b and d
    vocabulary = Vocabulary(
        view.vocabulary.users.extend(["u3"]), *[getattr(view.vocabulary, n) for n in ("items", "entities", "relations")]
    )
    graph = KnowledgeGraph(view.graph.entity, Triples(rows(3), rows(1), rows(5)))
    model = fitted("walk", TrainView(vocabulary, view.interactions, graph), steps=2)
    found = scores(model, 3)[0]
    assert found[1] > 0
    assert found[3] > 0
    assert found[0] == found[2] == 0


def test_blend_is_the_sum_of_its_parts_each_scaled_to_one(view: TrainView) -> None:
    parts = {name: scores(fitted(name, view, exclude_seen=False), 1)[0] for name in ("item-knn", "kg-knn", "walk")}
    weights = {"item_knn_weight": 0.3, "kg_knn_weight": 0.5, "walk_weight": 2.0}
    units = {name: part / part.max() for name, part in parts.items()}
    for name in ("item-knn", "walk"):  # nobody clicked d yet: its facts speak for it, at half their word
        units[name][3] = max(units[name][3], 0.5 * units["kg-knn"][3])
    expected = sum(w * units[n] for w, n in zip(weights.values(), units, strict=True))
    assert scores(fitted("blend", view, exclude_seen=False, **weights), 1)[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", FLOORS)
def test_clicks_that_arrive_weigh_more_than_history(name: str, view: TrainView) -> None:
    model = fitted(name, view, history_weight=0.25).adapt(Support.clicks("u2", ["c"]))
    profile = model.profiles(rows(2)).toarray()[0]
    assert profile == pytest.approx([0.0, 0.2, 0.8, 0.0])  # old click 0.25, new click 1, scaled to sum 1


@pytest.mark.parametrize("name", FLOORS)
def test_adapting_knows_new_users_and_items_and_changes_nothing_else(name: str, view: TrainView) -> None:
    model = fitted(name, view)
    before = scores(model, 0, 1, 2)
    adapted = model.adapt(Support.clicks("new", ["a", "brand-new"]))
    assert adapted.view.vocabulary.users.row("new") == 3
    assert adapted.view.vocabulary.items.row("brand-new") == 4
    assert np.isfinite(scores(adapted, 0, 1, 2, 3)).all()
    assert scores(adapted, 3).shape == (1, 5)
    assert (scores(model, 0, 1, 2) == before).all()
    assert model.view.n_users == 3


@pytest.mark.parametrize("name", FLOORS)
def test_adapting_twice_with_the_same_clicks_is_adapting_once(name: str, view: TrainView) -> None:
    clicks = Support.clicks("u2", ["c"])
    once = fitted(name, view).adapt(clicks)
    assert scores(once.adapt(clicks), 0, 2) == pytest.approx(scores(once, 0, 2))


def test_blend_weighs_items_that_are_as_new_as_the_profile_by_hand(view: TrainView) -> None:
    """u2 clicked b in training and d since: by weight 1/5 and 1, so 5/6 of the profile is new. Of the items only d is."""
    support = Support.of(clicks=[("u2", "d")])
    plain, told = (
        fitted("blend", view, exclude_seen=False, history_weight=0.2, newness=newness).adapt(support) for newness in (0.0, 0.75)
    )
    factors = np.array([1 / 4 + 3 / 4 * 1 / 6] * 3 + [1 / 4 + 3 / 4 * 5 / 6])
    assert scores(told, 2)[0] == pytest.approx(scores(plain, 2)[0] * factors)
    assert scores(told, 1)[0] == pytest.approx(scores(plain, 1)[0] * np.array([1, 1, 1, 1 / 4])), "all old: nothing is lost"
    alone = told.profiles(rows(2))
    assert told.score_neighbours(alone) == pytest.approx(plain.score_neighbours(alone)), "closeness knows no newness"


@pytest.mark.parametrize("name", ["item-knn", "kg-knn", "walk", "blend"])
def test_reasons_are_the_score_taken_apart(name: str, view: TrainView) -> None:
    model = fitted(name, view)
    for user in range(3):
        found = scores(fitted(name, view, exclude_seen=False), user)[0]
        for item in range(4):
            reasons = model.reasons(user, item, limit=50)
            seen = view.history[[user], [item]].item() > 0
            if found[item] > 0 and not seen:
                assert sum(reason.share for reason in reasons) == pytest.approx(1.0, abs=1e-5), (user, item)
            for reason in reasons:
                assert view.history[[user], [reason.start]].item() > 0
                assert reason.steps[-1].entity == item


def test_reason_names_the_fact_that_joins_both_items(view: TrainView) -> None:
    (reason,) = fitted("kg-knn", view).reasons(2, 3)
    assert reason.start == 1
    first, last = reason.steps
    assert (first.relation, first.inverse, first.entity) == (1, False, 5)
    assert (last.relation, last.inverse, last.entity) == (1, True, 3)
    assert reason.share == pytest.approx(1.0)


@pytest.mark.parametrize("name", FLOORS)
def test_user_and_item_order_do_not_matter(name: str, view: TrainView) -> None:
    model = fitted(name, view)
    together = scores(model, 2, 0, 1)
    for place, user in enumerate((2, 0, 1)):
        assert scores(model, user)[0] == pytest.approx(together[place])


@pytest.mark.parametrize("name", FLOORS)
def test_nothing_to_learn_from_still_gives_finite_scores(name: str, view: TrainView) -> None:
    empty = TrainView(view.vocabulary, Interactions.empty(), KnowledgeGraph.empty())
    assert np.isfinite(scores(fitted(name, empty), 0, 1, 2)).all()
    adapted = fitted(name, empty).adapt(Support.clicks("u0", ["a"]))
    assert np.isfinite(scores(adapted, 0, 1)).all()


def test_a_reason_of_two_hops_crosses_what_the_channel_crosses() -> None:
    """i0 and i1 reach x over an entity of their own; a hub that joins i0 and x too is not crossed, and is no reason."""
    items, rare_a, x, rare_b, hub = 130, 130, 131, 132, 133
    facts = [(0, rare_a), (rare_a, x), (1, rare_b), (rare_b, x), (0, hub), (hub, x), *((i, hub) for i in range(2, items))]
    heads, tails = (np.array(ends, np.int32) for ends in zip(*facts, strict=True))
    ids = [f"i{n}" for n in range(items)]
    v = Vocabulary(IdMap(["u"]), IdMap(ids), IdMap([*ids, "rare_a", "x", "rare_b", "hub"]), IdMap(["r"]))
    clicks = Interactions(np.zeros(1, np.int32), np.zeros(1, np.int32))
    graph = KnowledgeGraph(Triples(heads, np.zeros(len(heads), np.int32), tails), Triples.empty())
    model = fitted("kg-knn", TrainView(v, clicks, graph), hops=2, max_items=100, max_links=128)
    (reason,) = [reason for reason in model.reasons(0, 1) if len(reason.steps) == 4]
    assert [step.entity for step in reason.steps] == [rare_a, x, rare_b, 1]
    assert not any(node - ENTITY == hub for _, node in reason.edges)


def test_an_item_is_not_new_because_its_only_user_clicks_it_again(view: TrainView) -> None:
    """c has been clicked by u1 alone. In the profile of u1 the click is a recent one then; to the others it is what it was."""
    model = fitted("blend", view, newness=0.75)
    again = model.adapt(Support.of(clicks=[("u1", "c")]))
    assert scores(again, 0, 2) == pytest.approx(scores(model, 0, 2))
    twice = again.adapt(Support.of(clicks=[("u1", "c"), ("u2", "d")]))
    assert twice.new.tolist() == [False, False, False, True]
    kept = type(twice).from_tensors(twice.config, twice.view, twice.rng, twice.tensors())
    assert (kept.new == twice.new).all()
    assert torch.equal(kept.score_all(torch.arange(3)), twice.score_all(torch.arange(3)))
    taken = view.interactions.select(~((view.interactions.users == 1) & (view.interactions.items == 2)))
    assert again.over(TrainView(view.vocabulary, taken, view.graph)).new.tolist() == [False, False, True, True]
