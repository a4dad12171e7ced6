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


class _Account:
    """Time of its own, in this attempt and in earlier ones, and time that is counted by name."""

    def __init__(self, place: Path | None) -> None:
        self.place = place
        self.earlier, self.elsewhere = (0.0, 0.0), dict[str, list[float]]()
        self.found = Spent()
        if place is not None and place.exists():
            told = files.read_json(place, what="account of a training")
            self.earlier, self.elsewhere = (told["wall_s"], told["cpu_s"]), told.get("elsewhere", {})
            self.found.epochs = told.get("epochs")
        self.since: tuple[float, float] | None = _now()
        self.noted = time.perf_counter()

    def rest(self) -> None:
        """Let time pass uncounted, until `go_on`."""
        self.earlier, self.since = self._own(), None

    def go_on(self) -> None:
        """Count time again."""
        self.since = _now()

    def note(self) -> None:
        """Work out the sums, and keep them."""
        self.noted = time.perf_counter()
        wall_s, cpu_s = self._own()
        self.found.wall_s = wall_s + sum(seconds for seconds, _ in self.elsewhere.values())
        self.found.cpu_s = cpu_s + sum(seconds for _, seconds in self.elsewhere.values())
        if self.place is not None and self.place.parent.exists():
            sums = {"wall_s": wall_s, "cpu_s": cpu_s, "epochs": self.found.epochs, "elsewhere": self.elsewhere}
            files.write_json(self.place, sums)

    def look(self, _: Loop, progress: Progress) -> None:
        """Note the epoch of a loop that runs, and from time to time the sums."""
        self.found.epochs = progress.epoch
        if time.perf_counter() - self.noted > _EVERY_S:
            self.note()

    def _own(self) -> tuple[float, float]:
        if self.since is None:
            return self.earlier
        (wall, cpu), (wall_then, cpu_then) = _now(), self.since
        return self.earlier[0] + wall - wall_then, self.earlier[1] + cpu - cpu_then


_IN_CHARGE: ContextVar[_Account | None] = ContextVar("in charge", default=None)


@contextmanager
def spending(folder: Path | None) -> Iterator[Spent]:
    """Count what is done inside, on top of what earlier attempts left in `folder`; the sums hold once the block is left.

    Args:
        folder: where log and checkpoints of the training are; None keeps nothing between attempts.
    """
    account = _Account(None if folder is None else folder / "spent.json")
    token = _IN_CHARGE.set(account)
    try:
        with watching(account.look):
            yield account.found
    finally:
        _IN_CHARGE.reset(token)
        account.note()


@contextmanager
def uncounted() -> Iterator[None]:
    """Leave what is done inside out of the account in charge: another one counts it, or it is no more than waiting."""
    account = _IN_CHARGE.get()
    if account is None:
        yield
        return
    account.rest()
    try:
        yield
    finally:
        account.go_on()


def count(name: str, wall_s: float, cpu_s: float) -> None:
    """Count what was done elsewhere, once by each name, in the account in charge; without one this does nothing."""
    account = _IN_CHARGE.get()
    if account is not None:
        account.elsewhere[name] = [wall_s, cpu_s]


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
