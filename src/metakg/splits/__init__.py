"""Data set -> what a model may see, the scenarios it is judged on, and a validation split for every choice.

split = metakg.split(data, protocol="strict", seed=1)
split = metakg.split(data, protocol="paper", published="last-fm/test_scenario")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metakg.data import Dataset, Split
from metakg.errors import DataError
from metakg.splits.config import AnySplitConfig, PaperConfig, PublishedConfig, SplitConfig, StrictConfig, configure
from metakg.splits.everything import whole
from metakg.splits.leakage import overlap, refuse
from metakg.splits.paper import split_by_time
from metakg.splits.published import split_as_published
from metakg.splits.store import load, save
from metakg.splits.strict import split_strictly
from metakg.splits.summary import summary

__all__ = [
    "AnySplitConfig",
    "PaperConfig",
    "PublishedConfig",
    "SplitConfig",
    "StrictConfig",
    "configure",
    "load",
    "overlap",
    "refuse",
    "save",
    "split",
    "split_with",
    "summary",
    "whole",
]


def split(
    data: Dataset,
    protocol: str = "strict",
    *,
    published: Path | str | None = None,
    seed: int = 1,
    validation: bool = True,
    **options: Any,
) -> Split:
    """Cut a data set into a training part, scenarios, and a validation split.

    Args:
        data: what to cut.
        protocol: `strict` (new ids do not exist before they arrive, answers lie at the end of time; `arrival="lot"` for data
            without times) or `paper` (the rule of the MetaKG paper's published files, all ids known).
        published: scenario files of the MetaKG release to import instead (protocol `paper`).
        seed: seed of everything that is drawn by lot.
        validation: whether to cut a validation split from the training part.
        **options: settings of `PaperConfig`, `PublishedConfig` or `StrictConfig`; `{"rule.min_items": 5}` for a nested one.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: the data cannot be cut so: no times, repeated pairs, malformed files, or nothing left for any scenario.
        LeakageError: a query pair is visible to something that learns or ranks.
        TypeError: `data` is no data set.
    """
    config = configure(protocol, published, {**options, "seed": seed, "validation": validation})
    if not isinstance(data, Dataset):
        raise TypeError(f"metakg.split cuts a Dataset (metakg.read returns one), not a {type(data).__name__}")
    return split_with(data, config)


def split_with(data: Dataset, config: AnySplitConfig) -> Split:
    """Cut a data set by checked settings (see `split`)."""
    match config:
        case PaperConfig():
            result = split_by_time(data, config)
        case PublishedConfig():
            result = split_as_published(data, config)
        case StrictConfig():
            result = split_strictly(data, config)
    for part, what in ((result, "the data"), (result.validation, "the training part, for validation")):
        if part is not None and not part.scenarios:
            raise DataError(
                what,
                "too few users and items with enough pairs for any scenario",
                expected="at least one scenario",
                fix="Use more data, or lower the thresholds (strict: min_support; paper: rule.min_items), or do without a "
                "validation split (--no-validation, validation=False).",
            )
    refuse(result)
    return result
