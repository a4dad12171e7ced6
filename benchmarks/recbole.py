"""Train the baselines that RecBole has too, there and here, on one split: seconds an epoch and Recall@20.

    python benchmarks/recbole.py DATA [--models fm,nfm,cke] [--epochs 60] [--json rows.jsonl] [--environment FOLDER]
    python benchmarks/recbole.py DATA --models ripplenet --epochs 3 --train-only      # seconds alone: nothing is ranked
    python benchmarks/recbole.py DATA --models ripplenet --epochs 8 --here-only       # its side is known and takes an hour

DATA is a data set folder, as `metakg prepare ml-100k/` makes it. RecBole 1.2.1 (Zhao et al., CIKM 2021) gets an environment of
its own, made in a temporary folder (or kept in FOLDER): it needs numpy < 2 and pandas < 2.2. It asks for `ray`, which only its
search over settings uses; an empty stub stands in for it. Its checkpoints are pickles that it writes and reads itself, in that
environment alone.

How the split is shared: the pairs of every user are cut at random, 80 : 10 : 10, by a named generator, and written as RecBole's
benchmark files (`benchmark_filename: [train, valid, test]`), with the facts as `.kg` and the links as `.link`, all under
external ids; so RecBole splits nothing itself. Here the same training pairs are the view, and the validation and test pairs
are judged by the same rule as RecBole's full ranking: all items but the user's training items (for the test also the
validation items), mean over users of hits in the first 20 / number of held-out items.

Equal on both sides: batch (2,048), width (64), Adam at 1e-3, one uniform negative, threads, at most so many epochs, validation
every few epochs with the same patience, best epoch kept. Everything else is each side's default (ours start from BPR vectors
of the same pairs, which are fitted before the first epoch and counted in no epoch's seconds; theirs start at random), except
that `fm` and `nfm` here read ids alone and regularise nothing, as there, `nfm` has RecBole's three hidden layers without
dropout, `kgcn` its four neighbours in one hop, and `ripplenet` its sixteen facts a hop. (Where RecBole labels single pairs, as
in FM and NFM, it counts a positive and its negative as two: its batches hold 1,024 clicks, and an epoch has twice as many
steps.) An epoch is training alone, without validation, and its seconds are the median of the epochs on either side; ours are
timed before and after RecBole's, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metakg import rng as random
from metakg.data import Dataset, Interactions, TrainView
from metakg.evaluation.ranking import rank
from metakg.models.base import Recommender
from metakg.models.registry import MODELS
from metakg.train import fit as training
from metakg.train.loop import Loop, Progress, watching

THEIRS = {"fm": "FM", "nfm": "NFM", "cke": "CKE", "cfkg": "CFKG", "kgcn": "KGCN", "ripplenet": "RippleNet"}
"""Registry name here -> class name there."""
OURS: dict[str, dict[str, Any]] = {
    "fm": {"features": "ui", "weight_decay": 0.0},
    "nfm": {"features": "ui", "weight_decay": 0.0, "hidden": [64, 64, 64], "dropout": 0.0},
    "kgcn": {"neighbours": 4, "hops": 1},
    "ripplenet": {"memory": 16},
}
"""What makes a model read and weigh as much as RecBole's does by default."""
REQUIREMENTS = (
    *("numpy<2", "pandas<2.2", "torch>=2.6,<2.14", "scipy", "scikit-learn", "tqdm", "pyyaml", "colorlog==4.7.2"),
    *("colorama==0.4.4", "tensorboard", "thop", "tabulate", "plotly", "texttable", "psutil"),
)
BATCH, WIDTH, RATE, K = 2048, 64, 1e-3, 20


