"""A search over a model's settings: Optuna's TPE on the validation scenarios, with median pruning, within a budget of time.

Where it looks stands beside the settings (`space` of a model's and of its training's); what is given is not searched. Every
trial trains on the training part of the validation split and is judged on its scenarios (all, or those asked for), after
adapting to each, every few epochs; a trial that falls behind the median is pruned. The first trial has the defaults, so a
search never ends below them; settings of which much is hoped can be put in line behind it (`enqueue`).
Every trial is a line in a log, from which a search that was cut short goes on (its time counts).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metakg import rng as random
from metakg.data import Split
from metakg.errors import ConfigError, DataError, TrainingError, is_out_of_memory, missing_extra
from metakg.evaluation.evaluator import check_rules
from metakg.evaluation.result import MASK, TIES
from metakg.models.base import Recommender
from metakg.models.registry import MODELS
from metakg.models.space import Choice, Space, Span
from metakg.nesting import is_set, nested
from metakg.train.checkpoint import view_fingerprint
from metakg.train.fit import TRAINING, check_device, fit, scenario_mean, settings_for
from metakg.train.starts import Starts, sharing_starts
from metakg.train.trials import Searched, Trial, log_trial, open_log
from metakg.types import Json

if TYPE_CHECKING:
    import optuna

Report = Callable[[str], None]

_STARTUP = 5
"""Trials before pruning and the model of the search set in, and after which a search that got nowhere is given up."""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        settings: of the model and, under `training`, of its training, as `fit` takes them, with the best number of epochs.
        best: the trial they come from.
        trials: all, earlier parts of a resumed search included.
    """

    settings: Json
    best: Trial
    trials: tuple[Trial, ...]


class _CutShort(Exception):  # noqa: N818 - it ends a trial; nothing is wrong
    """The budget ran out."""


def space_of(model: str) -> Space:
    """Return where a search over a model's settings looks, by dotted name ("weight_decay", "training.loop.learning_rate")."""
    config, training = settings_for(model, {})
    found = dict(config.space)
    found |= {f"training.{name}": where for name, where in getattr(training, "space", {}).items()}
    return found


