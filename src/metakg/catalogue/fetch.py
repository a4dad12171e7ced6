"""One data set to one folder: what is there and right is kept, the rest is fetched, and what was seen is written down.

The lock file `metakg-data.lock` in the folder remembers size and SHA-256 of every file, and what vouched for it. Where the
catalogue has a checksum, that one decides. Where nobody published one, the first download is trusted and said to be so, and
every later one must equal it ("trust on first use").

A file that is already there is replaced only after its successor has been verified.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from metakg import files
from metakg.catalogue.archive import unpack
from metakg.catalogue.checksums import digests
from metakg.catalogue.download import Patience, discard_part, download, part_of
from metakg.catalogue.entries import Entry, RemoteFile
from metakg.errors import DataError
from metakg.types import Json

LOCK = "metakg-data.lock"
"""A JSON file; not called so, lest a reader of the folder takes it for data."""
FORMAT = 1

OnProgress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes there are so far, and the bytes expected (None if nobody knows)."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        name: path below the folder.
        status: "fetched", "present" (it was there and is right), "unpacked", or "missing" (a person must get it).
        size: bytes; None if missing.
        sha256: its digest; None if missing.
        vouched_by: the checksum it agrees with, or "first use" where nobody published one; None if missing.
    """

    name: str
    status: Literal["fetched", "present", "unpacked", "missing"]
    size: int | None = None
    sha256: str | None = None
    vouched_by: str | None = None

    @property
    def verified(self) -> bool:
        """Whether a published checksum vouches for it."""
        return self.vouched_by not in (None, FIRST_USE)


FIRST_USE = "first use"


