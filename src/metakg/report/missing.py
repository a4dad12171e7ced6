"""What a run folder lacks beside what it holds, so that nobody takes a part for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metakg.experiments import ablation, efficiency, sensitivity
from metakg.experiments.lab import DEMO, OURS
from metakg.experiments.suite import EXPERIMENTS
from metakg.models.registry import MODELS
from metakg.report.collect import Runs

_SAW = ("nothing", "as released", "everything")


def missing(runs: Runs) -> list[str]:
    """Return what was not run: whole experiments with the command that runs them, models, and parts of experiments."""
    data = "" if runs.manifest.get("name") == DEMO else " --data SPLIT"
    command = f"metakg experiment {{}} DIR{data} --resume, with the other options of the commands below"
    lacking = [f"{name}: not run ({command.format(name)})" for name in EXPERIMENTS if name not in runs.records]
    judged = {row["model"] for row in runs.rows("table3", "quality")}
    if judged:
        lacking += _names("models without a row in the leaderboard", (name for name in MODELS if name not in judged))
    parts = {"ablation": _variants, "leak": _leaks, "sensitivity": _settings, "efficiency": _untimed}
    for experiment, of in parts.items():
        if experiment in runs.records:
            lacking += [f"{experiment}, {line}" for line in of(runs)]
    return lacking


def _variants(runs: Runs) -> Iterator[str]:
    there = {row["model"] for row in runs.rows("ablation", "quality")}
    for model, variants in ablation.VARIANTS.items():
        yield from _names(f"variants of {model} not run", (name for name in variants if f"{model} {name}" not in there))


def _leaks(runs: Runs) -> Iterator[str]:
    rows = runs.rows("leak", "quality")
    there = {(row["carrier"], row["scenario"], row["saw"]) for row in rows}
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    for carrier in ("bpr", "metakg-paper"):
        absent = [
            f"{scenario} that saw {saw}" for scenario in scenarios for saw in _SAW if (carrier, scenario, saw) not in there
        ]
        yield from _names(f"{carrier} not run", absent)


def _settings(runs: Runs) -> Iterator[str]:
    rows = runs.rows("sensitivity", "quality")
    shots = {row["model"] for row in rows if row["study"] == "shots"}
    yield from _names("shots not run for", (name for name in OURS if name not in shots))
    for study, models in sensitivity.STUDIES.items():
        there = {(row["model"], row["value"]) for row in rows if row["study"] == study}
        for model, (values, _) in models.items():
            absent = [str(value) for value in values if (model, value) not in there]
            if len(absent) == len(values):
                absent = ["all values"] if model in OURS else []
            yield from _names(f"{study} of {model} not run", absent)


def _untimed(runs: Runs) -> Iterator[str]:
    there = {(row["model"], row["place"]) for row in runs.rows("efficiency", "inference")}
    for place in efficiency.PLACES:
        absent = [name for name in MODELS if (name, place) not in there]
        where = "on this data" if place == "here" else f"at {place}'s size"
        yield from _names(f"not timed {where}", ["all models"] if len(absent) == len(MODELS) else absent)


def _names(words: str, names: Iterable[str]) -> list[str]:
    listed = ", ".join(names)
    return [f"{words}: {listed}"] if listed else []
