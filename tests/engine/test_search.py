"""Search as you type, against a scan of all names."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metakg.data import IdMap
from metakg.engine.search import SearchIndex, words

NAMES = st.text(alphabet="abÄé -", max_size=8)


def names_of(index: SearchIndex, text: str) -> list[str]:
    return [index.ids.id(row) for row in index.find(text).tolist()]


def test_case_accents_and_the_order_of_words_do_not_matter() -> None:
    index = SearchIndex(IdMap(["m1", "m2", "m3"], ["Café del Mar", "The Quiet Sea", None]))
    assert names_of(index, "cafe") == names_of(index, "MAR CAF") == names_of(index, "dél") == ["m1"]
    assert names_of(index, "quiet the s") == ["m2"]
    assert names_of(index, "uiet") == [], "only beginnings of words"
    assert names_of(index, "m") == ["m1", "m2", "m3"], "ids are found as well"
    assert names_of(index, "") == names_of(index, "  ") == []
    assert names_of(index, "quiet nothing") == []


def test_ids_of_punctuation_alone_are_found() -> None:
    index = SearchIndex(IdMap(["!!!", "m.0f7"], [None, "Weezer"]))
    assert names_of(index, "!!") == ["!!!"]
    assert names_of(index, "m.0f") == ["m.0f7"]


@given(st.lists(NAMES, max_size=12), NAMES, st.integers(0, 12))
def test_the_index_equals_a_scan(labels, text, begin) -> None:
    ids = [f"id{n}" for n in range(len(labels))]
    whole = IdMap(ids, labels)
    grown = SearchIndex(whole, SearchIndex(IdMap(ids[:begin], labels[:begin])))
    wanted = words(text)
    expected = [
        row
        for row, label in enumerate(labels)
        if wanted and all(any(word.startswith(w) for word in {*words(label or ids[row]), ids[row]}) for w in wanted)
    ]
    for index in (SearchIndex(whole), grown):
        assert index.find(text).tolist() == expected


def test_rows_that_move_are_found_where_they_are_now() -> None:
    old = IdMap([f"e{n}" for n in range(40)], [f"Name{n}" for n in range(40)])
    moved = IdMap(["new", *(f"e{n}" for n in range(39, -1, -1))], ["Newcomer", *(f"Name{n}" for n in range(39, -1, -1))])
    index = SearchIndex(moved, SearchIndex(old))
    assert index.depth == 2
    assert names_of(index, "name7") == ["e7"]
    assert names_of(index, "new") == ["new"]
    fewer = SearchIndex(IdMap(["e3"], ["Name3"]), SearchIndex(old))
    assert names_of(fewer, "name") == ["e3"]
    chain = SearchIndex(old)
    for n in range(12):
        chain = SearchIndex(chain.ids.extend([f"more{n}"]), chain)
    assert chain.depth <= 8
    assert np.array_equal(chain.find("more"), np.arange(40, 52))
