"""Orders that depend on ids, times and the seed only."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metakg.data import IdMap
from metakg.splits import order

names = st.lists(st.text(st.characters(codec="utf-8"), max_size=4), unique=True, min_size=1, max_size=20)


@given(names, st.randoms())
def test_places_and_lots_do_not_depend_on_rows(ids, random):
    other = list(ids)
    random.shuffle(other)
    one, two = IdMap(ids), IdMap(other)
    place_one, place_two = order.place_by_id(one), order.place_by_id(two)
    assert sorted(place_one.tolist()) == list(range(len(ids)))
    assert all(place_one[one.row(name)] == place_two[two.row(name)] for name in ids)
    assert one.ids(order.by_lot(one, 1, "x")) == two.ids(order.by_lot(two, 1, "x"))


def test_lots_depend_on_seed_and_purpose():
    ids = IdMap([str(k) for k in range(50)])
    drawn = [order.by_lot(ids, seed, purpose).tolist() for seed in (1, 2) for purpose in ("x", "y")]
    assert len(set(map(tuple, drawn))) == 4
    assert all(sorted(rows) == list(range(50)) for rows in drawn)


@given(st.integers(1, 400), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.05]))
def test_latest_takes_a_share(n, share):
    ids = IdMap([str(k) for k in range(n)])
    first = np.arange(n, dtype=np.int64)[::-1].copy()
    new = order.latest(first, np.ones(n, np.bool_), ids, share, 1)
    old = sum(1 for k in range(n) if (k + 1) * 1000 <= n * round(1000 * (1 - share)))
    assert np.count_nonzero(~new) == old
    assert new[: n - old].all()


def test_latest_ignores_what_never_occurs():
    ids, seen = IdMap(list("abcde")), np.array([True, False, True, True, False])
    new = order.latest(np.array([5, 99, 1, 7, 99]), seen, ids, 0.3, 1)
    assert new.tolist() == [False, False, False, True, False]


def test_ties_are_broken_by_lot():
    ids, n = IdMap([str(k) for k in range(100)]), 100
    drawn = [order.latest(np.zeros(n, np.int64), np.ones(n, np.bool_), ids, 0.2, seed) for seed in range(40)]
    assert all(mask.sum() == 20 for mask in drawn)
    times = np.sum(drawn, axis=0)
    assert times.min() > 0
    assert times.max() < 20


def test_draw_takes_from_those_allowed():
    ids, among = IdMap([str(k) for k in range(50)]), np.arange(50) % 2 == 0
    drawn = order.draw(among, ids, 0.4, 3, "x")
    assert drawn.sum() == 10
    assert not (drawn & ~among).any()


def test_last_of_each():
    groups = np.array([2, 0, 2, 2, 0, 1], np.int32)
    assert order.last_of_each(groups, np.array([1, 5, 2])).tolist() == [False, False, True, True, True, True]


def test_first_times():
    first, seen = order.first_times(np.array([2, 0, 2], np.int32), np.array([5, -1, 3], np.int64), 4)
    assert first[[0, 2]].tolist() == [-1, 3]
    assert seen.tolist() == [True, False, True, False]
