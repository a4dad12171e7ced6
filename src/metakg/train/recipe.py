"""MetaKG from training data to a recommender: start vectors, meta-training, and how it will adapt (paper, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from metakg import rng as random
from metakg.data import TrainView
from metakg.heap import available_bytes
from metakg.models.base import Recommender
from metakg.models.metakg_paper import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.metakg_released import network_of
from metakg.models.space import Choice, Space, Span
from metakg.train.adapt import AdaptConfig, CoAdapting, PairBatches
from metakg.train.checkpoint import view_fingerprint
from metakg.train.initialise import BprConfig, InitConfig, initialise, initialise_by_bpr, initialise_by_graph
from metakg.train.log import Sink
from metakg.train.loop import Loop, LoopConfig, Outcome, Progress, Source
from metakg.train.memory import check_memory, estimate_bytes, graph_sizes
from metakg.train.meta import MetaConfig, TaskBatches
from metakg.train.online import OnlineConfig
from metakg.types import Json

Ablation = Literal["none", "no-scheduler", "no-collaborative", "no-knowledge", "base"]
"""The paper's Fig. 4: tasks in random order; no inner step; no triple loss; or none of the three (plain BPR on all pairs)."""


class Recipe(BaseModel):
    """Everything that training MetaKG needs beside the model's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    space: ClassVar[Space] = {
        "start": Choice(("transr", "bpr", "bpr-content", "graph", "xavier")),
        "loop.learning_rate": Span(1e-4, 1e-2, log=True),
        "adapt.learning_rate": Span(1e-4, 1e-2, log=True),
        "adapt.epochs": Span(1, 50, log=True, whole=True),
    }

    start: Literal["transr", "bpr", "bpr-content", "graph", "xavier"] = "transr"
    """Where the node vectors start: TransR on the training graph (eq. 9), BPR on the training pairs, the same and what nobody
    clicked at the mean of its neighbours, the leading eigenvectors of the training graph, or random."""
    init: InitConfig = InitConfig()
    """Settings of the TransR start."""
    bpr: BprConfig = BprConfig()
    """Settings of the BPR start."""
    meta: MetaConfig = MetaConfig()
    """Settings of meta-training."""
    loop: LoopConfig = LoopConfig()
    """Settings of the training loop."""
    adapt: AdaptConfig = AdaptConfig()
    """How the trained model adapts to a scenario, in validation as in use."""
    online: OnlineConfig | None = OnlineConfig()
    """How it adapts to one user's clicks; None co-adapts there too."""
    ablation: Ablation = "none"
    """What to leave out."""

    def online_rule(self) -> OnlineConfig | None:
        """Return how the trained model adapts to one user's clicks: without an inner step where the ablation leaves it out."""
        if self.online is None or self.ablation not in ("no-collaborative", "base"):
            return self.online
        return self.online.model_copy(update={"steps": 0})

    def adapt_rule(self) -> AdaptConfig:
        """Return how the trained model is co-adapted: without facts where the ablation leaves them out."""
        if self.ablation not in ("no-knowledge", "base"):
            return self.adapt
        return self.adapt.model_copy(update={"kg_weight": 0.0})

    def of_training(self, *, judged: bool) -> Json:
        """Return the settings that decide what training gives; how it adapts does so only if it is judged by that."""
        left_out = set() if judged else {"adapt", "online"}
        if self.ablation == "base":  # it learns from pairs as adaptation does
            left_out -= {"adapt"}
        return self.model_dump(mode="json", exclude=left_out)


def train_metakg(
    config: MetaKGConfig,
    recipe: Recipe,
    view: TrainView,
    *,
    seed: int,
    device: str = "cpu",
    folder: Path | None = None,
    resume: bool = False,
    validate: Callable[[Recommender], float] | None = None,
    on_progress: Callable[[str, Progress], None] | None = None,
    sinks: Sequence[Sink] = (),
) -> tuple[CoAdapting, Outcome]:
    """Train MetaKG and return it together with how it adapts.

    Args:
        config: settings of the model.
        recipe: settings of its training.
        view: training data with meta-training tasks.
        seed: the one number that all randomness comes from.
        device: where to train.
        folder: where log and checkpoints go; None keeps nothing.
        resume: go on where a killed run of the same settings stood.
        validate: judges a recommender on the validation scenario (it adapts it first); higher is better.
        on_progress: called after every step with the phase ("start vectors", "training").
        sinks: further places to log to.

    Raises:
        DataError: the view cannot be learnt from.
        TrainingError: the run would not fit into memory, or its numbers exploded.
        CheckpointError: `resume` found another run's checkpoint.
    """
    config, meta = ablated(config, recipe), recipe.meta
    if recipe.ablation in ("no-scheduler", "base"):
        meta = meta.model_copy(update={"scheduler": None})
    at_once = max(meta.tasks, meta.at_once if meta.scheduler is not None else 0)
    check_memory(estimate_bytes(config, *graph_sizes(view), at_once), available_bytes() if device == "cpu" else None)
    model = network_of(config)(config, view, random.torch_generator(seed, "init/metakg-paper")).to(device)
    model.use_generator(random.torch_generator(seed, "model", device))
    identity = {
        "data": view_fingerprint(view),
        "model": config.model_dump(mode="json"),
        "recipe": recipe.of_training(judged=validate is not None),
        "seed": seed,
        "device": device.split(":")[0],
    }

    def phase(name: str) -> Callable[[Progress], None] | None:
        return None if on_progress is None else lambda progress: on_progress(name, progress)

    about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume, "on_progress": phase("start vectors")}
    if recipe.start == "transr":
        initialise(model, recipe.init, seed, **about)
    elif recipe.start in ("bpr", "bpr-content"):
        initialise_by_bpr(model, recipe.bpr, seed, content=recipe.start == "bpr-content", **about)
    elif recipe.start == "graph":
        initialise_by_graph(model, seed)

    def judge(trained: object) -> float:
        assert validate is not None
        assert isinstance(trained, MetaKG)
        return validate(CoAdapting(trained, recipe.adapt_rule(), seed, recipe.online_rule()))

    source: Source = TaskBatches(model, view, meta, seed) if recipe.ablation != "base" else _all_pairs(model, recipe, seed)
    run = Loop(
        model,
        source,
        recipe.loop,
        folder=folder,
        identity=identity,
        validate=None if validate is None else judge,
        on_progress=phase("training"),
        sinks=sinks,
    )
    outcome = run.run(resume=resume)
    model.refresh()
    return CoAdapting(model.eval().ready(), recipe.adapt_rule(), seed, recipe.online_rule()), outcome


def ablated(config: MetaKGConfig, recipe: Recipe) -> MetaKGConfig:
    """Return the model's settings with what the ablation leaves out switched off, in training as in adapting."""
    changed: Json = {}
    if recipe.ablation in ("no-collaborative", "base"):
        changed["inner_steps"] = 0
    if recipe.ablation in ("no-knowledge", "base"):
        changed["kg_weight"] = 0.0
    return config.model_copy(update=changed)


def _all_pairs(model: MetaKG, recipe: Recipe, seed: int) -> PairBatches:
    """Return batches of all training pairs, query pairs included; the graph holds no query pair, as in meta-training."""
    settings = recipe.adapt.model_copy(update={"all_negatives": recipe.meta.all_negatives, "replay": 0.0})
    return PairBatches(model, model.view.interactions.pairs_only(), settings, seed)
