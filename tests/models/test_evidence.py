"""Local evidence against slow loops over a small random graph, and against the same data with one click taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
from scipy import sparse

from metakg.data import IdMap, Interactions, KnowledgeGraph, TrainView, Triples, Vocabulary
from metakg.models.evidence import ITEM_FEATURES, Evidence, Gathered
from metakg.models.nn.spectral import item_vectors
from metakg.models.profile import weigh
from metakg.models.reasons import Reason, reasons_of
from metakg.testing import arriving, toy_view

USERS, ITEMS, ENTITIES, RELATIONS = 8, 10, 19, 3
MAX_ITEMS = 5
SEEDS = range(4)


def random_view(seed: int, clicks: set[tuple[int, int]] | None = None) -> TrainView:
    """User 7 has no click and item 9 neither; facts run from items, to items, and between other entities."""
    rng = np.random.default_rng(seed)
    drawn = {(int(u), int(i)) for u, i in zip(rng.integers(0, USERS - 1, 26), rng.integers(0, ITEMS - 1, 26), strict=True)}
    facts = [(rng.integers(ITEMS), rng.integers(RELATIONS), rng.integers(ITEMS, ENTITIES)) for _ in range(22)]
    facts += [(rng.integers(ITEMS, ENTITIES), rng.integers(RELATIONS), rng.integers(ITEMS)) for _ in range(8)]
    facts += [(rng.integers(ITEMS, ENTITIES), rng.integers(RELATIONS), rng.integers(ITEMS, ENTITIES)) for _ in range(6)]
    facts += facts[:2]  # a fact that stands twice says no more
    facts = [(h, r, t) for h, r, t in facts if h != t]
    sizes = (("users", USERS), ("items", ITEMS), ("entities", ENTITIES), ("relations", RELATIONS))
    vocabulary = Vocabulary(**{kind: IdMap([f"{kind}-{n}" for n in range(size)], kind=kind) for kind, size in sizes})
    pairs = Interactions(*np.array(sorted(drawn if clicks is None else clicks), np.int32).T.copy())
    return TrainView(vocabulary, pairs, KnowledgeGraph(Triples(*np.array(facts, np.int32).T.copy()), Triples.empty()))


def evidence_of(view: TrainView, **settings: object) -> Evidence:
    return Evidence(view, **{"trained_clicks": view.popularity, "kinds": None, "max_items": MAX_ITEMS, **settings})


def profiles_of(view: TrainView, users: np.ndarray) -> sparse.csr_array:
    return weigh(view.history[users], None, 1.0)


def everybody(view: TrainView) -> np.ndarray:
    return np.arange(view.n_users, dtype=np.int32)


def gathered(evidence: Evidence, users: np.ndarray, n: int = ITEMS, own: int = ITEMS) -> Gathered:
    return evidence.gather(users, profiles_of(evidence.view, users), n, own)


# -- a slow reading of each channel ------------------------------------------------------------------------------------------


def paths_of(evidence: Evidence, c: int, profile: sparse.csr_array, item: int, limit: int) -> list[Reason]:
    """The paths of one channel alone."""
    alone = np.arange(len(evidence.channels)) == c
    return reasons_of(evidence.view, evidence.factors.terms(profile, item), item, limit, alone.astype(np.float64))


class Slow:
    """Sets and loops instead of matrices."""

    def __init__(self, view: TrainView) -> None:
        facts = view.graph.entity
        self.items_of = {u: set(view.history[[u]].indices.tolist()) for u in range(view.n_users)}
        self.users_of = {i: {u for u in self.items_of if i in self.items_of[u]} for i in range(view.n_items)}
        self.links: dict[int, set[int]] = {e: set() for e in range(view.n_entities)}
        self.facts_of: dict[int, set[tuple[int, bool, int]]] = {i: set() for i in range(view.n_items)}
        for h, r, t in zip(facts.heads.tolist(), facts.relations.tolist(), facts.tails.tolist(), strict=True):
            self.links[h].add(t)
            self.links[t].add(h)
            if h < view.n_items:
                self.facts_of[h].add((r, False, t))
            if t < view.n_items:
                self.facts_of[t].add((r, True, h))
        self.degree = {i: len(self.users_of[i]) + len(self.links[i]) for i in self.users_of}
        self.reach = {i: self._reach(i) for i in self.users_of}

    def neighbours(self, i: int, j: int) -> float:
        both = self.users_of[i] & self.users_of[j]
        return sum((len(self.users_of[i]) * len(self.users_of[j]) * len(self.items_of[u])) ** -0.5 for u in both)

    def crowd(self, i: int, j: int) -> float:
        return sum(1 / self.degree[i] / len(self.items_of[u]) for u in self.users_of[i] & self.users_of[j])

    def context(self, i: int, j: int) -> float:
        shared = [e for e in self.links[i] & self.links[j] if 1 < len(self.links[e]) <= MAX_ITEMS]
        return sum(1 / self.degree[i] / len(self.links[e]) for e in shared)

    def relation(self, i: int, j: int, relation: int, inverse: bool) -> float:
        total = 0.0
        for fact in self.facts_of[i] & self.facts_of[j]:
            holders = sum(fact in facts for facts in self.facts_of.values())
            if fact[:2] == (relation, inverse) and 1 < holders <= MAX_ITEMS:
                total += (len(self.facts_of[i]) * len(self.facts_of[j])) ** -0.5 / holders
        return total

    def second_hop(self, i: int, j: int) -> float:
        total = 0.0
        for e in self.reach[i].keys() & self.reach[j].keys():
            holders = sum(e in reached for reached in self.reach.values())
            if 1 < holders <= MAX_ITEMS:
                total += self.reach[i][e] * self.reach[j][e] / holders * (len(self.reach[i]) * len(self.reach[j])) ** -0.5
        return total

    def _reach(self, item: int) -> dict[int, float]:
        found: dict[int, float] = {}
        for e in self.links[item]:
            for other in self.links[e] if len(self.links[e]) > 1 else ():
                if other != item and len(self.links[other]) > 1:
                    found[other] = found.get(other, 0.0) + len(self.links[e]) ** -0.5
        return found

    def channels(self, evidence: Evidence) -> list[Callable[[int, int], float]]:
        def typed(relation: int, inverse: bool) -> Callable[[int, int], float]:
            return lambda i, j: self.relation(i, j, relation, inverse)

        return [self.neighbours, self.crowd, self.context, *(typed(*kind) for kind in evidence.kinds), self.second_hop]


def dense(evidence: Evidence) -> list[np.ndarray]:
    """(I, I) closeness of each channel."""
    factors = (evidence.factors.channel(c) for c in range(len(evidence.channels)))
    return [left.toarray().astype(np.float64) @ right.toarray() for left, right in factors]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_channel_equals_its_loop(seed: int) -> None:
    view = random_view(seed)
    evidence, slow = evidence_of(view), Slow(view)
    assert len(evidence.channels) == 4 + len(evidence.kinds)
    parts = zip(evidence.channels, dense(evidence), evidence.factors.itself, slow.channels(evidence), strict=True)
    for channel, matrix, itself, loop in parts:
        expected = np.array([[loop(i, j) for j in range(ITEMS)] for i in range(ITEMS)])
        assert matrix == pytest.approx(expected, abs=1e-6), channel.name
        assert itself == pytest.approx(np.diag(expected), abs=1e-6), channel.name


def test_the_random_graphs_try_every_channel() -> None:
    reached: dict[str, int] = {}
    directions = set()
    for seed in SEEDS:
        evidence = evidence_of(random_view(seed))
        directions |= {inverse for _, inverse in evidence.kinds}
        for channel, matrix in zip(evidence.channels, dense(evidence), strict=True):
            off_diagonal = matrix - np.diag(np.diag(matrix))
            reached[channel.name] = reached.get(channel.name, 0) + int((off_diagonal > 0).sum())
    assert directions == {False, True}
    assert min(reached.values()) > 0, reached


@pytest.mark.parametrize("seed", SEEDS)
def test_other_clicks_share_the_channels_of_the_facts(seed: int) -> None:
    """To the same bits as evidence that was built alone; other facts, kinds, limits or items share nothing."""
    view, other = random_view(seed), random_view(seed + 100)
    fewer = replace(view, interactions=other.interactions)
    first = evidence_of(view)
    shared, alone = evidence_of(fewer, like=first), evidence_of(fewer)
    assert shared.of_graph is first.of_graph
    assert alone.of_graph is not first.of_graph
    assert (shared.of_clicks.left != first.of_clicks.left).nnz
    one, two = gathered(shared, everybody(view)), gathered(alone, everybody(view))
    for part in fields(Gathered):
        assert (getattr(one, part.name) == getattr(two, part.name)).all(), part.name
    assert (shared.about_items == alone.about_items).all()

    assert evidence_of(view, like=first, kinds=first.kinds).of_graph is first.of_graph
    for case in ({"kinds": first.kinds[:1]}, {"max_items": MAX_ITEMS - 1}):
        built = evidence_of(view, like=first, **case)
        assert built.of_graph is not first.of_graph, case
        assert built.kinds == evidence_of(view, **case).kinds
    of_one_kind = evidence_of(view, kinds=first.kinds[:1])
    assert evidence_of(view, like=of_one_kind).kinds == first.kinds, "all kinds are asked for, not the one that was given"
    assert evidence_of(other, like=first).of_graph is not first.of_graph
    one_less = replace(view.vocabulary, items=view.vocabulary.items.select(np.arange(ITEMS - 1, dtype=np.int32)))
    without_last = TrainView(one_less, view.interactions, view.graph)  # nobody clicked it
    assert evidence_of(without_last, like=first).of_graph is not first.of_graph


def test_names_are_the_labels_of_relations_with_a_mark_for_the_direction() -> None:
    evidence = evidence_of(toy_view())
    assert evidence.names == (
        "neighbours",
        "crowd",
        "context",
        "written by",
        "has the genre",
        "is part of",
        "is set in",
        "second-hop",
    )
    backwards = evidence_of(random_view(0))
    assert [name[0] == "^" for name in backwards.names[3:-1]] == [inverse for _, inverse in backwards.kinds]


def test_what_joins_too_many_joins_nothing() -> None:
    # toy: books 6 and 10 share Otto (5 books and, behind him, Pearl: 6 links) and "Space opera" (6 books)
    def joined(max_items: int) -> tuple[bool, bool, bool]:
        evidence = evidence_of(toy_view(), max_items=max_items)
        matrices = dict(zip(evidence.names, dense(evidence), strict=True))
        written, genre, context = (matrices[name][6, 10] > 0 for name in ("written by", "has the genre", "context"))
        return bool(written), bool(genre), bool(context)

    assert joined(6) == (True, True, True)
    assert joined(5) == (True, False, False)
    assert joined(4) == (False, False, False)
    assert "is set in" in evidence_of(toy_view(), max_items=3).names
    assert evidence_of(toy_view(), max_items=2).kinds == ()


def test_what_nearly_all_items_have_tells_none_from_another() -> None:
    """Items that share one more fact are joined by it, unless nine in ten of all have it."""
    view = toy_view()
    facts, n_items, entity = view.graph.entity, view.n_items, view.n_entities - 1

    def joined(n_with: int) -> list[np.ndarray]:
        more = np.arange(n_with, dtype=np.int32), np.zeros(n_with, np.int32), np.full(n_with, entity, np.int32)
        columns = (np.concatenate(pair) for pair in zip((facts.heads, facts.relations, facts.tails), more, strict=True))
        changed = replace(view, graph=KnowledgeGraph(Triples(*columns), view.graph.user))
        evidence = evidence_of(changed, max_items=100, kinds=evidence_of(view).kinds)
        return [matrix > 0 for name, matrix in zip(evidence.names, dense(evidence), strict=True) if name != "second-hop"]

    before = joined(0)
    some, all_of_them = joined(n_items // 2), joined(n_items)
    assert sum(int((a & ~b).sum()) for a, b in zip(some, before, strict=True)) > 0
    assert all((a == b).all() for a, b in zip(all_of_them, before, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_gathered_features_equal_dense_sums(seed: int) -> None:
    view = random_view(seed)
    evidence = evidence_of(view)
    users = everybody(view)
    found, c = gathered(evidence, users), len(evidence.channels)
    profiles, seen = profiles_of(view, users).toarray().astype(np.float64), view.history.toarray() > 0
    raw = np.stack([profiles @ matrix for matrix in dense(evidence)], axis=2)  # (U, I, C)
    top = np.where(seen[:, :, None], 0.0, raw).max(axis=1)
    units = raw / np.where(top > 0, top, 1.0)[:, None]
    prior = np.where(seen, -1.0, units @ np.array([channel.weight for channel in evidence.channels]))
    assert found.prior == pytest.approx(prior, abs=1e-5)
    for user in users:
        places = found.items[user]
        free = ~seen[user, places]
        assert sorted(places.tolist()) == list(range(ITEMS)), "all items fit, and each is there once"
        assert (np.diff(found.prior[user, places]) <= 0).all()
        features = found.features[user][free]
        assert features[:, :c] == pytest.approx(np.sqrt(units[user, places][free]), abs=1e-3)
        assert (features[:, c : 2 * c] == (raw[user, places][free] > 1e-9)).all()
        assert features[:, -1] == pytest.approx(prior[user, places][free], abs=1e-5)


def test_item_vectors_are_the_leading_eigenvectors_of_the_joined_graph() -> None:
    view, dim = random_view(1), 5
    n_users, n = view.n_users, view.n_users + view.n_entities
    a = np.zeros((n, n))
    ends = [(u, i + n_users) for u, i in zip(view.interactions.users, view.interactions.items, strict=True)]
    facts = view.graph.entity
    ends += [(h + n_users, t + n_users) for h, t in zip(facts.heads, facts.tails, strict=True)]
    for one, other in ends:
        a[one, other] += 1
        a[other, one] += 1
    root = np.sqrt(np.maximum(a.sum(1), 1))
    values, vectors = np.linalg.eigh(a / np.outer(root, root))
    leading = np.argsort(-np.abs(values), kind="stable")[:dim]
    expected = (vectors[:, leading] * np.sqrt(np.abs(values[leading])))[n_users : n_users + view.n_items]
    expected /= np.linalg.norm(expected, axis=1).mean()
    found = item_vectors(view, dim, rounds=400)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.02)
    assert np.array_equal(item_vectors(view, dim), item_vectors(view, dim))
    assert item_vectors(view, 500).shape == (view.n_items, 500), "more than there are nodes: the rest is zero"


def test_with_vectors_the_inner_product_stands_before_the_prior() -> None:
    view = random_view(2)
    evidence, plain = evidence_of(view, vector_dim=4), evidence_of(view)
    users = everybody(view)
    found, without, profiles = gathered(evidence, users), gathered(plain, users), profiles_of(view, users).toarray()
    assert evidence.n_features == plain.n_features + 1
    np.testing.assert_array_equal(np.delete(found.features, -2, axis=2), without.features)
    np.testing.assert_array_equal(np.delete(found.own, -2, axis=2), without.own)
    for user in users:
        z = profiles[user] @ evidence.vectors
        np.testing.assert_allclose(found.features[user, :, -2], evidence.vectors[found.items[user]] @ z, atol=1e-5)
        for place in np.flatnonzero(found.own_mask[user]):
            item = found.own_items[user, place]
            others = z - profiles[user, item] * evidence.vectors[item]
            assert found.own[user, place, -2] == pytest.approx(others @ evidence.vectors[item], abs=1e-5)


def test_a_candidate_is_described_beside_its_channels() -> None:
    view = toy_view()
    trained = view.popularity.copy()
    trained[3] = 0  # "i03" has clicks, but had none when the model was trained
    evidence = evidence_of(view, trained_clicks=trained[:10])  # and the last two came later
    found = gathered(evidence, everybody(view), n=view.n_items)
    about = dict(zip(ITEM_FEATURES, np.moveaxis(found.features[:, :, -4:], 2, 0), strict=True))
    of_item = {int(item): place for place, item in enumerate(found.items[0])}
    assert evidence.n_features == 2 * len(evidence.channels) + 4 == found.features.shape[2]
    assert {i for i, place in of_item.items() if about["new"][0, place]} == {3, 10, 11}
    assert about["popularity"][0, of_item[3]] == pytest.approx(np.log1p(2) / 5)
    assert about["facts"][0, of_item[3]] == pytest.approx(np.log1p(3) / 3)  # Otto, space opera, Tin Moon
    assert about["facts"][0, of_item[11]] == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [3, ITEMS, 50])
def test_candidates_come_by_plain_sum_and_seen_items_never_count(seed: int, n: int) -> None:
    view = random_view(seed)
    found = gathered(evidence_of(view), everybody(view), n=n)
    seen = view.history.toarray() > 0
    assert found.items.shape == (USERS, min(n, ITEMS))
    for user in range(USERS):
        priors = found.prior[user, found.items[user]]
        assert (priors == np.sort(found.prior[user])[::-1][: len(priors)]).all()
        assert (found.prior[user][seen[user]] == -1).all()
        assert (found.prior[user][~seen[user]] >= 0).all()
        assert not seen[user, found.items[user][priors > 0]].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_features_are_finite_and_in_range(seed: int) -> None:
    view = random_view(seed)
    evidence = evidence_of(view)
    found, c = gathered(evidence, everybody(view)), len(evidence.channels)
    seen = np.take_along_axis(view.history.toarray() > 0, found.items.astype(np.int64), axis=1)
    assert (found.features[seen][:, -1] == -1).all(), "of what is seen, the plain sum is -1"
    for features in (found.features, found.own):
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
        assert features[:, :, :-1].min() >= 0
        assert features[:, :, :c].max() <= 2
        assert set(np.unique(features[:, :, c : 2 * c])) <= {0.0, 1.0}
        assert features[:, :, -1].max() <= 10
    assert found.features[~seen][:, :c].max() == pytest.approx(1.0), "the best candidate of a channel has 1"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_of_one_equals_its_row(seed: int) -> None:
    view = random_view(seed)
    evidence = evidence_of(view)
    users = np.array([5, 0, 7, 5, 2], np.int32)
    together = gathered(evidence, users, own=3)
    for place, user in enumerate(users):
        alone = gathered(evidence, np.array([user], np.int32), own=3)
        for name in ("items", "features", "prior", "own", "own_mask", "own_items"):
            assert (getattr(alone, name)[0] == getattr(together, name)[place]).all(), (name, user)


def test_a_user_without_clicks_has_no_evidence_and_disturbs_nobody() -> None:
    evidence = evidence_of(random_view(1))
    found, c = gathered(evidence, np.array([7, 0], np.int32)), len(evidence.channels)
    assert (found.prior[0] == 0).all()
    assert (found.features[0, :, : 2 * c] == 0).all()
    assert not found.own_mask[0].any()
    assert found.own_mask[1].any()
    alone = gathered(evidence, np.array([7], np.int32))
    assert not alone.own_mask.any()
    assert (gathered(evidence, np.empty(0, np.int32)).items.shape) == (0, ITEMS)


def test_own_items_are_the_heaviest_of_the_profile() -> None:
    view = toy_view()
    recent = sparse.csr_array((np.ones(2, np.float32), ([0, 0], [7, 2])), shape=view.history.shape)
    users = np.array([0], np.int32)  # ann clicked 0, 1, 2, 7; the last two have just arrived
    found = evidence_of(view).gather(users, weigh(view.history[users], recent[users], 0.1), 5, 3)
    assert found.own_items[0].tolist() == [2, 7, 0]
    assert found.own_mask.tolist() == [[True, True, True]]
    fewer = evidence_of(view).gather(users, weigh(view.history[users], None, 0.1), 5, 6)
    assert fewer.own_items[0].tolist() == [0, 1, 2, 7, 0, 0]
    assert fewer.own_mask.tolist() == [[True] * 4 + [False] * 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_own_item_is_judged_as_if_it_had_not_been_clicked(seed: int) -> None:
    """Exact for facts, context and crowd: nothing else in them knows of the click. `neighbours` divides by the root of the
    item's users, the user himself among them: exact up to sqrt((n - 1) / n) for an item of n users."""
    view = random_view(seed)
    evidence, slow = evidence_of(view), Slow(view)
    found, c = gathered(evidence, everybody(view)), len(evidence.channels)
    clicks = set(zip(view.interactions.users.tolist(), view.interactions.items.tolist(), strict=True))
    profiles = profiles_of(view, everybody(view)).toarray().astype(np.float64)
    tried = 0
    for user, place in zip(*np.nonzero(found.own_mask), strict=True):
        item = int(found.own_items[user, place])
        without = evidence_of(random_view(seed, clicks - {(int(user), item)}), kinds=evidence.kinds)
        others = np.where(np.arange(ITEMS) == item, 0.0, profiles[user])
        n = len(slow.users_of[item])
        for k, (matrix, unclicked) in enumerate(zip(dense(evidence), dense(without), strict=True)):
            free = view.history[[user]].toarray()[0] == 0
            top = (profiles[user] @ matrix)[free].max()
            expected = (others @ unclicked)[item] / (top if top > 0 else 1.0)
            if evidence.names[k] == "neighbours":
                expected *= np.sqrt((n - 1) / n)
            where = (evidence.names[k], user, item)
            assert found.own[user, place, k] == pytest.approx(min(np.sqrt(expected), 2.0), abs=2e-3), where
            assert found.own[user, place, c + k] == (expected > 1e-9), where
            tried += expected > 1e-9
    assert tried > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_paths_take_a_channel_apart(seed: int) -> None:
    view = random_view(seed)
    evidence, slow = evidence_of(view), Slow(view)
    for user, (c, loop) in product((0, 1, 2), enumerate(slow.channels(evidence))):
        profile = profiles_of(view, np.array([user], np.int32))
        for item in set(range(ITEMS)) - slow.items_of[user]:
            score = sum(loop(own, item) for own in slow.items_of[user])
            paths = paths_of(evidence, c, profile, item, limit=1000)
            assert sum(path.share for path in paths) == pytest.approx(1.0 if score > 0 else 0.0, abs=1e-5)
            assert [path.share for path in paths] == sorted((path.share for path in paths), reverse=True)
            assert paths_of(evidence, c, profile, item, limit=1) == paths[:1]
            for path in paths:
                assert path.start in slow.items_of[user]
                assert path.steps[-1].entity == item
                _check_hops(slow, view, path.start, [(s.relation, s.inverse, s.entity) for s in path.steps])


