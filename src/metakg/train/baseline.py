"""How the models with learnt rows are trained, and how they adapt: the same for all of them.

Train: start vectors, then the one loop over `metakg.train.feeds`. Adapt to what arrives (model cards 0.4): the model is
extended (structures rebuilt from training and support pairs, cold rows given a start), then takes ordinary steps on the
support pairs, alone or with as many training pairs; or everything is trained again from scratch on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from metakg import rng as random
from metakg.data import Interactions, Support, TrainView
from metakg.errors import ConfigError
from metakg.models.base import Recommender
from metakg.models.fm import FM
from metakg.models.learnt import Learnt
from metakg.models.nfm import NFM
from metakg.models.nn.ckg import training_edges
from metakg.models.nn.transr import xavier
from metakg.models.registry import build
from metakg.models.space import Choice, Space, Span
from metakg.sample.negatives import comparable
from metakg.train.checkpoint import view_fingerprint
from metakg.train.feeds import FEEDS, Ration
from metakg.train.initialise import BprConfig, InitConfig, fit_bpr, fit_start, fit_transr
from metakg.train.log import Sink
from metakg.train.loop import Loop, LoopConfig, Outcome, Progress
from metakg.train.trained import Trained
from metakg.types import Json

__all__ = [
    "AdaptRule",
    "Adapting",
    "BaselineConfig",
    "KgatTraining",
    "McrecTraining",
    "TaskConfig",
    "UgrecTraining",
    "train_baseline",
]

OnPhase = Callable[[str, Progress], None]


class AdaptRule(BaseModel):
    """How a trained model learns from what arrives."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Literal["none", "finetune", "finetune_replay", "joint"] = "finetune_replay"
    """Nothing beyond the rebuilt structures; steps on the support pairs; the same with as many training pairs, drawn anew in
    every step, which keeps old rows from drifting; or training from scratch on training and support pairs."""
    learning_rate: PositiveFloat = 1e-2
    """Step size. A new row has little time, so it is larger than that of training."""
    epochs: NonNegativeInt = 10
    """Passes over the support pairs."""
    batch_size: PositiveInt = 2048
    """Support pairs of a step."""
    parameters: Literal["all", "rows"] = "all"
    """Move all parameters, or only the rows of users, items, entities and relations."""


class BaselineConfig(BaseModel):
    """Everything that training a model with learnt rows needs beside the model's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    space: ClassVar[Space] = {
        "start": Choice(("bpr", "xavier")),
        "hardest": Choice((1, 10, 40)),
        "loop.learning_rate": Span(1e-4, 3e-2, log=True),
        "adapt.mode": Choice(("finetune_replay", "finetune")),
        "adapt.learning_rate": Span(1e-4, 3e-1, log=True),
        "adapt.epochs": Span(1, 50, log=True, whole=True),
    }
    """Where a search over these settings looks, beside the model's own."""

    start: Literal["xavier", "bpr", "transr", "fm"] = "bpr"
    """Where vectors start: at random; users and items by BPR on the training pairs (what KGAT's authors do for all their
    models); all nodes by TransR on the training graph, for a model with its parameters; or all features by a factorisation
    machine, for nfm."""
    bpr: BprConfig = BprConfig(learning_rate=3e-3, epochs=40)
    """Settings of the BPR start, and of the factorisation machine's."""
    transr: InitConfig = InitConfig()
    """Settings of the TransR start."""
    batch_size: PositiveInt = 2048
    """Pairs of a step."""
    facts: PositiveInt = 2048
    """Facts of a step, for a model that learns from facts."""
    negatives: PositiveInt = 1
    """Items drawn for each pair, and false tails for each fact."""
    hardest: PositiveInt = 1
    """Items drawn for each of these negatives, of which the one that the model scores highest (see `Learnt.nearness`) is
    learnt from, in training and in adapting (as in the BPR start; Zhang et al., SIGIR 2013)."""
    pool: Literal["seen", "all"] = "seen"
    """Draw negative items from those with a training (or support) pair, or from all; an item that is new later would then be
    learnt as a negative and as nothing else."""
    loop: LoopConfig = LoopConfig(learning_rate=1e-3, epochs=30)
    """Settings of the training loop."""
    adapt: AdaptRule = AdaptRule()
    """How the trained model adapts, in validation as in use."""


