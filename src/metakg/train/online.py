"""One user, now: new clicks become a new vector in milliseconds. Ours, not the paper's.

Everything but this user stays frozen: the vectors of all items, and the graph as the others see it. The user's own rows are
propagated again over old and new clicks, exactly as the network does (a user hears entities only, so there is no gate; where
the settings read the paper otherwise, or attention differs by layer, the step is not `offered`), and then gamma takes the inner
step of eq. 21 for this user alone: few steps of bounded length on his own clicks. The result is repeatable and isolated to
him; nobody else's scores move.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import leaky_relu

from metakg import losses
from metakg import rng as random
from metakg.data import Support
from metakg.errors import DataError
from metakg.models.metakg_paper import MetaKG, NodeVectors
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.nn.aggregate import SLOPE


class OnlineConfig(BaseModel):
    """Settings of the per-user step."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: NonNegativeInt = 1
    """Inner steps; 0 only propagates."""
    learning_rate: PositiveFloat = 1e-2
    """Step size, that of meta-training by default."""
    negatives: PositiveInt = 4
    """Random items that each click is compared with."""
    clip_norm: PositiveFloat = 1.0
    """Longest gradient allowed, over all of gamma: no step is longer than this times the step size."""


def offered(config: MetaKGConfig) -> bool:
    """Say whether a model can take this step: the paper's network, users that are not gated, one attention, one graph."""
    whole = config.adapt_graph == "all"  # else a user's old clicks are no edges once he was adapted
    return config.arch == "paper" and config.gate_empty == "bypass" and config.attention_level == "layer0" and whole


def adapt_user(model: MetaKG, user: str, liked: Sequence[str], config: OnlineConfig, *, seed: int = 0) -> MetaKG:
    """Return a recommender in which one user, known or new, has clicked more items; it shares everything else.

    Args:
        model: a recommender that is `ready`.
        user: external id.
        liked: external ids of items that the model knows.
        config: settings.
        seed: of the random items; the same clicks give the same vector.

    Raises:
        DataError: an item is unknown (that takes `metakg.train.adapt`, which extends the graph), or nothing was ever clicked.
        ValueError: the model is not `ready`, or its settings are others than `offered`.
    """
    if not offered(model.config):
        settings = 'arch = "paper", gate_empty = "bypass", attention_level = "layer0" and adapt_graph = "all"'
        raise ValueError(f"the online step is for {settings}")
    vectors = model.vectors
    if vectors is None:
        raise ValueError("the recommender has no vectors yet; call ready() once")
    v = model.view.vocabulary
    items = v.items.rows(list(liked))
    if len(items) and items.min() < 0:
        raise DataError(
            "clicks of a user",
            f"item {liked[int(items.argmin())]!r}, which is unknown",
            expected="items that the recommender knows",
            fix="Adapt to the new item first.",
        )
    view = model.view.extend(Support.clicks(user, liked))
    row = view.vocabulary.users.row(user)
    pairs = view.interactions  # not `history`: building that matrix takes longer than everything here
    clicks = np.unique(pairs.items[pairs.users == row]) if row is not None else np.empty(0, np.int32)
    if row is None or not len(clicks):
        raise DataError("clicks of a user", f"none for {user!r}", expected="at least one click", fix="Give an item.")
    with torch.no_grad():
        vector = _vector(model, vectors, row, clicks, config, seed)
    kept = [i for i, moved in enumerate(vectors.moved) if moved != row]
    others = vectors.vectors[kept] if vectors.vectors is not None else vector.new_empty(0, len(vector))
    served = copy.copy(model)
    served.view = view
    served.vectors = replace(
        vectors, moved=(*(vectors.moved[i] for i in kept), row), vectors=torch.cat([others, vector.unsqueeze(0)])
    )
    return served


