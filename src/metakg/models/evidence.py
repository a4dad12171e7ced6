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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from metakg.data import TrainView
from metakg.models.channels import GraphChannels, from_clicks
from metakg.models.factors import Factors, Said
from metakg.models.joint_factors import JointFactors
from metakg.models.nn.spectral import item_vectors
from metakg.models.reasons import Cut
from metakg.threads import in_order
from metakg.types import Floats, Rows

Result = TypeVar("Result")

_ROUNDING = np.float32(1e-5)
"""Share of a float32 sum that may be left over by rounding when its parts are taken away again."""

_BUSY = 150_000
"""Products of a mean user above which threads gain (`benchmarks/worlds.py`)."""

_BLOCK = 64
"""Users whose evidence is gathered at once, where there are many."""

_LONG = 1 << 14
"""Where there are more items than this, users are taken one by one, whose sums stay in a near cache; of fewer, all at once."""

PRIOR_LIMIT = 10.0
"""The plain sum counts as a feature up to here."""

ITEM_FEATURES = ("popularity", "new", "facts", "prior")
"""What describes a candidate beside the channels: log clicks, whether nobody clicked it in training, log facts, plain sum.
With item vectors, the inner product of profile and candidate stands before the plain sum."""


@dataclass(frozen=True)
class Voice:
    """What is known of a channel beside its factors.

    Attributes:
        name: for people.
        weight: in the plain sum.
        over_users: whether what lies between are the users, row by row.
    """

    name: str
    weight: float
    over_users: bool = False


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
        vector_dim: D > 0 adds the inner product of item vectors (`metakg.models.nn.spectral`).
        like: evidence of other clicks; where its facts are those of the view, its channels of them are shared.
    """

    def __init__(
        self,
        view: TrainView,
        trained_clicks: npt.NDArray[np.int64],
        kinds: tuple[tuple[int, bool], ...] | None,
        max_items: int,
        vector_dim: int = 0,
        like: Evidence | None = None,
    ) -> None:
        self.view = view
        self.vectors: Floats | None = item_vectors(view, vector_dim) if vector_dim else None  # (I, D)
        shared = like is not None and like.of_graph.is_of(view, kinds, max_items)
        self.of_graph: GraphChannels = like.of_graph if like is not None and shared else GraphChannels(view, kinds, max_items)
        self.kinds = self.of_graph.kinds
        self.of_clicks: Factors = Factors([*from_clicks(view, self.of_graph.n_links), self.of_graph.context(view)])
        self.factors = JointFactors(self.of_clicks, self.of_graph.factors)
        labels = view.vocabulary.relations.label
        self.channels = (
            Voice("neighbours", 1.0, over_users=True),
            Voice("crowd", 1.0, over_users=True),
            Voice("context", 1.0),
            *(Voice(("^" if inverse else "") + labels(relation), 0.5) for relation, inverse in self.kinds),
            Voice("second-hop", 0.5),
        )
        self.names = tuple(channel.name for channel in self.channels)
        self.weights = np.array([channel.weight for channel in self.channels], np.float32)
        trained = np.zeros(view.n_items)
        trained[: len(trained_clicks)] = trained_clicks
        columns = [np.log1p(view.popularity) / 5, (trained == 0) * 1.0, np.log1p(self.of_graph.n_facts) / 3]
        self.about_items = np.stack(columns, axis=1).astype(np.float32)  # (I, 3)

    @property
    def n_features(self) -> int:
        """F, the number of features of a candidate."""
        return n_features(len(self.kinds), self.vectors is not None)

    @cached_property
    def keeps_threads_busy(self) -> bool:
        """Whether `gather` spends so long in sparse products that threads gain by it; else they wait for one another."""
        mean_clicks = self.view.history.nnz / max(1, np.count_nonzero(np.diff(self.view.history.indptr)))
        return bool(mean_clicks * self.factors.terms_an_item > _BUSY)

    def by_blocks(self, users: Rows, work: Callable[[Rows], Result]) -> Iterator[Result]:
        """Do something that gathers evidence for one block of users after the other, on all threads if these gain by it."""
        blocks = [users[begin : begin + _BLOCK] for begin in range(0, len(users), _BLOCK)]
        return in_order(work, blocks, self.keeps_threads_busy)

    def is_of(self, view: TrainView) -> bool:
        """Say whether a view has the clicks and facts that this was built from; labels and facts about users do not matter."""
        mine = self.view
        sizes = (view.n_users, view.n_items, view.n_entities) == (mine.n_users, mine.n_items, mine.n_entities)
        return sizes and view.interactions is mine.interactions and view.graph.entity is mine.graph.entity

    def gather(
        self,
        users: Rows,
        profiles: sparse.csr_array,
        n_candidates: int,
        n_own: int,
        seen: sparse.csr_array | None = None,
        cut: Cut | None = None,
    ) -> Gathered:
        """Retrieve candidates and describe them and the user's own items: (B,), (B, I) -> see `Gathered`.

        Args:
            users: (B,) user rows; -1 for somebody the view does not know.
            profiles: (B, I) weighted clicks, rows summing to 1.
            n_candidates: N, at most the number of items.
            n_own: S, own items described at most; of more, those with the largest weight, then the lowest row.
            seen: (B, I) what each has clicked; by default what the view says of these users.
            cut: edges to do without, for one user.
        """
        if cut is None and (len(users) == 1 or (len(users) and profiles.shape[1] > _LONG)):
            alone = []
            for n, user in enumerate(users.tolist()):
                clicked = None if seen is None else seen[[n]]
                alone.append(self._gather_one(user, profiles[[n]], n_candidates, n_own, clicked))
            whole = (np.concatenate([getattr(found, part.name) for found in alone]) for part in fields(Gathered))
            return alone[0] if len(alone) == 1 else Gathered(*whole)
        (n_users, n_items), n_channels = profiles.shape, len(self.channels)
        pairs = self.view.history[users] if seen is None else seen
        is_seen = np.zeros((n_users, n_items), np.bool_)
        is_seen[_rows_of(pairs), pairs.indices] = True
        between = self.factors.between(profiles, cut)
        row, channel, item, said = self.factors.told(between, cut)
        own_row, own_place, own_item, own_weight = _own(profiles, n_own)

        # Flat places throughout: numpy's fast paths know one index, not two.
        cell, slot = row * np.int64(n_items) + item, row * np.int64(n_channels) + channel
        top = _largest(slot, np.where(is_seen.ravel()[cell], np.float32(0), said), n_users * n_channels)
        top[top <= 0] = 1.0
        units = said / top[slot]
        prior = np.zeros((n_users, n_items), np.float32)
        np.add.at(prior.ravel(), cell, self.weights[channel] * units)
        prior[is_seen] = -1.0
        n = min(n_candidates, n_items)
        best = torch.topk(torch.from_numpy(prior), n, dim=1)
        items = best.indices.numpy().astype(np.int32)
        place = np.full(n_users * n_items, -1, np.int32)
        place[np.arange(n_users)[:, None] * np.int64(n_items) + items] = np.arange(n, dtype=np.int32)
        features = np.zeros((n_users, n, self.n_features), np.float32)
        at = place[cell]
        there = np.flatnonzero(at >= 0)
        features[row[there], at[there], channel[there]] = units[there]
        self._finish(features, items, best.values.numpy())
        self._add_vectors(features, profiles, items)

        place[:] = -1
        place[own_row * np.int64(n_items) + own_item] = np.arange(len(own_row), dtype=np.int32)
        at = place[cell]
        there = np.flatnonzero(at >= 0)
        total = np.zeros((n_channels, len(own_row)), np.float32)
        total[channel[there], at[there]] = said[there]
        parts = self._own_parts(users, own_row, own_item, own_weight, between, cut)
        tops = top.reshape(n_users, n_channels)
        own = self._describe_own(profiles, own_row, own_place, own_item, own_weight, total, parts, tops, n_own)
        return Gathered(items, features, prior, *own)

    def plain_sum(self, profiles: sparse.csr_array) -> Floats:
        """Return the weighted sum of the channels, each scaled to 1 at its best item: (B, I) -> (B, I)."""
        between = self.factors.between(profiles)
        result = np.zeros(profiles.shape, np.float32)
        if len(result) == 1:
            for said, weight in zip(self.factors.told_to_one(between), self.weights, strict=True):
                top = said.values.max(initial=0.0)
                self._add(result[0], said, weight * (said.values / (top if top > 0 else np.float32(1))))
            return result
        row, channel, item, values = self.factors.told(between)
        slot = row * np.int64(len(self.channels)) + channel
        top = _largest(slot, values, profiles.shape[0] * len(self.channels))
        np.add.at(result.ravel(), row * np.int64(profiles.shape[1]) + item, self.weights[channel] * (values / top[slot]))
        return result

    def _gather_one(
        self, user: int, profile: sparse.csr_array, n_candidates: int, n_own: int, seen: sparse.csr_array | None
    ) -> Gathered:
        """Do what `gather` does for one user, to the same bits, channel by channel, in rows that stay in a near cache."""
        n_items, n_channels = profile.shape[1], len(self.channels)
        clicked = (self.view.history[[user]] if seen is None else seen).indices
        is_seen = np.zeros(n_items, np.bool_)
        is_seen[clicked] = True
        between = self.factors.between(profile)
        told = self.factors.told_to_one(between)
        own_row, own_place, own_item, own_weight = _own(profile, n_own)
        at_own, total = np.full(n_items, -1, np.int32), np.zeros((n_channels, len(own_item)), np.float32)
        at_own[own_item] = np.arange(len(own_item), dtype=np.int32)
        top, prior = np.ones((1, n_channels), np.float32), np.zeros(n_items, np.float32)
        for c, said in enumerate(told):
            items, values = said.items, said.values
            if items is None:
                total[c] = values[own_item]
                of_seen = values[clicked]
                values[clicked] = 0.0
                best = values.max(initial=0.0)
                values[clicked] = of_seen
            elif not len(items):
                continue
            else:
                _put(total[c], at_own[items], values)
                best = np.where(is_seen[items], np.float32(0), values).max(initial=0.0)
            if best > 0:
                top[0, c] = best
            values /= top[0, c]  # from here on, what the channel says is measured by its best item
            self._add(prior, said, self.weights[c] * values)
        prior[clicked] = -1.0
        n = min(n_candidates, n_items)
        chosen = torch.topk(torch.from_numpy(prior), n)
        rows = chosen.indices.numpy().astype(np.int32)
        place = np.full(n_items, -1, np.int32)
        place[rows] = np.arange(n, dtype=np.int32)
        units = np.zeros((n_channels, n), np.float32)
        for c, said in enumerate(told):
            if said.items is None:
                units[c] = said.values[rows]
            elif len(said.items):
                _put(units[c], place[said.items], said.values)
        features = np.zeros((1, n, self.n_features), np.float32)
        features[0, :, :n_channels] = units.T
        self._finish(features, rows[None], chosen.values.numpy()[None])
        self._add_vectors(features, profile, rows[None])
        parts = self._own_parts_of_one(user, own_item, own_weight, between)
        own = self._describe_own(profile, own_row, own_place, own_item, own_weight, total, parts, top, n_own)
        return Gathered(rows[None], features, prior[None], *own)

    def parts_of(self, profile: sparse.csr_array, item: int, seen: Rows) -> npt.NDArray[np.float64]:
        """Return what each channel adds to the plain sum of an unseen item, as `gather` adds it up: (1, I) -> (C,)."""
        parts = np.zeros(len(self.channels))
        for c, said in enumerate(self.factors.told_to_one(self.factors.between(profile))):
            items = np.arange(profile.shape[1], dtype=np.int32) if said.items is None else said.items
            best = said.values[~np.isin(items, seen)].max(initial=0.0)
            own = said.values[items == item].sum()
            parts[c] = self.weights[c] * own / (best if best > 0 else 1.0)
        return parts

    @staticmethod
    def _add(sums: Floats, said: Said, amounts: Floats) -> None:
        """Add what a channel says to the items' sums, in place."""
        if said.items is None:
            sums += amounts
        else:
            sums[said.items] += amounts

    def _describe_own(
        self,
        profiles: sparse.csr_array,
        rows: Rows,
        places: Rows,
        items: Rows,
        weights: Floats,
        total: Floats,
        parts: Floats,
        top: Floats,
        n_own: int,
    ) -> tuple[Floats, npt.NDArray[np.bool_], Rows]:
        """Describe own items by what the channels say of them in all, less what they say only because they are own.

        Args:
            profiles: (B, I).
            rows: (n,) whose own item it is.
            places: (n,) 0..S-1.
            items: (n,) the own items.
            weights: (n,) in their profiles.
            total: (C, n) what the channels say of them.
            parts: (C, n) what of that goes back to themselves.
            top: (B, C) what the channels say of the best candidate.
            n_own: S.

        Returns:
            `own`, `own_mask` and `own_items` of `Gathered`.
        """
        n_users, n_channels = top.shape
        by_others = total - parts
        by_others[by_others < _ROUNDING * total] = 0.0  # what the subtraction leaves of nothing is no evidence
        own_units = by_others / top[rows].T
        own_prior = np.zeros(len(rows), np.float32)
        for weight, unit in zip(self.weights, own_units, strict=True):
            own_prior += weight * unit
        own = np.zeros((n_users, n_own, self.n_features), np.float32)
        own[rows, places, :n_channels] = own_units.T
        own_items = np.zeros((n_users, n_own), np.int32)
        own_items[rows, places] = items
        own_priors = np.zeros((n_users, n_own), np.float32)
        own_priors[rows, places] = own_prior
        self._finish(own, own_items, own_priors)
        if self.vectors is not None:
            vectors = self.vectors[items]
            of_others = (profiles @ self.vectors)[rows] - weights[:, None] * vectors
            own[rows, places, -2] = (of_others * vectors).sum(1)
        mask = np.zeros((n_users, n_own), np.bool_)
        mask[rows, places] = True
        return own, mask, own_items

    def _add_vectors(self, features: Floats, profiles: sparse.csr_array, items: Rows) -> None:
        """Fill in, in place, the inner products of profiles and candidates, where there are item vectors."""
        if self.vectors is not None:
            features[:, :, -2] = np.einsum("bd,bnd->bn", profiles @ self.vectors, self.vectors[items])

    def _finish(self, features: Floats, items: Rows, prior: Floats) -> None:
        """Fill in, in place, what follows from the channels' units and the items: roots, "has any", facts about items."""
        c = len(self.channels)
        units = features[:, :, :c]
        features[:, :, c : 2 * c] = units > 0
        # The walk may pass what no click or fact of the profile reaches; a few own items can even exceed the best candidate.
        features[:, :, :c] = np.minimum(np.sqrt(units), 2.0)
        features[:, :, 2 * c : 2 * c + 3] = self.about_items[items]
        features[:, :, -1] = np.minimum(prior, PRIOR_LIMIT)

    def _own_parts(
        self, users: Rows, rows: Rows, items: Rows, weights: Floats, between: list[sparse.csr_array], cut: Cut | None
    ) -> Floats:
        """Return what the channels say of own items only because they are in the profile: (C, n).

        An own item is to be judged by the *other* items of the profile, and not over the user himself.
        """
        itself = self.factors.itself[:, items]
        for item in [] if cut is None else cut.items.tolist():
            itself[:, items == item] = self.factors.itself_without(item, cut)[:, None]  # type: ignore[arg-type]
        part: Floats = weights * itself
        known = users[rows] >= 0
        if not known.any():
            return part
        rows, items, weights = rows[known], items[known], weights[known]
        everybody, of_clicks = np.arange(len(users), dtype=np.int32), self.of_clicks
        for c, channel in enumerate(self.channels):
            if channel.over_users:
                himself = np.asarray(of_clicks.starts[c] + users, np.int32)
                there = _lookup(between[0], everybody, himself.clip(min=0))  # what the whole profile gives the user himself
                given = weights * _lookup(of_clicks.left, items, himself[rows])
                part[c, known] += (there[rows] - given) * _lookup(of_clicks.back, items, himself[rows])
        return part

    def _own_parts_of_one(self, user: int, items: Rows, weights: Floats, between: list[sparse.csr_array]) -> Floats:
        """Do what `_own_parts` does for one user: -> (C, n)."""
        part: Floats = weights * self.factors.itself[:, items]
        if user < 0 or not len(items):
            return part
        left, right = self.of_clicks.left, self.of_clicks.right
        ends = left.indptr
        nodes = np.concatenate([left.indices[ends[item] : ends[item + 1]] for item in items.tolist()])
        values = np.concatenate([left.data[ends[item] : ends[item + 1]] for item in items.tolist()])
        whose = np.repeat(np.arange(len(items)), ends[items + 1] - ends[items])
        for c, channel in enumerate(self.channels):
            if channel.over_users:
                himself = int(self.of_clicks.starts[c]) + user
                there = between[0].data[between[0].indices == himself].sum(dtype=np.float32)  # one entry, or none
                given, back = np.zeros(len(items), np.float32), np.zeros(len(items), np.float32)
                towards = nodes == himself
                given[whose[towards]] = weights[whose[towards]] * values[towards]
                his = slice(right.indptr[himself], right.indptr[himself + 1])
                place, found = np.nonzero(items[:, None] == right.indices[his])
                back[place] = right.data[his][found]
                part[c] += (there - given) * back
        return part


