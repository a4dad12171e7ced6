"""Work on several threads is the same work, in the same order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from metakg.threads import in_order


@pytest.fixture(params=[1, 2, 4])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_parts(n_threads: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.001 * (n % 3))
        return n * n

    for size in (0, 1, 2, 25):
        assert list(in_order(work, range(size))) == [n * n for n in range(size)]


def test_so_many_threads_work_as_torch_uses(n_threads: int) -> None:
    seen, at_once = set(), threading.Barrier(n_threads, timeout=30)

    def work(_: int) -> None:
        at_once.wait()  # passes only if all of them are inside
        seen.add(threading.get_ident())

    list(in_order(work, range(4 * n_threads)))
    assert len(seen) == n_threads
    assert (threading.get_ident() in seen) == (n_threads == 1)


def test_a_failure_is_raised_where_its_result_would_be_and_few_results_wait(n_threads: int) -> None:
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n == 3:
            raise ValueError("three")
        return n

    results, taken = in_order(work, range(1000)), []
    for result in itertools.islice(results, 3):
        taken.append(result)
        assert len(begun) <= len(taken) + n_threads
    assert taken == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(begun) <= 4 + n_threads


def test_who_stops_asking_stops_the_work(n_threads: int) -> None:
    begun = []
    results = in_order(begun.append, range(1000))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 1 + n_threads
