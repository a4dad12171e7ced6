"""Rows files: whole or cut back, whatever kills the writer or fills the disk."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metakg.errors import DataError
from metakg.experiments.rows import Journal, key_of, read

HEADER = {"experiment": "table3", "protocol": "strict", "data": "d" * 64, "split": "s" * 32}


def filled(path: Path, units: int = 3) -> Path:
    with Journal(path, HEADER) as journal:
        journal.begin({"command": "test"})
        for n in range(units):
            journal.append(
                f"unit {n}", {"n": n}, [{"what": "quality", "mean": n / 7}, {"what": "cost", "label": "Größe\n"}], 1.5
            )
    return path


def test_what_is_appended_is_read_back(tmp_path) -> None:
    record = read(filled(tmp_path / "rows.jsonl"))
    assert [unit.name for unit in record.units] == ["unit 0", "unit 1", "unit 2"]
    assert record.units[2].rows == (
        {"key": key_of({"n": 2}), "what": "quality", "mean": 2 / 7},
        {"key": key_of({"n": 2}), "what": "cost", "label": "Größe\n"},
    )
    assert (record.torn, record.units[0].session, len(record.sessions)) == (0, 1, 1)


def test_a_key_depends_on_content_and_not_on_order() -> None:
    assert key_of({"a": 1, "b": {"c": 2.5}}) == key_of({"b": {"c": 2.5}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_a_file_cut_at_any_byte_goes_on_from_its_whole_units(tmp_path) -> None:
    whole = filled(tmp_path / "whole.jsonl").read_bytes()
    ends = [0]
    record = read(tmp_path / "whole.jsonl")
    first_unit = whole.index(b'{"unit"')
    for size in range(1, len(whole)):
        path = tmp_path / "torn.jsonl"
        path.write_bytes(whole[:size])
        with Journal(path, HEADER, resume=True) as journal:
            names = [unit.name for unit in journal.record.units]
            assert names == [f"unit {n}" for n in range(len(names))]
            kept = path.read_bytes()
            assert kept == whole[: len(kept)] or size < whole.index(b"\n") + 1
            assert journal.torn == size - len(kept) or size < first_unit
            ends.append(len(names))
            if size % 97 == 0:  # what is left can be written to
                journal.append("after", {"after": True}, [{"what": "x"}], 0.1)
        if size % 97 == 0:
            assert [unit.name for unit in read(path).units] == [*names, "after"]
    assert ends == sorted(ends)
    assert max(ends) == len(record.units) - 1


@pytest.mark.parametrize(
    ("spoil", "line", "text"),
    [
        (lambda lines: [*lines[:3], "{broken\n", *lines[4:]], 4, "not JSON"),
        (lambda lines: lines[:3] + lines[4:], 5, "a row of key"),
        (lambda lines: lines[:3] + lines[6:], 4, "a row of key"),
        (lambda lines: lines + lines[2:5], 12, "again"),
        (lambda lines: [*lines[:1], "[1]\n", *lines[1:]], 2, "JSON list"),
        (lambda lines: lines[1:], 1, "experiment None"),
        (lambda lines: [*lines[:2], '{"unit": "u", "key": "k", "rows": "many"}\n', *lines[2:]], 3, "does not fit"),
    ],
)
def test_damage_is_named_by_line(tmp_path, spoil, line, text) -> None:
    path = filled(tmp_path / "rows.jsonl")
    path.write_text("".join(spoil(path.read_text().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(DataError, match=text) as caught:
        Journal(path, HEADER, resume=True)
    assert caught.value.where == f"{path} line {line}"
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["protocol", "data", "split", "experiment"])
def test_rows_of_something_else_are_refused(tmp_path, name) -> None:
    path = filled(tmp_path / "rows.jsonl")
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"rows of {name}"):
        Journal(path, {**HEADER, name: "paper"}, resume=True)
    assert path.read_bytes() == before


def test_rows_of_other_settings_are_refused_and_the_setting_named(tmp_path) -> None:
    with Journal(tmp_path / "rows.jsonl", HEADER) as journal:
        journal.begin({})
        journal.append("walk", {"model": {"steps": 2, "decay": 0.5}, "seed": 1}, [], 0.0)
        assert journal.find("walk", {"seed": 1, "model": {"decay": 0.5, "steps": 2}}) is not None
        assert journal.find("blend", {"seed": 1}) is None
        with pytest.raises(DataError, match=r"rows of model.steps '2'; expected model.steps '3'"):
            journal.find("walk", {"model": {"steps": 3, "decay": 0.5}, "seed": 1})


def test_earlier_rows_are_never_overwritten(tmp_path) -> None:
    path = filled(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="--resume"):
        Journal(path, HEADER)


def test_two_writers_are_refused(tmp_path) -> None:
    with Journal(tmp_path / "rows.jsonl", HEADER), pytest.raises(DataError, match="another run"):
        Journal(tmp_path / "rows.jsonl", HEADER, resume=True)


class FullDisk(io.FileIO):
    """Takes so many bytes and then has no space left, as a disk does: in the middle of a row."""

    room = 10**9

    def write(self, data):  # type: ignore[override]
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = super().write(bytes(data[: self.room]))
        self.room -= taken
        return taken


def test_a_disk_that_fills_loses_nothing_and_says_so(tmp_path) -> None:
    path, disks = tmp_path / "rows.jsonl", []

    def disk(place: Path) -> FullDisk:
        disks.append(FullDisk(place, "a"))
        return disks[-1]

    with Journal(path, HEADER, opener=disk) as journal:
        journal.begin({})
        journal.append("first", {"n": 1}, [{"what": "x"}], 0.0)
        before = path.read_bytes()
        disks[0].room = 150
        with pytest.raises(DataError, match="full disk"):
            journal.append("second", {"n": 2}, [{"what": "y" * 300}], 0.0)
        assert path.read_bytes() == before
        assert [unit.name for unit in journal.record.units] == ["first"]
        disks[0].room = 10**6  # space was freed
        journal.append("second", {"n": 2}, [{"what": "y" * 300}], 0.0)
    assert [unit.name for unit in read(path).units] == ["first", "second"]


WRITER = """
import sys, time
from pathlib import Path
from metakg.experiments.rows import Journal
with Journal(Path(sys.argv[1]), {"experiment": "table3"}, resume=True) as journal:
    journal.begin({})
    for n in range(10_000):
        if journal.find(f"unit {n}", {"n": n}) is None:
            journal.append(f"unit {n}", {"n": n}, [{"what": "x" * 200, "row": i} for i in range(50)], 0.0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_kill_minus_nine_counts_every_unit_once(tmp_path) -> None:
    path, last = tmp_path / "rows.jsonl", 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=os.environ)
        began, wanted = time.monotonic(), last + 300_000
        while not (path.exists() and path.stat().st_size > wanted):
            assert child.poll() is None
            assert time.monotonic() - began < 60
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        record = read(path)
        last = record.whole
        assert [unit.name for unit in record.units] == [f"unit {n}" for n in range(len(record.units))]
        assert all([row["row"] for row in unit.rows] == list(range(50)) for unit in record.units)
    assert len(record.sessions) == 3
    with Journal(path, {"experiment": "table3"}, resume=True) as journal:
        assert len(journal.record.units) == len(record.units)
    assert read(path).torn == 0


