"""The overlap report: is an answer visible to anything that learns or ranks?

Counted are query pairs of each scenario that also occur in the training pairs, in the tasks, in the scenario's own support,
among facts about users (a graph may repeat the clicks under the name of a relation), or anywhere in the validation split, on
which choices are made. Each of these must be 0. Pairs that *another* scenario reveals are counted for information: scenarios
are adapted to one by one, from the same trained model.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metakg.data import Interactions, Split
from metakg.errors import LeakageError
from metakg.types import Json, Mask


def overlap(split: Split) -> Json:
    """Return the overlap report of a split.

    Returns:
        by scenario: `query_pairs`; `visible`, the number of query pairs found in each structure; `overlap`, the share of the
        query pairs found in any of them; and `elsewhere`, the number revealed by other scenarios.
    """
    report: Json = {}
    for name in split.scenarios:
        query = split.scenarios[name].query
        found = {where: _seen(split, query, pairs) for where, pairs in _visible(split, name)}
        anywhere = np.zeros(len(query), np.bool_)
        for seen in found.values():
            anywhere |= seen
        elsewhere = {other: int(_seen(split, query, s.support).sum()) for other, s in split.scenarios.items() if other != name}
        report[name] = {
            "query_pairs": len(query),
            "visible": {where: int(seen.sum()) for where, seen in found.items()},
            "overlap": float(anywhere.mean()) if len(query) else 0.0,
            "elsewhere": elsewhere,
        }
    return report


def refuse(split: Split) -> None:
    """Raise if a query pair of the split, or of its validation split, is visible; a run must not start then.

    Raises:
        LeakageError: with the counts by structure and the first offenders.
    """
    for part, prefix in ((split, ""), (split.validation, "validation ")):
        if part is None:
            continue
        v = part.dataset.vocabulary
        for name in part.scenarios:
            query = part.scenarios[name].query
            for where, pairs in _visible(part, name):
                seen = query.select(_seen(part, query, pairs))
                if len(seen):
                    first = ", ".join(
                        f"user {v.users.id(u)!r} with item {v.items.id(i)!r}"
                        for u, i in zip(seen.users[:3].tolist(), seen.items[:3].tolist(), strict=True)
                    )
                    raise LeakageError(
                        f"{prefix}scenario {name}",
                        f"{len(seen)} of {len(query)} query pairs in the {where.replace('_', ' ')} ({first})",
                        expected="answers that nothing else shows",
                        fix='Split again ("metakg split"); a run on this split would report what it was told.',
                    )


def _visible(split: Split, name: str) -> Iterator[tuple[str, Interactions]]:
    """Yield, by name, every set of pairs that a model, or whoever chooses a model, may see before ranking scenario `name`."""
    yield "training_pairs", split.pairs
    if split.tasks is not None:
        yield "task_support", split.tasks.support
        yield "task_query", split.tasks.query
    yield "support", split.scenarios[name].support
    about = split.dataset.graph.user
    about = about.select(about.tails < split.dataset.vocabulary.n_items)
    yield "user_facts", Interactions(about.heads, about.tails)
    if split.validation is not None:
        yield "validation", _all_pairs(split.validation, split)


def _all_pairs(inner: Split, outer: Split) -> Interactions:
    """Return every pair of a validation split, in rows of the outer data set."""
    parts = [inner.pairs.pairs_only()]
    if inner.tasks is not None:
        parts += [inner.tasks.support.pairs_only(), inner.tasks.query.pairs_only()]
    for scenario in inner.scenarios.values():
        parts += [scenario.support.pairs_only(), scenario.query.pairs_only()]
    users, items = (np.concatenate([getattr(p, column) for p in parts]) for column in ("users", "items"))
    if inner.dataset is not outer.dataset:
        old, new = inner.dataset.vocabulary, outer.dataset.vocabulary
        users, items = new.users.rows(old.users.array)[users], new.items.rows(old.items.array)[items]
    return Interactions(users, items)


def _seen(split: Split, query: Interactions, pairs: Interactions) -> Mask:
    """Return which query pairs occur among `pairs`: (Q,) booleans."""
    v = split.dataset.vocabulary
    asking, asked = np.zeros(v.n_users, np.bool_), np.zeros(v.n_items, np.bool_)
    asking[query.users] = asked[query.items] = True
    possible = asking[pairs.users] & asked[pairs.items]  # two look-ups are cheaper than sorting all training pairs
    return np.isin(query.keys(v.n_items), pairs.select(possible).keys(v.n_items))
