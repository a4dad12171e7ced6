"""From a recommender and a split to numbers that can be trusted.

metrics        pure functions on hits
topk           exact top K of dense scores
inner_product  exact top K of user and item vectors
ranking        `rank`: full ranking of a recommender
leakage        refuses a run in which an answer is visible
evaluator      `evaluate`: the scenarios of a split, one after the other
result         `Evaluation`: what comes out, and its folder on disk
significance   is one model better than another, or is it chance
report         rows over seeds, as text, Markdown and JSON lines

`metrics`, `result`, `significance` and `report` do without torch; `evaluate` is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metakg.evaluation.evaluator import evaluate
    from metakg.evaluation.ranking import RankedLists, rank
    from metakg.evaluation.result import Evaluation, ScenarioResult

_HOME = {
    "Evaluation": "result",
    "RankedLists": "ranking",
    "ScenarioResult": "result",
    "evaluate": "evaluator",
    "rank": "ranking",
}

__all__ = ["Evaluation", "RankedLists", "ScenarioResult", "evaluate", "rank"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
