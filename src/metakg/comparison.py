"""`compare`: several models, several seeds, one split, one table."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from metakg import files, session
from metakg.data import Split
from metakg.errors import ConfigError, DataError
from metakg.evaluation import Evaluation, evaluate
from metakg.evaluation.evaluator import Shots, check_rules
from metakg.evaluation.report import DAGGER, aggregate, best_floor, grid, means_of, rules_of, tables
from metakg.evaluation.result import MASK, TIES, notes_of
from metakg.evaluation.significance import compare_models
from metakg.heap import peak_bytes
from metakg.models.registry import FLOORS, MODELS
from metakg.splits.store import fingerprint
from metakg.train.checkpoint import view_fingerprint
from metakg.train.fit import check_available, fit, settings_for, trains_on_cards
from metakg.train.spent import spending
from metakg.train.starts import Starts, sharing_starts
from metakg.train.trials import Searched
from metakg.types import Json

REFERENCES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "last-fm": {
        "user_cold": {"recall": 0.3927, "ndcg": 0.3598},
        "item_cold": {"recall": 0.4780, "ndcg": 0.4616},
        "user_item_cold": {"recall": 0.4227, "ndcg": 0.4287},
        "warm": {"recall": 0.4221, "ndcg": 0.4176},
    }
}
"""Table 3 of the MetaKG paper (TKDE 2022), row MetaKG, Recall@20 and NDCG@20. Context, not truth: see docs/protocols.md."""

_SIZES = {"last-fm": (23_566, 48_123)}
"""Users and items of the data that they are of."""

PRINTED = "the paper's MetaKG, as printed"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One model under one seed, judged.

    Attributes:
        evaluation: the results, per user.
        fit_s: seconds to fit.
        seconds: seconds in all.
        peak_gb: largest memory of the process until its end, in GB.
        device: what trained and judged it: "CPU", or the name of a card.
        epochs: how many it was trained, and how many it adapts to a scenario; None where there are none.
        kept: the date when an earlier call made it, by whatever the code was then; None where this call did.
    """

    evaluation: Evaluation
    fit_s: float
    seconds: float
    peak_gb: float
    device: str = "CPU"
    epochs: tuple[int | None, int | None] = (None, None)
    kept: str | None = None


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """What `compare` found.

    Attributes:
        runs: in the order asked for.
        k: the cut-off that tables show.
        facts: where and how they were made.
        searched: by model, the search that its settings come from; one that had not converged gets a mark in the tables.
    """

    runs: tuple[Run, ...]
    k: int
    facts: Json = field(default_factory=dict)
    searched: Mapping[str, Searched] = field(default_factory=dict)

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """The results of all runs."""
        return [run.evaluation for run in self.runs]

    @cached_property
    def rows(self) -> list[Json]:
        """{model, scenario, metric, k, mean, std, n_users, seeds, protocol, shots, mask, candidates}, seeds taken together."""
        return aggregate(row for evaluation in self.evaluations for row in evaluation.rows)

    def __repr__(self) -> str:
        judged = [f"{e.model}{'' if e.seed is None else f' (seed {e.seed})'}" for e in self.evaluations]
        return f"Leaderboard({', '.join(judged)})"

    def __str__(self) -> str:
        """Return the tables, tests, costs and the footer."""
        return f"{self.text()}\n{self.footer()}"

    def best(self, metric: str = "recall") -> str:
        """Return the model with the highest mean over scenarios; of equal ones, the one judged first."""
        means = means_of(self._shown(), metric)
        return max(means, key=lambda name: means[name])

    def best_floor(self, metric: str = "recall") -> str | None:
        """Return the floor with the highest mean over scenarios, or None if none was judged."""
        return best_floor(self._shown(), FLOORS, metric)

    def _shown(self) -> list[Json]:
        """Return the rows at the cut-off of the tables."""
        return [row for row in self.rows if row["k"] == self.k]

    def against(self, baseline: str, metric: str = "recall") -> list[Json]:
        """Return the paired tests of every other model against one, corrected for their number."""
        chosen = [e for e in self.evaluations if e.model == baseline]
        if not chosen:
            raise ConfigError("baseline", repr(baseline), expected="a model that was judged", fix="Add it to the models.")
        others = [e for e in self.evaluations if e.model != baseline]
        return compare_models(others, chosen, metric=metric, k=self.k) if others else []

    def text(self, *, markdown: bool = False, reference: str | None = None, against: str | None = None) -> str:
        """Return the tables for people: one for recall and one for NDCG, paired tests, and what was judged.

        Args:
            markdown: for a page, or for a terminal.
            reference: published figures to print beside.
            against: a model that the others are tested against too, beside the best floor.

        Raises:
            ConfigError: there are no such figures, or no such model was judged.
        """
        floor = self.best_floor()
        parts = [self.table(metric, markdown=markdown, reference=reference) for metric in ("recall", "ndcg")]
        if len({e.model for e in self.evaluations}) > 1:
            tested = dict.fromkeys(name for name in (floor, against) if name is not None)
            parts += [self._tests(name, markdown=markdown) for name in tested]
        parts.append(self._costs(markdown=markdown))
        if self.searched:
            parts.append(self._searches(markdown=markdown))
        about = [self.legend(markdown=markdown), rules_of(self.rows), *(result.about for result in self.evaluations[0].results)]
        parts.append("\n".join(f"{'- ' if markdown else ''}{line}" for line in about if line) + "\n")
        models = dict.fromkeys(e.model for e in self.evaluations)
        notes = dict.fromkeys(
            [
                *self._unfinished(),
                *self._fewer(),
                *self._elsewhere(),
                *(note for model in models for note in notes_of([e for e in self.evaluations if e.model == model])),
            ]
        )
        if notes:
            parts.append("\n".join(f"{'- ' if markdown else 'note: '}{note}" for note in notes) + "\n")
        return "\n".join(parts)

    def table(self, metric: str, *, markdown: bool = False, reference: str | None = None) -> str:
        """Return models by scenarios in one metric, with marks where a model differs from the best floor.

        Raises:
            ConfigError: there are no published figures of this name.
        """
        if reference:
            check_reference(reference)
        printed = {f"{PRINTED} (@20)": REFERENCES[reference]} if reference else None
        baseline = self.best_floor()
        tests = self.against(baseline, metric) if baseline else []
        marked = [name for name, search in self.searched.items() if not search.converged]
        how: dict[str, Any] = {"comparisons": tests, "marked": marked, "printed": printed, "markdown": markdown}
        return tables(self.rows, [(metric, self.k)], floors=FLOORS, **how)

    def legend(self, *, markdown: bool = False) -> str:
        """Return one line that says what the marks of the tables mean, or nothing where no model was tested."""
        baseline = self.best_floor()
        if baseline is None or len({e.model for e in self.evaluations}) == 1:
            return ""
        marks = ", ".join("\\*" * n if markdown else "*" * n for n in (1, 2, 3))
        return (
            f"{marks}: different from {baseline}, the floor with the highest mean recall over the scenarios, with p < 0.05, "
            f"0.01, 0.001 in both paired tests, corrected for their number; {'in bold' if markdown else '<'}: "
            "the best of its scenario."
        )

    def _tests(self, baseline: str, *, markdown: bool) -> str:
        """Return the paired tests of the other models against one: of recall with intervals, and of NDCG."""
        names = ("better", "worse", "NDCG gained", "p (t)", "p (Wilcoxon)")
        header = [f"against {baseline}", "scenario", "recall gained", "95 % interval", "p (t)", "p (Wilcoxon)", *names]
        ndcg = {(row["model"], row["scenario"], row["shots"]): row for row in self.against(baseline, "ndcg")}

        def p_values(row: Json) -> list[str]:
            return ["" if row[name] is None else f"{row[name]:.2g}" for name in ("t_p", "wilcoxon_p")]

        body = []
        for row in self.against(baseline):
            interval = f"{row['low']:+.4f} to {row['high']:+.4f}" if row["low"] is not None else row["remark"]
            scenario = row["scenario"] if row["shots"] is None else f"{row['scenario']} at {row['shots']}"
            other = ndcg[row["model"], row["scenario"], row["shots"]]
            of_recall = [f"{row['difference']:+.4f}", interval, *p_values(row), f"{row['wins']:,}", f"{row['losses']:,}"]
            body.append([row["model"], scenario, *of_recall, f"{other['difference']:+.4f}", *p_values(other)])
        return grid(header, body, markdown=markdown)

    def _costs(self, *, markdown: bool) -> str:
        """Return the seconds of every run, and how many epochs it was trained and adapts."""
        body = []
        for run in self.runs:
            adapt_s = sum(result.adapt_s for result in run.evaluation.results)
            rank_s = sum(result.rank_s for result in run.evaluation.results)
            seed = "-" if run.evaluation.seed is None else str(run.evaluation.seed)
            epochs = ["" if number is None else str(number) for number in run.epochs]
            body.append([run.evaluation.model, seed, f"{run.fit_s:.1f}", f"{adapt_s:.1f}", f"{rank_s:.1f}", *epochs])
        header = ["seconds", "seed", "fit", "adapt", "rank", "epochs of training", "of adapting"]
        return grid(header, body, markdown=markdown)

    def _searches(self, *, markdown: bool) -> str:
        """Return what each search took and came to."""
        body = []
        for name, search in self.searched.items():
            best = search.best
            found = ["-"] * 3 if best is None else [f"{best.score:.4f}", str(best.best_epoch), str(best.epochs[-1])]
            body.append(
                [name, str(len(search.trials)), f"{search.seconds / 60:.0f}", *found, "yes" if search.converged else "no"]
            )
        header = ["search", "trials", "minutes", "best on validation", "at epoch", "of", "converged"]
        return grid(header, body, markdown=markdown)

    def _fewer(self) -> list[str]:
        """Say of which models there are fewer seeds than of others."""
        seeds: dict[str, int] = {}
        for evaluation in self.evaluations:
            if evaluation.seed is not None:
                seeds[evaluation.model] = seeds.get(evaluation.model, 0) + 1
        most = max(seeds.values(), default=0)
        return [f"{name}: {n} of {most} seeds." for name, n in seeds.items() if n < most]

    def _unfinished(self) -> list[str]:
        """Say what the mark at a model's name means."""
        if all(search.converged for search in self.searched.values()):
            return []
        why = "not converged: the last validation of its best trial was the best one, and more epochs may do better"
        return [f"{DAGGER.strip()} {why}."]

    def _elsewhere(self) -> list[str]:
        """Say which runs were not the CPU's."""
        found: dict[str, list[str]] = {}
        for run in self.runs:
            if run.device != "CPU":
                found.setdefault(run.device, []).append(run.evaluation.model)
        return [
            f"Trained, adapted and ranked on {device}, which their seconds are of: {', '.join(dict.fromkeys(names))}."
            for device, names in found.items()
        ]

    def footer(self) -> str:
        """Return where and how the numbers were made, in one paragraph."""
        f = self.facts
        peak = f"peak memory {f['peak_gb']:.1f} GB" if f["peak_gb"] else "peak memory not kept"
        return (
            f"Made on {f['date']} by `{f['command']}`: {f['machine']}; metakg {f['metakg']}, torch {f['torch']}, "
            f"Python {f['python']}; data {f['data'][:12]}, split seed {f['split_seed']}; {f['seconds']:.0f} s in all, "
            f"{peak}.{self._kept()}"
        )

    def _kept(self) -> str:
        """Return how many of the runs earlier calls had made, and since when."""
        dates = [run.kept for run in self.runs if run.kept is not None]
        if not dates:
            return ""
        since = min(dates) if min(dates) == max(dates) else f"{min(dates)} to {max(dates)}"
        return f" {len(dates)} of {len(self.runs)} runs were kept from earlier calls, made {since}."


