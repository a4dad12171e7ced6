"""Hypothesis strategies for the nouns. They need the extra `test` (hypothesis)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Triples, Vocabulary

IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
"""Ids as the world has them: any script, spaces, quotes, line breaks."""


@st.composite
def interactions(
    draw: st.DrawFn,
    n_users: int,
    n_items: int,
    *,
    min_size: int = 0,
    max_size: int = 40,
    values: bool | None = None,
    times: bool | None = None,
    distinct: bool = True,
) -> Interactions:
    """Draw interactions over given numbers of users and items.

    Args:
        draw: given by hypothesis.
        n_users: users are rows 0..n_users-1.
        n_items: items are rows 0..n_items-1.
        min_size: at least so many.
        max_size: at most so many.
        values: with or without a value each; None draws which.
        times: with or without a time each; None draws which.
        distinct: whether every pair occurs once, as in a data set.
    """
    if not n_users or not n_items:
        return Interactions.empty()
    key = st.integers(0, n_users * n_items - 1)
    most = min(max_size, n_users * n_items) if distinct else max_size
    keys = np.array(draw(st.lists(key, min_size=min_size, max_size=most, unique=distinct)), np.int64)
    n = len(keys)
    with_values = draw(st.booleans()) if values is None else values
    with_times = draw(st.booleans()) if times is None else times
    drawn_values = draw(st.lists(st.floats(-10, 10, width=32), min_size=n, max_size=n)) if with_values else None
    drawn_times = draw(st.lists(st.integers(0, 2**33), min_size=n, max_size=n)) if with_times else None
    return Interactions(
        (keys // n_items).astype(np.int32),
        (keys % n_items).astype(np.int32),
        None if drawn_values is None else np.array(drawn_values, np.float32),
        None if drawn_times is None else np.array(drawn_times, np.int64),
    )


@st.composite
def triples(draw: st.DrawFn, n_heads: int, n_relations: int, n_tails: int, *, max_size: int = 40) -> Triples:
    """Draw distinct facts over given numbers of heads, relations and tails."""
    room = n_heads * n_relations * n_tails
    if not room:
        return Triples.empty()
    keys = draw(st.lists(st.integers(0, room - 1), max_size=min(max_size, room), unique=True))
    numbers = np.array(keys, np.int64)
    heads, rest = numbers // (n_relations * n_tails), numbers % (n_relations * n_tails)
    return Triples(heads.astype(np.int32), (rest // n_tails).astype(np.int32), (rest % n_tails).astype(np.int32))


@st.composite
def id_maps(draw: st.DrawFn, *, min_size: int = 0, max_size: int = 8, kind: str = "id") -> IdMap:
    """Draw ids, with labels for all, some or none of them."""
    ids = draw(st.lists(IDS, min_size=min_size, max_size=max_size, unique=True))
    if draw(st.booleans()):
        return IdMap(ids, kind=kind)
    labels = draw(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=8), min_size=len(ids), max_size=len(ids)))
    return IdMap(ids, labels, kind=kind)


@st.composite
def datasets(
    draw: st.DrawFn,
    *,
    max_users: int = 6,
    max_items: int = 8,
    max_entities: int = 6,
    max_relations: int = 3,
    min_interactions: int = 0,
    values: bool | None = None,
    times: bool | None = None,
) -> Dataset:
    """Draw whole data sets: empty tables, isolated entities, ids in any script and missing labels among them.

    `max_entities` counts entities that are not items; `min_interactions` above 0 asks for users and items as well.
    """
    least = 1 if min_interactions else 0
    users = draw(id_maps(min_size=least, max_size=max_users, kind="user"))
    items = draw(id_maps(min_size=least, max_size=max_items, kind="item"))
    relations = draw(id_maps(max_size=max_relations, kind="relation"))
    entities = draw(id_maps(min_size=len(items), max_size=len(items) + max_entities, kind="entity"))
    size = min(min_interactions, len(users) * len(items))
    pairs = draw(interactions(len(users), len(items), min_size=size, values=values, times=times))
    about_entities = draw(triples(len(entities), len(relations), len(entities)))
    about_users = draw(triples(len(users), len(relations), len(entities)))
    graph = KnowledgeGraph(about_entities, about_users)
    return Dataset(Vocabulary(users, items, entities, relations), pairs, graph)
