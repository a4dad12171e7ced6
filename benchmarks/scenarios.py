"""What the scenarios of a split are made of, and how those of its validation part differ from them.

    python benchmarks/scenarios.py SPLIT

For each scenario: its users, answers and revealed clicks of a user (median), the share of users who have trained, how much of
what is revealed and of what is asked for nobody clicked in training ("new"), and how much of what is asked for nobody clicked
at all, in training or among what is revealed. It counts answers, so no choice may be made by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from metakg.data import Split
from metakg.splits import load


def described(split: Split) -> list[tuple[str, ...]]:
    """Return a row of words for each scenario."""
    v, pairs = split.dataset.vocabulary, split.pairs
    clicks, trained = np.bincount(pairs.items, minlength=v.n_items), np.bincount(pairs.users, minlength=v.n_users)
    rows = []
    for name, scenario in split.scenarios.items():
        users, support, query = scenario.users, scenario.support, scenario.query
        theirs = [np.bincount(part.users, minlength=v.n_users)[users] for part in (query, support)]
        asked = support.select(np.isin(support.users, users))
        known = clicks + np.bincount(support.items, minlength=v.n_items)
        shares = [
            (trained[users] > 0).mean(),
            (clicks[asked.items] == 0).mean() if len(asked) else 0.0,
            (clicks[query.items] == 0).mean(),
        ]
        counts = [f"{len(users):,}", *(f"{np.median(counted):g}" for counted in theirs)]
        rows.append((name, *counts, *(f"{share:.1%}" for share in shares), f"{(known[query.items] == 0).mean():.2%}"))
    return rows


def main() -> None:
    """Print both parts as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    split = load(parser.parse_args().split)
    print("| scenario | users | answers | revealed | have trained | new among revealed | new among answers | never clicked |")
    print("|---|---|---|---|---|---|---|---|")
    for part, of in (("", split), ("validation: ", split.validation)):
        for name, *cells in [] if of is None else described(of):
            print(f"| {part}`{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
