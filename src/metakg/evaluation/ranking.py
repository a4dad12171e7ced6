"""Full ranking: every item for every user, in blocks, with a total order.

Equal scores are ordered by ascending item row, also at the cut-off, and how many there are is reported: a list full of ties
is a list of whatever comes first in the files. `evaluate` has them ordered by lot instead, drawn for each user and item, so
that neither the order of a file nor a luck that all users share judges anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metakg.errors import TrainingError
from metakg.evaluation.inner_product import Precision, inner_product_top_k, inner_products
from metakg.evaluation.masks import Masked, Masks
from metakg.evaluation.topk import top_k
from metakg.models.base import Recommender
from metakg.sample.keys import mix
from metakg.types import Floats, Rows

SCORE_BYTES = 32 << 20
"""Scores that a model is asked for at a time; the number of users in a block follows from it. Larger blocks are slower: they
leave the caches, and the allocator asks the system for fresh pages every time."""

_OF_USERS = np.uint64(1) << np.uint64(32)
"""Marks the numbers of users, so that a user and an item of the same number are not the same to a hash."""


@dataclass(frozen=True, eq=False)
class RankedLists:
    """The best K items of B users.

    Attributes:
        items: (B, K) int32 item rows, best first; -1 where fewer than K items could be shown.
        scores: (B, K) float32 their scores; minus infinity there.
        tied: (B,) float32 share of each list whose score occurs again in the list, or just behind its end.
    """

    items: Rows
    scores: Floats
    tied: Floats


@dataclass(frozen=True, eq=False)
class Lots:
    """What a user's equal scores are ordered by: a hash of two numbers, his and the item's.

    Attributes:
        users: (B,) a number of each ranked user, below 2^31.
        items: (I,) a number of each item, no two the same.
    """

    users: Rows
    items: Rows

    def of(self, user: int, items: Rows | npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Return the lots that the user at a place has drawn for some items: (n,) -> (n,), no two the same."""
        return mix(mix(self.items[items].astype(np.uint64)) ^ mix(self.users[[user]].astype(np.uint64) ^ _OF_USERS))