class KgatTraining(BaselineConfig):
    """Training of KGAT: one propagation over the graph serves a batch of any size, so batches are large and steps few."""

    batch_size: PositiveInt = 8192
    """Pairs of a step."""
    facts: PositiveInt = 8192
    """Facts of a step."""
    loop: LoopConfig = LoopConfig(learning_rate=2e-3, epochs=30)
    """Settings of the training loop."""
    adapt: AdaptRule = AdaptRule(batch_size=8192)
    """How the trained model adapts, in validation as in use."""


class UgrecTraining(BaselineConfig):
    """Training as the authors of UGRec do it: Adagrad, and the hardest of twenty negatives."""

    space: ClassVar[Space] = {
        **{place: where for place, where in BaselineConfig.space.items() if place != "hardest"},
        "loop.learning_rate": Span(1e-2, 1e-1, log=True),
    }
    negatives: PositiveInt = 20
    """Items drawn for each pair, and false tails for each fact, of which the hardest is learnt from."""
    loop: LoopConfig = LoopConfig(learning_rate=0.05, epochs=30, optimizer="adagrad", clip_norm=0.0)
    """Settings of the training loop."""
    adapt: AdaptRule = AdaptRule(learning_rate=0.05)
    """How the trained model adapts, in validation as in use."""


class McrecTraining(BaselineConfig):
    """Training of MCRec: its paths run over features that BPR has fitted, and each click is told from four drawn items."""

    space: ClassVar[Space] = {place: choice for place, choice in BaselineConfig.space.items() if place != "start"}
    negatives: PositiveInt = 4
    """Items drawn for each pair."""
    adapt: AdaptRule = AdaptRule(learning_rate=1e-3)
    """How the trained model adapts, in validation as in use; what paths say needs no large steps."""


class NoSteps(AdaptRule):
    """The rule of a model that adapts to each user by itself."""

    mode: Literal["none"] = "none"
    """Nothing beyond the rebuilt structures."""


class TaskConfig(BaselineConfig):
    """The same for models that learn to adapt (`feed = "tasks"`): they take their steps for each user when they score him."""

    space: ClassVar[Space] = {
        "hardest": BaselineConfig.space["hardest"],
        "loop.learning_rate": Span(1e-4, 1e-2, log=True),
    }
    start: Literal["xavier", "bpr"] = "xavier"
    """Where vectors start: at random, or items by BPR on the training pairs; these models have no rows of users."""
    bpr: BprConfig = BprConfig()
    """Settings of the BPR start."""
    batch_size: PositiveInt = 32
    """Tasks of a step."""
    hardest: PositiveInt = 1
    """Items drawn for each negative of a query pair, of which the one is learnt from that the network scores highest once it
    is adapted to the user. What it adapts on is drawn as it is when a user is scored."""
    loop: LoopConfig = LoopConfig(learning_rate=3e-3, epochs=20)
    """Settings of the training loop."""
    adapt: NoSteps = NoSteps()
    """No steps of the shared parameters: these models adapt to each user instead."""


