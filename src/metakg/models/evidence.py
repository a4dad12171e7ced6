"""Local evidence: why an item could suit a profile, channel by channel.

64 numbers an item cannot hold that two tracks are on one release. The joined graph can, and every channel here reads one kind
of closeness from it, as a product of two sparse factors (profile @ left @ right, see `profile`):

    neighbours     users who clicked both, with popular items and active users damped
    crowd          chance to go from item over a user to item in two steps of a random walk
    context        the same over an entity
    <relation>     shared facts of one relation in one direction, rare ones counting more
    second-hop     facts shared over one entity in between

`Evidence.gather` retrieves a user's best candidates by the plain sum of the channels and describes each of them by the
channels' scores and a few facts about the item. `metakg` learns how much each of these counts, for everybody and for each user.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from metakg.data import TrainView
from metakg.models.kg_knn import Facts, KgKnnConfig, second_hop
from metakg.models.profile import Reason, Step, power
from metakg.models.walk import hop
from metakg.types import Floats, Rows

_ROUNDING = np.float32(1e-5)
"""Share of a float32 sum that may be left over by rounding when its parts are taken away again."""

ITEM_FEATURES = ("popularity", "new", "facts", "prior")
"""What describes a candidate beside the channels: log clicks, whether nobody clicked it in training, log facts, plain sum."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One kind of closeness between items.

    Attributes:
        name: for people.
        left: (I, M) from an item to what lies between.
        right: (M, I) from there to the other item.
        itself: (I,) closeness of an item to itself, to be left out when an item is judged by the others of a profile.
        over_users: whether what lies between are the users, row by row.
        weight: in the plain sum.
        through: (M,) entity row of what lies between; None where it is the users, or the entities themselves.
        kind: relation row and direction of a fact channel.
    """

    name: str
    left: sparse.csr_array
    right: sparse.csr_array
    itself: Floats
    over_users: bool
    weight: float
    through: Rows | None = None
    kind: tuple[int, bool] | None = None

    @staticmethod
    def of(
        name: str,
        left: sparse.sparray,
        right: sparse.sparray,
        weight: float,
        *,
        over_users: bool = False,
        through: Rows | None = None,
        kind: tuple[int, bool] | None = None,
    ) -> Channel:
        """Build a channel from its factors."""
        left, right = sparse.csr_array(left, dtype=np.float32), sparse.csr_array(right, dtype=np.float32)
        itself = np.asarray(left.multiply(right.T.tocsr()).sum(axis=1), np.float32).ravel()
        return Channel(name, left, right, itself, over_users, weight, through, kind)


@dataclass(frozen=True, eq=False)
class Gathered:
    """Candidates of B users and what speaks for them (F features: C channels, C "has any", then `ITEM_FEATURES`).

    Attributes:
        items: (B, N) int32 candidates, best plain sum first.
        features: (B, N, F) float32.
        prior: (B, I) float32 plain sum of all channels, 0 for no evidence, -1 for what the user has already clicked.
        own: (B, S, F) float32 features of the user's own items, each judged by his other items.
        own_mask: (B, S) which of these are there.
        own_items: (B, S) int32 which items they are.
    """

    items: Rows
    features: Floats
    prior: Floats
    own: Floats
    own_mask: npt.NDArray[np.bool_]
    own_items: Rows


class Evidence:
    """All channels of a view (C of them).

    Args:
        view: training data and what arrived; its clicks and facts are the evidence.
        trained_clicks: (I,) clicks of each item in training, before anything arrived.
        kinds: (relation row, inverse) to make channels of: those that the model was trained with; None = all that join items.
        max_items: what joins more items than this joins nothing.
    """

    def __init__(
        self,
        view: TrainView,
        trained_clicks: npt.NDArray[np.int64],
        kinds: tuple[tuple[int, bool], ...] | None,
        max_items: int,
    ) -> None:
        self.view = view
        facts, links = Facts.of(view), _links(view)
        clicks, by_user = view.history, np.diff(view.history.indptr)
        degree = view.popularity + np.diff(links.indptr)[: view.n_items]
        self.kinds = _kinds_that_join(facts, max_items) if kinds is None else kinds
        self.channels = (
            *_from_clicks(clicks, by_user, degree, view.popularity),
            _context(links, degree, view.n_items, max_items),
            *_from_facts(facts, view, self.kinds, max_items),
            Channel.of("second-hop", *second_hop(view, KgKnnConfig(max_items=max_items)), 0.5),
        )
        self.links = links
        self.names = tuple(channel.name for channel in self.channels)
        trained = np.zeros(view.n_items)
        trained[: len(trained_clicks)] = trained_clicks
        n_facts = np.diff(facts.incidence.indptr)
        columns = [np.log1p(view.popularity) / 5, (trained == 0) * 1.0, np.log1p(n_facts) / 3]
        self.about_items = np.stack(columns, axis=1).astype(np.float32)  # (I, 3)

    @property
    def n_features(self) -> int:
        """F, the number of features of a candidate."""
        return 2 * len(self.channels) + len(ITEM_FEATURES)

    def gather(
        self, users: Rows, profiles: sparse.csr_array, n_candidates: int, n_own: int, seen: sparse.csr_array | None = None
    ) -> Gathered:
        """Retrieve candidates and describe them and the user's own items: (B,), (B, I) -> see `Gathered`.

        Args:
            users: (B,) user rows; -1 for somebody the view does not know.
            profiles: (B, I) weighted clicks, rows summing to 1.
            n_candidates: N, at most the number of items.
            n_own: S, own items described at most; of more, those with the largest weight, then the lowest row.
            seen: (B, I) what each has clicked; by default what the view says of these users.
        """
        n_users, n_items = profiles.shape
        pairs = (self.view.history[users] if seen is None else seen).tocoo()
        is_seen = np.zeros((n_users, n_items), np.bool_)
        is_seen[pairs.row, pairs.col] = True
        own_row, own_place, own_col, own_weight = _own(profiles, n_own)
        prior = np.zeros(n_users * n_items, np.float32)
        own_prior = np.zeros(len(own_row), np.float32)
        scaled, own_units = [], np.zeros((len(self.channels), len(own_row)), np.float32)
        for c, channel in enumerate(self.channels):
            product = sparse.csr_array((profiles @ channel.left) @ channel.right)
            rows = np.repeat(np.arange(n_users), np.diff(product.indptr))
            place = rows * np.int64(n_items) + product.indices
            free = ~is_seen.ravel()[place]
            top = np.zeros(n_users, np.float32)
            np.maximum.at(top, rows[free], product.data[free])
            top[top <= 0] = 1.0
            units = product.data / top[rows]
            prior[place] += channel.weight * units
            scaled.append((place, units))
            total = _lookup(product, own_row, own_col)
            by_others = total - self._own_part(channel, users, own_row, own_col, own_weight, profiles)
            by_others[by_others < _ROUNDING * total] = 0.0  # what the subtraction leaves of nothing is no evidence
            own_units[c] = by_others / top[own_row]
            own_prior += channel.weight * own_units[c]
        prior = prior.reshape(n_users, n_items)
        prior[is_seen] = -1.0
        n = min(n_candidates, n_items)
        best = torch.topk(torch.from_numpy(prior), n, dim=1)
        items = best.indices.numpy().astype(np.int32)
        wanted = np.arange(n_users)[:, None] * np.int64(n_items) + items  # (B, N)
        features = np.empty((n_users, n, self.n_features), np.float32)
        buffer = np.zeros(n_users * n_items, np.float32)
        for c, (place, units) in enumerate(scaled):
            buffer[place] = units
            features[:, :, c] = buffer[wanted]
            buffer[place] = 0.0
        self._finish(features, items, best.values.numpy())
        own = np.zeros((n_users, n_own, self.n_features), np.float32)
        own[own_row, own_place, : len(self.channels)] = own_units.T
        own_items = np.zeros((n_users, n_own), np.int32)
        own_items[own_row, own_place] = own_col
        own_priors = np.zeros((n_users, n_own), np.float32)
        own_priors[own_row, own_place] = own_prior
        self._finish(own, own_items, own_priors)
        mask = np.zeros((n_users, n_own), np.bool_)
        mask[own_row, own_place] = True
        return Gathered(items, features, prior, own, mask, own_items)

    def paths(self, c: int, profile: sparse.csr_array, item: int, limit: int) -> list[Reason]:
        """Return the heaviest paths of one channel from a profile (1, I) to an item; shares are of the channel's score."""
        channel = self.channels[c]
        towards = channel.right[:, [item]].toarray().ravel()  # (M,)
        parts = (sparse.diags_array(profile.data) @ channel.left[profile.indices] @ sparse.diags_array(towards)).tocoo()
        own = profile.indices[parts.row]
        there = (parts.data > 0) & (own != item)
        own, between, weight = own[there], parts.col[there], parts.data[there]
        total = float(weight.sum())
        if total <= 0:
            return []
        if channel.over_users:
            found = [
                Reason(int(start), (Step(None, False, None, int((own == start).sum())), Step(None, False, item)), float(part))
                for start, part in ((start, weight[own == start].sum() / total) for start in np.unique(own))
            ]
            return sorted(found, key=lambda reason: -reason.share)[:limit]
        heaviest = np.argsort(-weight, kind="stable")[:limit]
        return [
            Reason(int(own[k]), self._steps(channel, int(own[k]), int(between[k]), item), float(weight[k]) / total)
            for k in heaviest
        ]

    def _steps(self, channel: Channel, own: int, between: int, item: int) -> tuple[Step, ...]:
        """Return the hops from an own item over an entity to an item."""
        if channel.kind is not None and channel.through is not None:
            relation, inverse = channel.kind
            return Step(relation, inverse, int(channel.through[between])), Step(relation, not inverse, item)
        if channel.name != "second-hop":
            return hop(self.view, own, between), hop(self.view, between, item)
        middle = [np.intersect1d(_neighbours(self.links, end), _neighbours(self.links, between))[0] for end in (own, item)]
        stops = (own, int(middle[0]), between, int(middle[1]), item)
        return tuple(hop(self.view, start, end) for start, end in itertools.pairwise(stops))

    def _finish(self, features: Floats, items: Rows, prior: Floats) -> None:
        """Fill in, in place, what follows from the channels' units and the items: roots, "has any", facts about items."""
        c = len(self.channels)
        units = features[:, :, :c]
        features[:, :, c : 2 * c] = units > 0
        # The walk may pass what no click or fact of the profile reaches; a few own items can even exceed the best candidate.
        features[:, :, :c] = np.minimum(np.sqrt(units), 2.0)
        features[:, :, 2 * c : 2 * c + 3] = self.about_items[items]
        features[:, :, -1] = np.minimum(prior, 10.0)

    def _own_part(
        self, channel: Channel, users: Rows, rows: Rows, items: Rows, weights: Floats, profiles: sparse.csr_array
    ) -> Floats:
        """Return what a channel says of own items only because they are in the profile: (n,).

        An own item is to be judged by the *other* items of the profile, and not over the user himself.
        """
        part = weights * channel.itself[items]
        if not channel.over_users or (users < 0).all():
            return part
        there = (profiles @ channel.left)[:, users].diagonal()  # (B,) what the whole profile gives the user himself
        given = weights * _lookup(channel.left, items, users[rows])
        return np.asarray(part + (there[rows] - given) * _lookup(channel.right, users[rows], items), np.float32)


