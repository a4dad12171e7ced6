"""Writing that is whole or absent, and reading that says what is wrong.

A file or folder is written under a temporary name beside its target, synced to disk, and renamed. A killed run or a full
disk leaves the old state; the temporary name is removed (a killed run's folder by the next run that writes there). Where a
folder cannot be replaced in one step (not on Linux, or not on this file system), a kill in between leaves the old one under a
hidden name, from which `recover` brings it back.
Operating-system errors become `DataError` with the next step.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from metakg.errors import DataError
from metakg.types import Json

if TYPE_CHECKING:
    from torch import Tensor

if sys.platform != "win32":
    import fcntl

_YOUNG_S = 10
_REPLACING_S = 1.0
"""Seconds that nobody needs between the two renames of a replacement."""
_LOOK_S = 0.5
"""Seconds between two looks whether another process has left a folder."""
_FIX = {
    errno.ENOSPC: ("a full disk", "free space", "Free some space or write to another folder; nothing was left behind."),
    errno.EDQUOT: (
        "a full quota",
        "free space",
        "Free some space or write to another folder; nothing was left behind.",
    ),
    errno.EROFS: ("a read-only file system", "a folder that can be written", "Name another folder."),
    errno.EACCES: ("no permission", "a folder that can be written", "Change its permissions or name another folder."),
    errno.EPERM: ("no permission", "a folder that can be written", "Change its permissions or name another folder."),
    errno.ENOTDIR: ("a file where a folder should be", "a folder", "Name another path."),
    errno.EISDIR: ("a folder", "a file", "Name another path."),
    errno.ENOENT: ("no such folder", "a folder that is there", "Make it first, or name another path."),
    errno.EEXIST: ("a file where a folder should be", "a folder", "Name another path."),
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn operating-system errors while writing to `path` into a `DataError` that names it."""
    try:
        yield
    except OSError as err:
        found, expected, fix = _FIX.get(err.errno or 0, (str(err), "a writable place", "Look at the path and try again."))
        raise DataError(f"writing {path}", found, expected=expected, fix=fix) from err


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file; what the system refuses is an `OSError` like everybody else's.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as err:
        number = re.search(r"os error (\d+)", str(err))
        raise OSError(int(number[1]) if number else errno.EIO, str(err)) from err


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on failure remove it."""
    with writing(path):
        path = _behind(path)  # a link stays one, and what it leads to is replaced
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False, kind: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, on failure it is removed.

    Args:
        path: the folder to make.
        overwrite: whether an earlier folder of the same kind may be replaced.
        kind: what the manifest calls the folder ("dataset", "split"); a folder of another kind is never replaced.

    Raises:
        DataError: `path` exists and `overwrite` is off, or exists and is not a folder metakg wrote (it has no
            `manifest.json`), which is never replaced.
    """
    with writing(path):
        path = _real(path)
        recover(path)
        if path.exists():
            _refuse_foreign(path, overwrite=overwrite, kind=kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
        temporary.mkdir()
        lock = _lock(temporary)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync(file)
            if overwrite:
                _swap(temporary, path)
            else:
                _place(temporary, path)
            sync(path.parent)
        finally:
            if lock is not None:
                os.close(lock)
            shutil.rmtree(temporary, ignore_errors=True)


def check_folder(path: Path, *, overwrite: bool = False, kind: str | None = None) -> None:
    """Refuse before long work what `atomic_folder` would refuse after it, and a place that cannot be written.

    Raises:
        DataError: as `atomic_folder`; or there is no permission.
    """
    with writing(path):
        path = _real(path)
        if path.exists():
            _refuse_foreign(path, overwrite=overwrite, kind=kind)
        _check_place(path.parent)


def check_file(path: Path, *, overwrite: bool = False) -> None:
    """Refuse before long work a file that is there already (and `overwrite` is off), or a place that cannot be written.

    Raises:
        DataError: it is so.
    """
    with writing(path):
        real = _behind(path)
        if real.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
        if real.exists() and not overwrite:
            raise DataError(
                str(path), "an earlier file", expected="a new one", fix="Name another, or replace it (--overwrite)."
            )
        _check_place(real.parent)


def _real(path: Path) -> Path:
    """Return where a folder is made: behind a link, where that leads.

    Raises:
        DataError: it is the working directory, which cannot be replaced beneath whoever is in it.
    """
    real = _behind(path)
    if real == Path.cwd():
        fix = "Name a new folder inside it, or run the command from outside."
        raise DataError(str(path), "the working directory", expected="a folder of its own", fix=fix)
    return real


def _behind(path: Path) -> Path:
    """Return where a path leads, links followed.

    Raises:
        OSError: it leads back to itself.
    """
    try:
        real = path.resolve()
    except RuntimeError:  # Python's word for it below 3.13
        real = path
    if real.is_symlink():
        raise OSError(errno.ELOOP, "a link that leads back to itself", str(path))
    return real


def _check_place(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "no permission", str(folder))


def _sweep(path: Path) -> None:
    """Remove temporary folders of runs that were killed while they wrote `path`: nobody holds their lock any more."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for folder in [entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name)]:
        if time.time() - folder.stat().st_mtime < _YOUNG_S:
            continue  # another run may be between making and locking it
        lock = _lock(folder)
        if lock is not None:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a folder, and be the only process that works in it; on systems without locks this asks for nothing.

    Args:
        folder: what to hold; it may be gone in the end.
        wait: for another process to leave it, or to die. What that one was about may be done then.

    Raises:
        DataError: another process works there, and `wait` is off; or the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    handle = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    try:
        while handle is not None and lock(handle) is False:
            if not wait:
                raise DataError(
                    str(folder),
                    "another process that works there",
                    expected="one at a time",
                    fix="Wait for it, or name another folder.",
                )
            time.sleep(_LOOK_S)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def lock(handle: int) -> bool | None:
    """Lock an open file or folder until it is closed, or this process ends.

    Returns:
        Whether the lock is ours; False if another process has it, None where the system or the disk has no such locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; None if another process has it, or the system has no such locks."""
    if sys.platform == "win32":  # it opens no folders either
        return None
    handle = os.open(folder, os.O_RDONLY)
    if lock(handle):
        return handle
    os.close(handle)
    return None


def _refuse_foreign(path: Path, *, overwrite: bool, kind: str | None) -> None:
    empty = path.is_dir() and not any(path.iterdir())
    if empty:
        return
    if not (path / "manifest.json").is_file():
        raise DataError(
            str(path),
            "something that metakg did not write",
            expected="a new or empty folder",
            fix="Name another folder; it was left as it is.",
        )
    if kind is not None:
        found = read_json(path / "manifest.json", what=f"{kind} manifest").get("kind")
        if found != kind:
            raise DataError(
                str(path),
                f"a folder of kind {found!r}",
                expected=f"a new folder, or one of kind {kind!r}",
                fix="Name another folder; it was left as it is.",
            )
    if not overwrite:
        raise _earlier(path)


def _earlier(path: Path) -> DataError:
    fix = "Name another folder, or allow overwriting (--overwrite)."
    return DataError(str(path), "an earlier result", expected="a new folder", fix=fix)


def _place(temporary: Path, path: Path) -> None:
    """Put `temporary` at `path`, where nothing is or an empty folder; what another process put there meanwhile stays."""
    try:
        temporary.rename(path)
    except OSError as err:
        if err.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if any(path.iterdir()):
            raise _earlier(path) from err
        path.rmdir()  # some systems rename to no folder, not even to an empty one
        temporary.rename(path)


def _swap(temporary: Path, path: Path) -> None:
    """Put `temporary` in the place of `path`, in one step where the system can; else see `recover`."""
    if not path.exists():
        temporary.rename(path)
        return
    if _exchange(temporary, path):
        return  # the old version has the temporary name now, and goes with it
    old = path.with_name(f".{path.name}.{uuid4().hex[:8]}.old")
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(path: Path) -> None:
    """Put a folder back that a kill between the two renames of a replacement left under another name, and drop older ones."""
    path = _behind(path)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.old")
    if not path.parent.exists():
        return
    left = sorted((e for e in path.parent.iterdir() if pattern.fullmatch(e.name)), key=lambda e: e.stat().st_ctime)
    left = [folder for folder in left if time.time() - folder.stat().st_ctime > _REPLACING_S]
    if left and not path.exists():
        left.pop().rename(path)
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; say whether the system could."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def sync(path: Path) -> None:
    """Make what was written to a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(path: Path, value: Json) -> None:
    """Write a JSON object, sorted and indented, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, *, what: str) -> Json:
    """Read a JSON object; `what` names it in errors ("dataset manifest").

    Raises:
        DataError: the file is missing, is not JSON that can be read, or holds something else than an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise DataError(
            str(path), "no such file", expected=f"a {what}", fix="Check the path, or make it first (metakg --help)."
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(str(path), str(err), expected=f"a readable {what}", fix="Restore the file or make it again.") from err
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as err:
        raise DataError(
            f"{path} line {err.lineno}",
            "text that is not JSON",
            expected=f"a {what}",
            fix="Restore the file or make it again.",
        ) from err
    except (ValueError, RecursionError) as err:  # a number of thousands of digits, brackets in thousands of brackets
        found = f"JSON that cannot be read ({err})"
        raise DataError(str(path), found, expected=f"a {what}", fix="Restore the file or make it again.") from err
    if not isinstance(value, dict):
        raise DataError(str(path), f"a JSON {type(value).__name__}", expected=f"a {what}", fix="Make it again.")
    return cast(Json, value)


def around(page: Path, begin: str, end: str) -> tuple[str, str]:
    """Return what stands before and after the two markers of a page.

    Raises:
        DataError: a marker is missing.
    """
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, second, after = rest.partition(end)
    if not first or not second:
        lines = f"the lines {begin} and {end}"
        raise DataError(str(page), "a page without markers", expected=lines, fix="Add both lines, or name a new page.")
    return before, after


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what lies between the two markers of a page; a new page gets both. The rest of it stays as somebody wrote it.

    Raises:
        DataError: the page lacks a marker, or cannot be written.
    """
    before, after = around(page, begin, end) if page.exists() else (f"# {page.stem}\n\n", "\n")
    with atomic_file(page) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