def train_baseline(
    model: Learnt,
    config: BaselineConfig,
    seed: int,
    *,
    device: str = "cpu",
    folder: Path | None = None,
    resume: bool = False,
    validate: Callable[[Recommender], float] | None = None,
    on_progress: OnPhase | None = None,
    sinks: Sequence[Sink] = (),
) -> tuple[Adapting, Outcome]:
    """Train a model, in place, and return it together with how it adapts.

    Args:
        model: as built from its view.
        config: settings.
        seed: the one number that all randomness comes from.
        device: where to train.
        folder: where log and checkpoints go; None keeps nothing.
        resume: go on where a killed run of the same settings stood.
        validate: judges a recommender (it adapts it first); higher is better, and the best parameters are kept.
        on_progress: called after every step with the phase ("start vectors", "training").
        sinks: further places to log to.

    Raises:
        ConfigError: the start does not suit the model, or `validate` is given and the model adapts by joint training.
        DataError: the view cannot be learnt from.
        TrainingError: the numbers exploded.
        CheckpointError: `resume` found another run's checkpoint.
    """
    if validate is not None and config.adapt.mode == "joint":
        raise ConfigError(
            f"setting training.adapt.mode of {model.config.kind}",
            "'joint' in a training that is judged as it goes",
            expected="another mode: joint adapts by training from scratch, so that its judgement is the same after every epoch",
            fix="Choose the epochs under finetune_replay, then train that many with joint and without validation.",
        )
    model.to(device)
    model.use_generator(random.torch_generator(seed, "model", device))
    identity: Json = {
        "data": view_fingerprint(model.view),
        "model": model.config.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "seed": seed,
        "device": device.split(":")[0],
    }
    pairs = model.view.interactions.pairs_only()
    about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume}
    edges = training_edges(model.view) if model.feed == "tasks" else pairs  # what is to be asked for does not start vectors
    _start(model, config, edges, seed, on_progress=_phase(on_progress, "start vectors"), **about)
    model.begin()
    source = FEEDS[model.feed](
        model,
        Ration(pairs, pairs, config.batch_size, config.facts, config.negatives, config.pool, hardest=config.hardest),
        seed,
    )

    def judge(trained: object) -> float:
        assert validate is not None
        assert isinstance(trained, Learnt)
        return validate(Adapting(trained, config, seed))

    run = Loop(
        model,
        source,
        config.loop,
        validate=None if validate is None else judge,
        on_progress=_phase(on_progress, "training"),
        sinks=sinks,
        folder=folder,
        identity={**identity, "start vectors": model.beginning()},
    )
    outcome = run.run(resume=resume)
    model.settle()
    return Adapting(model.eval(), config, seed), outcome


class Adapting(Trained):
    """A trained model together with how it adapts: the recommender that evaluation and serving see.

    Attributes:
        model: the trained model.
        training: how it was trained and adapts.
        seed: of every step it takes.
        presented: how many pairs the last adaptation presented, for comparing the effort of models.
    """

    model: Learnt

    def __init__(self, model: Learnt, training: BaselineConfig, seed: int, presented: int = 0) -> None:
        super().__init__(model)
        self.training_config, self.seed, self.presented = training, seed, presented

    def adapt(self, support: Support) -> Self:
        """Return a recommender adapted to what arrived.

        No step is taken in mode "none", for a support without clicks, and where whoever clicked is known to like all that could
        be a negative.
        """
        rule = self.training_config.adapt
        if rule.mode == "none" or not len(support) or (rule.mode != "joint" and not rule.epochs):
            return type(self)(self.model.extend(support), self.training_config, self.seed)
        if rule.mode == "joint":
            larger = self.view.extend(support)
            view = TrainView(larger.vocabulary, larger.interactions, larger.graph)
            model = build(self.config, view, self.seed)
            assert isinstance(model, Learnt)
            again, _ = train_baseline(model, self.training_config, self.seed, device=str(self.rng.device))
            presented = len(view.interactions) * self.training_config.loop.epochs
            return type(self)(again.model, self.training_config, self.seed, presented)
        adapted = self.model.extend(support)
        return type(self)(adapted, self.training_config, self.seed, self._steps(adapted, support))

    def _steps(self, adapted: Learnt, support: Support) -> int:
        """Take the steps of fine-tuning, in place; return how many pairs were presented."""
        rule, training = self.training_config.adapt, self.training_config
        v, known = adapted.view.vocabulary, adapted.view.interactions.pairs_only()
        arrived = Interactions(v.users.rows(support.users), v.items.rows(support.items))
        _, first = np.unique(arrived.keys(v.n_items), return_index=True)
        arrived = arrived.select(np.sort(first))
        replay = self.view.interactions.pairs_only() if rule.mode == "finetune_replay" else None
        size, facts, negatives = rule.batch_size, training.facts, training.negatives
        ration = Ration(arrived, known, size, facts, negatives, training.pool, replay, "adapt", training.hardest)
        if not comparable(arrived, known, ration.candidates(v.n_items)).any():
            return 0
        adapted.use_generator(random.torch_generator(self.seed, "adapt/model", str(self.rng.device)))
        changes = {"learning_rate": rule.learning_rate, "epochs": rule.epochs, "validate_every": None}
        source = FEEDS[adapted.feed](adapted, ration, self.seed)
        others = [p for name, p in adapted.named_parameters() if name not in adapted.rows and p.requires_grad]
        frozen = others if rule.parameters == "rows" else []
        for parameter in frozen:
            parameter.requires_grad_(False)
        Loop(adapted, source, training.loop.model_copy(update=changes)).run()
        for parameter in frozen:
            parameter.requires_grad_(True)
        adapted.use_generator(random.torch_generator(self.seed, "model", str(self.rng.device)))  # as one from a bundle has it
        adapted.on_epoch_start()
        adapted.eval()
        return int(source.state_dict()["presented"])


