"""A small shop, its strict split, and a lab over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metakg.comparison import identify
from metakg.data import Split
from metakg.experiments.lab import Lab
from metakg.generator import PlantedConfig, planted
from metakg.splits import split

QUICK = {
    "metakg-paper": {
        "dim": 8,
        "dims": [8, 8],
        "training": {"init": {"epochs": 1}, "loop": {"epochs": 1}, "adapt": {"epochs": 1}, "meta": {"scheduler": {"pool": 24}}},
    },
    "metakg": {"hidden": 8, "training": {"worlds": 1, "tasks_each": 40, "unclicked": 0.0, "loop": {"epochs": 1}}},
}


@pytest.fixture(scope="session")
def cut() -> Split:
    made = planted(PlantedConfig(users=120, items=150, interactions=3600), seed=3)
    return split(made.dataset, protocol="strict", seed=1, min_support=3)


@pytest.fixture
def lab(cut, tmp_path) -> Callable[..., Lab]:
    def make(*models: str, folder: Path | None = None, seeds: int = 1, **told: object) -> Lab:
        chosen = {name: QUICK[name] for name in models if name in QUICK}
        return Lab(folder or tmp_path / "runs", cut, models, chosen, tuple(range(1, seeds + 1)), 20, identify(cut), told)

    return make
