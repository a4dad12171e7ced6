"""Where the embedding layer starts: TransR on the training graph (paper, eq. 9), or BPR on the training pairs.

Both read training data only. (The vectors shipped with the authors' code were fitted on pairs that include most answers.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metakg import losses
from metakg import rng as random
from metakg.data import Interactions
from metakg.models.metakg_paper import MetaKG
from metakg.models.nn.ckg import CollaborativeGraph, UnifiedGraph, triple_sampler
from metakg.models.nn.rows import compare_rows, mean_of_neighbours, named
from metakg.models.nn.sparse import spmm
from metakg.models.nn.spectral import leading
from metakg.models.nn.transr import TransR
from metakg.sample.pairs import PairBatch, PairSampler, ShuffledPairs
from metakg.sample.triples import TripleBatch, TripleSampler
from metakg.train.loop import Loop, LoopConfig, Progress, Source
from metakg.train.starts import key_of, shared
from metakg.types import Json


class InitConfig(BaseModel):
    """Settings of the TransR initialisation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: NonNegativeInt = 20
    """Passes over all edges; 0 keeps the Xavier start."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    batch_size: PositiveInt = 8192
    """Edges of one step."""
    all_negatives: bool = False
    """Corrupt a click by any item, not only by those seen in training."""
    weight_decay: NonNegativeFloat = 1e-5
    """Weight of the squared length of the vectors that a batch uses."""


class BprConfig(BaseModel):
    """Settings of the BPR initialisation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: PositiveInt = 20
    """Passes over the edges' pairs."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    batch_size: PositiveInt = 4096
    """Pairs of one step."""
    weight_decay: NonNegativeFloat = 1e-5
    """Weight of the squared length of the vectors that a batch uses."""
    hardest: PositiveInt = 1
    """Items drawn for each pair, of which the one that scores best is its negative (Zhang et al., SIGIR 2013): once most pairs
    are in order, an item drawn at random teaches nothing."""


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
    transr = fit_transr(
        model.graph,
        config,
        model.config.dim,
        seed,
        device,
        folder=folder,
        identity=identity,
        resume=resume,
        on_progress=on_progress,
    )
    with torch.no_grad():
        for name in ("node", "relation", "project"):
            getattr(model, name).copy_(getattr(transr, name))
    model.refresh()


def fit_transr(
    graph: CollaborativeGraph | UnifiedGraph,
    config: InitConfig,
    dim: int,
    seed: int,
    device: torch.device,
    *,
    folder: Path | None = None,
    identity: Json | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> TransR:
    """Fit TransR on the edges of a graph and return it."""
    init = random.torch_generator(seed, "transr/init")
    transr = TransR(graph.n_nodes, graph.n_relations, dim, config.weight_decay, init).to(device)
    facts = triple_sampler(graph, random.generator(seed, "transr/triples"), clicks=True, seen=not config.all_negatives)
    about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume, "on_progress": on_progress}
    fit_start(transr, FactBatches(facts, config.batch_size, device), config, "transr", **about)
    return transr


def initialise_by_bpr(
    model: MetaKG,
    config: BprConfig,
    seed: int,
    *,
    content: bool = False,
    folder: Path | None = None,
    identity: Json | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Fit the vectors of users and items by plain BPR on the pairs that are edges, in place.

    With `content`, entities that nobody clicked start from those that somebody did, hop by hop; else they stay as they are.
    """
    graph = model.graph
    start = model.node.detach()[: graph.n_users + graph.n_items].clone()
    about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume, "on_progress": on_progress}
    rows = fit_bpr(model.edges, graph.n_users, graph.n_items, config, start, seed, **about)
    with torch.no_grad():
        model.node[: len(rows)] = rows
        if content:
            entities = model.node[graph.n_users :]
            clicked = named(model.edges.items, len(entities), rows.device)
            entities.copy_(mean_of_neighbours(entities, clicked, model.view.graph.entity)[0])
    model.refresh()


