"""What a training took in all, over its attempts."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from metakg.comparison import compare
from metakg.errors import DataError
from metakg.session import today
from metakg.testing import planted_split
from metakg.train.loop import watching
from metakg.train.spent import spending


def test_attempts_add_up_and_nothing_is_kept_without_a_folder(tmp_path: Path) -> None:
    def stopped() -> None:
        time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), spending(tmp_path) as first:
        stopped()
    assert first.wall_s >= 0.05
    with spending(tmp_path) as second:
        time.sleep(0.05)
    assert second.wall_s >= first.wall_s + 0.049
    assert second.cpu_s >= first.cpu_s
    told = json.loads((tmp_path / "spent.json").read_text())
    assert told == {"wall_s": second.wall_s, "cpu_s": second.cpu_s, "epochs": None, "elsewhere": {}}
    with spending(None) as alone:
        time.sleep(0.01)
    assert 0.01 <= alone.wall_s < second.wall_s
    with spending(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_a_comparison_that_was_stopped_tells_what_all_of_its_training_took(tmp_path: Path) -> None:
    settings = {"fm": {"dim": 4, "training": {"start": "xavier", "loop": {"epochs": 2}}}}
    slept = 0.0

    def slow(_: object, progress: object) -> None:
        nonlocal slept
        time.sleep(0.05)
        slept += 0.05
        if 0.5 < slept < 0.56:
            raise KeyboardInterrupt

    cut = planted_split()
    settings["fm"]["training"]["batch_size"] = 256
    with watching(slow), pytest.raises(KeyboardInterrupt):
        compare(cut, ["fm"], seeds=[1], settings=settings, keep=tmp_path)
    first = slept
    compare(cut, ["fm"], seeds=[1], settings=settings, keep=tmp_path)
    kept = json.loads((tmp_path / "fm-1" / "manifest.json").read_text())
    assert kept["fit_s"] >= first, "the first attempt counts too"
    assert kept["seconds"] >= kept["fit_s"]


def test_a_training_that_stops_by_itself_tells_the_epochs_it_took(tmp_path: Path) -> None:
    training = {"worlds": 1, "tasks_each": 40, "loop": {"epochs": 60, "patience": 1, "learning_rate": 0.05}}
    cut, settings = planted_split(), {"metakg": {"hidden": 4, "training": training}}
    board = compare(cut, ["metakg", "walk"], settings=settings, keep=tmp_path)
    ran = board.runs[0].epochs[0]
    assert ran is not None
    assert ran < 60
    end = json.loads((tmp_path / "metakg-1" / "log" / "log.jsonl").read_text().splitlines()[-1])
    assert end["stopped_early"], "or this test would show nothing"
    assert board.runs[1].epochs == (None, None)
    again = compare(cut, ["metakg", "walk"], settings=settings, keep=tmp_path)
    assert [run.epochs for run in again.runs] == [run.epochs for run in board.runs]
    assert "kept from earlier calls" not in board.footer()
    path = tmp_path / "walk-1" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made": "2020-02-02"}))
    later = compare(cut, ["metakg", "walk", "popularity"], settings=settings, keep=tmp_path)
    assert later.footer().endswith(f" 2 of 3 runs were kept from earlier calls, made 2020-02-02 to {today()}.")


def test_a_kept_run_of_another_cut_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    """A split and its validation have the same options and, here, the same data; their answers are not the same."""
    cut = planted_split()
    scenario = cut.scenarios["user_cold"]
    other = replace(cut, scenarios={"user_cold": replace(scenario, support=scenario.query, query=scenario.support)})
    cut = replace(cut, scenarios={"user_cold": scenario})
    compare(cut, ["popularity"], keep=tmp_path)
    with pytest.raises(DataError, match="a run with another cut"):
        compare(other, ["popularity"], keep=tmp_path)
    path = tmp_path / "popularity-1" / "manifest.json"
    kept = json.loads(path.read_text())
    del kept["rule"]["cut"]  # as an older version kept it
    path.write_text(json.dumps(kept))
    compare(cut, ["popularity"], keep=tmp_path)
    with pytest.raises(DataError, match="a run with another cut"):
        compare(other, ["popularity"], keep=tmp_path)
