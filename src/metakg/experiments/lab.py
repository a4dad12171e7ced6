"""`Lab`: what every experiment works on, and the one way in which a model is fitted, judged and written down.

A run folder holds

    manifest.json          protocol, hashes of the data and the split, where they came from
    <experiment>.jsonl     rows (see `rows`)
    kept/<key>/            the per-user results of a unit, for paired tests
    work/<key>/            log and checkpoints of a training in flight; gone when its unit is done
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metakg import files
from metakg.comparison import kept_run
from metakg.data import Split
from metakg.engine import Engine, fit
from metakg.errors import ConfigError, DataError
from metakg.evaluation import Evaluation, evaluate
from metakg.evaluation.result import MASK, TIES
from metakg.experiments import curves
from metakg.experiments.rows import Journal, key_of, refuse_rows
from metakg.experiments.runner import Desk
from metakg.models.registry import FLOORS, MODELS
from metakg.nesting import merged
from metakg.session import invocation, machine, today, versions
from metakg.train.fit import TRAINING, settings_for
from metakg.train.spent import spending
from metakg.types import Json

OURS = ("metakg-paper", "metakg")
"""Stand last in every table."""

METRICS = ("recall", "ndcg")

DEMO = "generated bookshop (demo)"
"""Name of the data that are made where none are named."""


@dataclass(frozen=True)
class Lab:
    """What experiments work on.

    Attributes:
        folder: where rows and per-user results go.
        split: the data, cut.
        models: registry names, in the order of tables.
        settings: by model, settings that differ from the defaults.
        seeds: for models with randomness.
        k: cut-off of the lists.
        identity: protocol and hashes of data and split; rows of another identity are refused.
        told: what the command line asked of single experiments (sizes, steps ...).
        compared: a folder in which `metakg compare --keep` kept runs; those with equal settings are taken over.
    """

    folder: Path
    split: Split
    models: tuple[str, ...]
    settings: Mapping[str, Json] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3)
    k: int = 20
    identity: Json = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    compared: Path | None = None

    def seeds_of(self, model: str) -> tuple[int, ...]:
        """Return the seeds a model is run with: one where all would give the same."""
        return self.seeds[:1] if MODELS[model].deterministic else self.seeds

    def settings_of(self, model: str, changes: Json | None = None) -> Json:
        """Return a model's settings with some of them changed; groups are merged."""
        return merged(dict(self.settings.get(model, {})), changes or {})

    def rule(self, model: str, seed: int, changes: Json | None = None, **more: Any) -> Json:
        """Return what decides the result of a fitted model: resolved settings, seed, data, split, and `more`.

        Raises:
            ConfigError: the model or a setting is unknown.
        """
        config, training = settings_for(model, self.settings_of(model, changes))
        return {
            "model": config.model_dump(mode="json"),
            "training": None if training is None else training.model_dump(mode="json"),
            "seed": None if MODELS[model].deterministic else seed,
            "k": self.k,
            **self.identity,
            **more,
        }

    def fit(self, desk: Desk, model: str, seed: int, key: str, changes: Json | None = None) -> tuple[Engine, list[Json], Json]:
        """Fit a model, going on from the checkpoint of a killed attempt.

        What the training left lies in `work/<key>` until its unit is written (`runner.run` removes it then), so that a run that
        is stopped while it judges need not train again.

        Returns:
            the fitted model, rows with its learning curves, and {fit_s, cpu_s, parameters}.
        """
        place = self.folder / "work" / key
        told = place / "cost.json"
        with spending(place if model in TRAINING and not told.exists() else None) as spent:
            fitted = fit(
                model,
                self.split.train,
                seed=seed,
                folder=place if model in TRAINING else None,
                resume=True,
                report=desk.tell,
                **self.settings_of(model, changes),
            )
        if told.exists():  # trained before, and stopped while it was judged: opening it again took no training
            return fitted, curves.collect(place), files.read_json(told, what="cost of a training")
        cost = {
            "fit_s": round(spent.wall_s, 3),
            "cpu_s": round(spent.cpu_s, 3),
            "parameters": sum(p.numel() for p in fitted.recommender.parameters()),
        }
        if place.exists():
            files.write_json(told, cost)
        return fitted, curves.collect(place), cost

    def judge(
        self,
        fitted: Engine,
        model: str,
        seed: int,
        *,
        shots: Sequence[int | None] | None = None,
        scenarios: Sequence[str] | None = None,
        name: str | None = None,
        keep: str | None = None,
    ) -> tuple[list[Json], Json]:
        """Judge a fitted model; keep its per-user results under `keep`.

        Returns:
            rows of quality, and {adapt_s, rank_s} over all scenarios.
        """
        found = evaluate(
            fitted,
            self.split,
            scenarios="all" if scenarios is None else scenarios,
            k=self.k,
            metric_names=METRICS,
            shots=shots,
            model=name or model,
            seed=None if MODELS[model].deterministic else seed,
        )
        if keep is not None:
            save(found, self.folder / "kept" / keep)
        return quality(found), _times(found)

    def fit_and_judge(
        self, desk: Desk, model: str, seed: int, rule: Json, changes: Json | None = None, name: str | None = None
    ) -> list[Json]:
        """Fit a model, judge it in all scenarios, keep the users' values; return rows of quality, cost and curves."""
        key, shown = key_of(rule), name or model
        taken = self._taken_over(desk, model, seed, key, changes, shown)
        if taken is not None:
            return _written(shown, rule["seed"], *taken)
        fitted, found, cost = self.fit(desk, model, seed, key, changes)
        desk.tell("judging")
        rows, times = self.judge(fitted, model, seed, name=name, keep=key)
        return _written(shown, rule["seed"], rows, {**cost, **times}, found)

    def _taken_over(
        self, desk: Desk, model: str, seed: int, key: str, changes: Json | None, name: str
    ) -> tuple[list[Json], Json | None, list[Json]] | None:
        """Take over what `compare` kept of these settings: rows of quality, costs, learning curves; None if it kept nothing."""
        if self.compared is None:
            return None
        run = kept_run(self.compared, self.split, model, self.settings_of(model, changes), seed, self.k, desk.remark)
        if run is None:
            return None
        evaluation, cost, folder = run
        evaluation = replace(evaluation.at(self.k), model=name)
        save(evaluation, self.folder / "kept" / key)
        rows = quality(evaluation)
        told = None
        if cost is not None:
            told = {k: v if isinstance(v, str) else round(v, 3) for k, v in cost.items()} | _times(evaluation)
        return rows, told, curves.collect(folder)