def tune(
    split: Split,
    model: str,
    *,
    minutes: float,
    trials: int | None = None,
    every: int = 5,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    scenarios: Literal["all"] | Sequence[str] = "all",
    enqueue: Sequence[Mapping[str, Any]] = (),
    log: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
    device: str = "cpu",
) -> Tuned:
    """Search for good settings on the validation scenarios of a split; no query of the split itself is looked at.

    Args:
        split: with a validation split.
        model: registry name of a model that learns by gradient.
        minutes: budget; the trial that it ends in counts with the best it reached. Only where no trial was judged before does
            one run on to its first validation.
        trials: stop after so many.
        every: epochs between two validations.
        seed: of the search and of every training.
        settings: what is fixed; not searched.
        scenarios: the validation scenarios to choose by, in the mean. A list holds familiar items or new ones, so that what is
            best in the mean of all may serve one of them badly.
        enqueue: settings by dotted name, each tried before the search looks for itself; what one leaves open has the default.
            Those that a resumed search has tried are not tried again.
        log: a file that gets one JSON line a trial; None keeps nothing.
        resume: go on from the trials in `log`.
        report: called with a few words at each new step of the work.
        device: where networks are trained and judged, such as "cuda".

    Raises:
        ConfigError: the extra `tune` is not installed, the model has nothing to search, a fixed setting is wrong, one put in
            line is not searched, or there is no such device.
        DataError: there is no validation split or no such scenario in it, or the log holds another search.
        TrainingError: no trial reached a validation; where the first five all failed for one reason, at once.
    """
    search = _optuna()
    if split.validation is None:
        raise DataError("split", "no validation split", expected="one to choose by", fix="Split again with validation.")
    if model not in MODELS or model not in TRAINING:
        raise ConfigError("model", repr(model), expected=f"one of {', '.join(sorted(TRAINING))}", fix="Check the spelling.")
    asked_for = check_rules(split.validation, scenarios)
    fixed = dict(settings or {})
    check_device(*settings_for(model, fixed), device)
    space = {name: where for name, where in space_of(model).items() if not is_set(fixed, name)}
    if not space:
        raise ConfigError(
            f"search over {model}", "nothing to search", expected="a setting left open", fix="Fix fewer settings."
        )
    in_line = _in_line(model, fixed, space, enqueue)
    about: Json = {
        "event": "search",
        "model": model,
        "data": view_fingerprint(split.validation.train),
        "space": {name: repr(where) for name, where in space.items()},
        "fixed": fixed,
        "every": every,
        "seed": seed,
        "mask": MASK,
        "ties": TIES,
        "scenarios": None if set(asked_for) == set(split.validation.scenarios) else sorted(asked_for),
    }
    past = open_log(log, about, resume)
    study = search.create_study(
        direction="maximize",
        sampler=search.samplers.TPESampler(seed=random.derive(seed, f"tune/{len(past)}") % 2**32, n_startup_trials=_STARTUP),
        pruner=search.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=every),
    )
    for trial in past:
        study.add_trial(_as_past(search, trial, space))
    ended = [trial for trial in past if trial.state != "cut" or trial.scores]  # one cut before it was judged is tried again
    tried = [{name: _encode(value) for name, value in trial.values.items()} for trial in ended]
    for values in in_line:
        if values not in tried:
            study.enqueue_trial(values)
    done = list(past)
    ends = time.monotonic() + 60 * minutes - sum(trial.seconds for trial in past)
    with sharing_starts(Starts()):
        while time.monotonic() < ends and (trials is None or len(done) < trials):
            asked = study.ask(_distributions(search, space))
            trial = Trial(len(done), {name: _decode(value) for name, value in asked.params.items()}, device=device)
            judged = any(other.scores for other in done)
            _run(search, asked, trial, split.validation, asked_for, model, fixed, every, seed, ends, judged, report)
            if trial.state == "failed" or trial.score is None:
                study.tell(asked, state=search.trial.TrialState.FAIL)
            else:
                pruned = trial.state == "pruned"
                study.tell(asked, None if pruned else trial.score, search.trial.TrialState.PRUNED if pruned else None)
            done.append(trial)
            log_trial(log, trial)
            if _hopeless(done):
                break
    best = Searched(tuple(done)).best
    if best is None:
        reason = f"; the last one failed: {done[-1].remark}" if done and done[-1].remark else ""
        same = f"; {len(done)} of {len(done)} trials for this reason" if _hopeless(done) else ""
        raise TrainingError(
            f"search over {model}",
            f"no trial that reached a validation{reason}{same}",
            expected="at least one",
            fix="Change what is fixed." if same else "Give more minutes, or validate more often.",
        )
    chosen = nested(best.values, fixed)
    chosen = nested({"training.loop.epochs": best.best_epoch}, chosen)
    return Tuned(chosen, best, tuple(done))


def _run(
    search: Any,
    asked: optuna.trial.Trial,
    trial: Trial,
    validation: Split,
    scenarios: Sequence[str],
    model: str,
    fixed: Json,
    every: int,
    seed: int,
    ends: float,
    judged: bool,
    report: Report | None,
) -> None:
    """Train and judge one setting; what came of it goes into `trial`. `judged`: a trial before it was."""
    began = time.monotonic()
    last = every  # the epoch a trial ends with, which may come before the next turn to validate

    def judge(recommender: Recommender) -> float:
        score = scenario_mean(recommender, validation, scenarios)
        trial.scores.append(score)
        trial.epochs.append(min(every * len(trial.scores), last))
        asked.report(score, trial.epochs[-1])
        if time.monotonic() > ends:
            raise _CutShort
        if asked.should_prune():
            raise search.TrialPruned
        return score

    def tell(words: str) -> None:
        if report is not None:
            report(f"trial {trial.number}: {words}")
        if time.monotonic() > ends and (trial.scores or judged):
            raise _CutShort

    try:
        config, training = settings_for(model, nested(trial.values, fixed))
        assert training is not None
        by_epochs = {"validate_epochs": every, "validate_every": None}
        training = training.model_copy(update={"loop": training.loop.model_copy(update=by_epochs)})  # type: ignore[attr-defined]
        last = training.loop.epochs  # type: ignore[attr-defined]
        fit(config, training, validation.train, seed, report=tell, validate=judge, device=trial.device)
    except _CutShort:
        trial.state = "cut"
    except search.TrialPruned:
        trial.state = "pruned"
    except (ConfigError, TrainingError, MemoryError, RuntimeError) as err:  # the next setting may well do
        if isinstance(err, RuntimeError) and not is_out_of_memory(err):
            raise
        trial.state, trial.remark = "failed", str(err)
    trial.seconds = time.monotonic() - began


