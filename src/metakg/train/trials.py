"""The trials of a search: what each was and came to, their log, and settings by dotted name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metakg import files
from metakg.errors import ConfigError, DataError
from metakg.types import Json


@dataclass
class Trial:
    """One setting, tried.

    Attributes:
        number: from 0.
        values: searched settings, by dotted name.
        state: "done", "pruned", "cut" (the budget ran out), or "failed".
        scores: the validation results, in order of epochs.
        epochs: after which epoch each was taken.
        seconds: time spent.
        remark: why it failed.
        device: where it was trained and judged.
    """

    number: int
    values: dict[str, Any]
    state: str = "done"
    scores: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    seconds: float = 0.0
    remark: str = ""
    device: str = "cpu"

    @property
    def score(self) -> float | None:
        """The best validation result, or None if there was none."""
        return max(self.scores, default=None)

    @property
    def best_epoch(self) -> int:
        """The epoch after which it was reached."""
        return self.epochs[self.scores.index(max(self.scores))]


@dataclass(frozen=True)
class Searched:
    """What the searches of one model came to.

    Attributes:
        trials: all of them, those of several logs together.
    """

    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """Time spent on all trials."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The trial with the best validation result; None where none reached one."""
        judged = [trial for trial in self.trials if trial.score is not None]
        return max(judged, key=lambda trial: trial.score or 0.0, default=None)

    @property
    def converged(self) -> bool:
        """Whether the best trial went on beyond its best epoch and found no better; if not, more epochs may have helped."""
        return self.best is not None and self.best.best_epoch < self.best.epochs[-1]


def open_log(log: Path | None, about: Json, resume: bool) -> list[Trial]:
    """Return the trials of a log, or begin one.

    Raises:
        DataError: there is a log and `resume` is off, or it belongs to another search.
    """
    if log is None:
        return []
    if not log.exists():
        with files.atomic_file(log) as temporary:
            temporary.write_text(json.dumps(about) + "\n", encoding="utf-8")
        return []
    if not resume:
        raise DataError(
            str(log), "the log of a search", expected="no such file", fix="Go on with it (--resume), or name another."
        )
    first, past = read_log(log)
    different = sorted(name for name in about if first.get(name) != json.loads(json.dumps(about[name])))
    if different:
        found = f"a search with another {' and '.join(different)}"
        raise DataError(str(log), found, expected="the same search", fix="Name another log.")
    return past


def read_log(log: Path) -> tuple[Json, list[Trial]]:
    """Return what a log says of its search, and its trials.

    Raises:
        DataError: it is no such log.
    """
    try:
        first, *rest = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return first, [Trial(**{k: v for k, v in row.items() if k in Trial.__dataclass_fields__}) for row in rest]
    except (ValueError, TypeError) as err:
        raise DataError(
            str(log),
            str(err),
            expected="the log of a search",
            fix="Remove its last line, if a kill cut it short.",
        ) from err


def searches(folder: Path, models: Sequence[str]) -> dict[str, Searched]:
    """Return what the logs in a folder (`*.jsonl`) hold of some models; several logs of a model count together.

    Raises:
        DataError: a file there is no log of a search, two of one model judge by other scenarios, or none is of these.
    """
    found: dict[str, list[Trial]] = {}
    judged_by: dict[str, list[str] | None] = {}
    for log in sorted(folder.glob("*.jsonl")):
        about, trials = read_log(log)
        if about.get("event") != "search" or "model" not in about:
            raise DataError(str(log), "no search in its first line", expected="the log of a search", fix="Move it elsewhere.")
        name, by = about["model"], about.get("scenarios")
        if name in found and judged_by[name] != by:
            raise DataError(
                str(log),
                f"a search of {name} by other scenarios than a log beside it",
                expected="searches of a model that judged by the same, whose scores compare",
                fix="Move one of them to another folder.",
            )
        judged_by[name] = by
        found.setdefault(name, []).extend(trials)
    if not set(found) & set(models):
        raise DataError(
            str(folder), "no log of these models", expected="`metakg tune --log` files, *.jsonl", fix="Name their folder."
        )
    return {name: Searched(tuple(found[name])) for name in models if name in found}


def log_trial(log: Path | None, trial: Trial) -> None:
    """Write a trial into its log, if there is one."""
    if log is not None:
        record = {"event": "trial", **vars(trial), "score": trial.score}
        with log.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")


def as_toml(model: str, settings: Json) -> str:
    """Return settings as TOML tables of one model; JSON's text of a number, a string or a list is TOML's as well.

    Raises:
        ConfigError: a value is None, for which TOML has no word.
    """
    tables: list[tuple[str, Json]] = []

    def collect(path: str, group: Json) -> None:
        for name, value in group.items():
            if value is None:
                found = f"{path}.{name} = null"
                raise ConfigError(
                    "settings for a TOML file", found, expected="a value", fix="Leave it out, or say it with --set."
                )
        tables.append((path, {name: value for name, value in group.items() if not isinstance(value, dict)}))
        for name, value in group.items():
            if isinstance(value, dict):
                collect(f"{path}.{name}", value)

    collect(model, settings)
    parts = ["\n".join([f"[{path}]", *(f"{k} = {json.dumps(v)}" for k, v in group.items())]) for path, group in tables if group]
    return "\n\n".join(parts) + "\n"
