"""The channels of `Evidence`: each kind of closeness between items as two sparse factors (see `metakg.models.factors`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from metakg.data import TrainView
from metakg.models.factors import Channel
from metakg.models.kg_knn import Facts
from metakg.models.profile import power
from metakg.models.reasons import ENTITY


def from_clicks(
    clicks: sparse.csr_array, by_user: npt.NDArray[np.int64], degree: npt.NDArray[np.int64], popularity: npt.NDArray[np.int64]
) -> tuple[Channel, Channel]:
    """Return `neighbours` and `crowd`: (U, I) clicks, (U,) clicks of each user, (I,) links and clicks of each item."""
    items, users = sparse.diags_array(power(popularity, -0.5)), sparse.diags_array(power(by_user, -0.5))
    leave_item, leave_user = sparse.diags_array(power(degree, -1.0)), sparse.diags_array(power(by_user, -1.0))
    everybody = np.arange(clicks.shape[0])
    return (
        Channel(_csr(items @ clicks.T), _csr(users @ clicks @ items), everybody),
        Channel(_csr(leave_item @ clicks.T), _csr(leave_user @ clicks), everybody),
    )


def context(links: sparse.csr_array, degree: npt.NDArray[np.int64], n_items: int, max_items: int) -> Channel:
    """Return `context`: (E, E) links, (I,) links and clicks of each item; what joins more items joins nothing."""
    size = np.diff(links.indptr)
    leave_item = sparse.diags_array(power(degree, -1.0))
    leave_entity = sparse.diags_array(power(size, -1.0) * ((size > 1) & (size <= max_items)))
    left, right = _csr(leave_item @ links[:n_items]), _csr(leave_entity @ links[:, :n_items])
    return Channel(left, right, ENTITY + np.arange(links.shape[0]))


def kinds_that_join(facts: Facts, max_items: int) -> tuple[tuple[int, bool], ...]:
    """Return the relations and directions of which some fact joins two items or more, but not too many."""
    useful = _useful(facts, max_items)
    kinds = np.unique(facts.relations[useful].astype(np.int64) * 2 + facts.inverse[useful])
    return tuple((int(kind) // 2, bool(kind % 2)) for kind in kinds)


def _useful(facts: Facts, max_items: int) -> npt.NDArray[np.bool_]:
    size = np.bincount(facts.incidence.indices, minlength=facts.incidence.shape[1])
    return np.asarray((size > 1) & (size <= max_items))


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


def links_of(view: TrainView) -> sparse.csr_array:
    """Return the (E, E) matrix with a one where any fact joins two entities, in both directions."""
    facts, n = view.graph.entity, view.n_entities
    ends = np.concatenate([facts.heads, facts.tails]), np.concatenate([facts.tails, facts.heads])
    links = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
    links.data[:] = 1.0
    return links


def _csr(matrix: sparse.sparray) -> sparse.csr_array:
    return sparse.csr_array(matrix, dtype=np.float32)
