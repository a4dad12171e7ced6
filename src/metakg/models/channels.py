"""The channels of `Evidence`: each kind of closeness between items as two sparse factors (see `metakg.models.factors`).

`GraphChannels` are those that the facts alone decide, worked out once however often the clicks change: a service learns clicks
every second and facts now and then, and practice takes its worlds from one graph.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.data import TrainView
from metakg.models.factors import Channel, Factors, turned
from metakg.models.kg_knn import Facts, KgKnnConfig, links_of, second_hop
from metakg.models.profile import power
from metakg.models.reasons import ENTITY, REACHED

NEARLY_ALL = 0.9
"""What so large a share of the items have tells none from another: it is no channel, or its best would be everything."""


class GraphChannels:
    """What the facts of a view say about closeness, whatever was clicked.

    Args:
        view: its facts, items and entities are read, its clicks are not.
        kinds: (relation row, inverse) to make channels of; None = all that join items.
        max_items: what joins more items than this joins nothing.

    Attributes:
        kinds: as found or given.
        factors: a channel for each kind, then the second hop.
        n_facts: (I,) facts of each item.
        n_links: (I,) entities that facts join each item with.
    """

    def __init__(self, view: TrainView, kinds: tuple[tuple[int, bool], ...] | None, max_items: int) -> None:
        self._facts, self._sizes, self._max_items = view.graph.entity, _sizes(view), max_items
        facts, self._links = Facts.of(view), links_of(view)
        self._asked, self.kinds = kinds, kinds_that_join(facts, max_items) if kinds is None else kinds
        reached = REACHED + np.arange(view.n_entities)
        hops = Channel(*second_hop(self._links, view.n_items, KgKnnConfig(max_items=max_items)), reached)
        self.factors = Factors([*from_facts(facts, self.kinds, max_items), hops])
        self.n_facts = np.diff(facts.incidence.indptr)
        self.n_links = np.diff(self._links.indptr)[: view.n_items]

    def is_of(self, view: TrainView, kinds: tuple[tuple[int, bool], ...] | None, max_items: int) -> bool:
        """Say whether another view, with these kinds and this limit, would have the same channels."""
        same = view.graph.entity is self._facts and _sizes(view) == self._sizes and max_items == self._max_items
        return same and kinds in (self._asked, self.kinds)

    def context(self, view: TrainView) -> Channel:
        """Return `context`: an item's step to what it is joined with is as likely as a step to one of its users."""
        leave_item = sparse.diags_array(power(view.popularity + self.n_links, -1.0))
        right, back = self._to_items
        return Channel(_csr(leave_item @ self._from_items), right, ENTITY + np.arange(len(self._links.indptr) - 1), back=back)

    @cached_property
    def _from_items(self) -> sparse.csr_array:
        return self._links[: len(self.n_links)]

    @cached_property
    def _to_items(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Right factor of `context` and its turn; what joins more than `max_items`, or nearly all items, joins nothing."""
        size, n_items = np.diff(self._links.indptr), len(self.n_links)
        reached = _csr(self._links[:, :n_items])
        joins = (size > 1) & (size <= self._max_items) & (np.diff(reached.indptr) <= NEARLY_ALL * n_items)
        right = _csr(sparse.diags_array(power(size, -1.0) * joins) @ reached)
        return right, turned(right)


def from_clicks(view: TrainView, n_links: npt.NDArray[np.int64]) -> tuple[Channel, Channel]:
    """Return `neighbours` and `crowd` of a view whose items have so many links (I,)."""
    clicks, popularity = view.history, view.popularity
    by_user, degree = np.diff(clicks.indptr), popularity + n_links
    items, users = sparse.diags_array(power(popularity, -0.5)), sparse.diags_array(power(by_user, -0.5))
    leave_item, leave_user = sparse.diags_array(power(degree, -1.0)), sparse.diags_array(power(by_user, -1.0))
    everybody = np.arange(clicks.shape[0])
    return (
        Channel(_csr(items @ clicks.T), _csr(users @ clicks @ items), everybody),
        Channel(_csr(leave_item @ clicks.T), _csr(leave_user @ clicks), everybody),
    )


def kinds_that_join(facts: Facts, max_items: int) -> tuple[tuple[int, bool], ...]:
    """Return the relations and directions of which some fact joins two items or more, but not too many."""
    useful = _useful(facts, max_items)
    kinds = np.unique(facts.relations[useful].astype(np.int64) * 2 + facts.inverse[useful])
    return tuple((int(kind) // 2, bool(kind % 2)) for kind in kinds)


def _useful(facts: Facts, max_items: int) -> npt.NDArray[np.bool_]:
    n_items, n_facts = facts.incidence.shape
    size = np.bincount(facts.incidence.indices, minlength=n_facts)
    return np.asarray((size > 1) & (size <= min(max_items, NEARLY_ALL * n_items)))


def from_facts(facts: Facts, kinds: tuple[tuple[int, bool], ...], max_items: int) -> list[Channel]:
    """Return a channel for each kind of fact, (relation row, inverse): items that share one, rare ones counting more."""
    size = np.bincount(facts.incidence.indices, minlength=facts.incidence.shape[1])
    useful = _useful(facts, max_items)
    damped = sparse.csc_array(sparse.diags_array(power(np.diff(facts.incidence.indptr), -0.5)) @ facts.incidence)
    rarity = power(size, -1.0)
    channels = []
    for relation, inverse in kinds:
        columns = np.flatnonzero((facts.relations == relation) & (facts.inverse == inverse) & useful)
        part, typed = damped[:, columns], np.full(len(columns), relation * 2 + inverse, np.int64)
        left = _csr(part @ sparse.diags_array(rarity[columns]))
        channels.append(Channel(left, _csr(part.T), ENTITY + facts.entities[columns].astype(np.int64), typed))
    return channels


def _sizes(view: TrainView) -> tuple[int, int]:
    return view.n_items, view.n_entities


def _csr(matrix: sparse.sparray) -> sparse.csr_array:
    return sparse.csr_array(matrix, dtype=np.float32)
