"""AutoMetaPath: the factors, coverage, lift and overlap of paths against brute force on the toy bookshop, and the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from metakg.data import IdMap, Interactions, KnowledgeGraph, TrainView, Triples, Vocabulary
from metakg.errors import DataError
from metakg.models.metapaths import CHOSEN, LOWER, SAME, USERS, Link, MetaPath, MetaPathConfig
from metakg.models.nn.blocks import by_work
from metakg.models.nn.ckg import training_edges
from metakg.models.pathfinder import Example, PathFinder, top_per_row
from metakg.testing.toy import toy_view

AUTHOR, GENRE, SERIES, PLACE, INFLUENCE = range(5)
BY_AUTHOR = MetaPath((Link(AUTHOR, False),))
BY_INFLUENCE = MetaPath((Link(AUTHOR, False), Link(INFLUENCE, False), Link(AUTHOR, False)))

FROM_INFLUENCE = MetaPath((Link(AUTHOR, False), Link(INFLUENCE, True), Link(AUTHOR, False)))


def finder(view: TrainView | None = None, **settings: float) -> PathFinder:
    view = view or toy_view()
    return PathFinder(view, training_edges(view), MetaPathConfig.model_validate(settings))


def joined(view: TrainView, path: MetaPath) -> np.ndarray:
    """Count the instances of a path between all items by walking facts and clicks one by one."""
    n, count = view.n_items, np.zeros((view.n_items, view.n_items))
    facts = list(zip(view.graph.entity.heads, view.graph.entity.relations, view.graph.entity.tails, strict=True))

    def ends(start: int, link: Link) -> list[int]:
        step = [(t, h) if link.inverse else (h, t) for h, r, t in facts if r == link.relation]
        return [int(end) for begin, end in step if begin == start]

    for i in range(n):
        for j in range(n):
            if not path.links:
                users = [set(view.interactions.users[view.interactions.items == item].tolist()) for item in (i, j)]
                count[i, j] = len(users[0] & users[1])
            elif len(path.links) == 1:
                count[i, j] = len(set(ends(i, path.links[0])) & set(ends(j, path.links[0])))
            else:
                first, middle, last = path.links
                count[i, j] = sum(ends(j, last).count(x) for e in ends(i, first) for x in ends(e, middle))
    return count


def test_factors_count_the_instances_of_every_candidate() -> None:
    search = finder(min_coverage=0.0)
    for candidate in search.find().candidates:
        left, right = search.factors(candidate.path)
        np.testing.assert_array_equal((left @ right.T).toarray(), joined(search.view, candidate.path))


def test_coverage_and_lift_are_those_of_all_pairs() -> None:
    """Twenty thousand draws meet every pair of the toy, so the lift is exact: both sums plus five."""
    search = finder(min_coverage=0.0)
    history = search.view.history.toarray()
    popularity, shared = history.sum(0), history.T @ history
    users = np.count_nonzero(history.sum(1))
    for candidate in search.find().candidates:
        count = joined(search.view, candidate.path)
        np.fill_diagonal(count, 0)
        assert candidate.coverage == pytest.approx((count.sum(1) > 0).mean())
        pairs = [(i, j) for i, j in np.argwhere(count) if popularity[i] and popularity[j]]
        assert candidate.pairs == len(pairs)
        own = 0 if candidate.path.links else 1
        seen = sum(shared[i, j] - own for i, j in pairs)
        expected = sum((popularity[i] - own) * (popularity[j] - own) / users for i, j in pairs)
        assert candidate.lift == pytest.approx((seen + 5) / (expected + 5))


def test_the_choice_by_hand() -> None:
    """Genre and author lead; the two-hop paths differ in who influenced whom, and the one that reaches further is taken."""
    found = finder().find()
    fates = {c.path: c.fate for c in found.candidates}
    assert found.chosen == (USERS, MetaPath((Link(GENRE, False),)), BY_AUTHOR, FROM_INFLUENCE)
    assert fates[MetaPath((Link(SERIES, False),))] == LOWER
    scores = [c.score for c in found.candidates if len(c.path.links) == 1]
    assert scores == sorted(scores, reverse=True)


def test_one_hop_paths_take_the_place_of_missing_two_hops() -> None:
    facts = toy_view().graph.entity
    view = replace(toy_view(), graph=KnowledgeGraph(facts.select(facts.relations != INFLUENCE), Triples.empty()))
    assert [len(path.links) for path in finder(view).find().chosen] == [0, 1, 1, 1]


def test_a_path_with_the_pairs_of_a_better_one_is_skipped() -> None:
    """ "influenced_by" becomes a second name of "written_by"."""
    facts = toy_view().graph.entity
    own = facts.select(facts.relations == AUTHOR)
    again = Triples(own.heads, np.full(len(own), INFLUENCE, np.int32), own.tails)
    view = replace(toy_view(), graph=KnowledgeGraph(Triples.concat(facts, again), Triples.empty()))
    found = finder(view).find()
    twin = next(c for c in found.candidates if c.path == MetaPath((Link(INFLUENCE, False),)))
    assert twin.fate == f"{SAME} {BY_AUTHOR.text(view.vocabulary)}"
    fields = found.fields(view.vocabulary, 4, "melu")
    assert [link.relation for link in fields] == [GENRE, AUTHOR, SERIES, PLACE]


def test_overlap_is_the_jaccard_index_of_the_pairs() -> None:
    search = finder()
    clicked = search.view.popularity > 0
    for one, other in ((BY_AUTHOR, MetaPath((Link(GENRE, False),))), (BY_AUTHOR, USERS), (BY_AUTHOR, BY_INFLUENCE)):
        first, second = (joined(search.view, path) > 0 for path in (one, other))
        within = np.outer(clicked, clicked) & ~np.eye(len(clicked), dtype=bool)
        expected = (first & second & within).sum() / ((first | second) & within).sum()
        assert search._overlap(one, other) == pytest.approx(expected)


def test_hubs_are_no_steps() -> None:
    """Otto wrote five books and Pearl three; with hubs above three items only Mira and Pearl join books."""
    search = finder(hub_items=3, hub_share=0.0)
    left, _ = search.factors(BY_AUTHOR)
    assert sorted(set(left.indices.tolist())) == [12, 14]
    assert finder(hub_items=3, hub_share=0.5).hub == 6


def test_neighbours_are_the_best_of_a_dense_product() -> None:
    search = finder()
    for path in (USERS, BY_AUTHOR, BY_INFLUENCE):
        count = joined(search.view, path)
        weights = count / np.log(2 + count.sum(0))
        np.fill_diagonal(weights, 0)
        expected = np.zeros_like(weights)
        for i, row in enumerate(weights):
            best = sorted(np.flatnonzero(row), key=lambda j: (-row[j], j))[:2]
            expected[i, best] = row[best]
        np.testing.assert_allclose(search.neighbours(path, 2).toarray(), expected, rtol=1e-6)


def test_neighbours_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finder().neighbours(BY_AUTHOR, 3).toarray()
    monkeypatch.setattr("metakg.models.pathfinder._BLOCK", 5)
    np.testing.assert_array_equal(finder().neighbours(BY_AUTHOR, 3).toarray(), whole)


def test_top_per_row_breaks_ties_by_column() -> None:
    rows, columns = np.array([0, 0, 0, 2, 2]), np.array([3, 1, 2, 0, 1])
    best = top_per_row(rows, columns, np.array([1, 1, 2, 5, 7], np.float32), (3, 4), 2)
    np.testing.assert_array_equal(best.toarray(), [[0, 1, 2, 0], [0, 0, 0, 0], [5, 7, 0, 0]])
    assert top_per_row(rows[:0], columns[:0], np.empty(0, np.float32), (3, 4), 2).nnz == 0


def test_only_the_given_pairs_are_read() -> None:
    """The query pairs of the tasks are in the view's interactions; the search must not see them."""
    view = toy_view(tasks=True)
    pairs = training_edges(view)
    bare = TrainView(view.vocabulary, pairs, view.graph)
    config = MetaPathConfig()
    assert PathFinder(view, pairs, config).find() == PathFinder(bare, pairs, config).find()
    assert PathFinder(view, view.interactions, config).find() != PathFinder(view, pairs, config).find()