def check_reference(name: str) -> None:
    """Refuse a name that no published figures have.

    Raises:
        ConfigError: it is none of `REFERENCES`.
    """
    if name not in REFERENCES:
        raise ConfigError("reference", repr(name), expected=f"one of {', '.join(REFERENCES)}", fix="Check the spelling.")


def reference_of(split: Split) -> str | None:
    """Return the name of the published figures that were made on these data in these scenarios, or None."""
    v = split.dataset.vocabulary
    known = (name for name, sizes in _SIZES.items() if sizes == (v.n_users, v.n_items) and split.protocol == "paper")
    return next(known, None)


def compare(
    split: Split,
    models: Sequence[str] = FLOORS,
    *,
    seeds: Sequence[int] = (1,),
    fewer: Mapping[str, int] | None = None,
    scenarios: Literal["all"] | Sequence[str] = "all",
    k: int = 20,
    shots: Sequence[Shots] | None = None,
    mask: Literal["support", "support+train"] | None = None,
    candidates: Literal["all", "scenario"] = "all",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    keep: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    searched: Mapping[str, Searched] | None = None,
) -> Leaderboard:
    """Fit and judge models under one protocol, with the same data, candidates and masks for all.

    Args:
        split: the data, cut.
        models: registry names.
        seeds: each learnt model is fitted once for each different one; a model without randomness once.
        fewer: models that are fitted for the first so many seeds alone; a note says so.
        scenarios: names, or "all".
        k: cut-off of the tables; 1, 5, 10 and this are all measured.
        shots: numbers of revealed support pairs, for k-shot curves, or "all"; by default the scenario's own rule.
        mask: see `evaluate`; by default as the protocol says.
        candidates: rank all items, or only those that can be right in the scenario.
        settings: by model name, settings that differ from the defaults.
        keep: a folder for every finished run; a later call with the same folder skips what is done. BPR vectors that several
            models start from are fitted once a seed, here or in another process with this folder, and count in the seconds of
            each model.
        progress: called with one line before each step.
        device: where networks are trained, adapted and judged, such as "cuda"; what only works on the CPU stays there. A kept
            run counts wherever it was made; a note names the card.
        searched: by model, the search that its settings come from (`metakg.train.trials.searches`).

    Raises:
        ConfigError: a model, a setting or the device is unknown.
        DataError: `keep` holds runs of other data, settings or rules; or another process is at the same run in it.
        LeakageError: a query pair is visible to something that learns or ranks.
    """
    settings, seeds = settings or {}, list(dict.fromkeys(seeds))
    if not models or not seeds:
        what = "models" if not models else "seeds"
        raise ConfigError(what, "none", expected="at least one", fix="Name some, such as blend." if not models else "Name one.")
    check_available(device)
    check_rules(split, scenarios, mask, candidates)
    resolved = {name: settings_for(name, dict(settings.get(name, {}))) for name in models}  # all checked before any runs
    unused = set(settings) - set(models)
    if unused:
        raise ConfigError("settings", ", ".join(sorted(unused)), expected="models that are compared", fix="Check the spelling.")
    ks = sorted({1, 5, 10, k})
    cut = identify(split)
    runs, starts = [], Starts(None if keep is None else keep / "starts")

    def judged(name: str, seed: int, rule: Json, folder: Path | None, log: Path | None) -> Run:
        if progress:
            progress(f"{name}, seed {seed}: fit")
        start = time.perf_counter()
        report = None if progress is None else _named(progress, f"{name}, seed {seed}")
        config, training = resolved[name]
        its_device = device if trains_on_cards(training) else "cpu"
        how: dict[str, Any] = {"folder": log, "resume": log is not None, "device": its_device, "stay": True}
        with spending(log) as spent, sharing_starts(starts):
            fitted = fit(config, training, split.train, seed, report=report, **how)
        earlier_s = max(0.0, spent.wall_s - (time.perf_counter() - start))
        if progress:
            progress(f"{name}, seed {seed}: judge")
        found = evaluate(
            fitted,
            split,
            scenarios=scenarios,
            k=ks,
            shots=shots,
            mask=mask,
            candidates=candidates,
            seed=None if MODELS[name].deterministic else seed,
        )
        took: Json = {
            "fit_s": spent.wall_s,
            "seconds": earlier_s + time.perf_counter() - start,
            "peak_gb": peak_bytes() / 2**30,
            "device": "CPU" if its_device == "cpu" else torch.cuda.get_device_name(its_device),
        }
        if folder is not None and log is not None:
            with files.atomic_folder(folder) as temporary:
                found.save(temporary / "evaluation")
                for path in log.rglob("log.jsonl"):  # one for each phase of the training
                    place = temporary / "log" / path.relative_to(log)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place)
                size = sum(p.numel() for p in fitted.parameters())
                cost = {**took, "cpu_s": spent.cpu_s, "parameters": size, "epochs": spent.epochs, "made": session.today()}
                files.write_json(temporary / "manifest.json", {"kind": "run", "rule": rule, **cost})
            shutil.rmtree(log, ignore_errors=True)
        return Run(found, **took, epochs=_epochs(rule, spent.epochs))

    for name in dict.fromkeys(models):
        for seed in seeds[:1] if MODELS[name].deterministic else seeds[: (fewer or {}).get(name)]:
            rule = _rule(split, name, settings.get(name, {}), seed, ks, shots, scenarios, mask, candidates, cut)
            if keep is None:
                runs.append(judged(name, seed, rule, None, None))
                continue
            folder = keep / f"{name}-{seed}"
            if not folder.exists():
                log = folder.with_name(f"{folder.name}.training")
                with files.alone(log):
                    if not folder.exists():  # or another process has just finished it
                        runs.append(judged(name, seed, rule, folder, log))
                        continue
                    shutil.rmtree(log, ignore_errors=True)
            runs.append(_resume(folder, rule, split))
    return Leaderboard(tuple(runs), k, _facts(split, cut["data"], runs), searched or {})


