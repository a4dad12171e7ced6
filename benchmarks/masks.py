"""How many users of each scenario have trained, and what the floors find by either rule of what is left out of a list.

    python benchmarks/masks.py SPLIT [--settings settings/last-fm.toml]

By the project's rule a user's support and training items are left out; the authors' code leaves out the support alone, and
then the floors must not leave out the rest by themselves either (docs/decisions/0008-protocols.md). Nothing is chosen by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metakg.cli.common import model_settings
from metakg.comparison import compare
from metakg.data import Split
from metakg.models.registry import FLOORS
from metakg.splits import load


def trained(split: Split) -> dict[str, tuple[float, float]]:
    """Return for each scenario the share of its users with training pairs, and the mean number of those over all its users."""
    counts = np.bincount(split.pairs.users, minlength=split.dataset.vocabulary.n_users)
    asked = {name: counts[scenario.users] for name, scenario in split.scenarios.items()}
    return {name: (float((theirs > 0).mean()), float(theirs.mean())) for name, theirs in asked.items()}


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--settings", type=Path)
    given = parser.parse_args()
    split = load(given.split)
    for part, of in (("test", split), ("validation", split.validation)):
        for name, (share, mean) in ({} if of is None else trained(of)).items():
            print(f"{part:<11} {name:<15} {share:4.0%} have trained, on {mean:.1f} items in the mean over all")
    settings = model_settings([given.settings] if given.settings else [], [])
    settings = {name: settings.get(name, {}) for name in FLOORS}
    names = [name for name, (share, _) in trained(split).items() if share]
    code = {name: {**theirs, "exclude_seen": False} for name, theirs in settings.items()}
    masks: tuple[tuple[str, Literal["support", "support+train"], dict[str, Any]], ...] = (
        ("support and training", "support+train", settings),
        ("the support alone", "support", code),
    )
    for what, mask, theirs in masks:
        print(f"\nleft out: {what}")
        print(compare(split, FLOORS, scenarios=names, mask=mask, settings=theirs).text())


if __name__ == "__main__":
    main()
