from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.errors import ConfigError, DataError
from metakg.readers import read

CLICKS = "user,item\nu1,a\nu2,b\n"


@pytest.fixture
def clicks(write):
    return write("clicks.csv", CLICKS)


def test_columns_become_relations_and_cells_entities(write, clicks, facts_of):
    items = write("items.csv", "id,title,genre,year\na,Alien,Horror,1979\nb,Brazil,,1985\n\nc,Cube,Horror,\n")
    data = read(interactions=clicks, item_attributes=items)
    assert facts_of(data) == {
        ("item:a", "genre", "genre:Horror"),
        ("item:a", "year", "year:1979"),
        ("item:b", "year", "year:1985"),
        ("item:c", "genre", "genre:Horror"),
    }
    v = data.vocabulary
    assert v.items.array.to_pylist() == ["a", "b", "c"]  # an item in the catalogue alone is an item
    assert [v.items.label(row) for row in range(3)] == ["Alien", "Brazil", "Cube"]
    assert v.entities.label(v.entities.row("genre:Horror")) == "Horror"


def test_users_have_facts_too(write, clicks, about_users):
    users = write("users.csv", "user_id;city;name\nu1;Köln am Rhein;Ann\nu2; ;Bob\n")
    data = read(interactions=clicks, user_attributes=users)
    assert about_users(data) == {("u1", "city", "city:Köln am Rhein")}
    assert data.vocabulary.users.label(0) == "Ann"


def test_cells_with_several_values(write, clicks, facts_of):
    items = write("items.csv", "item,genre\na,Drama| War |Drama||\nb,War\n")
    assert facts_of(read(interactions=clicks, item_attributes=items, separator="|")) == {
        ("item:a", "genre", "genre:Drama"),
        ("item:a", "genre", "genre:War"),
        ("item:b", "genre", "genre:War"),
    }


def test_lists_in_json_and_parquet(write, clicks, tmp_path, facts_of):
    expected = {("item:a", "tags", "tags:x"), ("item:a", "tags", "tags:y z"), ("item:b", "tags", "tags:x")}
    lines = [{"item": "a", "tags": ["x", "y z", None]}, {"item": "b", "tags": "x"}]
    path = write("items.jsonl", "\n".join(map(json.dumps, lines)))
    assert facts_of(read(interactions=clicks, item_attributes=path)) == expected
    pq.write_table(pa.table({"item": ["a", "b"], "tags": [["x", "y z"], ["x"]]}), tmp_path / "items.parquet")
    assert facts_of(read(interactions=clicks, item_attributes=tmp_path / "items.parquet")) == expected


def test_numbers_in_parquet_read_as_people_write_them(clicks, tmp_path, facts_of):
    table = pa.table({"item": ["a", "b"], "year": [1979.0, None], "price": [9.5, 10.0], "new": [True, False]})
    pq.write_table(table, tmp_path / "items.parquet")
    tails = {tail for _, _, tail in facts_of(read(interactions=clicks, item_attributes=tmp_path / "items.parquet"))}
    assert tails == {"year:1979", "price:9.5", "price:10", "new:true", "new:false"}


def test_bins_hold_about_equally_many(write, clicks, about_users):
    ages = [18, 19, 20, 30, 31, 32, 60, 61, 62]
    users = write("users.csv", "user,age\n" + "".join(f"u{n},{age}\n" for n, age in enumerate(ages)) + "u9,unknown\nu10,\n")
    data = read(interactions=clicks, user_attributes=users, bins={"age": 3})
    bins = {user: tail for user, _, tail in about_users(data)}
    assert [bins[f"u{n}"] for n in range(9)] == ["age:..30"] * 3 + ["age:30..60"] * 3 + ["age:60.."] * 3
    assert bins["u9"] == "age:unknown"
    assert "u10" not in bins
    v = data.vocabulary
    labels = {v.entities.label(v.entities.row(tail)) for tail in bins.values()}
    assert labels == {"under 30", "30 to under 60", "60 and over", "unknown"}


def test_one_value_is_one_bin(write, clicks, about_users):
    users = write("users.csv", "user,age\nu1,30\nu2,30\n")
    assert {tail for _, _, tail in about_users(read(interactions=clicks, user_attributes=users, bins={"age": 4}))} == {"age:.."}


def test_columns_can_be_chosen_even_the_title(write, clicks, facts_of):
    items = write("items.csv", "item,Title,Genre,blurb\na,Alien,Horror,long\n")
    data = read(interactions=clicks, item_attributes=items, attributes=("genre", "title"))
    assert facts_of(data) == {("item:a", "Genre", "Genre:Horror"), ("item:a", "Title", "Title:Alien")}


def test_an_attribute_that_no_table_has(write, clicks):
    items = write("items.csv", "item,genre\na,Horror\n")
    with pytest.raises(ConfigError, match="option attributes: found 'gener'; expected one of genre"):
        read(interactions=clicks, item_attributes=items, attributes=("gener",))
    with pytest.raises(ConfigError, match="option bins: found 'price'"):
        read(interactions=clicks, item_attributes=items, bins={"price": 3})
    with pytest.raises(ConfigError, match="option bins, column genre: found no number"):
        read(interactions=clicks, item_attributes=items, bins={"genre": 3})


def test_a_row_without_an_id_is_counted_once(write, clicks):
    items = write("items.csv", "item,genre,year\na,Horror,1979\n,War,1980\n")
    rows = read(interactions=clicks, item_attributes=items).manifest["rows"]
    assert rows["ids"]["rejected"] == {"no id": 1}
    assert rows["item_triples"] == {"read": 2, "kept": 2}


def test_a_table_without_an_id_column(write, clicks):
    with pytest.raises(DataError, match="expected an item column"):
        read(interactions=clicks, item_attributes=write("items.csv", "what,genre\na,Horror\n"))


FILMS = [{"item_id": "1", "genres": [{"id": 28, "name": "Action"}, {"id": 3, "name": "Drama"}]}, {"item_id": "2", "genres": []}]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_field_of_a_list_of_objects(tmp_path, write, facts_of, form):
    clicks, path = write("c.csv", "user,item\nu,1\nu,2\n"), tmp_path / f"films.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(film) + "\n" for film in FILMS))
    else:
        pq.write_table(pa.Table.from_pylist(FILMS), path)
    with pytest.raises(DataError, match=r"found objects in column 'genres'; .*--attributes genres\.name"):
        read(interactions=clicks, item_attributes=path)
    found = facts_of(read(interactions=clicks, item_attributes=path, attributes=("genres.name",)))
    assert {tail for _, _, tail in found} == {"genres.name:Action", "genres.name:Drama"}
    if form == "jsonl":
        rows = write("c.jsonl", '{"user": "u", "seen": [{"id": "1"}, {"id": "2"}]}\n')
        with pytest.raises(DataError, match=r"found lists in the item column 'seen\.id'"):
            read(interactions=rows, item_column="seen.id")
