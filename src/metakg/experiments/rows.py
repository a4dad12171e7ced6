"""`Journal`: rows as JSON lines, appended unit by unit, of which a kill or a full disk loses the unit in flight and no other.

    {"experiment": "table3", "format": 1, "protocol": ..., "data": ..., "split": ...}      first line: what the rows belong to
    {"session": 1, "command": ..., "machine": ..., "versions": ...}                        one for each start of the program
    {"unit": "walk, seed 1", "key": "3f...", "rule": {...}, "rows": 2, "session": 1, ...}  announces its rows
    {"key": "3f...", "what": "quality", ...}                                               exactly so many rows follow

A unit's lines are written by one call, synced, and belong together: a unit whose announced rows are not all there was torn by a
kill. It can only be the last one; it is cut off and said, and the unit runs again. Anything else that does not fit is damage by
somebody else: an error that names the line. When writing fails half-way, the file is cut back to its last whole unit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Any, cast

from metakg import files
from metakg.errors import DataError
from metakg.types import Json

FORMAT = 1
_FIX = "Restore the file from a copy, or name another folder and run again."

Opener = Callable[[Path], RawIOBase]
"""Opens a file for appending, unbuffered; tests give one whose disk fills."""


def key_of(rule: Json) -> str:
    """Return the content hash of what decides a result: 16 hex digits."""
    text = json.dumps(rule, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Done:
    """A finished unit.

    Attributes:
        name: for people; unique in its file.
        key: hash of its rule.
        rule: what decides its result.
        seconds: how long it took.
        session: number of the session that did it.
        rows: what it found.
    """

    name: str
    key: str
    rule: Json
    seconds: float
    session: int
    rows: tuple[Json, ...]


@dataclass
class Record:
    """What a rows file holds.

    Attributes:
        header: what the rows belong to.
        sessions: one for each start of the program that wrote here.
        units: finished units, in the order in which they ended.
        torn: how many bytes at the end belong to no whole unit.
        whole: length of the file without them.
    """

    header: Json
    sessions: list[Json] = field(default_factory=list)
    units: list[Done] = field(default_factory=list)
    torn: int = 0
    whole: int = 0

    @property
    def rows(self) -> list[Json]:
        """All rows of all units."""
        return [row for unit in self.units for row in unit.rows]


def read(path: Path) -> Record:
    """Read a rows file; a torn end is counted, not an error.

    Raises:
        DataError: the file cannot be read, is no rows file, or is damaged before its last unit; the error names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise DataError(str(path), str(err), expected="a rows file", fix="Check the path.") from err
    lines = data.split(b"\n")
    tail = lines.pop()  # after the last line end; empty in a whole file
    parsed: list[Json] = []
    for number, line in enumerate(lines, start=1):
        parsed.append(_parse(path, number, line))
    if not parsed:
        raise DataError(
            f"{path} line 1", repr(tail[:40].decode(errors="replace")), expected="the first line of a rows file", fix=_FIX
        )
    header = parsed[0]
    if "experiment" not in header or header.get("format") != FORMAT:
        found = f"experiment {header.get('experiment')!r}, format {header.get('format')!r}"
        raise DataError(f"{path} line 1", found, expected=f"an experiment's header, format {FORMAT}", fix=_FIX)
    record = Record(header)
    place, at = len(lines[0]) + 1, 1
    record.whole = place
    while at < len(parsed):
        entry, number = parsed[at], at + 1
        if "session" in entry and "unit" not in entry:
            record.sessions.append(entry)
            size = 1
        elif "unit" in entry:
            try:
                size = 1 + int(entry["rows"])
                if size < 1:
                    raise ValueError("fewer rows than none")
                rows = tuple(parsed[at + 1 : at + size])
                done = Done(entry["unit"], entry["key"], entry["rule"], float(entry["seconds"]), int(entry["session"]), rows)
            except (KeyError, TypeError, ValueError, OverflowError) as err:
                found = f"a unit that does not fit ({err!r})"
                raise DataError(f"{path} line {number}", found, expected="unit, key, rule, rows", fix=_FIX) from err
            for offset, row in enumerate(rows, start=1):
                if row.get("key") != done.key or "unit" in row or not isinstance(row.get("what"), str):
                    found = f"a row of key {row.get('key')!r} and kind {row.get('what')!r}"
                    raise DataError(
                        f"{path} line {number + offset}", found, expected=f"row {offset} of unit {done.name!r}", fix=_FIX
                    )
            if len(rows) < size - 1:
                break  # announced more than there is: torn
            if any(done.key == other.key or done.name == other.name for other in record.units):
                raise DataError(f"{path} line {number}", f"unit {done.name!r} again", expected="each unit once", fix=_FIX)
            record.units.append(done)
        else:
            found = f"a row of key {entry.get('key')!r} that no unit announced"
            raise DataError(f"{path} line {number}", found, expected="a unit or a session", fix=_FIX)
        place += sum(len(line) + 1 for line in lines[at : at + size])
        record.whole = place
        at += size
    record.torn = len(data) - record.whole
    return record


def _parse(path: Path, number: int, line: bytes) -> Json:
    try:
        value: Any = json.loads(line)
    except ValueError as err:
        raise DataError(f"{path} line {number}", "text that is not JSON", expected="a row", fix=_FIX) from err
    if not isinstance(value, dict):
        raise DataError(f"{path} line {number}", f"a JSON {type(value).__name__}", expected="a row", fix=_FIX)
    return cast(Json, value)