@dataclass(frozen=True)
class Cut:
    """One split of a data set.

    Attributes:
        data: the data set.
        train, valid, test: its pairs, in rows of the data set.
    """

    data: Dataset
    train: Interactions
    valid: Interactions
    test: Interactions

    @staticmethod
    def of(data: Dataset, seed: int) -> Cut:
        """Cut the pairs of every user at random, 80 : 10 : 10."""
        pairs, rng = data.interactions.pairs_only(), random.generator(seed, "recbole/split")
        order = np.lexsort((rng.random(len(pairs)), pairs.users))
        count = np.bincount(pairs.users)
        start = np.cumsum(count) - count
        place = np.empty(len(pairs))
        place[order] = (np.arange(len(pairs)) - start[pairs.users[order]]) / count[pairs.users[order]]
        return Cut(data, *(pairs.select((place >= low) & (place < high)) for low, high in ((0, 0.8), (0.8, 0.9), (0.9, 1.0))))

    def view(self) -> TrainView:
        """Return the training data: all users, items and facts, and the training pairs."""
        return TrainView(self.data.vocabulary, self.train, self.data.graph)

    def write(self, folder: Path) -> None:
        """Write RecBole's atomic files."""
        v, facts = self.data.vocabulary, self.data.graph.entity
        place = folder / "shared"
        place.mkdir(parents=True)
        for name in ("train", "valid", "test"):
            pairs = getattr(self, name)
            columns = {"user_id:token": v.users.ids(pairs.users), "item_id:token": v.items.ids(pairs.items)}
            _write(place / f"shared.{name}.inter", columns)
        heads, tails = v.entities.ids(facts.heads), v.entities.ids(facts.tails)
        relations = v.relations.ids(facts.relations)
        _write(place / "shared.kg", {"head_id:token": heads, "relation_id:token": relations, "tail_id:token": tails})
        linked = np.flatnonzero(np.isin(np.arange(v.n_items), np.concatenate([facts.heads, facts.tails]))).astype(np.int32)
        _write(place / "shared.link", {"item_id:token": v.items.ids(linked), "entity_id:token": v.entities.ids(linked)})


