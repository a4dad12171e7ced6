"""A run folder with rows of every experiment: some from real runs on a small shop, the others made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metakg import fit
from metakg.comparison import identify
from metakg.data import Split
from metakg.evaluation import evaluate
from metakg.experiments.lab import Lab, claim, quality, session
from metakg.experiments.rows import Journal, key_of
from metakg.generator import PlantedConfig, planted
from metakg.splits import split

SHARES = {"user_cold": 0.734, "item_cold": 0.72, "user_item_cold": 0.712, "warm": 0.742}


@pytest.fixture(scope="session")
def cut() -> Split:
    made = planted(PlantedConfig(users=120, items=150, interactions=3600), seed=3)
    return split(made.dataset, protocol="strict", seed=1, min_support=3)


@pytest.fixture(scope="session")
def runs(cut, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "runs"
    lab = Lab(folder, cut, ("popularity", "walk", "kg-knn"), {}, (1, 2), 20, identify(cut))
    claim(folder, lab.identity, {"name": "small <shop>"}, lab.k)
    engines = {name: fit(name, cut.train, seed=1) for name in lab.models}

    def write(experiment: str, units: list[tuple[str, list[dict]]]) -> None:
        with Journal(folder / f"{experiment}.jsonl", {"experiment": experiment, "k": 20, **lab.identity}) as journal:
            journal.begin(session())
            for name, rows in units:
                journal.append(name, {"unit": name}, rows, 1.0)

    def judged(model: str, name: str, seed: int | None = None, **more: object) -> list[dict]:
        found = evaluate(engines[model], cut, k=20, metric_names=("recall", "ndcg"), model=name, seed=seed)
        unit = name if seed is None else f"{name}, seed {seed}"
        found.save(folder / "kept" / key_of({"unit": unit}))
        cost = {"what": "cost", "model": name, "seed": seed, "fit_s": 1.0, "cpu_s": 0.5, "adapt_s": 0.1, "rank_s": 0.2}
        return [*({**row, **more} for row in quality(found)), {**cost, "parameters": 10}]

    curve = {"what": "curve", "model": "metakg", "seed": 1, "phase": "training", "steps": [1, 50, 100]}
    curve |= {"loss": [3.0, 2.0, 1.5], "at": [50, 100], "score": [0.2, 0.3]}
    units = [(model, judged(model, model)) for model in ("popularity", "walk")]
    units += [(f"metakg, seed {seed}", judged("kg-knn", "metakg", seed)) for seed in (1, 2)]
    units[-1][1].append(curve)
    write("table3", units)
    variants = {"full": "kg-knn", "no-scheduler": "walk", "base": "popularity"}
    write("ablation", [(f"metakg {v}, seed 1", judged(model, f"metakg {v}", 1)) for v, model in variants.items()])
    leak = []
    for n, saw in enumerate(("nothing", "as released", "everything")):
        name = f"bpr, saw {saw}"
        about = {"carrier": "bpr", "saw": saw, "share": n / 2, "leaked": n > 0, "mean": 0.1 + n / 10}
        found = [row for row in judged("walk", name) if row["what"] == "quality"]
        leak.append((name, [{**row, **about, "epochs": epochs} for epochs in (5, 10) for row in found]))
    write("leak", leak)
    shots = [row for row in judged("walk", "walk shots") if row["what"] == "quality"]
    study = [
        {**row, "model": "walk", "study": "shots", "shots": n, "mean": n / 100} for n in (0, 1, 5, 10, 80) for row in shots
    ]
    widths = [
        {**row, "model": "metakg", "study": "embedding size", "value": v, "mean": v / 200} for v in (16, 64) for row in shots
    ]
    updates = [{**row, "model": "metakg", "study": "local updates", "value": v} for v in (0, 1, 5) for row in shots]
    write("sensitivity", [("shots, walk", study), ("widths", widths), ("updates", updates)])
    epoch = {
        "what": "epoch",
        "model": "metakg",
        "place": "here",
        "stage": "training",
        "epoch_is": "every task once",
        "steps": 40,
    }
    epoch |= {"seen_steps": 24, "epoch_s": 12.5, "epoch_cpu_s": 11.0, "phase": "MetaKG", "source": "PracticeBatches"}
    size = {"interactions": 1000, "facts": 500, "users": 80, "items": 150, "ready_s": 0.5, "ready_cpu_s": 0.4, "trains": True}
    inference = [{"what": "inference", "model": m, "place": "here", "rank_s": 0.25, **size} for m in ("walk", "metakg")]
    write("efficiency", [("metakg", [epoch, inference[1]]), ("walk", [inference[0]])])
    scale = [
        {"what": "share", "model": "walk", "share": s, "rank_s": s / 10, "users": 10, "clicks": 9, "facts": 9}
        for s in (0.2, 1.0)
    ]
    grown = [
        {
            "what": "size",
            "model": "walk",
            "millions": m,
            "edges": m * 1e6,
            "epoch_s": None,
            "ready_s": m * 2,
            "rank_s": m / 10,
            "rank_cpu_s": m**2,
            "peak_gb": 0.5 + m / 10,
        }
        for m in (1.0, 3.0, 10.0)
    ]
    scale += [
        *grown,
        {"what": "size", "model": "walk", "millions": 300.0, "refused": "memory", "needs_gb": 30.5, "free_gb": 20.0},
    ]
    write("scalability", [("walk", scale)])
    count = {"what": "count", "model": "metakg-paper", "parameters": 300, "vectors": 200, "weights": 100, "steps_an_epoch": 7}
    count |= {"step_operations": 3_590_000_000, "rank_operations": 1000}
    count |= {"propagation": {"64x64x64": 24_576, "64x32x16": 13_312}, "propagation_paper": 15_000}
    write("parameters", [("metakg-paper", [count])])
    assert np.isfinite([row["mean"] for row in shots]).all()
    return folder
