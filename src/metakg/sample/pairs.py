"""Pairs: clicks with items that their users are not known to like, in shuffled batches; and facts beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metakg.data import Interactions
from metakg.data.vocabulary import Vocabulary
from metakg.errors import DataError
from metakg.sample.negatives import NegativeSampler, comparable, nothing_to_compare
from metakg.sample.triples import TripleBatch
from metakg.types import Json, Rows

Ints = npt.NDArray[np.int64]
Nearness = Callable[[Tensor, Tensor], Tensor]
"""How near items lie to users: (B,), (B, H) -> (B, H)."""


@dataclass(frozen=True)
class PairBatch:
    """B clicks, each with an item that the user is not known to like.

    Attributes:
        users, positives, negatives: (B,) int64 rows.
        each: so many rows in a row are one click, each with another negative.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    each: int = 1

    def __len__(self) -> int:
        return self.users.shape[0]

    def join(self, other: PairBatch) -> PairBatch:
        """Return both, one after the other."""
        return PairBatch(
            torch.cat([self.users, other.users]),
            torch.cat([self.positives, other.positives]),
            torch.cat([self.negatives, other.negatives]),
            self.each,
        )

    def hardest(self, nearness: Nearness, keep: int = 1) -> PairBatch:
        """Return each click with the negative that lies nearest (Zhang et al. 2013, "dynamic negative sampling").

        Args:
            nearness: of users and items.
            keep: so many negatives of each click, each the nearest of an equal share of what was drawn; divides `each`.
        """
        share = self.each // keep
        near = nearness(self.users[:: self.each], self.negatives.view(-1, self.each))  # (clicks, each)
        first = torch.arange(0, len(self), share, device=self.users.device)
        rows = first + near.view(-1, share).argmax(1)
        users, positives, negatives = (t.index_select(0, rows) for t in (self.users, self.positives, self.negatives))
        return PairBatch(users, positives, negatives, keep)

    def describe(self, vocabulary: Vocabulary) -> str:
        """Name some of the pairs."""
        users, items = (rows[:: self.each][:3].cpu().numpy().astype(np.int32) for rows in (self.users, self.positives))
        few = zip(vocabulary.users.ids(users), vocabulary.items.ids(items), strict=True)
        return f"{len(self) // self.each} pairs such as " + ", ".join(f"({user}, {item})" for user, item in few)

    def to(self, device: torch.device | str) -> PairBatch:
        """Return the same batch on another device."""
        users, positives, negatives = (t.to(device) for t in (self.users, self.positives, self.negatives))
        return PairBatch(users, positives, negatives, self.each)


@dataclass(frozen=True)
class PairsAndFacts:
    """One joint step of a model that learns from clicks and facts at once."""

    pairs: PairBatch
    facts: TripleBatch


class PairSampler:
    """Cuts training pairs into shuffled batches of one shared episode each: plain BPR.

    Args:
        pairs: the positives.
        known: pairs that are no negatives.
        pool: item rows that may be negatives.
        n_items: I.
        rng: the source of order and negatives.

    Clicks of a user who is known to like every item of the pool are left out: there is nothing to compare them with.

    Raises:
        DataError: there are no pairs, or none is left.
    """

    def __init__(self, pairs: Interactions, known: Interactions, pool: Rows, n_items: int, rng: np.random.Generator) -> None:
        if not len(pairs):
            raise DataError(
                "the pairs to learn from", "none", expected="at least one click", fix="A scenario needs a support set."
            )
        kept = comparable(pairs, known, pool)
        if not kept.any():
            raise nothing_to_compare("the pairs to learn from", pool)
        pairs = pairs if kept.all() else pairs.select(kept)
        self.users, self.items = pairs.users.astype(np.int64), pairs.items.astype(np.int64)
        self._negatives = NegativeSampler(pool, known, n_items, rng)
        self.rng = rng

    def __len__(self) -> int:
        return len(self.users)

    def order(self) -> Ints:
        """Return a fresh random order of all pairs."""
        return self.rng.permutation(len(self.users))

    def draw(self, picked: Ints, each: int = 1) -> PairBatch:
        """Return these pairs with fresh negatives, `each` of them for a pair."""
        picked = picked if each == 1 else np.repeat(picked, each)
        users = self.users[picked]
        negatives = self._negatives.draw(users)
        return PairBatch(torch.from_numpy(users), torch.from_numpy(self.items[picked]), torch.from_numpy(negatives), each)

    def state_dict(self) -> Json:
        """Return where the draws stand."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the draws stood."""
        self.rng.bit_generator.state = state["rng"]


class ShuffledPairs:
    """Passes over pairs, each in a fresh random order, batch after batch, every time with fresh negatives.

    Args:
        pairs: what is passed over.
        size: pairs of a batch.
        each: negatives of a pair; with several, a pair stands so often in a row.
        hardest: items drawn for each of these negatives, of which the nearest to the user is kept (1: as drawn).
        replayed: pairs of which some are mixed into every batch, drawn anew from the generator of `pairs`; None for none.
        replay: so many of these for each pair of the batch.

    Attributes:
        presented: how many pairs were handed out so far.
    """

    def __init__(
        self,
        pairs: PairSampler,
        size: int,
        *,
        each: int = 1,
        hardest: int = 1,
        replayed: PairSampler | None = None,
        replay: float = 1.0,
    ) -> None:
        self.pairs, self.size, self.each, self.hardest = pairs, size, each, hardest
        self.replayed, self.replay = replayed, replay
        self.order = np.arange(len(pairs))
        self.presented = 0

    def __len__(self) -> int:
        """Return the number of batches of a pass."""
        return -(-len(self.pairs) // self.size)

    def draw(self, place: int, device: torch.device, nearness: Nearness | None = None) -> PairBatch:
        """Return the batch at a place of the pass; place 0 begins a new one.

        Args:
            place: 0 .. len - 1.
            device: where the batch shall lie.
            nearness: what `hardest` goes by; not needed where that is 1.
        """
        if place == 0:
            self.order = self.pairs.order()
        picked, drawn = self.order[place * self.size : (place + 1) * self.size], self.each * self.hardest
        batch = self.pairs.draw(picked, drawn)
        self.presented += len(picked)
        if self.replayed is not None:
            again = self.replayed.rng.integers(len(self.replayed), size=round(len(picked) * self.replay))
            batch = batch.join(self.replayed.draw(again, drawn))
            self.presented += len(again)
        batch = batch.to(device)
        if self.hardest > 1:
            assert nearness is not None, "hard negatives need something to be hard by"
            batch = batch.hardest(nearness, self.each)
        return batch

    def state_dict(self) -> Json:
        """Return where the stream stands."""
        return {"order": self.order, "pairs": self.pairs.state_dict(), "presented": self.presented}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the stream stood."""
        self.order, self.presented = state["order"], state["presented"]
        self.pairs.load_state_dict(state["pairs"])  # replayed pairs draw from the same generator
