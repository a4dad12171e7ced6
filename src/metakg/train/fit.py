"""From settings to a recommender that is ready: closed forms are built, learnt models go through their recipe.

A model's settings say what it is; its *training* settings say how it learns, and stand apart (`training` in Python and TOML):

    [metakg]
    hidden = 64
    [metakg.training]
    worlds = 3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from metakg import rng as random
from metakg.data import Split, TrainView
from metakg.errors import ConfigError, DataError, TrainingError, complaint
from metakg.evaluation import evaluate
from metakg.models.base import ModelConfig, Recommender
from metakg.models.learnt import Learnt
from metakg.models.metakg import MetaKG
from metakg.models.metakg_paper import MetaKG as PaperMetaKG
from metakg.models.metakg_paper_config import MetaKGConfig as PaperConfig
from metakg.models.registry import build, config_for, rebuild
from metakg.train.adapt import CoAdapting
from metakg.train.baseline import (
    Adapting,
    BaselineConfig,
    KgatTraining,
    McrecTraining,
    TaskConfig,
    UgrecTraining,
    train_baseline,
)
from metakg.train.log import Sink
from metakg.train.loop import LoopConfig
from metakg.train.practice import PracticeConfig, practise
from metakg.train.recipe import Recipe, ablated, train_metakg

TRAINING: dict[str, type[BaseModel]] = {
    "cfkg": BaselineConfig,
    "ckan": BaselineConfig,
    "cke": BaselineConfig,
    "fm": BaselineConfig,
    "kgat": KgatTraining,
    "kgcn": BaselineConfig,
    "mcrec": McrecTraining,
    "melu": TaskConfig,
    "metahin": TaskConfig,
    "metakg": PracticeConfig,
    "metakg-paper": Recipe,
    "nfm": BaselineConfig,
    "ripplenet": BaselineConfig,
    "ugrec": UgrecTraining,
}
"""Training settings of every model that learns by gradient."""

Report = Callable[[str], None]
Judge = Callable[[Recommender], float]
"""Judges a recommender, which it adapts first, on a validation scenario; higher is better."""


def settings_for(name: str, settings: dict[str, Any]) -> tuple[ModelConfig, BaseModel | None]:
    """Return a model's settings and its training settings (None where nothing is learnt by gradient).

    Raises:
        ConfigError: the model or a setting is unknown, or a value is not allowed.
    """
    rest = dict(settings)
    given = rest.pop("training", None)
    config = config_for(name, rest)
    kind = TRAINING.get(name)
    if kind is None:
        if given is not None:
            raise ConfigError(f"{name}.training", repr(given), expected="no such settings", fix=f"{name} needs no training.")
        return config, None
    try:
        return config, kind.model_validate(_over(kind().model_dump(mode="json"), {} if given is None else given))
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(["training", *(str(part) for part in first["loc"])])
        found, expected = complaint(first)
        raise ConfigError(
            f"setting {place} of {name}",
            found,
            expected=expected,
            fix=f'"metakg doctor {name}" lists its settings.',
        ) from err


def fit(
    config: ModelConfig,
    training: BaseModel | None,
    view: TrainView,
    seed: int,
    *,
    folder: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
    validate: Split | Judge | None = None,
    sinks: Sequence[Sink] = (),
    device: str = "cpu",
    stay: bool = False,
) -> Recommender:
    """Return a fitted recommender, which answers on the CPU (see `stay`).

    Args:
        config: what it is.
        training: how it learns, as `settings_for` returns it.
        view: training data.
        seed: the one number all randomness comes from.
        folder: where log and checkpoints of the training go; None keeps nothing.
        resume: go on from the checkpoint in `folder`.
        report: called with a few words at each new step of the work.
        validate: stop by this, and keep the best parameters: a split whose training part is `view` (see `judged_on`), or a
            judge; None trains all epochs (`metakg` stops by a world of its own). Models that learn nothing ignore it.
        sinks: further places to log to, closed at the end (see `metakg.train.log`).
        device: where the network is trained, and adapted where it is judged on the way, such as "cuda".
        stay: leave it on `device`, to be judged there.

    Raises:
        ConfigError: there is no such device, or the model does not train there.
        DataError: the data cannot be learnt from.
        TrainingError: the run cannot go on.
        CheckpointError: `resume` found another run's checkpoint.
    """
    judge = judged_on(validate, view) if isinstance(validate, Split) else validate
    on_phase = None if report is None else lambda phase, p: _tell(report, phase, p.step, p.total, p.seconds_left)
    how: dict[str, Any] = {"folder": folder, "resume": resume, "validate": judge, "on_progress": on_phase, "sinks": sinks}
    check_device(config, training, device)
    away = torch.device(device) != torch.device("cpu") and not stay
    if isinstance(training, Recipe):
        assert isinstance(config, PaperConfig)
        paper = train_metakg(config, training, view, seed=seed, device=device, **how)[0]
        return _at_home(paper, training, view, seed) if away else paper
    model = build(config, view, seed)
    if isinstance(training, BaselineConfig):
        assert isinstance(model, Learnt)
        baseline = train_baseline(model, training, seed, device=device, **how)[0]
        return _at_home(baseline, training, view, seed) if away else baseline
    if isinstance(training, PracticeConfig):
        assert isinstance(model, MetaKG)
        practise(
            model,
            training,
            seed,
            folder=folder,
            resume=resume,
            report=report,
            validate=judge,
            on_progress=None if report is None else lambda p: _tell(report, "training", p.step, p.total, p.seconds_left),
            sinks=sinks,
        )
        model.eval()
    elif any(p.requires_grad for p in model.parameters()):
        raise TrainingError(config.kind, "no training settings", expected="an entry in TRAINING", fix="Add its recipe here.")
    return model


def check_device(config: ModelConfig, training: BaseModel | None, device: str) -> None:
    """Refuse a device before the work.

    Raises:
        ConfigError: there is none of this name, or the model does not train there.
    """
    check_available(device)
    if torch.device(device).type != "cpu" and not trains_on_cards(training):
        why = "learns nothing by gradient" if training is None else "gathers its evidence on the CPU"
        raise ConfigError("device", repr(device), expected=f"'cpu': {config.kind} {why}", fix="Leave it out.")


def check_available(device: str) -> None:
    """Refuse a device that is not here.

    Raises:
        ConfigError: there is none of this name.
    """
    known = f"'cpu'{''.join(f', {name!r}' for name in ('cuda',) if torch.cuda.is_available())}"
    try:
        kind = torch.device(device).type
    except RuntimeError as err:
        raise ConfigError("device", repr(device), expected=known, fix="Check the spelling.") from err
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError("device", repr(device), expected=f"{known}, which are here", fix="Leave it out to train on the CPU.")


def trains_on_cards(training: BaseModel | None) -> bool:
    """Say whether what learns by these settings can do so elsewhere than on the CPU."""
    return isinstance(training, Recipe | BaselineConfig)


def _at_home(trained: Recommender, training: BaseModel | None, view: TrainView, seed: int) -> Recommender:
    """Return what was trained elsewhere as it comes out of a bundle, on the CPU."""
    return restore(trained.config, training, view, {name: value.cpu() for name, value in trained.tensors().items()}, seed)


def epochs_by_validation(
    config: ModelConfig,
    training: BaseModel | None,
    split: Split,
    seed: int,
    *,
    report: Report | None = None,
    device: str = "cpu",
) -> int:
    """Return after how many epochs a model is best on the validation scenarios, trained on their training part alone.

    Early stopping for a model that is then trained on everything: no answer that it will be asked for is looked at.

    Raises:
        ConfigError: the model learns nothing by gradient.
        DataError: the split has no validation part, or its training part cannot be learnt from.
        TrainingError: the run cannot go on.
    """
    if training is None:
        raise ConfigError("validation", f"the model {config.kind}", expected="one that is trained", fix="Leave it out.")
    if split.validation is None:
        raise DataError("split", "no validation split", expected="one to stop by", fix="Split again with validation.")
    validation, scores = split.validation, list[float]()

    def judge(recommender: Recommender) -> float:
        scores.append(scenario_mean(recommender, validation))
        return scores[-1]

    loop: LoopConfig = training.loop.model_copy(update={"validate_every": None})  # type: ignore[attr-defined]  # epochs are counted
    by_epochs = training.model_copy(update={"loop": loop})
    fit(config, by_epochs, validation.train, seed, validate=judge, report=report, device=device)
    return min(loop.epochs, loop.validate_epochs * (1 + scores.index(max(scores))))


def restore(
    config: ModelConfig, training: BaseModel | None, view: TrainView, tensors: dict[str, Tensor], seed: int
) -> Recommender:
    """Return a recommender from what a bundle kept of it.

    Raises:
        CheckpointError: the tensors are not those of an equal model.
    """
    if isinstance(training, Recipe):
        assert isinstance(config, PaperConfig)
        config = ablated(config, training)
    model = rebuild(config, view, seed, tensors).eval()
    if isinstance(training, BaselineConfig):
        assert isinstance(model, Learnt)
        model.use_generator(random.torch_generator(seed, "model"))
        return Adapting(model, training, seed)
    if isinstance(training, Recipe):
        assert isinstance(model, PaperMetaKG)
        model.use_generator(random.torch_generator(seed, "model", "cpu"))
        return CoAdapting(model, training.adapt_rule(), seed, training.online_rule())
    return model


def judged_on(split: Split, view: TrainView) -> Judge:
    """Return a judge: the mean of Recall@20 and NDCG@20 over the scenarios of a split, after adapting to each.

    Raises:
        DataError: the split is not of this training view, so its answers may be among what is trained on.
    """
    if view is not split.train:
        raise DataError(
            "fit, validate",
            "a split of another training view",
            expected="split.train to be what is trained on",
            fix="Train on split.validation.train and validate on split.validation.",
        )
    return lambda recommender: scenario_mean(recommender, split)


def scenario_mean(recommender: Recommender, split: Split, scenarios: Literal["all"] | Sequence[str] = "all") -> float:
    """Return the mean of Recall@20 and NDCG@20 over users, then over both and the scenarios, after adapting to each."""
    results = evaluate(recommender, split, scenarios=scenarios, k=20, metric_names=("recall", "ndcg")).results
    means = [float(values.mean()) for result in results for values in result.values.values()]
    return sum(means) / len(means)


def _over(defaults: Any, given: Any) -> Any:
    """Return settings laid over their defaults, group by group: naming one setting of a group leaves the others as they are."""
    if not isinstance(defaults, dict) or not isinstance(given, dict):
        return given
    return {**defaults, **{name: _over(defaults.get(name), value) for name, value in given.items()}}


def _tell(report: Report, phase: str, step: int, total: int, seconds_left: float) -> None:
    report(f"{phase}: step {step:,} of at most {total:,}, {seconds_left:,.0f} s left")
