from __future__ import annotations

import pytest

from metakg.errors import DataError
from metakg.readers.columns import ALIASES, Column, find, fits, need, plain, split_type
from metakg.readers.options import ReadOptions


def columns(*names):
    return [Column(name, f"c{number}") for number, name in enumerate(names)]


@pytest.mark.parametrize("name", ["user_id", "userId", "User ID", "USERID", "user-id", " user id "])
def test_spellings_of_one_name(name):
    assert plain(name) == "userid"


def test_a_unit_at_the_end_of_a_time_is_cut_off_and_nowhere_else():
    assert plain("time_s") == plain("Time (s)".replace("(", "").replace(")", "")) == "time"
    assert plain("timestamp_ms") == "timestamp"
    assert plain("class_s") == "classs"
    assert plain("times") == "times"


def test_aliases_are_plain_and_no_word_plays_two_roles_in_one_table():
    for role, names in ALIASES.items():
        assert all(plain(name) == name for name in names), role
    for table in (("user", "item", "value", "time"), ("head", "relation", "tail"), ("item", "entity"), ("id", "kind", "label")):
        words = [word for role in table for word in ALIASES[role]]
        assert len(words) == len(set(words)), table


def test_the_most_telling_name_wins():
    assert need(columns("id", "track", "user"), "user", None, where="f").name == "user"
    assert find(columns("stars", "rating"), "value", None, where="f").name == "rating"
    assert find(columns("a", "b"), "value", None, where="f") is None


def test_an_option_names_a_column_exactly_or_in_another_spelling():
    both = columns("Who", "who")
    assert find(both, "user", "who", where="f").sql == "c1"
    assert find(columns("Who Is"), "user", "who_is", where="f").sql == "c0"


def test_messages_name_what_is_there_and_the_flag_that_helps():
    with pytest.raises(
        DataError, match=r"f line 1: found the columns 'a', 'b'; expected a user column \(user, userid, .*--user-column"
    ):
        need(columns("a", "b"), "user", None, where="f line 1")
    with pytest.raises(DataError, match=r"expected a column 'klant'\. Name it \(--user-column\)"):
        need(columns("a", "b"), "user", "klant", where="f")
    with pytest.raises(DataError, match="found the columns 'user_id', 'User ID'; expected one user column"):
        need(columns("user_id", "User ID"), "user", None, where="f")


def test_types_of_atomic_headers():
    assert split_type("user_id:token") == ("user_id", "token")
    assert split_type(" title:token_seq ") == ("title", "token_seq")
    assert split_type("ns:thing") == ("ns:thing", None)


def test_fits_counts_roles_and_honours_options():
    options = ReadOptions(user_column="klant")
    assert fits(["user", "item"], ("user", "item"), ReadOptions()) == 2
    assert fits(["user", "item"], ("user", "item"), options) == 1
    assert fits(["Klant", "item"], ("user", "item"), options) == 2
