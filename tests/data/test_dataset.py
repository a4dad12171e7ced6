"""Dataset: what is saved is what is loaded, and damage is found."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Triples, Vocabulary
from metakg.data.dataset import TABLES
from metakg.errors import DataError


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def small(*, timed: bool = True, rated: bool = True) -> Dataset:
    v = Vocabulary(
        IdMap(["u0", "u 1", "ю2"]),
        IdMap(["i0", "i1"], ["First", None]),
        IdMap(["m.0", "m.1", "m.2"], ["F", None, "Artist"]),
        IdMap(["by"]),
    )
    pairs = Interactions(
        rows(0, 1, 2),
        rows(1, 0, 1),
        np.array([1, 2.5, np.nan], np.float32) if rated else None,
        np.array([-5, 0, 2**40], np.int64) if timed else None,
    )
    graph = KnowledgeGraph(Triples(rows(0, 1), rows(0, 0), rows(2, 2)), Triples(rows(2), rows(0), rows(2)))
    return Dataset(v, pairs, graph, {"source": {"reader": "hand"}})


def assert_same(first: Dataset, second: Dataset) -> None:
    for name in ("users", "items", "entities", "relations"):
        old, new = getattr(first.vocabulary, name), getattr(second.vocabulary, name)
        assert old == new
        assert [old.label(row) for row in range(len(old))] == [new.label(row) for row in range(len(new))]
    for column in ("users", "items", "values", "times_s"):
        old, new = getattr(first.interactions, column), getattr(second.interactions, column)
        assert (old is None) == (new is None)
        if old is not None:
            assert old.dtype == new.dtype
            np.testing.assert_array_equal(old, new)
    for table in ("entity", "user"):
        for column in ("heads", "relations", "tails"):
            np.testing.assert_array_equal(
                getattr(getattr(first.graph, table), column), getattr(getattr(second.graph, table), column)
            )


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("rated", [True, False])
def test_round_trip(tmp_path, timed, rated):
    data = small(timed=timed, rated=rated)
    data.save(tmp_path / "d")
    loaded = Dataset.load(tmp_path / "d", verify=True)
    assert_same(data, loaded)
    assert loaded.manifest["source"] == {"reader": "hand"}
    assert loaded.manifest["tables"]["interactions"]["rows"] == 3
    assert loaded.interactions.users.flags.writeable  # torch warns about read-only memory


def test_an_empty_data_set_round_trips(tmp_path):
    none = IdMap([])
    data = Dataset(Vocabulary(none, none, none, none), Interactions.empty(), KnowledgeGraph.empty())
    data.save(tmp_path / "d")
    assert_same(data, Dataset.load(tmp_path / "d", verify=True))


text = st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def datasets(draw):
    sizes = [draw(st.integers(1, 6)) for _ in range(4)]
    n_users, n_items, n_more, n_relations = sizes
    entities = draw(st.lists(text, min_size=n_items + n_more, max_size=n_items + n_more, unique=True))
    maps = [
        IdMap(draw(st.lists(text, min_size=n, max_size=n, unique=True)), draw(_labels(n)))
        for n in (n_users, n_items, n_relations)
    ]
    v = Vocabulary(maps[0], maps[1], IdMap(entities, draw(_labels(len(entities)))), maps[2])
    n = draw(st.integers(0, 10))
    column = lambda size, n: np.array(draw(st.lists(st.integers(0, size - 1), min_size=n, max_size=n)), np.int32)  # noqa: E731
    pairs = Interactions(
        column(n_users, n),
        column(n_items, n),
        draw(st.one_of(st.none(), st.just(np.linspace(0, 1, n).astype(np.float32)))),
        draw(st.one_of(st.none(), st.just(np.arange(n, dtype=np.int64)))),
    )
    t = draw(st.integers(0, 10))
    facts = [Triples(column(heads, t), column(n_relations, t), column(len(entities), t)) for heads in (len(entities), n_users)]
    return Dataset(v, pairs, KnowledgeGraph(*facts))


def _labels(n):
    return st.one_of(st.none(), st.lists(st.one_of(st.none(), text), min_size=n, max_size=n))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(datasets())
def test_any_data_set_round_trips(tmp_path, data):
    data.save(tmp_path / "d", overwrite=True)
    assert_same(data, Dataset.load(tmp_path / "d"))


@pytest.mark.parametrize(("users", "items"), [((3,), (0,)), ((0,), (2,))])
def test_pairs_must_lie_in_the_vocabulary(users, items):
    data = small()
    with pytest.raises(DataError, match=r"interactions, column (user|item): found row [32]; expected rows 0\.\.[12]"):
        Dataset(data.vocabulary, Interactions(rows(*users), rows(*items)), data.graph)


def test_facts_must_lie_in_the_vocabulary():
    data = small()
    with pytest.raises(DataError, match="triples, column tail"):
        Dataset(data.vocabulary, data.interactions, KnowledgeGraph(Triples(rows(0), rows(0), rows(3)), Triples.empty()))


def test_saving_twice_needs_permission(tmp_path):
    small().save(tmp_path / "d")
    with pytest.raises(DataError, match="an earlier result"):
        small().save(tmp_path / "d")
    small(timed=False).save(tmp_path / "d", overwrite=True)
    assert Dataset.load(tmp_path / "d").interactions.times_s is None


def test_a_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="metakg did not write"):
        small().save(tmp_path / "d", overwrite=True)
    assert (tmp_path / "d" / "thesis.txt").read_text() == "years of work"


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(DataError, match="no such file; expected a data set manifest"):
        Dataset.load(tmp_path / "nowhere")


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_named(tmp_path, table):
    small().save(tmp_path / "d")
    (tmp_path / "d" / f"{table}.parquet").unlink()
    with pytest.raises(DataError, match=rf"{table}\.parquet: found no readable Parquet table"):
        Dataset.load(tmp_path / "d")
    with pytest.raises(DataError, match=rf"{table}\.parquet"):
        Dataset.load(tmp_path / "d", verify=True)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_a_damaged_table_is_named(tmp_path, table, damage):
    small().save(tmp_path / "d")
    path = tmp_path / "d" / f"{table}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "truncate" else b"\x00" * len(whole))
    with pytest.raises(DataError, match=rf"{table}\.parquet"):
        Dataset.load(tmp_path / "d")


def replace(folder, table, columns):
    pq.write_table(pa.table(columns), folder / f"{table}.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [0, 1, 2]}, "found columns user; expected also item"),
        ({"user": [0, 1], "item": [0, 1]}, "found 2 rows; expected 3, as the manifest says"),
        ({"user": [0, None, 2], "item": [0, 1, 0]}, "found 1 missing values in column user"),
        ({"user": [0, 1.5, 2], "item": [0, 1, 0]}, "values that do not fit their column"),
        ({"user": [0, 2**40, 2], "item": [0, 1, 0]}, "values that do not fit their column"),
        ({"user": ["a", "b", "c"], "item": [0, 1, 0]}, "values that do not fit their column"),
        ({"user": [0, 1, 99], "item": [0, 1, 0]}, r"found row 99; expected rows 0\.\.2"),
        ({"user": [0, 1, -1], "item": [0, 1, 0]}, "found row -1"),
        ({"user": [0, 1, 2], "item": [0, 1, 0], "time_s": [1, None, 2]}, "1 missing values in column time_s"),
    ],
)
def test_a_table_with_wrong_content_is_refused(tmp_path, columns, message):
    small().save(tmp_path / "d")
    replace(tmp_path / "d", "interactions", columns)
    with pytest.raises(DataError, match=message):
        Dataset.load(tmp_path / "d")


def test_a_changed_table_is_found_when_verified(tmp_path):
    small().save(tmp_path / "d")
    replace(tmp_path / "d", "interactions", {"user": rows(0, 0, 0), "item": rows(0, 1, 1)})
    Dataset.load(tmp_path / "d")
    with pytest.raises(DataError, match=r"interactions\.parquet: found SHA-256 .* as the manifest says\. The file changed"):
        Dataset.load(tmp_path / "d", verify=True)


def test_repeated_ids_on_disk_are_refused(tmp_path):
    small().save(tmp_path / "d")
    replace(tmp_path / "d", "users", {"id": ["a", "a", "b"], "label": pa.nulls(3, pa.string())})
    with pytest.raises(DataError, match="user ids: found 'a' 2 times"):
        Dataset.load(tmp_path / "d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99; expected kind 'dataset', format 1"),
        ({"kind": "split"}, "kind 'split'"),
        ({"tables": None}, "no list of tables"),
        ({"tables": {}}, "expected the tables"),
        ({"tables": dict.fromkeys(TABLES, 3)}, "expected its number of rows"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path, change, message):
    small().save(tmp_path / "d")
    path = tmp_path / "d" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        Dataset.load(tmp_path / "d")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_a_broken_manifest_is_refused(tmp_path, text):
    small().save(tmp_path / "d")
    (tmp_path / "d" / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Dataset.load(tmp_path / "d", verify=True)


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metakg.data.dataset.files.write_json", fail)
    with pytest.raises(DataError, match="a full disk"):
        small().save(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
