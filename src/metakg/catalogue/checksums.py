"""Digests of files, git blob ids among them.

A checksum is written `kind:hex`, as in `sha256:9f86d0...` or `git-blob:42d2726e...`. A git blob id is the SHA-1 of the word
`blob`, the length and the bytes; it is what a git forge shows for a file, so data published in a repository come with one. A
blob id may be shortened, as git itself allows, to no fewer than eight digits: enough against damage, not against malice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DIGITS = {"git-blob": 40, "sha256": 64, "sha1": 40, "md5": 32}
_SHORTEST_BLOB_ID = 8
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """An expected digest.

    Attributes:
        kind: "git-blob", "sha256", "sha1" or "md5".
        hex: lower-case hex digits; a git blob id may be shortened.
    """

    kind: str
    hex: str

    @staticmethod
    def parse(text: str) -> Checksum:
        """Read `kind:hex`.

        Raises:
            ValueError: the kind is unknown or the digits are not those of the kind.
        """
        kind, _, digits = text.partition(":")
        if kind not in _DIGITS:
            raise ValueError(f"{text!r} is no checksum: its kind must be one of {', '.join(_DIGITS)}")
        shortest = _SHORTEST_BLOB_ID if kind == "git-blob" else _DIGITS[kind]
        if not re.fullmatch(r"[0-9a-f]+", digits) or not shortest <= len(digits) <= _DIGITS[kind]:
            raise ValueError(f"{text!r} is no checksum: {kind} has {_DIGITS[kind]} lower-case hex digits")
        return Checksum(kind, digits)

    def agrees(self, digest: str) -> bool:
        """Return whether a full digest of the same kind is this one."""
        return digest.startswith(self.hex)

    def __str__(self) -> str:
        return f"{self.kind}:{self.hex}"


def digests(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Return the digests of a file by kind, reading it once.

    Raises:
        OSError: the file cannot be read.
    """
    hashes: dict[str, Any] = {}
    for kind in set(kinds):
        # md5 and sha1 are compared with what publishers print; nothing is signed with them
        name = "sha1" if kind == "git-blob" else kind
        hashes[kind] = hashlib.new(name, usedforsecurity=False)
    if "git-blob" in hashes:
        hashes["git-blob"].update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            for running in hashes.values():
                running.update(chunk)
    return {kind: running.hexdigest() for kind, running in hashes.items()}
