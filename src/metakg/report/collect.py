"""`Runs`: what a run folder holds, ready to be shown.

Paired tests, intervals and gains need the values of every user (`kept/`). They are worked out once and written beside the rows
as `tests.json`, so that rows without the users' values (in a repository, say) still show them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metakg import files
from metakg.comparison import REFERENCES
from metakg.errors import DataError
from metakg.evaluation import Evaluation
from metakg.evaluation.report import aggregate, best_floor
from metakg.evaluation.significance import bootstrap_interval, compare_models, differences
from metakg.experiments.lab import METRICS, block_of
from metakg.experiments.rows import Done, Record, key_of, read
from metakg.experiments.suite import EXPERIMENTS
from metakg.models.registry import FLOORS
from metakg.types import Json

_PAIRED = ("table3", "ablation", "leak")


@dataclass(frozen=True)
class Runs:
    """A run folder.

    Attributes:
        folder: where it is.
        manifest: protocol, hashes, name of the data.
        records: rows files by experiment, those that there are.
        tests: paired tests of an experiment: rows of `compare_models`.
        intervals: (model, scenario, metric) -> 95 % interval of the mean over users, of `table3`.
        gains: {model, scenario, better, equal, worse} against the best floor, of `table3`.
        notes: what a reader should know about how this was read.
    """

    folder: Path
    manifest: Json
    records: Mapping[str, Record]
    tests: Mapping[str, list[Json]]
    intervals: Mapping[tuple[str, str, str], tuple[float, float]]
    gains: Sequence[Json]
    notes: tuple[str, ...] = ()

    @property
    def k(self) -> int:
        """Cut-off of the lists."""
        return int(next(iter(self.records.values())).header["k"])

    @property
    def facts(self) -> list[str]:
        """Hashes of the data and of the split."""
        return [f"data {self.manifest['data']}", f"split {self.manifest['split']}"]

    @property
    def sessions(self) -> list[tuple[str, str]]:
        """Every command that wrote rows, and when, where and with what it ran."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, record in self.records.items():
            for s in record.sessions:
                versions = ", ".join(f"{package} {number}" for package, number in (s.get("versions") or {}).items())
                told = [str(s.get(part, f"no {part}")) for part in ("command", "date", "machine")]
                found.setdefault((told[0], f"{told[1]}, {told[2]}; {versions}"), []).append(name)
        return [(command, f"{', '.join(names)}; {about}") for (command, about), names in found.items()]

    @property
    def reference(self) -> Mapping[str, Mapping[str, float]] | None:
        """The paper's row for this data under this protocol, or None."""
        if self.k != 20:
            return None
        return REFERENCES.get(str(self.manifest.get("reference")))

    def rows(self, experiment: str, what: str) -> list[Json]:
        """Return the rows of one kind of an experiment; none if it was not run.

        Raises:
            DataError: rows of something that saw answers stand among results.
        """
        record = self.records.get(experiment)
        rows = [] if record is None else [row for row in record.rows if row["what"] == what]
        if experiment != "leak" and any(row.get("leaked") for row in rows):
            raise DataError(
                str(self.folder / f"{experiment}.jsonl"),
                "rows of a model that saw answers",
                expected="them in leak.jsonl alone",
                fix="Take them out; they are no results.",
            )
        return rows

    def quality(self, experiment: str, **only: Any) -> list[Json]:
        """Return rows of quality over their seeds (see `aggregate`) whose fields are as asked; floors first, ours last."""
        rows = [row for row in self.rows(experiment, "quality") if all(row.get(name) == value for name, value in only.items())]
        return sorted(aggregate(rows), key=lambda row: block_of(row["model"]))

    def best_floor(self, metric: str = "recall") -> str | None:
        """Return the floor with the highest mean over scenarios, or None."""
        return best_floor(self.quality("table3"), FLOORS, metric)


@dataclass
class _Derived:
    tests: dict[str, list[Json]] = field(default_factory=dict)
    intervals: list[Json] = field(default_factory=list)
    gains: list[Json] = field(default_factory=list)


def collect(folder: Path) -> Runs:
    """Read a run folder.

    Raises:
        DataError: it is no run folder, is empty, or a rows file is damaged; the error names the line.
    """
    manifest = files.read_json(folder / "manifest.json", what="run manifest (a folder made by `metakg experiment`)")
    if manifest.get("kind") != "experiments":
        raise DataError(
            str(folder),
            f"a folder of kind {manifest.get('kind')!r}",
            expected="a run folder",
            fix='Make one with "metakg experiment all DIR".',
        )
    records = {name: read(folder / f"{name}.jsonl") for name in EXPERIMENTS if (folder / f"{name}.jsonl").exists()}
    for name, record in records.items():
        expected = {"experiment": name, **{part: manifest.get(part) for part in ("protocol", "data", "split")}}
        for part, wanted in expected.items():
            if record.header.get(part) != wanted:
                raise DataError(
                    f"{folder / name}.jsonl line 1",
                    f"rows of {part} {str(record.header.get(part))[:12]!r}",
                    expected=f"{part} {str(wanted)[:12]!r}, as its name and the manifest say",
                    fix="Keep the runs of each data set and protocol in a folder of their own.",
                )
    notes = [
        f"{name}.jsonl ends in {record.torn:,} bytes of a unit that was torn by a kill; they are left out"
        for name, record in records.items()
        if record.torn
    ]
    records = {name: record for name, record in records.items() if record.units}
    if not records:
        raise DataError(
            str(folder), "no finished unit", expected="rows of at least one experiment", fix='Run "metakg experiment" on it.'
        )
    cut_offs = {record.header.get("k"): name for name, record in records.items()}
    if len(cut_offs) > 1 or not all(isinstance(k, int) and k > 0 for k in cut_offs):
        raise DataError(
            str(folder),
            "cut-offs " + " and ".join(f"{k!r} ({name})" for k, name in cut_offs.items()),
            expected="one cut-off in all rows files",
            fix="Run what differs again in a folder of its own, with the same -k.",
        )
    derived, missing, unsaved = _derive(folder, records, next(k for k in cut_offs if k is not None))
    if unsaved:
        notes.append(f"tests and intervals could not be kept for next time: {unsaved}")
    if missing:
        notes.append(
            f"the users' values of {missing} units are not here, so tests and intervals leave them out (or were not made)"
        )
    intervals = {(row["model"], row["scenario"], row["metric"]): (row["low"], row["high"]) for row in derived.intervals}
    return Runs(folder, manifest, records, derived.tests, intervals, derived.gains, tuple(notes))


