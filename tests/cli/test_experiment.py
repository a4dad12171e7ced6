"""`metakg experiment`: what it prints, what it leaves, how it goes on."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metakg.cli.experiment import duration
from metakg.cli.main import app
from metakg.errors import ConfigError, DataError
from metakg.experiments.rows import read


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_from_nothing_to_rows_and_on(tmp_path) -> None:
    folder = tmp_path / "runs"
    shown = run("experiment", "table3", folder, "--models", "popularity,kg-knn")
    assert "2 units done, 0 were done before." in shown
    assert "next: metakg report" in shown
    with pytest.raises(DataError, match="--resume"):
        run("experiment", "table3", folder, "--models", "popularity,kg-knn")
    again = json.loads(run("experiment", "table3", folder, "--models", "floors", "--resume", "--json"))
    assert (again["done"], again["kept"], again["failed"]) == (3, 2, {})
    record = read(folder / "table3.jsonl")
    assert [session["session"] for session in record.sessions] == [1, 2]
    assert {unit.session for unit in record.units} == {1, 2}
    with pytest.raises(DataError, match="steps"):
        run("experiment", "table3", folder, "--models", "walk", "--set", "walk.steps=3", "--resume")
    with (folder / "table3.jsonl").open("ab") as handle:
        handle.write(b'{"unit": "half a un')
    assert "mended" in run("experiment", "table3", folder, "--models", "walk", "--resume")


def test_a_budget_of_nothing_says_what_it_cut(tmp_path) -> None:
    shown = run("experiment", "table3,parameters", tmp_path / "runs", "--models", "floors", "--budget", "0")
    assert "cut by the budget: table3, essential: 5 units (popularity; item-knn; kg-knn; walk; and 1 more)" in shown
    assert "--resume" in shown


@pytest.mark.parametrize("words", [["nonsense", "x"], ["leak", "x", "--models", "nobody"], ["leak", "x", "--millions", "0"]])
def test_bad_words_are_refused_before_anything_is_written(tmp_path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        run("experiment", *words)
    assert list(tmp_path.iterdir()) == []


def test_durations() -> None:
    assert [duration(s) for s in (5, 99, 100, 5999, 9000)] == ["5 s", "99 s", "2 min", "100 min", "2.5 h"]
