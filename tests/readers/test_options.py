from __future__ import annotations

from pathlib import Path

import pytest

from metakg.errors import ConfigError
from metakg.readers.options import ReadOptions


def test_a_misspelt_option_is_an_error_that_suggests_the_right_one():
    with pytest.raises(ConfigError, match=r"option k_cor: found an unknown option; expected one of k_core"):
        ReadOptions.parse({"k_cor": 10})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("k_core", -1, "a number from 0"),
        ("memory", "much", "'much' is no size"),
        ("delimiter", "", "is no delimiter"),
        ("delimiter", "a\nb", "is no delimiter"),
        ("quote", "''", "is no quote character"),
        ("on_bad", "ignore", "'reject' or 'fail'"),
        ("time_unit", "h", "'auto', 's', 'ms', 'us' or 'ns'"),
        ("time_format", "dd.mm.yyyy", "names no part of a time"),
        ("decimal", ";", "'.' or ','"),
        ("triple_order", "hhh", "'hrt'"),
    ],
)
def test_values_are_checked(option, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ReadOptions.parse({option: value})
    assert caught.value.where == f"option {option}"


def test_contradictions_are_found_before_anything_is_read():
    with pytest.raises(ConfigError, match="below the minimum, so that no user could remain"):
        ReadOptions.parse({"max_items_per_user": 5, "k_core": 10})
    with pytest.raises(ConfigError, match=r"the options: found time_format is .*; expected one of the two"):
        ReadOptions.parse({"time_format": "%Y", "time_unit": "s"})


def test_words_for_characters():
    assert ReadOptions.parse({"delimiter": "tab"}).delimiter == "\t"
    assert ReadOptions.parse({"quote": "none"}).quote == ""


def test_the_manifest_gets_what_shapes_the_result_and_no_places_of_this_machine():
    options = ReadOptions.parse({"k_core": 10, "threads": 3, "memory": "1GB", "spill_to": Path("/tmp"), "kgat": Path("/x")})
    assert options.changed() == {"k_core": 10}