def test_the_search_repeats_itself() -> None:
    assert finder().find() == finder().find()
    search = finder()
    search.examples(BY_AUTHOR)  # drawing for something else first changes nothing
    assert search.find() == finder().find()


def test_paths_read_well_and_survive_as_numbers() -> None:
    v = toy_view().vocabulary
    back = MetaPath((Link(AUTHOR, True),))
    assert USERS.text(v) == "item <-clicked- user -clicked-> item"
    assert BY_AUTHOR.text(v) == "item -written by-> * <-written by- item"
    assert back.text(v) == "item <-written by- * -written by-> item"
    assert BY_INFLUENCE.text(v) == "item -written by-> * -influenced by-> * <-written by- item"
    for path in (USERS, BY_AUTHOR, back, BY_INFLUENCE):
        assert MetaPath.of_codes(path.codes()) == path
    assert [path.length for path in (USERS, BY_AUTHOR, BY_INFLUENCE)] == [4, 4, 5]


def test_examples_name_what_lies_between() -> None:
    search, v = finder(), toy_view().vocabulary
    first = search.examples(BY_AUTHOR)[0]
    assert first == Example(0, (12,), 2, 2)  # ann and cleo clicked both
    assert first.text(BY_AUTHOR, v) == "The Quiet House -written by-> Mira Voss <-written by- The Quiet Sea"
    assert search.examples(USERS)[0].text(USERS, v) == "The Quiet House <-clicked- 2 users -clicked-> The Quiet Sea"
    two = search.examples(BY_INFLUENCE)[0]
    assert two.between[0] == 14  # Pearl, who alone is influenced by anybody
    assert two.between[1] in (12, 13)


