"""IdMap: the two-way map between ids and rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metakg.data import IdMap
from metakg.errors import DataError

names = st.lists(st.text(min_size=0, max_size=6), unique=True, max_size=30)
utf8 = names.filter(lambda ids: all(_encodes(name) for name in ids))


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(utf8)
def test_ids_round_trip(ids):
    index = IdMap(ids)
    rows = np.arange(len(ids), dtype=np.int32)
    assert len(index) == len(ids)
    assert index.ids(rows) == ids
    assert index.rows(ids).tolist() == rows.tolist()
    assert all(index.row(name) == row and index.id(row) == name and name in index for row, name in enumerate(ids))


@given(utf8, st.lists(st.text(max_size=4).filter(_encodes), max_size=10))
def test_lookup_agrees_with_a_dictionary(ids, wanted):
    expected = [ids.index(name) if name in ids else -1 for name in wanted]
    assert IdMap(ids).rows(wanted).tolist() == expected
    assert [IdMap(ids).row(name) for name in wanted] == [None if row < 0 else row for row in expected]


def test_many_and_few_lookups_agree():
    ids = IdMap([f"i{n}" for n in range(500)])
    wanted = [f"i{n}" for n in range(0, 1000, 3)]
    one_by_one = np.concatenate([ids.rows([name]) for name in wanted])
    assert ids.rows(wanted).dtype == np.int32
    np.testing.assert_array_equal(ids.rows(wanted), one_by_one)
    np.testing.assert_array_equal(ids.rows(pa.chunked_array([wanted[:7], wanted[7:]])), one_by_one)


@pytest.mark.parametrize("n", [3, 200])
def test_a_missing_name_is_unknown(n):
    assert IdMap([f"i{k}" for k in range(300)]).rows([None] * n).tolist() == [-1] * n


def test_ids_are_any_text():
    ids = IdMap(["", " ", "a b", "ид", "名前", "0", "00", "a\tb", "é", "e\u0301"])
    assert ids.rows(["00", "0", "é", "e\u0301", ""]).tolist() == [6, 5, 8, 9, 0]


def test_a_repeated_id_is_named():
    with pytest.raises(DataError, match=r"user ids: found 'b' 3 times; expected every id once"):
        IdMap(["a", "b", "c", "b", "b"], kind="user")


def test_a_missing_id_is_refused():
    with pytest.raises(DataError, match="item ids: found a missing id"):
        IdMap(["a", None], kind="item")


def test_labels_need_the_length_of_the_ids():
    with pytest.raises(DataError, match="1 labels; expected one for each of the 2 ids"):
        IdMap(["a", "b"], ["A"])


def test_label_falls_back_to_the_id():
    ids = IdMap(["a", "b", "c"], ["Ann", None, ""])
    assert [ids.label(row) for row in range(3)] == ["Ann", "b", "c"]
    assert IdMap(["a"]).label(0) == "a"


def test_numbers_are_not_ids():
    with pytest.raises(TypeError):
        IdMap([1, 2])


@pytest.mark.parametrize("dtype", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_other_arrow_strings_are_taken(dtype):
    assert IdMap(pa.array(["a", "b"]).cast(dtype)) == IdMap(["a", "b"])


def test_equality_is_of_ids_in_order():
    assert IdMap(["a", "b"], ["A", "B"]) == IdMap(["a", "b"])
    assert IdMap(["a", "b"]) != IdMap(["b", "a"])
    assert IdMap(["a"]) != ["a"]


def test_select_renumbers():
    ids = IdMap(["a", "b", "c"], ["A", None, "C"]).select(np.array([2, 0], np.int32))
    assert ids.ids(np.array([0, 1])) == ["c", "a"]
    assert [ids.label(0), ids.label(1)] == ["C", "A"]
    assert ids.row("b") is None


def test_select_refuses_a_row_twice():
    with pytest.raises(DataError, match="'a' 2 times"):
        IdMap(["a", "b"]).select(np.array([0, 0], np.int32))


@given(utf8, utf8, st.booleans(), st.booleans(), st.booleans())
def test_extend_appends(first, second, label_first, label_second, look_first):
    added = [name for name in second if name not in first]
    ids = IdMap(first, [name.upper() for name in first] if label_first else None)
    if look_first:
        assert ids.row("?") is None or "?" in first  # the dictionary exists before and must be extended too
    larger = ids.extend(added, [f"<{name}>" for name in added] if label_second else None)
    assert larger == IdMap(first + added)
    assert [larger.row(name) for name in first + added] == list(range(len(first + added)))
    shown = [name.upper() or name if label_first else name for name in first]
    shown += [f"<{name}>" if label_second else name for name in added]
    assert [larger.label(row) for row in range(len(larger))] == shown
    assert len(ids) == len(first)


def test_extend_by_nothing_is_the_same_map():
    ids = IdMap(["a"])
    assert ids.extend([]) is ids


@pytest.mark.parametrize("added", [["a"], ["x", "x"], [None]])
def test_extend_keeps_ids_unique(added):
    with pytest.raises(DataError):
        IdMap(["a", "b"]).extend(added)
