"""The published Last-FM files and MovieLens-100k: known sizes, and spot checks against the raw lines."""

from __future__ import annotations

import numpy as np
import pytest

from metakg.readers import read_atomic, read_kgat

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def last_fm(real_data):
    return read_kgat(real_data / "last-fm")


def test_last_fm_has_the_published_sizes(last_fm):
    counts = last_fm.manifest["counts"]
    assert {name: counts[name] for name in ("users", "items", "entities", "relations", "triples", "linked_items")} == {
        "users": 23_566,
        "items": 48_123,
        "entities": 106_389,
        "relations": 9,
        "triples": 464_567,
        "linked_items": 48_123,
    }
    for kind, tally in last_fm.manifest["rows"].items():
        assert tally["read"] == tally["kept"], kind


def test_last_fm_rows_are_those_of_the_files(last_fm, real_data):
    lines = np.loadtxt(real_data / "last-fm" / "kg_final.txt", dtype=np.int32)
    graph = last_fm.graph.entity
    ours = np.stack([graph.heads, graph.relations, graph.tails], axis=1)
    order = np.lexsort((lines[:, 2], lines[:, 1], lines[:, 0]))
    np.testing.assert_array_equal(ours, lines[order])
    v = last_fm.vocabulary
    for name, ids in (("user", v.users), ("item", v.items), ("entity", v.entities), ("relation", v.relations)):
        text = (real_data / "last-fm" / f"{name}_list.txt").read_text().splitlines()[1:]
        assert ids.array.to_pylist() == [line.split()[0] for line in text]


def test_last_fm_interactions_are_all_pairs_of_all_scenarios(last_fm, real_data):
    expected = set()
    for path in (real_data / "last-fm" / "test_scenario").glob("*.txt"):
        for line in path.read_text().splitlines():
            user, *items = map(int, line.split())
            expected |= {(user, item) for item in items}
    pairs = last_fm.interactions
    assert set(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected) == 799_504


def test_movielens_from_atomic_files(real_data):
    data = read_atomic(real_data / "ml-100k", attributes=("class", "release_year", "age", "occupation"), bins={"age": 5})
    counts, v = data.manifest["counts"], data.vocabulary
    assert (counts["users"], counts["items"], counts["interactions"], counts["linked_items"]) == (943, 1682, 100_000, 1598)
    assert data.manifest["times"] == ["1997-09-20T03:05:10Z", "1998-04-22T23:10:38Z"]
    assert data.manifest["rows"]["triples"] == {"read": 91_631, "kept": 91_631}
    toy_story = v.items.row("1")
    assert v.items.label(toy_story) == "Toy Story"
    facts = data.graph.entity
    mine = facts.heads == toy_story
    said = set(zip(v.relations.ids(facts.relations[mine]), v.entities.ids(facts.tails[mine]), strict=True))
    assert {("class", "class:Animation"), ("class", "class:Children's"), ("class", "class:Comedy")} <= said
    assert ("release_year", "release_year:1995") in said
    ages = np.bincount(data.graph.user.tails[data.graph.user.relations == v.relations.row("age")])
    assert len(ages[ages > 0]) == 5
    assert ages[ages > 0].min() > 943 / 5 * 0.8
    pairs = data.interactions
    first = (pairs.users == v.users.row("196")) & (pairs.items == v.items.row("242"))
    assert (pairs.values[first].tolist(), pairs.times_s[first].tolist()) == ([3.0], [881_250_949])
    labelled = sum(label is not None for label in v.entities.labels.to_pylist())
    assert labelled > 6_900  # entity_names.tsv lies beside the files


def test_ten_core_of_movielens_leaves_ten_of_everything(real_data):
    data = read_atomic(real_data / "ml-100k", k_core=10)
    pairs = data.interactions
    assert np.bincount(pairs.users).min() >= 10
    assert np.bincount(pairs.items).min() >= 10
    step = data.manifest["filters"][0]
    assert step["interactions"] == 100_000 - len(pairs)
