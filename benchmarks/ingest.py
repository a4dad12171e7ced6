"""Rows a second of `prepare`, against DuckDB's bare scan of the same CSV file in the same run.

    python benchmarks/ingest.py                            1 and 5 million rows
    python benchmarks/ingest.py --rows 50000000 --memory 2GB
    python benchmarks/ingest.py --file clicks.csv          any file of user, item, value, time

Each measurement is a process of its own, so that its peak memory is its own. The bare scan parses every cell and keeps nothing:
it is the least that any reader built on the same engine must spend.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from metakg.heap import peak_bytes

_CHUNK = 1_000_000


def make_csv(path: Path, rows: int, seed: int = 1) -> None:
    """Write a click log: users and items of skewed popularity, ratings, and times that grow by and large."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(rows // 50, 10), max(rows // 500, 10)
    with path.open("w", encoding="utf-8") as out:
        out.write("user_id,item_id,rating,timestamp\n")
        for start in range(0, rows, _CHUNK):
            size = min(_CHUNK, rows - start)
            users = (rng.random(size) ** 1.5 * n_users).astype(np.int64)
            items = (rng.random(size) ** 2 * n_items).astype(np.int64)
            ratings = rng.integers(1, 6, size)
            times = 1_300_000_000 + start * 10 + rng.integers(0, 10**7, size)
            columns = (column.tolist() for column in (users, items, ratings, times))
            out.writelines(f"user{u},item{i},{r},{t}\n" for u, i, r, t in zip(*columns, strict=True))


def scan(path: str, out: str, memory: str, threads: int) -> dict[str, float]:
    """Let DuckDB parse the file as text and count."""
    del out
    import duckdb

    connection = duckdb.connect(config={"threads": threads, "memory_limit": memory})
    columns = "{'user': 'VARCHAR', 'item': 'VARCHAR', 'value': 'VARCHAR', 'time': 'VARCHAR'}"
    table = f"read_csv('{path}', auto_detect=false, columns={columns}, delim=',', header=true, quote='\"', escape='\"')"
    query = f"SELECT count(*), max(length(user)), max(length(item)), max(length(value)), max(length(time)) FROM {table}"
    start = time.perf_counter()
    rows = connection.execute(query).fetchall()[0][0]
    return {"rows": rows, "seconds": time.perf_counter() - start}


def prepare(path: str, out: str, memory: str, threads: int) -> dict[str, float]:
    """Prepare the file as a data set."""
    from metakg.readers import prepare as run

    start = time.perf_counter()
    steps: list[tuple[str, float]] = []
    report = run(
        interactions=path,
        out=out,
        memory=memory,
        threads=threads,
        step=lambda words: steps.append((words, time.perf_counter())),
    )
    end = time.perf_counter()
    ends = [moment for _, moment in steps[1:]] + [end]
    spent = {words: round(stop - begin, 2) for (words, begin), stop in zip(steps, ends, strict=True)}
    tally = report.tallies[0]
    return {"rows": tally.read, "kept": tally.kept, "seconds": end - start, "steps": spent}  # type: ignore[dict-item]


def measure(what: str, path: Path, folder: Path, memory: str, threads: int) -> dict[str, float]:
    """Run one measurement in a child process; add its peak memory in MB."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        __file__,
        "--child",
        what,
        "--file",
        path,
        "--out",
        out,
        "--memory",
        memory,
        "--threads",
        threads,
    ]
    child = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    return dict(json.loads(child.stdout))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--file", type=Path)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the files (default: a temporary folder)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=["scan", "prepare"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        result = {"scan": scan, "prepare": prepare}[given.child](str(given.file), str(given.out), given.memory, given.threads)
        print(json.dumps({**result, "peak_mb": round(peak_bytes() / 2**20)}))
        return
    with tempfile.TemporaryDirectory(prefix="metakg-ingest-", dir=given.folder) as name:
        folder = Path(name)
        if not given.json:
            print(f"{'rows':>12} {'scan s':>8} {'prepare s':>10} {'rows/s':>12} {'ratio':>6} {'peak MB':>8}")
        for rows in [None] if given.file else given.rows:
            path = given.file or folder / "clicks.csv"
            if rows is not None:
                make_csv(path, rows)
            tries = [
                {what: measure(what, path, folder, given.memory, given.threads) for what in ("scan", "prepare")}
                for _ in range(given.repeats)
            ]
            best = {what: min((found[what] for found in tries), key=lambda one: one["seconds"]) for what in ("scan", "prepare")}
            ratio = best["prepare"]["seconds"] / best["scan"]["seconds"]
            if given.json:
                print(json.dumps({"ratio": round(ratio, 2), **best}))
                continue
            n, seconds = best["prepare"]["rows"], best["prepare"]["seconds"]
            line = f"{n:>12,} {best['scan']['seconds']:>8.2f} {seconds:>10.2f} {n / seconds:>12,.0f} {ratio:>6.1f}"
            print(f"{line} {best['prepare']['peak_mb']:>8,.0f}", flush=True)


if __name__ == "__main__":
    main()
