"""Readable names from word lists: a grammar is a few patterns with slots, and every draw is a new name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metakg.generator.quotas import distinct_integers, shares

_SLOT = re.compile(r"{(\w+?)(\d?)}")
_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[AEIOUaeiou])")
_FRESH = 0.35
"""A pattern is used to this share of its names at most, as long as the others can serve: used-up patterns sound alike."""
_MANY = 200_000
"""Patterns with more names than this are not written out as a whole."""
_SMALL_WORDS = frozenset({"the", "The", "a", "A", "of", "in", "and", "to", "for", "by", "on"})
"""Words that a name may hold twice."""


@dataclass(frozen=True)
class Grammar:
    """Patterns such as "The {adj} {noun}" over word lists.

    Attributes:
        patterns: pattern -> how often it is used, relative to the others.
        words: slot -> its words. "{noun2}" is a second, different word of the slot "noun". A word may be used by several
            slots; a name that holds a word twice is never made.
    """

    patterns: Mapping[str, float]
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many names the patterns make, before any is numbered (names that hold a word twice counted in)."""
        return sum(self._size(pattern) for pattern in self.patterns)

    def draw(self, n: int, rng: np.random.Generator, taken: set[str]) -> list[str]:
        """Return n names that are not in `taken`, and add them to it.

        When the patterns are exhausted, names go on as "... II", "... III", so any number can be had.
        """
        names: list[str] = []
        sizes = [self._size(pattern) for pattern in self.patterns]
        weights = list(self.patterns.values())
        room = [int(np.ceil(size * _FRESH)) for size in sizes]
        for _ in range(3):  # a name may be taken, or hold a word twice: ask again for the rest
            need = min(n - len(names), sum(room))
            for pattern, k in zip(self.patterns, shares(weights, need, 0, room), strict=True):
                names += self._some(pattern, int(k), int(k), rng, taken)
        series = 1
        while len(names) < n:  # every name of every pattern, then every name once more as "... II"
            suffix = f" {_roman(series)}" if series > 1 else ""
            for pattern, size in zip(self.patterns, sizes, strict=True):
                need = n - len(names)
                names += self._some(pattern, min(size, 4 * need + _MANY), need, rng, taken, suffix)
            series += 1
        order = rng.permutation(n)
        return [names[i] for i in order]

    def _size(self, pattern: str) -> int:
        return int(np.prod([len(self.words[slot]) for slot, _ in _SLOT.findall(pattern)], dtype=np.int64))

    def _some(self, pattern: str, tries: int, n: int, rng: np.random.Generator, taken: set[str], suffix: str = "") -> list[str]:
        """Return up to n fresh names of one pattern, from `tries` different ones."""
        slots = [slot + digit for slot, digit in _SLOT.findall(pattern)]
        lists = [self.words[slot] for slot, _ in _SLOT.findall(pattern)]
        names: list[str] = []
        if not n:
            return names
        numbers = distinct_integers(tries, self._size(pattern), rng)
        columns = []
        for words in reversed(lists):
            columns.append([words[i] for i in (numbers % len(words)).tolist()])
            numbers = numbers // len(words)
        columns.reverse()
        article = bool(re.search(r"\b[Aa] {", pattern))
        for words in zip(*columns, strict=True):
            parts = [part for word in words for part in word.split() if part not in _SMALL_WORDS]
            if len(slots) > 1 and len(set(parts)) < len(parts):
                continue
            name = pattern.format_map(dict(zip(slots, words, strict=True)))
            if article:
                name = _BEFORE_VOWEL.sub(r"\1n ", name)
            name += suffix
            if name not in taken:
                taken.add(name)
                names.append(name)
                if len(names) == n:
                    break
        return names


def plain(words: Sequence[str]) -> Grammar:
    """Return the grammar of a closed list of names."""
    return Grammar({"{name}": 1.0}, {"name": words})


def first_words(grammar: Grammar, n: int) -> list[str]:
    """Return the first n names of a closed list in its own order."""
    (words,) = grammar.words.values()
    return list(words[:n])


def _roman(number: int) -> str:
    text = ""
    for value, letters in ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (number // value)
        number %= value
    return text
