from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metakg.generator import books, music, places
from metakg.generator.grammar import Grammar, first_words, plain
from metakg.generator.schema import Domain
from metakg.generator.words import CITIES, HOUSES, PEOPLE, STREETS, TOWNS, listed

DOMAINS = [books.DOMAIN, music.DOMAIN, places.DOMAIN]
SMALL = Grammar(
    {"The {adj} {noun}": 1, "A {adj} {noun}": 1, "{noun} and {noun2}": 1}, {"adj": ["old", "red"], "noun": ["owl", "fox"]}
)


def names_of(domain: Domain) -> list[tuple[str, Grammar]]:
    found = [(f"title/{family}", grammar) for family, grammar in domain.title.items()]
    for kind in domain.kinds:
        grammars = {"": kind.names} if isinstance(kind.names, Grammar) else kind.names
        found += [(f"{kind.name}/{family}", grammar) for family, grammar in grammars.items()]
    return found


ALL = [(f"{domain.name}/{name}", grammar) for domain in DOMAINS for name, grammar in names_of(domain)]


def test_all_names_of_a_small_grammar() -> None:
    # 4 + 4 + 2 names: "fox and fox" holds a word twice; an article before a vowel becomes "An".
    drawn = SMALL.draw(10, np.random.default_rng(1), set())
    expected = {f"{article} {adj} {noun}" for article in ("The", "A") for adj in ("old", "red") for noun in ("owl", "fox")}
    expected = {name.replace("A old", "An old") for name in expected} | {"owl and fox", "fox and owl"}
    assert set(drawn) == expected


def test_numbered_only_after_every_name_is_used() -> None:
    drawn = SMALL.draw(23, np.random.default_rng(2), set())
    assert len(set(drawn)) == 23
    assert sum(name.endswith(" II") for name in drawn) == 10
    assert sum(name.endswith(" III") for name in drawn) == 3


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 99))
def test_draws_never_repeat_what_is_taken(first: int, second: int, seed: int) -> None:
    rng, taken = np.random.default_rng(seed), set[str]()
    drawn = SMALL.draw(first, rng, taken) + SMALL.draw(second, rng, taken)
    assert len(drawn) == first + second == len(taken)
    assert taken == set(drawn)


def test_plain_lists() -> None:
    words = ("one", "two", "medicine before medicine")
    assert sorted(plain(words).draw(3, np.random.default_rng(0), set())) == sorted(words)
    assert first_words(plain(words), 2) == ["one", "two"]


def test_listed_joins_lines_and_refuses_repeats() -> None:
    assert listed(" a, b c,\n  d\n e ") == ("a", "b c", "d e")
    with pytest.raises(AssertionError):
        listed("a, b, a")


@pytest.mark.parametrize(("name", "grammar"), ALL, ids=[name for name, _ in ALL])
def test_names_are_good_english(name: str, grammar: Grammar) -> None:
    """What can be checked without an ear: slots filled, single spaces, articles, no word twice in a row."""
    for drawn in grammar.draw(min(400, grammar.size // 2 + 1), np.random.default_rng(3), set()):
        assert drawn == " ".join(drawn.split()), drawn
        assert not re.search(r"[{}]", drawn), drawn
        assert not re.search(r"\b([A-Za-z']+) \1\b", drawn), drawn
        assert not re.search(r"\b[Aa] [aeiouAEIOU]", drawn), drawn
        assert not re.search(r"\b[Aa]n [^aeiouAEIOU]", drawn), drawn
        assert len(drawn) <= 70, drawn


@pytest.mark.parametrize(("name", "grammar"), ALL, ids=[name for name, _ in ALL])
def test_every_slot_has_words_and_every_word_list_is_used(name: str, grammar: Grammar) -> None:
    used = {slot for pattern in grammar.patterns for slot, _ in re.findall(r"{(\w+?)(\d?)}", pattern)}
    assert used <= set(grammar.words)
    assert all(weight > 0 for weight in grammar.patterns.values())


def test_shared_word_lists_are_large() -> None:
    assert PEOPLE.size > 10_000_000
    assert min(len(set(TOWNS)), 2 * len(set(STREETS)), 2 * len(set(HOUSES)), 6 * len(CITIES)) >= 400


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda d: d.name)
def test_domains_are_consistent(domain: Domain) -> None:
    kinds = {kind.name for kind in domain.kinds} | {"work"}
    assert {r.head for r in domain.relations} | {r.tail for r in domain.relations} <= kinds
    assert {domain.style, domain.creator, domain.collection} <= kinds
    assert not domain.home or domain.home in kinds
    assert not domain.unlisted or domain.unlisted in kinds
    assert domain.core <= domain.usual <= len(domain.relations)
    assert len({r.id for r in domain.relations}) == len({r.label for r in domain.relations}) == len(domain.relations)
    core = {relation.role for relation in domain.relations[: domain.core]}
    assert {"creator", "collection", "style", "style_parent"} <= core
    assert set(domain.title) == set(domain.styles)
    assert all(r.head == "work" for r in domain.relations if r.taste)


def test_relations_of_the_paper() -> None:
    assert [len(domain.relations) for domain in DOMAINS] == [39, 9, 42]
