"""The shared runner: which unit is next, what a budget cuts, and a bar that says how long it will take.

Units run by tier, and inside a tier next comes the experiment that has had the least time, so that a run that is cut short
has something to show of each. A budget cuts from the last tier: further seeds first, then trials beside the main one, then
larger sizes. It never changes what a unit is: the protocol, the settings and the epochs of what does run are those of a run
without a budget.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from metakg.errors import MetakgError
from metakg.experiments.rows import Journal
from metakg.train.loop import watching
from metakg.types import Json

Kind = Literal["essential", "sizes", "trials", "seeds"]
TIERS: tuple[Kind, ...] = ("essential", "sizes", "trials", "seeds")
"""What a unit is for, in the order in which a budget spares it."""

_GUESS_S = 5.0
"""What a unit of an unknown kind is taken to cost in the estimate of the time left."""


class OutOfBudget(Exception):  # noqa: N818 - not an error: the clock says stop
    """Stops the unit in flight."""


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done or not done.

    Attributes:
        experiment: whose rows it adds to.
        name: for people; unique in its experiment.
        rule: everything that decides its result.
        work: does it and returns its rows.
        tier: what it is for.
        like: units of one name here cost about the same, up to `weight`.
        weight: cost as a multiple of the others.
    """

    experiment: str
    name: str
    rule: Json
    work: Callable[[Desk], list[Json]]
    tier: Kind = "essential"
    like: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Desk:
    """What a unit at work may use beside its own arguments.

    Attributes:
        tell: says in a few words what is going on.
        journals: the rows of all experiments so far.
        seconds_left: until the budget is used up; None without one.
        remark: keeps a sentence for the end of the run.
    """

    tell: Callable[[str], None]
    journals: Mapping[str, Journal]
    seconds_left: Callable[[], float | None]
    remark: Callable[[str], None]


@dataclass
class Report:
    """How a run went.

    Attributes:
        done: units done now.
        kept: units that were done before.
        cut: units that the budget left out.
        failed: units that raised an error, with its text; they run again with `--resume`.
        remarks: what units had to say.
    """

    done: list[Unit] = field(default_factory=list)
    kept: list[Unit] = field(default_factory=list)
    cut: list[Unit] = field(default_factory=list)
    failed: list[tuple[Unit, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def cuts(self) -> list[str]:
        """Return what the budget cut, one line for each experiment and tier."""
        groups: dict[tuple[str, str], list[str]] = {}
        for unit in self.cut:
            groups.setdefault((unit.experiment, unit.tier), []).append(unit.name)
        lines = []
        for (experiment, tier), names in sorted(groups.items(), key=lambda g: (TIERS.index(g[0][1]), g[0][0])):
            shown = "; ".join(names[:4]) + (f"; and {len(names) - 4} more" if len(names) > 4 else "")
            lines.append(f"{experiment}, {tier}: {len(names)} unit{'s' * (len(names) != 1)} ({shown})")
        return lines


class Bar(Protocol):
    """Shows how far a run is."""

    def update(self, done: int, total: int, words: str, seconds_left: float | None) -> None:
        """Show that `done` of `total` units are done, what is going on, and the time left where that can be said."""


class Silent:
    """Shows nothing."""

    def update(self, done: int, total: int, words: str, seconds_left: float | None) -> None:
        """Show nothing."""


def run(
    units: Sequence[Unit],
    journals: Mapping[str, Journal],
    *,
    budget_s: float | None = None,
    bar: Bar | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Do all units that are not done yet, or as many as the budget allows.

    A unit that fails with an error of ours is reported and does not stop the others, unless it cannot write its results; any
    other exception stops the run. What was done before is safe in either case.

    Args:
        units: in any order.
        journals: an open one for each experiment.
        budget_s: seconds in all; None has no limit.
        bar: shows how far it is.
        clock: tests give their own.

    Raises:
        DataError: a rows file holds a unit under other settings, or cannot be written.
    """
    shown = bar or Silent()
    report = Report()
    waiting: list[Unit] = []
    for unit in units:
        done = journals[unit.experiment].find(unit.name, unit.rule)
        (waiting if done is None else report.kept).append(unit)
    began = clock()
    prices = _Prices(units, journals)

    def left() -> float | None:
        return None if budget_s is None else budget_s - (clock() - began)

    spent = dict.fromkeys(journals, 0.0)
    while waiting:
        ahead = tuple(waiting)
        unit = next_of(waiting, spent)
        waiting.remove(unit)
        remaining, expected = left(), prices.of(unit)
        if remaining is not None and (remaining <= 0 or (expected is not None and expected > remaining)):
            report.cut.append(unit)
            continue
        title = f"{unit.experiment}: {unit.name}"
        counted = len(report.kept) + len(report.done)

        def tell(words: str, title: str = title, counted: int = counted, ahead: Sequence[Unit] = ahead) -> None:
            shown.update(counted, len(units), f"{title}: {words}", prices.total(ahead, left()))

        tell("starts")
        start = clock()
        try:
            with _stopping(left):
                rows = unit.work(Desk(tell, journals, left, report.remarks.append))
        except OutOfBudget:
            report.cut.append(unit)
            continue
        except MetakgError as err:
            if err.where.startswith("writing "):
                raise  # a full disk fails every unit after this one too
            report.failed.append((unit, f"{type(err).__name__}: {err}"))
            continue
        finally:
            spent[unit.experiment] += clock() - start
        seconds = clock() - start
        journal = journals[unit.experiment]
        written = journal.append(unit.name, unit.rule, rows, seconds)
        shutil.rmtree(journal.path.parent / "work" / written.key, ignore_errors=True)  # what its training left to go on from
        prices.note(unit, seconds)
        report.done.append(unit)
    shown.update(len(units) - len(report.cut) - len(report.failed), len(units), "done", 0.0)
    return report


def next_of(waiting: Sequence[Unit], spent: Mapping[str, float]) -> Unit:
    """Return the unit that is next: of the first tier that has one, from the experiment that had the least time so far."""
    tier = min(TIERS.index(unit.tier) for unit in waiting)
    ready = [unit for unit in waiting if unit.tier == TIERS[tier]]
    return min(ready, key=lambda unit: spent[unit.experiment])


class _Prices:
    """What units cost, from those that are done."""

    def __init__(self, units: Sequence[Unit], journals: Mapping[str, Journal]) -> None:
        self.seconds: dict[str, float] = {}
        for unit in units:
            done = journals[unit.experiment].find(unit.name, unit.rule)
            if done is not None:
                self.note(unit, done.seconds)

    def note(self, unit: Unit, seconds: float) -> None:
        per = seconds / unit.weight
        self.seconds[unit.like] = max(self.seconds.get(unit.like, 0.0), per)

    def of(self, unit: Unit) -> float | None:
        per = self.seconds.get(unit.like)
        return None if per is None else per * unit.weight

    def total(self, ahead: Sequence[Unit], limit: float | None) -> float:
        """Return the seconds that these units will take, a guess standing for kinds that nothing is known of."""
        known = list(self.seconds.values())
        guess = sum(known) / len(known) if known else _GUESS_S
        total = sum(guess * unit.weight if (price := self.of(unit)) is None else price for unit in ahead)
        return total if limit is None else min(total, max(limit, 0.0))


@contextmanager
def _stopping(left: Callable[[], float | None]) -> Iterator[None]:
    """Raise `OutOfBudget` at the first training step after the budget is used up."""

    def look(loop: Any, progress: Any) -> None:
        remaining = left()
        if remaining is not None and remaining <= 0:
            raise OutOfBudget

    with watching(look):
        yield