def _hopeless(trials: Sequence[Trial]) -> bool:
    """Say whether all failed, and for one reason, which must lie in what is fixed then."""
    return len(trials) >= _STARTUP and all(trial.state == "failed" and trial.remark == trials[0].remark for trial in trials)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as err:
        raise missing_extra("tune", "tune", err) from err
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


# -- the space, as Optuna wants it ---------------------------------------------------------------------------------------------


def _distributions(search: Any, space: Space) -> dict[str, Any]:
    found = {}
    for name, where in space.items():
        if isinstance(where, Choice):
            found[name] = search.distributions.CategoricalDistribution([_encode(option) for option in where.options])
        elif where.whole:
            found[name] = search.distributions.IntDistribution(int(where.low), int(where.high), log=where.log)
        else:
            found[name] = search.distributions.FloatDistribution(where.low, where.high, log=where.log)
    return found


def _encode(option: Any) -> Any:
    """Return a choice as a plain value: several numbers go as JSON text."""
    return json.dumps(option) if isinstance(option, tuple | list) else option


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _as_past(search: Any, trial: Trial, space: Space) -> Any:
    """Return a trial of an earlier part of the search."""
    states = search.trial.TrialState
    state = {"pruned": states.PRUNED, "failed": states.FAIL}.get(trial.state, states.COMPLETE)
    return search.trial.create_trial(
        state=state if trial.score is not None else states.FAIL,
        params={name: _encode(value) for name, value in trial.values.items()},
        distributions=_distributions(search, space),
        value=trial.score if state == states.COMPLETE and trial.score is not None else None,
        intermediate_values=dict(zip(trial.epochs, trial.scores, strict=True)),
    )


def _defaults(model: str, fixed: Json, space: Space) -> Json:
    """Return the default of each searched setting, brought into its range."""
    config, training = settings_for(model, fixed)
    whole: Json = {**config.model_dump(mode="json"), "training": training.model_dump(mode="json") if training else {}}
    found: Json = {}
    for name, where in space.items():
        value: Any = whole
        for part in name.split("."):
            value = value[part]
        if isinstance(where, Span):
            found[name] = min(max(value, where.low), where.high)
        else:
            options = [_encode(option) for option in where.options]
            found[name] = _encode(value) if _encode(value) in options else options[0]
    return found


def _in_line(model: str, fixed: Json, space: Space, enqueue: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return what is tried first: the defaults, then the defaults changed by each of `enqueue`.

    Raises:
        ConfigError: a setting is not searched, or its value lies outside of where the search looks.
    """
    defaults = _defaults(model, fixed, space)
    found = [defaults]
    for changes in enqueue:
        for name, value in changes.items():
            where = space.get(name)
            if where is None:
                raise ConfigError(
                    f"enqueued setting {name}",
                    "not searched",
                    expected=f"one of {', '.join(sorted(space))}",
                    fix="Check the spelling; what is fixed cannot be put in line.",
                )
            if not where.holds(value):
                raise ConfigError(f"enqueued setting {name}", repr(value), expected=str(where), fix="Choose another value.")
        found.append({**defaults, **{name: _encode(value) for name, value in changes.items()}})
    return found
