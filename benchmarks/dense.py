"""Dense layers by MKL and by oneDNN: whether `metakg.models.nn.dense` is right to prefer the second on this processor.

    python benchmarks/dense.py

Microseconds of a layer of so many rows x inputs x outputs, float32, the best of seven runs of fifty: bias and ReLU there, the
gradient of the input, and the gradient of the weights (which `dense` leaves to MKL). A shape that oneDNN meets for the first
time costs it what the last column says, once. Then a softmax over few numbers, torch's and ours.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch

from metakg.models.nn.dense import softmax

SHAPES = ((512, 64, 64), (4096, 64, 32), (4096, 64, 64), (4096, 128, 64), (65536, 64, 64))
FEW = ((10_240, 4), (10_240, 8), (10_240, 15))


def microseconds(call: Callable[[], object], runs: int = 7, calls: int = 50) -> float:
    """Return how long a call takes."""
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - began) / calls)
    return 1e6 * best


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    torch.set_num_threads(parser.parse_args().threads)
    onednn = torch.ops.mkldnn._linear_pointwise
    heads = ("layer: MKL", "oneDNN", "to input", "oneDNN", "to weights")
    print(f"{'rows x in x out':>18} | {heads[0]:>10} {heads[1]:>8} | {heads[2]:>8} {heads[3]:>8} | {heads[4]:>10} | first")
    for n, wide, out in SHAPES:
        x, weight, bias, g = torch.randn(n, wide), torch.randn(out, wide), torch.randn(out), torch.randn(n, out)
        first = microseconds(lambda x=x, w=weight, b=bias: onednn(x, w, b, "relu", [], ""), 1, 1)  # type: ignore[misc]
        there = microseconds(lambda x=x, w=weight, b=bias: torch.addmm(b, x, w.T).relu_())  # type: ignore[misc]
        there_too = microseconds(lambda x=x, w=weight, b=bias: onednn(x, w, b, "relu", [], ""))  # type: ignore[misc]
        back = microseconds(lambda g=g, w=weight: g @ w)  # type: ignore[misc]
        back_too = microseconds(lambda g=g, w=weight: onednn(g, w.T, None, "none", [], ""))  # type: ignore[misc]
        weights = microseconds(lambda g=g, x=x: g.T @ x)  # type: ignore[misc]
        print(
            f"{f'{n:,} x {wide} x {out}':>18} | {there:>10.0f} {there_too:>8.0f} | {back:>8.0f} {back_too:>8.0f} | "
            f"{weights:>10.0f} | {first:.0f}"
        )
    print(f"{'softmax over':>18} | {'torch':>10} {'ours':>8}")
    for shape in FEW:
        x = torch.randn(shape)
        there = microseconds(lambda x=x: torch.softmax(x, -1))  # type: ignore[misc]
        there_too = microseconds(lambda x=x: softmax(x))  # type: ignore[misc]
        print(f"{f'{shape[0]:,} x {shape[1]}':>18} | {there:>10.0f} {there_too:>8.0f}")


if __name__ == "__main__":
    main()