def _start(
    model: Learnt,
    config: BaselineConfig,
    pairs: Interactions,
    seed: int,
    *,
    folder: Path | None,
    identity: Json,
    resume: bool,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Give the vectors of a model their start, in place."""
    about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume, "on_progress": on_progress}
    view, device = model.view, next(model.parameters()).device
    if config.start == "xavier":
        model.start_as_drawn()
    elif config.start == "bpr":
        n, dim = view.n_users + view.n_items, model.config.dim
        start = xavier(n, dim, rng=random.torch_generator(seed, "bpr/init")).to(device)
        vectors = fit_bpr(pairs, view.n_users, view.n_items, config.bpr, start, seed, **about)
        model.start_from(vectors[: view.n_users], vectors[view.n_users :])
    elif config.start == "transr":
        names = ("node", "relation", "project")
        if not all(hasattr(model, name) for name in (*names, "graph")):
            raise _unsuited(model, "transr", "it has no relation spaces over all nodes", "kgat")
        transr = fit_transr(model.graph, config.transr, model.config.dim, seed, device, **about)  # type: ignore[arg-type]
        with torch.no_grad():
            for name in names:
                getattr(model, name).copy_(getattr(transr, name))
        model.note_fitted("node", model.trained_rows("node"))  # TransR moves whatever an edge names
    elif config.start == "fm":
        if not isinstance(model, NFM):
            raise _unsuited(model, "fm", "its features are not those of a factorisation machine", "nfm")
        machine = FM(model.config.machine(), view, random.torch_generator(seed, "fm/init")).to(device)
        source = FEEDS["pairs"](
            machine, Ration(pairs, pairs, config.bpr.batch_size, 0, purpose="fm", hardest=config.bpr.hardest), seed
        )
        machine.begin()
        fit_start(machine, source, config.bpr, "fm", **about)
        model.start_from_machine(machine)


def _unsuited(model: Learnt, start: str, why: str, other: str) -> ConfigError:
    return ConfigError(
        f"setting training.start of {model.config.kind}",
        repr(start),
        expected=f"'xavier' or 'bpr': {why}",
        fix=f"Choose another start, or {other}.",
    )


def _phase(on_progress: OnPhase | None, name: str) -> Callable[[Progress], None] | None:
    return None if on_progress is None else lambda progress: on_progress(name, progress)
