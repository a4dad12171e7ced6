"""Local evidence: why an item could suit a profile, channel by channel.

64 numbers an item cannot hold that two tracks are on one release. The joined graph can, and every channel here reads one kind
of closeness from it, as a product of two sparse factors (profile @ left @ right, see `profile`):

    neighbours     users who clicked both, cosine of Deshpande & Karypis with damped users
    crowd          chance to go from item over a user to item in two steps of a random walk
    context        the same over an entity
    <relation>     shared facts of one relation in one direction, rare ones counting more
    second-hop     facts shared over one entity in between

`metakg` learns how much each channel counts, for everybody and for each user.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from metakg.data import TrainView
from metakg.models.kg_knn import Facts, KgKnnConfig, second_hop
from metakg.models.profile import dense_product, power
from metakg.types import Floats, Rows


@dataclass(frozen=True, eq=False)
class Channel:
    """One kind of closeness between items.

    Attributes:
        name: for people.
        left: (I, M) from an item to what lies between.
        right: (M, I) from there to the other item.
        itself: (I,) closeness of an item to itself, to be left out when an item is judged by the others of a profile.
        over_users: whether what lies between are the users, row by row.
    """

    name: str
    left: sparse.csr_array
    right: sparse.csr_array
    itself: Floats
    over_users: bool

    @staticmethod
    def of(name: str, left: sparse.sparray, right: sparse.sparray, *, over_users: bool = False) -> Channel:
        """Build a channel from its factors."""
        left, right = sparse.csr_array(left, dtype=np.float32), sparse.csr_array(right, dtype=np.float32)
        itself = np.asarray(left.multiply(right.T.tocsr()).sum(axis=1), np.float32).ravel()
        return Channel(name, left, right, itself, over_users)


class Evidence:
    """All channels of a view (C of them).

    Args:
        view: training data and what arrived; its clicks and facts are the evidence.
        max_items: what joins more items than this joins nothing.
        fact_exponent: how strongly items with many facts are damped in the fact channels.
        user_exponent: how strongly active users are damped in the neighbour channel.
    """

    def __init__(
        self, view: TrainView, *, max_items: int = 5000, fact_exponent: float = 0.25, user_exponent: float = 0.5
    ) -> None:
        self.view = view
        self.max_items = max_items
        clicks = view.history
        by_user = np.diff(clicks.indptr)
        facts = Facts.of(view)
        links = _links(view)
        degree = view.popularity.copy()
        degree += np.diff(links.indptr)[: view.n_items]
        self.channels = (
            *self._from_clicks(clicks, by_user, degree, user_exponent),
            self._context(links, degree),
            *self._from_facts(facts, fact_exponent),
            Channel.of("second-hop", *second_hop(view, KgKnnConfig(max_items=max_items, fact_exponent=fact_exponent))),
        )
        self.names = tuple(channel.name for channel in self.channels)
        self.n_facts = np.diff(facts.incidence.indptr)

    def _from_clicks(
        self, clicks: sparse.csr_array, by_user: np.ndarray, degree: np.ndarray, user_exponent: float
    ) -> tuple[Channel, Channel]:
        items = sparse.diags_array(power(self.view.popularity, -0.5))
        users = sparse.diags_array(power(by_user, -user_exponent))
        leave_item, leave_user = sparse.diags_array(power(degree, -1.0)), sparse.diags_array(power(by_user, -1.0))
        return (
            Channel.of("neighbours", items @ clicks.T, users @ clicks @ items, over_users=True),
            Channel.of("crowd", leave_item @ clicks.T, leave_user @ clicks, over_users=True),
        )

    def _context(self, links: sparse.csr_array, degree: np.ndarray) -> Channel:
        n_items = self.view.n_items
        size = np.diff(links.indptr)
        crossed = (size > 1) & (size <= self.max_items)
        leave_item = sparse.diags_array(power(degree, -1.0))
        leave_entity = sparse.diags_array(power(size, -1.0) * crossed)
        return Channel.of("context", leave_item @ links[:n_items], leave_entity @ links[:, :n_items])

    def _from_facts(self, facts: Facts, fact_exponent: float) -> list[Channel]:
        size = np.bincount(facts.incidence.indices, minlength=facts.incidence.shape[1])
        useful = (size > 1) & (size <= self.max_items)
        damp = sparse.diags_array(power(np.diff(facts.incidence.indptr), -fact_exponent))
        damped = sparse.csc_array(damp @ facts.incidence)
        rarity = power(size, -1.0)
        kinds = facts.relations.astype(np.int64) * 2 + facts.inverse
        channels = []
        for kind in range(2 * self.view.n_relations):
            columns = np.flatnonzero((kinds == kind) & useful)
            part = damped[:, columns]
            name = ("^" if kind % 2 else "") + self.view.vocabulary.relations.label(kind // 2)
            channels.append(Channel.of(name, part @ sparse.diags_array(rarity[columns]), part.T))
        return channels

    def dense(self, profiles: sparse.csr_array) -> Floats:
        """Return every channel's score of every item: (B, I) profiles -> (C, B, I) float32, not negative."""
        return np.stack([dense_product(profiles, channel.left, channel.right) for channel in self.channels])

    def own_part(self, users: Rows, profiles: sparse.csr_array) -> tuple[Rows, Rows, Floats]:
        """Return what the channels say of a profile's own items only because they are in it.

        An own item is to be judged by the *other* items of the profile, and not over the user himself.

        Args:
            users: (B,) the users the profiles belong to.
            profiles: (B, I) weighted clicks.

        Returns:
            Positions in the profiles as row in 0..B-1 and item, (n,) each, and (C, n) the parts to subtract.
        """
        own = profiles.tocoo()
        parts = np.empty((len(self.channels), len(own.data)), np.float32)
        for c, channel in enumerate(self.channels):
            parts[c] = own.data * channel.itself[own.col]
            if channel.over_users:
                parts[c] += self._over_himself(channel, users, profiles, own)
        return own.row.astype(np.int32), own.col.astype(np.int32), parts

    def _over_himself(self, channel: Channel, users: Rows, profiles: sparse.csr_array, own: sparse.coo_array) -> Floats:
        """Return for each own item what the user's *other* items give it over the user himself: (n,)."""
        steps = channel.left[own.col, users[own.row]]  # (n,) from the item to the user
        given = own.data * np.asarray(steps).ravel()
        together = np.bincount(own.row, given, minlength=len(users))
        back = np.asarray(channel.right[users[own.row], own.col]).ravel()
        return np.asarray((together[own.row] - given) * back, np.float32)


def _links(view: TrainView) -> sparse.csr_array:
    """Return the (E, E) matrix with a one where any fact joins two entities, in both directions."""
    facts, n = view.graph.entity, view.n_entities
    ends = np.concatenate([facts.heads, facts.tails]), np.concatenate([facts.tails, facts.heads])
    links = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
    links.data[:] = 1.0
    return links
