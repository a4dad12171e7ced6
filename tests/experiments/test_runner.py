"""The runner: order, budget, time left, failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from metakg.errors import ConfigError, DataError
from metakg.experiments.rows import Journal
from metakg.experiments.runner import OutOfBudget, Unit, next_of, run


class Clock:
    """Time that passes only when a unit works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Noted:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str, float | None]] = []

    def update(self, done, total, words, seconds_left) -> None:
        self.seen.append((done, total, words, seconds_left))


@pytest.fixture
def journals(tmp_path):
    opened = {name: Journal(tmp_path / f"{name}.jsonl", {"experiment": name}) for name in ("a", "b")}
    for journal in opened.values():
        journal.begin({})
    yield opened
    for journal in opened.values():
        journal.close()


def unit(clock: Clock, experiment: str, name: str, tier="essential", seconds: float = 1.0, like: str = "x", weight=1.0) -> Unit:
    def work(desk):
        clock.now += seconds
        return [{"what": "quality", "name": name}]

    return Unit(experiment, name, {"name": name}, work, tier, like, weight)


def test_everything_runs_once_and_then_never_again(journals) -> None:
    clock = Clock()
    units = [unit(clock, "a", "1"), unit(clock, "b", "2"), unit(clock, "a", "3", "seeds")]
    first, second = run(units, journals, clock=clock), run(units, journals, clock=clock)
    assert (len(first.done), len(first.kept), clock.now) == (3, 0, 3.0)
    assert (len(second.done), len(second.kept)) == (0, 3)
    assert [row["name"] for row in journals["a"].record.rows] == ["1", "3"]


def test_the_experiment_with_the_least_time_is_next_inside_a_tier() -> None:
    clock = Clock()
    named = [("a", "seed", "seeds"), ("a", "main", "essential"), ("b", "main", "essential"), ("b", "s", "sizes")]
    units = [unit(clock, *words) for words in named]
    assert next_of(units, {"a": 5.0, "b": 1.0}).experiment == "b"
    assert next_of(units, {"a": 0.0, "b": 1.0}) is units[1]
    assert next_of(units[3:] + units[:1], {"a": 0.0, "b": 9.0}) is units[3]


def test_a_budget_cuts_seeds_before_trials_before_sizes(journals) -> None:
    clock = Clock()
    units = [unit(clock, "a", f"{tier} {n}", tier) for tier in ("seeds", "trials", "sizes", "essential") for n in range(2)]
    report = run(units, journals, budget_s=5.5, clock=clock)
    assert [u.name for u in report.done] == ["essential 0", "essential 1", "sizes 0", "sizes 1", "trials 0"]
    assert report.cuts() == ["a, trials: 1 unit (trials 1)", "a, seeds: 2 units (seeds 0; seeds 1)"]


def test_what_will_not_fit_is_not_started_but_smaller_work_is(journals) -> None:
    clock = Clock()
    units = [
        unit(clock, "a", "small", seconds=4.0, like="size", weight=1.0),
        unit(clock, "a", "large", "sizes", seconds=40.0, like="size", weight=10.0),
        unit(clock, "a", "other", "seeds", seconds=1.0, like="other"),
    ]
    report = run(units, journals, budget_s=10, clock=clock)
    assert [u.name for u in report.done] == ["small", "other"]
    assert [u.name for u in report.cut] == ["large"]


def test_a_unit_in_flight_is_stopped_by_the_clock_and_leaves_no_row(journals) -> None:
    clock = Clock()

    def endless(desk):
        clock.now += 100
        assert desk.seconds_left() < 0
        raise OutOfBudget

    report = run([Unit("a", "endless", {}, endless)], journals, budget_s=1, clock=clock)
    assert [u.name for u in report.cut] == ["endless"]
    assert journals["a"].record.rows == []


def test_a_budget_of_nothing_cuts_everything(journals) -> None:
    clock = Clock()
    report = run([unit(clock, "a", "1")], journals, budget_s=0, clock=clock)
    assert (len(report.done), len(report.cut), clock.now) == (0, 1, 0.0)


def test_the_time_left_follows_from_what_was_seen(journals) -> None:
    clock, bar = Clock(), Noted()
    units = [unit(clock, "a", str(n), seconds=3.0) for n in range(4)]
    run(units, journals, clock=clock, bar=bar)
    shown = [(done, left) for done, _, words, left in bar.seen if words.endswith("starts")]
    assert shown == [(0, 20.0), (1, 9.0), (2, 6.0), (3, 3.0)]


def test_an_error_of_ours_is_reported_and_does_not_stop_the_others(journals) -> None:
    clock = Clock()

    def fails(desk):
        raise ConfigError("x", "y", expected="z", fix="Do.")

    report = run([Unit("a", "bad", {"bad": 1}, fails), unit(clock, "a", "good")], journals, clock=clock)
    assert [(u.name, text) for u, text in report.failed] == [("bad", "ConfigError: x: found y; expected z. Do.")]
    assert [u.name for u in report.done] == ["good"]


def test_a_disk_that_fills_stops_the_run(journals) -> None:
    def fails(desk):
        raise DataError(f"writing {Path('x')}", "a full disk", expected="free space", fix="Free some.")

    with pytest.raises(DataError, match="full disk"):
        run([Unit("a", "bad", {"bad": 1}, fails)], journals)


def test_any_other_exception_is_a_fault_and_is_not_hidden(journals) -> None:
    def fails(desk):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([Unit("a", "bad", {"bad": 1}, fails)], journals)
