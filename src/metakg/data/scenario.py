"""`Scenario` and `Split`: what is learnt from, what arrives, and what must then be ranked.

Names of scenarios, as in the paper: `user_cold` (UC, new users and old items), `item_cold` (IC, old users and new items),
`user_item_cold` (UIC, both new) and `warm` (called `warm_up` in the published files).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse import csgraph

from metakg.data.dataset import Dataset
from metakg.data.graph import Triples
from metakg.data.ids import IdMap
from metakg.data.interactions import Interactions
from metakg.data.part import Part
from metakg.data.view import Support, Tasks, TrainView
from metakg.data.vocabulary import Vocabulary
from metakg.errors import DataError
from metakg.types import Json, Mask, Rows

Protocol = Literal["paper", "strict"]
SCENARIOS = ("user_cold", "item_cold", "user_item_cold", "warm")


@dataclass(frozen=True, eq=False)
class Scenario:
    """One cold-start situation, in rows of the data set that it was cut from.

    Attributes:
        name: one of `SCENARIOS`.
        support: pairs that are revealed before ranking; of each user in the order in which they are revealed.
        query: the held-out pairs, the answers. They reach the metrics and nothing else.
        candidates: (c,) item rows that can be right at all here (the new items for IC and UIC), for the restricted
            variant of the evaluation; the default ranks all items.
        shots_by: whether "k shots" keeps the first k pairs of each user or of each item.
        default_shots: how many shots are revealed when nobody asks for a number; None = all.
        manifest: thresholds, counts and rules this scenario was cut with.
    """

    name: str
    support: Interactions
    query: Interactions
    candidates: Rows
    shots_by: Literal["user", "item"] = "user"
    default_shots: int | None = None
    manifest: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.default_shots is not None:
            _check_shots(self.default_shots)

    @cached_property
    def users(self) -> Rows:
        """The (B,) distinct user rows that have a query, ascending."""
        return np.unique(self.query.users)

    @property
    def most_shots(self) -> int:
        """The least number of shots that reveals the whole support."""
        by = self.support.users if self.shots_by == "user" else self.support.items
        return int(np.bincount(by).max(initial=0))

    def revealed(self, shots: int | None = None) -> Interactions:
        """Return the support pairs that `shots` reveals (default: `default_shots`; all if that is None too)."""
        shots = self.default_shots if shots is None else shots
        if shots is None:
            return self.support
        _check_shots(shots)
        by = self.support.users if self.shots_by == "user" else self.support.items
        return self.support.select(rank_within(by) < shots)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """A data set cut into what a model may see and the scenarios it is judged on.

    Attributes:
        protocol: `paper` or `strict` (see docs); printed with every number.
        dataset: the whole, which only the split and the evaluator may look at.
        known_users: (U,) whether a user exists for the model before adaptation.
        known_items: (I,) whether an item exists for the model before adaptation.
        pairs: training pairs O_tr, in rows of the data set.
        tasks: meta-training tasks, in rows of the data set, or None.
        scenarios: by name.
        validation: a split of the training part alone, by the same rule: every choice is made there.
        manifest: rule, thresholds, seed, counts, overlap report.
    """

    protocol: Protocol
    dataset: Dataset
    known_users: Mask
    known_items: Mask
    pairs: Interactions
    tasks: Tasks | None
    scenarios: Mapping[str, Scenario]
    validation: Split | None = None
    manifest: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        v = self.dataset.vocabulary
        for name, mask, size in (("users", self.known_users, v.n_users), ("items", self.known_items, v.n_items)):
            if mask.shape != (size,) or mask.dtype != np.bool_:
                raise TypeError(f"split.known_{name} must be {size} booleans, not {mask.shape} {mask.dtype}")
        everyone, everything = np.ones(v.n_users, np.bool_), np.ones(v.n_items, np.bool_)
        _check_rows("training pairs", self.pairs, self.known_users, self.known_items)
        if self.tasks is not None:
            _check_rows("task support", self.tasks.support, self.known_users, self.known_items)
            _check_rows("task query", self.tasks.query, self.known_users, self.known_items)
        for name, scenario in self.scenarios.items():
            _check_rows(f"{name} support", scenario.support, everyone, everything)
            _check_rows(f"{name} query", scenario.query, everyone, everything)

    def __repr__(self) -> str:
        asked = ", ".join(f"{name} {len(scenario.users):,}" for name, scenario in self.scenarios.items())
        return f"Split({self.protocol}, {len(self.pairs):,} training pairs; users asked: {asked or 'none'})"

    @cached_property
    def train(self) -> TrainView:
        """All that a model may see: known ids only, their training pairs, and the facts among known entities."""
        if self.known_users.all() and self.known_items.all():
            return TrainView(self.dataset.vocabulary, self.pairs.pairs_only(), self.dataset.graph, self.tasks)
        return _compact(self)

    def support(self, name: str, shots: int | None = None) -> Support:
        """Return what arrives in a scenario, in the outside world's ids: clicks, new users and items, their facts and names."""
        v, graph = self.dataset.vocabulary, self.dataset.graph
        pairs = self.scenarios[name].revealed(shots)
        new_items = np.flatnonzero(~self.known_items).astype(np.int32)
        arrivals = {
            "item": v.items.take(new_items),
            "entity": v.entities.take(new_items),
            "label": _labels(v.items, new_items),
        }
        facts = graph.entity.select(~self._visible_facts)
        arriving_users = np.zeros(v.n_users, np.bool_)
        arriving_users[pairs.users] = True
        arriving_users[self.scenarios[name].users] = True
        of_arriving = (~self.known_users & arriving_users)[graph.user.heads]
        of_known = self.known_users[graph.user.heads] & self.hidden_entities[graph.user.tails]
        about = graph.user.select(of_arriving | of_known)
        behind = np.zeros(v.n_entities, np.bool_)
        behind[facts.heads] = behind[facts.tails] = behind[about.tails] = True
        named = np.flatnonzero(behind & self.hidden_entities).astype(np.int32)
        return Support(
            v.users.take(pairs.users),
            v.items.take(pairs.items),
            pa.table(arrivals),
            _ids_table(facts, v, heads_are_users=False),
            _ids_table(about, v, heads_are_users=True),
            pa.table({"entity": v.entities.take(named), "label": _labels(v.entities, named)}),
            v.users.take(np.flatnonzero(~self.known_users & arriving_users).astype(np.int32)),
        )

    @cached_property
    def hidden_entities(self) -> Mask:
        """(E,) the new items, and every entity that only they or new users lead to.

        An entity is led to by its facts with others; a part of the graph that has no fact with a new item or user, and one
        that also hangs on a known item or user, is not hidden.
        """
        v, graph = self.dataset.vocabulary, self.dataset.graph
        hidden = np.zeros(v.n_entities, np.bool_)
        hidden[: v.n_items] = ~self.known_items
        touches_new = hidden[graph.entity.heads] | hidden[graph.entity.tails]
        among_old = graph.entity.select(~touches_new)
        edges = (np.ones(len(among_old), np.int8), (among_old.heads, among_old.tails))
        _, part = csgraph.connected_components(sparse.coo_array(edges, shape=(v.n_entities, v.n_entities)), directed=False)
        known_head = self.known_users[graph.user.heads]
        anchored, suspect = np.zeros(v.n_entities, np.bool_), np.zeros(v.n_entities, np.bool_)
        anchored[part[: v.n_items][self.known_items]] = True
        anchored[part[graph.user.tails[known_head]]] = True
        suspect[part[graph.user.tails[~known_head]]] = True
        suspect[part[graph.entity.heads[touches_new]]] = suspect[part[graph.entity.tails[touches_new]]] = True
        hidden |= (suspect & ~anchored)[part]
        return hidden

    @cached_property
    def _visible_facts(self) -> Mask:
        """(T,) whether a fact is known before anything arrives: neither of its ends is hidden."""
        facts = self.dataset.graph.entity
        return ~(self.hidden_entities[facts.heads] | self.hidden_entities[facts.tails])


