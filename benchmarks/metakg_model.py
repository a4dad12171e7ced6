"""What MetaKG costs: a pass of meta-training, an epoch of adaptation, a plain reference, and growth with the graph.

    python benchmarks/metakg_model.py pass LAST_FM [--exact [--hubs-as-rows]] [--steps 40] [--device cuda]
    python benchmarks/metakg_model.py adapt LAST_FM [--scenario user_item_cold]
    python benchmarks/metakg_model.py reference LAST_FM --tasks 3
    python benchmarks/metakg_model.py scale [--millions 1 3 10 30]

LAST_FM is the folder with `kg_final.txt` and `test_scenario/`. A pass makes each of the 10,458 tasks a candidate once; with
`--steps` it is measured on so many steps and scaled up. Processor seconds are printed beside seconds: on a busy machine they
are the fairer figure. The reference is the same mathematics as one would first write it: the
whole graph propagated for every task, CSR products, one task a time; its ratio to the fast path is the figure to watch, since
machines differ from day to day.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, normalize, softplus

import metakg
import metakg.models.metakg_paper as paper
from metakg.data import Interactions, Split, TrainView
from metakg.generator import random_world
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.rng import torch_generator
from metakg.sample.episodes import EpisodeSampler
from metakg.train.adapt import AdaptConfig, PairBatches
from metakg.train.loop import Loop, LoopConfig, Progress
from metakg.train.memory import estimate_bytes
from metakg.train.meta import MetaConfig, TaskBatches
from metakg.train.scheduler import SchedulerConfig

PASS_BUDGET_S, EXACT_BUDGET_S, ADAPT_BUDGET_S, MEMORY_BUDGET_GB = 120, 1200, 6, 4


class Stages:
    """Seconds spent in named parts; a part inside another counts for the inner one only."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stack = device, [("", 0.0)]
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside for a part."""
        self.switch()
        self.stack.append((name, 0.0))
        try:
            yield
        finally:
            self.switch()
            self.stack.pop()

    def switch(self) -> None:
        """Give the time since the last switch to the current part."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[self.stack[-1][0]] += now - self.since
        self.since = now

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Count every call of a method for a part."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        object.__setattr__(owner, method, timed)

    def table(self, total: float) -> str:
        """Return the parts, longest first, with their share."""
        rows = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\n".join(
            f"  {name or 'loop, backward, optimiser':28s} {s:8.2f} s {s / total:6.1%}" for name, s in rows if s > 0
        )


class Enough(Exception):  # noqa: N818 - not an error: the benchmark has seen what it wanted
    """Stops a run after the measured steps."""


def read_last_fm(folder: Path) -> Split:
    """Read the published files."""
    return metakg.split(metakg.read_kgat(folder), "paper", published=folder / "test_scenario", validation=False)


def peak_gb(device: torch.device) -> str:
    """Return the most memory this process has had."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    card = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GB on the GPU" if device.type == "cuda" else ""
    return f"{host:.2f} GB{card}"


def now_gb() -> float:
    """Return the memory this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**30


def estimate_gb(model: MetaKG, args: argparse.Namespace) -> float:
    """Return what `metakg.train.memory` says that training takes."""
    graph = model.graph
    sizes = (graph.n_nodes, graph.n_edges, graph.n_relations)
    return sum(estimate_bytes(model.config, *sizes, args.at_once).values()) / 2**30


def build(view: TrainView, args: argparse.Namespace) -> MetaKG:
    """Return a model in training mode on its device."""
    config = MetaKGConfig(fan_out=None if args.exact else args.fan_out)
    model = MetaKG(config, view, torch_generator(1, "init")).to(args.device)
    model.use_generator(torch_generator(1, "model", args.device))
    return model


