"""Search as you type: any word may be the beginning of one of a name's words; case and accents do not matter."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metakg.data import IdMap
from metakg.types import Mask, Rows

_LAST = "\U0010ffff"
"""Sorts behind every letter."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


class SearchIndex:
    """The words of all names (and ids) of one kind, sorted.

    Args:
        ids: what can be found.
        previous: an index of fewer ids, whose work is kept: only what arrived or was renamed since is read. What was renamed
            is found by its old name too.
    """

    def __init__(self, ids: IdMap, previous: SearchIndex | None = None) -> None:
        self.previous = previous
        self.ids = ids
        fresh = np.arange(len(ids), dtype=np.int32)
        if previous is not None:
            fresh = fresh[_new_or_renamed(ids, previous.ids)]
            # Many small steps would make a long chain, and every search would walk along it.
            if len(fresh) > len(previous.ids) // 10 or previous.depth >= 8:
                self.previous, fresh = None, np.arange(len(ids), dtype=np.int32)
        pairs = sorted(
            (word, row)
            for row in fresh.tolist()
            for word in {*words(ids.label(row)), ids.id(row).casefold(), *words(ids.id(row))}
        )
        self._words = [word for word, _ in pairs]
        self._rows = np.array([row for _, row in pairs], np.int32)

    @property
    def depth(self) -> int:
        """Number of indexes in the chain."""
        return 1 + (0 if self.previous is None else self.previous.depth)

    def find(self, text: str) -> Rows:
        """Return the rows of which every word of `text` begins a word of the name, or the id: (n,), ascending."""
        wanted = words(text) or ([text.casefold()] if text.strip() else [])
        found: Rows | None = None
        for word in wanted:
            rows = np.unique(self._rows[bisect_left(self._words, word) : bisect_left(self._words, word + _LAST)])
            found = rows if found is None else np.intersect1d(found, rows, assume_unique=True)
        result = np.empty(0, np.int32) if found is None else found
        if self.previous is None:
            return result
        earlier = self.previous.find(text)
        if self.previous.ids is not self.ids and len(earlier):  # entities move when items arrive: go by the id
            earlier = self.ids.rows(self.previous.ids.take(earlier))
            earlier = earlier[earlier >= 0]
        return np.union1d(result, earlier).astype(np.int32)


def _new_or_renamed(ids: IdMap, old: IdMap) -> Mask:
    """Return which ids an older map lacks, or knows by another label: (n,)."""
    rows = old.rows(ids.array)
    if ids.labels is None or ids.labels is old.labels or not len(old):
        return rows < 0
    now = pc.fill_null(ids.labels, "")
    then = pa.array([""] * len(ids)) if old.labels is None else pc.fill_null(old.labels.take(pa.array(np.maximum(rows, 0))), "")
    renamed: Mask = pc.not_equal(now, then).to_numpy(zero_copy_only=False)
    return (rows < 0) | renamed