class Journal:
    """An open rows file: what is done, and a place to append.

    Args:
        path: the file; made if absent.
        header: what the rows belong to; `experiment` and whatever must agree.
        resume: go on in an existing file.
        opener: opens the file for appending.

    Raises:
        DataError: the file exists and `resume` is off, holds rows of something else, is damaged, or is being written by another
            process.
    """

    def __init__(self, path: Path, header: Json, *, resume: bool = False, opener: Opener | None = None) -> None:
        self.path, self.header = path, {**header, "format": FORMAT}
        self.torn = 0
        """Bytes of a unit in flight that a kill had left, and that were cut off."""
        exists = path.exists() and path.stat().st_size > 0
        if not resume:
            refuse_rows(path)
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = opener(path) if opener else cast(RawIOBase, path.open("ab", buffering=0))
        try:
            self._lock()
            begun = path.read_bytes() if exists else b""
            if exists and b"\n" not in begun and _line(self.header).startswith(begun):  # killed while it wrote its first line
                self.torn = path.stat().st_size
                self._cut(0)
                exists = False
            if exists:
                self.record = read(path)
                self._check()
                if self.record.torn:
                    self.torn = self.record.torn
                    self._cut(self.record.whole)
                    self.record.torn = 0
            else:
                self.record = Record(self.header)
                self._append([self.header])
                files.sync(path.parent)
        except BaseException:
            self._handle.close()
            raise
        self.session = len(self.record.sessions)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up its lock."""
        self._handle.close()

    def begin(self, session: Json) -> None:
        """Note a start of the program; units appended from here on belong to it."""
        self.session += 1
        entry = {"session": self.session, **session}
        self._append([entry])
        self.record.sessions.append(entry)

    def find(self, name: str, rule: Json) -> Done | None:
        """Return a unit if it is done.

        Raises:
            DataError: a unit of this name was done under another rule; the error names what differs.
        """
        key = key_of(rule)
        for done in self.record.units:
            if done.key == key:
                return done
            if done.name == name:
                place, theirs, ours = _difference(done.rule, rule)
                raise DataError(
                    f"{self.path}, unit {name!r}",
                    f"rows of {place} {_short(theirs)}",
                    expected=f"{place} {_short(ours)}, as asked for",
                    fix="Ask for the same settings again, or name another folder.",
                )
        return None

    def append(self, name: str, rule: Json, rows: Sequence[Json], seconds: float) -> Done:
        """Append a finished unit, whole or not at all, and sync it to disk.

        Raises:
            DataError: it cannot be written; the file is as it was before.
        """
        key = key_of(rule)
        if any(name == other.name or key == other.key for other in self.record.units):
            raise ValueError(f"unit {name!r} is in {self.path} already")
        done = Done(name, key, rule, round(seconds, 3), self.session, tuple({"key": key, **row} for row in rows))
        head = {"unit": name, "key": key, "rule": rule, "rows": len(rows), "seconds": done.seconds, "session": self.session}
        self._append([head, *done.rows])
        self.record.units.append(done)
        return done

    def _append(self, entries: Sequence[Json]) -> None:
        data = memoryview(b"".join(map(_line, entries)))
        before = self.path.stat().st_size
        with files.writing(self.path):
            try:
                while data:
                    data = data[self._handle.write(data) or 0 :]
                os.fsync(self._handle.fileno())
            except OSError:
                with contextlib.suppress(OSError):  # the torn end is cut by the next run if it cannot be cut now
                    self._cut(before)
                raise

    def _cut(self, size: int) -> None:
        with self.path.open("r+b") as handle:
            handle.truncate(size)
            os.fsync(handle.fileno())

    def _check(self) -> None:
        theirs = self.record.header
        different = sorted(name for name in self.header if theirs.get(name) != self.header[name])
        if different:
            name = different[0]
            raise DataError(
                f"{self.path} line 1",
                f"rows of {name} {_short(theirs.get(name))}",
                expected=f"{name} {_short(self.header[name])}",
                fix="Name the folder of this data and protocol, or a new one; nothing was written.",
            )

    def _lock(self) -> None:
        if files.lock(self._handle.fileno()) is False:
            raise DataError(
                str(self.path),
                "another run that is writing here",
                expected="one run at a time",
                fix="Wait for it, or name another folder.",
            )


def refuse_rows(path: Path) -> None:
    """Refuse a file that holds a unit of an earlier run; one with a header alone holds nothing that could be lost.

    Raises:
        DataError: it does, or is no rows file.
    """
    if path.exists() and b"\n" in path.read_bytes() and read(path).units:
        raise DataError(
            str(path), "rows of an earlier run", expected="a new folder", fix="Go on with --resume, or name another folder."
        )


def _line(entry: Json) -> bytes:
    return (json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _difference(first: Json, second: Json) -> tuple[str, Any, Any]:
    """Return the dotted name of the first thing in which two rules differ, and both values."""
    for name in sorted(first.keys() | second.keys()):
        a, b = first.get(name), second.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            inner, a, b = _difference(a, b)
            return f"{name}.{inner}", a, b
        return name, a, b
    raise ValueError("the rules are equal")


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:12] + "...")
