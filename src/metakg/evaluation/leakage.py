"""Refuse to judge a run in which an answer is visible: a query pair in anything that learns, adapts or ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metakg.data import Interactions, Split, TrainView
from metakg.errors import LeakageError

_SHOWN = 3


def check_split(split: Split, scenarios: Sequence[str]) -> None:
    """Check that no query pair of these scenarios lies in the training pairs, the tasks, or the scenario's own support.

    Raises:
        LeakageError: one does; the message counts them and names the first.
    """
    for name in scenarios:
        scenario = split.scenarios[name]
        visible = {"the training pairs": split.pairs, "the support that is revealed": scenario.support}
        if split.tasks is not None:
            visible |= {"the tasks' support": split.tasks.support, "the tasks' queries": split.tasks.query}
        _check(split, name, visible, fix="Cut the split again; it was changed after it was made.")


def check_view(split: Split, scenarios: Sequence[str], view: TrainView, what: str) -> None:
    """Check that a model's own data hold no query pair of these scenarios.

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

    def in_data_set(pairs: Interactions) -> Interactions:
        known = (users[pairs.users] >= 0) & (items[pairs.items] >= 0)
        return Interactions(users[pairs.users[known]], items[pairs.items[known]])

    visible = {what: in_data_set(view.interactions)}
    if view.tasks is not None:
        visible[f"{what}, its tasks' support"] = in_data_set(view.tasks.support)
        visible[f"{what}, its tasks' queries"] = in_data_set(view.tasks.query)
    for name in scenarios:
        _check(split, name, visible, fix="Fit the model on `split.train` of this very split, and on nothing else.")


def _check(split: Split, name: str, visible: Mapping[str, Interactions], *, fix: str) -> None:
    query, v = split.scenarios[name].query, split.dataset.vocabulary
    keys = query.keys(v.n_items)
    asked = np.zeros(v.n_users, np.bool_)
    asked[query.users] = True
    for what, pairs in visible.items():
        seen = np.isin(keys, pairs.select(asked[pairs.users]).keys(v.n_items))
        if seen.any():
            first = np.flatnonzero(seen)[:_SHOWN]
            named = ", ".join(f"({v.users.id(query.users[i])!r}, {v.items.id(query.items[i])!r})" for i in first)
            raise LeakageError(
                f"scenario {name}",
                f"{np.count_nonzero(seen):,} of {len(query):,} query pairs in {what}: {named}"
                + (", ..." if np.count_nonzero(seen) > _SHOWN else ""),
                expected="none: an answer must be invisible until it is judged",
                fix=fix,
            )
