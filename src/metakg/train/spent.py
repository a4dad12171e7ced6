"""What a training took in all, however often it was stopped: kept beside its checkpoint, and added up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metakg import files
from metakg.train.loop import Loop, Progress, watching

_EVERY_S = 20.0
"""Seconds between two notes: what a kill in between takes with it."""


@dataclass
class Spent:
    """What all attempts so far came to.

    Attributes:
        wall_s: seconds by the clock.
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
    earlier = Spent()
    if place is not None and place.exists():
        told = files.read_json(place, what="account of a training")
        earlier = Spent(told["wall_s"], told["cpu_s"], told.get("epochs"))
    found, wall, cpu = Spent(epochs=earlier.epochs), time.perf_counter(), time.process_time()
    noted = wall

    def note() -> None:
        nonlocal noted
        noted = time.perf_counter()
        found.wall_s = earlier.wall_s + noted - wall
        found.cpu_s = earlier.cpu_s + time.process_time() - cpu
        if place is not None and place.parent.exists():
            files.write_json(place, {"wall_s": found.wall_s, "cpu_s": found.cpu_s, "epochs": found.epochs})

    def look(_: Loop, progress: Progress) -> None:
        found.epochs = progress.epoch
        if time.perf_counter() - noted > _EVERY_S:
            note()

    try:
        with watching(look):
            yield found
    finally:
        note()