@dataclass(frozen=True)
class FetchReport:
    """What became of a data set.

    Attributes:
        entry: the data set.
        folder: where it lies.
        files: one report a file, members of archives included.
    """

    entry: Entry
    folder: Path
    files: list[FileReport] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Names of files that a person must still get, optional ones left out."""
        optional = {file.name for file in self.entry.files if file.optional}
        return [file.name for file in self.files if file.status == "missing" and file.name not in optional]

    @property
    def unverified(self) -> list[str]:
        """Names of files that no published checksum vouches for."""
        return [file.name for file in self.files if file.vouched_by == FIRST_USE]

    def to_json(self) -> Json:
        """Return the report as a JSON object."""
        return {
            "name": self.entry.name,
            "folder": str(self.folder),
            "missing": self.missing,
            "unverified": self.unverified,
            "files": [vars(file) for file in self.files],
        }


def fetch(
    entry: Entry,
    folder: Path | str,
    *,
    only: Sequence[str] = (),
    optional: bool = False,
    mirror: str | None = None,
    accept_new: bool = False,
    patience: Patience | None = None,
    progress: OnProgress | None = None,
) -> FetchReport:
    """Bring the files of a data set into `folder`.

    Args:
        entry: the data set (`find`).
        folder: where the files go; made if it does not exist. A run that was killed goes on where it stopped.
        only: fetch just these files, optional ones included.
        optional: fetch optional files too.
        mirror: base URL that replaces the publisher's: the file is expected at `<mirror>/<data set>/<file>`. A folder that
            was fetched earlier, served over HTTP, is such a mirror.
        accept_new: where nobody published a checksum, take what the publisher has now, even if it differs from the first
            download. A published checksum is never overruled.
        patience: retries and timeouts.
        progress: told how far each file is.

    Returns:
        What became of each file. Files that a person must get have the status "missing", unless they are there.

    Raises:
        DataError: a name in `only` is unknown, a file cannot be fetched or is not what it should be, or the folder cannot be
            written. Files that were fetched before the error stay, and so does an unfinished one, to go on from.
    """
    folder = Path(folder)
    wanted = _wanted(entry, only, optional=optional)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    report = FetchReport(entry, folder)
    with _alone(folder):
        lock = _Lock(folder, entry)
        for source in entry.sources:
            for file in source.files:
                url = source.address(file)
                if url is not None and mirror is not None:
                    url = f"{mirror.rstrip('/')}/{entry.name}/{file.name}"
                if file.name in wanted or (url is None and not only):
                    report.files.extend(_one(file, url, folder, lock, accept_new, patience or Patience(), progress))
    return report


def _wanted(entry: Entry, only: Sequence[str], *, optional: bool) -> set[str]:
    names = [file.name for file in entry.files]
    for name in only:
        if name not in names:
            raise DataError(
                f"data set {entry.name}", f"no file {name!r}", expected=f"one of {', '.join(names)}", fix="Correct the name."
            )
    if only:
        return set(only)
    return {file.name for file in entry.files if optional or not file.optional}


def _one(
    file: RemoteFile,
    url: str | None,
    folder: Path,
    lock: _Lock,
    accept_new: bool,
    patience: Patience,
    progress: OnProgress | None,
) -> list[FileReport]:
    """Bring one file, and the members of it, into the folder."""
    target, locked = folder / file.name, lock.sha256(file.name)
    status: Literal["fetched", "present"] = "present"
    seen = _inspect(file, target) if target.is_file() else None
    vouched = None if seen is None else _judge(file, seen, locked)
    if url is None and seen is None:
        return [FileReport(file.name, "missing")]
    if url is None and seen is not None and vouched is None:
        raise _wrong(file, str(target), seen, locked, manual=True)
    if url is not None and vouched is None:  # not there, or not what it should be: then it is replaced once the new one is
        seen, vouched = _download(file, url, target, None if accept_new else locked, patience, progress)
        status = "fetched"
    assert seen is not None
    assert vouched is not None
    lock.write(file.name, seen, vouched, url)
    reports = [FileReport(file.name, status, seen.size, seen.sha256, vouched)]
    return reports + _members(file, target, lock, fresh=status == "fetched", vouched=vouched)


def _download(
    file: RemoteFile,
    url: str,
    target: Path,
    locked: str | None,
    patience: Patience,
    progress: OnProgress | None,
) -> tuple[_Seen, str]:
    """Fetch, verify, and only then put the file in its place; return what was seen and what vouches for it."""
    resumed = part_of(target).exists()
    verifiable = file.expected is not None or locked is not None
    told = None if progress is None else lambda have, whole: progress(file.name, have, whole)
    while True:
        part = download(url, target, size=file.expected_size, verifiable=verifiable, patience=patience, on_bytes=told)
        seen = _inspect(file, part)
        vouched = _judge(file, seen, locked)
        if vouched is not None:
            break
        discard_part(target)  # wrong bytes are worth nothing, and would spoil the next attempt
        if not resumed:
            raise _wrong(file, url, seen, locked)
        resumed = False  # two halves may have been of two files: once more, from the first byte
    with files.writing(target):
        part.replace(target)
    discard_part(target)
    return seen, vouched


def _members(file: RemoteFile, archive: Path, lock: _Lock, *, fresh: bool, vouched: str) -> list[FileReport]:
    """Unpack the members of an archive that are not there yet, or not as they were unpacked."""
    folder = archive.parent
    prefix = Path(file.name).parent
    reports = []
    for member in file.unpack:
        name = (prefix / member).as_posix()
        target = folder / member
        status: Literal["present", "unpacked"] = "present"
        if fresh or not target.is_file() or digests(target, ["sha256"])["sha256"] != lock.sha256(name):
            unpack(archive, [member], folder)
            status = "unpacked"
        seen = _Seen(target.stat().st_size, digests(target, ["sha256"]))
        lock.write(name, seen, vouched, None)
        reports.append(FileReport(name, status, seen.size, seen.sha256, vouched))
    return reports


@dataclass(frozen=True)
class _Seen:
    """Size and digests of a file on disk."""

    size: int
    by_kind: dict[str, str]

    @property
    def sha256(self) -> str:
        return self.by_kind["sha256"]


def _inspect(file: RemoteFile, path: Path) -> _Seen:
    kinds = {"sha256"} | ({file.expected.kind} if file.expected else set())
    try:
        return _Seen(path.stat().st_size, digests(path, kinds))
    except OSError as err:
        raise DataError(
            f"reading {path}", str(err), expected="a readable file", fix="Change its permissions, or name another folder."
        ) from err


def _judge(file: RemoteFile, seen: _Seen, locked: str | None) -> str | None:
    """Return what vouches for the file, or None if something speaks against it."""
    if file.expected_size is not None and seen.size != file.expected_size:
        return None
    if file.expected is not None:
        return str(file.expected) if file.expected.agrees(seen.by_kind[file.expected.kind]) else None
    return FIRST_USE if locked in (None, seen.sha256) else None


def _wrong(file: RemoteFile, where: str, seen: _Seen, locked: str | None, *, manual: bool = False) -> DataError:
    """Return the error of a file that is not what it should be."""
    if file.expected_size is not None and seen.size != file.expected_size:
        found, expected = f"{seen.size:,} bytes", f"{file.expected_size:,} bytes"
    elif file.expected is not None:
        found, expected = f"{file.expected.kind}:{seen.by_kind[file.expected.kind]}", str(file.expected)
    else:
        found, expected = f"sha256:{seen.sha256}", f"sha256:{locked}, as at the first download"
    if manual:
        fix = "This is another file than the catalogue knows, or a damaged copy: get it again, or move it away."
    elif file.expected is not None:
        fix = "Nothing was kept of it. A proxy or mirror may have changed it, or the publisher replaced it: see its page."
    else:
        fix = "Nothing was kept of it. If the publisher replaced the file and you trust the new one, add --accept-new."
    return DataError(f"{where} ({file.name})", found, expected=expected, fix=fix)


class _Lock:
    """The lock file of a folder: what was seen of each file."""

    def __init__(self, folder: Path, entry: Entry) -> None:
        self._path = folder / LOCK
        self._value: Json = {"format": FORMAT, "name": entry.name, "files": {}}
        if self._path.is_file():
            found = files.read_json(self._path, what="lock file of a data set folder")
            if found.get("format") != FORMAT or not isinstance(found.get("files"), dict):
                raise DataError(
                    str(self._path),
                    f"format {found.get('format')!r}",
                    expected=f"format {FORMAT}",
                    fix="It was written by another version; fetch into a new folder.",
                )
            if found.get("name") != entry.name:
                raise DataError(
                    str(self._path),
                    f"the data set {found.get('name')!r}",
                    expected=f"a folder for {entry.name!r}",
                    fix="Name another folder; this one was left as it is.",
                )
            self._value = found

    def sha256(self, name: str) -> str | None:
        """Return the digest seen before, if any."""
        known = self._value["files"].get(name)
        return str(known["sha256"]) if isinstance(known, dict) and "sha256" in known else None

    def write(self, name: str, seen: _Seen, vouched: str, url: str | None) -> None:
        """Remember a file; nothing is written if it is known as it is."""
        new = {"size": seen.size, "sha256": seen.sha256, "vouched_by": vouched}
        old = self._value["files"].get(name, {})
        if {key: old.get(key) for key in new} == new:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._value["files"][name] = {**new, "seen": now, **({"url": url} if url else {})}
        files.write_json(self._path, self._value)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, so that two runs do not append to one file; it falls with the process.

    Where the system has no `flock` (Windows) nothing is held; there a checksum or the lock file shows the damage.
    """
    if sys.platform == "win32":  # it opens no folders either
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if files.lock(handle) is False:
            raise DataError(
                str(folder), "another run that is fetching into it", expected="one at a time", fix="Wait for it to end."
            )
        yield
    finally:
        os.close(handle)
