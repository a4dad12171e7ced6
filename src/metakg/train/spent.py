"""What a training took in all, however often it was stopped: kept beside its checkpoint, and added up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from metakg import files
from metakg.train.loop import Loop, Progress, watching

_EVERY_S = 20.0
"""Seconds between two notes: what a kill in between takes with it."""


_ELSEWHERE: ContextVar[dict[str, list[float]] | None] = ContextVar("elsewhere", default=None)
"""What the account in charge counts besides its own time: seconds by the clock and of the process, by name."""


@dataclass
class Spent:
    """What all attempts so far came to.

    Attributes:
        wall_s: seconds by the clock; with those of a start that another training has fitted.
        cpu_s: seconds of this process.
        epochs: which epoch the last loop is in: the training itself, which comes after its start. None where nothing was learnt
            by gradient. A training that stops by itself has fewer than its settings allow.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    epochs: int | None = None


@contextmanager
def spending(folder: Path | None) -> Iterator[Spent]:
    """Count what is done inside, on top of what earlier attempts left in `folder`; the sums hold once the block is left.

    Args:
        folder: where log and checkpoints of the training are; None keeps nothing between attempts.
    """
    place = None if folder is None else folder / "spent.json"
    earlier, elsewhere = Spent(), dict[str, list[float]]()
    if place is not None and place.exists():
        told = files.read_json(place, what="account of a training")
        earlier, elsewhere = Spent(told["wall_s"], told["cpu_s"], told.get("epochs")), told.get("elsewhere", {})
    found, wall, cpu = Spent(epochs=earlier.epochs), time.perf_counter(), time.process_time()
    noted = wall

    def note() -> None:
        nonlocal noted
        noted = time.perf_counter()
        own_wall, own_cpu = earlier.wall_s + noted - wall, earlier.cpu_s + time.process_time() - cpu
        found.wall_s = own_wall + sum(seconds for seconds, _ in elsewhere.values())
        found.cpu_s = own_cpu + sum(seconds for _, seconds in elsewhere.values())
        if place is not None and place.parent.exists():
            sums = {"wall_s": own_wall, "cpu_s": own_cpu, "epochs": found.epochs, "elsewhere": elsewhere}
            files.write_json(place, sums)

    def look(_: Loop, progress: Progress) -> None:
        found.epochs = progress.epoch
        if time.perf_counter() - noted > _EVERY_S:
            note()

    token = _ELSEWHERE.set(elsewhere)
    try:
        with watching(look):
            yield found
    finally:
        _ELSEWHERE.reset(token)
        note()


def count(name: str, wall_s: float, cpu_s: float) -> None:
    """Count what was done elsewhere, once by each name, in the account in charge; without one this does nothing."""
    elsewhere = _ELSEWHERE.get()
    if elsewhere is not None:
        elsewhere[name] = [wall_s, cpu_s]
