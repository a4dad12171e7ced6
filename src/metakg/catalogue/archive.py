"""Members of a zip archive, without trusting it.

Only members that are asked for by name are written, to paths that we choose, so a member called `../../x` has nowhere to go; an
archive that holds such a name is refused all the same, since its maker meant harm. Bytes are counted while they are
unpacked, because the sizes an archive states are whatever its maker wrote there.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from metakg import files
from metakg.errors import DataError

_CHUNK = 1 << 20
LARGEST_MEMBER = 8 << 30
"""Bytes that one member may unpack to; the largest file of the catalogue's archives is far below."""


def unpack(archive: Path, members: Sequence[str], folder: Path, *, largest: int = LARGEST_MEMBER) -> list[Path]:
    """Write the named members of a zip archive into `folder`, each whole or not at all.

    Args:
        archive: the zip file.
        members: file names without folders; each must occur once in the archive, in whatever folder.
        folder: where they go.
        largest: bytes that one member may have.

    Returns:
        The files written, in the order of `members`.

    Raises:
        DataError: this is no zip file, it is damaged, encrypted or hostile, or a member is missing, ambiguous or too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _refuse_hostile(archive, opened)
            return [_member(archive, opened, name, folder / name, largest) for name in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as err:
        raise DataError(
            str(archive), f"a damaged zip archive ({err})", expected="a whole one", fix="Remove it and fetch it again."
        ) from err


def _refuse_hostile(archive: Path, opened: zipfile.ZipFile) -> None:
    for info in opened.infolist():
        # orig_filename: zipfile itself cuts a name at its first NUL and turns backslashes round
        name = info.orig_filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        link = stat.S_ISLNK(info.external_attr >> 16)
        if link or "\0" in name or ".." in parts or name.startswith(("/", "\\")) or ":" in name.split("/")[0]:
            raise DataError(
                str(archive),
                f"a member that points outside the folder ({name!r})",
                expected="plain files",
                fix="Do not use this archive; fetch it from the publisher.",
            )


def _member(archive: Path, opened: zipfile.ZipFile, name: str, target: Path, largest: int) -> Path:
    found = [
        info
        for info in opened.infolist()
        if not info.is_dir() and "__MACOSX" not in info.filename and PurePosixPath(info.filename).name == name
    ]
    if len(found) != 1:
        names = ", ".join(info.filename for info in opened.infolist()[:5]) or "nothing"
        raise DataError(
            str(archive),
            f"{len(found)} members called {name!r} (it begins with: {names})",
            expected="one",
            fix="This is another archive than the catalogue knows; see the data set's page.",
        )
    if found[0].flag_bits & 0x1:
        raise DataError(str(archive), f"an encrypted member {name!r}", expected="a plain one", fix="Unpack it by hand.")
    with files.atomic_file(target) as temporary, opened.open(found[0]) as source, temporary.open("wb") as sink:
        size = 0
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > largest:
                raise DataError(
                    str(archive),
                    f"a member {name!r} that unpacks to more than {largest:,} bytes",
                    expected="less",
                    fix="Do not use this archive; fetch it from the publisher.",
                )
            sink.write(chunk)
    return target
