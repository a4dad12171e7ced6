"""What is known of each data set, read from `entries.toml` and checked.

Size and checksum must be given for every file; where nobody knows them, the file says "unknown" in so many words. Nothing is
guessed: a file without a checksum is trusted at its first download and compared with that one ever after (`fetch.py`).
"""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from metakg.catalogue.checksums import Checksum
from metakg.errors import ConfigError, DataError

Unknown = Literal["unknown"]
Text = Annotated[str, Field(min_length=1)]


class RemoteFile(BaseModel):
    """One file of a data set.

    Attributes:
        name: path below the data set's folder, with forward slashes; also the path below the source's URL.
        size: bytes, or "unknown".
        checksum: `kind:hex` (see `checksums`), or "unknown".
        recorded_by: who published the checksum, where it is not the publisher of the file.
        unpack: member names to take out of this zip archive and put beside it.
        optional: not fetched unless it is asked for.
        note: what is in it, or what is odd about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    size: Annotated[int, Field(ge=0, strict=True)] | Unknown
    checksum: str
    recorded_by: Text | None = None
    unpack: tuple[Text, ...] = ()
    optional: bool = False
    note: Text | None = None

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name or ":" in name:
            raise ValueError(f"{name!r} must be a path below the data set's folder")
        return name

    @field_validator("unpack")
    @classmethod
    def _plain_members(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name in (".", "..") or "/" in name or "\\" in name:
                raise ValueError(f"{name!r} must be a file name without folders")
        return names

    @field_validator("checksum")
    @classmethod
    def _known_kind(cls, text: str) -> str:
        if text != "unknown":
            Checksum.parse(text)
        return text

    @property
    def expected_size(self) -> int | None:
        """Bytes, or None where unknown."""
        return None if isinstance(self.size, str) else self.size

    @property
    def expected(self) -> Checksum | None:
        """The checksum, or None where unknown."""
        return None if self.checksum == "unknown" else Checksum.parse(self.checksum)


class Source(BaseModel):
    """Files that lie below one URL, or that a person must get by hand.

    Attributes:
        url: the folder's URL with a closing slash; None where a licence form or a person stands in between.
        files: the files below it.
        steps: what the person has to do, where `url` is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Text | None = None
    files: Annotated[tuple[RemoteFile, ...], Field(min_length=1)]
    steps: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Source:
        if (self.url is None) == (not self.steps):
            raise ValueError("a source has either a url or the steps of a person, not both and not neither")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{self.url!r} must be an http or https address")
        if self.url is not None and not self.url.endswith("/"):
            raise ValueError(f"{self.url!r} must end with a slash")
        return self

    def address(self, file: RemoteFile) -> str | None:
        """Return the URL of one file, or None where a person must get it."""
        return None if self.url is None else self.url + file.name


class Entry(BaseModel):
    """One data set.

    Attributes:
        name: what `metakg data fetch` calls it.
        title: what people call it.
        purpose: what it is for.
        page: the publisher's page.
        licence: the terms, in short; the page has the last word.
        citation: what to cite.
        prepare: arguments of `metakg prepare` that read it; `{folder}` is where it was fetched to, words in capitals are other
            folders.
        note: what to know before fetching.
        sources: where the files are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Text
    purpose: Text
    page: Text
    licence: Text
    citation: Text
    prepare: Annotated[str, Field(pattern=r"\{folder\}")]
    note: Text | None = None
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct_targets(self) -> Entry:
        targets = [name for file in self.files for name in (file.name, *_unpacked(file))]
        if len(targets) != len(set(targets)):
            raise ValueError(f"data set {self.name}: a file name occurs twice")
        return self

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """All files of all sources."""
        return tuple(file for source in self.sources for file in source.files)

    @property
    def known_size(self) -> int | None:
        """Bytes of the files that are fetched without asking, or None if one of them is unknown."""
        sizes = [file.expected_size for file in self.files if not file.optional]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def next_step(self, folder: str) -> str:
        """Return the command that reads the data set out of a folder."""
        return f"metakg prepare {self.prepare.replace('{folder}', folder)} --out DIR"

    @property
    def manual(self) -> bool:
        """Whether a file that is not optional must be got by hand."""
        return any(source.url is None and not all(file.optional for file in source.files) for source in self.sources)


@cache
def catalogue() -> dict[str, Entry]:
    """Return all data sets by name, in the order of the file."""
    return parse(resources.files("metakg.catalogue").joinpath("entries.toml").read_text(encoding="utf-8"))


def parse(text: str, *, where: str = "entries.toml") -> dict[str, Entry]:
    """Read a catalogue from TOML: one table a data set.

    Raises:
        ConfigError: the text is not TOML, or an entry breaks a rule; the message names it.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(where, str(err), expected="TOML", fix="Correct the line.") from err
    entries = {}
    for name, table in tables.items():
        try:
            entries[name] = Entry.model_validate({"name": name, **table})
        except (ValidationError, TypeError) as err:
            raise ConfigError(f"{where}, [{name}]", str(err), expected="an entry", fix="Correct the entry.") from err
    return entries


def find(name: str) -> Entry:
    """Return one data set.

    Raises:
        DataError: there is none of this name; the message names the nearest.
    """
    entries = catalogue()
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name.lower(), entries, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise DataError(
        "data set catalogue", repr(name), expected=f"one of {', '.join(entries)}", fix=f'{hint}See "metakg data list".'
    )


def _unpacked(file: RemoteFile) -> tuple[str, ...]:
    """Return the paths that the members of an archive get: beside it."""
    folder = PurePosixPath(file.name).parent
    return tuple((folder / member).as_posix() for member in file.unpack)