def rank(
    recommender: Recommender,
    users: Rows,
    k: int,
    masked: Masks = None,
    *,
    candidates: Rows | None = None,
    lots: Lots | None = None,
    block: int | None = None,
    precision: Precision = "auto",
) -> RankedLists:
    """Rank all items for each user and return the best k.

    A model that offers `factors` is ranked by inner products, each rounded once to float32 (see
    `metakg.evaluation.inner_product`); any other by its `score_all`.

    Args:
        recommender: a model; users and items are rows of its own view.
        users: (B,) user rows.
        k: length of the lists.
        masked: what is never shown to whom: a (B, I) sparse matrix whose stored entries count, or B arrays of item rows.
        candidates: (C,) the only item rows that may be shown; None for all items.
        lots: what equal scores are ordered by; None orders them by row.
        block: users scored at a time; the default follows from a memory budget. It does not change the result, but for
            the last digits of a network's scores where a block is one user (a vector is added up otherwise than a matrix).
        precision: format in which inner products are screened; it never changes the result.

    Returns:
        Items by falling score, equal scores by ascending row, or by lot.

    Raises:
        TrainingError: a score is NaN or infinite; the message names the user and the model.
    """
    n_users, n_items = recommender.view.n_users, recommender.view.n_items
    if k < 1:
        raise ValueError(f"k is a positive number of items, not {k}")
    if block is not None and block < 1:
        raise ValueError(f"block is a positive number of users, not {block}")
    if len(users) and (users.min() < 0 or users.max() >= n_users):
        raise ValueError(f"users must be rows 0..{n_users - 1}, not {users.min()}..{users.max()}")
    if candidates is not None:
        candidates = np.unique(candidates)
        if len(candidates) and (candidates[0] < 0 or candidates[-1] >= n_items):
            raise ValueError(f"candidates must be rows 0..{n_items - 1}, not {candidates[0]}..{candidates[-1]}")
    device = _device(recommender)
    hidden = Masked.of(masked, len(users), n_items, candidates, device)
    rows = torch.from_numpy(users.astype(np.int64)).to(device)
    columns = None if candidates is None else torch.from_numpy(candidates.astype(np.int64)).to(device)
    with _scoring(recommender):
        vectors = recommender.factors(rows)
        if vectors is not None:
            of_users, of_items = vectors if columns is None else (vectors[0], vectors[1][columns])
            _check_vectors(recommender, rows, of_users, of_items, columns)
            best, scores = inner_product_top_k(of_users, of_items, k + 1, hidden, precision=precision, block=block)
            if lots is not None:
                tied = _tied(scores).nonzero()[:, 0]
                for part in torch.split(tied, max(1, SCORE_BYTES // (8 * max(1, len(of_items))))):
                    dense = inner_products(of_users[part], of_items)
                    dense[hidden.select(part).within(0, len(part))] = -torch.inf
                    best[part] = _by_lot(dense, scores[part], part, columns, lots)
        else:
            best, scores = _rank_scores(recommender, rows, k + 1, hidden, columns, lots, block)
    # An empty place is -1, which picks the last entry: -1 again.
    items = best if columns is None else torch.cat([columns, columns.new_full((1,), -1)])[best]
    return RankedLists(
        items[:, :k].int().cpu().numpy(), np.ascontiguousarray(scores[:, :k].cpu().numpy()), _tied(scores).cpu().numpy()
    )


def _rank_scores(
    recommender: Recommender,
    users: Tensor,
    k: int,
    masked: Masked,
    columns: Tensor | None,
    lots: Lots | None,
    block: int | None,
) -> tuple[Tensor, Tensor]:
    """Rank a model by its dense scores: (B,) -> (B, k) positions among the ranked items, (B, k) scores."""
    n_items = recommender.view.n_items
    block = block or max(1, SCORE_BYTES // (4 * max(1, n_items)))
    best = torch.full((len(users), k), -1, device=users.device)
    values = torch.full((len(users), k), -torch.inf, device=users.device)
    for start in range(0, len(users), block):
        stop = min(start + block, len(users))
        scores = recommender.score_all(users[start:stop])  # (b, I)
        if scores.shape != (stop - start, n_items) or scores.dtype != torch.float32:
            raise TypeError(
                f"{recommender.config.kind}.score_all must return ({stop - start}, {n_items}) float32, "
                f"not {tuple(scores.shape)} {scores.dtype}"
            )
        _check_scores(recommender, users[start:stop], scores)
        scores = scores.contiguous() if columns is None else scores[:, columns]
        scores[masked.within(start, stop)] = -torch.inf
        best[start:stop], values[start:stop] = top_k(scores, k)
        if lots is not None:
            tied = _tied(values[start:stop]).nonzero()[:, 0]
            best[start + tied] = _by_lot(scores[tied], values[start + tied], start + tied, columns, lots)
    return best, values


def _by_lot(scores: Tensor, values: Tensor, users: Tensor, columns: Tensor | None, lots: Lots) -> Tensor:
    """Return the items of lists with the given scores, equal ones by lot: (r, C), (r, k) falling, (r,) -> (r, k) positions.

    List by list: where a score is shared by the whole catalogue, picking the few smallest lots of one user is cheap, and
    sorting those of a block of users is not.
    """
    rows = None if columns is None else columns.cpu().numpy()
    found = np.full(values.shape, -1, np.int64)
    for r, (said, falling) in enumerate(zip(scores.cpu().numpy(), values.cpu().numpy(), strict=True)):
        shown = int((falling > -np.inf).sum())
        if not shown:
            continue
        last, user = falling[shown - 1], int(users[r])
        items, at_the_end = np.flatnonzero(said > last), np.flatnonzero(said == last)
        drawn, wanted = lots.of(user, at_the_end if rows is None else rows[at_the_end]), shown - len(items)
        if wanted < len(at_the_end):
            at_the_end = at_the_end[np.argpartition(drawn, wanted - 1)[:wanted]]
        items = np.concatenate([items, at_the_end])
        found[r, :shown] = items[np.lexsort((lots.of(user, items if rows is None else rows[items]), -said[items]))]
    return torch.from_numpy(found).to(scores.device)


def _check_scores(recommender: Recommender, users: Tensor, scores: Tensor) -> None:
    """Refuse scores that are NaN or infinite: (B,), (B, I)."""
    doubtful = (~scores.sum(1).isfinite()).nonzero()[:, 0]  # one pass; isfinite on everything costs forty
    for row in doubtful.tolist():
        bad = ~scores[row].isfinite()
        if bad.any():
            v = recommender.view.vocabulary
            raise TrainingError(
                f"scores of {recommender.config.kind} for user {v.users.id(int(users[row]))!r}",
                f"{float(scores[row][bad][0])} for item {v.items.id(int(bad.nonzero()[0]))!r} and {int(bad.sum()) - 1} more",
                expected="finite numbers",
                fix="Look for a diverged training run or a division by zero in the model.",
            )


def _check_vectors(recommender: Recommender, users: Tensor, of_users: Tensor, of_items: Tensor, columns: Tensor | None) -> None:
    """Refuse vectors whose products may not be finite: (B,), (B, D), (C, D)."""
    kind, v = recommender.config.kind, recommender.view.vocabulary
    n_items = recommender.view.n_items if columns is None else len(columns)
    shape = (len(users), of_users.shape[-1]), (n_items, of_users.shape[-1])
    if (of_users.shape, of_items.shape) != shape or {of_users.dtype, of_items.dtype} != {torch.float32}:
        raise TypeError(
            f"{kind}.factors must return float32 vectors of one width for {len(users)} users and {n_items} items, "
            f"not {tuple(of_users.shape)} {of_users.dtype} and {tuple(of_items.shape)} {of_items.dtype}"
        )
    if not len(of_users) or not len(of_items):
        return
    lengths = torch.linalg.vector_norm(of_users, dim=1), torch.linalg.vector_norm(of_items, dim=1)
    largest = [length.max() for length in lengths]  # NaN wins
    if (1.01 * largest[0] * largest[1]).isfinite() and largest[0].isfinite() and largest[1].isfinite():
        return
    user, item = (int(length.nan_to_num(nan=torch.inf).argmax()) for length in lengths)
    user_id, item_id = v.users.id(int(users[user])), v.items.id(item if columns is None else int(columns[item]))
    raise TrainingError(
        f"scores of {kind} for user {user_id!r}",
        f"vectors of length {float(lengths[0][user])} for this user and {float(lengths[1][item])} for item {item_id!r}",
        expected="a product that is finite in float32",
        fix="Look for a diverged training run: lower the learning rate or raise the weight decay.",
    )


def _tied(scores: Tensor) -> Tensor:
    """Return the share of each list whose score occurs again: (B, K + 1) falling scores -> (B,)."""
    shown = scores[:, :-1] > -torch.inf  # (B, K)
    same_as_next = (scores[:, :-1] == scores[:, 1:]) & shown
    same_as_last = torch.zeros_like(same_as_next)
    same_as_last[:, 1:] = same_as_next[:, :-1] & shown[:, 1:]
    return (same_as_next | same_as_last).sum(1) / shown.sum(1).clamp(min=1)


def _device(recommender: Recommender) -> torch.device:
    for tensor in (*recommender.parameters(), *recommender.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def _scoring(recommender: Recommender) -> Iterator[None]:
    """Score without gradients, dropout or other noise; afterwards every part is in the mode it was in."""
    training = [module for module in recommender.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True