def _compact(split: Split) -> TrainView:
    """Build the view of a split in which some users or items do not exist yet."""
    data, tasks = split.dataset, split.tasks
    part = Part(data.vocabulary, split.known_users, ~split.hidden_entities)
    if tasks is not None:
        support, query = part.pairs(tasks.support.pairs_only()), part.pairs(tasks.query.pairs_only())
        tasks = Tasks(part.users[tasks.users], support, query)
    return TrainView(part.vocabulary, part.pairs(split.pairs.pairs_only()), part.graph(data.graph), tasks)


def _check_rows(what: str, pairs: Interactions, users: Mask, items: Mask) -> None:
    """Check that all pairs lie within the data set and among the users and items that are allowed here."""
    for column, rows, allowed in (("user", pairs.users, users), ("item", pairs.items, items)):
        if len(rows) and rows.max() >= len(allowed):
            raise DataError(
                f"split, {what}, column {column}",
                f"row {rows.max()}",
                expected=f"rows 0..{len(allowed) - 1}",
                fix="The split belongs to another data set; split again.",
            )
        if not allowed[rows].all():
            raise DataError(
                f"split, {what}, column {column}",
                f"{np.count_nonzero(~allowed[rows])} rows of {column}s that are unknown before adaptation",
                expected=f"known {column}s only",
                fix="New users and items may appear in scenarios only.",
            )


def _check_shots(shots: int) -> None:
    if shots < 0:
        raise ValueError(f"shots must be 0 or more, not {shots}")


def rank_within(groups: Rows) -> Rows:
    """Return for each position how many earlier positions hold the same group: (n,) -> (n,)."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]]) if len(groups) else np.empty(0, int)
    lengths = np.diff(np.r_[starts, len(groups)])
    rank = np.empty(len(groups), np.int32)
    rank[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return rank


def _labels(ids: IdMap, rows: Rows) -> pa.Array:
    return pa.nulls(len(rows), pa.string()) if ids.labels is None else ids.labels.take(pa.array(rows))


def _ids_table(facts: Triples, v: Vocabulary, *, heads_are_users: bool) -> pa.Table:
    heads = v.users if heads_are_users else v.entities
    return pa.table(
        {
            "head": heads.take(facts.heads),
            "relation": v.relations.take(facts.relations),
            "tail": v.entities.take(facts.tails),
        }
    )