def identify(split: Split) -> Json:
    """Return what a split is: its protocol, and hashes of the data and of everything that was cut from it."""
    digest = hashlib.blake2b(view_fingerprint(split.train).encode(), digest_size=16)
    for name, scenario in split.scenarios.items():
        digest.update(name.encode())
        for pairs in (scenario.support, scenario.query):
            digest.update(np.ascontiguousarray(pairs.users).data)
            digest.update(np.ascontiguousarray(pairs.items).data)
    return {"protocol": split.protocol, "data": fingerprint(split.dataset), "split": digest.hexdigest()}


def kept_run(
    keep: Path, split: Split, name: str, settings: Json, seed: int, k: int, remark: Callable[[str], None]
) -> tuple[Evaluation, Json | None, Path] | None:
    """Return a run that `compare` kept of a model with these settings, judged by the split's own rules, or None.

    `remark` is told of one that was kept under another rule, and in what it differs.

    Returns:
        the results, {fit_s, cpu_s, parameters} with the `device` where it was a card (None where an older version did not keep
        them), and the folder with the logs of its training.
    """
    folder = keep / f"{name}-{seed}"
    if not folder.exists():
        return None
    manifest = files.read_json(folder / "manifest.json", what="run manifest")
    rule = _rule(split, name, settings, seed, [k], None, "all", None, "all", identify(split))
    theirs = manifest.get("rule", {})
    other = [key for key in _different(theirs, rule, folder, split) if key != "k"]
    if k not in theirs.get("k", []):
        other.append("k")
    if other:
        remark(f"{folder} was kept under another rule ({', '.join(other)}) and is not taken over")
        return None
    cost: Json = {key: manifest[key] for key in ("fit_s", "cpu_s", "parameters") if key in manifest}
    if len(cost) == 3 and manifest.get("device", "CPU") != "CPU":
        cost["device"] = manifest["device"]
    return Evaluation.load(folder / "evaluation"), cost if len(cost) >= 3 else None, folder / "log"