def _write(path: Path, columns: dict[str, list[str]]) -> None:
    rows = ["\t".join(columns), *("\t".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def recall(model: Recommender, asked: Interactions, hidden: Interactions) -> float:
    """Return the mean over users of hits in the first 20 / held-out items; `hidden` pairs are not shown."""
    users = np.unique(asked.users)
    n_items = model.view.n_items
    mask = hidden.csr(model.view.n_users, n_items)[users]
    top = rank(model, users, K, mask).items
    row = np.searchsorted(users, asked.users)
    hits = (top[row] == asked.items[:, None]).any(1)
    return float(np.mean(np.bincount(row, hits) / np.bincount(row)))


def settings(name: str, epochs: int, every: int, patience: int) -> dict[str, Any]:
    """Return our settings: what is equal on both sides, and what makes the model read the same."""
    loop = {"learning_rate": RATE, "epochs": epochs, "validate_epochs": every, "patience": patience}
    how = {"batch_size": BATCH, "facts": BATCH, "negatives": 1, "loop": loop}
    return {"dim": WIDTH, **OURS.get(name, {}), "training": how}


def ours(cut: Cut, name: str, epochs: int, every: int, patience: int, seed: int) -> dict[str, Any]:
    """Train here with validation; return the recall on the test pairs."""
    view, scores = cut.view(), list[float]()

    def judge(model: Recommender) -> float:
        scores.append(recall(model, cut.valid, cut.train))
        return scores[-1]

    config, how = training.settings_for(name, settings(name, epochs, every, patience))
    fitted = training.fit(config, how, view, seed, validate=judge)
    both = Interactions.concat(cut.train, cut.valid)
    return {"recall": recall(fitted, cut.test, both), "valid": max(scores), "epochs": min(epochs, every * len(scores))}


def timed(cut: Cut, name: str, epochs: int, seed: int) -> list[tuple[float, float]]:
    """Return seconds and processor seconds of some epochs here, without validation."""
    view, marks = cut.view(), list[tuple[float, float]]()
    config, how = training.settings_for(name, settings(name, epochs + 1, 1, 1))
    model = MODELS[name].__name__

    def mark(loop: Loop, progress: Progress) -> None:
        """Look at the clocks once an epoch, as the other side does."""
        if type(loop.model).__name__ == model and progress.step % len(loop.source) == 0:
            marks.append((time.perf_counter(), time.process_time()))

    with watching(mark):
        training.fit(config, how, view, seed)  # the first epoch warms up
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]


def environment(folder: Path, say: Callable[[str], None]) -> Path:
    """Make RecBole's environment unless it is there; return its Python."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say("making RecBole's environment")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        subprocess.run([*pip, "--no-deps", "recbole==1.2.1"], check=True)
        (folder / "stubs" / "ray").mkdir(parents=True)
        (folder / "stubs" / "ray" / "__init__.py").write_text("tune = None\n", encoding="utf-8")
        (folder / "ready").touch()
    return python


def theirs(python: Path, folder: Path, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Train there; return its report. Python's -P keeps this file from being taken for the package of its name."""
    stubs = python.parent.parent / "stubs"
    command = [
        str(python),
        "-P",
        str(Path(__file__).with_name("recbole_child.py")),
        THEIRS[name],
        str(folder),
        json.dumps(given),
    ]
    variables = {**os.environ, "PYTHONPATH": str(stubs)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=variables)
    if done.returncode:
        raise SystemExit(f"RecBole's {THEIRS[name]} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


_NOT_RUN: dict[str, Any] = {"seconds": None, "cpu_seconds": None, "recall": None, "valid": None, "epochs": "-"}


def _shown(number: float | None, digits: int = 4) -> str:
    return "-" if number is None else f"{number:.{digits}f}"


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default=",".join(name for name in THEIRS if name in MODELS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--every", type=int, default=5, help="epochs between two validations")
    parser.add_argument("--patience", type=int, default=3, help="validations without a gain before a run stops")
    parser.add_argument("--timed", type=int, default=3, help="epochs to time here, before RecBole and after it")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--environment", type=Path, help="keep RecBole's environment here, or use the one that is here")
    parser.add_argument("--train-only", action="store_true", help="rank nothing on either side; for seconds alone")
    parser.add_argument("--here-only", action="store_true", help="leave RecBole out, whose side does not change")
    parser.add_argument("--json", type=Path, help="append one JSON line a model")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    cut = Cut.of(Dataset.load(a.data), a.seed)
    sizes = f"{len(cut.train):,} training, {len(cut.valid):,} validation and {len(cut.test):,} test pairs"
    print(f"{sizes}; {len(cut.data.graph.entity):,} facts; batch {BATCH:,}, width {WIDTH}, {a.threads} threads, seed {a.seed}")
    print(
        f"{'model':<10} {'ours s/epoch':>12} {'RecBole':>8} {'times':>6} {'cpu':>6} {'ours recall':>12} {'RecBole':>8}  epochs"
    )
    with tempfile.TemporaryDirectory() as temporary:
        python = None if a.here_only else environment(a.environment or Path(temporary) / "environment", say)
        cut.write(Path(temporary) / "data")
        given = {
            "data_path": str(Path(temporary) / "data"),
            "checkpoint_dir": str(Path(temporary) / "saved"),
            "epochs": a.epochs,
            "eval_step": a.every,
            "stopping_step": a.patience,
            "train_batch_size": BATCH,
            "embedding_size": WIDTH,
            "kg_embedding_size": WIDTH,
            "learning_rate": RATE,
            "topk": K,
            "seed": a.seed,
            "threads": a.threads,
            "ranks": not a.train_only,
        }
        for name in a.models.split(","):
            say(f"{name}: here")
            before = timed(cut, name, a.timed, a.seed)
            nothing: dict[str, Any] = {"recall": None, "valid": None, "epochs": a.timed}
            found = nothing if a.train_only else ours(cut, name, a.epochs, a.every, a.patience, a.seed)
            other = _NOT_RUN
            if python is not None:
                say(f"{name}: RecBole")
                other = theirs(python, Path(temporary), name, given)
            after = timed(cut, name, a.timed, a.seed)
            wall, cpu = (float(np.median(each)) for each in zip(*before, *after, strict=True))
            row = {
                "model": name,
                "ours_s": wall,
                "recbole_s": other["seconds"],
                "times": None if python is None else other["seconds"] / wall,
                "times_cpu": None if python is None else other["cpu_seconds"] / cpu,
                "ours": found,
                "recbole": {"recall": other["recall"], "valid": other["valid"], "epochs": other["epochs"]},
            }
            epochs = f"{found['epochs']} / {other['epochs']}"
            print(
                f"{name:<10} {wall:>12.3f} {_shown(other['seconds'], 3):>8} {_shown(row['times'], 1):>6} "
                f"{_shown(row['times_cpu'], 1):>6} {_shown(found['recall']):>12} {_shown(other['recall']):>8}  {epochs}",
                flush=True,
            )
            if a.json is not None:
                with a.json.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(row) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, peak here {peak:.1f} GB")


if __name__ == "__main__":
    main()
