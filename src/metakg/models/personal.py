"""`Personal`: what the meta-learners share that adapt a decision network to each user's clicks when they score him.

A user is a small learning problem: his clicks against drawn items (the support), from which the shared weights take a few
steps; the weights that result are his, and rank all items. Nothing of it is kept: scoring twice gives the same, and a click
more is one pair more. A user's support is what he clicked since training, or, if that is nothing, his history. Only support
labels and support items are ever read; while training, the tasks' query pairs are judged by the adapted weights and seen by
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from scipy import sparse
from torch import Tensor, nn

from metakg import losses
from metakg.data import Interactions, Support, TrainView
from metakg.errors import CheckpointError
from metakg.models.base import ModelConfig
from metakg.models.learnt import Feed, Kind, Learnt, LearntConfig
from metakg.models.metapaths import Link, MetaPath, MetaPathConfig, kept_paths
from metakg.models.nn.ckg import training_edges
from metakg.models.nn.content import ItemContent
from metakg.models.nn.decision import Comparisons, Decision, rank, scores, task_losses
from metakg.models.nn.transr import xavier
from metakg.models.pathfinder import PathFinder
from metakg.models.space import Choice, Space, Span
from metakg.sample.episodes import Episodes, TaskBatch
from metakg.sample.keys import Ints
from metakg.sample.negatives import KeyedNegatives

_PAIRS = 1 << 14
"""Comparisons of the users adapted at a time, padding included: two gathers of 16 MB at W = 256."""


class PersonalConfig(LearntConfig):
    """Settings of every model that adapts to each user when it scores him."""

    space: ClassVar[Space] = {
        **LearntConfig.space,
        "inner_lr": Span(1e-2, 10.0, log=True),
        "inner_steps": Choice((1, 2, 5)),
        "features": Choice(("kg", "kg+id")),
        "adapt_on": Choice(("recent", "all")),
    }

    features: Literal["kg", "id", "kg+id"] = "kg"
    """What an item is made of: the entities that `fields` of its relations lead to, its own vector, or both."""
    fields: PositiveInt = 4
    """Relations that describe an item, the best ones by lift and coverage (see `metakg metapaths`)."""
    hidden: PositiveInt = 64
    """Width H of both hidden layers."""
    inner_lr: NonNegativeFloat = 1.0
    """Step size of the adaptation to a user."""
    inner_steps: NonNegativeInt = 1
    """Steps of the adaptation to a user."""
    order: Literal["first", "second"] = "first"
    """Whether the meta-gradient takes the steps as constants, or goes through them."""
    draws: PositiveInt = 4
    """Items that each click is compared with when a user is scored; in training the feed says how many."""
    adapt_on: Literal["recent", "all"] = "recent"
    """What a user with old and new clicks is adapted on: the new ones, or all."""
    paths: MetaPathConfig = MetaPathConfig(two_hop=0)
    """Which meta-paths are taken; the relations of `fields` come from the same search."""


class Chosen(NamedTuple):
    """What was decided while training, and is kept when something arrives.

    Attributes:
        fields: the relations that describe items.
        paths: meta-paths.
        salt: of the draws while scoring.
    """

    fields: tuple[Link, ...]
    paths: tuple[MetaPath, ...]
    salt: int


@dataclass(frozen=True)
class Learners:
    """M users, and what each is adapted on.

    Attributes:
        users: (M,) user rows.
        clicks: (M, I) their support.
        comparisons: their clicks against drawn items, by the place of the items in the content table at hand.
        context: (M * P, I) weights of the items that stand for each user on each path, rows summing to 1, or None.
        places: (I,) the place of each item in the content table at hand (-1: not in it), or None for all items in order.
    """

    users: Ints
    clicks: sparse.csr_array
    comparisons: Comparisons
    context: sparse.csr_array | None
    places: Ints | None = None


class Personal(Learnt):
    """Base of `melu` and `metahin`. A subclass gives `adapted`, and says in `with_paths` whether it needs meta-paths."""

    rows: ClassVar[Mapping[str, Kind]] = {"entity": "entity"}
    feed: ClassVar[Feed] = "tasks"
    with_paths: ClassVar[bool] = False

    config: PersonalConfig
    fields: Tensor
    paths: Tensor
    recent: Tensor
    salt: Tensor

    def __init__(self, config: PersonalConfig, view: TrainView, rng: torch.Generator, *, chosen: Chosen | None = None) -> None:
        super().__init__(config, view, rng)
        self._settled = False
        salt = int(torch.randint(1 << 62, (1,), generator=rng))
        self.chosen = self._choose(view, salt) if chosen is None else chosen
        fields, paths = ([path.codes() for path in part] for part in (map(_field, self.chosen.fields), self.chosen.paths))
        self.register_buffer("fields", torch.tensor(fields, dtype=torch.int64).view(-1, 3))
        self.register_buffer("paths", torch.tensor(paths, dtype=torch.int64).view(-1, 3))
        self.register_buffer("recent", torch.empty(0, 2, dtype=torch.int32))
        self.register_buffer("salt", torch.tensor([self.chosen.salt]))
        self._build(view)
        self.entity = vectors(view.n_entities, config.dim, rng)  # (E, D)
        if self.chosen.fields:
            self.null = vectors(len(self.chosen.fields), config.dim, rng)  # (F, D), where an item lacks a relation
        width = self.content.width + config.dim
        self.first = nn.Parameter(xavier(config.hidden, width, rng=rng))  # W_1: the item's part, then the user's
        self.first_bias = nn.Parameter(torch.zeros(config.hidden))
        self.second = nn.Parameter(xavier(config.hidden, config.hidden, rng=rng))
        self.second_bias = nn.Parameter(torch.zeros(config.hidden))
        self.out = nn.Parameter(xavier(1, config.hidden, rng=rng)[0])

    def _build(self, view: TrainView) -> None:
        """Build what follows from facts alone."""
        self.content = ItemContent(view, self.chosen.fields, own=self.config.features != "kg", dim=self.config.dim)

    # -- what a subclass gives -------------------------------------------------------------------------------------------

    def adapted(self, content: Tensor, learners: Learners) -> Decision:
        """Return each user's own network, one variant each: rows of items (n, W) -> M networks."""
        raise NotImplementedError

    def context(self, clicks: sparse.csr_array) -> sparse.csr_array | None:
        """Return the items that stand for users with these clicks: (M, I) -> (M * P, I), or None where nothing does."""
        return None

    def theta(self) -> tuple[Tensor, ...]:
        """Return the weights of the network that a user adapts."""
        return self.first, self.first_bias, self.second, self.second_bias, self.out

    # -- training --------------------------------------------------------------------------------------------------------

    def prepare(self, pairs: Interactions) -> None:
        """Build the users' histories, and what may be drawn for whom, from these pairs."""
        self.history = pairs.csr(self.view.n_users, self.view.n_items)
        pool = np.flatnonzero(np.bincount(pairs.items, minlength=self.view.n_items)).astype(np.int32)
        self.negatives = KeyedNegatives(pool, pairs, self.view.n_items, self.chosen.salt)

    def forward(self, batch: TaskBatch) -> dict[str, Tensor]:
        """Return the query loss of some tasks under the weights that their support led to, and the length of used rows."""
        support, query = batch.support, batch.query
        users, tasks, liked = (t.cpu().numpy() for t in (support.users, support.tasks, support.positives))
        clicks = sparse.csr_array((np.ones(len(tasks), np.float32), (tasks, liked)), shape=(len(users), self.view.n_items))
        clicks.data[:] = 1.0  # a click that several items are compared with stands there several times
        context = self.context(clicks)
        sides = torch.cat([support.positives, support.negatives])
        wanted = [sides] if context is None else [sides, torch.from_numpy(np.unique(context.indices)).to(sides)]
        items, found = torch.unique(torch.cat(wanted), return_inverse=True)
        places = np.full(self.view.n_items, -1, np.int64)
        places[items.cpu().numpy()] = np.arange(len(items))
        learners = Learners(users, clicks, Comparisons.of(support, *found[: len(sides)].chunk(2)), context, places)
        decision = self.adapted(self.items(items), learners)
        query = self.hardest(query, batch.each, decision)
        judged, found = torch.unique(torch.cat([query.positives, query.negatives]), return_inverse=True)
        comparisons = Comparisons.of(query, *found.chunk(2))
        terms = {"query": task_losses(self.items(judged), comparisons, decision).mean()}
        if self.config.weight_decay:
            used = self.entity.index_select(0, self.used(users, torch.unique(torch.cat([items, judged]))))
            terms["l2"] = losses.squared_norm(used, batch=len(query.tasks), weight=self.config.weight_decay)
        return terms

    @torch.no_grad()
    def hardest(self, query: Episodes, each: int, decision: Decision) -> Episodes:
        """Return the query with one pair of every `each` in a row, whose negative each user's own network scores highest."""
        if each == 1:
            return query
        items, places = torch.unique(query.negatives, return_inverse=True)
        content, best, begin = self.items(items), [], 0
        for task, size in enumerate(torch.bincount(query.tasks, minlength=query.n_tasks).tolist()):  # they differ in size
            own = Decision(*(part[task : task + 1].detach() for part in decision))
            near = scores(content[places[begin : begin + size]].unsqueeze(0), own)[0, 0].view(-1, each)
            best.append(near.argmax(1) + torch.arange(begin, begin + size, each, device=near.device))
            begin += size
        return query.rows(torch.cat(best))

    def used(self, users: Ints, items: Tensor) -> Tensor:
        """Return the entity rows that these items (and users, if any has some) are made of, each once: (M,), (n,) -> (m,)."""
        return self.content.used(items)

    def items(self, items: Tensor) -> Tensor:
        """Return what some items are made of: (n,) -> (n, W)."""
        return cast(Tensor, self.content(self.entity, getattr(self, "null", None), items))

    def settle(self) -> None:
        """Give cold rows their start; the tasks' query pairs are history from now on, as in a bundle.

        Where every clicked item has a relation, nothing was learnt of lacking it; what stands for that is filled in here.
        """
        self.prepare(self.view.interactions.pairs_only())
        super().settle()
        self._fill_null(self)
        self._settled = True

    def _fill_null(self, trained: Personal) -> None:
        """Give an item that lacks a relation which every clicked item of a trained model has what those have on average."""
        clicked = torch.from_numpy(np.flatnonzero(trained.view.popularity)).to(self.entity.device)
        if self.chosen.fields and len(clicked):
            with torch.no_grad():
                found, there = trained.content.by_field(trained.entity, clicked)
                self.null.copy_(torch.where(there.all(0).unsqueeze(-1), found.mean(0), trained.null))

    # -- scores ----------------------------------------------------------------------------------------------------------

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I). Adapts to blocks of users, of whom nothing is kept."""
        rows = users.cpu().numpy().astype(np.int64)
        device = self.entity.device
        with torch.inference_mode(False), torch.no_grad():  # a step of adaptation needs a gradient, even while serving
            content = self.items(torch.from_numpy(self.content.first).to(device))
            kind = torch.from_numpy(self.content.kind).to(device)
            result = torch.empty(len(rows), self.view.n_items, device=device)
            clicks = self.support_of(rows)
            for some in _blocks(np.diff(clicks.indptr) * self.config.draws):
                decision = self.adapted(content, self.learners(rows[some], clicks[some], self.content.kind))
                result[torch.from_numpy(some).to(device)] = rank(content, decision).index_select(1, kind)
        return result

    def support_of(self, users: Ints) -> sparse.csr_array:
        """Return what each user is adapted on: (B,) -> (B, I) with ones."""
        history = self.history[users]
        if self.config.adapt_on == "all" or not len(self.recent):
            return history
        shape = (self.view.n_users, self.view.n_items)
        came = self.recent.cpu().numpy()
        recent = sparse.csr_array((np.ones(len(came), np.float32), (came[:, 0], came[:, 1])), shape=shape)[users]
        old = (np.diff(recent.indptr) == 0).astype(np.float32)
        chosen = sparse.csr_array(recent + sparse.diags_array(old) @ history, dtype=np.float32)
        chosen.data[:] = 1.0
        return chosen

    def learners(self, users: Ints, clicks: sparse.csr_array, places: Ints | None = None) -> Learners:
        """Return users with their clicks, each compared with the same drawn items whenever this is asked.

        Args:
            users: (M,) user rows.
            clicks: (M, I) what they are adapted on.
            places: (I,) the place of each item in the content table; None for all items in order.
        """
        device, draws = self.entity.device, self.config.draws
        tasks = np.repeat(np.repeat(np.arange(len(users)), np.diff(clicks.indptr)), draws)
        liked = np.repeat(clicks.indices.astype(np.int64), draws)
        drawn = self.negatives.draw(users[tasks], liked, np.tile(np.arange(draws), clicks.nnz))
        kept = drawn >= 0
        parts = (torch.from_numpy(a).to(device) for a in (users, tasks[kept], liked[kept], drawn[kept]))
        episodes = Episodes(*parts)
        sides = [episodes.positives, episodes.negatives]
        if places is not None:
            sides = [torch.from_numpy(places).to(device)[items] for items in sides]
        return Learners(users, clicks, Comparisons.of(episodes, *sides), self.context(clicks), places)

    # -- what arrives later ----------------------------------------------------------------------------------------------

    def anew(self, view: TrainView, rng: torch.Generator) -> Self:
        """Return a fresh model of the same kind over another view, with the same relations and paths."""
        return type(self)(self.config, view, rng, chosen=self.chosen)

    def extend(self, support: Support) -> Self:
        """Return a copy over the larger view that knows which clicks are new."""
        new = super().extend(support)
        new._settled = self._settled
        if not self._settled:  # judged while it trains, as it will rank
            new._fill_null(self)
        v = new.view.vocabulary
        came = np.stack([v.users.rows(support.users), v.items.rows(support.items)], axis=1)
        both = np.unique(np.concatenate([self.recent.cpu().numpy(), came]), axis=0)
        new.recent = torch.from_numpy(both).to(self.recent.device)
        return new

    def over(self, view: TrainView) -> Self:
        """Return this recommender over a view from which clicks or facts were taken away, from items to contexts."""
        other = super().over(view)
        other._buffers = dict(self._buffers)
        came = self.recent.cpu().numpy()
        there = np.isin(came[:, 0].astype(np.int64) * view.n_items + came[:, 1], view.interactions.keys(view.n_items))
        other.recent = self.recent[torch.from_numpy(there).to(self.recent.device)]
        other._build(view)
        other.to(self.entity.device)
        other.prepare(training_edges(view))
        return other

    @classmethod
    def from_tensors(cls, config: ModelConfig, view: TrainView, rng: torch.Generator, tensors: dict[str, Tensor]) -> Self:
        """Return the model of this config and view whose `tensors` these are, with the relations and paths it has chosen."""
        fields, paths = (kept_paths(config.kind, name, tensors, view.n_relations) for name in ("fields", "paths"))
        salt, recent = tensors.get("salt"), tensors.get("recent")
        found = None
        if any(len(path.links) != 1 for path in fields):
            found = "a field of several relations"
        elif salt is None or salt.shape != (1,) or salt.dtype != torch.int64 or int(salt) < 0:
            found = "no salt"
        elif recent is None or recent.ndim != 2 or recent.shape[1] != 2 or recent.dtype != torch.int32:
            found = "no recent clicks"
        elif bool(((recent < 0) | (recent >= torch.tensor([view.n_users, view.n_items], device=recent.device))).any()):
            found = "clicks outside the vocabulary"
        if found is not None or salt is None or recent is None:
            raise CheckpointError(
                f"tensors of {config.kind}", str(found), expected="those of an equal model", fix="Save the bundle again."
            )
        chosen = Chosen(tuple(path.links[0] for path in fields), paths, int(salt))
        model = cls(config, view, rng, chosen=chosen)  # type: ignore[arg-type]
        model.recent, model._settled = torch.empty_like(recent), True
        Learnt.load_tensors(model, tensors)
        model.prepare(view.interactions.pairs_only())  # what is kept was settled: queries of its tasks are history
        return model

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Become what `tensors` of an equal model returned; on an error, stay as it was."""
        self._become(tensors)

    def _choose(self, view: TrainView, salt: int) -> Chosen:
        if self.config.features == "id" and not self.with_paths:
            return Chosen((), (), salt)
        found = PathFinder(view, training_edges(view), self.config.paths).find()
        fields: tuple[Link, ...] = ()
        if self.config.features != "id":
            fields = found.fields(view.vocabulary, self.config.fields, self.config.kind)
        if self.with_paths:
            found.need_facts(view.vocabulary, self.config.kind)
        return Chosen(fields, found.chosen if self.with_paths else (), salt)


def vectors(n: int, dim: int, rng: torch.Generator) -> nn.Parameter:
    """Return n vectors of length about 1: (n, D).

    A Xavier start shrinks with the number of rows; from vectors of length 0.04, as 100,000 entities would get, a network's
    gradient is too small for a step on a few clicks to matter.
    """
    return nn.Parameter(torch.randn(n, dim, generator=rng) / dim**0.5)


def _field(link: Link) -> MetaPath:
    return MetaPath((link,))


def _blocks(sizes: Ints) -> Iterator[Ints]:
    """Cut users into blocks of similar size, so that padding costs little: (B,) comparisons -> positions, block by block."""
    order = np.argsort(sizes, kind="stable")
    padded, start = np.maximum(sizes[order], 1), 0
    while start < len(order):
        cells = (np.arange(len(order) - start) + 1) * padded[start:]
        stop = start + max(1, int(np.searchsorted(cells, _PAIRS, side="right")))
        yield order[start:stop]
        start = stop
