"""How an engine comes about: a model is fitted, or a bundle opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metakg.data import TrainView
from metakg.engine.engine import Engine
from metakg.engine.overlay import Clicks, Overlay
from metakg.train import fit as training
from metakg.train.log import Sink
from metakg.types import Json


def fit(
    model: str,
    train: TrainView,
    *,
    seed: int = 1,
    folder: Path | str | None = None,
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    sinks: Sequence[Sink] = (),
    device: str = "cpu",
    **settings: Any,
) -> Engine:
    """Fit a model by its registry name and return it ready to recommend.

    Args:
        model: registry name, such as "metakg" or "blend".
        train: training data: `split.train`, or `metakg.whole(data)` of all that there is, once a model is chosen.
        seed: the one number all randomness comes from.
        folder: where a learnt model keeps its log and checkpoints; None keeps nothing.
        resume: go on from the checkpoint in `folder`.
        report: called with a few words at each new step of the work.
        sinks: further places for a learnt model's log (`metakg.train.log`).
        device: where a network is trained, such as "cuda"; answers come from the CPU.
        settings: the model's own settings, and those of its training under `training`; unknown ones are errors.

    Raises:
        ConfigError: the model, a setting or the device is unknown, or a value is not allowed.
        DataError: the data cannot be learnt from.
        TrainingError: a training run cannot go on.
        TypeError: `train` is a data set or a split.
    """
    if not isinstance(train, TrainView):
        raise TypeError(f"train is what may be learnt from: split.train, or metakg.whole(data); not a {type(train).__name__}")
    config, how = training.settings_for(model, settings)
    place = None if folder is None else Path(folder)
    fitted = training.fit(config, how, train, seed, folder=place, resume=resume, report=report, sinks=sinks, device=device)
    resolved: Json = {
        "model": config.model_dump(mode="json"),
        "training": None if how is None else how.model_dump(mode="json"),
        "seed": seed,
    }
    return Engine(fitted, resolved)


def load(folder: Path | str) -> Engine:
    """Open a bundle folder. Nothing in it is executed.

    Raises:
        CheckpointError: the bundle is damaged, of another version, or no bundle.
    """
    from metakg import bundle

    recommender, settings, state = bundle.load(Path(folder))
    theirs: dict[str, dict[str, set[str]]] = {}
    for user, item, kind in state.clicks:
        theirs.setdefault(kind, {}).setdefault(user, set()).add(item)
    liked, disliked = theirs.get("like", {}), theirs.get("dislike", {})
    clicks = ((user, Clicks().then(liked.get(user, ()), disliked.get(user, ()))) for user in liked.keys() | disliked.keys())
    arrived = {user: frozenset(items) for user, items in theirs.get("arrived", {}).items()}
    removed = frozenset(state.removed)
    return Engine(recommender, settings, overlay=Overlay.of(clicks), removed=removed, arrived=arrived, figures=state.figures)
