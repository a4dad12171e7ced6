"""What a person should know before training: columns left alone, low ratings, lists, a graph that does not meet the clicks."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import metakg
from metakg.errors import ConfigError, DataError
from metakg.readers import validate

CLICKS = {"user": ["a", "a", "b", "b"], "item": ["1", "2", "1", "3"]}


def told(clicks: dict[str, list], about: dict[str, list] | None = None, **options: object) -> list[tuple[str, str]]:
    attributes = None if about is None else pa.table(about)
    data = metakg.read(interactions=pa.table(clicks), item_attributes=attributes, **options)
    return [(finding["level"], finding["what"]) for finding in data.manifest["findings"]]


def test_columns_that_are_not_read_are_named() -> None:
    data = metakg.read(interactions=pa.table(CLICKS | {"event": ["view"] * 4, "when": [1, 2, 3, 4]}))
    (finding,) = (f for f in data.manifest["findings"] if "not read" in f["what"])
    assert (finding["level"], finding["count"], finding["places"]) == ("note", 2, ["event", "when"])
    assert not any("not read" in what for _, what in told(CLICKS))


def test_values_that_all_count_alike_are_said_unless_they_are_chosen_from() -> None:
    rated = CLICKS | {"rating": [1.0, 5.0, 4.0, 2.0]}
    what = "values from 1 to 5, where each row counts as a like, the low ones too (--min-value N leaves them out)"
    assert ("note", what) in told(rated)
    assert not any(words.startswith("values from") for _, words in told(rated, min_value=4))
    assert not any(words.startswith("values from") for _, words in told(CLICKS | {"rating": [1.0] * 4}))


@pytest.mark.parametrize(("separator", "said"), [(None, True), ("|", False)])
def test_values_that_look_like_lists_are_said(separator: str | None, said: bool) -> None:
    about = {"item": ["1", "2", "3"], "genre": ["x|y", "y", "z"]}
    found = told(CLICKS, about, **({} if separator is None else {"separator": separator}))
    assert any("look like lists" in what for _, what in found) == said


def test_a_graph_that_shares_no_item_with_the_clicks_is_a_problem() -> None:
    about = {"item": ["1.0", "2.0", "3.0"], "genre": ["x", "y", "z"]}
    assert told(CLICKS, about)[0] == ("problem", "no item with a click has a fact (ids look like '1' there and '1.0' here)")
    assert not any("no item with a click" in what for _, what in told(CLICKS, about | {"item": ["1", "8", "9"]}))
    assert not any("no item with a click" in what for _, what in told(CLICKS))


def test_facts_about_users_who_never_click_are_a_problem() -> None:
    def found(users: list[str]) -> list[str]:
        about = pa.table({"user": users, "city": ["x", "y"]})
        data = metakg.read(interactions=pa.table(CLICKS), user_attributes=about)
        return [finding["what"] for finding in data.manifest["findings"] if finding["level"] == "problem"]

    assert found(["a.0", "b.0"]) == ["no user with a click has a fact (ids look like 'a' there and 'a.0' here)"]
    assert found(["a", "zoe"]) == []


def test_links_that_lead_to_nothing_known_are_a_problem() -> None:
    def found(entity: str) -> list[str]:
        triples = pa.table({"head": ["http://x/1"], "relation": ["by"], "tail": ["http://x/p"]})
        links = pa.table({"item": ["1", "2"], "entity": [entity, "other"]})
        data = metakg.read(interactions=pa.table(CLICKS), triples=triples, links=links)
        return [finding["what"] for finding in data.manifest["findings"] if finding["level"] == "problem"]

    assert found("x:1")[-1] == "no linked item has a fact (links name entities like 'x:1', facts like 'http://x/1')"
    assert found("http://x/1") == []


def test_words_for_a_missing_value_are_noted() -> None:
    what = "whose ids are elsewhere words for a missing value (leave such cells empty)"
    clicks = {"user": ["NULL", "a", "b", "nan"], "item": ["1", "2", r"\N", "3"]}
    data = metakg.read(
        interactions=pa.table(clicks), item_attributes=pa.table({"item": ["1", "2"], "genre": ["N/A", "none such"]})
    )
    found = {f["what"]: f["places"] for f in data.manifest["findings"] if what in f["what"]}
    assert found == {f"users {what}": ["nan", "NULL"], f"items {what}": [r"\N"], f"attribute values {what}": ["genre:N/A"]}
    assert not any(what in words for _, words in told(CLICKS))


def test_facts_that_every_item_has_are_noted() -> None:
    def noted(countries: list[str]) -> list[list[str]]:
        about = pa.table({"item": [str(n) for n in range(30)], "country": countries})
        data = metakg.read(interactions=pa.table(CLICKS), item_attributes=about)
        return [f["places"] for f in data.manifest["findings"] if "nearly every item has" in f["what"]]

    assert noted(["DE"] * 28 + ["FR"] * 2) == [["country:DE"]]
    assert noted(["DE"] * 20 + ["FR"] * 10) == []


def test_what_an_option_leaves_out_of_a_table_is_said() -> None:
    items, users = pa.table({"item": ["1"], "genre": ["x"], "size": [3]}), pa.table({"user": ["a"], "age": [30]})
    data = metakg.read(interactions=pa.table(CLICKS), item_attributes=items, user_attributes=users, attributes=("genre",))
    left = [f["places"] for f in data.manifest["findings"] if f["kind"] == "attributes" and "not read" in f["what"]]
    assert left == [["size"], ["age"]]
    with pytest.raises(ConfigError, match="'age', which --attributes leaves out"):
        metakg.read(
            interactions=pa.table(CLICKS), item_attributes=items, user_attributes=users, attributes=("genre",), bins={"age": 2}
        )


def nested(tmp_path: Path, how: str) -> Path:
    rows = [
        {"user": "a", "product": {"id": 7, "price": {"amount": 1.5}}, "tags": ["x"]},
        {"user": "a", "product": {"id": 7, "price": {"amount": 1.6}}, "tags": ["x", "y"]},
        {"user": "b", "product": {"id": "08", "price": None}, "tags": []},
    ]
    path = tmp_path / f"events.{how}"
    if how == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        for row in rows:
            row["product"]["id"] = str(row["product"]["id"])  # type: ignore[index]
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("how", ["jsonl", "parquet"])
def test_objects_and_lists_are_no_ids_and_a_field_inside_may_be(tmp_path: Path, how: str) -> None:
    path = nested(tmp_path, how)
    with pytest.raises(DataError, match=r"objects in the item column 'product'.*--item-column product\.id"):
        metakg.read(interactions=path)
    with pytest.raises(DataError, match=r"lists in the item column 'tags'; expected one value a cell\. Write a row for each"):
        metakg.read(interactions=path, item_column="tags")
    data = metakg.read(interactions=path, item_column="product.id")
    assert data.vocabulary.items.array.to_pylist() == ["7", "08"]
    assert [f["places"] for f in data.manifest["findings"] if "not read" in f["what"]] == [["tags"]], "of product a field is"
    prices = metakg.read(
        interactions=path, item_column="product.id", item_attributes=path, attributes=("product.price.amount", "tags")
    )
    assert {"tags:x", "tags:y", "product.price.amount:1.5"} <= set(prices.vocabulary.entities.array.to_pylist())
    with pytest.raises(DataError, match=r"objects in column 'product'.*--attributes product\.name"):
        metakg.read(interactions=path, item_column="product.id", item_attributes=path, attributes=("product",))
    with pytest.raises(DataError, match=r"expected a column 'shop\.id'"):
        metakg.read(interactions=path, item_column="shop.id")


def test_a_prepared_folder_is_validated_with_what_was_said_of_its_files(tmp_path: Path) -> None:
    about = {"item": ["1.0"], "genre": ["x"]}
    timed = CLICKS | {"time": [10, 20, 30, 40]}
    metakg.read(interactions=pa.table(timed), item_attributes=pa.table(about), out=tmp_path / "data")
    report = validate(tmp_path / "data")
    assert not report.clean
    assert report.times == ("1970-01-01T00:00:10Z", "1970-01-01T00:00:40Z")
    metakg.read(interactions=pa.table(timed), out=tmp_path / "sound")
    assert validate(tmp_path / "sound").clean


def test_the_command_says_what_data_without_times_are_good_for(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from metakg.cli.main import app

    (tmp_path / "c.csv").write_text("user,item\na,x\nb,y\n")
    words = ["prepare", "--interactions", str(tmp_path / "c.csv"), "--out", str(tmp_path / "out")]
    assert 'no times: cut them by lot ("metakg split --set arrival=lot")' in CliRunner().invoke(app, words).stdout


def test_a_folder_in_the_place_of_a_table_is_all_files_in_it(tmp_path: Path) -> None:
    for day, row in (("2024-01-01", "a,x\n"), ("2024-01-02", "b,y\na,z\n")):
        (tmp_path / "events" / f"day={day}").mkdir(parents=True)
        (tmp_path / "events" / f"day={day}" / "part-0.csv").write_text(f"user,item\n{row}")
    (tmp_path / "events" / "_SUCCESS").write_text("")
    (tmp_path / "events" / "day=2024-01-02" / ".part-0.csv.crc").write_bytes(b"crc")
    data = metakg.read(interactions=tmp_path / "events")
    assert data.vocabulary.items.array.to_pylist() == ["x", "y", "z"]
    assert len(data.interactions) == 3
    (tmp_path / "nothing" / ".hidden").mkdir(parents=True)
    with pytest.raises(DataError, match="a folder without a file"):
        metakg.read(interactions=tmp_path / "nothing")
