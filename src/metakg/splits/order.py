"""Orders that depend on ids, times and the seed only: permuting a file's rows never changes a split.

Row numbers follow the order of the input, so nothing is drawn or sorted by them. Ids are sorted first; lots are drawn over
that order; equal times are put in the order of their lots, so that a tie favours no kind of id.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metakg import rng
from metakg.data import Dataset, Interactions
from metakg.data.ids import IdMap, place_by_id
from metakg.data.scenario import rank_within
from metakg.errors import DataError
from metakg.types import Mask, Rows, Times


def by_id(pairs: Interactions, dataset: Dataset) -> Interactions:
    """Return the pairs sorted by user id and item id.

    Raises:
        DataError: a pair occurs twice, so that a query pair could also be visible.
    """
    v = dataset.vocabulary
    keys = place_by_id(v.users)[pairs.users].astype(np.int64) * v.n_items + place_by_id(v.items)[pairs.items]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        row = int(order[twice[0]])
        user, item = v.users.id(pairs.users[row]), v.items.id(pairs.items[row])
        raise DataError(
            "interactions",
            f"{len(twice)} repeated pairs, first user {user!r} with item {item!r}",
            expected="every pair once, with its first time",
            fix='Prepare the data with "metakg prepare", which merges repeated pairs.',
        )
    return pairs.select(order)


def in_time(dataset: Dataset, seed: int) -> Interactions:
    """Return all pairs sorted by user id, each user's in time order, ties by lot.

    Raises:
        DataError: the data have no times, or a pair occurs twice.
    """
    if dataset.interactions.times_s is None:
        raise DataError(
            "interactions",
            "no times",
            expected="a time for every pair",
            fix='Prepare data with a time column, or let lots say who is new and what is asked for: arrival="lot", '
            '"metakg split --set arrival=lot". To learn from all of it and judge nothing: "metakg train --all".',
        )
    pairs = shuffled(dataset.interactions, dataset, seed)
    assert pairs.times_s is not None
    return pairs.select(np.lexsort((pairs.times_s, place_by_id(dataset.vocabulary.users)[pairs.users])))


def by_lots(dataset: Dataset, seed: int) -> Interactions:
    """Return all pairs sorted by user id, each user's in an order drawn by lot, with their place in it for a time.

    Raises:
        DataError: a pair occurs twice.
    """
    pairs = by_id(dataset.interactions, dataset)
    drawn = rng.generator(seed, "split/order of pairs").permutation(len(pairs))
    pairs = Interactions(pairs.users, pairs.items, pairs.values, drawn.astype(np.int64))
    return pairs.select(np.lexsort((drawn, place_by_id(dataset.vocabulary.users)[pairs.users])))


def shuffled(pairs: Interactions, dataset: Dataset, seed: int) -> Interactions:
    """Return the pairs sorted by user id, each user's in an order drawn by lot.

    Raises:
        DataError: a pair occurs twice.
    """
    pairs = by_id(pairs, dataset)
    pairs = pairs.select(rng.generator(seed, "split/order of pairs").permutation(len(pairs)))
    return pairs.select(np.argsort(place_by_id(dataset.vocabulary.users)[pairs.users], kind="stable"))


def latest(first_s: Times, seen: Mask, ids: IdMap, share: float, seed: int) -> Mask:
    """Return which rows are the latest `share` of those that occur at all; ties by lot.

    Args:
        first_s: (n,) first time of each row; ignored where not `seen`.
        seen: (n,) whether the row occurs.
        ids: the rows' ids.
        share: how many to take; the number of the others is rounded down, as the authors' code does.
        seed: seed of the lots.
    """
    order = by_lot(ids, seed, f"ties of {ids.kind}s")
    order = order[seen[order]]
    order = order[np.argsort(first_s[order], kind="stable")]
    result = np.zeros(len(ids), np.bool_)
    result[order[int(len(order) * (1 - share) + 1e-9) :]] = True
    return result


def by_lot(ids: IdMap, seed: int, purpose: str) -> Rows:
    """Return all rows in an order drawn by lot, which depends on the set of ids and the seed only: (n,) int32."""
    order = np.empty(len(ids), np.int32)
    order[place_by_id(ids)] = np.arange(len(ids), dtype=np.int32)
    return order[rng.generator(seed, f"split/{purpose}").permutation(len(ids))]


def draw(among: Mask, ids: IdMap, share: float, seed: int, purpose: str) -> Mask:
    """Return a share (rounded) of the rows in `among`, drawn by lot."""
    order = by_lot(ids, seed, purpose)
    order = order[among[order]]
    result = np.zeros(len(ids), np.bool_)
    result[order[: round(len(order) * share)]] = True
    return result


def first_times(rows: Rows, times_s: Times, n: int) -> tuple[Times, Mask]:
    """Return the first time of each of n rows and whether it occurs: (p,), (p,) -> (n,), (n,)."""
    first = np.full(n, np.iinfo(np.int64).max, np.int64)
    np.minimum.at(first, rows, times_s)
    return first, np.bincount(rows, minlength=n) > 0


def last_of_each(groups: Rows, how_many: npt.NDArray[np.integer]) -> Mask:
    """Return which positions are among the last of their group, in the order given.

    Args:
        groups: (p,) group of each position.
        how_many: (g,) how many to take of each group.
    """
    sizes = np.bincount(groups, minlength=len(how_many))
    return rank_within(groups) >= (sizes - how_many)[groups]
