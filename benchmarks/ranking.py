"""Full ranking from vectors to metrics, against the bare float32 product plus `torch.topk` in the same process.

    python benchmarks/ranking.py [--users 1749 --items 48123 --width 192 --repeats 9]

The sizes are those of the user_item_cold scenario of Last-FM. The bare product returns no more than an unordered-tie top K of
all items; ours also leaves out each user's own items, breaks ties by item (the lots that `evaluate` draws are not timed), and
computes six metrics. Both are timed in turn, so that a busy machine slows both, and peak memory is that of a process which
does nothing else. Vectors are either random (no structure: every item must be looked at) or clustered (scores crowd, as those
of a trained model do).
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metakg.data import IdMap, Interactions, KnowledgeGraph, TrainView, Vocabulary
from metakg.evaluation.inner_product import screen_dtype
from metakg.evaluation.metrics import compute, find_hits
from metakg.evaluation.ranking import rank
from metakg.models.base import ModelConfig, Recommender

K = 20
QUERY = 10
SUPPORT = 19


class Vectors(Recommender):
    """A recommender that is nothing but two tables of vectors."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        of_users, of_items = (IdMap([str(row) for row in range(len(table))]) for table in (users, items))
        vocabulary = Vocabulary(of_users, of_items, IdMap(of_items.array), IdMap([]))
        view = TrainView(vocabulary, Interactions.empty(), KnowledgeGraph.empty())
        super().__init__(ModelConfig(kind="vectors"), view, torch.Generator())
        self.users, self.items = users, items

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two tables: (B,) -> (B, D), (I, D)."""
        return self.users[users], self.items


def make(sizes: argparse.Namespace, kind: str) -> tuple[Tensor, Tensor]:
    """Return user vectors (U, D) and item vectors (I, D)."""
    rng = torch.Generator().manual_seed(1)
    users, items = (torch.randn(n, sizes.width, generator=rng) for n in (sizes.users, sizes.items))
    if kind == "clustered":
        centres = torch.randn(200, sizes.width, generator=rng)
        users = 0.5 * users + centres[torch.randint(200, (sizes.users,), generator=rng)]
        items = 0.2 * items + centres[torch.randint(200, (sizes.items,), generator=rng)]
    return users, items


def bare(sizes: argparse.Namespace, kind: str) -> Callable[[], object]:
    """Return the reference: one float32 product of everything, and torch's top K."""
    users, items = make(sizes, kind)
    return lambda: (users @ items.T).topk(K, dim=1)


def ours(sizes: argparse.Namespace, kind: str, precision: Literal["auto", "float32"] = "auto") -> Callable[[], object]:
    """Return our way: masked exact ranking and six metrics for each user."""
    model, rng = Vectors(*make(sizes, kind)), np.random.default_rng(1)
    everyone = np.arange(sizes.users, dtype=np.int32)
    masked = [rng.choice(sizes.items, SUPPORT, replace=False).astype(np.int32) for _ in everyone]
    asked = np.concatenate([rng.choice(sizes.items, QUERY, replace=False) for _ in everyone])
    asking = np.repeat(everyone, QUERY)

    def run() -> object:
        ranked = rank(model, everyone, K, masked, precision=precision)
        return compute(*find_hits(ranked.items, asking, asked), [K])

    return run


WAYS: dict[str, Callable[[argparse.Namespace, str], Callable[[], object]]] = {
    "bare float32 product + topk": bare,
    "metakg, vectors to metrics": ours,
    "the same, float32 screen": lambda sizes, kind: ours(sizes, kind, "float32"),
}


def peak_mb(way: str, sizes: argparse.Namespace, kind: str) -> float:
    """Return the peak memory that one run adds to a fresh process, in MB.

    A process inherits the peak of the one that started it, so this must come before anything large.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (way, sizes, kind))


def _peak_here(way: str, sizes: argparse.Namespace, kind: str) -> float:
    run = WAYS[way](sizes, kind)
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # what the libraries set up once belongs to nobody
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Run the benchmark and print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1749)
    parser.add_argument("--items", type=int, default=48_123)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=9)
    sizes = parser.parse_args()
    dtype = str(screen_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, screened in {dtype}")
    print(f"{sizes.users:,} users x {sizes.items:,} items, width {sizes.width}, top {K}; medians of {sizes.repeats}")
    kinds = ("random", "clustered")
    memory = {(way, kind): peak_mb(way, sizes, kind) for kind in kinds for way in WAYS}
    for kind in kinds:
        runs = {way: build(sizes, kind) for way, build in WAYS.items()}
        seconds: dict[str, list[float]] = {way: [] for way in runs}
        for repeat in range(sizes.repeats + 1):
            for way, run in runs.items():
                start = time.perf_counter()
                run()
                if repeat:  # the first round warms up
                    seconds[way].append(time.perf_counter() - start)
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        reference = medians["bare float32 product + topk"]
        for way, median in medians.items():
            print(
                f"{kind:10s} {way:28s} {median * 1e3:7.0f} ms (best {min(seconds[way]) * 1e3:5.0f})  "
                f"{median / reference:5.2f} x bare  +{memory[way, kind]:5.0f} MB"
            )


if __name__ == "__main__":
    main()
