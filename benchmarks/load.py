"""Seconds to load a data set folder, against reading the same Parquet files bare, in one run.

    python benchmarks/load.py DATA [--repeats 7]

The bare read decompresses every column and checks nothing; `Dataset.load` also checks counts, rows and ids. Each measurement
is a process of its own, so that its peak memory is its own; imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def child(what: str, folder: Path) -> None:
    """Measure one of both and print it."""
    import pyarrow.dataset  # noqa: F401 - what `read_table` imports when it is first called would be counted
    import pyarrow.parquet as pq

    from metakg.data import Dataset

    start_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    begin = time.perf_counter()
    kept: object = (
        Dataset.load(folder) if what == "load" else [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    )
    seconds = time.perf_counter() - begin
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "peak_gb": peak_gb, "added_gb": peak_gb - start_gb, "kept": kept is not None}))


def main() -> None:
    """Run both, turn about, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--child", choices=["load", "bare"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.folder)
        return
    found: dict[str, list[dict[str, float]]] = {"bare": [], "load": []}
    for _ in range(arguments.repeats):
        for what, results in found.items():
            command = [sys.executable, __file__, str(arguments.folder), "--child", what]
            results.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    medians = {what: statistics.median(r["seconds"] for r in results) for what, results in found.items()}
    for what, results in found.items():
        peak, added = max(r["peak_gb"] for r in results), max(r["added_gb"] for r in results)
        print(f"{what}: {medians[what] * 1000:.0f} ms median of {arguments.repeats}, peak {peak:.2f} GB ({added:.2f} added)")
    print(f"ratio load / bare: {medians['load'] / medians['bare']:.2f}   ({os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
