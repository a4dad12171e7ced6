"""Negative items: uniform from a pool, never a known positive of the phase.

What counts as known is passed in: training pairs while training, training and support pairs while adapting. A query pair is
never among them (an item that is not drawn as a negative because it is an answer would give the answer away).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metakg.data import Interactions
from metakg.errors import DataError
from metakg.sample.keys import Ints, KeySet, mix
from metakg.types import Json, Mask, Rows

_ROUNDS = 16


class NegativeSampler:
    """Draws items that a user is not known to like.

    Args:
        pool: (p,) item rows that may be drawn, each once.
        known: pairs that are never drawn.
        n_items: I.
        rng: the source of all draws.

    Raises:
        DataError: the pool is empty.
    """

    def __init__(self, pool: Rows, known: Interactions, n_items: int, rng: np.random.Generator) -> None:
        if not len(pool):
            raise DataError("the pool of negatives", "no item", expected="at least one", fix="Give training interactions.")
        self.pool = np.asarray(pool, np.int64)
        self.n_items = n_items
        self.known = KeySet(known.keys(n_items))
        self.rng = rng

    def draw(self, users: Ints | Rows) -> Ints:
        """Draw one item for each user: (n,) -> (n,).

        Raises:
            DataError: a user is known to like every item of the pool.
        """
        users = np.asarray(users, np.int64)
        items = self.pool[self.rng.integers(len(self.pool), size=len(users))]
        bad = np.flatnonzero(self._is_known(users, items))
        for _ in range(_ROUNDS):
            if not len(bad):
                return items
            items[bad] = self.pool[self.rng.integers(len(self.pool), size=len(bad))]
            bad = bad[self._is_known(users[bad], items[bad])]
        for row in bad:  # this user likes nearly the whole pool: list what is left
            free = self.pool[~self._is_known(np.full(len(self.pool), users[row]), self.pool)]
            if not len(free):
                raise DataError(
                    f"user row {users[row]}",
                    f"all {len(self.pool)} items that could be negatives among the known ones",
                    expected="at least one item that the user is not known to like",
                    fix="Leave this user out, or let negatives come from all items (pool = 'all', or all_negatives = true).",
                )
            items[row] = self.rng.choice(free)
        return items

    def state_dict(self) -> Json:
        """Return where the draws stand."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Json) -> None:
        """Go back to where the draws stood."""
        self.rng.bit_generator.state = state["rng"]

    def _is_known(self, users: Ints, items: Ints) -> npt.NDArray[np.bool_]:
        return self.known.has(users * self.n_items + items)


def without_negatives(pool: Rows, known: Interactions, n_users: int) -> Mask:
    """Say which users are known to like every item of a pool, so that nothing can be compared with their clicks: (U,) bool."""
    found = np.zeros(n_users, np.bool_)
    many = np.bincount(known.users, minlength=n_users) >= len(pool)
    if many.any():  # hardly ever: an account that tries everything, or a handful of items
        some = known.select(many[known.users] & np.isin(known.items, pool))
        users = np.unique(np.stack([some.users, some.items]), axis=1)[0]
        found = np.bincount(users, minlength=n_users) >= len(pool)
    return found


def comparable(pairs: Interactions, known: Interactions, pool: Rows) -> Mask:
    """Say which pairs are of users for whom a pool holds something that they are not known to like: (n,) bool."""
    n_users = 1 + max(int(pairs.users.max(initial=0)), int(known.users.max(initial=0)))
    return ~without_negatives(pool, known, n_users)[pairs.users]


def nothing_to_compare(where: str, pool: Rows) -> DataError:
    """Return the error that all users of some clicks like every item of a pool (see `without_negatives`)."""
    return DataError(
        where,
        f"users who like all of the {len(pool)} items that could be negatives",
        expected="at least one item that one of them is not known to like",
        fix="Give more items, or let negatives come from all (pool = 'all', or all_negatives = true).",
    )


class KeyedNegatives:
    """Negatives for scoring: the same item for the same user and click, whoever else is asked for and how often.

    A model that adapts to a user's clicks while it scores must leave no trace, so it cannot draw from a generator; here the
    draw is a hash of the user, the click, the number of the draw, and a salt.

    Args:
        pool: (p,) item rows that may be drawn, each once.
        known: pairs that are never drawn.
        n_items: I.
        salt: makes the draws of two models differ.
    """

    def __init__(self, pool: Rows, known: Interactions, n_items: int, salt: int) -> None:
        self.pool = np.asarray(pool, np.int64)
        self.n_items = n_items
        self.known = KeySet(known.keys(n_items))
        self.salt = np.uint64(salt)

    def draw(self, users: Ints, items: Ints, turns: Ints) -> Ints:
        """Return one item for each click, -1 where the user is known to like the whole pool: three (n,) -> (n,)."""
        if not len(self.pool):
            return np.full(len(users), -1, np.int64)
        key = mix(mix(mix(users.astype(np.uint64) ^ self.salt) ^ items.astype(np.uint64)) ^ turns.astype(np.uint64))
        drawn = self.pool[(key % np.uint64(len(self.pool))).astype(np.int64)]
        bad = np.flatnonzero(self.known.has(users * self.n_items + drawn))
        for _ in range(_ROUNDS):
            if not len(bad):
                return drawn
            key[bad] = mix(key[bad])
            drawn[bad] = self.pool[(key[bad] % np.uint64(len(self.pool))).astype(np.int64)]
            bad = bad[self.known.has(users[bad] * self.n_items + drawn[bad])]
        for row in bad:  # this user likes nearly the whole pool: list what is left
            free = self.pool[~self.known.has(users[row] * self.n_items + self.pool)]
            drawn[row] = free[int(key[row] % np.uint64(len(free)))] if len(free) else -1
        return drawn
