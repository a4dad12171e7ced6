from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.errors import DataError
from metakg.readers import read
from metakg.readers.options import ReadOptions
from metakg.readers.sniff import first_names, open_table
from metakg.readers.staging import Stage


@pytest.fixture
def stage(connection):
    return Stage(connection)


def names(table):
    return [column.name for column in table.columns]


def cells(stage, table):
    columns = ", ".join(column.sql for column in table.columns)
    return stage.connection.execute(f"SELECT {columns} FROM {table.scan.sql}").fetchall()


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|", "::", " "])
def test_delimiter(stage, write, delimiter):
    path = write("a.dat", "\n".join(delimiter.join(row) for row in [("user", "item"), ("u1", "i1"), ("u2", "i2")]))
    table = open_table(stage, path, ReadOptions(), "interactions")
    assert names(table) == ["user", "item"]
    assert cells(stage, table) == [("u1", "i1"), ("u2", "i2")]


def test_a_tab_wins_over_commas_and_blanks_inside_cells(stage, write):
    table = open_table(
        stage, write("a.tsv", "item\ttitle\n1\tYou, Me and Dupree\n2\tUp, up\n"), ReadOptions(), "item_attributes"
    )
    assert cells(stage, table) == [("1", "You, Me and Dupree"), ("2", "Up, up")]


def test_a_delimiter_may_be_said(stage, write):
    path = write("a.csv", "user,item\nu;1,i1\n")
    assert names(open_table(stage, path, ReadOptions.parse({"delimiter": "tab"}), "interactions")) == ["user,item"]


@pytest.mark.parametrize(
    ("text", "role", "header"),
    [
        ("user_id,item_id\nu,i\n", "interactions", True),
        ("196\t242\t3\t881250949\n", "interactions", False),
        ("User ID,Product ID,Rating\nu,i,3\n", "interactions", True),
        ("klant,product\nu,i\n", "interactions", True),  # unknown words: an error later, never a silent first row
        ("head,relation,tail\na,r,b\n", "triples", True),
        ("a\tlikes\tb\nb\tlikes\tc\n", "triples", False),
        ("movie\tgenre\tcomedy\n", "triples", False),  # one word that is a column name elsewhere does not make a header
        ("subject predicate object\na r b\n", "triples", True),
        ("12 0 7\n", "triples", False),
        ("item_id,entity_id\n1,m.1\n", "links", True),
        ("i1,m.1\ni2,m.2\n", "links", False),
        ("m.1\tAnna\n", "labels", False),
        ("id\tlabel\nm.1\tAnna\n", "labels", True),
        ("item_id:token\tentity_id:token\n1\tm.1\n", "links", True),
        ("movieId,1995,1996\n1,0,1\n", "item_attributes", True),
    ],
)
def test_header(stage, write, text, role, header):
    assert open_table(stage, write("a.txt", text), ReadOptions(), role).header is header


def test_header_may_be_said(stage, write):
    path = write("a.csv", "anna,i1\nbea,i2\n")
    table = open_table(stage, path, ReadOptions(header=False), "interactions")
    assert names(table) == ["1", "2"]
    assert cells(stage, table) == [("anna", "i1"), ("bea", "i2")]


def test_quotes_between_commas_and_plain_quotes_between_tabs(stage, write):
    quoted = open_table(stage, write("a.csv", 'item,title\n1,"Go, ""now"""\n'), ReadOptions(), "item_attributes")
    assert cells(stage, quoted) == [("1", 'Go, "now"')]
    plain = open_table(stage, write("b.tsv", 'item\ttitle\n1\t"Weird Al" Yankovic\n2\tx\n'), ReadOptions(), "item_attributes")
    assert cells(stage, plain) == [("1", '"Weird Al" Yankovic'), ("2", "x")]
    whole = open_table(stage, write("c.tsv", 'item\ttitle\n1\t"A b"\n2\tx\n'), ReadOptions(), "item_attributes")
    assert cells(stage, whole) == [("1", "A b"), ("2", "x")]


def test_byte_order_marks_line_ends_and_encodings(stage, write):
    expected = [("é 1", "ü")]
    text = "user,item\r\né 1,ü\r\n"
    for name, content, encoding in (
        ("bom.csv", b"\xef\xbb\xbf" + text.encode(), None),
        ("crlf.csv", text.encode(), None),
        ("u16.csv", text.encode("utf-16"), None),
        ("latin.csv", text.encode("latin-1"), "latin-1"),
        ("marked.csv", b"\xef\xbb\xbf" + text.encode(), "latin-1"),  # one option for all files; a mark knows better
        ("marked16.csv", text.encode("utf-16"), "latin-1"),
    ):
        table = open_table(stage, write(name, content), ReadOptions(encoding=encoding), "interactions")
        assert names(table) == ["user", "item"], name
        assert cells(stage, table) == expected, name


