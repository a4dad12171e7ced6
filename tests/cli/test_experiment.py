"""`metakg experiment`: what it prints, what it leaves, how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metakg.cli.experiment import _numbers, duration
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


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense", "x"],
        ["leak", "x", "--models", "nobody"],
        ["leak", "x", "--millions", "0"],
        ["leak", "x", "--millions", "nan"],
        ["scalability", "x", "--millions", "1,inf"],
        ["efficiency", "x", "--places", "here,there"],
        ["table3", "x", "--models", "popularity", "--set", "walk.steps=2"],
        ["table3", "x", "--models", "popularity", "--compared", "nowhere"],
    ],
)
def test_bad_words_are_refused_before_anything_is_written(tmp_path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        run("experiment", *words)
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_read_alike_are_one() -> None:
    assert _numbers("3, 0.01,0.0100000000001,1") == [0.0100000000001, 1.0, 3.0]


def test_a_folder_of_something_else_stays_as_it_is(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "runs"
    run("experiment", "table3", folder, "--models", "popularity")
    for place, match in ((folder / "generated" / "split", "kind 'split'"), (folder / "generated" / "data", "kind 'dataset'")):
        before = sorted(place.rglob("*"))
        with pytest.raises(DataError, match=match):
            run("experiment", "table3", place, "--models", "popularity")
        assert sorted(place.rglob("*")) == before
    named = tmp_path / "named"
    run("experiment", "table3", named, "--models", "popularity", "--data", folder / "generated" / "split")
    with pytest.raises(DataError, match="Name the data of these runs with --data"):
        run("experiment", "table3", named, "--models", "kg-knn", "--resume")
    assert not (named / "generated").exists()
    monkeypatch.chdir(folder / "generated" / "split")
    run("experiment", "table3", tmp_path / "here", "--models", "popularity", "--data", ".")
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["name"] == "generated"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found a file; expected a run folder or a new one"):
        run("experiment", "table3", tmp_path / "file", "--models", "popularity", "--data", folder / "generated" / "split")


def test_without_a_unit_no_report_is_promised(tmp_path) -> None:
    assert "next: metakg report" not in run("experiment", "parameters", tmp_path / "runs", "--models", "popularity")


def test_durations() -> None:
    assert [duration(s) for s in (5, 99, 100, 5999, 9000)] == ["5 s", "99 s", "2 min", "100 min", "2.5 h"]


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_a_killed_run_goes_on_to_the_same_digits(tmp_path) -> None:
    words = ["--models", "floors,metakg", "--seeds", "1", "--set", "metakg.training.worlds=1", "--set", "metakg.hidden=8"]
    words += ["--set", "metakg.training.tasks_each=40", "--set", "metakg.training.loop.epochs=2"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "metakg.cli.main", "experiment", "table3", str(killed), *words]
    child = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rows, began = killed / "table3.jsonl", time.monotonic()
    while not (rows.exists() and rows.read_bytes().count(b'{"unit"') >= 2):
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() - began < 120
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = len(read(rows).units)
    assert 2 <= done < 6
    shown = run("experiment", "table3", killed, *words, "--resume")
    assert f"{6 - done} units done, {done} were done before." in shown
    run("experiment", "table3", whole, *words)

    def digits(folder: Path) -> list[tuple[object, ...]]:
        found = read(folder / "table3.jsonl").rows
        return sorted((r["key"], r["scenario"], r["metric"], r["mean"]) for r in found if r["what"] == "quality")

    assert digits(killed) == digits(whole)
    assert not (killed / "work").exists() or not any((killed / "work").iterdir())
