"""What a training took in all, however often it was stopped: kept beside its checkpoint, and added up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metakg import files
from metakg.train.loop import watching

_EVERY_S = 20.0
"""Seconds between two notes: what a kill in between takes with it."""


@dataclass
class Spent:
    """Seconds of all attempts so far.

    Attributes:
        wall_s: by the clock.
        cpu_s: of this process.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0


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
        earlier = Spent(told["wall_s"], told["cpu_s"])
    found, wall, cpu = Spent(), time.perf_counter(), time.process_time()
    noted = wall

    def note() -> None:
        nonlocal noted
        noted = time.perf_counter()
        found.wall_s = earlier.wall_s + noted - wall
        found.cpu_s = earlier.cpu_s + time.process_time() - cpu
        if place is not None and place.parent.exists():
            files.write_json(place, {"wall_s": found.wall_s, "cpu_s": found.cpu_s})

    def look(*_: Any) -> None:
        if time.perf_counter() - noted > _EVERY_S:
            note()

    try:
        with watching(look):
            yield found
    finally:
        note()
