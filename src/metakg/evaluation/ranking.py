"""Full ranking: every item for every user, in blocks, with a total order.

Equal scores stand in the order of the candidates, also at the cut-off, and how many there are is reported: a list full of
ties is a list of whatever comes first. By default that is the lowest row, the item that the files named first. `evaluate`
gives an order drawn by lot and lets each user begin at another place of it, so that neither the order of a file nor the luck of
one lot judges anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metakg.errors import TrainingError
from metakg.evaluation.inner_product import Precision, inner_product_top_k, inner_products
from metakg.evaluation.masks import Masked, Masks
from metakg.evaluation.topk import top_k
from metakg.models.base import Recommender
from metakg.types import Floats, Rows

SCORE_BYTES = 32 << 20
"""Scores that a model is asked for at a time; the number of users in a block follows from it. Larger blocks are slower: they
leave the caches, and the allocator asks the system for fresh pages every time."""


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


def rank(
    recommender: Recommender,
    users: Rows,
    k: int,
    masked: Masks = None,
    *,
    candidates: Rows | None = None,
    turns: Rows | None = None,
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
        candidates: (C,) the only item rows that may be shown, in the order in which equal scores stand (the first place of a
            row that is named twice); None for all items, by row.
        turns: (B,) for each user the place among the candidates, from 0, at which his order of equal scores begins; behind the
            last comes the first. None begins at the first for everybody.
        block: users scored at a time; the default follows from a memory budget. It never changes the result.
        precision: format in which inner products are screened; it never changes the result.

    Returns:
        Items by falling score, equal scores in the order of the candidates.

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
        _, first = np.unique(candidates, return_index=True)
        candidates = candidates[np.sort(first)]
        if len(candidates) and (candidates.min() < 0 or candidates.max() >= n_items):
            raise ValueError(f"candidates must be rows 0..{n_items - 1}, not {candidates.min()}..{candidates.max()}")
    n_ranked = n_items if candidates is None else len(candidates)
    if turns is not None and (turns.shape != users.shape or (len(turns) and not 0 <= turns.min() <= turns.max() < n_ranked)):
        raise ValueError(f"turns must be a place 0..{n_ranked - 1} for each of {len(users)} users")
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
            if turns is not None:
                tied = _tied(scores).nonzero()[:, 0]
                for part in torch.split(tied, max(1, SCORE_BYTES // (8 * max(1, n_ranked)))):
                    dense = inner_products(of_users[part], of_items)
                    dense[hidden.select(part).within(0, len(part))] = -torch.inf
                    best[part], scores[part] = _turned_top_k(dense, turns[part.cpu().numpy()], k + 1)
        else:
            best, scores = _rank_scores(recommender, rows, k + 1, hidden, columns, turns, block)
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
    turns: Rows | None,
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
        scores = scores.contiguous() if columns is None else scores.index_select(1, columns)
        scores[masked.within(start, stop)] = -torch.inf
        best[start:stop], values[start:stop] = top_k(scores, k)
        if turns is not None:
            tied = _tied(values[start:stop]).nonzero()[:, 0]
            of_tied = turns[start:stop][tied.cpu().numpy()]
            best[start + tied], values[start + tied] = _turned_top_k(scores, of_tied, k, tied)
    return best, values


def _turned_top_k(scores: Tensor, turns: Rows, k: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Do what `top_k` does, equal scores in an order that begins at a place of each row's own: (b, n), (r,) -> (r, k), (r, k).

    Args:
        scores: as for `top_k`.
        turns: the places.
        k: length of the lists.
        rows: (r,) which rows of the scores are ranked; None for all.
    """
    n = scores.shape[1]
    turned = scores.new_empty(len(turns), n)
    for r, (row, turn) in enumerate(zip(range(len(scores)) if rows is None else rows.tolist(), turns.tolist(), strict=True)):
        turned[r, : n - turn], turned[r, n - turn :] = scores[row, turn:], scores[row, :turn]
    best, values = top_k(turned, k)
    back = (best + torch.from_numpy(turns.astype(np.int64)).to(best.device)[:, None]) % max(1, n)
    return torch.where(best >= 0, back, best), values


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
