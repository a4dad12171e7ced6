"""Is this pair known? What a sampler of negatives asks for each pair it draws: by sorted search alone, and by slots first.

    python benchmarks/lookups.py [--asked 2048]

Sets of the sizes of ml-100k's and Last-FM's training pairs, and of two million pairs; the keys that are asked for are random,
as negatives are. Microseconds for all of them, the best of seven runs of fifty.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from metakg.sample.keys import KeySet, contains

SETS = {"ml-100k": (80_367, 943 * 1_682), "last-fm": (404_495, 23_566 * 48_123), "two million": (2_000_000, 2_000_000_000)}
"""Number of known pairs, and of all pairs."""


def microseconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    best = float("inf")
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(50):
            call()
        best = min(best, (time.perf_counter() - began) / 50)
    return 1e6 * best


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asked", type=int, default=2048)
    a = parser.parse_args()
    rng = np.random.default_rng(1)
    print(f"{'set':<12} {'pairs':>10} {'search, us':>11} {'slots, us':>10} {'times':>6}")
    for name, (size, space) in SETS.items():
        known, asked = KeySet(rng.integers(space, size=size)), rng.integers(space, size=a.asked)
        assert (known.has(asked) == contains(known.keys, asked)).all()
        plain = microseconds(partial(contains, known.keys, asked))
        slots = microseconds(partial(known.has, asked))
        print(f"{name:<12} {size:>10,} {plain:>11.0f} {slots:>10.0f} {plain / slots:>6.1f}")


if __name__ == "__main__":
    main()