def _check_hops(slow: Slow, view: TrainView, start: int, steps: list[tuple[int | None, bool, int | None]]) -> None:
    """Every hop of a path over facts is a fact, walked in the direction it says."""
    facts = view.graph.entity
    known = set(zip(facts.heads.tolist(), facts.relations.tolist(), facts.tails.tolist(), strict=True))
    for relation, inverse, end in steps:
        if relation is None:  # over people: they have clicked both ends
            assert slow.users_of[start] & slow.users_of[steps[-1][2] or 0]
            return
        assert ((end, relation, start) if inverse else (start, relation, end)) in known
        start = end or 0


def test_the_share_of_people_counts_them() -> None:
    view = toy_view()
    evidence = evidence_of(view)
    (path,) = paths_of(evidence, 0, profiles_of(view, np.array([0], np.int32)), 9, limit=1)
    # ann clicked 0, 1, 2, 7; item 9 was clicked by cleo (0, 2, 7, 9) and gus (0, 9, 11), who both have clicked item 0.
    # items 0 and 7 have three users, item 2 has two; the rest is the same for all three
    parts = [3**-0.5 * (4**-0.5 + 3**-0.5), 2**-0.5 * 4**-0.5, 3**-0.5 * 4**-0.5]
    assert (path.start, path.steps[0].users) == (0, 2)
    assert path.share == pytest.approx(parts[0] / sum(parts), abs=1e-5)


