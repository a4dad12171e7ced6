"""Negatives, corrupted facts and episodes: what is drawn is never true, and never decided by a query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.data import IdMap, Interactions, KnowledgeGraph, Tasks, TrainView, Vocabulary
from metakg.errors import DataError
from metakg.models.nn.ckg import CollaborativeGraph, training_edges, triple_sampler
from metakg.sample.episodes import EpisodeSampler
from metakg.sample.keys import KeySet
from metakg.sample.negatives import KeyedNegatives, NegativeSampler, without_negatives
from metakg.sample.pairs import PairBatch, PairSampler
from metakg.sample.triples import TripleSampler
from metakg.testing import toy_view


def pairs(*found: tuple[int, int]) -> Interactions:
    return Interactions(*(np.array(c, np.int32) for c in zip(*found, strict=True)))


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


KEYS = st.one_of(
    st.lists(st.integers(-40, 40), max_size=60),
    st.lists(st.one_of(st.integers(0, 40), st.integers(-(2**63), 2**63 - 1)), max_size=60),
)


@given(KEYS, KEYS)
def test_a_key_set_holds_what_it_was_given_and_nothing_else(keys: list[int], asked: list[int]) -> None:
    known, every = np.array(keys, np.int64), np.array(keys + asked, np.int64)
    assert KeySet(known).has(every).tolist() == [key in keys for key in every.tolist()]
    assert len(KeySet(known)) == len(set(keys))


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=20), st.integers(0, 9))
def test_a_negative_is_from_the_pool_and_never_known(known: set[tuple[int, int]], seed: int) -> None:
    pool = rows(1, 2, 4, 5)
    free = [u for u in range(4) if not {(u, int(i)) for i in pool} <= known]
    sampler = NegativeSampler(pool, pairs(*known), 6, np.random.default_rng(seed))
    users = np.array(free * 5, np.int64)
    items = sampler.draw(users)
    assert set(items.tolist()) <= set(pool.tolist())
    assert not {(int(u), int(i)) for u, i in zip(users, items, strict=True)} & known


def test_negatives_are_uniform_over_what_is_allowed() -> None:
    sampler = NegativeSampler(rows(0, 1, 2, 3), pairs((0, 3)), 4, np.random.default_rng(0))
    counts = np.bincount(sampler.draw(np.zeros(30_000, np.int64)), minlength=4) / 30_000
    assert counts == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.02)


def test_a_user_who_likes_everything_is_named() -> None:
    sampler = NegativeSampler(rows(0, 1), pairs((2, 0), (2, 1)), 2, np.random.default_rng(0))
    with pytest.raises(DataError, match="user row 2"):
        sampler.draw(np.array([0, 2]))
    with pytest.raises(DataError, match="pool of negatives"):
        NegativeSampler(rows(), pairs((2, 0)), 2, np.random.default_rng(0))


def test_who_likes_everything_stops_no_training() -> None:
    """An account that tries all there is, or a handful of items: nothing can be compared with its clicks."""
    known = pairs((0, 0), (1, 0), (1, 1), (1, 2), (2, 2))
    sampler = PairSampler(known, known, rows(0, 1, 2), 3, np.random.default_rng(0))
    assert sorted(sampler.users.tolist()) == [0, 2]
    assert set(sampler.draw(np.arange(2)).users.tolist()) == {0, 2}
    every = pairs((1, 0), (1, 1), (1, 2))
    with pytest.raises(DataError, match="users who like all of the 3 items"):
        PairSampler(every, every, rows(0, 1, 2), 3, np.random.default_rng(0))
    assert not without_negatives(rows(0, 1, 2), pairs((1, 0), (1, 0), (1, 1)), 2).any(), "a pair that stands twice counts once"


def test_tasks_of_who_likes_everything_are_left_out(view: TrainView) -> None:
    assert view.tasks is not None
    every = pairs(*((0, item) for item in range(6)))
    wider = replace(view, interactions=Interactions.concat(view.interactions, every))
    sampler = EpisodeSampler(wider, np.random.default_rng(0))
    assert sampler.users.tolist() == [1]
    support, query = sampler.draw(np.array([0]))
    assert set(support.users.tolist()) == set(query.users.tolist()) == {1}


def facts(*found: tuple[int, int, int], seed: int = 0, seen: bool = False) -> TripleSampler:
    """Two users (0, 1), three items (2..4), three other entities (5..7); relation 0 is a click, 2 its inverse."""
    columns = (np.array(c, np.int64) for c in zip(*found, strict=True))
    wide = np.array([False, True, False])
    return TripleSampler(*columns, kinds=(0, 2, 5, 8), wide=wide, rng=np.random.default_rng(seed), seen=seen)


def test_corrupted_tails_are_of_the_admissible_kind_and_false() -> None:
    known = [(0, 0, 2), (0, 0, 3), (2, 2, 0), (2, 1, 5), (2, 1, 6), (6, 1, 2)]
    batch = facts(*known).draw(600)
    assert (batch.relations.diff() >= 0).all()
    columns = (batch.heads, batch.relations, batch.tails, batch.corrupted)
    seen: dict[tuple[int, int, int], set[int]] = {}
    for h, r, t, false in zip(*(c.tolist() for c in columns), strict=True):
        assert (h, r, t) in known
        assert (h, r, false) not in known
        seen.setdefault((h, r, t), set()).add(false)
    assert seen[(0, 0, 2)] == {4}, "a click is corrupted by an item"
    assert seen[(2, 2, 0)] == {1}, "its inverse by a user"
    assert seen[(2, 1, 5)] == {2, 3, 4, 7}, "a fact by any entity"
    assert seen[(6, 1, 2)] == {3, 4, 5, 6, 7}


def test_a_click_is_corrupted_by_an_item_that_somebody_clicked() -> None:
    known = [(0, 0, 2), (1, 0, 3), (2, 2, 0), (3, 2, 1), (2, 1, 5), (4, 1, 6)]
    for everything in (False, True):
        batch = facts(*known, seen=not everything).draw(600)
        found: dict[tuple[int, int, int], set[int]] = {}
        for h, r, t, false in zip(
            *(c.tolist() for c in (batch.heads, batch.relations, batch.tails, batch.corrupted)), strict=True
        ):
            found.setdefault((h, r, t), set()).add(false)
        assert found[(0, 0, 2)] == ({3, 4} if everything else {3}), "nobody has clicked item 4"
        assert found[(2, 2, 0)] == {1}
        assert found[(2, 1, 5)] == {2, 3, 4, 6, 7}, "a fact is corrupted by any entity"
    # Nothing that somebody clicked is left to make user 0's clicks false.
    assert set(facts((0, 0, 2), (0, 0, 3), (2, 1, 5), seen=True).draw(60).relations.tolist()) == {1}


@pytest.mark.parametrize("clicks", [True, False])
def test_the_columns_of_facts_for_the_triple_loss_stand_where_they_belong(clicks: bool) -> None:
    view = toy_view(tasks=True)
    graph = CollaborativeGraph(view, training_edges(view))
    n_users, n_facts = view.n_users, view.n_relations
    batch = triple_sampler(graph, np.random.default_rng(0), clicks=clicks).draw(4000)
    relations = batch.relations
    assert ({0, 2 * n_facts + 1} <= set(relations.tolist())) == clicks
    pairs_of = training_edges(view)
    known = {(u, 0, i + n_users) for u, i in zip(pairs_of.users.tolist(), pairs_of.items.tolist(), strict=True)}
    forward = relations == 0
    for h, t in zip(batch.heads[forward].tolist(), batch.tails[forward].tolist(), strict=True):
        assert (h, 0, t) in known
    inverse = relations == 2 * n_facts + 1
    for h, t in zip(batch.heads[inverse].tolist(), batch.tails[inverse].tolist(), strict=True):
        assert (t, 0, h) in known
    facts_of = view.graph.entity
    true = set(zip(facts_of.heads.tolist(), facts_of.relations.tolist(), facts_of.tails.tolist(), strict=True))
    about = view.graph.user
    true_of_users = set(zip(about.heads.tolist(), about.relations.tolist(), about.tails.tolist(), strict=True))
    middle = ~forward & ~inverse
    for h, r, t in zip(*(c[middle].tolist() for c in (batch.heads, relations, batch.tails)), strict=True):
        if r > n_facts:
            h, r, t = t, r - n_facts, h
        if h < n_users:
            assert (h, r - 1, t - n_users) in true_of_users
        else:
            assert (h - n_users, r - 1, t - n_users) in true


def test_facts_that_nothing_makes_false_are_left_out() -> None:
    sampler = facts((0, 2, 0), (0, 2, 1), (2, 1, 5))
    assert sampler.heads.tolist() == [2]
    assert sampler.corrupt(np.array([0, 0])).relations.tolist() == [1, 1]
    with pytest.raises(DataError, match="no other tail makes false"):
        facts((0, 2, 0), (0, 2, 1))
    with pytest.raises(DataError, match="no facts"):
        TripleSampler(*(np.empty(0, np.int64),) * 3, kinds=(0, 1, 2, 3), wide=np.ones(1, bool), rng=np.random.default_rng(0))


@pytest.fixture
def view() -> TrainView:
    support, query = pairs((1, 0), (1, 1), (0, 2)), pairs((1, 2), (0, 3))
    v = Vocabulary(*(IdMap([f"{k}{n}" for n in range(6)], kind=k) for k in ("users", "items", "entities")), IdMap([]))
    both = Interactions.concat(Interactions.concat(support, query), pairs((2, 4)))
    return TrainView(v, both, KnowledgeGraph.empty(), Tasks(rows(1, 0), support, query))


def test_episodes_hold_their_tasks_pairs(view: TrainView) -> None:
    support, query = EpisodeSampler(view, np.random.default_rng(0)).draw(np.array([1, 0]))
    assert support.users.tolist() == [0, 1]
    assert support.tasks.tolist() == [0, 1, 1]
    assert support.positives.tolist() == [2, 0, 1]
    assert query.positives.tolist() == [3, 2]
    tasks, users, items = support.seeds()
    assert tasks.tolist() == [0, 1, 0, 1, 1, 0, 1, 1]
    assert (users.tolist(), items[:3].tolist()) == ([0, 1], [2, 0, 1])
    only = support.select(torch.tensor([1]))
    assert (only.users.tolist(), only.tasks.tolist(), only.positives.tolist()) == ([1], [0, 0], [0, 1])


def test_support_negatives_do_not_know_the_query(view: TrainView) -> None:
    sampler = EpisodeSampler(view, np.random.default_rng(0))
    drawn = [sampler.draw(np.array([0])) for _ in range(200)]
    support = {i for s, _ in drawn for i in s.negatives.tolist()}
    query = {i for _, q in drawn for i in q.negatives.tolist()}
    assert support == {2, 3, 4}, "item 2 is a query item of this user, and may be drawn while adapting"
    assert query == {3, 4}, "item 5 was never seen, items 0..2 are this user's"
    everything = EpisodeSampler(view, np.random.default_rng(0), all_items=True)
    assert 5 in {i for _ in range(100) for i in everything.draw(np.array([0]))[1].negatives.tolist()}


def test_a_support_can_be_resampled(view: TrainView) -> None:
    support, _ = EpisodeSampler(view, np.random.default_rng(0), support_size=10).draw(np.array([0, 1]))
    assert np.bincount(support.tasks).tolist() == [10, 10]
    assert set(support.positives[support.tasks == 0].tolist()) <= {0, 1}


def test_a_query_pair_may_have_candidates_for_its_negatives(view: TrainView) -> None:
    support, query = EpisodeSampler(view, np.random.default_rng(0), negatives=2, hardest=3).draw(np.array([1, 0]))
    assert support.positives.tolist() == [2, 2, 0, 0, 1, 1]
    assert query.positives.tolist() == [3] * 6 + [2] * 6
    assert query.tasks.tolist() == [0] * 6 + [1] * 6
    few = query.rows(torch.tensor([1, 4, 9]))
    assert (few.users is query.users, few.tasks.tolist(), few.positives.tolist()) == (True, [0, 0, 1], [3, 3, 2])
    assert few.negatives.tolist() == query.negatives[[1, 4, 9]].tolist()


def test_a_task_without_support_is_named(view: TrainView) -> None:
    tasks = view.tasks
    assert tasks is not None
    for support, message in ((pairs((1, 0)), "no pair for user row 0"), (pairs((1, 0), (0, 2), (3, 1)), "user row 3")):
        with pytest.raises(DataError, match=message):
            EpisodeSampler(
                TrainView(view.vocabulary, view.interactions, view.graph, Tasks(tasks.users, support, tasks.query)),
                np.random.default_rng(0),
            )


def test_samplers_resume_where_they_stood(view: TrainView) -> None:
    sampler = EpisodeSampler(view, np.random.default_rng(0))
    sampler.draw(np.array([0, 1]))
    state = sampler.state_dict()
    first = sampler.draw(np.array([0, 1]))
    sampler.load_state_dict(state)
    second = sampler.draw(np.array([0, 1]))
    assert first[0].negatives.tolist() == second[0].negatives.tolist()
    assert first[1].negatives.tolist() == second[1].negatives.tolist()
    with pytest.raises(DataError, match="the pairs to learn from"):
        PairSampler(Interactions.empty(), Interactions.empty(), rows(0), 1, np.random.default_rng(0))


def test_the_hardest_negative_of_each_click_is_kept() -> None:
    users, positives, negatives = torch.tensor([4, 4, 4, 7, 7, 7]), torch.tensor([0, 0, 0, 1, 1, 1]), torch.arange(20, 26)
    batch = PairBatch(users, positives, negatives, each=3)
    near = {20: 0.1, 21: 0.3, 22: 0.2, 23: -1.0, 24: -3.0, 25: -2.0}
    asked = []

    def nearness(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        asked.append(users.tolist())
        return torch.tensor([[near[item] for item in row] for row in items.tolist()])

    found = batch.hardest(nearness)
    assert asked == [[4, 7]], "a user is asked for once a click"
    assert (found.users.tolist(), found.positives.tolist(), found.negatives.tolist()) == ([4, 7], [0, 1], [21, 23])
    assert found.each == 1
    four = PairBatch(torch.full((4,), 4), torch.zeros(4, dtype=torch.int64), torch.arange(20, 24), each=4)
    kept = four.hardest(nearness, keep=2)
    assert (kept.users.tolist(), kept.negatives.tolist(), kept.each) == ([4, 4], [21, 22], 2), "the best of each half"


def test_keyed_negatives_are_the_same_for_a_click_whoever_else_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(50, size=400), rng.integers(80, size=400)
    known = Interactions(users.astype(np.int32), items.astype(np.int32))
    pool = np.arange(10, 80, dtype=np.int32)
    sampler = KeyedNegatives(pool, known, 80, salt=5)
    turns = np.arange(400) % 3
    drawn = sampler.draw(users, items, turns)
    some = rng.permutation(400)[:37]
    assert sampler.draw(users[some], items[some], turns[some]).tolist() == drawn[some].tolist()
    assert set(drawn.tolist()) <= set(pool.tolist())
    assert not np.isin(users * 80 + drawn, known.keys(80)).any()
    assert (sampler.draw(users, items, turns + 3) != drawn).mean() > 0.9
    assert (KeyedNegatives(pool, known, 80, salt=6).draw(users, items, turns) != drawn).mean() > 0.9


def test_keyed_negatives_are_spread_evenly() -> None:
    sampler = KeyedNegatives(np.arange(20, dtype=np.int32), Interactions.empty(), 20, salt=1)
    counts = np.bincount(sampler.draw(np.repeat(np.arange(200), 100), np.tile(np.arange(100), 200), np.zeros(20000, int)))
    assert abs(counts - 1000).max() < 150  # five standard deviations


def test_keyed_negatives_of_who_likes_nearly_everything() -> None:
    known = Interactions(rows(*[0] * 9, *[1] * 10), rows(*range(9), *range(10)))
    sampler = KeyedNegatives(np.arange(10, dtype=np.int32), known, 10, salt=3)
    users = np.array([0, 0, 1])
    assert sampler.draw(users, np.array([1, 2, 3]), np.zeros(3, int)).tolist() == [9, 9, -1]
    nothing = KeyedNegatives(rows(), known, 10, salt=3)
    assert nothing.draw(users, users, users).tolist() == [-1, -1, -1]
