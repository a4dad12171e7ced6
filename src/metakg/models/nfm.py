"""`nfm`: a neural factorisation machine; a small network reads the interaction of a user with an item's features.

He and Chua: "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017 (arXiv:1708.05027). With the features
and weights of `fm`, q_i = sum x_f V_f and b_i = (q_i^2 - sum (x_f V_f)^2) / 2 (squares by coordinate), the bi-interaction of
user and item is linear in both, and hidden layers follow (the MetaKG paper: widths 64 and 32, dropout 0.1):

    z_0 = V_u * q_i + b_i,    z_k = ReLU(W_k z_{k-1} + d_k),    y(u, i) = sum_{f of i} x_f w_f + h . z_L

Ranking uses that W_1 z_0 = (W_1 diag V_u) q_i + W_1 b_i: one product a user, and the second term once for all users.

Differs from the paper: BPR instead of a regression (so no global bias); no batch normalisation; dropout after z_0 and each
hidden layer; rows of the batch and the network are regularised. FM pre-training is `training.start = "fm"`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metakg import losses
from metakg.data import TrainView
from metakg.models.fm import FactorisationMachine, FmConfig
from metakg.models.learnt import LearntConfig, embedding
from metakg.models.nn.dense import product, tower
from metakg.models.nn.dropout import dropout
from metakg.models.nn.features import TailNorm
from metakg.models.nn.rows import compare_rows
from metakg.models.space import Choice, Space
from metakg.sample.pairs import PairBatch

_PIECE = 4096
"""Items scored at once: their hidden layer stays in the cache."""


class NfmConfig(LearntConfig):
    """Settings of `nfm`."""

    space: ClassVar[Space] = {
        **FmConfig.space,
        "hidden": Choice(((64,), (64, 32))),
        "dropout": Choice((0.0, 0.1, 0.3)),
    }

    kind: Literal["nfm"] = "nfm"
    features: Literal["ui+kg", "ui"] = "ui+kg"
    """What an item is made of: itself and the tails of its facts, or itself alone."""
    tail_norm: TailNorm = "mean"
    """Weights of the tails (see `fm`)."""
    hidden: tuple[PositiveInt, ...] = Field((64, 32), min_length=1)
    """Widths of the hidden layers."""
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the numbers dropped after the interaction and after each hidden layer."""

    def machine(self) -> FmConfig:
        """Return the settings of the factorisation machine over the same features."""
        shared = {"dim", "weight_decay", "cold", "features", "tail_norm"}
        return FmConfig(**self.model_dump(include=shared))


class NFM(FactorisationMachine):
    """The neural factorisation machine."""

    config: NfmConfig

    def __init__(self, config: NfmConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng, facts=config.features == "ui+kg", tail_norm=config.tail_norm)
        widths = (config.dim, *config.hidden)
        layers = list(zip(widths[1:], widths[:-1], strict=True))
        self.layers = nn.ParameterList([embedding(out, width, rng) for out, width in layers])  # W_k, (D_k, D_{k-1})
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for out, _ in layers])  # d_k, (D_k,)
        self.top = nn.Parameter(embedding(1, widths[-1], rng).data[0])  # h, (D_L,)
        self.prepare(view.interactions.pairs_only())

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs."""
        users, (sums, places) = self.user.index_select(0, batch.users), self.batch_sums(batch)
        both = places.flatten()  # positives, then negatives: one pass through the network for both
        among = sums.among()
        z = (users * sums.vectors.index_select(0, both).view(2, *users.shape)).flatten(0, 1)
        if among is not None:
            z = z + among.index_select(0, both)
        rate = self.config.dropout if self.training else 0.0
        z = tower(dropout(z, rate, self.rng), [*self.layers], [*self.biases], self.top, rate=rate, rng=self.rng)
        positive, negative = (z + sums.linear.index_select(0, both)).chunk(2)
        network = losses.squared_norm(*self.layers, self.top, batch=1, weight=self.config.weight_decay)
        l2 = self.length_penalty(users, sums, len(batch)) + network
        return {"rank": losses.bpr(positive - negative).mean(), "l2": l2}

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Score candidates by the whole network: (B,), (B, H) -> (B, H).

        What is near by the rows alone would be a negative whatever the network says of it, and the network would learn that
        near is bad.
        """
        sums, places = self.sums_to_compare(items)
        among, d = sums.among(), self.config.dim
        parts = [sums.vectors, sums.linear[:, None], *([] if among is None else [among])]

        def compare(one: Tensor, other: Tensor) -> Tensor:
            z = one * other[..., :d] if among is None else torch.addcmul(other[..., d + 1 :], one, other[..., :d])
            return self._network(z.flatten(0, 1)).view(other.shape[:2]) + other[..., d]

        return compare_rows(self.user.index_select(0, users), torch.cat(parts, 1), places, compare)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I). One product a user and piece of items reads what fits the cache."""
        sums = self.features.sums(self.entity, self.weight)
        first, deeper = self.layers[0], list(zip(self.layers, self.biases, strict=True))[1:]
        among, bias = sums.among(), self.biases[0]
        constant = bias.expand(len(sums.vectors), -1) if among is None else product(among, first, bias)  # (I, D_1)
        scores = torch.empty(len(users), self.view.n_items, device=users.device)
        for row, vector in enumerate(self.user[users.long()]):
            towards = first * vector  # (D_1, D)
            for begin in range(0, self.view.n_items, _PIECE):
                part = slice(begin, begin + _PIECE)
                z = product(sums.vectors[part], towards).add_(constant[part]).relu_()
                for layer, bias in deeper:
                    z = product(z, layer, bias, relu=True)
                scores[row, part] = z @ self.top + sums.linear[part]
        return scores

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates by the definition, feature pair by feature pair: (B,), (B, C) -> (B, C)."""
        scores = torch.empty(items.shape, device=items.device)
        for b, user in enumerate(users.tolist()):
            for c, item in enumerate(items[b].tolist()):
                scores[b, c] = self._score(user, item)
        return scores

    def start_from_machine(self, machine: FactorisationMachine) -> None:
        """Take over the vectors and weights of a factorisation machine over the same features."""
        with torch.no_grad():
            for name in self.rows:
                getattr(self, name).copy_(getattr(machine, name))
                self.note_fitted(name, machine.trained_rows(name))

    def _score(self, user: int, item: int) -> Tensor:
        features, x = self.features.of(item)
        vectors = torch.cat([self.user[user : user + 1], x[:, None] * self.entity[features]])  # (1 + f, D)
        z = torch.zeros_like(vectors[0])
        for f in range(len(vectors)):
            for g in range(f + 1, len(vectors)):
                z = z + vectors[f] * vectors[g]
        for layer, bias in zip(self.layers, self.biases, strict=True):
            z = torch.relu(layer @ z + bias)
        return self.top @ z + x @ self.weight[features, 0]

    def _network(self, z: Tensor) -> Tensor:
        """Return h . z_L of interactions z_0, nothing dropped: (n, D) -> (n,)."""
        for layer, bias in zip(self.layers, self.biases, strict=True):
            z = product(z, layer, bias, relu=True)
        return z @ self.top