def n_features(n_kinds: int, vectors: bool = False) -> int:
    """Return F of evidence with so many kinds of facts: two a channel, and what describes an item."""
    return 2 * (n_kinds + 4) + len(ITEM_FEATURES) + vectors


def _rows_of(matrix: sparse.csr_array) -> Rows:
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))


def _own(profiles: sparse.csr_array, limit: int) -> tuple[Rows, Rows, Rows, Floats]:
    """Return the heaviest own items of each profile: row, place 0..limit-1, item, weight; four (n,)."""
    row, col, weight = _rows_of(profiles), profiles.indices, profiles.data
    order = np.lexsort((col, -weight, row))
    row, col, weight = row[order], col[order], weight[order]
    starts = np.searchsorted(row, np.arange(profiles.shape[0]))
    place = np.arange(len(row)) - starts[row]
    kept = place < limit
    return row[kept].astype(np.int32), place[kept].astype(np.int32), col[kept].astype(np.int32), weight[kept]


def _largest(slot: npt.NDArray[np.int64], values: Floats, n_slots: int) -> Floats:
    """Return the largest value of each slot, 0 if it has none: (n,), (n,) -> (n_slots,). Those of a slot lie side by side."""
    result = np.zeros(n_slots, np.float32)
    if len(slot):
        starts = np.flatnonzero(np.diff(slot, prepend=-1))
        result[slot[starts]] = np.maximum.reduceat(values, starts)
    return result


def _put(target: Floats, places: Rows, values: Floats) -> None:
    """Write values to their places, in place; a negative place is none."""
    there = places >= 0
    target[places[there]] = values[there]


def _lookup(matrix: sparse.csr_array, rows: npt.NDArray[np.int32], columns: npt.NDArray[np.int32]) -> Floats:
    """Return single entries of a sparse matrix: (n,), (n,) -> (n,)."""
    if not len(rows):
        return np.empty(0, np.float32)
    return np.asarray(matrix[rows, columns], np.float32).ravel()