def initialise_by_graph(model: MetaKG, seed: int, *, rounds: int = 8) -> None:
    """Put nodes where the leading eigenvectors of the training graph have them, in place.

    The graph is undirected and normalised, A = D^-1/2 (edges) D^-1/2; all vectors are scaled by one number that gives them the
    mean length of a random start. Of fewer nodes than coordinates there are fewer such vectors; the rest stay as they are.
    """
    graph, node = model.graph, model.node
    degrees = sum((edges.edges.degrees for edges in graph.sets), torch.zeros(())).clamp(min=1).to(node)
    weights = [(degrees[edges.heads] * degrees[edges.tails]).rsqrt() for edges in graph.sets]

    def multiply(block: Tensor) -> Tensor:
        return torch.stack([spmm(edges.edges, w, block) for edges, w in zip(graph.sets, weights, strict=True)]).sum(0)

    n, width = len(node), min(node.shape)
    block = torch.randn(n, width, generator=random.torch_generator(seed, "graph/start")).to(node)
    with torch.no_grad():
        vectors = leading(multiply, block, rounds)
        length = node.norm(dim=1).mean()
        node[:, :width].copy_(vectors * (length / vectors.norm(dim=1).mean().clamp(min=1e-12)))
    model.refresh()


def fit_bpr(
    pairs: Interactions,
    n_users: int,
    n_items: int,
    config: BprConfig,
    start: Tensor,
    seed: int,
    *,
    folder: Path | None = None,
    identity: Json | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Fit plain BPR on pairs, from given vectors, and return the vectors of users, then items: (U + I, D) -> (U + I, D).

    Inside `sharing_starts`, vectors that have been fitted already are returned again.
    """
    key = key_of(pairs, n_users, n_items, config, start, seed)

    def fit(shared_by_all: Path | None) -> Tensor:
        factors = Factors(start, n_users, config.weight_decay)
        drawn = PairSampler(pairs, pairs, np.unique(pairs.items), n_items, random.generator(seed, "bpr/pairs"))
        source = ClickBatches(drawn, config.batch_size, start.device, config.hardest)
        about: dict[str, Any] = {"folder": folder, "identity": identity, "resume": resume}
        if shared_by_all is not None:
            about = {"folder": shared_by_all, "identity": {"start": key}, "resume": True}
        fit_start(factors, source, config, "bpr", on_progress=on_progress, **about)
        return factors.rows.detach()

    return shared(key, fit).to(start.device)


class Factors(nn.Module):
    """Matrix factorisation by BPR (Rendle et al. 2009, arXiv:1205.2618): users, then items."""

    def __init__(self, start: Tensor, n_users: int, weight_decay: float) -> None:
        super().__init__()
        self.n_users, self.weight_decay = n_users, weight_decay
        self.rows = nn.Parameter(start)

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Return each user's scores of items: (B,), (B, H) -> (B, H)."""
        return compare_rows(self.rows.index_select(0, users), self.rows[self.n_users :], items)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the loss of a batch of pairs."""
        rows = torch.cat([batch.users, batch.positives + self.n_users, batch.negatives + self.n_users])
        vectors = self.rows.index_select(0, rows)
        users, positives, negatives = torch.split(vectors, len(batch))
        rank = losses.bpr((users * (positives - negatives)).sum(-1)).mean()
        return {"rank": rank, "l2": losses.squared_norm(vectors, batch=len(batch), weight=self.weight_decay)}


class ClickBatches:
    """Hands out shuffled pairs with fresh negatives, each the hardest of so many."""

    def __init__(self, pairs: PairSampler, size: int, device: torch.device, hardest: int = 1) -> None:
        self.pairs, self.device = ShuffledPairs(pairs, size, hardest=hardest), device

    def __len__(self) -> int:
        return len(self.pairs)

    def next(self, model: Factors, step: int) -> PairBatch:
        """Return the pairs of a step."""
        return self.pairs.draw(step % len(self), self.device, model.nearness)

    def learn(self, model: Any, batch: PairBatch) -> Json:
        """Nothing to note."""
        return {}

    def describe(self, batch: PairBatch) -> str:
        """Name some pairs of a batch, by row."""
        few = zip(batch.users[:3].tolist(), batch.positives[:3].tolist(), strict=True)
        return f"{len(batch)} pairs such as " + ", ".join(map(str, few))

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return self.pairs.state_dict()

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.pairs.load_state_dict(state)


def fit_start(
    module: nn.Module,
    source: Source,
    config: InitConfig | BprConfig,
    name: str,
    *,
    folder: Path | None = None,
    identity: Json | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Fit what gives another model its start, in place; its log and checkpoints go to `folder / name`."""
    loop = LoopConfig(learning_rate=config.learning_rate, epochs=config.epochs, log_every=500)
    place = None if folder is None else folder / name
    # What follows does not shape a start.
    named = {key: value for key, value in (identity or {}).items() if key not in ("training", "recipe")}
    named["loop"] = config.model_dump(mode="json")  # whose rate may change on the way, as that of any loop
    Loop(module, source, loop, folder=place, identity=named, on_progress=on_progress).run(resume=resume)
