from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.errors import DataError
from metakg.readers.options import ReadOptions
from metakg.readers.staging import Stage
from metakg.readers.tables import stage_interactions, stage_labels, stage_links, stage_triples


@pytest.fixture
def stage(connection):
    return Stage(connection)


def staged(stage, number=-1):
    """Return the columns and the rows of a part."""
    part = stage.parts[number]
    names = sorted(part.columns)
    return names, stage.connection.execute(f"SELECT {', '.join(names)} FROM {part.view}").fetchall()


ROWS = [("007", "i 1", 3.5, 881250949), ("u2", "i2", 1.0, 881250950)]


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "jsonl", "parquet"])
def test_the_same_interactions_from_every_format(stage, tmp_path, form):
    path = tmp_path / f"clicks.{form}"
    names = ("userId", "movieId", "rating", "timestamp")
    if form == "parquet":
        columns = zip(*ROWS, strict=True)
        pq.write_table(pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}), path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS))
    else:
        delimiter = "\t" if form == "tsv" else ","
        text = "\n".join(delimiter.join(map(str, row)) for row in [names, *ROWS])
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    stage_interactions(stage, path, ReadOptions())
    names, rows = staged(stage)
    assert names == ["item", "time", "user", "value"]
    assert [(user, item, float(value), int(time)) for item, time, user, value in rows] == ROWS


def test_other_columns_are_left_alone_and_said_in_the_manifest(stage, write):
    path = write("a.csv", "comment,uid,sku,extra\nhello,u,i,1\n")
    stage_interactions(stage, path, ReadOptions())
    assert staged(stage) == (["item", "user"], [("i", "u")])
    assert stage.sources == [
        {
            "format": "table",
            "files": [{"name": "a.csv", "bytes": path.stat().st_size}],
            "options": {"columns": {"user": "uid", "item": "sku"}, "not_read": ["comment", "extra"]},
        }
    ]


def test_columns_by_option(stage, write):
    path = write("a.csv", "klant,product,punten,dag\nu,i,3,2020-01-01\n")
    options = ReadOptions(user_column="klant", item_column="product", value_column="punten", time_column="dag")
    stage_interactions(stage, path, options)
    assert staged(stage)[1] == [("i", "2020-01-01", "u", "3")]


def test_values_and_times_can_be_ignored(stage, write):
    path = write("a.csv", "user,item,rating,time\nu,i,good,soon\n")
    stage_interactions(stage, path, ReadOptions(value_column="none", time_column="none"))
    assert staged(stage) == (["item", "user"], [("i", "u")])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1\t2\n3\t4\n", ["item", "user"]),
        ("1\t2\t5\n3\t4\t1\n", ["item", "user", "value"]),
        ("1\t2\t881250949\n3\t4\t881250950\n", ["item", "time", "user"]),
        ("1,2,2020-01-01\n3,4,2020-01-02\n", ["item", "time", "user"]),
        ("1::2::5::881250949\n", ["item", "time", "user", "value"]),
    ],
)
def test_without_a_header_columns_are_user_item_value_time(stage, write, text, names):
    stage_interactions(stage, write("u.data", text), ReadOptions())
    assert staged(stage)[0] == names
    assert staged(stage)[1][0][:1] == ("2",)


def test_columns_without_a_header_by_number(stage, write):
    path = write("a.tsv", "881250949\tu\tx\ty\ti\n")
    with pytest.raises(
        DataError, match=r"5 columns and no header; expected user, item\[, value\]\[, time\]\. .*--user-column 1"
    ):
        stage_interactions(stage, path, ReadOptions())
    stage_interactions(stage, path, ReadOptions(user_column="2", item_column="5", time_column="1"))
    assert staged(stage)[1] == [("i", "881250949", "u")]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\nx,y\n", {}, r"line 1: found the columns 'a', 'b'; expected a user column .*--user-column.*--no-header"),
        ("user,b\nx,y\n", {}, r"expected an item column .*--item-column"),
        ("user,item\nx,y\n", {"time_column": "when"}, "expected a column 'when'"),
        ("user,item\nx,y\n", {"item_column": "user"}, "column 'user' as both user and item"),
    ],
)
def test_missing_columns(stage, write, text, options, message):
    with pytest.raises(DataError, match=message):
        stage_interactions(stage, write("a.csv", text), ReadOptions(**options))


def test_triples_by_header_in_any_order(stage, write):
    stage_triples(stage, write("kg.tsv", "tail_id:token\thead_id:token\trelation_id:token\nt\th\tr\n"), ReadOptions())
    assert staged(stage) == (["head", "relation", "tail"], [("h", "r", "t")])
    assert not stage.parts[0].guessed_order


def test_triples_without_a_header(stage, write):
    path = write("kg.txt", "a b likes\nc d likes\n")
    stage_triples(stage, path, ReadOptions())
    assert staged(stage)[1][0] == ("a", "b", "likes")
    assert stage.parts[0].guessed_order
    stage_triples(stage, path, ReadOptions(triple_order="htr"))
    assert staged(stage)[1][0] == ("a", "likes", "b")
    assert not stage.parts[1].guessed_order


def test_triples_need_three_columns(stage, write):
    with pytest.raises(DataError, match="2 columns and no header that is known; expected 3 columns: head, relation, tail"):
        stage_triples(stage, write("kg.tsv", "a\tb\n"), ReadOptions())
    with pytest.raises(DataError, match=r"expected a tail column .*Rename the column to tail"):
        stage_triples(stage, write("kg2.tsv", "head\trelation\tx\na\tb\tc\n"), ReadOptions())


def test_links(stage, write):
    stage_links(stage, write("l.csv", "freebase_id,item_id\nm.1,7\n"), ReadOptions())
    assert staged(stage) == (["entity", "item"], [("m.1", "7")])
    stage_links(stage, write("l.txt", "7 m.1\n8 m.2\n"), ReadOptions())
    assert staged(stage)[1] == [("m.1", "7"), ("m.2", "8")]


def test_what_a_label_names(stage, write):
    stage_labels(stage, write("a.tsv", "m.1\tAnna\nm.2\t東京 Tower\n"), ReadOptions())
    assert [row[1:3] for row in staged(stage)[1]] == [("entity", "Anna"), ("entity", "東京 Tower")]
    stage_labels(stage, write("b.tsv", "r1\tdirected by\n"), ReadOptions(labels_of="relation"))
    assert staged(stage)[1][0][1:3] == ("relation", "directed by")
    stage_labels(stage, write("c.csv", "item_id,title\n1,Heat\n"), ReadOptions())
    assert staged(stage)[1][0][:3] == ("1", "item", "Heat")
    stage_labels(stage, write("d.csv", "kind,id,label\nUser,1,Ann\nplanet,2,Mars\n"), ReadOptions())
    assert staged(stage)[1] == [("1", "user", "Ann", None), ("2", "planet", "Mars", "an unknown kind")]


def test_labels_need_an_id(stage, write):
    with pytest.raises(DataError, match="expected an id column"):
        stage_labels(stage, write("a.csv", "thing,label\n1,Heat\n"), ReadOptions(header=True))
