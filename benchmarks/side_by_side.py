"""Many searches, or many rows of a comparison, at once: a process for each model (and seed), all on one GPU or on some cores.

    python benchmarks/side_by_side.py search SPLIT --models kgat,ckan --minutes 6 --device cuda \
        --folder settings/last-fm-searched
    python benchmarks/side_by_side.py rows SPLIT --models kgat,ckan --seeds 3 --settings settings/last-fm-searched \
        --device cuda --folder runs/last-fm/kept

`search` does what `metakg tune` does, with `FOLDER/MODEL.jsonl` as its log, gone on with where it is there, and
`FOLDER/MODEL.toml` for what it finds. `rows` does what `metakg compare --keep FOLDER` does, a seed in each process. A process
that fails does not end the others; its last words are printed, and the script ends with status 1.

On a GPU one process leaves the card idle for most of its time (small kernels, launched from Python). Twelve at once wait for
each other unless the driver lets them in together: start NVIDIA's MPS before (`nvidia-cuda-mps-control -d`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TUNE = "from metakg.cli.main import run; run()"
_ROW = """
import json, sys
from pathlib import Path
from metakg.cli.common import model_settings, open_split
from metakg.comparison import compare
split, model, seed, settings, device, keep = json.loads(sys.argv[1])
found = model_settings([Path(f) for f in settings], None)
board = compare(open_split(Path(split)), [model], seeds=[seed], settings={k: v for k, v in found.items() if k == model},
                keep=Path(keep), device=device)
print(json.dumps({row["scenario"]: round(row["mean"], 4) for row in board.rows if (row["metric"], row["k"]) == ("recall", 20)}))
"""


@dataclass
class Job:
    """One process to run.

    Attributes:
        name: what it is called in the output.
        command: what to start.
        log: the file that its output goes to.
    """

    name: str
    command: list[str]
    log: Path


def searches(args: argparse.Namespace) -> list[Job]:
    """Return a `metakg tune` for each model."""
    jobs = []
    for model in args.models.split(","):
        log = args.folder / f"{model}.jsonl"
        before = json.loads(log.read_text(encoding="utf-8").splitlines()[0]) if log.exists() else None
        spent = 0.0
        if before is not None:  # the budget of a search counts what earlier parts of it took
            spent = sum(json.loads(line)["seconds"] for line in log.read_text(encoding="utf-8").splitlines()[1:]) / 60
        command = [sys.executable, "-c", _TUNE, "tune", str(args.split), "--model", model]
        command += ["--minutes", f"{spent + args.minutes:.3f}", "--device", args.device, "--log", str(log), "--resume"]
        command += [
            "--out",
            str(args.folder / f"{model}.toml"),
            "--overwrite",
            "--every",
            str((before or {}).get("every", args.every)),
        ]
        fixed = {"training": {"loop": {"patience": 2}}} if before is None else before["fixed"]
        command += [word for name, value in dotted(fixed) for word in ("--set", f"{name}={json.dumps(value)}")]
        command += [word for entry in args.enqueue for word in ("--enqueue", entry)]
        jobs.append(Job(model, command, args.folder / f"{model}.out"))
    return jobs


def dotted(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def rows(args: argparse.Namespace) -> list[Job]:
    """Return a process for each model and seed."""
    jobs = []
    for model in args.models.split(","):
        for seed in range(1, args.seeds + 1):
            told = json.dumps([str(args.split), model, seed, [str(f) for f in args.settings], args.device, str(args.folder)])
            jobs.append(Job(f"{model}-{seed}", [sys.executable, "-c", _ROW, told], args.folder / f"{model}-{seed}.out"))
    return jobs


def run(jobs: list[Job], at_once: int, threads: int) -> int:
    """Run jobs, so many at once; return how many failed."""
    waiting, running, failed = list(jobs), dict[subprocess.Popen[bytes], Job](), 0
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start = time.monotonic()
    while waiting or running:
        while waiting and len(running) < at_once:
            job = waiting.pop(0)
            with job.log.open("wb") as out:
                running[subprocess.Popen(job.command, stdout=out, stderr=subprocess.STDOUT, env=environment)] = job
        time.sleep(0.2)
        for process in [p for p in running if p.poll() is not None]:
            job = running.pop(process)
            last = (job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
            failed += process.returncode != 0
            print(f"{time.monotonic() - start:6.0f} s  {job.name}: {last}", flush=True)
    return failed


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("search", "rows"))
    parser.add_argument("split", type=Path)
    parser.add_argument("--models", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the searches' logs and settings, or of the kept runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each search, beside what its log holds already")
    parser.add_argument("--every", type=int, default=4, help="epochs between two validations, where there is no log yet")
    parser.add_argument("--enqueue", action="append", default=[], help="settings to try first, as for `metakg tune`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", type=Path, action="append", default=[])
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    sys.exit(1 if run(searches(args) if args.what == "search" else rows(args), args.processes, args.threads) else 0)


if __name__ == "__main__":
    main()
