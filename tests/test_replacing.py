"""A folder is replaced in one step; where that cannot be, a kill between two steps loses nothing either."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metakg import files
from metakg.errors import DataError


def write(path: Path, text: str) -> None:
    with files.atomic_folder(path, overwrite=True) as temporary:
        (temporary / "manifest.json").write_text(text)


class Killed(BaseException):
    """What no handler of the code under test expects."""


def killed_at_the_second(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """Let the old folder go, and die before the new one comes, leaving everything as it lies."""

    def dying(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise Killed
        return rename(self, target)

    return dying


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_is_replaced_and_nothing_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    if not at_once:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for text in ("one", "two", "three"):
        write(tmp_path / "x", text)
        assert (tmp_path / "x" / "manifest.json").read_text() == text
        assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif("sys.platform != 'linux'", reason="one step on Linux alone")
def test_names_are_exchanged_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange names")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    assert not files._exchange(tmp_path / "a", tmp_path / "nowhere")


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "another's result"])
def test_what_came_meanwhile_stays(tmp_path: Path, there: str) -> None:
    """Without `overwrite` nothing is replaced, whenever it came."""

    def ours() -> None:
        with files.atomic_folder(tmp_path / "x") as temporary:
            (temporary / "manifest.json").write_text("ours")
            if there != "nothing":
                (tmp_path / "x").mkdir()
            if there == "another's result":
                (tmp_path / "x" / "manifest.json").write_text("theirs")

    if there == "another's result":
        with pytest.raises(DataError, match="an earlier result"):
            ours()
    else:
        ours()
    expected = "theirs" if there == "another's result" else "ours"
    assert (tmp_path / "x" / "manifest.json").read_text() == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("by", ["recover", "writing again"])
def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    write(tmp_path / "x", "old")
    with monkeypatch.context() as killed:
        killed.setattr(files, "_exchange", lambda *_: False)
        killed.setattr(Path, "rename", killed_at_the_second(Path.rename))
        with pytest.raises(Killed):
            write(tmp_path / "x", "new")
    assert not (tmp_path / "x").exists()
    files.recover(tmp_path / "x")
    assert not (tmp_path / "x").exists(), "so young a name may be another run's, which is at it"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60)
    if by == "recover":
        files.recover(tmp_path / "x")
        assert (tmp_path / "x" / "manifest.json").read_text() == "old"
    else:
        write(tmp_path / "x", "newer")
        assert (tmp_path / "x" / "manifest.json").read_text() == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_behind_a_link_is_where_the_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    for text in ("one", "two"):
        write(tmp_path / "link", text)
        assert (tmp_path / "disk" / "manifest.json").read_text() == text
        assert (tmp_path / "link").is_symlink()
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["disk", "link"]
    with pytest.raises(DataError, match="found an earlier result"):
        files.check_folder(tmp_path / "link")
    (tmp_path / "rows.json").symlink_to(tmp_path / "disk" / "rows.json")
    files.write_json(tmp_path / "rows.json", {"a": 1})
    assert (tmp_path / "rows.json").is_symlink()
    assert files.read_json(tmp_path / "disk" / "rows.json", what="file") == {"a": 1}


def test_a_place_is_judged_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="found a folder; expected a file"):
        files.check_file(tmp_path / "folder", overwrite=True)
    for look in (files.check_file, files.check_folder):
        with pytest.raises(DataError, match="leads back to itself"):
            look(tmp_path / "loop")
    (tmp_path / "gone.json").symlink_to(tmp_path / "new" / "rows.json")
    files.check_file(tmp_path / "gone.json")
    assert (tmp_path / "new").is_dir(), "as for any file: its folder is made"


def test_the_working_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path(), tmp_path):
        with pytest.raises(DataError, match="found the working directory; expected a folder of its own"):
            write(place, "one")
        with pytest.raises(DataError, match="found the working directory"):
            files.check_folder(place)
    assert not list(tmp_path.iterdir())
