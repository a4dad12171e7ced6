"""Measuring without waiting for the end: loops timed on some of their steps, operations counted, peaks read from a child.

A training loop hands out the same work step after step, so some steps say what an epoch takes. `Stopwatch` looks at every loop
of a training (start vectors, meta-training, adaptation) and ends each once it has seen enough.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast

import torch

from metakg.errors import TrainingError
from metakg.heap import available_bytes, peak_bytes, resident_bytes
from metakg.models.base import Recommender
from metakg.train.loop import Loop, Progress, watching
from metakg.types import Json

_EPOCH_BY_MODEL = {
    "metakg": "every practice task a candidate once (drawing the worlds comes before)",
    "metakg-paper": "every meta-training task a candidate once",
}
_EPOCH_BY_FEED = {
    "pairs": "every training pair once",
    "pairs+facts": "every training pair once, with a batch of facts at each step",
    "pairs, facts": "every training pair once and every fact once, in passes of their own",
    "tasks": "every meta-training task once",
}


def epoch_is(model: Recommender) -> str:
    """Return what one epoch of a model's training is, in words."""
    known = _EPOCH_BY_MODEL.get(model.config.kind)
    trained = getattr(model, "model", model)  # a recommender that adapts wraps what was trained
    return known or _EPOCH_BY_FEED.get(getattr(trained, "feed", "pairs"), "one pass over what it is trained on")


@dataclass
class Phase:
    """A loop that was looked at.

    Attributes:
        module: class of what was trained.
        source: class of what handed out the batches.
        parts: steps of an epoch, those of one kind together (pairs, then facts).
        seen: steps that were timed.
        seen_s: seconds they took in all.
        sums: for each part, timed steps, their seconds and their processor seconds; the first step of a loop is left out where
            there are others.
    """

    module: str
    source: str
    parts: tuple[int, ...]
    seen: int = 0
    seen_s: float = 0.0
    sums: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return sum(self.parts)

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch, scaled up part by part from the steps seen."""
        return self._scaled(1)

    @property
    def epoch_cpu_s(self) -> float:
        """The same in processor seconds."""
        return self._scaled(2)

    def _scaled(self, which: int) -> float:
        """A part that was not reached counts with the mean of the others."""
        n = max(1, sum(part[0] for part in self.sums))
        mean = sum(part[which] for part in self.sums) / n
        return sum(
            steps * (part[which] / part[0] if part[0] else mean) for steps, part in zip(self.parts, self.sums, strict=True)
        )

    @property
    def row(self) -> Json:
        """What is written down: the phase, and seconds an epoch."""
        return {
            "phase": self.module,
            "source": self.source,
            "steps": self.steps,
            "seen_steps": min(self.seen, self.steps),
            "epoch_s": round(self.epoch_s, 4),
            "epoch_cpu_s": round(self.epoch_cpu_s, 4),
        }


@dataclass
class Stopwatch:
    """Watches loops and ends each after so many steps, or after so many seconds and at least two steps.

    Where a source hands out steps of several kinds (`parts`), each kind gets its share of both: the watch goes on to the next
    kind when one has had it.

    Attributes:
        max_steps: steps of a loop at most.
        max_s: seconds of a loop at most.
        on_step: called after every step, before it is decided whether the loop goes on.
        phases: what was seen, in order.
    """

    max_steps: int
    max_s: float = float("inf")
    on_step: Callable[[], None] = lambda: None
    phases: list[Phase] = field(default_factory=list)
    _loop: Loop | None = None
    _last: tuple[float, float] = (0.0, 0.0)
    _part: tuple[int, int, float] = (0, 0, 0.0)

    def __call__(self, loop: Loop, progress: Progress) -> None:
        """Look at a loop after a step."""
        now, busy = time.perf_counter(), time.process_time()
        if loop is not self._loop:
            parts = getattr(loop.source, "parts", (len(loop.source),))
            sums = [(1, loop.seconds, loop.seconds), *[(0, 0.0, 0.0)] * (len(parts) - 1)]
            self.phases.append(Phase(type(loop.model).__name__, type(loop.source).__name__, parts, 1, loop.seconds, sums))
            self._loop, self._part, first = loop, (0, 1, now), True
        else:
            phase, (number, done, began) = self.phases[-1], self._part
            took, worked = now - self._last[0], busy - self._last[1]
            first = number == 0 and done == 1  # its only step so far is the loop's first, which warms up
            n, seconds, processor = (0, 0.0, 0.0) if first else phase.sums[number]
            phase.sums[number] = (n + 1, seconds + took, processor + worked)
            phase.seen, phase.seen_s = (1 if first else phase.seen + 1), (took if first else phase.seen_s + took)
            self._part = (number, done + 1, began)
        self.on_step()
        self._go_on(loop, now)
        self._last = (time.perf_counter(), time.process_time())

    def _go_on(self, loop: Loop, now: float) -> None:
        """End a loop that was seen enough, or take it to its next kind of steps."""
        parts, (number, done, began) = self.phases[-1].parts, self._part
        enough = done >= max(1, self.max_steps // len(parts)) or (done >= 2 and now - began >= self.max_s / len(parts))
        over = len(parts) > 1 and done >= parts[number]
        if not enough and not over:
            return
        if number + 1 == len(parts):
            loop.total = loop.step
        else:
            loop.step, self._part = sum(parts[: number + 1]), (number + 1, 0, now)

    @contextmanager
    def looking(self) -> Iterator[Stopwatch]:
        """Watch every loop that runs inside."""
        with watching(self):
            yield self


class Operations:
    """Counts multiplications and additions of dense and sparse products (two for each pair of factors).

    Dense products are counted by torch; the bags that carry sparse products are counted here: 2 x edges x width. Products of
    scipy (the floors and the evidence of `metakg`) happen outside torch and are not counted.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        aten = torch.ops.aten
        known: dict[Any, Any] = dict.fromkeys((aten._embedding_bag, aten._embedding_bag_forward_only), _bag_operations)
        known |= {aten.addmm_: _added_operations, aten.baddbmm_: _added_operations, aten.mv: _vector_operations}  # not torch's
        if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # see `metakg.models.nn.dense`
            known[torch.ops.mkldnn._linear_pointwise] = _layer_operations
        self._mode = FlopCounterMode(display=False, custom_mapping=known)

    def __enter__(self) -> Operations:
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *how: Any) -> None:
        self._mode.__exit__(*how)  # type: ignore[no-untyped-call]

    @property
    def total(self) -> int:
        """Operations so far."""
        return int(self._mode.get_total_flops())


