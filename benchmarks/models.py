"""What every model costs on one data set: seconds an epoch, seconds to rank everything for new users, peak memory.

    python benchmarks/models.py SPLIT [--models kgat,kgcn,...] [--steps 20] [--settings FILE] [--markdown PAGE]
    python benchmarks/models.py SPLIT --reference

SPLIT is a folder that `metakg split` wrote. Each model runs in a process of its own, so that peaks are its own; the data and
the program themselves are part of them (first line of the table). An epoch is measured on `--steps` steps of each kind,
through the real training loop, and scaled up; 0 runs all of it. Ranking is all users of `--scenario`, all items, top 20, after
the model was extended by the scenario's support (`extend`); no steps are taken on it, which would be epochs again.

With `--reference`: one step of KGAT as one would first write it (every layer at every node, CSR products), whose loss and
gradients must equal the fast path's; the ratio is the figure to watch, since machines differ from day to day.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, normalize, softplus

from metakg.cli.common import settings_of
from metakg.data import TrainView
from metakg.evaluation.ranking import rank
from metakg.experiments.measure import Limits, Stopwatch, in_child
from metakg.files import write_between
from metakg.models.base import Recommender
from metakg.models.kgat import KGAT
from metakg.models.learnt import Learnt
from metakg.models.metakg import MetaKG
from metakg.models.metakg_paper import MetaKG as PaperMetaKG
from metakg.models.registry import FLOORS, MODELS, build
from metakg.rng import torch_generator
from metakg.sample.pairs import PairBatch
from metakg.splits import load
from metakg.train.baseline import BaselineConfig
from metakg.train.feeds import FEEDS, Ration
from metakg.train.fit import TRAINING, settings_for
from metakg.train.loop import Loop, LoopConfig, Progress
from metakg.train.meta import TaskBatches
from metakg.train.practice import PracticeConfig, practise
from metakg.train.recipe import Recipe
from metakg.types import Json

START, END = "<!-- models: begin -->", "<!-- models: end -->"
K = 20


@dataclass(frozen=True)
class Cost:
    """What one model costs.

    Attributes:
        model: registry name.
        epoch_s: seconds an epoch; for a floor, seconds to build it.
        steps: steps of an epoch.
        step_ms: milliseconds of a step, by kind.
        extend_s: seconds to take in a scenario's support, without steps.
        rank_s: seconds to rank all items for all users of the scenario.
        users: how many these are.
        peak_gb: most memory of the process.
    """

    model: str
    epoch_s: float
    steps: int
    step_ms: dict[str, float]
    extend_s: float
    rank_s: float
    users: int
    peak_gb: float


class Enough(Exception):  # noqa: N818 - not an error: the benchmark has seen what it wanted
    """Stops a run after the measured steps."""


class Excerpt:
    """The first steps of each kind of another source: pairs, and facts where they have a pass of their own."""

    def __init__(self, source: Any, steps: int) -> None:
        self.source = source
        kinds = [("pairs", 0, source.n_pairs), ("facts", source.n_pairs, len(source))] if hasattr(source, "n_pairs") else []
        self.kinds = kinds or [("steps", 0, len(source))]
        few = [(name, range(start, min(stop, start + (steps or stop)))) for name, start, stop in self.kinds]
        self.places = [(name, place) for name, places in few for place in places]

    def __len__(self) -> int:
        return len(self.places)

    def next(self, model: Any, step: int) -> Any:
        """Return the batch of a step."""
        return self.source.next(model, self.places[step][1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def scaled(self, marks: list[float]) -> tuple[float, dict[str, float]]:
        """Return seconds of a whole epoch and milliseconds of a step by kind, from when each step ended (and the start).

        The first step also refreshes what follows from parameters; its surplus over the others counts once.
        """
        took = np.diff(marks)
        whole, by_kind = 0.0, {}
        for name, start, stop in self.kinds:
            mine = took[[kind == name for kind, _ in self.places]]
            usual = float(np.median(mine[1:])) if len(mine) > 1 else float(mine[0])
            whole += usual * (stop - start) + (max(0.0, float(mine[0]) - usual) if start == 0 else 0.0)
            by_kind[name] = usual * 1e3
        return whole, by_kind


def train_some(model: Recommender, training: Any, view: TrainView, steps: int) -> tuple[float, int, dict[str, float]]:
    """Train a model a little, in place; return seconds of an epoch, its steps, and milliseconds of a step by kind."""
    if isinstance(training, PracticeConfig):
        assert isinstance(model, MetaKG)
        with Stopwatch(steps or sys.maxsize).looking() as watch:
            config = training.model_copy(update={"loop": training.loop.model_copy(update={"epochs": 1})})
            practise(model, config, 1, validate=lambda _: 0.0)
        phase = watch.phases[-1]
        return phase.epoch_s, phase.steps, {"steps": phase.epoch_s / phase.steps * 1e3}
    if isinstance(training, Recipe):
        assert isinstance(model, PaperMetaKG)
        source: Any = TaskBatches(model, view, training.meta, seed=1)
        loop = LoopConfig(epochs=1)
    else:
        assert isinstance(training, BaselineConfig)
        assert isinstance(model, Learnt)
        pairs = view.interactions.pairs_only()
        size, facts, negatives = training.batch_size, training.facts, training.negatives
        ration = Ration(pairs, pairs, size, facts, negatives, training.pool, hardest=training.hardest)
        model.begin()
        source = FEEDS[model.feed](model, ration, 1)
        loop = training.loop.model_copy(update={"epochs": 1})
    model.rng = torch_generator(1, "model")
    excerpt = Excerpt(source, steps)
    marks: list[float] = [time.perf_counter()]

    def progress(p: Progress) -> None:
        marks.append(time.perf_counter())
        if p.step == len(excerpt):
            raise Enough

    with suppress(Enough):
        Loop(model, excerpt, loop, on_progress=progress).run()
    seconds, by_kind = excerpt.scaled(marks)
    return seconds, len(source), by_kind


def measure_nothing(folder: Path) -> Json:
    """Load the data and do nothing, for the memory that takes."""
    load(folder)
    return {}


def measure(name: str, folder: Path, scenario: str, steps: int, most_users: int, files: list[Path]) -> Json:
    """Measure one model in this process: all of `Cost` but the peak."""
    split = load(folder)
    view, support = split.train, split.support(scenario)
    config, training = settings_for(name, settings_of([name], files, None).get(name, {}))
    began = time.perf_counter()
    model = build(config, view, 1)
    epoch_s, n_steps = time.perf_counter() - began, 0
    step_ms: dict[str, float] = {}
    if training is not None:
        epoch_s, n_steps, step_ms = train_some(model, training, view, steps)
        if isinstance(model, Learnt):
            model.settle()
        model.eval()
    began = time.perf_counter()
    adapted = model.extend(support) if isinstance(model, Learnt) else model.adapt(support)
    extend_s = time.perf_counter() - began
    names = split.dataset.vocabulary.users.take(split.scenarios[scenario].users)
    users = adapted.view.vocabulary.users.rows(names)
    seen, asked = adapted.view.history[users], users[: most_users or None]
    rank(adapted.eval(), asked[:8], K, seen[:8])
    began = time.perf_counter()
    rank(adapted, asked, K, seen[: len(asked)])
    rank_s = (time.perf_counter() - began) * len(users) / len(asked)
    cost = asdict(Cost(name, epoch_s, n_steps, step_ms, extend_s, rank_s, len(users), 0.0))
    return {key: value for key, value in cost.items() if key != "peak_gb"}


def table(costs: list[Cost], bare_gb: float, args: argparse.Namespace) -> str:
    """Return the results as Markdown."""
    lines = [
        f"{date.today().isoformat()}, {torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}; "
        f"{args.split.parent.name}, {costs[0].users:,} users of {args.scenario}; data and program alone {bare_gb:.2f} GB",
        "",
        "| model | s an epoch | steps | ms a step | s to extend | s to rank all | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in costs:
        step = ", ".join(f"{ms:.0f}" + (f" ({kind})" if len(c.step_ms) > 1 else "") for kind, ms in c.step_ms.items())
        epoch = f"{c.epoch_s:.1f}" if c.steps else f"{c.epoch_s:.1f} (to build)"
        row = (c.model, epoch, f"{c.steps:,}" if c.steps else "", step, f"{c.extend_s:.1f}", f"{c.rank_s:.1f}")
        lines.append("| " + " | ".join(row) + f" | {c.peak_gb:.2f} |")
    command = f"python benchmarks/models.py {args.split} --steps {args.steps}"
    command += "".join(f" --{name} {value}" for name in ("models", "users") if (value := getattr(args, name)))
    command += "".join(f" --settings {path}" for path in args.settings)
    return "\n".join([*lines, "", f"Printed by `{command} --scenario {args.scenario}`.", ""])


# -- the reference -----------------------------------------------------------------------------------------------------------


def plain_loss(model: KGAT, batch: PairBatch, adjacency: Tensor) -> Tensor:
    """Return the BPR loss of KGAT with every layer worked out at every node."""
    e: Tensor = model.node
    layers = [e]
    for w1, b1, w2, b2 in zip(model.w1, model.b1, model.w2, model.b2, strict=True):
        m = adjacency @ e
        e = leaky_relu((e + m) @ w1.T + b1) + leaky_relu((e * m) @ w2.T + b2)
        layers.append(normalize(e, dim=1))
    z, offset = torch.cat(layers, 1), model.view.n_users
    users, positives, negatives = z[batch.users], z[batch.positives + offset], z[batch.negatives + offset]
    length = sum(x.square().sum() for x in (users, positives, negatives)) / (2 * len(batch))
    return softplus(-(users * (positives - negatives)).sum(-1)).mean() + model.config.weight_decay * length


def measure_reference(folder: Path, steps: int) -> None:
    """Time KGAT's fast step beside the plain one, and check that both are the same."""
    view = load(folder).train
    config, training = settings_for("kgat", {"message_dropout": 0.0})
    assert isinstance(training, BaselineConfig)
    model = build(config, view, 1)
    assert isinstance(model, KGAT)
    model.train()
    pairs = view.interactions.pairs_only()
    source = FEEDS["pairs, facts"](model, Ration(pairs, pairs, 1024, training.facts), 1)
    batches = [source.next(model, step) for step in range(steps)]
    edges, n = model.graph.edges, model.graph.n_nodes
    adjacency = torch.sparse_csr_tensor(edges.rowptr, edges.tails, model.attention_weights, (n, n), check_invariants=False)
    learnt = [model.node, *model.w1, *model.b1, *model.w2, *model.b2]
    took: dict[str, list[float]] = {"fast": [], "plain": []}
    busy: dict[str, list[float]] = {"fast": [], "plain": []}
    gap = 0.0
    for batch in batches:
        found = {}
        for name in took:
            began, worked = time.perf_counter(), time.process_time()
            loss = sum(model(batch).values()) if name == "fast" else plain_loss(model, batch, adjacency)
            found[name] = (loss.detach(), *torch.autograd.grad(loss, learnt))
            took[name].append(time.perf_counter() - began)
            busy[name].append(time.process_time() - worked)
        for fast, plain in zip(found["fast"], found["plain"], strict=True):
            gap = max(gap, float((fast - plain).abs().max() / plain.abs().max()))
    fast, plain = (float(np.median(took[name])) for name in took)
    work = [float(np.median(busy[name])) for name in busy]
    widths = "-".join(str(width) for width in (model.config.dim, *model.config.dims))
    print(f"KGAT, {n:,} nodes, {len(edges):,} edges, widths {widths}, 1,024 pairs a step, {torch.get_num_threads()} threads")
    print(f"plain full-graph step {plain * 1e3:.0f} ms ({work[1] * 1e3:.0f} ms of processor time)")
    print(f"ours {fast * 1e3:.0f} ms ({work[0] * 1e3:.0f} ms), {plain / fast:.1f} times faster")
    print(f"loss and gradients within {gap:.0e} of each other")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--models", help="comma-separated; default all learnt models and the floors")
    parser.add_argument("--steps", type=int, default=20, help="steps of each kind; 0 for a whole epoch")
    parser.add_argument("--scenario", default="user_item_cold")
    parser.add_argument(
        "--users",
        type=int,
        default=0,
        help="rank so many users and scale up (also what does not depend on their number); 0 ranks all",
    )
    parser.add_argument("--settings", type=Path, action="append", default=[], help="as of `metakg compare`; default: none")
    parser.add_argument("--markdown", type=Path, help="write the table between the markers of this file")
    parser.add_argument("--reference", action="store_true", help="KGAT's step beside a plain one")
    args = parser.parse_args()
    if args.reference:
        measure_reference(args.split, args.steps)
        return
    names = args.models.split(",") if args.models else [*sorted(TRAINING), *FLOORS]
    for unknown in set(names) - MODELS.keys():
        parser.error(f"no model {unknown!r}; there are {', '.join(sorted(MODELS))}")
    bare, costs = in_child(measure_nothing, (args.split,), Limits())["peak_gb"], []
    for name in names:
        work = (name, args.split, args.scenario, args.steps, args.users, args.settings)
        costs.append(Cost(**in_child(measure, work, Limits())))
        c = costs[-1]
        print(
            f"{name:14s} {c.epoch_s:8.1f} s an epoch, {c.rank_s:6.1f} s to rank, {c.peak_gb:.2f} GB",
            file=sys.stderr,
            flush=True,
        )
    text = table(costs, bare, args)
    print(text)
    if args.markdown is not None:
        write_between(args.markdown, START, END, text)


if __name__ == "__main__":
    main()
