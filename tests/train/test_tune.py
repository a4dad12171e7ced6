"""The search over settings: what it looks at, what it keeps, how it stops and goes on."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="extra `tune`")

from metakg.data import Split
from metakg.errors import ConfigError, DataError, TrainingError
from metakg.models.space import Choice, Span
from metakg.nesting import nested
from metakg.testing import planted_split
from metakg.train import tune as module
from metakg.train.fit import TRAINING, fit, scenario_mean, settings_for
from metakg.train.loop import Loop, Progress, watching
from metakg.train.trials import Trial, as_toml, log_trial, open_log, read_log, searches
from metakg.train.tune import space_of, tune

FIXED: dict[str, Any] = {
    "dim": 4,
    "training": {"batch_size": 1024, "loop": {"epochs": 6, "patience": 2}, "adapt": {"epochs": 2}, "start": "xavier"},
}


@pytest.fixture
def split() -> Split:
    """A split whose validation split is the planted problem; its own scenarios are never to be looked at."""
    known = planted_split()
    return replace(known, scenarios={}, validation=known)


def test_every_model_that_learns_has_a_space_and_its_defaults_lie_in_it() -> None:
    for name in TRAINING:
        space = space_of(name)
        assert any(place.endswith("learning_rate") for place in space), name
        values = module._defaults(name, {}, space)
        settings_for(name, nested({k: module._decode(v) for k, v in values.items()}, {}))
        config, training = settings_for(name, {})
        whole = {**config.model_dump(mode="json"), "training": training.model_dump(mode="json")}  # type: ignore[union-attr]
        for place, where in space.items():
            default: Any = whole
            for part in place.split("."):
                default = default[part]
            if isinstance(where, Span):
                assert where.low <= default <= where.high, f"{name}: the default of {place} lies outside"
            else:
                assert default in [list(o) if isinstance(o, tuple) else o for o in where.options], f"{name}: {place}"


def test_a_search_keeps_the_best_settings_with_the_best_number_of_epochs(split: Split, tmp_path: Path) -> None:
    found = tune(split, "fm", minutes=5, trials=3, every=2, settings=FIXED, log=tmp_path / "trials.jsonl")
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    assert found.best.score == max(trial.score or 0 for trial in found.trials)
    assert found.best.best_epoch in (2, 4, 6)
    assert found.settings["training"]["loop"]["epochs"] == found.best.best_epoch
    assert found.settings["dim"] == 4
    assert found.trials[0].values["training.loop.learning_rate"] == 1e-3, "the defaults are tried first"
    assert not {"training.start", "training.adapt.epochs"} & set(found.best.values), "what is given is not searched"
    config, training = settings_for("fm", found.settings)
    assert split.validation is not None
    again = scenario_mean(fit(config, training, split.validation.train, 1), split.validation)
    assert again == pytest.approx(found.best.score, abs=1e-6), "these settings reach that score again"
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["search", "trial", "trial", "trial"]
    assert [line["score"] for line in lines[1:]] == [trial.score for trial in found.trials]


def test_the_same_search_finds_the_same_and_another_seed_looks_elsewhere(split: Split) -> None:
    values = [
        [trial.values for trial in tune(split, "fm", minutes=5, trials=2, every=6, seed=seed, settings=FIXED).trials]
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1]
    assert values[0][1] != values[2][1]


def test_a_search_goes_on_and_refuses_the_log_of_another(split: Split, tmp_path: Path) -> None:
    log = tmp_path / "trials.jsonl"
    first = tune(split, "fm", minutes=5, trials=2, every=6, settings=FIXED, log=log)
    with pytest.raises(DataError, match="--resume"):
        tune(split, "fm", minutes=5, trials=3, every=6, settings=FIXED, log=log)
    later = tune(split, "fm", minutes=5, trials=3, every=6, settings=FIXED, log=log, resume=True)
    assert [vars(t) for t in later.trials[:2]] == [vars(t) for t in first.trials]
    assert len(later.trials) == 3
    assert tune(split, "fm", minutes=0, every=6, settings=FIXED, log=log, resume=True).best == later.best, "its time counts"
    with pytest.raises(DataError, match="a search with another every"):
        tune(split, "fm", minutes=5, every=2, settings=FIXED, log=log, resume=True)
    with pytest.raises(DataError, match="another fixed and space"):
        tune(split, "fm", minutes=5, every=6, settings={**FIXED, "weight_decay": 0.1}, log=log, resume=True)
    log.write_text(log.read_text()[:-30])
    with pytest.raises(DataError, match="last line"):
        tune(split, "fm", minutes=5, every=6, settings=FIXED, log=log, resume=True)


def test_a_trial_that_the_budget_ends_counts_with_the_best_it_reached(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 10_000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(seconds)))
    found = tune(split, "fm", minutes=10, every=1, settings={**FIXED, "training": {"loop": {"epochs": 10_000}}})
    assert len(found.trials) == 1
    assert found.best.state == "cut"
    assert found.best.score == max(found.best.scores)


def test_a_trial_that_the_budget_ends_before_it_was_judged_is_tried_again(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    line = [{"weight_decay": 0.02}]
    log = tmp_path / "log.jsonl"

    def out_of_time(words: str) -> None:
        nonlocal now
        if words.startswith("trial 1"):
            now = 601.0

    with monkeypatch.context() as patch:
        patch.setattr(module.time, "monotonic", lambda: now)
        first = tune(split, "fm", minutes=10, every=6, settings=FIXED, enqueue=line, log=log, report=out_of_time)
    assert [(trial.state, len(trial.scores)) for trial in first.trials] == [("done", 1), ("cut", 0)]
    both = tune(split, "fm", minutes=30, trials=3, every=6, settings=FIXED, enqueue=line, log=log, resume=True)
    assert both.trials[2].values == first.trials[1].values
    assert both.trials[2].state == "done"


def test_trials_share_their_start_which_is_that_of_a_fit_alone(split: Split) -> None:
    fitted: list[str] = []

    def watch(loop: Loop, progress: Progress) -> None:
        if progress.step == 1:
            fitted.append(type(loop.model).__name__)

    fixed = {"dim": 4, "training": {"bpr": {"epochs": 2}, "start": "bpr", "loop": {"epochs": 1}, "adapt": {"epochs": 0}}}
    with watching(watch):
        found = tune(split, "fm", minutes=5, trials=3, every=1, settings=fixed)
    assert fitted == ["Factors", "FM", "FM", "FM"]
    assert split.validation is not None
    for trial in found.trials:
        config, training = settings_for("fm", nested(trial.values, fixed))
        alone = scenario_mean(fit(config, training, split.validation.train, 1), split.validation)
        assert alone == pytest.approx(trial.score, abs=1e-6)


def test_the_last_look_is_after_the_last_epoch(split: Split) -> None:
    assert tune(split, "fm", minutes=5, trials=1, every=4, settings=FIXED).best.epochs == [4, 6]


def test_a_trial_behind_the_median_is_pruned(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    quality, asked = iter([0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.6]), []

    def score(recommender: Any, *_: Any) -> float:
        if not asked or asked[-1][0] is not recommender.model:  # kept, not its id, which another model may be given later
            asked.append((recommender.model, next(quality)))
        return float(asked[-1][1])

    monkeypatch.setattr(module, "scenario_mean", score)
    found = tune(split, "fm", minutes=5, trials=7, every=1, settings=FIXED)
    assert [trial.state for trial in found.trials] == ["done"] * 5 + ["pruned", "done"]
    assert found.best.number == 6
    assert len(found.trials[5].scores) < 3


@pytest.mark.parametrize(
    "error",
    [
        TrainingError("step 1", "nan", expected="a number", fix="Lower the learning rate."),
        MemoryError("step 1"),
        RuntimeError("step 1: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_settings_that_explode_or_do_not_fit_are_a_failed_trial(
    split: Split, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(TrainingError, match="no trial that reached a validation; the last one failed: step 1"):
        tune(split, "fm", minutes=5, trials=2, settings=FIXED)


def test_a_search_in_which_nothing_can_be_trained_ends_at_once(split: Split, tmp_path: Path) -> None:
    log = tmp_path / "fm.jsonl"
    found = r"training\.adapt\.mode of fm: found 'joint'.*; 5 of 5 trials for this reason"
    with pytest.raises(TrainingError, match=found):
        tune(split, "fm", minutes=5, settings={**FIXED, "training": {**FIXED["training"], "adapt": {"mode": "joint"}}}, log=log)
    assert len(read_log(log)[1]) == 5


def test_another_fault_ends_the_search(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(RuntimeError, match="shapes"):
        tune(split, "fm", minutes=5, trials=2, settings=FIXED)


def test_what_cannot_be_searched_is_said(split: Split) -> None:
    with pytest.raises(DataError, match="no validation split"):
        tune(planted_split(), "fm", minutes=1)
    with pytest.raises(ConfigError, match="'blend'"):
        tune(split, "blend", minutes=1)
    with pytest.raises(ConfigError, match="no_such"):
        tune(split, "fm", minutes=1, settings={"no_such": 1})


def test_a_search_judges_by_the_scenarios_it_is_given(split: Split, tmp_path: Path) -> None:
    log, names = tmp_path / "trials.jsonl", ("user_cold",)
    found = tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, scenarios=names, log=log)
    validation = split.validation
    assert validation is not None
    config, how = settings_for("fm", nested(found.best.values, FIXED))
    judged = scenario_mean(fit(config, how, validation.train, 1), validation, names)
    assert found.best.score == pytest.approx(judged)
    assert judged != pytest.approx(scenario_mean(fit(config, how, validation.train, 1), validation))
    assert json.loads(log.read_text().splitlines()[0])["scenarios"] == ["user_cold"]
    with pytest.raises(DataError, match="a search with another scenarios"):
        tune(split, "fm", minutes=5, trials=2, every=6, settings=FIXED, log=log, resume=True)
    again = tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, scenarios="user_cold", log=log, resume=True)
    assert again.best.score == found.best.score
    with pytest.raises(DataError, match="'lukewarm': found no such scenario"):
        tune(split, "fm", minutes=5, settings=FIXED, scenarios=["lukewarm"])


def test_a_log_of_before_scenarios_could_be_chosen_is_of_all(split: Split, tmp_path: Path) -> None:
    log = tmp_path / "trials.jsonl"
    tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, log=log)
    first, *rest = log.read_text().splitlines()
    about = json.loads(first)
    assert about.pop("scenarios") is None
    log.write_text("\n".join([json.dumps(about), *rest]) + "\n")
    assert len(tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, log=log, resume=True).trials) == 1
    every = ["warm", "user_cold"]
    tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, scenarios=every, log=log, resume=True)
    with pytest.raises(DataError, match="a search with another scenarios"):
        tune(split, "fm", minutes=5, trials=1, every=6, settings=FIXED, scenarios=["warm"], log=log, resume=True)


def test_logs_of_one_model_count_together_only_if_they_judged_by_the_same(tmp_path: Path) -> None:
    for name, by in (("a", None), ("b", None), ("c", ["warm"])):
        log = tmp_path / f"{name}.jsonl"
        open_log(log, {"event": "search", "model": "fm", "scenarios": by}, False)
        log_trial(log, Trial(0, {}, scores=[0.1], epochs=[1]))
    with pytest.raises(DataError, match=r"c\.jsonl: found a search of fm by other scenarios"):
        searches(tmp_path, ["fm"])
    (tmp_path / "c.jsonl").unlink()
    assert len(searches(tmp_path, ["fm"])["fm"].trials) == 2


def test_settings_as_toml_read_back() -> None:
    settings = {
        "dim": 8,
        "hidden": [64, 32],
        "unit_ball": True,
        "cold": 'a "word"',
        "training": {"batch_size": 4, "loop": {"learning_rate": 1e-05, "epochs": 3}, "adapt": {"mode": "none"}},
    }
    assert tomllib.loads(as_toml("metakg-paper", settings)) == {"metakg-paper": settings}
    assert tomllib.loads(as_toml("fm", {"training": {"loop": {"epochs": 3}}})) == {"fm": {"training": {"loop": {"epochs": 3}}}}


def test_the_best_epoch_is_the_first_of_the_best() -> None:
    trial = Trial(0, {}, scores=[0.1, 0.3, 0.3], epochs=[5, 10, 15])
    assert (trial.score, trial.best_epoch) == (0.3, 10)
    assert Trial(0, {}).score is None
    assert Choice((1, 2)).options == (1, 2)


def test_what_is_put_in_line_is_tried_behind_the_defaults_and_once(split: Split, tmp_path: Path) -> None:
    log, line = tmp_path / "trials.jsonl", [{"training.loop.learning_rate": 0.005}, {"weight_decay": 1e-3, "cold": "mean"}]
    first = tune(split, "fm", minutes=5, trials=2, every=6, settings=FIXED, enqueue=line, log=log)
    values = [trial.values for trial in first.trials]
    assert values[0]["training.loop.learning_rate"] == 1e-3, "the defaults come first"
    assert values[1] == {**values[0], "training.loop.learning_rate": 0.005}, "what is left open has its default"
    more = tune(split, "fm", minutes=5, trials=4, every=6, settings=FIXED, enqueue=line, log=log, resume=True)
    assert more.trials[2].values == {**values[0], "weight_decay": 1e-3, "cold": "mean"}, "the first of both is not tried again"
    assert more.trials[3].values not in [trial.values for trial in more.trials[:3]], "then the search looks for itself"


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"training.adapt.epochs": 3}, "not searched", "weight_decay"),
        ({"weight_decay": 5.0}, "5.0", "from 1e-06 to 0.1"),
        ({"cold": "warm"}, "'warm'", "one of 'content', 'mean'"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_the_work(split: Split, changes: Any, found: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tune(split, "fm", minutes=5, settings=FIXED, enqueue=[changes])
    assert found in str(caught.value)
    assert expected in str(caught.value)
