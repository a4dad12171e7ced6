"""How good the BPR vectors are that most baselines start from, on the validation scenario of new users, after so many epochs.

    python benchmarks/bpr_start.py SPLIT --decays 1e-5,3e-3 --epochs 40,120

A user is the mean of the vectors of his support, the items are those of the training pairs, his support is left out: what a
model finds that starts there before it has learnt anything itself. Once with the vectors as they are, once with all of length
one. For choosing `training.bpr` once, for every model alike; no query of the split itself is looked at.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metakg import rng as random
from metakg.data import Scenario, TrainView
from metakg.models.nn.transr import xavier
from metakg.splits import load
from metakg.train.initialise import BprConfig, fit_bpr


def recall(items: Tensor, view: TrainView, scenario: Scenario, k: int = 20) -> float:
    """Return Recall@k of the mean of the support's vectors: (I, D) -> share."""
    shape = (view.n_users, view.n_items)
    support, query = (pairs.csr(*shape)[scenario.users] for pairs in (scenario.support, scenario.query))
    trained = torch.from_numpy(view.popularity > 0)
    found = []
    for start in range(0, len(scenario.users), 512):
        mine, asked = support[start : start + 512], query[start : start + 512]
        scores = torch.from_numpy(mine.toarray()).float() @ items @ items.T  # the sum ranks as the mean does
        scores[:, ~trained] = -torch.inf
        rows, columns = mine.nonzero()
        scores[torch.from_numpy(rows), torch.from_numpy(columns)] = -torch.inf
        best = scores.topk(k).indices.numpy()
        hits = np.take_along_axis(asked.toarray(), best, axis=1) > 0
        found.append(hits.sum(1) / np.diff(asked.indptr))
    return float(np.concatenate(found).mean())


def main() -> None:
    """Fit and print; the epochs of one setting are one fit that goes on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rates", default="3e-3")
    parser.add_argument("--decays", default="1e-5,1e-3,3e-3,1e-2")
    parser.add_argument("--hardest", default="1")
    parser.add_argument("--epochs", default="40,120", help="ascending")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    whole = load(given.split)
    split = whole.validation
    if split is None:
        parser.error("this split has no validation part")
    if whole.protocol != "paper":
        parser.error("this reads splits of the paper protocol, where all ids are known from the start")
    view, scenario = split.train, split.scenarios["user_cold"]
    n_nodes = view.n_users + view.n_items
    words = (given.rates, given.decays, given.hardest)
    for rate, decay, hardest in itertools.product(*([float(word) for word in text.split(",")] for text in words)):
        rows = xavier(n_nodes, given.dim, rng=random.torch_generator(given.seed, "bpr/init"))
        done, begin = 0, time.perf_counter()
        for epochs in map(int, given.epochs.split(",")):
            config = BprConfig(epochs=epochs - done, learning_rate=rate, weight_decay=decay, hardest=int(hardest))
            rows = fit_bpr(view.interactions, view.n_users, view.n_items, config, rows, given.seed + done)
            items, done = rows[view.n_users :], epochs
            plain, normal = (recall(v, view, scenario) for v in (items, torch.nn.functional.normalize(items, dim=1)))
            took = time.perf_counter() - begin
            print(
                f"rate {rate:g}  decay {decay:g}  hardest of {hardest:g}  epochs {epochs:4d}  {took:5.0f} s  "
                f"recall@20 {plain:.4f}  at length one {normal:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
