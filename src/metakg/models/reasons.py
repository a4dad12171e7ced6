"""Why an item scored: paths from the user's own items, and sets of edges to do without.

What lies between two items has a number, its *node*: user u is node u, entity e is node ENTITY + e, and an entity that an item
reaches over one other entity is node REACHED + e. An *edge* is (item row, node); a `Cut` is a set of edges.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from metakg.data import TrainView
from metakg.types import Floats, Mask, Rows

Keys = npt.NDArray[np.int64]

ENTITY, REACHED = 1 << 31, 1 << 32
"""Where the nodes of entities begin, and of entities over another; users lie before. Rows are int32, so nothing meets."""


SPAN = 1 << 34
"""More than any node number."""

_CROWD = SPAN - 1
"""Stands for all users as one node."""


@dataclass(frozen=True)
class Step:
    """One hop of a reason: along `relation` (None: "was clicked by") to a node.

    Attributes:
        relation: relation row, or None for a click.
        inverse: whether the fact is walked from tail to head.
        entity: entity row reached (items are entities), or None when the hop ends in a crowd of users.
        users: for a hop into users: how many of them connect both sides.
    """

    relation: int | None
    inverse: bool
    entity: int | None
    users: int = 0


@dataclass(frozen=True)
class Reason:
    """Why an item scored: a path from one of the user's own items, and its part of the score.

    Attributes:
        start: row of the user's own item.
        steps: the hops; the last one ends in the recommended item.
        share: part of all that speaks for the item that came this way, 0..1.
        edges: the edges (item row, node) that the path walks.
    """

    start: int
    steps: tuple[Step, ...]
    share: float
    edges: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Terms:
    """What an item's score is made of: n terms, each over one edge from an own item and one edge to the item.

    Attributes:
        own: (n,) own item.
        nodes: (n,) what lies between.
        kinds: (n,) relation row * 2 + direction of the fact that leads there, or -1.
        channels: (n,) channel of the term.
        amounts: (n,) how much, above zero.
    """

    own: Rows
    nodes: Keys
    kinds: Keys
    channels: Keys
    amounts: Floats


def reasons_of(
    view: TrainView, terms: Terms, item: int, limit: int, weights: npt.NDArray[np.float64], *, in_all: bool = False
) -> list[Reason]:
    """Return the paths that carry most of an item's score, heaviest first.

    Terms over one entity are one path, in whatever channel they lie; so are those over the people who clicked both.

    Args:
        view: the view that the terms come from.
        terms: of the item.
        item: item row.
        limit: at most this many paths.
        weights: (C,) what a channel's terms are multiplied by.
        in_all: `weights` are what the channels say in all, shared out among their terms.
    """
    if not len(terms.own):
        return []
    totals = np.bincount(terms.channels, terms.amounts, minlength=len(weights))
    said = np.where(totals > 0, weights, 0.0) if in_all else totals * weights
    if said.sum() <= 0:
        return []
    parts = terms.amounts * (said / np.where(totals > 0, totals, 1.0) / said.sum())[terms.channels]
    keys = terms.own * np.int64(SPAN) + np.where(terms.nodes < ENTITY, _CROWD, terms.nodes)
    inverse = np.unique(keys, return_inverse=True)[1]
    shares = np.bincount(inverse, parts)
    result = []
    for path in np.argsort(-shares, kind="stable")[:limit].tolist():
        if shares[path] <= 0:
            break
        its = np.flatnonzero(inverse == path)
        start, node = int(terms.own[its[0]]), int(terms.nodes[its[0]])
        if node < ENTITY:
            people = np.unique(terms.nodes[its]).tolist()
            steps: tuple[Step, ...] = (Step(None, False, None, users=len(people)), Step(None, False, item))
            edges = tuple((end, person) for person in people for end in (start, item))
        else:
            kinds = terms.kinds[its]
            typed = kinds >= 0
            heaviest = int(kinds[typed][parts[its][typed].argmax()]) if typed.any() else -1
            steps, edges = path_over(view, start, node, item, heaviest)
        result.append(Reason(start, steps, float(shares[path]), edges))
    return result


class Cut:
    """Edges (item row, node) that a score is to do without.

    Args:
        edges: the edges; repeats do no harm.
    """

    def __init__(self, edges: Iterable[tuple[int, int]]) -> None:
        pairs = np.array(sorted(set(edges)), np.int64).reshape(-1, 2)
        self.items: Rows = np.unique(pairs[:, 0]).astype(np.int32)
        self._keys = np.sort(_key(pairs[:, 0], pairs[:, 1]))

    def __len__(self) -> int:
        return len(self._keys)

    def has(self, items: Rows | int, nodes: Keys) -> Mask:
        """Say which of some edges are cut: (n,) or one item, (n,) -> (n,)."""
        keys = _key(np.broadcast_to(np.asarray(items, np.int64), nodes.shape), nodes)
        place = np.searchsorted(self._keys, keys)
        place[place == len(self._keys)] = 0
        return np.asarray(self._keys[place] == keys) if len(self._keys) else np.zeros(len(nodes), np.bool_)


def hop(view: TrainView, start: int, end: int) -> Step:
    """Return the first fact that joins two entities, as a step from one to the other."""
    facts = view.graph.entity
    forward = facts.of_head(start)
    forward = forward[facts.tails[forward] == end]
    if len(forward):
        return Step(int(facts.relations[forward[0]]), False, end)
    backward = facts.of_tail(start)
    backward = backward[facts.heads[backward] == end]
    return Step(int(facts.relations[backward[0]]), True, end)


def path_over(
    view: TrainView, start: int, node: int, item: int, kind: int
) -> tuple[tuple[Step, ...], tuple[tuple[int, int], ...]]:
    """Return the hops from an own item over a node to an item, and the edges they walk."""
    if node >= REACHED:
        entity = node - REACHED
        first, last = (_middle(view, end, entity) for end in (start, item))
        stops = (start, first, entity, last, item)
        steps = tuple(hop(view, here, there) for here, there in itertools.pairwise(stops))
        return steps, ((start, node), (item, node), *_fact_edges(view, (start, first), (item, last)))
    entity = node - ENTITY
    if entity == item:
        return (hop(view, start, item),), _fact_edges(view, (start, item))
    edges = _fact_edges(view, (start, entity), (item, entity))
    if kind >= 0:
        relation, inverse = kind // 2, bool(kind % 2)
        return (Step(relation, inverse, entity), Step(relation, not inverse, item)), edges
    return (hop(view, start, entity), hop(view, entity, item)), edges


def _fact_edges(view: TrainView, *ends: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the edges that facts between an item and an entity make; where the entity is an item, from both sides."""
    edges = []
    for item, entity in ends:
        edges.append((item, ENTITY + entity))
        if entity < view.n_items:
            edges.append((entity, ENTITY + item))
    return tuple(edges)


def _middle(view: TrainView, start: int, end: int) -> int:
    """Return the entity with the fewest links that facts join to both: it tells most, and no hub is crossed while others do."""
    facts = view.graph.entity

    def near(node: int) -> Rows:
        return np.union1d(facts.tails[facts.of_head(node)], facts.heads[facts.of_tail(node)])

    between = np.intersect1d(near(start), near(end), assume_unique=True)
    return int(min(between.tolist(), key=lambda node: (len(near(node)) < 2, len(near(node)))))  # nothing crosses a leaf


def _key(items: Keys, nodes: Keys) -> Keys:
    return items * np.int64(SPAN) + nodes
