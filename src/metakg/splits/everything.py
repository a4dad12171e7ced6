"""All of a data set as training data, for a model that is to serve. Nothing is left to judge it by; a split is for that."""

from __future__ import annotations

import numpy as np

from metakg.data import Dataset, Tasks, TrainView
from metakg.splits import order
from metakg.splits.config import StrictConfig
from metakg.splits.strict import latest_of_user


def whole(data: Dataset, *, seed: int = 1) -> TrainView:
    """Return everything that a data set holds as what a model may learn from: `metakg.fit("metakg", metakg.whole(data))`.

    Its meta-training tasks are cut as those of a strict split: a user's latest pairs are asked for by those before them, or
    where there are no times, some drawn by lot by the others.

    Args:
        data: the data set. A model that is fitted on all of it is refused by every split of the same data.
        seed: of what is drawn by lot.

    Raises:
        DataError: a pair occurs twice.
    """
    timed = data.interactions.times_s is not None
    pairs = order.in_time(data, seed) if timed else order.by_lots(data, seed)
    support, query = latest_of_user(pairs, StrictConfig())
    tasks = Tasks(np.unique(query.users), support.pairs_only(), query.pairs_only())
    return TrainView(data.vocabulary, pairs.pairs_only(), data.graph, tasks if len(tasks) else None)