def test_no_path_left_is_an_error_that_says_why() -> None:
    view = toy_view()
    found = finder(min_coverage=0.95).find()
    with pytest.raises(DataError, match=r"written by.*leads on from 91.7% of the items, wanted are 95%.*paths.min_coverage"):
        found.need_facts(view.vocabulary, "mcrec")
    with pytest.raises(DataError, match=r"item features of melu.*features = 'id'"):
        found.fields(view.vocabulary, 4, "melu")
    alone = finder(min_coverage=0.95, one_hop=0, two_hop=0).find()
    alone.need_facts(view.vocabulary, "mcrec")  # asked for: over users alone
    assert alone.chosen == (USERS,)


def test_a_graph_without_facts_or_clicks() -> None:
    view = replace(toy_view(), graph=KnowledgeGraph.empty())
    found = finder(view).find()
    assert found.chosen == (USERS,)
    with pytest.raises(DataError, match="no relation that an item has"):
        found.need_facts(view.vocabulary, "mcrec")
    empty = PathFinder(toy_view(), Interactions.empty(), MetaPathConfig())
    assert all(c.pairs == 0 and c.lift in (1.0, None) for c in empty.find().candidates)
    assert empty.neighbours(USERS, 3).nnz == 0
    assert isinstance(empty.neighbours(BY_AUTHOR, 3), sparse.csr_array)
    assert empty.examples(BY_AUTHOR) == []


def test_the_path_over_users_is_always_taken() -> None:
    assert finder().find().candidates[0].fate == CHOSEN


def test_lift_of_items_that_very_many_clicked() -> None:
    """60,000 users clicked both: 60,000 times 60,000 does not fit into 32 bits."""
    n = 60_000
    users, items = np.repeat(np.arange(n, dtype=np.int32), 2), np.tile(np.array([0, 1], np.int32), n)
    vocabulary = Vocabulary(IdMap([f"u{u}" for u in range(n)]), IdMap(["a", "b"]), IdMap(["a", "b", "x"]), IdMap(["r"]))
    facts = Triples(np.array([0, 1], np.int32), np.zeros(2, np.int32), np.array([2, 2], np.int32))
    none = Triples(*(np.empty(0, np.int32) for _ in range(3)))
    view = TrainView(vocabulary, Interactions(users, items), KnowledgeGraph(facts, none))
    found = PathFinder(view, view.interactions, MetaPathConfig())._measure(MetaPath((Link(0, False),)))
    assert found.lift == pytest.approx(1.0)


def test_blocks_hold_all_rows_and_no_more_work_than_asked_for() -> None:
    work = np.array([1, 1, 5, 1, 1, 1, 0, 9, 1])
    blocks = list(by_work(work, 3))
    assert np.concatenate([np.arange(9)[part] for part in blocks]).tolist() == list(range(9))
    assert all(work[part].sum() <= 3 or part.stop - part.start == 1 for part in blocks)
    assert list(by_work(np.empty(0), 3)) == []