def adapt_each(model: MetaKG, users: Sequence[int], config: OnlineConfig, *, seed: int = 0) -> MetaKG:
    """Return a recommender in which each of some users with clicks in the view took his own step; it shares everything else.

    Args:
        model: a recommender that is `ready`.
        users: user rows of the graph.
        config: settings.
        seed: of the random items.

    Raises:
        ValueError: the model is not `ready`, or its settings are others than `offered`.
    """
    if model.vectors is None or not offered(model.config):
        raise ValueError("the recommender is not ready, or has settings for which the online step is not offered")
    clicks = model.view.interactions.pairs_only().csr(model.view.n_users, model.view.n_items)
    rows = [row for row in users if clicks.indptr[row + 1] > clicks.indptr[row]]
    if not rows:
        return model
    with torch.no_grad():
        found = [
            _vector(model, model.vectors, row, clicks.indices[clicks.indptr[row] : clicks.indptr[row + 1]], config, seed)
            for row in rows
        ]
    served = copy.copy(model)
    served.vectors = replace(model.vectors, moved=tuple(rows), vectors=torch.stack(found))
    return served


def _vector(model: MetaKG, vectors: NodeVectors, row: int, clicks: np.ndarray, config: OnlineConfig, seed: int) -> Tensor:
    """Propagate one user over the frozen vectors of his clicks, then adapt gamma to him: -> (F,)."""
    graph, device = model.graph, vectors.final.device
    edges = graph.knowledge
    known = row < graph.n_users and bool(edges.rowptr[row] < edges.rowptr[row + 1])
    rated = torch.from_numpy(clicks.astype(np.int64)).to(device)
    tails, relations = rated + graph.n_users, torch.zeros_like(rated)
    if known:  # facts about the user stay what they are; clicks are given anew
        part = slice(int(edges.rowptr[row]), int(edges.rowptr[row + 1]))
        facts = edges.relations[part] > 0
        tails = torch.cat([tails, edges.tails[part][facts]])
        relations = torch.cat([relations, edges.relations[part][facts]])
    if known:
        start = vectors.layers[0][row]
    else:  # as `nn.rows.carry_nodes` places a new user
        start = vectors.layers[0][tails].mean(0) if model.config.cold_users == "neighbours" else vectors.newcomer
    kinds, place = torch.unique(relations, return_inverse=True)
    projects = model.project.index_select(0, kinds)  # of each relation once: (R', D', D)
    asks = torch.tanh(projects @ start + model.relation.index_select(0, kinds)).unsqueeze(1) @ projects  # (R', 1, D)
    logits = (vectors.layers[0][tails] * asks.squeeze(1).index_select(0, place)).sum(-1)
    shares = torch.softmax(logits, 0)
    messages = [shares @ layer[tails] for layer in vectors.layers[:-1]]
    w = model.network.weights().detach()
    gamma = [t[0].clone() for t in (*w.w1, *w.w2)]
    if config.steps:
        liked = vectors.final[rated + graph.n_users]
        other = vectors.final[_others(graph.n_items, clicks, config, seed).to(device) + graph.n_users]
        with torch.enable_grad():
            for _ in range(config.steps):
                gamma = [t.detach().requires_grad_() for t in gamma]
                z = _propagate(model, start, messages, gamma)
                margin = (liked @ z).unsqueeze(1) - (other @ z).view(len(liked), -1)
                steps = torch.autograd.grad(losses.bpr(margin).mean(), gamma)
                length = torch.stack([g.norm() for g in steps]).norm().clamp(min=1e-12)
                rate = config.learning_rate * (config.clip_norm / length).clamp(max=1.0)
                gamma = [t - rate * g for t, g in zip(gamma, steps, strict=True)]
    return _propagate(model, start, messages, gamma).detach()


def _propagate(model: MetaKG, start: Tensor, messages: list[Tensor], gamma: list[Tensor]) -> Tensor:
    """Return the final vector of one node from its own start and its messages: -> (F,)."""
    n, e, layers = len(messages), start, [start]
    for i, m in enumerate(messages):
        e = leaky_relu(gamma[i] @ (e + m), SLOPE) + leaky_relu(gamma[n + i] @ (e * m), SLOPE)
        if model.config.normalise == "everywhere":
            e = e / e.norm().clamp(min=1e-12)
        layers.append(e)
    return model.network.read_out([layer.unsqueeze(0) for layer in layers])[0]


def _others(n_items: int, clicks: np.ndarray, config: OnlineConfig, seed: int) -> Tensor:
    """Draw items that the user has not clicked; where there is none, any item (its loss has no preferred direction then)."""
    draws = random.generator(seed, "online").integers(n_items, size=4 * len(clicks) * config.negatives)
    free = draws[~np.isin(draws, clicks)]
    pool = free if len(free) else draws
    return torch.from_numpy(np.resize(pool, len(clicks) * config.negatives))