def measure_pass(view: TrainView, args: argparse.Namespace) -> float:
    """Run meta-training steps through the real loop; return seconds for a pass."""
    device, before = torch.device(args.device), now_gb()
    began = time.perf_counter()
    model = build(view, args)
    scheduler = None if args.no_scheduler else SchedulerConfig(pool=args.pool)
    meta = MetaConfig(tasks=args.tasks, scheduler=scheduler, at_once=args.at_once)
    source = TaskBatches(model, view, meta, seed=1)
    graph, largest = model.graph, max(int(edges.edges.degrees.max()) for edges in model.graph.sets)
    size = f"{graph.n_nodes:,} nodes, {graph.n_edges:,} edges, at most {largest:,} neighbours"
    print(f"built in {time.perf_counter() - began:.1f} s: {size}")
    stages, marks = Stages(device), [time.perf_counter()]
    for owner, method, name in (
        (model, "tables", "shared tables"),
        (model, "refresh", "attention"),
        (model, "adapt_tasks", "inner step"),
        (model, "score_tasks", "query of the pool"),
        (model, "_field", "receptive fields"),
        (model, "_fact_losses", "triple loss, forward"),
        (source.episodes, "draw", "episodes, negatives"),
        (source, "learn", "scheduler"),
    ):
        stages.wrap(owner, method, name)

    def enter(*_: object) -> None:
        stages.switch()
        stages.stack.append(("outer forward", 0.0))

    def leave(*_: object) -> None:
        stages.switch()
        stages.stack.pop()

    model.register_forward_pre_hook(enter)
    model.register_forward_hook(leave)
    steps, busy = min(args.steps or len(source), len(source)), time.process_time()

    def progress(p: Progress) -> None:
        stages.switch()
        marks.append(time.perf_counter())
        if p.step == steps:
            raise Enough

    with suppress(Enough):
        Loop(model, source, LoopConfig(epochs=1), on_progress=progress).run()
    seconds, busy = marks[-1] - marks[0], time.process_time() - busy
    median = float(np.median(np.diff(marks)))
    whole = seconds / steps * len(source)
    candidates = len(source.candidates)
    print(f"{steps} of {len(source)} steps in {seconds:.1f} s (median {median:.3f} s a step), {busy:.1f} processor seconds")
    print(f"{whole / candidates * 1e3:.2f} ms a candidate task; a pass over {candidates:,} tasks: {whole:.0f} s")
    print(stages.table(seconds))
    print(f"peak memory {peak_gb(device)}, estimated {estimate_gb(model, args) + before:.2f} GB ({before:.2f} before)")
    return whole


def measure_adapt(split: Split, args: argparse.Namespace) -> None:
    """Time one epoch of co-adaptation, and the work around it."""
    model = build(split.train, args)
    support = split.support(args.scenario)
    began = time.perf_counter()
    extended = model.extend(support)
    edges = time.perf_counter() - began
    v = extended.view.vocabulary
    pairs = Interactions(v.users.rows(support.users), v.items.rows(support.items))
    config = AdaptConfig(epochs=1, batch_size=args.batch)
    marks = []
    loop = Loop(
        extended,
        PairBatches(extended, pairs, config, 1),
        LoopConfig(epochs=1, learning_rate=config.learning_rate),
        on_progress=lambda _: marks.append(time.perf_counter()),
    )
    began = time.perf_counter()
    loop.run()
    epoch = time.perf_counter() - began
    began = time.perf_counter()
    extended.eval().ready()
    encode = time.perf_counter() - began
    print(f"{args.scenario}: {len(pairs):,} support pairs, batches of {args.batch}, {len(marks)} steps")
    print(f"larger graph {edges:.2f} s; one epoch {epoch:.2f} s (budget {ADAPT_BUDGET_S} s); all vectors {encode:.2f} s")
    print(f"peak memory {peak_gb(torch.device(args.device))}")


# -- the reference ---------------------------------------------------------------------------------------------------------


def plain_propagation(e: Tensor, users: Tensor, facts: Tensor, w: list[list[Tensor]]) -> Tensor:
    """Propagate the whole graph: vectors (N, D), two CSR matrices, weights [w_c, w_k, w1, w2] of each layer -> (N, 3D)."""
    has_users, has_facts = (torch.diff(a.crow_indices()) > 0 for a in (users, facts))
    out = []
    for w_c, w_k, w1, w2 in w:
        m_c, m_k = users @ e, facts @ e
        gate = torch.sigmoid(m_c @ w_c.T + m_k @ w_k.T)
        gate = torch.where((has_users & has_facts).unsqueeze(1), gate, has_facts.unsqueeze(1).to(e.dtype))
        m = gate * m_k + (1 - gate) * m_c
        e = leaky_relu((e + m) @ w1.T) + leaky_relu((e * m) @ w2.T)
        out.append(normalize(e, dim=1))
    return torch.cat(out, dim=1)


