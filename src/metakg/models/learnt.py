"""`Learnt`: what the models share that keep a learnt row for each user, item, entity or relation.

Such a model says what the rows of its tables are (`rows`), what it is fed with (`feed`), and builds whatever follows from
interactions in `prepare`, from exactly the pairs that it is given. The rest is here: rows for what was never trained, a
larger copy when something arrives, start vectors from elsewhere. A model owns no optimiser; `metakg.train.baseline` steps.

    class JointMF(Learnt):
        rows: ClassVar = {"user": "user", "entity": "entity"}

        def __init__(self, config, view, rng):
            super().__init__(config, view, rng)
            self.user = nn.Parameter(xavier(view.n_users, config.dim, rng=rng))
            self.entity = nn.Parameter(xavier(view.n_entities, config.dim, rng=rng))
            self.prepare(view.interactions.pairs_only())
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from metakg import losses
from metakg.data import Interactions, Support, TrainView, Triples
from metakg.data.view import origin
from metakg.errors import CheckpointError, DataError
from metakg.models.base import ModelConfig, Recommender
from metakg.models.nn.rows import carry_relations, compare_rows, mean_of_neighbours, named, signatures
from metakg.models.nn.transr import xavier
from metakg.models.space import Choice, Space, Span
from metakg.sample.triples import TripleSampler

Kind = Literal["user", "item", "entity", "node", "relation", "edge"]
"""What the rows of a table are: users, items, entities (items first), nodes (users, then entities), relations (R), or edge
types (2R + 2, as in `models.nn.ckg`)."""

Feed = Literal["pairs", "pairs+facts", "pairs, facts", "tasks"]
"""What a step learns from: pairs alone, pairs and facts together, pairs and facts in passes of their own, or tasks."""

Cold = Literal["mean", "xavier", "content", "transe", "zero"]
"""Rows for what was never trained: the mean of trained rows of the same kind, random (rows that are there already stay),
what is around them (for entities the mean of the neighbours in the knowledge graph, for users that of the items they clicked,
stretched as trained users are), what TransE implies for a user's clicks, or zero."""


_FEW = ("relation", "edge")
"""Kinds of which all rows count as trained: a new one comes from `carry_relations`."""
_TRAINED = "trained."
"""What the names of such tensors in a bundle begin with."""
_OLDER = ".met"
"""How tensors end that bundles held in place of these."""
_BY_NEIGHBOURS = ("content", "transe")
"""Rules by which entities start at what is around them; they differ in where users start."""


class LearntConfig(ModelConfig):
    """Settings of every model with learnt rows."""

    space: ClassVar[Space] = {"weight_decay": Span(1e-6, 1e-1, log=True), "cold": Choice(("content", "mean"))}

    dim: PositiveInt = 64
    """Width D of the vectors."""
    weight_decay: NonNegativeFloat = 1e-5
    """Weight of the squared length of the rows that a batch uses; other rows are left alone."""
    cold: Cold = "content"
    """Where rows start that were never trained; "transe" is for cfkg alone."""

    @model_validator(mode="after")
    def _check_cold(self) -> Self:
        if self.cold == "transe" and self.kind != "cfkg":
            raise ValueError(f'cold = "transe" for {self.kind}, which has no translation of clicks; a rule of any model')
        return self


