"""Try settings of a learnt model on the validation scenarios of a split; print one line for each trial.

    python benchmarks/choices.py SPLIT --model metakg --settings settings/last-fm.toml \
        --trial "as chosen" --trial "no inner step: inner_lr=0" --trial "no scheduler: training.scheduler=null"

A trial is a name, optionally followed by a colon and settings as on the command line, with spaces between. The figure is the
mean of Recall@20 and NDCG@20 over the validation scenarios, as in `benchmarks/floors.py`. No query of the split itself is
looked at.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from metakg.cli.common import merged, model_settings, settings_from
from metakg.engine import fit
from metakg.evaluation import evaluate
from metakg.splits import load


def main() -> None:
    """Run the trials, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--model", default="metakg")
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trial", action="append", required=True)
    arguments = parser.parse_args()
    validation = load(arguments.split).validation
    if validation is None:
        parser.error("this split has no validation part")
    base = model_settings(arguments.settings, None).get(arguments.model, {})
    for trial in arguments.trial:
        name, _, words = trial.partition(":")
        begin = time.perf_counter()
        fitted = fit(arguments.model, validation.train, seed=arguments.seed, **merged(base, settings_from(words.split())))
        fit_s = time.perf_counter() - begin
        found = evaluate(fitted, validation, k=20, metric_names=("recall", "ndcg"))
        means = {(r["scenario"], r["metric"]): r["mean"] for r in found.rows if r["metric"] in ("recall", "ndcg")}
        text = "  ".join(f"{s} {means[s, 'recall']:.4f}/{means[s, 'ndcg']:.4f}" for s in validation.scenarios)
        judge_s = time.perf_counter() - begin - fit_s
        figure = float(np.mean(list(means.values())))
        print(f"{figure:.4f}  {name}  (fit {fit_s:.0f} s, judge {judge_s:.0f} s)  {text}", flush=True)


if __name__ == "__main__":
    main()