def _rule(
    split: Split,
    name: str,
    settings: Mapping[str, Any],
    seed: int,
    ks: list[int],
    shots: Sequence[Shots] | None,
    scenarios: Literal["all"] | Sequence[str],
    mask: str | None,
    candidates: str,
    cut: Json,
) -> Json:
    """Return what decides the result of a run; all of it is kept beside the result."""
    config, training = settings_for(name, dict(settings))
    return {
        "model": config.model_dump(mode="json"),
        "training": None if training is None else training.model_dump(mode="json"),
        "seed": seed,
        "data": cut["data"],
        "split": split.manifest.get("options"),
        "cut": cut["split"],
        "k": ks,
        "shots": None if shots is None else list(shots),
        "scenarios": scenarios if scenarios == "all" else list(scenarios),
        "mask": mask or MASK,
        "candidates": candidates,
        "ties": TIES,
    }


def _named(progress: Progress, run: str) -> Progress:
    return lambda words: progress(f"{run}: {words}")


def _different(theirs: Json, rule: Json, folder: Path, split: Split) -> list[str]:
    """Return in what a kept run's rule differs; an older one, without a hash of the cut, is held to its users and answers."""
    other = sorted(key for key in rule if theirs.get(key) != rule[key])
    if "cut" in theirs or "cut" not in other:
        return other
    names, users = split.dataset.vocabulary.users, split.dataset.vocabulary.n_users
    for result in Evaluation.load(folder / "evaluation").results:
        scenario = split.scenarios.get(result.scenario)
        if scenario is None or not result.users.equals(names.take(scenario.users)):
            return other
        if not np.array_equal(result.relevant, np.bincount(scenario.query.users, minlength=users)[scenario.users]):
            return other
    return [key for key in other if key != "cut"]


