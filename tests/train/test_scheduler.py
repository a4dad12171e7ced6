"""The task scheduler: its gradient is that of an expectation, its memory and its draws do what they say."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from metakg.train.meta import MetaConfig
from metakg.train.practice import PracticeConfig
from metakg.train.scheduler import SchedulerConfig, TaskScheduler


def scheduler(**settings: object) -> TaskScheduler:
    made = TaskScheduler(SchedulerConfig(**settings), 6, seed=3)
    loss, similarity = torch.linspace(0.2, 1.4, 6), torch.tensor([0.1, -0.5, 0.9, 0.3, 0.0, 0.4])
    for k in range(3):
        made.record(torch.arange(6), loss * (k + 1), similarity - k)
    return made


def test_the_policy_gradient_equals_the_gradient_of_the_expected_cost() -> None:
    made = scheduler(entropy=0.0)
    made.baseline.fill_(0.3)  # any constant: it changes no expectation
    tasks, costs = torch.tensor([0, 2, 3, 5]), torch.tensor([0.9, 0.1, 0.4, 0.7])
    parameters = list(made.parameters())
    expected = torch.autograd.grad((made(tasks).exp() * costs).sum(), parameters)
    chances = made(tasks).exp().detach()
    total = [torch.zeros_like(p) for p in parameters]
    for task in range(4):  # every choice of one task, weighed by its chance
        loss = made.policy_loss(tasks, torch.tensor([task]), costs[[task]])
        for t, g in zip(total, torch.autograd.grad(loss, parameters), strict=True):
            t += chances[task] * g
    for a, b in zip(total, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_a_cost_that_is_remembered_before_it_is_learnt_from_changes_no_gradient() -> None:
    """As with `stale`, where the chosen tasks are scored, and recorded, after the choice."""
    made, twin = scheduler(), scheduler()
    tasks, costs = torch.arange(6), torch.linspace(0.2, 1.4, 6)
    for k in range(3):
        chosen = made.choose(tasks, 3)
        assert torch.equal(twin.choose(tasks, 3), chosen)
        before = {name: p.detach().clone() for name, p in made.named_parameters()}
        twin.learn(tasks, chosen, costs[chosen])
        made.record(tasks[chosen], 9 * costs[chosen] - k, costs[chosen])
        made.learn(tasks, chosen, costs[chosen])
        for name, p in made.named_parameters():
            assert torch.equal(p, dict(twin.named_parameters())[name]), name
            assert k or not torch.equal(p, before[name]), name
        twin.record(tasks[chosen], 9 * costs[chosen] - k, costs[chosen])


def test_drift_asks_only_tasks_that_have_been_seen() -> None:
    made = TaskScheduler(SchedulerConfig(), 6, seed=3)
    tasks = torch.arange(6)
    assert made.learn(tasks, torch.tensor([0, 1]), torch.tensor([0.5, 0.7]))["drift"] == 0.0
    made.record(torch.tensor([1, 4]), torch.tensor([0.5, 0.9]), torch.tensor([0.1, 0.2]))
    chances = made(tasks).detach().exp()[[1, 4]]
    expected = 1.0 if chances[1] > chances[0] else -1.0
    assert made.learn(tasks, torch.tensor([0]), torch.tensor([0.5]))["drift"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("settings", [MetaConfig, PracticeConfig])
def test_a_pool_that_leaves_nothing_to_choose_is_refused(settings: type) -> None:
    with pytest.raises(ValidationError, match=r"scheduler\.pool = 8; a pool above tasks = 8, or there is nothing to choose"):
        settings(tasks=8, scheduler=SchedulerConfig(pool=8))


def test_entropy_by_hand() -> None:
    made = scheduler(entropy=2.0)
    made.baseline.fill_(1.0)
    tasks = torch.arange(4)
    log_p = made(tasks)
    entropy = -(log_p.exp() * log_p).sum()
    loss = made.policy_loss(tasks, torch.tensor([1, 3]), torch.tensor([3.0, 0.0]))
    torch.testing.assert_close(loss, (2.0 * log_p[1] - 1.0 * log_p[3]) / 2 - 2.0 * entropy)


def test_learning_makes_cheap_tasks_likelier_and_reports_the_drift() -> None:
    made = scheduler(learning_rate=0.05)
    tasks, costs = torch.arange(6), torch.linspace(0.2, 1.4, 6)
    notes = {}
    for _ in range(60):
        chosen = made.choose(tasks, 3)
        notes = made.learn(tasks, chosen, costs[chosen])
    chances = made(tasks).exp().detach()
    assert float(chances[0]) > 1 / 6 > float(chances[5])
    assert notes["drift"] < -0.5, "it prefers easy tasks, as the formula says and the text denies"
    assert set(notes) == {"entropy", "drift", "cost"}


def test_memory_keeps_the_newest_and_padding_counts_for_nothing() -> None:
    made = TaskScheduler(SchedulerConfig(history=2), 3, seed=1)
    for k in range(3):
        made.record(torch.tensor([1]), torch.tensor([float(k)]), torch.tensor([-float(k)]))
    assert made.memory[1].tolist() == [[1.0, -1.0], [2.0, -2.0]]
    made.record(torch.tensor([0]), torch.tensor([5.0]), torch.tensor([5.0]))
    series = made._standardised(torch.tensor([0, 1, 2]))
    assert series[2].abs().sum() == 0
    assert series[0, 0].abs().sum() == 0
    seen = torch.stack([series[0, 1], series[1, 0], series[1, 1]])
    torch.testing.assert_close(seen.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen.square().mean(0), torch.ones(2))


def test_choices_are_distinct_and_follow_the_chances() -> None:
    made = scheduler()
    tasks = torch.tensor([0, 1, 2, 3])
    chances = made(tasks).exp().detach()
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[made.choose(tasks, 1)] += 1
    torch.testing.assert_close(counts / 4000, chances, atol=0.03, rtol=0)
    for n in (2, 4, 9):
        chosen = made.choose(tasks, n)
        assert len(set(chosen.tolist())) == min(n, 4)
        assert (chosen.diff() > 0).all()


def test_the_order_of_the_pool_does_not_matter() -> None:
    made = scheduler()
    tasks, order = torch.tensor([4, 0, 3]), torch.tensor([2, 0, 1])
    torch.testing.assert_close(made(tasks)[order], made(tasks[order]))


def test_position_brings_everything_back() -> None:
    made, tasks = scheduler(), torch.arange(6)
    made.learn(tasks, torch.tensor([0, 1]), torch.tensor([0.5, 0.6]))
    position = made.position()

    def go() -> list[float]:
        chosen = made.choose(tasks, 2)
        made.learn(tasks, chosen, torch.tensor([0.2, 0.9]))
        made.record(tasks, torch.rand(6, generator=torch.Generator().manual_seed(1)), torch.zeros(6))
        return made(tasks).tolist()

    first = go()
    made.restore(position)
    assert go() == first


def test_one_candidate_is_certain() -> None:
    made = scheduler()
    assert made(torch.tensor([2])).tolist() == [0.0]
    assert made.choose(torch.tensor([2]), 3).tolist() == [0]
    assert made.learn(torch.tensor([2]), torch.tensor([0]), torch.tensor([0.4]))["drift"] == pytest.approx(0.0)