def test_a_file_without_a_unit_holds_nothing_that_could_be_lost(tmp_path) -> None:
    path = filled(tmp_path / "rows.jsonl", units=0)
    with Journal(path, HEADER) as journal:
        journal.append("unit", {"n": 0}, [{"what": "quality"}], 1.0)
    assert [unit.name for unit in read(path).units] == ["unit"]


def test_a_line_that_is_not_the_beginning_of_ours_is_never_cut_off(tmp_path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("my notes, without a line end")
    with pytest.raises(DataError, match="the first line of a rows file"):
        Journal(path, HEADER, resume=True)
    assert path.read_text() == "my notes, without a line end"


@pytest.mark.parametrize("number", ["1e400", "-5"])
def test_an_impossible_number_of_rows_is_damage(tmp_path, number) -> None:
    path = filled(tmp_path / "rows.jsonl")
    path.write_text(path.read_text().replace('"rows": 2', f'"rows": {number}', 1))
    with pytest.raises(DataError, match=r"line 3.*does not fit"):
        read(path)


def test_a_row_of_no_kind_is_damage(tmp_path) -> None:
    path = filled(tmp_path / "rows.jsonl")
    path.write_text(path.read_text().replace('"what": "cost"', '"why": "cost"', 1))
    with pytest.raises(DataError, match=r"line 5.*kind None"):
        read(path)


def test_a_unit_is_written_once(tmp_path) -> None:
    path = filled(tmp_path / "rows.jsonl")
    with Journal(path, HEADER, resume=True) as journal, pytest.raises(ValueError, match="already"):
        journal.append("unit 1", {"n": 17}, [], 1.0)
    assert len(read(path).units) == 3