def _times(found: Evaluation) -> Json:
    """Return {adapt_s, rank_s} over all scenarios."""
    return {
        "adapt_s": round(sum(r.adapt_s for r in found.results), 3),
        "rank_s": round(sum(r.rank_s for r in found.results), 3),
    }


def _written(name: str, seed: int | None, rows: list[Json], cost: Json | None, found: list[Json]) -> list[Json]:
    """Return the rows of a unit: quality, cost if it is known, learning curves."""
    who = {"model": name, "seed": seed}
    costs = [] if cost is None else [{"what": "cost", **who, **cost}]
    return [*rows, *costs, *({"what": "curve", **who, **curve} for curve in found)]


def save(found: Evaluation, folder: Path) -> None:
    """Keep an evaluation; one that a killed run left behind without a row is replaced."""
    found.save(folder, overwrite=folder.exists())


def quality(found: Evaluation) -> list[Json]:
    """Return the rows of an evaluation's metrics."""
    return [{"what": "quality", **row} for row in found.rows if row["metric"] in METRICS]


def ordered(models: Sequence[str]) -> tuple[str, ...]:
    """Return registry names once each, in the order of tables: floors, the others, ours.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in models:
        if name not in MODELS:
            raise ConfigError("model", repr(name), expected=f"one of {', '.join(sorted(MODELS))}", fix="Check the spelling.")
    others = [name for name in dict.fromkeys(models) if name not in FLOORS and name not in OURS]
    return (*(n for n in FLOORS if n in models), *others, *(n for n in OURS if n in models))


def block_of(model: str) -> int:
    """Return in which block of a table a model stands: 0 floors, 1 the others, 2 ours."""
    return 0 if model in FLOORS else 2 if model in OURS else 1


def claim(folder: Path, identity: Json, about: Json, k: int) -> None:
    """Make a run folder, or check that an existing one belongs to the same data, cut, protocol and cut-off.

    Raises:
        DataError: it belongs to something else, or is no run folder.
    """
    path = folder / "manifest.json"
    if folder.exists() and not folder.is_dir():
        raise DataError(str(folder), "a file", expected="a run folder or a new one", fix="Name another folder.")
    if not path.exists():
        if folder.exists() and any(entry.suffix == ".jsonl" for entry in folder.iterdir()):
            raise DataError(
                str(folder), "rows without a manifest", expected="a run folder or a new one", fix="Name another folder."
            )
        files.write_json(path, {"kind": "experiments", "format": 1, **identity, "k": k, "mask": MASK, "ties": TIES, **about})
        return
    manifest = files.read_json(path, what="run manifest")
    if manifest.get("kind") != "experiments":
        raise DataError(
            str(folder),
            f"a folder of kind {manifest.get('kind')!r}",
            expected="a run folder or a new one",
            fix="Give the folder for the results here, and the split as --data.",
        )
    for name, what in (("protocol", "protocol"), ("data", "data"), ("split", "split")):
        if manifest.get(name) != identity[name]:
            raise DataError(
                str(path),
                f"runs of the {what} {str(manifest.get(name))[:12]!r}",
                expected=f"{what} {str(identity[name])[:12]!r}",
                fix="Keep the runs of each data set and protocol in a folder of their own.",
            )

    if manifest.get("k", k) != k:
        raise DataError(
            str(path),
            f"runs with lists cut off at {manifest['k']}",
            expected=f"{k}, as asked for",
            fix=f"Say -k {manifest['k']}, or name another folder.",
        )
    before = "support" if manifest.get("protocol") == "paper" else MASK  # what it was when manifests did not say so
    if (found := manifest.get("mask", before)) != MASK:
        raise DataError(
            str(path),
            f"runs that were judged with {found!r} left out of each list",
            expected=f"{MASK!r}, as it is now",
            fix="Name another folder; docs/decisions/0008-protocols.md says what changed.",
        )
    if (found := manifest.get("ties", "row")) != TIES:
        raise DataError(
            str(path),
            f"runs whose ties were broken by {found}",
            expected=f"by {TIES}, as they are now",
            fix="Name another folder; docs/decisions/0008-protocols.md says what changed.",
        )
    if "reference" in about and "reference" not in manifest:  # made before manifests said so
        files.write_json(path, {**manifest, "reference": about["reference"]})


def session() -> Json:
    """Return when, where and with what this program runs."""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return {
        "date": today(),
        "command": invocation("metakg.experiments.suite.experiment"),
        "machine": f"{machine()}{load}",
        "versions": versions("torch", "numpy", "scipy"),
    }


Units = Callable[[Lab], list[Any]]
"""What an experiment module offers as `units`."""


def journals(lab: Lab, names: Sequence[str], *, resume: bool) -> dict[str, Journal]:
    """Open the rows files of some experiments.

    Raises:
        DataError: one of them is damaged, of something else, or there already and `resume` is off.
    """
    opened: dict[str, Journal] = {}
    if not resume:
        for name in names:  # all of them before any is made
            refuse_rows(lab.folder / f"{name}.jsonl")
    try:
        for name in names:
            opened[name] = Journal(
                lab.folder / f"{name}.jsonl", {"experiment": name, "k": lab.k, **lab.identity}, resume=resume
            )
    except BaseException:
        for journal in opened.values():
            journal.close()
        raise
    return opened
