from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metakg.errors import DataError
from metakg.readers import read
from metakg.readers.scan import (
    EmptyFileError,
    check_file,
    compression,
    head,
    open_bytes,
    path_literal,
    scan_csv,
    scan_json_lines,
    scan_parquet,
)

ONE_FOR_ALL = duckdb.connect(config={"threads": 1})
"""Opening a database costs more than scanning a tiny file, and a property test scans many."""


def rows(connection, scan, columns="*"):
    return connection.execute(f"SELECT {columns} FROM {scan.sql}").fetchall()


def test_csv_is_text_and_an_empty_cell_is_null(connection, write):
    scan = scan_csv(write("a.csv", "a,b\n007,\n1e3, x \n"), ["a", "b"], header=True)
    assert rows(connection, scan) == [("007", None), ("1e3", " x ")]


def test_lines_that_give_no_row_are_kept_apart_with_their_lines(connection, write):
    path = write("a.csv", b'a,b\n1,2\n3\n\n4,5,6\n"7\n8",9\n\xff,1\n10,11\n')
    scan = scan_csv(path, ["a", "b"], header=True)
    assert rows(connection, scan) == [("1", "2"), ("7\n8", "9"), ("10", "11")]
    broken = scan.rejected(connection)
    assert [text for text, _ in broken[:2]] == ["3", "4,5,6"]
    assert len(broken) == 3
    found, lines = scan.lines([0, 1, 2], broken=3)
    assert found == {0: 2, 1: 6, 2: 9}
    assert lines == [3, 5, 8]


def test_rejected_lines_are_counted_once_however_often_the_file_is_scanned(connection, write):
    scan = scan_csv(write("a.csv", "1,2\n3\n"), ["a", "b"])
    for _ in range(3):
        rows(connection, scan)
    assert len(scan.rejected(connection)) == 1


@given(
    cells=st.lists(
        st.one_of(
            st.tuples(st.just("row"), st.text(alphabet='a,"\n é', max_size=6)),
            st.just(("blank", "")),
            st.just(("short", "x")),
            st.just(("long", "x,y,z,w")),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_found_again_on_its_line(tmp_path_factory, cells):
    """Each row carries the line it was written on; blank, short and long lines and quoted line breaks stand between."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for kind, cell in cells:
        line = text.getvalue().count("\n") + 1
        if kind == "row":
            writer.writerow([line, cell, "end"])
        else:
            text.write(("" if kind == "blank" else cell) + "\n")
    path = tmp_path_factory.mktemp("lines") / "a.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    scan = scan_csv(path, ["line", "cell", "end"])
    lines = [int(row[0]) for row in rows(ONE_FOR_ALL, scan, "line")]
    broken = scan.rejected(ONE_FOR_ALL)
    found, bad = scan.lines(range(len(lines)), broken=len(broken))
    assert [found[n] for n in range(len(lines))] == lines
    assert len(lines) == sum(kind == "row" for kind, _ in cells)
    assert len(bad) == len(broken) == sum(kind in ("short", "long") for kind, _ in cells)


def test_json_lines(connection, write):
    text = '{"u":"a","n":7,"deep":{"x":[1]}}\n\nnot json\n[1]\n{"u":null}\n'
    scan = scan_json_lines(write("a.jsonl", text), ["u", "n", "deep"])
    assert rows(connection, scan) == [("a", "7", '{"x":[1]}'), (None, None, None), (None, None, None), (None, None, None)]
    assert scan.lines([0, 1, 3]) == ({0: 1, 1: 3, 3: 5}, [])


def test_parquet_rows_are_counted_from_one(connection, tmp_path):
    pq.write_table(pa.table({"a": [5, 6]}), tmp_path / "a.parquet")
    scan = scan_parquet(tmp_path / "a.parquet")
    assert rows(connection, scan) == [(5,), (6,)]
    assert scan.lines([1]) == ({1: 2}, [])


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_compression_is_seen_from_the_first_bytes_not_the_name(connection, tmp_path, kind):
    path = tmp_path / "table.anything"
    content = b"1,2\n3,4\n"
    if kind == "none":
        path.write_bytes(content)
    elif kind == "gzip":
        path.write_bytes(gzip.compress(content))
    else:
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(content)
    assert compression(path) == kind
    assert rows(connection, scan_csv(path, ["a", "b"])) == [("1", "2"), ("3", "4")]
    with open_bytes(path) as handle:
        assert handle.read() == content
    assert head(path) == ["1,2", "3,4"]


def test_a_path_may_hold_anything(connection, tmp_path):
    folder = tmp_path / "odd [x] *? 'q' ünï"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2\n")
    (tmp_path / "odd x").mkdir()
    assert rows(connection, scan_csv(folder / "a.csv", ["a", "b"])) == [("1", "2")]
    assert path_literal(Path("it's")) == "'it''s'"


def test_what_is_no_file_to_read(tmp_path, write):
    with pytest.raises(DataError, match=r"gone\.csv: found no such file; expected a file to read"):
        check_file(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="found a folder; expected a file"):
        check_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="found no regular file"):
        check_file(tmp_path / "pipe")
    with pytest.raises(EmptyFileError, match=r"empty\.csv: found an empty file"):
        check_file(write("empty.csv", b""))
    with pytest.raises(EmptyFileError, match=r"empty\.gz: found an empty file"):
        check_file(write("empty.gz", gzip.compress(b"")))


def test_a_cut_off_gzip_is_named(write):
    packed = gzip.compress(b"1,2\n" * 50_000)
    path = write("a.csv.gz", packed[: len(packed) // 2])
    with (
        pytest.raises(DataError, match=r"a\.csv\.gz: found a damaged or cut-off gzip file .* Fetch or compress it again"),
        open_bytes(path) as handle,
    ):
        handle.read()


def test_head_drops_the_byte_order_mark_and_a_line_that_the_window_cut(write):
    path = write("a.csv", b"\xef\xbb\xbfa,b\r\n" + b"x" * 70_000)
    assert head(path) == ["a,b"]


def test_folders_such_as_date_2024_01_01_are_columns_unless_the_file_has_them(tmp_path):
    """As Spark and Hive write tables in parts; an id in the file is never replaced by the folder's."""
    folder = tmp_path / "lr=0.1" / "run" / "user=007" / "date=2024-01-01"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"item": ["1"]}), folder / "p.parquet")
    data = read(interactions=folder.parent)
    assert data.vocabulary.users.ids([0]) == ["007"]
    assert data.interactions.times_s.tolist() == [1704067200]
    for name in ("user", "User"):
        pq.write_table(pa.table({name: ["u"], "item": ["1"]}), folder / "p.parquet")
        data = read(interactions=folder / "p.parquet")
        assert data.vocabulary.users.ids([0]) == ["u"]
        assert data.interactions.times_s.tolist() == [1704067200]
    pq.write_table(pa.table({"item": ["1"], "genre": ["x"]}), tmp_path / "lr=0.1" / "run" / "items.parquet")
    told = read(interactions=folder / "p.parquet", item_attributes=tmp_path / "lr=0.1" / "run" / "items.parquet")
    assert told.vocabulary.relations.ids([0]) == ["genre"]
    assert len(told.vocabulary.relations) == 1, "what lies above other folders is not of this table"
