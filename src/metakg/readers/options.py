"""Every option of `read`, `prepare` and `validate`, in one frozen class: a misspelt or contradictory one is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, field_validator, model_validator

from metakg.errors import ConfigError, complaint
from metakg.types import Json

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
ValueRule = Literal["last", "first", "max"]
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?\s*([KMGT]i?B)", re.IGNORECASE)
_MACHINE = ("kgat", "memory", "threads", "spill_to", "overwrite")
"""Options that say how to work or name a place on this machine; they stay out of the manifest."""


class ReadOptions(BaseModel):
    """How files are read, checked and filtered. The defaults read clean files of any known format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_bad: Literal["reject", "fail"] = "reject"
    """A row that cannot be used is left out and counted, or stops everything."""
    time_unit: TimeUnit = "auto"
    """Unit of numeric times; `auto` tells them apart by their size."""
    time_format: str | None = None
    """How times in words are written, as for `strptime`: "%d.%m.%Y %H:%M" reads 16.11.2024 12:34, in UTC unless there is a %z.
    By default ISO 8601."""
    decimal: Literal[".", ","] = "."
    """What stands before the decimals of values, and of attributes that are cut into bins; in JSON it is always a point."""
    value_rule: ValueRule = "last"
    """Value of a pair that occurs more than once: of its last or first row (by time, then by place in the file), or the
    largest. The time of such a pair is always its first."""

    min_value: float | None = None
    """Keep interactions with at least this value (a rating threshold)."""
    from_time: str | None = None
    """Keep interactions from this time on: ISO 8601 (UTC unless it says otherwise) or seconds since 1970."""
    to_time: str | None = None
    """Keep interactions before this time."""
    k_core: NonNegativeInt = 0
    """Keep the largest part in which every user has at least k items and every item at least k users."""
    min_items_per_user: NonNegativeInt = 0
    """Keep users with at least this many items."""
    max_items_per_user: PositiveInt | None = None
    """Keep users with at most this many items, counted before the filters above that work by counts."""
    min_users_per_item: NonNegativeInt = 0
    """Keep items with at least this many users."""

    user_column: str | None = None
    """Name of the user column; by default common names are tried."""
    item_column: str | None = None
    """Name of the item column."""
    value_column: str | None = None
    """Name of the value (rating, count) column; "none" ignores values."""
    time_column: str | None = None
    """Name of the time column; "none" ignores times."""
    delimiter: str | None = None
    """Column delimiter of text tables; by default found from the first lines."""
    header: bool | None = None
    """Whether the first line of a text table holds names; by default found from the first lines."""
    quote: str | None = None
    """Quote character of text tables; "none" where quotes are plain text. By default " between commas and the like, and
    between tabs or blanks only where whole cells are quoted."""
    encoding: Literal["utf-8", "utf-16", "latin-1"] | None = None
    """Encoding of text tables without a byte order mark; by default UTF-8."""
    triple_order: Literal["hrt", "htr", "rht", "rth", "thr", "trh"] | None = None
    """Order of head, relation and tail in triple files without a header (default hrt)."""

    label_column: str | None = None
    """Column of an attribute table that holds the readable name; by default title, name or label."""
    attributes: tuple[str, ...] | Literal["all"] | None = None
    """Columns of attribute tables that become facts. Default: all of explicit tables, none of atomic `.item` and `.user`."""
    separator: str | None = None
    """What parts the values of a multi-valued attribute cell, for example "|"."""
    bins: Mapping[str, PositiveInt] = {}
    """Numeric attribute columns to cut into this many bins of about equal size."""

    labels_of: Literal["user", "item", "entity", "relation"] = "entity"
    """What a two-column label file names, where it has no `kind` column."""
    languages: tuple[str, ...] = ("en",)
    """Languages of RDF labels, the preferred first; labels without a language come next, then any other."""
    literals: Literal["skip", "entities"] = "skip"
    """Whether RDF literals (numbers, texts) are left out of the graph or become entities."""

    kgat: Path | None = None
    """Folder of a KGAT release whose graph is joined with the paper's raw data (Amazon, LFM-1b, Yelp)."""
    follow: Literal["items", "users", "pairs"] = "items"
    """How far such a release decides which raw interactions stay: those of its items, of its users too, or its very pairs."""
    network: Literal["plain", "kgat"] = "plain"
    """Graph of Yelp's businesses, where no release is joined: what is useful, or what KGAT's release holds."""
    user_facts: bool = False
    """Add what is known about users before their first click: country, age, gender (LFM-1b), year of joining (LFM-1b, Yelp)."""

    memory: str = "2GB"
    """Memory that DuckDB may use before it spills to disk; the process needs some 0.5 GB more."""
    threads: PositiveInt | None = None
    """Threads; by default all cores."""
    spill_to: Path | None = None
    """Folder for what does not fit into memory; by default beside the output."""
    overwrite: bool = False
    """Replace an earlier result in the output folder."""

    def decimal_in(self, form: str) -> str:
        """Return what stands before the decimals in a file of a format: in JSON a point, whatever `decimal` says."""
        return "." if form == "json" else self.decimal

    @field_validator("memory")
    @classmethod
    def _memory_size(cls, text: str) -> str:
        if not _SIZE.fullmatch(text.strip()):
            raise ValueError(f"{text!r} is no size; one such as 2GB")
        return text

    @field_validator("delimiter")
    @classmethod
    def _delimiter(cls, text: str | None) -> str | None:
        if text is None:
            return None
        text = {"tab": "\t", r"\t": "\t", "space": " ", "comma": ","}.get(text, text)
        if not 1 <= len(text.encode()) <= 4 or any(letter in text for letter in '\r\n"'):
            raise ValueError(f"{text!r} is no delimiter; one to four characters such as , or :: or tab")
        return text

    @field_validator("quote")
    @classmethod
    def _quote(cls, text: str | None) -> str | None:
        if text is None:
            return None
        text = "" if text == "none" else text
        if len(text.encode()) > 1:
            raise ValueError(f"{text!r} is no quote character; one character, or none")
        return text

    @field_validator("time_format")
    @classmethod
    def _time_format(cls, text: str | None) -> str | None:
        if text is not None and "%" not in text:
            raise ValueError(f"{text!r} names no part of a time; a format such as %d.%m.%Y or %m/%d/%Y %H:%M:%S")
        return text

    @model_validator(mode="after")
    def _times(self) -> ReadOptions:
        if self.time_format is not None and self.time_unit != "auto":
            raise ValueError("time_format is for times in words and time_unit for numbers; one of the two")
        return self

    @model_validator(mode="after")
    def _window(self) -> ReadOptions:
        if self.max_items_per_user is not None and self.max_items_per_user < max(self.min_items_per_user, self.k_core):
            raise ValueError("max_items_per_user is below the minimum, so that no user could remain")
        return self

    def changed(self) -> Json:
        """Return the options that differ from the defaults and shape the result, for the manifest."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=set(_MACHINE))

    @staticmethod
    def parse(options: Mapping[str, object]) -> ReadOptions:
        """Return the options from keyword arguments or flags.

        Raises:
            ConfigError: an option is unknown (close names are suggested), of the wrong type, or contradicts another.
        """
        known = list(ReadOptions.model_fields)
        for name in options:
            if name not in known:
                close = get_close_matches(name, known, n=3)
                raise ConfigError(
                    f"option {name}",
                    "an unknown option",
                    expected=f"one of {', '.join(close or known)}",
                    fix="Check its spelling.",
                )
        try:
            return ReadOptions.model_validate(dict(options))
        except ValidationError as err:
            first = err.errors()[0]
            name = ".".join(str(step) for step in first["loc"])
            found, expected = complaint(first, repr(options[name]) if name in options else None)
            raise ConfigError(
                f"option {name}" if name else "the options",
                found,
                expected=expected,
                fix="Correct the option.",
            ) from err
