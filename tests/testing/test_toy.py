"""The toy bookshop is what its docstring says, and never shared."""

from __future__ import annotations

import numpy as np

from metakg.data import Dataset
from metakg.testing import arriving, toy, toy_view
from metakg.testing.toy import LISBON, MIRA, START_S


def test_sizes() -> None:
    data = toy()
    v = data.vocabulary
    assert (v.n_users, v.n_items, v.n_entities, v.n_relations) == (8, 12, 20, 7)
    assert (len(data.interactions), len(data.graph.entity), len(data.graph.user)) == (24, 29, 3)
    assert data.interactions.times_s is not None
    assert data.interactions.times_s.tolist() == [START_S + 3600 * hour for hour in range(24)]
    assert len(np.unique(data.interactions.keys(12))) == 24


def test_odd_corners() -> None:
    data = toy()
    v, pairs, graph = data.vocabulary, data.interactions, data.graph
    assert set(range(8)) - set(pairs.users.tolist()) == {v.users.row("hal")}
    assert set(range(12)) - set(pairs.items.tolist()) == {v.items.row("i10")}
    mentioned = {*graph.entity.heads.tolist(), *graph.entity.tails.tolist()}
    assert set(range(12)) - mentioned == {v.items.row("i11")}
    assert not set(v.items.array.to_pylist()) & set(v.entities.array.to_pylist())
    assert (v.entity_label(MIRA), v.entity_label(LISBON), v.entity_label(0)) == ("Mira Voss", "Lisbon", "The Quiet House")
    about_hal = graph.user.select(graph.user.heads == v.users.row("hal"))
    said = [(v.relations.label(r), v.entity_label(t)) for r, t in zip(about_hal.relations, about_hal.tails, strict=True)]
    assert said == [("is aged", "25 to 34"), ("is at home in", "Lisbon")]


def test_survives_the_disk(tmp_path) -> None:
    toy().save(tmp_path / "toy")
    again = Dataset.load(tmp_path / "toy", verify=True)
    assert again.vocabulary.items.labels.equals(toy().vocabulary.items.labels)
    assert again.interactions.keys(12).tolist() == toy().interactions.keys(12).tolist()


def test_every_call_builds_it_anew() -> None:
    spoilt = toy()
    spoilt.interactions.items[:] = 0
    spoilt.graph.entity.tails[:] = 13
    assert toy().interactions.items.tolist()[:4] == [0, 3, 0, 1]
    assert toy().graph.entity.tails[0] == MIRA


def test_view_with_and_without_tasks() -> None:
    bare, view = toy_view(), toy_view(tasks=True)
    assert bare.tasks is None
    assert view.tasks is not None
    assert view.tasks.users.tolist() == list(range(7))  # hal has nothing to ask about
    assert len(view.tasks.support) + len(view.tasks.query) == len(view.interactions) == 24
    last = dict(zip(view.tasks.query.users.tolist(), view.tasks.query.items.tolist(), strict=True))
    assert last == {0: 7, 1: 6, 2: 9, 3: 8, 4: 11, 5: 8, 6: 11}


def test_what_arrives_extends_the_view() -> None:
    view = toy_view().extend(arriving())
    v = view.vocabulary
    assert (v.n_users, v.n_items) == (11, 15)
    assert v.items.label(v.items.row("i90")) == "The Quiet Tide"
    assert v.entity_label(v.entities.row("e90")) == "Vera Lumen"
    assert v.relations.row("translated_by") == 7
    assert len(view.interactions) == 24 + 6  # ann has clicked i03 for the first time; iris clicked i00 twice
    assert len(view.graph.entity) == 29 + 4
    assert len(view.graph.user) == 3 + 2