def test_json_keys_come_from_many_lines(stage, write):
    lines = [{"user": "a", "item": 1}, {"user": "b", "item": 2, "rating": 4}]
    table = open_table(stage, write("a.json", "\n".join(map(json.dumps, lines))), ReadOptions(), "interactions")
    assert names(table) == ["user", "item", "rating"]
    assert cells(stage, table) == [("a", "1", None), ("b", "2", "4")]


def test_json_keys_that_differ_in_case_alone(stage, write):
    table = open_table(stage, write("a.json", '{"user":"a","User":"b","item":"c"}\n'), ReadOptions(), "interactions")
    assert names(table) == ["user", "item"]


def test_parquet_types_are_kept(stage, tmp_path):
    pq.write_table(pa.table({"user": [1], "tags": [["a", "b"]]}), tmp_path / "a.parquet")
    table = open_table(stage, tmp_path / "a.parquet", ReadOptions(), "user_attributes")
    assert [(column.name, column.type) for column in table.columns] == [("user", "BIGINT"), ("tags", "VARCHAR[]")]
    assert first_names(tmp_path / "a.parquet", ReadOptions(), stage) == ["user", "tags"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n \n", "found only blank lines; expected a table"),
        ('[{"user": 1}]', "line 1: found a JSON array; expected one JSON object a line"),
        ('{"user" 1}\n', "expected a JSON object"),
        (
            "user,item\nu,i,3\nv,j,4\n",
            "line 1: found 2 column names above 3 cells, parted by ','; expected one name",
        ),
        (b"PAR1 but no more", "found .*; expected a file that can be read"),
        (b"PK\x03\x04\x14\0\0\0user,item", r"found a ZIP archive, as Excel's .xlsx files are; .* save the sheet as CSV"),
        (b"\x80\x04\x95\x0f\0\0\0\0\0\0\0}\x94.", r"found a file of Python objects \(\.pkl\), which is never opened here"),
        (b"ARROW1\0\0\xff\xff\xff\xff\x10", "found an Arrow file"),
        (b"SQLite format 3\0\x10\0\x01\x01", "found an SQLite database"),
        ("user,item\nu,i\n".encode("utf-16-le"), "found bytes that are no text; .*--encoding utf-16"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, "found bytes that are no text"),
        (b"%PDF-1.4\n1 0 obj\n", "found a PDF"),
        ("\ufeffuser,item\nu,i\n".encode("utf-16-be"), "found UTF-16 with the high byte first; .*UTF-8"),
    ],
)
def test_what_is_no_table(stage, write, content, message):
    with pytest.raises(DataError, match=message):
        open_table(stage, write("a.any", content), ReadOptions(), "interactions")


@pytest.mark.parametrize("header", [None, False])
def test_a_decimal_comma_parts_no_columns_where_semicolons_do(stage, write, header):
    lines = "".join(f"u{n};i{n};{n},5\n" for n in range(30))
    table = open_table(stage, write("a.csv", lines), ReadOptions(decimal=",", header=header), "interactions")
    assert (len(table.columns), table.header) == (3, False)
    assert cells(stage, table)[0] == ("u0", "i0", "0,5")


def test_a_byte_that_is_no_text_here_and_there_does_not_make_a_file_binary(stage, write):
    content = b"ORCID,item\n" + b"u,i\n" * 30 + b"v\0,j\n"
    assert names(open_table(stage, write("a.csv", content), ReadOptions(), "item_attributes")) == ["ORCID", "item"]


def test_names_in_the_first_line_say_what_parts_the_columns_of_uneven_rows(stage, write):
    lines = ["user,item,rating,time", "a b,item 1,3,1", "ann,item 2", "bob,item 2", "cid,item 3,3,2", "dee,item 5,3,2"]
    table = open_table(stage, write("a.csv", "\n".join(lines)), ReadOptions(), "interactions")
    assert names(table) == ["user", "item", "rating", "time"]
    # where one name is all a table needs, blanks in names would fit as well: there the rows decide
    table = open_table(stage, write("b.csv", "item,the genre\ni 1,x\ni 2,y\n"), ReadOptions(), "item_attributes")
    assert names(table) == ["item", "the genre"]


@pytest.mark.parametrize(("user", "item"), [("1", "2"), ("2", "1")])
@pytest.mark.parametrize("first", ["1,2", "2,1", "1,1", "7,9"])
def test_a_column_by_number_makes_no_header_of_numbers(write, user, item, first):
    """A first row that holds the very numbers that the options name is data like any other."""
    data = read(interactions=write("c.csv", f"{first},9,x,y\n5,7,9,x,y\n6,8,9,x,y\n"), user_column=user, item_column=item)
    rows = [first.split(","), ["5", "7"], ["6", "8"]]
    v, pairs = data.vocabulary, data.interactions
    found = set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), strict=True))
    assert found == {(row[int(user) - 1], row[int(item) - 1]) for row in rows}


REVIEW = '"I liked it.\nVery much, really.\n\nBuy it."'


