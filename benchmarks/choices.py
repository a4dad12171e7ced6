"""Try settings of a learnt model on the validation scenarios of a split; print one line for each trial.

    python benchmarks/choices.py SPLIT --model metakg --settings settings/last-fm.toml \
        --trial "as chosen" --trial "no inner step: inner_lr=0" --trial "no scheduler: training.scheduler=null"

A trial is a name, optionally followed by a colon and settings as on the command line, with spaces between. The figure is the
mean of Recall@20 and NDCG@20 over the validation scenarios (or those asked for), as in `benchmarks/floors.py`; with `--seeds`,
its mean and standard deviation over that many. No query of the split itself is looked at. Trials of `metakg-paper` that
differ in how it adapts (`training.adapt`) share one training; with `--keep FOLDER` it is kept there, to be gone on with or used
again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from metakg.cli.common import model_settings, settings_from
from metakg.data import TrainView
from metakg.evaluation import evaluate
from metakg.models.base import Recommender
from metakg.nesting import merged
from metakg.splits import load
from metakg.train.adapt import CoAdapting
from metakg.train.fit import fit, settings_for
from metakg.train.recipe import Recipe

METRICS = ("recall", "ndcg")


def main() -> None:
    """Run the trials, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--model", default="metakg")
    parser.add_argument("--settings", type=Path, action="append", help="repeat for more")
    parser.add_argument("--seeds", type=int, default=1, help="so many, from 1")
    parser.add_argument("--scenarios", nargs="+", help="only these")
    parser.add_argument("--keep", type=Path, help="where trainings of metakg-paper are kept")
    parser.add_argument("--trial", action="append", required=True)
    arguments = parser.parse_args()
    validation = load(arguments.split).validation
    if validation is None:
        parser.error("this split has no validation part")
    names = arguments.scenarios or list(validation.scenarios)
    base = model_settings(arguments.settings, None).get(arguments.model, {})
    fitted: dict[str, Recommender] = {}
    for trial in arguments.trial:
        name, _, words = trial.partition(":")
        settings = merged(base, settings_from(words.split()))
        figures, fit_s, judge_s = [], 0.0, 0.0
        for seed in range(1, arguments.seeds + 1):
            begin = time.perf_counter()
            recommender = fit_once(arguments.model, settings, validation.train, seed, fitted, arguments.keep)
            fit_s += time.perf_counter() - begin
            begin = time.perf_counter()
            found = evaluate(recommender, validation, scenarios=names, k=20, metric_names=METRICS)
            judge_s += time.perf_counter() - begin
            means = {(row["scenario"], row["metric"]): row["mean"] for row in found.rows}
            figures.append([[means[scenario, metric] for metric in METRICS] for scenario in names])
        by_seed = np.array(figures)  # (seeds, scenarios, metrics)
        mean = by_seed.mean(0)
        text = "  ".join(f"{scenario} {recall:.4f}/{ndcg:.4f}" for scenario, (recall, ndcg) in zip(names, mean, strict=True))
        noise = f" ± {by_seed.mean((1, 2)).std(ddof=1):.4f}" if arguments.seeds > 1 else ""
        print(f"{mean.mean():.4f}{noise}  {name}  (fit {fit_s:.0f} s, judge {judge_s:.0f} s)  {text}", flush=True)


def fit_once(
    model: str, settings: dict[str, Any], train: TrainView, seed: int, fitted: dict[str, Recommender], keep: Path | None
) -> Recommender:
    """Return a fitted recommender; one that was trained before, where a trial changes its adaptation alone."""
    config, how = settings_for(model, settings)
    if not isinstance(how, Recipe):
        return fit(config, how, train, seed)
    key = json.dumps([seed, config.model_dump(mode="json"), how.of_training(judged=False)])
    if key not in fitted:
        folder = None if keep is None else keep / hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
        fitted[key] = fit(config, how, train, seed, folder=folder, resume=folder is not None)
    trained = fitted[key]
    assert isinstance(trained, CoAdapting)
    return CoAdapting(trained.model, how.adapt, seed, how.online_rule())


if __name__ == "__main__":
    main()
