"""Worlds hide what they promise to hide: queries from everybody, new users and new items from the training clicks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import IdMap, Interactions, KnowledgeGraph, TrainView, Triples, Vocabulary
from metakg.data.siblings import sibling_groups
from metakg.sample.worlds import Situation, WorldRules, draw_world
from metakg.testing import planted_split, toy_view

Pairs = set[tuple[int, int]]
KINDS = ("known", "user_cold", "item_cold", "user_item_cold", "item_cold_unclicked", "user_item_cold_unclicked")
RULES = WorldRules()


def pairs_of(pairs: Interactions) -> Pairs:
    return set(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True))


def of(pairs: Interactions) -> tuple[set[int], set[int]]:
    """Users and items."""
    return set(pairs.users.tolist()), set(pairs.items.tolist())


def shelves(n_users: int = 40, n_shelves: int = 16, size: int = 4, share: float = 0.6, seed: int = 0) -> TrainView:
    """Items stand on shelves of `size`; every user has clicked about `share` of all items."""
    n_items = n_shelves * size
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((n_users, n_items)) < share)
    facts = Triples(
        np.arange(n_items, dtype=np.int32),
        np.zeros(n_items, np.int32),
        (n_items + np.arange(n_items) // size).astype(np.int32),
    )
    sizes = (("users", n_users), ("items", n_items), ("entities", n_items + n_shelves), ("relations", 1))
    vocabulary = Vocabulary(**{kind: IdMap([f"{kind}-{n:03}" for n in range(count)], kind=kind) for kind, count in sizes})
    pairs = Interactions(users.astype(np.int32), items.astype(np.int32))
    return TrainView(vocabulary, pairs, KnowledgeGraph(facts, Triples.empty()))


@pytest.fixture(scope="module", params=["shelves", "planted"])
def view(request: pytest.FixtureRequest) -> TrainView:
    return shelves() if request.param == "shelves" else planted_split().train


def worlds(view: TrainView, rules: WorldRules = RULES, n: int = 4) -> Iterator[dict[str, Situation]]:
    for seed in range(n):
        yield {s.kind: s for s in draw_world(view, np.random.default_rng(seed), rules)}


def test_every_kind_is_asked(view: TrainView) -> None:
    for world in worlds(view):
        assert tuple(world) == KINDS
        assert [s.unclicked for s in world.values()] == [False] * 4 + [True] * 2


def test_a_query_is_visible_to_nobody(view: TrainView) -> None:
    everything = pairs_of(view.interactions)
    for world in worlds(view):
        for kind, s in world.items():
            clicks, support, query = pairs_of(s.clicks), pairs_of(s.support), pairs_of(s.query)
            assert len(query) == len(s.query) > 0
            assert not query & (clicks | support), kind
            assert not support & clicks or kind == "known", kind
            assert clicks | support | query <= everything, kind


def test_new_users_and_items_are_absent_from_the_clicks(view: TrainView) -> None:
    for world in worlds(view):
        old = world["user_cold"].clicks
        old_users, old_items = of(old)
        for kind, s in world.items():
            clicked_by, clicked = of(s.clicks)
            assert clicked_by <= old_users, kind
            assert clicked <= old_items, kind
            askers, asked = of(s.query)
            assert bool(askers & old_users) != kind.startswith("user_"), kind
            assert bool(asked & old_items) != ("item_cold" in kind), kind
            if kind != "known":
                assert pairs_of(s.clicks) == pairs_of(old), kind
        known = world["known"]
        assert pairs_of(known.clicks) | pairs_of(known.query) <= pairs_of(old)
        assert not len(known.support)


def test_what_arrives_is_the_askers_own(view: TrainView) -> None:
    for world in worlds(view):
        for kind in KINDS[1:4]:
            support_users, support_items = of(world[kind].support)
            query_users, query_items = of(world[kind].query)
            assert support_users == query_users, kind
            both = world[kind].clicks
            new = support_items | query_items if "item" in kind else support_users
            assert not new & (of(both)[1] if "item" in kind else of(both)[0]), kind


def test_unclicked_items_have_no_click_and_the_askers_have_some(view: TrainView) -> None:
    for world in worlds(view):
        for kind in KINDS[4:]:
            s = world[kind]
            visible = Interactions.concat(s.clicks, s.support)
            assert not of(s.query)[1] & of(visible)[1], kind
            assert of(s.query)[0] <= of(visible)[0], kind
        assert not len(world["item_cold_unclicked"].support)
        newcomers = world["user_item_cold_unclicked"].support
        assert not of(newcomers)[0] & of(world["user_cold"].clicks)[0]
        assert pairs_of(world["user_cold"].query) <= pairs_of(newcomers), "new users keep all their clicks on old items"


def test_siblings_stay_together(view: TrainView) -> None:
    groups = sibling_groups(view.vocabulary, view.graph, RULES.sibling_limit)
    assert len(np.unique(groups)) < view.n_items
    for world in worlds(view):
        old = groups[sorted(of(world["user_cold"].clicks)[1])]
        new = groups[sorted(of(world["item_cold"].query)[1] | of(world["item_cold"].support)[1])]
        assert not set(old) & set(new)


def test_shares_are_those_of_the_rules() -> None:
    view = shelves()
    for share in (0.25, 0.5):
        rules = WorldRules(new_users=share, new_items=share, known_users=share, min_items=1)
        for world in worlds(view, rules):
            old_users, old_items = of(world["user_cold"].clicks)
            assert len(old_users) == 40 * (1 - share)
            assert len(old_items) == 64 * (1 - share) + 4, "whole shelves of four; the one that would reach the share stays"
            assert len(of(world["known"].query)[0]) == round(share * len(old_users))


@pytest.mark.parametrize(("query_share", "n_query"), [(0.3, 10), (0.5, 3), (0.01, 10)])
def test_a_task_is_cut_as_the_rules_say(query_share: float, n_query: int) -> None:
    view = shelves()
    rules = WorldRules(query_share=query_share, n_query=n_query, min_items=5)
    for world in worlds(view, rules, 2):
        for kind in ("user_cold", "item_cold", "user_item_cold"):
            support, query = world[kind].support.users, world[kind].query.users
            for user in np.unique(query):
                asked, shown = int((query == user).sum()), int((support == user).sum())
                assert asked + shown >= 5
                assert asked == min(max(1, int((asked + shown) * query_share)), n_query)


def test_users_with_few_clicks_take_no_part() -> None:
    view = shelves(share=0.15)  # ten clicks each, about two of them on new items
    count = np.bincount(view.interactions.users)
    for world in worlds(view, WorldRules(min_items=7)):
        assert "item_cold" not in world
        assert "user_item_cold" not in world
        for s in world.values():
            assert (count[s.query.users] >= 7).all()


def test_the_same_generator_draws_the_same_world_and_another_another(view: TrainView) -> None:
    def drawn(seed: int) -> list[tuple[str, list[int], list[int], list[int]]]:
        found = draw_world(view, np.random.default_rng(seed), RULES)
        return [(s.kind, *(p.keys(view.n_items).tolist() for p in (s.clicks, s.support, s.query))) for s in found]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    rng = np.random.default_rng(3)
    first = draw_world(view, rng, RULES)
    second = draw_world(view, rng, RULES)
    assert pairs_of(first[0].query) != pairs_of(second[0].query), "a generator goes on to the next world"


def test_the_view_is_left_as_it_is() -> None:
    view = shelves()
    before = view.interactions.users.copy(), view.interactions.items.copy()
    next(worlds(view))
    assert (view.interactions.users == before[0]).all()
    assert (view.interactions.items == before[1]).all()


def test_a_pair_that_stands_twice_is_one_pair() -> None:
    view = shelves()
    twice = TrainView(view.vocabulary, Interactions.concat(view.interactions, view.interactions), view.graph)
    for world in worlds(twice):
        for kind, s in world.items():
            assert not pairs_of(s.query) & (pairs_of(s.clicks) | pairs_of(s.support)), kind
            assert len(pairs_of(s.query)) == len(s.query), kind


def test_nothing_gives_no_situation() -> None:
    names = toy_view().vocabulary
    nobody = Vocabulary(*(IdMap([]) for _ in range(4)))
    for vocabulary in (names, nobody):
        view = TrainView(vocabulary, Interactions.empty(), KnowledgeGraph.empty())
        assert draw_world(view, np.random.default_rng(0), RULES) == []
    one = TrainView(names, Interactions(np.zeros(1, np.int32), np.zeros(1, np.int32)), KnowledgeGraph.empty())
    assert draw_world(one, np.random.default_rng(0), RULES) == []


@settings(max_examples=60, deadline=None)
@given(
    clicks=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 11)), max_size=60),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    min_items=st.integers(1, 4),
)
def test_any_view_keeps_its_queries_hidden(clicks: Pairs, seed: int, share: float, min_items: int) -> None:
    toy = toy_view()
    columns = np.array(sorted(clicks), np.int32).reshape(-1, 2)
    view = TrainView(toy.vocabulary, Interactions(columns[:, 0].copy(), columns[:, 1].copy()), toy.graph)
    rules = WorldRules(new_users=share, new_items=share, known_users=1.0, min_items=min_items)
    for s in draw_world(view, np.random.default_rng(seed), rules):
        assert pairs_of(s.query)
        assert not pairs_of(s.query) & (pairs_of(s.clicks) | pairs_of(s.support))
        if s.kind != "known":
            hidden = of(s.query)[0] if s.kind.startswith("user_") else of(s.query)[1]
            assert not hidden & (of(s.clicks)[0] if s.kind.startswith("user_") else of(s.clicks)[1])
