"""The strategies draw what the nouns accept, and reach the odd corners that they promise."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from metakg.data import Dataset
from metakg.testing.strategies import datasets, id_maps, interactions, triples


@given(st.data(), st.integers(0, 5), st.integers(0, 7))
def test_interactions(data: st.DataObject, n_users: int, n_items: int) -> None:
    drawn = data.draw(interactions(n_users, n_items))
    assert not len(drawn) or (drawn.users.max() < n_users and drawn.items.max() < n_items)
    assert len(np.unique(drawn.keys(max(n_items, 1)))) == len(drawn)
    timed = data.draw(interactions(n_users, n_items, times=True, values=False))
    assert timed.values is None
    assert timed.times_s is not None or not (n_users and n_items)


@given(st.data(), st.integers(0, 5), st.integers(0, 3), st.integers(0, 7))
def test_triples(data: st.DataObject, n_heads: int, n_relations: int, n_tails: int) -> None:
    drawn = data.draw(triples(n_heads, n_relations, n_tails))
    facts = set(zip(drawn.heads.tolist(), drawn.relations.tolist(), drawn.tails.tolist(), strict=True))
    assert len(facts) == len(drawn)
    assert all(h < n_heads and r < n_relations and t < n_tails for h, r, t in facts)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(datasets())
def test_datasets_survive_the_disk(data: Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data.save(Path(folder) / "data")
        again = Dataset.load(Path(folder) / "data", verify=True)
    for name in ("users", "items", "entities", "relations"):
        assert getattr(again.vocabulary, name) == getattr(data.vocabulary, name)
    assert again.interactions.users.tolist() == data.interactions.users.tolist()
    assert (again.interactions.times_s is None) == (data.interactions.times_s is None)
    assert again.graph.entity.tails.tolist() == data.graph.entity.tails.tolist()


def test_odd_corners_are_reached() -> None:
    quick = settings(max_examples=1000, database=None, deadline=None, phases=[Phase.generate])
    repeated = find(interactions(2, 2, distinct=False), lambda p: len(np.unique(p.keys(2))) < len(p), settings=quick)
    assert len(repeated) >= 2
    lonely = find(datasets(), lambda d: d.vocabulary.n_items > 0 and not len(d.interactions), settings=quick)
    assert lonely.vocabulary.n_entities >= lonely.vocabulary.n_items
    timed = find(datasets(min_interactions=1, times=True), lambda _: True, settings=quick)
    assert len(timed.interactions) >= 1
    assert timed.interactions.times_s is not None
    odd = find(id_maps(), lambda ids: any(" " in name or not name.isascii() for name in ids.array.to_pylist()), settings=quick)
    assert len(odd) >= 1
