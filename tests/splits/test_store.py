"""A split on disk: what is saved is what is loaded; damage and other data are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Triples, Vocabulary
from metakg.errors import DataError, LeakageError
from metakg.splits import load, save, split
from metakg.splits.store import fingerprint


@pytest.fixture(scope="module")
def data(build, some_clicks, some_facts):
    return build(some_clicks(13, users=90), some_facts(users=90))


@pytest.fixture(scope="module")
def cut(data):
    return split(data)


@pytest.fixture(scope="module")
def kept(cut, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "s"
    save(cut, folder)
    return folder


@pytest.fixture
def saved(kept, tmp_path):
    """A folder of `cut` that a test may damage."""
    return Path(shutil.copytree(kept, tmp_path / "s"))


def assert_same_pairs(first, second):
    for column in ("users", "items", "values", "times_s"):
        old, new = getattr(first, column), getattr(second, column)
        assert (old is None) == (new is None)
        if old is not None:
            np.testing.assert_array_equal(old, new)


def assert_same(first, second):
    assert first.protocol == second.protocol
    assert first.manifest == second.manifest
    np.testing.assert_array_equal(first.known_users, second.known_users)
    np.testing.assert_array_equal(first.known_items, second.known_items)
    assert_same_pairs(first.pairs, second.pairs)
    assert (first.tasks is None) == (second.tasks is None)
    if first.tasks is not None:
        np.testing.assert_array_equal(first.tasks.users, second.tasks.users)
        assert_same_pairs(first.tasks.support, second.tasks.support)
        assert_same_pairs(first.tasks.query, second.tasks.query)
    assert list(first.scenarios) == list(second.scenarios)
    for name, old in first.scenarios.items():
        new = second.scenarios[name]
        assert (old.name, old.shots_by, old.default_shots, old.manifest) == (
            new.name,
            new.shots_by,
            new.default_shots,
            new.manifest,
        )
        assert_same_pairs(old.support, new.support)
        assert_same_pairs(old.query, new.query)
        np.testing.assert_array_equal(old.candidates, new.candidates)
    assert (first.validation is None) == (second.validation is None)
    if first.validation is not None:
        assert_same(first.validation, second.validation)
        assert fingerprint(first.validation.dataset) == fingerprint(second.validation.dataset)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("validation", [True, False])
def test_round_trip(tmp_path, data, protocol, validation):
    options = {"rule.min_items": 4, "rule.n_query": 2} if protocol == "paper" else {"min_support": 4}
    cut = split(data, protocol, validation=validation, **options)
    save(cut, tmp_path / "s")
    assert_same(cut, load(tmp_path / "s", data, verify=True))


def test_a_split_without_tasks_round_trips(tmp_path, cut, data):
    bare = replace(cut, tasks=None, validation=None)
    save(bare, tmp_path / "s")
    assert load(tmp_path / "s", data).tasks is None


def test_the_manifests_say_what_was_done(saved, cut):
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["protocol"] == "strict"
    assert manifest["options"]["seed"] == 1
    assert manifest["dataset"] == {"fingerprint": fingerprint(cut.dataset)}
    assert manifest["overlap"]["user_cold"]["overlap"] == 0
    scenario = json.loads((saved / "user_cold" / "manifest.json").read_text())
    query = cut.scenarios["user_cold"].query
    assert scenario["counts"]["query"] == {
        "pairs": len(query),
        "users": len(np.unique(query.users)),
        "items": len(np.unique(query.items)),
    }
    assert set(scenario["tables"]) == {"support", "query", "candidates"}
    assert scenario["overlap"]["visible"]["training_pairs"] == 0


def test_it_finds_its_data_set_again(tmp_path, cut, data):
    data.save(tmp_path / "here" / "data")
    save(cut, tmp_path / "here" / "split", dataset_folder=tmp_path / "here" / "data")
    (tmp_path / "here").rename(tmp_path / "moved")
    assert_same(cut, load(tmp_path / "moved" / "split", verify=True))
    (tmp_path / "moved" / "data" / "manifest.json").unlink()
    with pytest.raises(DataError, match="no such file; expected a data set manifest"):
        load(tmp_path / "moved" / "split")


def test_without_a_note_the_data_set_must_be_named(saved, cut):
    with pytest.raises(DataError, match="no note of its data set's folder"):
        load(saved)


def test_a_split_of_other_data_is_refused(saved, cut, build, some_clicks, some_facts):
    with pytest.raises(DataError, match=r"found a split of another data set \(fingerprint"):
        load(saved, build(some_clicks(14, users=90), some_facts(users=90)))


def test_the_fingerprint_is_of_the_contents(tmp_path, data, build, some_clicks, some_facts):
    data.save(tmp_path / "d")
    assert fingerprint(Dataset.load(tmp_path / "d")) == fingerprint(data)
    same = build(some_clicks(13, users=90), some_facts(users=90))
    assert fingerprint(same) == fingerprint(data)
    v, pairs, graph = data.vocabulary, data.interactions, data.graph
    labelled = Vocabulary(v.users, IdMap(v.items.array, ["x"] * v.n_items), v.entities, v.relations)
    assert fingerprint(Dataset(labelled, pairs, graph, {"note": 1})) == fingerprint(data)
    sliced = IdMap(pa.concat_arrays([pa.array(["zzz"]), v.users.array])[1:])
    assert fingerprint(Dataset(Vocabulary(sliced, v.items, v.entities, v.relations), pairs, graph)) == fingerprint(data)
    changed = [
        Dataset(v, pairs.pairs_only(), graph),
        Dataset(v, pairs.select(np.arange(len(pairs) - 1)), graph),
        Dataset(v, Interactions(pairs.users, pairs.items, None, pairs.times_s + 1), graph),
        Dataset(v, Interactions(pairs.users, pairs.items, np.ones(len(pairs), np.float32), pairs.times_s), graph),
        Dataset(v, pairs, KnowledgeGraph(graph.entity, Triples.empty())),
        Dataset(v, pairs, KnowledgeGraph(graph.entity.select(np.arange(1, len(graph.entity))), graph.user)),
        Dataset(
            Vocabulary(IdMap([f"x{u}" for u in v.users.array.to_pylist()]), v.items, v.entities, v.relations), pairs, graph
        ),
    ]
    prints = [fingerprint(each) for each in [data, *changed]]
    assert len(set(prints)) == len(prints)


def test_lengths_separate_ids():
    def of(users):
        none = IdMap([])
        return fingerprint(Dataset(Vocabulary(IdMap(users), none, none, none), Interactions.empty(), KnowledgeGraph.empty()))

    assert len({of(["ab", "c"]), of(["a", "bc"]), of(["abc"]), of([]), of([""])}) == 5


def test_a_leaky_split_is_neither_saved_nor_loaded(tmp_path, saved, cut, data):
    query = cut.scenarios["warm"].query
    leaky = replace(cut, pairs=Interactions.concat(cut.pairs, query))
    with pytest.raises(LeakageError):
        save(leaky, tmp_path / "leaky")
    assert not (tmp_path / "leaky").exists()
    path, manifest = saved / "pairs.parquet", saved / "manifest.json"
    both = leaky.pairs
    pq.write_table(pa.table({"user": both.users, "item": both.items, "time_s": both.times_s}), path)
    content = json.loads(manifest.read_text())
    content["tables"]["pairs"]["rows"] = len(both)
    manifest.write_text(json.dumps(content))
    with pytest.raises(LeakageError, match="scenario warm"):
        load(saved, data)


def test_saving_twice_needs_permission(saved, cut, data):
    with pytest.raises(DataError, match="an earlier result"):
        save(cut, saved)
    save(replace(cut, validation=None), saved, overwrite=True)
    assert load(saved, data).validation is None
    assert not (saved / "validation").exists()


def test_a_data_set_is_never_replaced_by_a_split(tmp_path, cut, data):
    data.save(tmp_path / "d")
    with pytest.raises(DataError, match="found a folder of kind 'dataset'; expected a new folder, or one of kind 'split'"):
        save(cut, tmp_path / "d", overwrite=True)
    assert fingerprint(Dataset.load(tmp_path / "d", verify=True)) == fingerprint(data)


TABLES = [
    "new_users",
    "new_items",
    "pairs",
    "meta_training/support",
    "user_cold/query",
    "item_cold/candidates",
    "validation/pairs",
    "validation/warm/query",
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "rows", "rewritten"])
def test_damage_is_named(saved, cut, data, table, damage):
    path = saved / f"{table}.parquet"
    whole = pq.read_table(path)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "rows":
        pq.write_table(whole.slice(1), path)
    else:
        pq.write_table(pa.table({name: whole[name].combine_chunks()[::-1] for name in whole.column_names}), path)
    with pytest.raises(DataError, match=rf"{path.name}: found"):
        load(saved, data, verify=damage == "rewritten")


@pytest.mark.parametrize("folder", [".", "user_cold", "validation", "meta_training"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2; expected kind"),
        ({"kind": "dataset"}, "kind 'dataset'"),
        ({"tables": {}}, "expected the tables"),
    ],
)
def test_a_foreign_manifest_is_refused(saved, cut, data, folder, change, message):
    edit(saved / folder / "manifest.json", change)
    with pytest.raises(DataError, match=message):
        load(saved, data)


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("manifest.json", {"parts": ["../../etc"]}, "no list of its parts"),
        ("manifest.json", {"parts": None}, "no list of its parts"),
        ("manifest.json", {"protocol": "loose"}, "or no protocol"),
        ("manifest.json", {"dataset": None}, "no fingerprint"),
        ("manifest.json", {"dataset": {}}, "a split of another data set"),
        ("user_cold/manifest.json", {"shots_by": "moon"}, "no rule for shots"),
        ("user_cold/manifest.json", {"default_shots": "2"}, "no rule for shots"),
    ],
)
def test_a_changed_manifest_is_refused(saved, cut, data, path, change, message):
    edit(saved / path, change)
    with pytest.raises(DataError, match=message):
        load(saved, data)


def edit(path, change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_rows_beyond_the_data_set_are_refused(saved, cut, data):
    path = saved / "new_users.parquet"
    rows = pq.read_table(path)["row"].to_numpy() + 1_000
    pq.write_table(pa.table({"row": rows.astype(np.int32)}), path)
    with pytest.raises(DataError, match=r"new_users\.parquet: found rows 10\d\d\.\.10\d\d; expected rows 0\.\.89"):
        load(saved, data)
