"""TransR on the training graph: where the embedding layer starts (paper, eq. 9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from metakg import rng as random
from metakg.models.metakg import MetaKG
from metakg.models.nn.transr import TransR
from metakg.sample.triples import TripleBatch, TripleSampler
from metakg.train.loop import Loop, LoopConfig, Progress
from metakg.train.meta import triple_sampler
from metakg.types import Json


class InitConfig(BaseModel):
    """Settings of the TransR initialisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: NonNegativeInt = 20
    """Passes over all edges; 0 keeps the Xavier start."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    batch_size: PositiveInt = 2048
    """Edges of one step."""
    weight_decay: NonNegativeFloat = 1e-5
    """Weight of the squared length of the vectors that a batch uses."""


class FactBatches:
    """Hands out shuffled edges with corrupted tails."""

    def __init__(self, facts: TripleSampler, size: int, device: torch.device) -> None:
        self.facts, self.size, self.device = facts, size, device
        self.order = np.arange(len(facts.heads))

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def next(self, model: Any, step: int) -> TripleBatch:
        """Return the facts of a step."""
        place = step % len(self)
        if place == 0:
            self.order = self.facts.rng.permutation(len(self.order))
        return self.facts.corrupt(self.order[place * self.size : (place + 1) * self.size]).to(self.device)

    def learn(self, model: Any, batch: TripleBatch) -> Json:
        """Nothing to note."""
        return {}

    def describe(self, batch: TripleBatch) -> str:
        """Name some facts of a batch, by node and relation number."""
        few = zip(batch.heads[:3].tolist(), batch.relations[:3].tolist(), batch.tails[:3].tolist(), strict=True)
        return f"{len(batch)} facts such as " + ", ".join(map(str, few))

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {"order": self.order, "facts": self.facts.state_dict()}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.order = state["order"]
        self.facts.load_state_dict(state["facts"])


def initialise(
    model: MetaKG,
    config: InitConfig,
    seed: int,
    *,
    folder: Path | None = None,
    identity: Json | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Fit node vectors, relations and W_r of a model by TransR on its own graph, in place, and refresh its attention.

    Only edges of the training graph are read, so no answer can be in the vectors.
    """
    if not config.epochs:
        return
    device = model.node.device
    init = random.torch_generator(seed, "transr/init")
    transr = TransR(model.graph.n_nodes, model.graph.n_relations, model.config.dim, config.weight_decay, init).to(device)
    facts = triple_sampler(model.graph, random.generator(seed, "transr/triples"), clicks=True)
    loop = LoopConfig(learning_rate=config.learning_rate, epochs=config.epochs, log_every=500)
    source = FactBatches(facts, config.batch_size, device)
    run = Loop(
        transr,
        source,
        loop,
        folder=None if folder is None else folder / "transr",
        identity={**(identity or {}), "init": config.model_dump(mode="json")},
        on_progress=on_progress,
    )
    run.run(resume=resume)
    with torch.no_grad():
        for name in ("node", "relation", "project"):
            getattr(model, name).copy_(getattr(transr, name))
    model.refresh()