class Learnt(Recommender):
    """Base of the models with learnt rows. See the module for what a subclass gives."""

    rows: ClassVar[Mapping[str, Kind]] = {}
    """Name of each parameter that has a row for each of something -> of what. Other parameters are carried over as they are."""
    feed: ClassVar[Feed] = "pairs"
    """What a step learns from."""

    config: LearntConfig

    def __init__(self, config: LearntConfig, view: TrainView, rng: torch.Generator) -> None:
        super().__init__(config, view, rng)
        self._fitted: dict[str, Tensor] = {}  # table -> (n,) bool: rows that a start, or earlier steps, have fitted
        self._before: dict[str, Tensor] = {}  # table -> (n,) signatures of the rows as they stood before the steps of today

    # -- what a subclass may say -----------------------------------------------------------------------------------------

    def prepare(self, pairs: Interactions) -> None:
        """Build what follows from interactions (edges, neighbour sets, counts) from exactly these pairs; by default nothing.

        The last line of a constructor calls this with the view's pairs; nothing else may look at interactions.
        """

    def on_epoch_start(self) -> None:
        """Refresh buffers that follow from parameters; by default nothing.

        Called before every epoch, after the last, and after rows have been carried over. Buffers written here must be
        persistent (a resumed run and a bundle take them from the state), and random draws must come from `self.rng`.
        """

    def after_step(self, batch: Any) -> None:
        """Restore what an optimiser's step may have broken, such as a bound on lengths; by default nothing."""

    def facts(self, rng: np.random.Generator) -> TripleSampler:
        """Return the facts that a step learns from; by default the knowledge graph's, between entity rows.

        Raises:
            DataError: there are none.
        """
        return self.sampler_of(self.view.graph.entity, rng, fix="Give a knowledge graph, or choose a model that needs none.")

    def sampler_of(self, known: Triples, rng: np.random.Generator, *, fix: str) -> TripleSampler:
        """Return a sampler over some of the knowledge graph's facts, between entity rows.

        Raises:
            DataError: there are none; `fix` says what to do.
        """
        if not len(known):
            where = f"the facts that {self.config.kind} learns from"
            raise DataError(where, "none", expected="at least one", fix=fix)
        columns = (known.heads.astype(np.int64), known.relations.astype(np.int64), known.tails.astype(np.int64))
        bounds, wide = (0, self.view.n_items, self.view.n_entities), np.zeros(self.view.n_relations, np.bool_)
        return TripleSampler(*columns, kinds=bounds, wide=wide, rng=rng)

    # -- what was trained ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Remember how all rows stand, so that those which steps move from here on can be told; what starts fitted stays so.

        Call it after the start and before the first step.
        """
        for name, kind in self.rows.items():
            if kind not in _FEW:
                table = getattr(self, name)
                self._fitted.setdefault(name, torch.zeros(len(table), dtype=torch.bool))
                self._before[name] = signatures(table)

    def beginning(self) -> str:
        """Return a hash of what `begin` has remembered, without which nobody can tell which rows a resumed training moved."""
        digest = hashlib.blake2b(digest_size=16)
        for name, before in self._before.items():
            for part in (before, self._fitted[name]):
                digest.update(f"{name} {len(part)};".encode())
                digest.update(part.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def trained_rows(self, name: str) -> Tensor:
        """Say which rows of a table training has fitted: (n,) bool. The others are cold, whatever is known of them.

        They are those that steps have moved since `begin`, and those that a start or an earlier training gave. Relations are
        few, and all of them count. Of a model that never began, these are the rows that a pair or a fact names.
        """
        table = getattr(self, name)
        if self.rows[name] in _FEW:
            return torch.ones(len(table), dtype=torch.bool, device=table.device)
        fitted = (self._fitted[name] if name in self._fitted else self._named(self.rows[name])).to(table.device)
        if name not in self._before:
            return fitted
        return fitted | (signatures(table) != self._before[name].to(table.device))

    def note_fitted(self, name: str, rows: Tensor | None = None) -> None:
        """Take note that rows of a table were fitted elsewhere: (n,) bool; by default those of users and items with a click."""
        self._fitted[name] = self._named(self.rows[name], facts=False) if rows is None else rows

    def _named(self, kind: Kind, *, facts: bool = True) -> Tensor:
        """Say which rows of a kind pairs name, or facts: (n,) bool."""
        view = self.view
        users, entities = np.zeros(view.n_users, np.bool_), np.zeros(view.n_entities, np.bool_)
        users[view.interactions.users] = True
        entities[view.interactions.items] = True
        if facts and kind in ("entity", "node"):
            entities[view.graph.entity.heads] = entities[view.graph.entity.tails] = True
        if facts and kind == "node":
            users[view.graph.user.heads] = True
            entities[view.graph.user.tails] = True
        rows = {"user": users, "item": entities[: view.n_items], "entity": entities, "node": np.concatenate([users, entities])}
        return torch.from_numpy(rows[kind])

    # -- where rows start ------------------------------------------------------------------------------------------------

    def fill_cold(self, name: str, table: Tensor, known: Tensor) -> Tensor:
        """Return a table whose cold rows have a start: (n, ...), (n,) bool -> (n, ...). Override for a rule of one's own."""
        if self.config.cold == "xavier" or bool(known.all()):
            return table
        filled, n_users = table.clone(), self.view.n_users
        kind = self.rows[name]
        if kind in ("user", "node"):
            self._fill(filled, known, slice(0, n_users))
        if kind == "item":
            if self.config.cold == "content":
                filled, known = self._from_neighbours(filled, known)
            self._fill(filled, known, slice(0, self.view.n_items))
        if kind in ("entity", "node"):
            first = n_users if kind == "node" else 0
            entities = slice(first, first + self.view.n_entities)
            if self.config.cold in _BY_NEIGHBOURS:
                known = known.clone()
                filled[entities], known[entities] = self._from_neighbours(filled[entities], known[entities])
            items = slice(first, first + self.view.n_items)
            self._fill(filled, known, items, spare=entities)
            self._fill(filled, known, slice(items.stop, entities.stop), spare=entities)
        return filled

    def start_from(self, users: Tensor, items: Tensor) -> None:
        """Take over vectors of users and items that were fitted elsewhere: (U, D), (I, D).

        By default the first table of users (or nodes) and the first of items (or entities, or nodes) in `rows`. With
        `cold = "content"` the entities that nobody clicked start from those that somebody did, hop by hop.
        """
        view = self.view
        with torch.no_grad():
            if (name := self._table_of("user", "node")) is not None:
                getattr(self, name)[: view.n_users] = users
                self.note_fitted(name)
            if (name := self._table_of("item", "entity", "node")) is not None:
                table = getattr(self, name)[view.n_users if self.rows[name] == "node" else 0 :]
                table[: view.n_items] = items
                self.note_fitted(name)
                if self.config.cold in _BY_NEIGHBOURS:
                    table.copy_(self._from_neighbours(table, named(view.interactions.items, len(table), items.device))[0])

    def start_as_drawn(self) -> None:
        """Start from the rows as they were drawn, where nothing was fitted elsewhere; by default there is nothing to do.

        A model with rows that training does not move, and that follow from others in use, lets them follow here.
        """

    def item_rows(self) -> Tensor | None:
        """Return what new users stand at the mean of: (at least I, D), or None. By default the first table with items."""
        name = self._table_of("item", "entity", "node")
        return None if name is None else getattr(self, name)[self.view.n_users if self.rows[name] == "node" else 0 :]

    # -- scores ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def nearness(self, users: Tensor, items: Tensor) -> Tensor:
        """Say how near items lie to users, for choosing hard negatives: (B,), (B, H) -> (B, H).

        By default the inner product of the rows that `start_from` fills. Override it where that is not the score: a network
        whose negatives are near by something else than what it says learns that near is bad.
        """
        name, of_items = self._table_of("user", "node"), self.item_rows()
        if name is None or of_items is None:
            raise NotImplementedError(f"{type(self).__name__} has no rows of users and items to compare")
        return compare_rows(getattr(self, name).index_select(0, users), of_items, items)

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I). By default the product of the factors."""
        factors = self.factors(users)
        if factors is None:
            raise NotImplementedError(f"{type(self).__name__} needs factors or score_all")
        return factors[0] @ factors[1].T

    # -- what arrives later ----------------------------------------------------------------------------------------------

    def adapt(self, support: Support) -> Self:
        """Return a recommender that knows what arrived, without a step; `metakg.train.baseline.Adapting` takes steps."""
        return self.extend(support)

    def anew(self, view: TrainView, rng: torch.Generator) -> Self:
        """Return a fresh model of the same settings over another view; override to pass on what was decided in training."""
        return type(self)(self.config, view, rng)

    def extend(self, support: Support) -> Self:
        """Return a copy over the larger view: trained rows stay bit for bit, cold ones start as `config.cold` says.

        Former tasks are plain training pairs in it. If nothing arrived, all rows stay.
        """
        old = self.view
        larger = old.extend(support)
        view = TrainView(larger.vocabulary, larger.interactions, larger.graph)
        new = self.anew(view, torch.Generator().manual_seed(self.rng.initial_seed()))
        new = new.to(next(self.parameters()).device)
        new.use_generator(torch.Generator(self.rng.device).manual_seed(self.rng.initial_seed()))
        same = view.vocabulary is old.vocabulary and view.interactions is old.interactions and view.graph is old.graph
        known = {}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                target = new.get_parameter(name)
                if name not in self.rows:
                    target.copy_(parameter)
                    continue
                rows, known[name] = self._carried(name, target.detach(), view)
                target.copy_(rows)
            if not same:
                new._settle(known)
        new.on_epoch_start()
        new._know(known)
        return new.train(self.training)

    def over(self, view: TrainView) -> Self:
        """Return this model over a view with the same rows from which clicks or facts were taken away: all parameters stay."""
        new = self.anew(view, torch.Generator().manual_seed(self.rng.initial_seed()))
        new = new.to(next(self.parameters()).device)
        new.use_generator(torch.Generator(self.rng.device).manual_seed(self.rng.initial_seed()))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                new.get_parameter(name).copy_(parameter)
        new.on_epoch_start()
        new._know({name: self.trained_rows(name) for name in self.rows})
        return new.train(self.training)

    def settle(self) -> None:
        """Give the rows that training did not move the start that `config.cold` says, and refresh the buffers."""
        known = {name: self.trained_rows(name) for name in self.rows}
        with torch.no_grad():
            self._settle(known)
        self.on_epoch_start()
        self._know(known)

    def use_generator(self, rng: torch.Generator) -> None:
        """Draw dropout and the like from another generator; it must live on the model's device."""
        self.rng = rng

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters, buffers, and which rows were trained."""
        trained = {f"{_TRAINED}{name}": self.trained_rows(name) for name, kind in self.rows.items() if kind not in _FEW}
        return super().tensors() | trained

    def _become(self, tensors: dict[str, Tensor]) -> None:
        """Be what `from_tensors` makes of them from now on, for a model of which they also say what it is built from."""
        device, unused = next(self.parameters()).device, torch.Generator().manual_seed(0)  # what it draws is overwritten
        other = type(self).from_tensors(self.config, self.view, unused, {name: value.cpu() for name, value in tensors.items()})
        other.use_generator(self.rng)
        self.__dict__.update(other.to(device).__dict__)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` of an equal model returned.

        Raises:
            CheckpointError: a tensor is missing, unexpected, or of another shape.
        """
        device = next(self.parameters()).device
        parts = {name: tensor.to(device) for name, tensor in tensors.items() if not name.endswith(_OLDER)}
        known = {name.removeprefix(_TRAINED): parts.pop(name) for name in list(parts) if name.startswith(_TRAINED)}
        tables = {name for name, kind in self.rows.items() if kind not in _FEW}
        super().load_tensors(parts)
        if not known:  # an older bundle does not say
            known = {name: self._named(self.rows[name]) for name in tables}
        fits = set(known) == tables and all(
            rows.dtype == torch.bool and rows.shape == (len(getattr(self, name)),) for name, rows in known.items()
        )
        if not fits:
            raise CheckpointError(
                f"tensors of {self.config.kind}",
                "no word on which rows were trained",
                expected="those of an equal model",
                fix="Save the bundle again.",
            )
        self._know(known)

    def _know(self, trained: Mapping[str, Tensor]) -> None:
        """Take these rows for the trained ones, until steps move others: table -> (n,) bool."""
        for name, rows in trained.items():
            self.note_fitted(name, rows)
        self.begin()

    def _carried(self, name: str, fresh: Tensor, view: TrainView) -> tuple[Tensor, Tensor]:
        """Return a table with the rows of a larger view, and which of them training had moved."""
        kind, table = self.rows[name], getattr(self, name).detach()
        if kind == "edge":
            rows = carry_relations(table, self.view.n_relations, view.n_relations)
            return rows, torch.ones(len(rows), dtype=torch.bool)
        if kind == "relation":
            n_new = view.n_relations - len(table)
            start = table.mean(0, keepdim=True) if len(table) else fresh[:1]
            rows = torch.cat([table, start.expand(n_new, *table.shape[1:])]) if n_new else table
            return rows, torch.ones(len(rows), dtype=torch.bool)
        came = torch.from_numpy(self._origin(kind, view)).to(table.device)
        there = came >= 0
        known = torch.zeros(len(came), dtype=torch.bool, device=table.device)
        known[there] = self.trained_rows(name)[came[there]]
        rows = fresh.clone()
        rows[there] = table[came[there]]
        return rows, known

    def _origin(self, kind: Kind, view: TrainView) -> np.ndarray:
        """Return for each row of a larger view its row here, -1 where it is new."""
        old = self.view
        parts = []
        if kind in ("user", "node"):
            rows = np.arange(view.n_users, dtype=np.int64)
            parts.append(np.where(rows < old.n_users, rows, -1))
        if kind == "item":
            rows = np.arange(view.n_items, dtype=np.int64)
            parts.append(np.where(rows < old.n_items, rows, -1))
        if kind in ("entity", "node"):
            came = origin(old.vocabulary, view.vocabulary).astype(np.int64)
            parts.append(came if kind == "entity" else np.where(came >= 0, came + old.n_users, -1))
        return np.concatenate(parts)

    def _table_of(self, *kinds: Kind) -> str | None:
        """Return the first table with rows of one of these kinds, or None."""
        return next((name for name, kind in self.rows.items() if kind in kinds), None)

    def _settle(self, known: Mapping[str, Tensor]) -> None:
        for name, there in known.items():
            parameter = getattr(self, name)
            parameter.copy_(self.fill_cold(name, parameter.detach(), there.to(parameter.device)))
        if self.config.cold == "content":
            self._place_users(known)

    def _place_users(self, known: Mapping[str, Tensor]) -> None:
        """Give the cold users the mean row of the items they clicked, times what fits trained users to theirs."""
        name, items = self._table_of("user", "node"), self.item_rows()
        if name is None or items is None:
            return
        n, table = self.view.n_users, getattr(self, name)
        pairs = self.view.interactions.pairs_only()
        users, clicked = (torch.from_numpy(rows.astype(np.int64)).to(table.device) for rows in (pairs.users, pairs.items))
        mean = losses.mean_rows(items.index_select(0, clicked), users, n)
        clicking, trained = named(pairs.users, n, table.device), known[name][:n].to(table.device)
        known_too, fresh = clicking & trained, clicking & ~trained
        if bool(known_too.any()) and bool(fresh.any()):
            stretch = (mean[known_too] * table[:n][known_too]).sum() / mean[known_too].square().sum().clamp(min=1e-12)
            table[:n][fresh] = stretch * mean[fresh]

    def _from_neighbours(self, table: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Fill cold rows of items, or of all entities, from their neighbours: (I or E, ...), (I or E,) -> the same, filled.

        Items learn from items over entities, also where entities have no rows of their own.
        """
        n, facts = len(table), self.view.graph.entity
        if n == self.view.n_entities:
            return mean_of_neighbours(table, known, facts)
        whole, there = table.new_zeros(self.view.n_entities, *table.shape[1:]), known.new_zeros(self.view.n_entities)
        whole[:n], there[:n] = table, known
        whole, there = mean_of_neighbours(whole, there, facts)
        return whole[:n], there[:n]

    def _fill(self, table: Tensor, known: Tensor, part: slice, spare: slice | None = None) -> None:
        """Fill the cold rows of a part by the mean of its trained rows (of `spare`, where it has none), or by zero."""
        rows, there = table[part], known[part]
        if self.config.cold == "zero":
            rows[~there] = 0
        elif there.any():
            rows[~there] = rows[there].mean(0)
        elif spare is not None and known[spare].any():
            rows[~there] = table[spare][known[spare]].mean(0)


def embedding(n: int, dim: int, rng: torch.Generator) -> nn.Parameter:
    """Return a table of n vectors with a Xavier-uniform start: (n, D)."""
    return nn.Parameter(xavier(n, dim, rng=rng))
