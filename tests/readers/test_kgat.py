from __future__ import annotations

import numpy as np
import pytest

from metakg.errors import DataError
from metakg.readers import read, read_kgat, validate
from metakg.readers.kgat import read_list
from metakg.readers.staging import Stage

FILES = {
    "user_list.txt": "org_id remap_id\n900 0\n800 1\n700 2\n",
    "item_list.txt": "org_id remap_id freebase_id\n77 0 m.a\n66 1 m.b\n55 2 m.c\n",
    "entity_list.txt": "org_id remap_id\nm.a 0\nm.b 1\nm.c 2\nm.z 3\nm.y 4\nm.alone 5\n",
    "relation_list.txt": "org_id remap_id\nhttp://x.org/ns/music.artist 0\nhttp://x.org/ns#genre 1\n",
    "kg_final.txt": "0 0 3\n1 0 3\n2 1 4\n3 1 4\n0 0 3\n",
    "train.txt": "0 0 1\n1 2\n2\n",
    "test.txt": "0 2\n1 2 0\n",
}


@pytest.fixture
def folder(tmp_path, write):
    for name, text in FILES.items():
        write(f"kgat/{name}", text)
    return tmp_path / "kgat"


def test_ids_come_from_the_lists_and_rows_stay_as_the_files_have_them(folder, pairs_of, facts_of):
    data = read(folder)
    v = data.vocabulary
    assert v.users.array.to_pylist() == ["900", "800", "700"]
    assert v.items.array.to_pylist() == ["77", "66", "55"]
    assert v.entities.array.to_pylist() == ["m.a", "m.b", "m.c", "m.z", "m.y", "m.alone"]
    assert [v.relations.label(row) for row in range(2)] == ["music.artist", "genre"]
    assert pairs_of(data) == {("900", "77"), ("900", "66"), ("900", "55"), ("800", "55"), ("800", "77")}
    assert data.interactions.times_s is None
    graph = np.stack([data.graph.entity.heads, data.graph.entity.relations, data.graph.entity.tails], axis=1)
    assert graph.tolist() == [[0, 0, 3], [1, 0, 3], [2, 1, 4], [3, 1, 4]]
    assert data.manifest["rows"]["interactions"] == {
        "read": 6,
        "kept": 5,
        "merged": {"a repeated pair of user and item": 1},
    }


def test_scenario_files_are_interactions_too(folder, write, pairs_of):
    (folder / "train.txt").unlink()
    (folder / "test.txt").unlink()
    write("kgat/test_scenario/user_cold_support.txt", "2 0\n")
    write("kgat/test_scenario/user_cold_query.txt", "2 1 2\n")
    data = read_kgat(folder)
    assert pairs_of(data) == {("700", "77"), ("700", "66"), ("700", "55")}
    assert data.vocabulary.n_users == 3


def test_without_lists_row_numbers_are_the_ids(folder, pairs_of, facts_of):
    for name in ("user_list.txt", "item_list.txt", "entity_list.txt", "relation_list.txt"):
        (folder / name).unlink()
    data = read(folder)
    assert ("1", "2") in pairs_of(data)
    assert facts_of(data) == {("0", "0", "3"), ("1", "0", "3"), ("2", "1", "4"), ("3", "1", "4")}
    assert data.manifest["counts"]["linked_items"] == 3


def test_wrong_rows_are_found_on_their_line(folder, write):
    write("kgat/train.txt", "0 0 1\n1 x\n9 1\n0 7\n")
    write("kgat/kg_final.txt", "0 0 3\n1 0 3\n0 7 3\n0 0 99\n0 0\n0 0 3\n")
    tallies = {tally.kind: tally for tally in validate(folder).tallies}
    assert tallies["interactions"].rejected == {
        "no row numbers": 1,
        "a row that user_list.txt does not have": 1,
        "a row that item_list.txt does not have": 1,
    }
    places = {reason: [place.line for place in found] for reason, found in tallies["interactions"].places.items()}
    assert places == {
        "no row numbers": [2],
        "a row that user_list.txt does not have": [3],
        "a row that item_list.txt does not have": [4],
    }
    assert tallies["triples"].rejected == {
        "a row that relation_list.txt does not have": 1,
        "a row that entity_list.txt does not have": 1,
        "a line that cannot be read": 1,
    }
    places = {reason: [place.line for place in found] for reason, found in tallies["triples"].places.items()}
    assert places == {
        "a row that relation_list.txt does not have": [3],
        "a row that entity_list.txt does not have": [4],
        "a line that cannot be read": [5],
    }


def test_swapped_columns_of_the_graph(folder, write):
    write("kgat/kg_final.txt", "0 3 0\n1 3 0\n2 4 1\n3 4 1\n")
    with pytest.raises(
        DataError,
        match=r"kg_final\.txt line 1: .*a number that no relation has; expected head relation tail, with relations 0\.\.1",
    ):
        read(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "user_list.txt",
            "org_id remap_id\n900 0\n800 2\n",
            r"user_list\.txt line 3: found '800 2'; expected the rows 0, 1, 2",
        ),
        ("user_list.txt", "org_id remap_id\n900 0\n900 1\n", r"line 3: found '900 1'; expected every id once"),
        ("user_list.txt", "org_id remap_id\n900 zero\n", r"line 2: found '900 zero'; expected org_id remap_id"),
        ("item_list.txt", "org_id remap_id freebase_id\n77 0\n", r"expected org_id remap_id freebase_id"),
        (
            "item_list.txt",
            "org_id remap_id freebase_id\n77 0 m.a\n66 1 m.z\n55 2 m.c\n",
            r"item_list\.txt line 3: found entity 'm\.z'; expected 'm\.b', as entity_list\.txt has",
        ),
    ],
)
def test_damaged_lists(folder, write, name, text, message):
    write(f"kgat/{name}", text)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_ids_with_spaces_and_the_glued_columns_of_the_yelp_release(connection, tmp_path, write):
    write("entity_list.txt", "org_id remap_id\nNew York 0\ncity::New York 1\n")
    listed = read_list(Stage(connection), tmp_path, "entity")
    assert connection.execute(f"SELECT id FROM {listed.table} ORDER BY row").fetchall() == [("New York",), ("city::New York",)]
    write("item_list.txt", "org_id remap_id freebase_id\njD7tk_w 0jD7tk_w\n9abc 19abc\n")
    listed = read_list(Stage(connection), tmp_path, "item")
    query = f"SELECT id, row, other FROM {listed.table} ORDER BY row"
    assert connection.execute(query).fetchall() == [("jD7tk_w", 0, "jD7tk_w"), ("9abc", 1, "9abc")]


def test_windows_line_ends_blank_lines_and_trailing_blanks(folder, write, pairs_of):
    for name, text in FILES.items():
        write(f"kgat/{name}", text.replace("\n", " \r\n" if name not in ("kg_final.txt",) else "\r\n") + "\r\n")
    assert len(pairs_of(read(folder))) == 5


def test_a_filter_numbers_anew_in_the_order_of_the_lists(folder):
    data = read(folder, min_items_per_user=3)
    assert data.vocabulary.users.array.to_pylist() == ["900"]
    assert data.vocabulary.items.array.to_pylist() == ["77", "66", "55"]


def test_no_interactions(folder):
    (folder / "train.txt").unlink()
    (folder / "test.txt").unlink()
    with pytest.raises(DataError, match="no interactions file"):
        read(folder)