def test_a_relation_that_arrives_after_training_makes_no_channel() -> None:
    view = toy_view()
    before = evidence_of(view)
    later = view.extend(arriving())
    assert later.n_relations == view.n_relations + 1
    after = evidence_of(later, trained_clicks=view.popularity, kinds=before.kinds)
    assert after.names == before.names
    assert after.n_features == before.n_features
    found = after.gather(everybody(later), profiles_of(later, everybody(later)), 50, 5)
    row = later.vocabulary.items.row("i90")
    new = found.features[0, found.items[0].tolist().index(row), -3]
    assert new == 1, "nobody had clicked it in training"


def test_a_kind_of_training_stays_a_channel_where_it_joins_nothing_any_more() -> None:
    view = toy_view()
    kinds = evidence_of(view).kinds
    bare = TrainView(view.vocabulary, view.interactions, KnowledgeGraph.empty())
    evidence = evidence_of(bare, kinds=kinds)
    assert evidence.kinds == kinds
    found = gathered(evidence, everybody(view), n=view.n_items)
    assert np.isfinite(found.features).all()
    assert (found.features[:, :, 2 : len(evidence.channels)] == 0).all()


@pytest.mark.parametrize("crowded", [0, 1, 10**9])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dim", [0, 3])
def test_one_user_is_told_what_he_is_told_in_company(monkeypatch, seed: int, crowded: int, dim: int) -> None:
    """To the same bits, whichever way a channel is added up; few own items, more candidates than speak, or a stranger."""
    monkeypatch.setattr("metakg.models.factors._CROWDED", crowded)
    view = random_view(seed)
    evidence, users = evidence_of(view, vector_dim=dim), everybody(view)
    profiles = profiles_of(view, users)
    for n, own in ((ITEMS, ITEMS), (3, 2)):
        together = evidence.gather(users, profiles, n, own)
        monkeypatch.setattr("metakg.models.evidence._LONG", 0)
        one_by_one = evidence.gather(users, profiles, n, own)
        monkeypatch.undo()
        monkeypatch.setattr("metakg.models.factors._CROWDED", crowded)
        for part in fields(Gathered):
            assert (getattr(one_by_one, part.name) == getattr(together, part.name)).all(), part.name
        strangers = evidence.gather(np.full(USERS, -1, np.int32), profiles, n, own, view.history)
        for user in users.tolist():
            row = slice(user, user + 1)
            alone = evidence.gather(users[row], profiles[[user]], n, own)
            stranger = evidence.gather(np.array([-1], np.int32), profiles[[user]], n, own, view.history[[user]])
            for found, expected in ((alone, together), (stranger, strangers)):
                for part in fields(Gathered):
                    assert (getattr(found, part.name) == getattr(expected, part.name)[row]).all(), part.name
        assert (together.own != strangers.own).any(), "somebody leads back to his own item himself"