def _resume(folder: Path, rule: Json, split: Split) -> Run:
    manifest = files.read_json(folder / "manifest.json", what="run manifest")
    different = _different(manifest.get("rule", {}), rule, folder, split)
    if different:
        raise DataError(
            str(folder),
            f"a run with another {' and '.join(different)}",
            expected="the same data, settings and rules",
            fix="Keep the runs of this comparison in another folder.",
        )
    found, fit_s = Evaluation.load(folder / "evaluation"), float(manifest["fit_s"])
    judged = sum(result.adapt_s + result.rank_s for result in found.results)
    return Run(
        found,
        fit_s,
        float(manifest.get("seconds", fit_s + judged)),
        float(manifest.get("peak_gb", 0.0)),
        manifest.get("device", "CPU"),
        _epochs(rule, manifest.get("epochs")),
        manifest.get("made") or time.strftime("%Y-%m-%d", time.localtime((folder / "manifest.json").stat().st_mtime)),
    )


def _epochs(rule: Json, ran: int | None) -> tuple[int | None, int | None]:
    """Return the epochs of training and of adapting that a run took; those of its settings where an older run did not tell."""
    training = rule["training"] or {}
    adapt = training.get("adapt") or {}
    steps = adapt.get("mode", "") != "none"
    return training.get("loop", {}).get("epochs") if ran is None else ran, adapt.get("epochs") if steps else None


def _facts(split: Split, data: str, runs: list[Run]) -> Json:
    return {
        "date": session.today(),
        "command": session.invocation("metakg.compare"),
        "machine": session.machine(),
        **session.versions("torch"),
        "data": data,
        "split_seed": split.manifest.get("options", {}).get("seed"),
        "seconds": sum(run.seconds for run in runs),
        "peak_gb": max(run.peak_gb for run in runs),
    }
