"""Freed memory stays inside, and goes back at the end."""

from __future__ import annotations

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from metakg import heap

# In a process of its own: what it holds is then its own. Arrays of 40 MB are above the size that glibc ever puts into its heap.
PROGRAM = """
import numpy as np
from metakg import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

def work():
    for _ in range(3):
        arrays = [np.ones(5 * 2**20) for _ in range(5)]
        del arrays

work()
before = resident()
with heap.kept():
    with heap.kept():
        work()
    inside = resident()
after = resident()
work()
print(before, inside, after, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_stays_inside_and_goes_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, inside, after, later = map(float, done.stdout.split())
    assert inside > before + 150, "200 MB were freed, and are kept, the inner exit notwithstanding"
    assert after < before + 60
    assert later < before + 60, "and freed memory is given back again from then on"


def test_it_may_be_entered_from_many_threads_and_is_left_by_errors() -> None:
    def once(number: int) -> int:
        with heap.kept():
            return number

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(once, range(200))) == sum(range(200))

    def fail() -> None:
        with heap.kept():
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert heap._inside == 0


def test_without_glibc_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    with heap.kept():
        assert heap._inside == 1
    assert heap._inside == 0
