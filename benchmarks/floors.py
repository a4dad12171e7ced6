"""Choose the floors' few settings on validation scenarios, one setting after the other, and print every trial.

    python benchmarks/floors.py SPLIT

The figure of a trial is the mean of Recall@20 and NDCG@20 over the validation scenarios of the split. A setting is changed only
for a gain of more than 0.001; among equals the first (simplest) value stays. No query of the split itself is looked at.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from metakg.data import Split
from metakg.engine import fit
from metakg.evaluation import evaluate
from metakg.splits import load

GRIDS: dict[str, dict[str, list[Any]]] = {
    "item-knn": {"user_exponent": [0.5, 0.0, 1.0], "item_exponent": [0.4, 0.5, 0.3], "history_weight": [0.05, 0.0, 0.2, 1.0]},
    "kg-knn": {
        "fact_exponent": [0.5, 0.25, 0.75],
        "rarity": [1.0, 0.75, 1.25],
        "relation_exponent": [0.5, 0.0, 0.25, 1.0],
        "hops": [1, 2],
        "history_weight": [0.2, 0.05, 1.0],
    },
    "walk": {"steps": [2, 4], "click_weight": [2.0, 1.0, 4.0], "history_weight": [0.05, 0.0, 0.2, 1.0]},
    "blend": {
        "trust_unclicked": [0.5, 0.0, 0.25, 1.0],
        "item_knn_weight": [0.5, 0.25, 0.0],
        "kg_knn_weight": [0.5, 0.25, 1.0],
        "history_weight": [0.05, 0.0, 0.2],
        "newness": [0.0, 0.5, 0.75, 1.0],
    },
}
GAIN = 0.001


def trial(split: Split, model: str, settings: dict[str, Any]) -> tuple[float, str]:
    """Return the figure of one setting, and its values by scenario for the log."""
    found = evaluate(fit(model, split.train, **settings), split, k=20, metric_names=("recall", "ndcg"))
    means = {(r["scenario"], r["metric"]): r["mean"] for r in found.rows if r["metric"] in ("recall", "ndcg")}
    text = "  ".join(f"{name} {means[name, 'recall']:.4f}/{means[name, 'ndcg']:.4f}" for name in split.scenarios)
    return float(np.mean(list(means.values()))), text


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--models", default=",".join(GRIDS))
    arguments = parser.parse_args()
    validation = load(arguments.split).validation
    if validation is None:
        parser.error("this split has no validation part")
    for model in arguments.models.split(","):
        chosen: dict[str, Any] = {}
        best = -1.0
        for name, values in GRIDS[model].items():
            winner = values[0]
            for value in values if best < 0 else values[1:]:
                begin = time.perf_counter()
                figure, text = trial(validation, model, {**chosen, name: value})
                print(f"{model:9s} {figure:.4f}  {name}={value}  ({time.perf_counter() - begin:.1f} s)  {text}", flush=True)
                if figure > best + (GAIN if best >= 0 else 0.0):
                    best, winner = figure, value
            chosen[name] = winner
        print(f"{model:9s} {best:.4f}  chosen: {chosen}", flush=True)


if __name__ == "__main__":
    main()
