"""Ranking metrics as pure functions: a matrix of hits goes in, one value for each user and cut-off comes out.

For a user with the relevant items Q (his query), r_1, r_2, ... tell whether the item at each place of his list is one of
them. All metrics lie in 0..1, higher is better, and are then averaged over users.

    recall@K     hits in the first K / |Q|
    precision@K  hits in the first K / K
    hit@K        1 if there is a hit in the first K
    mrr@K        1 / place of the first hit, 0 if it lies behind K
    map@K        mean over Q of precision@place at each hit in the first K; misses count 0 (divides by |Q|)
    ndcg@K       DCG / ideal DCG, DCG = sum of r_p / log2(p + 1), ideal: the first min(K, |Q|) places are hits

These are `recall.K`, `P.K`, `success.K`, `recip_rank`, `map_cut.K` and `ndcg_cut.K` of NIST's trec_eval; NDCG is from
Jarvelin and Kekalainen 2002 with binary gains. Some libraries divide map@K by min(K, |Q|) instead, or take an ideal DCG over K
places whatever |Q| is; their numbers differ. A list that is shorter than K counts as filled with misses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from metakg.types import Rows

Values = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]


def find_hits(items: Rows, query_users: Rows, query_items: Rows) -> tuple[Hits, npt.NDArray[np.int64]]:
    """Find which places of ranked lists hold a relevant item.

    Args:
        items: (B, K) ranked item rows, -1 for an empty place.
        query_users: (n,) position 0..B-1 in `items` of each relevant pair's user.
        query_items: (n,) item row of each relevant pair; every pair once.

    Returns:
        (B, K) whether each place is a hit, and (B,) the number of relevant items |Q| of each user.
    """
    size = 1 + max(int(items.max(initial=-1)), int(query_items.max(initial=-1)))
    answers = np.sort(query_users.astype(np.int64) * size + query_items)
    if (np.diff(answers) == 0).any():
        raise ValueError("a relevant pair is given twice")
    keys = np.arange(len(items), dtype=np.int64)[:, None] * size + items
    place = np.searchsorted(answers, keys)
    found = np.append(answers, -1)[place] == keys
    return np.asarray(found & (items >= 0)), np.bincount(query_users, minlength=len(items))


def recall(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return the share of a user's relevant items that is found: (B, K), (B,) -> (B, len(ks))."""
    return np.asarray(_counted(hits, ks) / relevant[:, None])


def precision(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return the share of the list that is relevant: (B, K), (B,) -> (B, len(ks))."""
    return np.asarray(_counted(hits, ks) / np.asarray(ks))


def hit(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return whether anything relevant is found: (B, K), (B,) -> (B, len(ks))."""
    return (_counted(hits, ks) > 0).astype(np.float64)


def mrr(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return the reciprocal of the first hit's place: (B, K), (B,) -> (B, len(ks))."""
    first = np.where(hits.any(1), hits.argmax(1), hits.shape[1])[:, None]
    return np.where(first < np.asarray(ks), 1.0 / (first + 1), 0.0)


def average_precision(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return the mean over relevant items of the precision at their places: (B, K), (B,) -> (B, len(ks))."""
    places = np.arange(1, hits.shape[1] + 1)
    return _at(np.cumsum(hits * np.cumsum(hits, axis=1) / places, axis=1), ks) / relevant[:, None]


def ndcg(hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int]) -> Values:
    """Return the discounted gain over that of the best possible list: (B, K), (B,) -> (B, len(ks))."""
    gains = 1.0 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(gains)[np.minimum(np.asarray(ks), relevant[:, None]) - 1]
    return np.asarray(_at(np.cumsum(hits * gains, axis=1), ks) / ideal)


METRICS: dict[str, Callable[[Hits, npt.NDArray[np.int64], Sequence[int]], Values]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit": hit,
    "mrr": mrr,
    "map": average_precision,
}
"""Every metric by its name in tables."""


def compute(
    hits: Hits, relevant: npt.NDArray[np.int64], ks: Sequence[int], names: Sequence[str] = tuple(METRICS)
) -> dict[tuple[str, int], Values]:
    """Return (B,) values of every metric at every cut-off.

    Args:
        hits: (B, K) whether each place holds a relevant item.
        relevant: (B,) number of relevant items |Q| of each user, at least 1.
        ks: cut-offs, each 1..K.
        names: keys of `METRICS`.

    Raises:
        ValueError: a metric is unknown, a cut-off lies outside 1..K, or a user has no relevant item (or fewer than hits).
    """
    check_names(names)
    if not ks or min(ks) < 1 or max(ks) > hits.shape[1]:
        raise ValueError(f"cut-offs must lie in 1..{hits.shape[1]}, the length of the lists, not {list(ks)}")
    if (relevant < np.maximum(1, hits.sum(axis=1))).any():
        raise ValueError("every user needs a relevant item, and no more hits than relevant items")
    found = {name: METRICS[name](hits, relevant, ks) for name in names}
    return {(name, k): found[name][:, j] for name in names for j, k in enumerate(ks)}


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` if one of the names is no metric."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}; there are {', '.join(METRICS)}")


def _counted(hits: Hits, ks: Sequence[int]) -> Values:
    """Return the number of hits in the first k places: (B, K) -> (B, len(ks))."""
    return _at(np.cumsum(hits, axis=1, dtype=np.float64), ks)


def _at(running: Values, ks: Sequence[int]) -> Values:
    """Pick the columns of a running sum that belong to cut-offs: (B, K) -> (B, len(ks))."""
    return running[:, np.asarray(ks) - 1]