@pytest.mark.parametrize("options", [{}, {"delimiter": ",", "header": True, "quote": '"'}])
@pytest.mark.parametrize("rows", [2, 9, 200])
def test_cells_of_several_lines(write, options, rows):
    text = "user_id,item_id,rating,text\n" + "".join(f"u{n % 3},{n},5,{REVIEW}\n" for n in range(rows))
    assert len(read(interactions=write("c.csv", text), **options).interactions) == rows


def test_attributes_of_several_lines(write):
    clicks = write("c.csv", "user,item\nu,1\nv,2\n")
    items = write("i.csv", "item_id,title,about\n" + "".join(f"{n},Book {n},{REVIEW}\n" for n in range(1, 9)))
    data = read(interactions=clicks, item_attributes=items, attributes=("about",))
    assert len(data.graph.entity) == 8
    assert data.vocabulary.entities.id(int(data.graph.entity.tails[0])) == "about:" + REVIEW.strip('"')


def test_a_quote_that_never_ends_is_named(write):
    text = "user,item,rating\n" + "".join(f"u{n},i{n},1\n" for n in range(5)) + 'v,"6 inch pipe,1\nw,d,3\n'
    with pytest.raises(DataError, match=r"c\.csv line 7: found a quote that is never closed"):
        read(interactions=write("c.csv", text))


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_cells_of_several_lines_between_other_delimiters(write, delimiter):
    rows = "".join(delimiter.join((f"u{n % 3}", str(n), "5", REVIEW)) + "\n" for n in range(30))
    text = delimiter.join(("user_id", "item_id", "rating", "text")) + "\n" + rows
    assert len(read(interactions=write("c.tsv", text)).interactions) == 30


def test_a_header_that_names_one_column_of_triples(write):
    clicks, rows = write("c.csv", "user,item\nu,1\nv,2\n"), "1,is,a\n2,is,a\n2,of,b\n1,of,b\n"
    with pytest.raises(DataError, match=r"k\.csv line 1: found the columns 'entity1', 'relation', 'entity2'.*--no-header"):
        read(interactions=clicks, triples=write("k.csv", "entity1,relation,entity2\n" + rows))
    assert len(read(interactions=clicks, triples=write("k.csv", "2,source,b\n1,source,b\n" + rows)).graph.entity) == 6
    assert len(read(interactions=clicks, triples=write("k.csv", rows)).graph.entity) == 4


def test_json_keys_that_come_late(write):
    rows = [{"item_id": str(n), "genre": f"g{n % 3}"} | ({"author": "Ann"} if n == 300 else {}) for n in range(400)]
    rows[350]["tags"] = ["x", "y"]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    data = read(
        interactions=write("c.csv", "user,item\nu,1\nv,300\n"),
        item_attributes=write("i.jsonl", lines + "no JSON\n"),
    )
    assert data.vocabulary.relations.row("author") is not None
    assert {data.vocabulary.entities.row(f"tags:{tag}") is not None for tag in "xy"} == {True}


def test_json_lines_in_utf_16(write):
    with pytest.raises(DataError, match="found JSON lines in UTF-16; expected JSON lines in UTF-8"):
        read(interactions=write("c.jsonl", '{"user":"a","item":"1"}\r\n'.encode("utf-16")))


def test_the_first_name_of_a_list_may_be_a_common_word(write):
    clicks, labels = write("c.csv", "user,item\nu,Q5\n"), write("l.csv", "Q571,book\nQ5,human\nQ11424,film\nQ42,Douglas\n")
    assert read(interactions=clicks, labels=labels, labels_of="item").vocabulary.items.label(0) == "human"


@pytest.mark.parametrize("late", [[{"name": "Z"}, None], [None, {"name": "Z"}], [[], [{"name": "Z"}]]])
def test_what_comes_late_is_known_for_what_it_is_in_whatever_order(write, late):
    rows = [{"item_id": str(n), "maker": None} for n in range(200)] + [
        {"item_id": str(200 + n), "maker": value} for n, value in enumerate(late)
    ]
    clicks, items = write("c.csv", "user,item\nu,1\n"), write("i.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"found objects in column 'maker'"):
        read(interactions=clicks, item_attributes=items)
    found = read(interactions=clicks, item_attributes=items, attributes=("maker.name",))
    assert found.vocabulary.entities.row("maker.name:Z") is not None


def test_keys_with_signs_that_mean_something_elsewhere(write):
    row = {"item_id": "1", "$id": "a", "/x": "b", "a.b": "c", 'q"': "d"}
    data = read(interactions=write("c.csv", "user,item\nu,1\n"), item_attributes=write("i.jsonl", json.dumps(row) + "\n"))
    assert len(data.graph.entity) == 4


def test_a_quote_that_begins_a_title_and_an_uneven_row_cost_one_row(write):
    rows = [f"u{n}\t{n}\tTitle {n}" for n in range(40)] + ['v\t1\t"Heroes', "w\t2\tTitle\tand more", "x\t3\tLast"]
    data = read(interactions=write("c.tsv", "user\titem\ttitle\n" + "\n".join(rows) + "\n"))
    assert len(data.interactions) == 42
