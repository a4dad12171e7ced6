"""What keeping freed memory is worth: the same training steps with and without `metakg.heap.kept`, by turns, in one process.

    python benchmarks/heap.py SPLIT [--models nfm,kgcn,kgat,ckan] [--steps 8] [--turns 3]

Steps are those of `metakg.train.loop.Loop`: draw, forward, backward, optimiser. Milliseconds of a step, the best turn of each,
and the peak memory of the process after all of them.
"""

from __future__ import annotations

import argparse
import resource
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from metakg import heap
from metakg import rng as random
from metakg.cli.common import open_split
from metakg.data import TrainView
from metakg.models.learnt import Learnt
from metakg.models.registry import build
from metakg.train.baseline import BaselineConfig
from metakg.train.feeds import FEEDS, Ration
from metakg.train.fit import settings_for


class Steps:
    """The training steps of one model."""

    def __init__(self, name: str, view: TrainView) -> None:
        config, how = settings_for(name, {})
        assert isinstance(how, BaselineConfig)
        model = build(config, view, 1)
        assert isinstance(model, Learnt)
        model.use_generator(random.torch_generator(1, "model", "cpu"))
        pairs = view.interactions.pairs_only()
        ration = Ration(pairs, pairs, how.batch_size, how.facts, how.negatives, how.pool)
        self.model, self.source, self.done = model.train(), FEEDS[model.feed](model, ration, 1), 0
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def milliseconds(self, steps: int) -> float:
        """Take so many steps; return how long one took."""
        began = time.perf_counter()
        for _ in range(steps):
            losses = self.model(self.source.next(self.model, self.done))
            self.optimizer.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            self.optimizer.step()
            self.done += 1
        return 1e3 * (time.perf_counter() - began) / steps


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--models", default="fm,nfm,cke,cfkg,ripplenet,kgcn,kgat,ckan,ugrec,mcrec,melu,metahin")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    view = open_split(a.split).train
    print(f"{a.split}, {a.threads} threads, torch {torch.__version__}\n")
    print(f"{'model':<10} {'given back, ms':>15} {'kept, ms':>9} {'times':>6} {'peak GB':>8}")
    for name in a.models.split(","):
        steps = Steps(name, view)
        steps.milliseconds(3)
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(a.turns):
            for keep in (False, True):
                with heap.kept() if keep else nullcontext():
                    found[keep].append(steps.milliseconds(a.steps))
        given, kept = min(found[False]), min(found[True])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{name:<10} {given:>15.1f} {kept:>9.1f} {given / kept:>6.2f} {peak:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