def _derive(folder: Path, records: Mapping[str, Record], k: int) -> tuple[_Derived, int, str]:
    """Return tests, intervals and gains, those of each experiment from `tests.json` where they are of these very results.

    Returns:
        them, how many units lack the users' values, and why `tests.json` could not be written ("" if it could, or need not).
    """
    units = {name: [unit for unit in records[name].units if _judged(unit.rows)] for name in _PAIRED if name in records}
    keys = {name: sorted(f"{unit.key} {_digest(unit)}" for unit in found) for name, found in units.items()}
    path = folder / "tests.json"
    known = _known(path)
    as_known = {name for name in keys if known and known["keys"].get(name) == keys[name]}
    derived = _Derived({name: known["tests"][name] for name in as_known if name in known["tests"]})
    if "table3" in as_known:
        derived.intervals, derived.gains = known["intervals"], known["gains"]
    kept: dict[str, list[Evaluation]] = {}
    missing = 0
    for name in keys.keys() - as_known:
        for unit in units[name]:
            place = folder / "kept" / unit.key
            if place.exists():
                kept.setdefault(name, []).append(Evaluation.load(place))
            else:
                missing += 1
    if "table3" in kept:
        rows = [row for unit in units["table3"] for row in unit.rows if row["what"] == "quality"]
        _of_table3(kept["table3"], k, derived, best_floor(aggregate(rows), FLOORS))
    if "ablation" in kept:
        for model in dict.fromkeys(e.model.rpartition(" ")[0] for e in kept["ablation"]):
            theirs = [e for e in kept["ablation"] if e.model.rpartition(" ")[0] == model]
            derived.tests.setdefault("ablation", []).extend(_against(theirs, f"{model} full", k))
    for carrier in ("bpr", "metakg-paper") if "leak" in kept else ():
        theirs = [e for e in kept["leak"] if e.model.startswith(f"{carrier}, ")]
        derived.tests.setdefault("leak", []).extend(_against(theirs, f"{carrier}, saw nothing", k))
    unsaved = ""
    if not missing and keys.keys() != as_known:
        kept_too = {"keys": keys, "tests": derived.tests, "intervals": derived.intervals, "gains": derived.gains}
        try:
            files.write_json(path, kept_too)
        except DataError as err:
            unsaved = err.found  # of a folder that may only be read the report is as good
    return derived, missing, unsaved


def _known(path: Path) -> Json:
    """Return what an earlier report worked out; nothing if there is none, or it is damaged: it can be worked out again."""
    try:
        known: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(known, dict) and {"keys", "tests", "intervals", "gains"} <= known.keys()
    whole = whole and isinstance(known["keys"], dict) and isinstance(known["tests"], dict)
    return known if whole else {}


def _digest(unit: Done) -> str:
    """Return a hash of a unit's results: tests are of these, not only of these settings."""
    return key_of({"rows": [row for row in unit.rows if row["what"] == "quality"]})


def _judged(rows: Sequence[Json]) -> bool:
    return any(row["what"] == "quality" for row in rows)


def _against(evaluations: Sequence[Evaluation], baseline: str, k: int) -> list[Json]:
    base, others = [e for e in evaluations if e.model == baseline], [e for e in evaluations if e.model != baseline]
    return [row for metric in METRICS for row in compare_models(others, base, metric=metric, k=k)] if base else []


def _of_table3(evaluations: Sequence[Evaluation], k: int, derived: _Derived, floor: str | None) -> None:
    """Work out intervals, and tests and gains against the best floor of the leaderboard, where its users' values are here."""
    if floor not in {e.model for e in evaluations}:
        floor = None
    if floor is not None:
        derived.tests["table3"] = _against(evaluations, floor, k)
    by_model: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        by_model.setdefault(evaluation.model, []).append(evaluation)
    for model, found in by_model.items():
        for place, result in enumerate(found[0].results):
            for metric in METRICS:
                values = np.mean([e.results[place].values[metric, k] for e in found], axis=0)
                low, high = bootstrap_interval(values, resamples=2_000)
                about = {"model": model, "scenario": result.scenario, "metric": metric}
                derived.intervals.append({**about, "low": low, "high": high})
            if floor is not None and model != floor:
                theirs = np.mean([e.results[place].values["recall", k] for e in by_model[floor]], axis=0)
                ours = np.mean([e.results[place].values["recall", k] for e in found], axis=0)
                gap = differences(ours, theirs)
                derived.gains.append(
                    {
                        "model": model,
                        "against": floor,
                        "scenario": result.scenario,
                        "better": int((gap > 0).sum()),
                        "equal": int((gap == 0).sum()),
                        "worse": int((gap < 0).sum()),
                        "mean_gain": float(gap[gap > 0].mean()) if (gap > 0).any() else 0.0,
                        "mean_loss": float(gap[gap < 0].mean()) if (gap < 0).any() else 0.0,
                    }
                )
