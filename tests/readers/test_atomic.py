from __future__ import annotations

import gzip

import pytest

from metakg.errors import DataError
from metakg.readers import read, read_atomic

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t3\t881250949\n2\t11\t4\t881250950.5\n"
KG = "head_id:token\trelation_id:token\ttail_id:token\nm.a\tfilm.genre\tm.x\nm.b\tfilm.genre\tm.x\n"
LINK = "item_id:token\tentity_id:token\n10\tm.a\n"
ITEM = 'item_id:token\tmovie_title:token_seq\tyear:token\tclass:token_seq\n10\tThe "Big" One\t1995\tWar Drama\n12\tNew\t\t\n'
USER = "user_id:token\tage:token\tgender:token\n1\t24\tM\n3\t30\tF\n"


@pytest.fixture
def folder(tmp_path, write):
    for suffix, text in (("inter", INTER), ("kg", KG), ("link", LINK), ("item", ITEM), ("user", USER)):
        write(f"toy/toy.{suffix}", text)
    return tmp_path / "toy"


def test_all_files_are_read_by_header(folder, facts_of, pairs_of):
    data = read(folder)
    v = data.vocabulary
    assert pairs_of(data) == {("1", "10"), ("2", "11")}
    assert data.interactions.times_s.tolist() == [881250949, 881250950]
    assert facts_of(data) == {("m.a", "film.genre", "m.x"), ("m.b", "film.genre", "m.x")}
    assert v.items.array.to_pylist() == ["10", "11", "12"]
    assert v.entities.array.to_pylist()[:3] == ["m.a", "item:11", "item:12"]
    assert v.items.label(0) == 'The "Big" One'
    assert v.users.array.to_pylist() == ["1", "2", "3"]
    assert len(data.graph.user) == 0  # attributes are facts on request alone


def test_attributes_on_request(folder, facts_of, about_users):
    data = read_atomic(folder / "toy.inter", attributes=("class", "gender"))
    assert {fact for fact in facts_of(data) if fact[1] == "class"} == {
        ("m.a", "class", "class:War"),
        ("m.a", "class", "class:Drama"),
    }
    assert about_users(data) == {("1", "gender", "gender:M"), ("3", "gender", "gender:F")}
    every = read_atomic(folder, attributes="all", bins={"age": 2})
    ages = {(user, tail) for user, relation, tail in about_users(every) if relation == "age"}
    assert ages == {("1", "age:..30"), ("3", "age:30..")}
    assert every.vocabulary.relations.array.to_pylist() == ["age", "year", "class", "gender", "film.genre"]


def test_columns_in_another_order_and_packed_files(tmp_path, write, pairs_of):
    write("p/x.inter.gz", gzip.compress(b"timestamp:float\titem_id:token\tuser_id:token\n5\ti\tu\n"))
    assert pairs_of(read(tmp_path / "p")) == {("u", "i")}


def test_a_label_file_beside_them(folder, write):
    write("toy/entity_names.tsv", "m.x\tDrama\nm.ghost\tBoo\n")
    v = read(folder).vocabulary
    assert v.entities.label(v.entities.row("m.x")) == "Drama"


def test_two_data_sets_in_one_folder_and_none(folder, write, tmp_path):
    write("toy/other.inter", INTER)
    with pytest.raises(DataError, match=r"the \.inter files of other, toy; expected the files of one data set"):
        read(folder)
    assert read(folder / "other.inter").vocabulary.n_items == 2  # and not the .item file of the other
    with pytest.raises(DataError, match=r"found no \.inter file"):
        read_atomic(tmp_path)


def test_a_missing_column_is_named(folder, write):
    write("toy/toy.kg", "head_id:token\trelation_id:token\tx:token\na\tr\tb\n")
    with pytest.raises(
        DataError, match=r"toy\.kg line 1: found the columns 'head_id', 'relation_id', 'x'; expected a tail column"
    ):
        read(folder)