def _added_operations(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    return int(2 * math.prod(left) * right[-1])


def _vector_operations(matrix: Any, vector: Any, *_: Any, **__: Any) -> int:
    return int(2 * matrix[0] * matrix[1])


def _bag_operations(weight: Any, indices: Any, *_: Any, **__: Any) -> int:
    return int(2 * indices[0] * weight[1])


def _layer_operations(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return int(2 * x[0] * x[1] * weight[0])


class ChildEnded(TrainingError):  # noqa: N818 - says what happened, like `NonFiniteLoss`
    """A measurement in a process of its own did not come to its end."""


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: at most; None without a limit.
        bytes: resident memory at most; None without a limit.
    """

    seconds: float | None = None
    bytes: int | None = None


def in_child(work: Callable[..., Json], arguments: tuple[Any, ...], limits: Limits) -> Json:
    """Run a function of this package in a fresh process and return its result with `peak_gb`, its own peak memory.

    A size that does not fit then ends the child, not the run.

    Raises:
        ChildEnded: it died, or took more time or memory than it may.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_serve, args=(theirs, work, arguments), daemon=True)
    child.start()
    theirs.close()
    began = time.monotonic()
    try:
        while not ours.poll(0.25):
            used = 0 if child.pid is None else resident_bytes(child.pid)
            if limits.bytes is not None and used > limits.bytes:
                raise _ended(f"{used / 2**30:.1f} GB in use", f"at most {limits.bytes / 2**30:.1f} GB", "memory")
            if limits.seconds is not None and time.monotonic() - began > limits.seconds:
                raise _ended(f"no result after {limits.seconds:.0f} s", "one within that time", "time")
            if not child.is_alive() and not ours.poll(0):
                raise _died(child.exitcode)
        try:
            kind, value = ours.recv()
        except EOFError as err:
            child.join(5)
            raise _died(child.exitcode) from err
    finally:
        if child.is_alive():
            child.join(2)
        if child.is_alive():
            child.kill()
        child.join()
    if kind == "error":
        raise _ended(value, "a result", "work")
    return cast(Json, value)


def _died(exit_code: int | None) -> ChildEnded:
    """Return the error of a child without a last word; the system kills (-9) what takes too much memory, and nothing else."""
    return _ended(f"it died (exit code {exit_code})", "a result", "memory" if exit_code == -9 else "work")


def _ended(found: str, expected: str, what: str) -> ChildEnded:
    fix = {
        "memory": "Leave out the larger sizes, or use a machine with more memory.",
        "time": "Raise the budget, or leave out the larger sizes.",
        "work": "Mend what it names.",
    }[what]
    return ChildEnded(f"the measurement ({what})", found, expected=expected, fix=fix)


def _serve(pipe: Connection, work: Callable[..., Json], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result = work(*arguments)
        result["peak_gb"] = round(peak_bytes() / 2**30, 3)
        pipe.send(("result", result))
    except Exception as err:  # noqa: BLE001 - carried over the process boundary and raised there
        pipe.send(("error", f"{type(err).__name__}: {err}"))
    finally:
        pipe.close()


def _end_with_parent() -> None:
    """End this process when the run is killed that waits for it; nobody would read its result, and it may hold all memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def room() -> int | None:
    """Return nine tenths of the memory that can still be had; None where the system does not say."""
    free = available_bytes()
    return None if free is None else int(0.9 * free)