def measure_reference(view: TrainView, args: argparse.Namespace) -> None:
    """Time plain tasks one by one, check that their losses equal the fast path's, and print the ratio."""
    args.exact = True
    model = build(view, args).eval()
    sampler = EpisodeSampler(view, np.random.default_rng(1))
    tables = model.tables(tracked=False)
    n = (model.graph.n_nodes, model.graph.n_nodes)
    users, facts = (
        torch.sparse_csr_tensor(kind.edges.rowptr, kind.edges.cols, kind.weights, n, check_invariants=False)
        for kind in tables.kinds[0]
    )
    shared = model.network.weights().detach()
    weights = [[w[i][0] for w in (shared.w_c, shared.w_k, shared.w1, shared.w2)] for i in range(3)]
    offset, losses = model.graph.n_users, []
    began = time.perf_counter()
    for task in range(args.tasks):
        support, query = sampler.draw(np.array([task]))
        current = [[w_c, w_k, w1.clone().requires_grad_(), w2.clone().requires_grad_()] for w_c, w_k, w1, w2 in weights]
        for episode in (support, query):
            z = plain_propagation(tables.vectors, users, facts, current)
            margin = ((z[offset + episode.positives] - z[offset + episode.negatives]) @ z[episode.users[0]]).squeeze()
            loss = softplus(-margin).mean()
            adapted = [w for layer in current for w in layer[2:]]
            steps = iter(torch.autograd.grad(loss, adapted))
            if episode is support:
                current = [
                    [w_c, w_k, *((w - 1e-2 * next(steps)).detach().requires_grad_() for w in (w1, w2))]
                    for w_c, w_k, w1, w2 in current
                ]
        losses.append(loss.detach())
    plain = (time.perf_counter() - began) / args.tasks
    sampler = EpisodeSampler(view, np.random.default_rng(1))
    fast_losses = [model.score_tasks(tables, *sampler.draw(np.array([task]))).loss[0] for task in range(args.tasks)]
    gap = (torch.stack(losses) - torch.stack(fast_losses)).abs().max()
    sampler, many = EpisodeSampler(view, np.random.default_rng(1)), np.arange(8)
    began = time.perf_counter()
    model.score_tasks(tables, *sampler.draw(many))
    exact = (time.perf_counter() - began) / len(many)
    print(f"plain full-graph loop: {plain * 1e3:.0f} ms a candidate task ({plain * 10458 / 3600:.1f} h a pass)")
    print(
        f"the same by receptive field: {exact * 1e3:.0f} ms, {plain / exact:.1f} times faster; losses within {float(gap):.0e}"
    )
    print(f"peak memory {peak_gb(torch.device(args.device))}")


# -- growth ----------------------------------------------------------------------------------------------------------------


def measure_scale(args: argparse.Namespace) -> None:
    """Time building, attention, a full propagation and a meta step on growing graphs, and fit how they grow."""
    columns = {"build": "build s", "refresh": "attention s", "encode": "encode s", "step": "step s"}
    print("      edges " + " ".join(f"{head:>12s}" for head in columns.values()) + "   peak GB  estimated GB")
    rows: list[dict[str, float]] = []
    for millions in args.millions:
        view = random_world(int(millions * 1e6))
        before, began = now_gb(), time.process_time()
        model = build(view, args)
        row = {"build": time.process_time() - began}
        for name, work in (("refresh", model.refresh), ("encode", model.encode)):
            began = time.process_time()
            work()
            row[name] = time.process_time() - began
        source = TaskBatches(model, view, MetaConfig(scheduler=SchedulerConfig()), seed=1)
        marks: list[float] = []

        def progress(p: Progress, marks: list[float] = marks) -> None:
            marks.append(time.process_time())
            if p.step == 6:
                raise Enough

        with suppress(Enough):
            Loop(model, source, LoopConfig(epochs=1), on_progress=progress).run()
        rows.append({**row, "step": float(np.median(np.diff(marks))), "edges": model.graph.n_edges})
        figures = " ".join(f"{rows[-1][name]:12.2f}" for name in columns)
        sizes = f"{peak_gb(torch.device(args.device))} {estimate_gb(model, args) + before:13.2f}"
        print(f"{model.graph.n_edges:11,d} {figures} {sizes}", flush=True)
    if len(rows) > 1:
        edges = np.log([row["edges"] for row in rows])
        slopes = {name: np.polyfit(edges, np.log([row[name] for row in rows]), 1)[0] for name in columns}
        print("   exponent " + " ".join(f"{slope:12.2f}" for slope in slopes.values()))
    print("seconds are processor seconds; the estimate is that of metakg.train.memory, on top of what was in use before")


def main() -> None:
    """Parse and run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pass", "adapt", "reference", "scale"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--exact", action="store_true", help="read all neighbours")
    parser.add_argument("--fan-out", type=int, default=10)
    parser.add_argument("--steps", type=int, help="measure so many steps and scale up")
    parser.add_argument("--tasks", type=int, default=16, help="tasks a step; for the reference, tasks in all")
    parser.add_argument("--pool", type=int, default=48)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--no-scheduler", action="store_true")
    parser.add_argument("--scenario", default="user_item_cold")
    parser.add_argument("--batch", type=int, default=AdaptConfig().batch_size)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10, 30])
    parser.add_argument("--hubs-as-rows", action="store_true", help="read hubs row by row, the slower way, to compare with")
    args = parser.parse_args()
    if args.hubs_as_rows:
        paper.HUB_DEGREE = 1 << 62
    if args.what == "scale":
        measure_scale(args)
        return
    if args.folder is None:
        parser.error(f"{args.what} needs the Last-FM folder")
    split = read_last_fm(args.folder)
    print(f"{torch.get_num_threads()} threads, {args.device}, {'exact' if args.exact else f'fan-out {args.fan_out}'}")
    if args.what == "pass":
        whole = measure_pass(split.train, args)
        budget = EXACT_BUDGET_S if args.exact else PASS_BUDGET_S
        print(f"budget on two cores: {budget} s and {MEMORY_BUDGET_GB} GB; used {whole / budget:.0%} of the time")
    elif args.what == "adapt":
        measure_adapt(split, args)
    else:
        measure_reference(split.train, args)


if __name__ == "__main__":
    main()
