"""Refuse to judge a recommender that has seen an answer: a query pair in the data that it holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metakg.data import Interactions, Split, TrainView
from metakg.errors import LeakageError

_SHOWN = 3


def check_view(split: Split, scenarios: Sequence[str], view: TrainView, what: str) -> None:
    """Check that a model's own data hold no query pair of these scenarios.

    What a split itself shows is checked by `metakg.splits.refuse`; this is about what reached the model by any way at all.

    Args:
        split: where the scenarios come from.
        scenarios: names.
        view: the data of the model.
        what: how to call them in the message ("the training view of kg-knn").

    Raises:
        LeakageError: they do; the message counts them and names the first.
    """
    v = split.dataset.vocabulary
    users = v.users.rows(view.vocabulary.users.array)  # (U of the view,) rows of the data set, -1 where it has none
    items = v.items.rows(view.vocabulary.items.array)
    visible = {what: view.interactions}
    if view.tasks is not None:
        visible |= {f"{what}, its tasks' support": view.tasks.support, f"{what}, its tasks' queries": view.tasks.query}
    for name in scenarios:
        query = split.scenarios[name].query
        keys = query.keys(v.n_items)
        asking = np.zeros(v.n_users + 1, np.bool_)  # the last one stands for users that the data set does not have
        asking[query.users] = True
        for where, pairs in visible.items():
            theirs = pairs.select(asking[users[pairs.users]])
            known = items[theirs.items] >= 0
            shown = Interactions(users[theirs.users[known]], items[theirs.items[known]])
            seen = query.select(np.isin(keys, shown.keys(v.n_items)))
            if len(seen):
                first = zip(seen.users[:_SHOWN].tolist(), seen.items[:_SHOWN].tolist(), strict=True)
                named = ", ".join(f"user {v.users.id(user)!r} with item {v.items.id(item)!r}" for user, item in first)
                raise LeakageError(
                    f"scenario {name}",
                    f"{len(seen):,} of {len(query):,} query pairs in {where} ({named})",
                    expected="none: an answer must be invisible until it is judged",
                    fix="Fit the model on `split.train` of this very split, and on nothing else.",
                )
