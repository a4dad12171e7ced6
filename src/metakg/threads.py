"""Threads for work that spends its time outside Python: sparse products and sorting let other threads run meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_order(work: Callable[[Part], Result], parts: Sequence[Part], at_once: bool = True) -> Iterator[Result]:
    """Do the same with each of several parts, on as many threads as torch uses, and hand out the results in their order.

    A few results at most wait to be taken. What fails is raised where its result would have been taken. With `at_once` false
    the caller's thread does it all.
    """
    n_threads = torch.get_num_threads() if at_once else 1
    if min(n_threads, len(parts)) < 2:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for part in parts:
                ahead.append(pool.submit(work, part))
                if len(ahead) > n_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
