"""A split as rows for people and machines: thresholds and support sizes belong into every table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metakg.data import Interactions, Split
from metakg.splits import leakage
from metakg.types import Json


def summary(split: Split) -> list[Json]:
    """Return one row for the training part and one for each scenario, then the same for the validation split.

    A row holds: `part` ("test" or "validation"), `scenario`, `users`, `items`, `support_pairs`, `query_pairs`,
    `candidates`, the quartiles of the support pairs of a user and of the support pairs of an item, `shots_by`,
    `default_shots`, `rule` and `overlap`. `clicks_of_answer` are the quartiles, over query pairs, of how many support pairs
    show the item that is the answer.
    """
    rows = _rows(split, "test")
    if split.validation is not None:
        rows += _rows(split.validation, "validation")
    return rows


def _rows(split: Split, part: str) -> list[Json]:
    rows = [_training_row(split, part)]
    report = leakage.overlap(split)
    for name, scenario in split.scenarios.items():
        rows.append(
            {
                "part": part,
                "scenario": name,
                **_sizes(scenario.support, scenario.query),
                "candidates": len(scenario.candidates),
                "shots_by": scenario.shots_by,
                "default_shots": scenario.default_shots,
                "rule": scenario.manifest.get("rule"),
                "overlap": report[name]["overlap"],
            }
        )
    return rows


def _training_row(split: Split, part: str) -> Json:
    tasks, none = split.tasks, Interactions.empty()
    support, query = (none, none) if tasks is None else (tasks.support, tasks.query)
    return {
        "part": part,
        "scenario": "meta_training",
        **_sizes(support, query),
        "pairs": len(split.pairs),
        "pair_users": len(np.unique(split.pairs.users)),
        "pair_items": len(np.unique(split.pairs.items)),
    }


def _sizes(support: Interactions, query: Interactions) -> Json:
    users = np.unique(query.users)
    of_user = np.bincount(support.users, minlength=int(users.max(initial=-1)) + 1)[users]
    of_item = np.unique(support.items, return_counts=True)[1]
    return {
        "users": len(users),
        "items": len(np.unique(np.concatenate([support.items, query.items]))),
        "support_pairs": len(support),
        "query_pairs": len(query),
        "support_of_user": _quartiles(of_user),
        "support_of_item": _quartiles(of_item),
        "clicks_of_answer": _quartiles(_count(support.items, query.items)),
    }


def _count(shown: npt.NDArray[np.int32], asked: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return how many support pairs each query pair's item has."""
    size = int(max(shown.max(initial=-1), asked.max(initial=-1))) + 1
    return np.bincount(shown, minlength=size)[asked]


def _quartiles(values: npt.NDArray[np.integer]) -> list[float] | None:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])] if len(values) else None
