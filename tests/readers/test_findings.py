"""What a person should know before training: columns left alone, low ratings, lists, a graph that does not meet the clicks."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import metakg

CLICKS = {"user": ["a", "a", "b", "b"], "item": ["1", "2", "1", "3"]}


def told(clicks: dict[str, list], about: dict[str, list] | None = None, **options: object) -> list[tuple[str, str]]:
    attributes = None if about is None else pa.table(about)
    data = metakg.read(interactions=pa.table(clicks), item_attributes=attributes, **options)
    return [(finding["level"], finding["what"]) for finding in data.manifest["findings"]]


def test_columns_that_are_not_read_are_named() -> None:
    data = metakg.read(interactions=pa.table(CLICKS | {"event": ["view"] * 4, "when": [1, 2, 3, 4]}))
    (finding,) = (f for f in data.manifest["findings"] if "not read" in f["what"])
    assert (finding["level"], finding["count"], finding["places"]) == ("note", 2, ["event", "when"])
    assert not any("not read" in what for _, what in told(CLICKS))


def test_values_that_all_count_alike_are_said_unless_they_are_chosen_from() -> None:
    rated = CLICKS | {"rating": [1.0, 5.0, 4.0, 2.0]}
    what = "values from 1 to 5, where each row counts as a like, the low ones too (--min-value N leaves them out)"
    assert ("note", what) in told(rated)
    assert not any(words.startswith("values from") for _, words in told(rated, min_value=4))
    assert not any(words.startswith("values from") for _, words in told(CLICKS | {"rating": [1.0] * 4}))


@pytest.mark.parametrize(("separator", "said"), [(None, True), ("|", False)])
def test_values_that_look_like_lists_are_said(separator: str | None, said: bool) -> None:
    about = {"item": ["1", "2", "3"], "genre": ["x|y", "y", "z"]}
    found = told(CLICKS, about, **({} if separator is None else {"separator": separator}))
    assert any("look like lists" in what for _, what in found) == said


def test_a_graph_that_shares_no_item_with_the_clicks_is_a_problem() -> None:
    about = {"item": ["1.0", "2.0", "3.0"], "genre": ["x", "y", "z"]}
    assert told(CLICKS, about)[0] == ("problem", "no item with a click has a fact (ids look like '1' there and '1.0' here)")
    assert not any("no item with a click" in what for _, what in told(CLICKS, about | {"item": ["1", "8", "9"]}))
    assert not any("no item with a click" in what for _, what in told(CLICKS))


def test_the_command_says_what_data_without_times_are_good_for(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from metakg.cli.main import app

    (tmp_path / "c.csv").write_text("user,item\na,x\nb,y\n")
    words = ["prepare", "--interactions", str(tmp_path / "c.csv"), "--out", str(tmp_path / "out")]
    assert 'no times: cut them by lot ("metakg split --set arrival=lot")' in CliRunner().invoke(app, words).stdout
