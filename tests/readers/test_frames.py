"""Data frames in memory are read as files are; what is neither is refused."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import metakg
from metakg.errors import DataError, EmptyFileError

CLICKS = pa.table({"user": ["a", "b", None, "a"], "item": [1, 2, 3, 2], "__index_level_0__": [4, 5, 6, 7]})
ABOUT = pa.table({"item": [1, 2], "genre": pa.array(["g", "h"]).dictionary_encode(), "__index_level_0__": ["p", "q"]})


class Frame:
    """All that a data frame of any library has to offer."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_a_frame_is_read_as_its_file_is_but_for_an_index_without_a_name(tmp_path) -> None:
    pq.write_table(CLICKS.drop_columns("__index_level_0__"), tmp_path / "clicks.parquet")
    pq.write_table(ABOUT.drop_columns("__index_level_0__"), tmp_path / "about.parquet")
    of_files = metakg.read(interactions=tmp_path / "clicks.parquet", item_attributes=tmp_path / "about.parquet")
    for wrap in (Frame, pa.Table.to_reader, lambda table: table):
        of_frames = metakg.read(interactions=wrap(CLICKS), item_attributes=wrap(ABOUT))
        assert of_frames.vocabulary == of_files.vocabulary
        assert of_frames.manifest["tables"] == of_files.manifest["tables"]
    (finding,) = of_frames.manifest["findings"]
    assert finding["places"] == [{"file": "interactions in memory", "found": "user=(none), item=3", "row": 3}]
    assert metakg.read(interactions=duckdb.sql("SELECT 'a' AS user, 'x' AS item")).manifest["counts"]["users"] == 1


def test_errors_call_a_frame_by_its_role() -> None:
    with pytest.raises(DataError, match=r"^interactions in memory: found the columns 'u', 'i'; expected a user column"):
        metakg.read(interactions=Frame(pa.table({"u": [1], "i": [2]})))
    with pytest.raises(EmptyFileError, match=r"^item_attributes in memory: found no rows"):
        metakg.read(interactions=CLICKS, item_attributes=ABOUT.slice(0, 0))


@pytest.mark.parametrize("bad", [[("a", "b")], {"user": ["a"], "item": ["x"]}, 3])
def test_what_is_neither_paths_nor_a_frame_is_refused(bad) -> None:
    with pytest.raises(TypeError, match=r"interactions cannot be read from a .*; give paths, or a data frame"):
        metakg.read(interactions=bad)


def test_a_frame_needs_a_role() -> None:
    with pytest.raises(TypeError, match=r"path cannot be read from a Table; say what it is: read\(interactions=...\)"):
        metakg.read(CLICKS)
