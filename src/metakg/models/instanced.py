"""Base of models over meta-path instances: which meta-paths, frozen features of nodes, and what follows from both.

The best instances of a pair are those whose neighbouring nodes have the nearest features; they are found by sparse joins
(`models.nn.instances`), from indexes that are built again when features, clicks or facts change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field, PositiveInt
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import normalize

from metakg.data import Interactions, TrainView
from metakg.models.base import ModelConfig
from metakg.models.learnt import Kind, Learnt, LearntConfig
from metakg.models.metapaths import MetaPath, MetaPathConfig, kept_paths
from metakg.models.nn.instances import Limits, PathIndex, start_items
from metakg.models.nn.rows import mean_of_neighbours
from metakg.models.pathfinder import PathFinder


class InstancedConfig(LearntConfig):
    """Settings of all models over instances."""

    instances: PositiveInt = 5
    """Instances kept of a pair on each path, those of the highest mean cosine of neighbouring nodes."""
    starts: PositiveInt = 10
    """Clicked items that a user's instances start at, those nearest to him."""
    chains: PositiveInt = 10
    """Ways on from an item that are followed, the nearest."""
    ends: PositiveInt = 200
    """Items that the last node before the end leads to, the nearest."""
    min_cosine: float = Field(-1.0, ge=-1.0, le=1.0)
    """Least mean cosine of an instance (authors' code: 0.7)."""
    paths: MetaPathConfig = MetaPathConfig()
    """Which meta-paths are taken."""


class Instanced(Learnt):
    """A model over the instances of some meta-paths.

    A subclass assigns `feature` (see `features`) in its constructor and ends it with `prepare`.

    Args:
        chosen: the meta-paths; by default they are found in the view.
    """

    rows: ClassVar[Mapping[str, Kind]] = {"feature": "node"}

    config: InstancedConfig
    feature: nn.Parameter  # f, (U + E, D)
    paths: Tensor

    def __init__(
        self, config: InstancedConfig, view: TrainView, rng: torch.Generator, chosen: Sequence[MetaPath] | None
    ) -> None:
        super().__init__(config, view, rng)
        if chosen is None:
            found = PathFinder(view, view.interactions.pairs_only(), config.paths).find()
            found.need_facts(view.vocabulary, config.kind)
            chosen = found.chosen
        self.chosen = tuple(chosen)
        self.register_buffer("paths", torch.tensor([path.codes() for path in self.chosen]))

    def features(self, rng: torch.Generator) -> nn.Parameter:
        """Return random features of all nodes, of length 1 or so: (U + E, D).

        Training does not move them. Those of users and items with a click stay, and the others follow from them.
        """
        self.note_fitted("feature")
        d = self.config.dim
        drawn = torch.randn(self.view.n_users + self.view.n_entities, d, generator=rng) * d**-0.5
        return nn.Parameter(drawn, requires_grad=False)

    def prepare(self, pairs: Interactions) -> None:
        """Build the halves of every meta-path from the facts and exactly these pairs."""
        self.finder = PathFinder(self.view, pairs, self.config.paths)
        self._index()

    def on_epoch_start(self) -> None:
        """Build the halves again if the features have changed: which instances are the best follows from them."""
        if self.built_for != self.feature._version:
            self._index()

    def _index(self) -> None:
        n, c = self.view.n_users, self.config
        unit = normalize(self.feature.detach()).cpu().numpy()
        users, entities = unit[:n], unit[n:]
        limits = Limits(c.starts, c.chains, c.ends, c.instances, c.min_cosine)
        self.own = start_items(self.finder.clicks, users, entities, c.starts)
        self.halves = [PathIndex(path, self.finder, users, entities, limits) for path in self.chosen]
        self.built_for = self.feature._version

    def start_from(self, users: Tensor, items: Tensor) -> None:
        """Take over vectors of users and items, as features and as the start of what is learnt: (U, D), (I, D)."""
        super().start_from(users, items)
        n = self.view.n_users
        with torch.no_grad():
            self.feature[:n], self.feature[n : n + len(items)] = users, items
        self.start_as_drawn()

    def start_as_drawn(self) -> None:
        """Let the features of the others follow from those of users and items with a click, as they do in use."""
        with torch.no_grad():
            self.feature.copy_(self.fill_cold("feature", self.feature.detach(), self.trained_rows("feature")))
        self._index()

    def fill_cold(self, name: str, table: Tensor, known: Tensor) -> Tensor:
        """Return a table whose cold rows have a start; features come from neighbours, a user's from the items he clicked."""
        if name != "feature":
            return super().fill_cold(name, table, known)
        n, filled, known = self.view.n_users, table.clone(), known.clone()
        filled[n:], known[n:] = mean_of_neighbours(filled[n:], known[n:], self.view.graph.entity)
        there = known[n : n + self.view.n_items].cpu().numpy().astype(np.float32)
        clicks = sparse.csr_array(self.finder.clicks @ sparse.diags_array(there))
        count = torch.from_numpy(np.asarray(clicks.sum(axis=1), np.float32).ravel()).to(table.device)
        mean = torch.from_numpy(clicks @ filled[n : n + self.view.n_items].cpu().numpy()).to(table.device)
        fresh = ~known[:n] & (count > 0)
        filled[:n][fresh] = (mean / count.clamp(min=1).unsqueeze(1))[fresh].to(table.dtype)
        known[:n] |= fresh
        for part in (slice(0, n), slice(n, None)):
            if bool(known[part].any()):
                filled[part] = torch.where(known[part].unsqueeze(1), filled[part], filled[part][known[part]].mean(0))
        return filled

    def anew(self, view: TrainView, rng: torch.Generator) -> Self:
        """Return a fresh model over another view, with the same meta-paths."""
        return type(self)(self.config, view, rng, chosen=self.chosen)

    def over(self, view: TrainView) -> Self:
        """Return this recommender over a view from which clicks or facts were taken away: instances are built anew."""
        other = super().over(view)
        other.prepare(view.interactions.pairs_only())
        return other

    @classmethod
    def from_tensors(cls, config: ModelConfig, view: TrainView, rng: torch.Generator, tensors: dict[str, Tensor]) -> Self:
        """Return the model of this config and view whose `tensors` these are, with the meta-paths it has chosen."""
        chosen = kept_paths(config.kind, "paths", tensors, view.n_relations, least=1)
        model = cls(config, view, rng, chosen=chosen)  # type: ignore[arg-type]
        Learnt.load_tensors(model, tensors)
        model.on_epoch_start()
        return model

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Become what `tensors` of an equal model returned; on an error, stay as it was."""
        self._become(tensors)
