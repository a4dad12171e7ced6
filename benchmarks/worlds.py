"""What it costs `metakg` to draw worlds to practise in, and to take a click in: whole, and sharing what the facts say.

    python benchmarks/worlds.py [SPLIT ...] [--millions 1 3] [--threads 2]

SPLIT is a folder that `metakg split` wrote; `--millions` adds random graphs of so many million edges. For each: seconds to
draw one world, with evidence built whole for each situation and one thread, sharing the channels of the facts, and sharing
on all threads; then what `adapt` with one click takes, whole and sharing. The tasks are the same, to the bit, which is checked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from metakg.data import Support, TrainView
from metakg.generator import random_world
from metakg.models.channels import GraphChannels
from metakg.models.metakg import MetaKG, MetaKGConfig
from metakg.rng import torch_generator
from metakg.splits.store import load
from metakg.train import practice
from metakg.train.practice import PracticeConfig

WIDTHS = (18, 12, 11, 9, 8, 8, 6, 9, 8, 6)


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Return seconds and what was returned."""
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


@contextmanager
def nothing_shared() -> Iterator[None]:
    """Build the channels of the facts anew every time."""
    with mock.patch.object(GraphChannels, "is_of", return_value=False):
        yield


def same(one: object, other: object) -> bool:
    """Say whether two draws are the same tasks."""
    names = ("features", "hits", "own", "own_mask")
    pairs = zip(one, other, strict=True)  # type: ignore[call-overload]
    kinds = ((a[kind][0], b[kind][0]) for a, b in pairs for kind in a)
    return all(torch.equal(getattr(a, name), getattr(b, name)) for a, b in kinds for name in names)


def measure(name: str, view: TrainView, threads: int) -> None:
    """Print the row of one data set."""
    model = MetaKG(MetaKGConfig(), view, torch_generator(1, "init/metakg"))
    config, quiet = PracticeConfig(worlds=1), lambda _: None

    def draw() -> object:
        lessons, exam = practice._worlds(model, config, 1, quiet, examined=True)
        return [*lessons, exam]

    user = view.vocabulary.users.id(0)
    item = view.vocabulary.items.id(view.n_items - 1)
    click = Support.clicks(user, [item])
    torch.set_num_threads(1)
    with nothing_shared():
        whole, tasks = timed(draw)
        taken, _ = timed(lambda: model.adapt(click))
    shared, again = timed(draw)
    shares, _ = timed(lambda: model.adapt(click))
    torch.set_num_threads(threads)
    on_all, at_last = timed(draw)
    assert same(tasks, again), "sharing changed a task"
    assert same(tasks, at_last), "threads changed a task"
    terms = model.evidence.factors.terms_an_item * view.history.nnz / np.count_nonzero(np.diff(view.history.indptr))
    edges = 2 * (len(view.interactions) + len(view.graph.entity))
    figures = (f"{whole / 2:.1f}", f"{shared / 2:.1f}", f"{on_all / 2:.1f}", f"{whole / on_all:.1f}")
    row(name, f"{edges:,}", f"{terms:,.0f}", *figures, f"{taken:.2f}", f"{shares:.2f}", f"{taken / shares:.1f}")


def row(*cells: str) -> None:
    """Print a row of the table."""
    print(" ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", nargs="*", type=Path)
    parser.add_argument("--millions", nargs="*", type=float, default=[])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    row("", "edges", "products", "a world", "shared", "threads", "ratio", "a click", "shared", "ratio")
    for folder in args.splits:
        measure(folder.parent.name, load(folder).train, args.threads)
    for millions in args.millions:
        measure(f"random, {millions:g} M", random_world(int(millions * 1e6)), args.threads)


if __name__ == "__main__":
    main()