def _from_clicks(
    clicks: sparse.csr_array, by_user: npt.NDArray[np.int64], degree: npt.NDArray[np.int64], popularity: npt.NDArray[np.int64]
) -> tuple[Channel, Channel]:
    items, users = sparse.diags_array(power(popularity, -0.5)), sparse.diags_array(power(by_user, -0.5))
    leave_item, leave_user = sparse.diags_array(power(degree, -1.0)), sparse.diags_array(power(by_user, -1.0))
    return (
        Channel.of("neighbours", items @ clicks.T, users @ clicks @ items, 1.0, over_users=True),
        Channel.of("crowd", leave_item @ clicks.T, leave_user @ clicks, 1.0, over_users=True),
    )


def _context(links: sparse.csr_array, degree: npt.NDArray[np.int64], n_items: int, max_items: int) -> Channel:
    size = np.diff(links.indptr)
    leave_item = sparse.diags_array(power(degree, -1.0))
    leave_entity = sparse.diags_array(power(size, -1.0) * ((size > 1) & (size <= max_items)))
    return Channel.of("context", leave_item @ links[:n_items], leave_entity @ links[:, :n_items], 1.0)


def _kinds_that_join(facts: Facts, max_items: int) -> tuple[tuple[int, bool], ...]:
    """Return the relations and directions of which some fact joins two items or more, but not too many."""
    useful = _useful(facts, max_items)
    kinds = np.unique(facts.relations[useful].astype(np.int64) * 2 + facts.inverse[useful])
    return tuple((int(kind) // 2, bool(kind % 2)) for kind in kinds)


def _useful(facts: Facts, max_items: int) -> npt.NDArray[np.bool_]:
    size = np.bincount(facts.incidence.indices, minlength=facts.incidence.shape[1])
    return np.asarray((size > 1) & (size <= max_items))


def _from_facts(facts: Facts, view: TrainView, kinds: tuple[tuple[int, bool], ...], max_items: int) -> list[Channel]:
    size = np.bincount(facts.incidence.indices, minlength=facts.incidence.shape[1])
    useful = _useful(facts, max_items)
    damped = sparse.csc_array(sparse.diags_array(power(np.diff(facts.incidence.indptr), -0.5)) @ facts.incidence)
    rarity = power(size, -1.0)
    channels = []
    for relation, inverse in kinds:
        columns = np.flatnonzero((facts.relations == relation) & (facts.inverse == inverse) & useful)
        part = damped[:, columns]
        name = ("^" if inverse else "") + view.vocabulary.relations.label(relation)
        channels.append(
            Channel.of(
                name,
                part @ sparse.diags_array(rarity[columns]),
                part.T,
                0.5,
                through=facts.entities[columns],
                kind=(relation, inverse),
            )
        )
    return channels


def _links(view: TrainView) -> sparse.csr_array:
    """Return the (E, E) matrix with a one where any fact joins two entities, in both directions."""
    facts, n = view.graph.entity, view.n_entities
    ends = np.concatenate([facts.heads, facts.tails]), np.concatenate([facts.tails, facts.heads])
    links = sparse.csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(n, n))
    links.data[:] = 1.0
    return links


def _neighbours(links: sparse.csr_array, node: int) -> Rows:
    return np.asarray(links.indices[links.indptr[node] : links.indptr[node + 1]], np.int32)


def _own(profiles: sparse.csr_array, limit: int) -> tuple[Rows, Rows, Rows, Floats]:
    """Return the heaviest own items of each profile: row, place 0..limit-1, item, weight; four (n,)."""
    pairs = profiles.tocoo()
    order = np.lexsort((pairs.col, -pairs.data, pairs.row))
    row, col, weight = pairs.row[order], pairs.col[order], pairs.data[order]
    starts = np.searchsorted(row, np.arange(profiles.shape[0]))
    place = np.arange(len(row)) - starts[row]
    kept = place < limit
    return row[kept].astype(np.int32), place[kept].astype(np.int32), col[kept].astype(np.int32), weight[kept]


def _lookup(matrix: sparse.csr_array, rows: Rows, columns: Rows) -> Floats:
    """Return single entries of a sparse matrix: (n,), (n,) -> (n,)."""
    if not len(rows):
        return np.empty(0, np.float32)
    return np.asarray(matrix[rows, columns], np.float32).ravel()
